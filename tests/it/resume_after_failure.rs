//! Resuming a failed run: after a limit, after the last attempt, and after a paused run was evicted from memory.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use agent_core::{
    Answers, Context, END, Graph, NodeError, Result, RunOptions, RunStatus, START, graph::NodeExt,
    retry::RetryPolicy, run::Limits,
};
use tests::{journal, on};

use super::graph::{Trail, step};

#[tokio::test]
async fn a_run_that_came_to_its_limit_goes_on_with_a_raised_one() {
    let graph = Graph::<Trail>::builder("long")
        .node("a", step)
        .node("b", step)
        .node("c", step)
        .edge(START, "a")
        .edge("a", "b")
        .edge("b", "c")
        .edge("c", END)
        .build()
        .unwrap();
    let session = on(&journal()).build().session("s").unwrap();
    let tight = RunOptions::default().limits(Limits::default().supersteps(2));
    let error = session.run(&graph, Trail::update()).options(tight).await.unwrap_err();
    assert_eq!(error.code().name(), "superstep_limit");
    let same = session.resume().await.unwrap().outcome::<Trail>().await.unwrap_err();
    assert_eq!(same.code().name(), "superstep_limit", "the limit is the run's, not the process's");
    let run = session.resume().limits(Limits::default().supersteps(3)).await.unwrap();
    let outcome = run.outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_resume_of_a_failed_run_has_all_its_tries_again() {
    let tries = Arc::new(AtomicU32::new(0));
    let graph = Graph::<Trail>::builder("tries")
        .node(
            "flaky",
            (async |_: &Trail, cx: &Context| {
                // Fails five times: three times before the resume, twice after it.
                if cx.get::<Arc<AtomicU32>>()?.fetch_add(1, Ordering::SeqCst) < 5 {
                    return Err(NodeError::msg("not yet"));
                }
                Result::Ok(Trail::update().steps([format!("try {}", cx.attempt())]))
            })
            .retry(RetryPolicy::attempts(3)),
        )
        .edge(START, "flaky")
        .edge("flaky", END)
        .build()
        .unwrap();
    let session = on(&journal()).provide(Arc::clone(&tries)).build().session("s").unwrap();
    session.run(&graph, Trail::update()).await.unwrap_err();
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    let outcome = session.resume().await.unwrap().outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["try 6"]);
}

#[tokio::test]
async fn a_paused_run_beyond_the_bound_leaves_memory_and_takes_its_answer_all_the_same() {
    let graph = Graph::<Trail>::builder("parked")
        .node("ask", async |_: &Trail, cx: &Context| {
            let said: String = cx.ask("Well?").await?;
            Result::Ok(Trail::update().steps([said]))
        })
        .edge(START, "ask")
        .edge("ask", END)
        .build()
        .unwrap();
    let runtime = on(&journal()).options(|options| options.max_suspended_runs = 0).build();
    let session = runtime.session("s").unwrap();
    assert!(session.run(&graph, Trail::update()).await.unwrap().is_paused());
    // The run publishes its pause before its task ends; each yield lets it continue.
    while runtime.live_runs() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(session.status().await.unwrap().status, RunStatus::Paused);
    let run = session.answer(Answers::only("well")).await.unwrap();
    let outcome = run.outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["well"]);
}
