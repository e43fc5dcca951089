//! Time limits end work that is already running, not only work that is about to start.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use agent_core::{
    Answers, Context, END, Graph, NodeError, RunOptions, RunStatus, START, SessionError,
    graph::NodeExt,
    run::{Limits, OverrunPolicy},
};
use parking_lot::Mutex;
use serde_json::json;
use tests::{World, journal, kinds, on};
use tokio::{sync::Notify, time::Instant};

use super::graph::Trail;

const LIMIT: Duration = Duration::from_millis(100);

fn one(node: impl agent_core::graph::IntoNode<Trail, agent_core::graph::ByFn>) -> Graph<Trail> {
    Graph::<Trail>::builder("one").node("only", node).edge(START, "only").edge("only", END).build().unwrap()
}

fn limited() -> RunOptions {
    RunOptions::default().limits(Limits::default().active(LIMIT))
}

fn code(error: &SessionError) -> &'static str {
    error.code().name()
}

#[tokio::test(start_paused = true)]
async fn a_run_beyond_its_time_is_ended_in_the_middle_of_a_superstep() {
    for siblings in [1, 2] {
        let world = Arc::new(World::default());
        let mut builder = Graph::<Trail>::builder("long");
        for n in 0..siblings {
            let slow = async |_: &Trail, cx: &Context| {
                let world = cx.get::<Arc<World>>()?;
                cx.step("begin", async { Ok::<_, NodeError>(world.happens("began")) }).await?;
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                world.happens("done");
                Ok(())
            };
            let name = format!("slow {n}");
            builder = builder.node(name.clone(), slow).edge(START, name.clone()).edge(name, END);
        }
        let graph = builder.build().unwrap();
        let session = on(&journal()).provide(Arc::clone(&world)).build().session("s").unwrap();
        let began = Instant::now();
        let error = session.run(&graph, Trail::update()).options(limited()).await.unwrap_err();
        assert_eq!(code(&error), "budget_exceeded", "{error}");
        assert!(error.to_string().contains("ms of running"), "{error}");
        assert!(began.elapsed() < 2 * LIMIT, "{:?}", began.elapsed());
        assert_eq!((world.times("began"), world.times("done")), (siblings, 0));
        let run = session.resume().limits(Limits::default().active(Duration::from_secs(60))).await.unwrap();
        assert!(run.outcome::<Trail>().await.unwrap().is_completed());
        assert_eq!((world.times("began"), world.times("done")), (siblings, siblings));
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_in_which_a_run_waits_for_a_person_is_not_limited() {
    let graph = one(async |_: &Trail, cx: &Context| {
        let n: i64 = cx.ask("n?").await?;
        tokio::time::sleep(LIMIT / 2).await;
        let more: i64 = cx.ask("more?").await?;
        tokio::time::sleep(LIMIT).await;
        Ok(Trail::update().sum(n + more))
    });
    let session = on(&journal()).build().session("s").unwrap();
    assert!(session.run(&graph, Trail::update()).options(limited()).await.unwrap().is_paused());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let run = session.answer(Answers::only(1)).await.unwrap();
    assert!(run.outcome::<Trail>().await.unwrap().is_paused());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let began = Instant::now();
    let run = session.answer(Answers::only(1)).await.unwrap();
    let error = run.outcome::<Trail>().await.unwrap_err();
    assert_eq!(code(&error), "budget_exceeded", "{error}");
    assert!(began.elapsed() < LIMIT, "half of its time was used before: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_person_is_asked_for_more_time_while_the_superstep_runs() {
    let world = Arc::new(World::default());
    let graph = one(async |_: &Trail, cx: &Context| {
        tokio::time::sleep(Duration::from_secs(10)).await;
        cx.get::<Arc<World>>()?.happens("done");
        Ok(())
    });
    let session = on(&journal()).provide(Arc::clone(&world)).build().session("s").unwrap();
    let options =
        || RunOptions::default().limits(Limits::default().active(LIMIT).on_overrun(OverrunPolicy::Ask));
    let run = session.run(&graph, Trail::update()).options(options()).start().await.unwrap();
    tokio::time::sleep(2 * LIMIT).await;
    let status = session.status().await.unwrap();
    assert_eq!((status.status, status.questions.len()), (RunStatus::Running, 1));
    session.answer(Answers::only("stop")).await.unwrap();
    let error = run.outcome::<Trail>().await.unwrap_err();
    assert_eq!((code(&error), world.times("done")), ("budget_exceeded", 0));

    let session = on(&journal()).provide(Arc::clone(&world)).build().session("s").unwrap();
    // At the superstep's end the run pauses, with the same question.
    let outcome = session.run(&graph, Trail::update()).options(options()).await.unwrap();
    assert_eq!((outcome.questions().len(), world.times("done")), (1, 1));
    let run = session.answer(Answers::only(json!({ "more": 60_000 }))).await.unwrap();
    assert!(run.outcome::<Trail>().await.unwrap().is_completed());
    assert_eq!(world.times("done"), 1);
}

/// Where a node that blocks its thread waits, and what it says afterwards.
type Block = Mutex<(mpsc::Receiver<()>, mpsc::Sender<String>)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_blocks_its_thread_is_abandoned_at_the_deadline_and_refused_when_it_comes_back() {
    let graph = one(async |_: &Trail, cx: &Context| {
        let block = cx.get::<Block>()?;
        let block = block.lock();
        block.0.recv().unwrap();
        let late = cx.emit("late", 1).unwrap_err();
        block.1.send(late.to_string()).unwrap();
        Ok(Trail::update().sum(1))
    });
    let (release, blocked) = mpsc::channel();
    let (says, said) = mpsc::channel();
    let inner = journal();
    let runtime = on(&inner)
        .provide::<Block>(Mutex::new((blocked, says)))
        // The limit of every run, as a server sets it.
        .limits(Limits::default().active(LIMIT))
        .options(|options| options.grace = Duration::from_millis(5))
        .build();
    let session = runtime.session("s").unwrap();
    // Driven by the caller's own poll.
    let error = session.run(&graph, Trail::update()).await.unwrap_err();
    assert_eq!(code(&error), "budget_exceeded", "{error}");
    let before = kinds(&session).await;
    assert_eq!(before.last().unwrap(), "run_failed");
    release.send(()).unwrap();
    let late = said.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(late.contains("ended"), "{late}");
    assert_eq!(kinds(&session).await, before);
    assert_eq!(session.state::<Trail>().await.unwrap().sum, 0);
}

#[tokio::test]
async fn a_node_that_comes_back_after_its_timeout_has_failed_although_nothing_could_stop_it() {
    let graph = |limit| {
        Graph::<Trail>::builder("late")
            .node(
                "late",
                (async |_: &Trail, _: &Context| {
                    // The thread is held, as by a call that does not await.
                    std::thread::sleep(Duration::from_millis(30));
                    Ok(Trail::update().sum(1))
                })
                .timeout(limit),
            )
            .edge(START, "late")
            .edge("late", END)
            .build()
            .unwrap()
    };
    let session = on(&journal()).build().session("s").unwrap();
    let error = session.run(&graph(Duration::from_millis(5)), Trail::update()).await.unwrap_err();
    assert_eq!(code(&error), "node_timed_out", "{error}");
    let session = on(&journal()).build().session("s").unwrap();
    let outcome = session.run(&graph(Duration::from_secs(5)), Trail::update()).await.unwrap();
    assert_eq!(outcome.state().unwrap().sum, 1);
}

#[tokio::test]
async fn a_result_that_comes_after_the_runs_time_is_not_applied_where_nothing_could_look_meanwhile() {
    let graph = one(async |_: &Trail, _: &Context| {
        std::thread::sleep(2 * LIMIT);
        Ok(Trail::update().sum(1))
    });
    let session = on(&journal()).build().session("s").unwrap();
    let error = session.run(&graph, Trail::update()).options(limited()).await.unwrap_err();
    assert_eq!(code(&error), "budget_exceeded", "{error}");
    assert_eq!(session.state::<Trail>().await.unwrap().sum, 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_person_does_not_count_against_a_nodes_timeout() {
    let release = Arc::new(Notify::new());
    let graph = Graph::<Trail>::builder("asks")
        .node(
            "ask",
            (async |_: &Trail, cx: &Context| {
                let n: i64 = cx.ask("n?").await?;
                Ok(Trail::update().sum(n))
            })
            .timeout(LIMIT),
        )
        .edge(START, "ask")
        .edge("ask", END)
        .build()
        .unwrap();
    let session = on(&journal()).provide(release).build().session("s").unwrap();
    assert!(session.run(&graph, Trail::update()).await.unwrap().is_paused());
    tokio::time::sleep(10 * LIMIT).await;
    let outcome = session.answer(Answers::only(1)).await.unwrap().outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().sum, 1);
}
