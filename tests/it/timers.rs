//! Timers: a task sleeps until its time, in memory, across restarts, and beside questions to people.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Answers, Context, END, Graph, NodeError, RunStatus, START, Session, clock::ManualClock, event::EventBody,
    ids::Seq,
};
use tests::{World, journal, on, within_an_hour};
use tokio::time::Instant;

use super::graph::Trail;

const HOUR: Duration = Duration::from_secs(3_000);

fn sleeper() -> Graph<Trail> {
    Graph::<Trail>::builder("sleeper")
        .node("sleep", async |_: &Trail, cx: &Context| {
            let world = cx.get::<Arc<World>>()?;
            cx.step("before", async { Ok::<_, NodeError>(world.happens("before")) }).await?;
            cx.sleep(HOUR).await?;
            cx.sleep(HOUR / 100).await?;
            cx.step("after", async { Ok::<_, NodeError>(world.happens("after")) }).await?;
            Ok(Trail::update().sum(1))
        })
        .path([START, "sleep", END])
        .build()
        .unwrap()
}

async fn end(session: &Session) -> RunStatus {
    let mut events = session.subscribe(Some(Seq::ZERO));
    loop {
        match within_an_hour(events.next()).await.unwrap().body {
            EventBody::RunCompleted(_) => return RunStatus::Completed,
            EventBody::RunFailed(_) => return RunStatus::Failed,
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_run_is_paused_and_continues_at_its_time() {
    let world = Arc::new(World::default());
    let session = on(&journal()).provide(Arc::clone(&world)).build().session("s").unwrap();
    let began = Instant::now();
    let outcome = session.run(&sleeper(), Trail::update()).await.unwrap();
    assert!(outcome.questions()[0].question.timer);
    assert_eq!(end(&session).await, RunStatus::Completed);
    let (slept, wanted) = (began.elapsed(), HOUR + HOUR / 100);
    assert!(slept >= wanted && slept < wanted + Duration::from_secs(1), "{slept:?}");
    assert_eq!((world.times("before"), world.times("after")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_sleep_ends_at_its_time_wherever_the_process_dies() {
    let (inner, clock) = (journal(), Arc::new(ManualClock::new(1_000)));
    let world = Arc::new(World::default());
    let process = |graph: &Graph<Trail>| {
        on(&inner).clock(Arc::clone(&clock) as _).provide(Arc::clone(&world)).graph(graph).build()
    };
    let graph = sleeper();
    let session = process(&graph).session("s").unwrap();
    session.run(&graph, Trail::update()).await.unwrap();
    assert_eq!(end(&session).await, RunStatus::Completed);
    let last = session.events(Seq::ZERO, 1_000).await.unwrap().last().unwrap().seq.unwrap();
    assert_eq!((world.times("before"), world.times("after")), (1, 1));

    for seq in (1..last.0).map(Seq) {
        let source = process(&graph).session("s").unwrap();
        source.fork(seq, format!("f-{seq}").parse().unwrap()).await.unwrap();
        let (before, after) = (world.times("before"), world.times("after"));
        // Another process, after the time; the second sleep begins in it.
        clock.advance(2 * HOUR);
        let runtime = process(&graph);
        runtime.recover().await.unwrap();
        let fork = runtime.session(&format!("f-{seq}")).unwrap();
        // A paused fork is a matter of its timer; any other continues when it is resumed.
        if fork.status().await.unwrap().status != RunStatus::Paused {
            fork.resume().await.ok();
        }
        assert_eq!(end(&fork).await, RunStatus::Completed, "{seq}");
        let events = fork.events(Seq::ZERO, 1_000).await.unwrap();
        let steps = |key: &str| {
            let of = |body: &EventBody| matches!(body, EventBody::StepRecorded(step) if step.key == key);
            events.iter().filter(|event| of(&event.body)).count()
        };
        assert_eq!((steps("before"), steps("after")), (1, 1), "{seq}");
        assert!(world.times("before") - before <= 1 && world.times("after") - after <= 1, "{seq}");
        runtime.shutdown(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_an_id_is_one_to_the_person_s_question_not_to_a_timer() {
    let graph = Graph::<Trail>::builder("both")
        .node("sleep", async |_: &Trail, cx: &Context| {
            cx.sleep(HOUR).await?;
            Ok(Trail::update().sum(1))
        })
        .node("ask", async |_: &Trail, cx: &Context| Ok(Trail::update().sum(cx.ask::<i64>("n?").await?)))
        .path([START, "sleep", END])
        .path([START, "ask", END])
        .build()
        .unwrap();
    let session = on(&journal()).build().session("s").unwrap();
    let paused = session.run(&graph, Trail::update()).await.unwrap();
    assert_eq!(paused.questions().len(), 2);
    session.answer(Answers::only(10)).await.unwrap();
    // Any answer to the timer, by its id, ends it early.
    let timer = paused.questions().iter().find(|open| open.question.timer).unwrap().id.clone();
    let began = Instant::now();
    let run = session.answer(Answers::to(timer, "continue")).await.unwrap();
    let outcome = within_an_hour(run.outcome::<Trail>()).await.unwrap();
    assert_eq!((outcome.state().unwrap().sum, began.elapsed() < HOUR), (11, true));
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_run_leaves_the_memory_and_is_resumed_at_its_time() {
    let (world, clock) = (Arc::new(World::default()), Arc::new(ManualClock::new(1_000)));
    let runtime = on(&journal())
        .clock(Arc::clone(&clock) as _)
        .provide(Arc::clone(&world))
        .graph(&sleeper())
        .options(|options| options.max_suspended_runs = 0)
        .build();
    let session = runtime.session("s").unwrap();
    assert!(session.run(&sleeper(), Trail::update()).await.unwrap().is_paused());
    while runtime.live_runs() > 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(HOUR);
    assert_eq!(end(&session).await, RunStatus::Completed);
    assert_eq!((world.times("before"), world.times("after")), (1, 1));
}
