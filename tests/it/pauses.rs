//! Pauses that the caller of a run sets: breakpoints before and after nodes, and the time at which it starts.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Answers, Context, END, Graph, NodeError, RunOptions, RunStatus, Runtime, START, SessionError,
    clock::ManualClock, event::EventBody, ids::Seq,
};
use tests::{Dying, World, journal, on, soon, within_an_hour};

use super::graph::Trail;

fn two() -> Graph<Trail> {
    let work = |name: &'static str| {
        async move |_: &Trail, cx: &Context| {
            let world = cx.get::<Arc<World>>()?;
            cx.step("work", async { Ok::<_, NodeError>(world.happens(name)) }).await?;
            Ok(Trail::update().steps([name.to_owned()]))
        }
    };
    Graph::<Trail>::builder("two")
        .node("first", work("first"))
        .node("second", work("second"))
        .path([START, "first", "second", END])
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_breakpoint_holds_the_run_wherever_the_process_dies() {
    let (inner, world, graph) = (journal(), Arc::new(World::default()), two());
    let process = || on(&inner).provide(Arc::clone(&world)).graph(&graph).build();
    let options = RunOptions::default().break_after(["first"]).break_before(["second"]);
    let session = process().session("s").unwrap();
    let mut outcome = session.run(&graph, Trail::update()).options(options).await.unwrap();
    let mut prompts = Vec::new();
    while let Some(open) = outcome.questions().first() {
        prompts.push(open.question.prompt.clone());
        // Each answer in another process.
        let session = process().session("s").unwrap();
        let run = session.answer(Answers::only("continue")).await.unwrap();
        outcome = soon(run.outcome::<Trail>()).await.unwrap();
    }
    assert_eq!(prompts, ["Breakpoint after `first`", "Breakpoint before `second`"]);
    let events = session.events(Seq::ZERO, 1).await.unwrap();
    let EventBody::RunStarted(started) = &events[0].body else { panic!("{events:?}") };
    assert_eq!(
        (&started.break_before[..], &started.break_after[..]),
        (&["second".into()][..], &["first".into()][..])
    );
    assert_eq!(outcome.state().unwrap().steps, ["first", "second"]);
    assert_eq!((world.times("first"), world.times("second")), (1, 1));
}

#[tokio::test]
async fn a_breakpoint_pauses_once_wherever_an_append_is_the_last_of_a_process() {
    let graph = two();
    let options = || RunOptions::default().break_after(["first"]).break_before(["second"]);
    for appends in 0.. {
        let (inner, world) = (journal(), Arc::new(World::default()));
        let mut prompts = Vec::new();
        let mut died = false;
        // The first process dies; so does the second, which answers.
        for lives in [appends, appends / 2 + 1, u64::MAX] {
            let runtime = Runtime::builder().journal(Dying::at(&inner, lives, false));
            let runtime = runtime.provide(Arc::clone(&world)).graph(&graph).build();
            let session = runtime.session("s").unwrap();
            let step = async {
                match session.status().await {
                    Err(SessionError::NotFound { .. }) => {
                        session.run(&graph, Trail::update()).options(options()).await.map(drop)?;
                    }
                    Ok(status) if status.status != RunStatus::Paused => {
                        session.resume().await?.outcome::<Trail>().await.map(drop)?;
                    }
                    status => drop(status?),
                }
                while let Some(open) = session.status().await?.questions.first() {
                    let run = session.answer(Answers::to(open.id.clone(), "continue")).await?;
                    prompts.push(open.question.prompt.clone());
                    run.outcome::<Trail>().await.map(drop)?;
                }
                Ok::<_, SessionError>(())
            };
            died |= soon(step).await.is_err();
            if lives == u64::MAX || !died {
                break;
            }
        }
        let session = on(&inner).graph(&graph).build().session("s").unwrap();
        assert_eq!(session.status().await.unwrap().status, RunStatus::Completed, "{appends}");
        assert_eq!(session.state::<Trail>().await.unwrap().steps, ["first", "second"], "{appends}");
        // An answer may be stored by a process that dies before it returns: it is not asked for again.
        prompts.dedup();
        assert!(prompts.len() <= 2, "{appends}: {prompts:?}");
        if !died {
            assert_eq!(prompts, ["Breakpoint after `first`", "Breakpoint before `second`"]);
            assert!(appends > 5, "{appends}");
            break;
        }
    }
}

#[tokio::test]
async fn a_breakpoint_at_an_unknown_node_is_refused_before_anything_is_stored() {
    let session = on(&journal()).build().session("s").unwrap();
    let options = RunOptions::default().break_before(["frist"]);
    let refused = session.run(&two(), Trail::update()).options(options).await.unwrap_err();
    assert!(refused.to_string().contains("`frist`"), "{refused}");
    assert!(matches!(session.status().await, Err(SessionError::NotFound { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_run_with_a_start_time_does_nothing_before_it_and_everything_after_a_restart() {
    let (inner, world, graph) = (journal(), Arc::new(World::default()), two());
    let clock = Arc::new(ManualClock::new(1_000));
    let process =
        || on(&inner).clock(Arc::clone(&clock) as _).provide(Arc::clone(&world)).graph(&graph).build();
    let at = || RunOptions::default().start_at(3_001_000);
    for restarts in [false, true] {
        let name = format!("s-{restarts}");
        let before = world.times("first");
        let runtime = process();
        let session = runtime.session(&name).unwrap();
        assert!(session.run(&graph, Trail::update()).options(at()).await.unwrap().is_paused());
        assert_eq!(world.times("first"), before);
        let session = if restarts {
            runtime.shutdown(Duration::from_secs(1)).await;
            clock.advance(Duration::from_secs(3_600));
            let runtime = process();
            runtime.recover().await.unwrap();
            runtime.session(&name).unwrap()
        } else {
            session
        };
        let mut events = session.subscribe(Some(Seq::ZERO));
        while !matches!(within_an_hour(events.next()).await.unwrap().body, EventBody::RunCompleted(_)) {}
        assert_eq!(session.wait_status().await.unwrap(), RunStatus::Completed);
        assert_eq!(world.times("first"), before + 1);
    }
}
