//! Dataflow mode: slots of answered tasks and of subgraphs, joins that cannot fill, and the number of appends.

use std::sync::atomic::{AtomicU32, Ordering};

use agent_core::{
    journal::{InMemoryJournal, StoreError},
    testing::{HookedStore, StoreCall, StoreHook},
};

use super::*;

/// Asks, and then notes that it continues.
async fn ask(_: &Log, cx: &Context) -> Result<LogUpdate> {
    let outside = cx.get::<Arc<Outside>>()?;
    let amount: i64 = cx.ask(Question::new("How much?")).await?;
    outside.world.happens("answered");
    Ok(note(cx).sum(amount))
}

/// Waits for the gate, and then lets all tasks that can proceed do so.
async fn gated(_: &Log, cx: &Context) -> Result<LogUpdate> {
    let outside = cx.get::<Arc<Outside>>()?;
    outside.slow_began.open();
    outside.gate.opened().await;
    yields().await;
    outside.world.happens("gated ended");
    Ok(note(cx))
}

async fn yields() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// `sub` is one task of the outer graph; its own tasks are the nodes of `inner`.
fn around(inner: &Graph<Log>) -> Graph<Log> {
    let sub = inner.as_node(|_: &Log| Log::default(), |inner: Log| Log::update().steps(inner.steps));
    let beside = async |_: &Log, cx: &Context| -> Result<LogUpdate> {
        cx.get::<Arc<Outside>>()?.world.happens("beside");
        Ok(note(cx))
    };
    Graph::<Log>::builder("outer")
        .node("sub", sub)
        .node("beside", beside)
        .path([START, "sub", END])
        .path([START, "beside", END])
        .max_concurrency(1)
        .dataflow()
        .build()
        .unwrap()
}

#[tokio::test]
async fn an_answered_task_waits_until_the_task_that_got_its_slot_has_ended() {
    let graph = Graph::<Log>::builder("slots").node("ask", ask).node("gated", gated);
    let graph = graph.path([START, "ask", END]).path([START, "gated", END]).max_concurrency(1).dataflow();
    let (graph, outside) = (graph.build().unwrap(), Arc::<Outside>::default());
    let session = runtime(&outside).session("s").unwrap();
    let run = session.run(&graph, Log::update()).start().await.unwrap();
    soon(outside.slow_began.opened()).await;
    session.answer(Answers::only(5)).await.unwrap();
    yields().await;
    assert_eq!(outside.world.times("answered"), 0, "two tasks run at once");
    outside.gate.open();
    let outcome = soon(run.outcome::<Log>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["gated", "ask"]);
}

#[tokio::test]
async fn a_subgraph_gives_its_slot_to_another_task_while_all_of_its_tasks_wait() {
    let inner = Graph::<Log>::builder("inner").node("ask", ask).path([START, "ask", END]);
    let inner = inner.max_concurrency(2).dataflow().build().unwrap();
    let outside = Arc::<Outside>::default();
    let session = runtime(&outside).session("s").unwrap();
    let graph = around(&inner);
    assert!(soon(session.run(&graph, Log::update())).await.unwrap().is_paused());
    assert_eq!(outside.world.times("beside"), 1);
    let run = session.answer(Answers::only(5)).await.unwrap();
    let outcome = soon(run.outcome::<Log>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["beside", "ask"]);
}

#[tokio::test]
async fn a_subgraph_keeps_its_slot_while_one_of_its_tasks_runs() {
    let inner = Graph::<Log>::builder("inner").node("ask", ask).node("gated", gated);
    let inner = inner.path([START, "ask", END]).path([START, "gated", END]).max_concurrency(2);
    let inner = inner.dataflow().build().unwrap();
    let outside = Arc::<Outside>::default();
    let session = runtime(&outside).session("s").unwrap();
    let graph = around(&inner);
    let mut events = session.subscribe(None);
    let run = session.run(&graph, Log::update()).start().await.unwrap();
    while !matches!(soon(events.next()).await.unwrap().body, EventBody::QuestionAsked(_)) {}
    soon(outside.slow_began.opened()).await;
    yields().await;
    assert_eq!(outside.world.times("beside"), 0, "two tasks of the outer graph run at once");
    outside.gate.open();
    assert!(soon(run.outcome::<Log>()).await.unwrap().is_paused());
    assert_eq!((outside.world.times("gated ended"), outside.world.times("beside")), (1, 1));
}

#[tokio::test]
async fn joins_that_wait_for_each_other_fail_the_run() {
    let graph = Graph::<Log>::builder("stuck")
        .node("x", plain)
        .node("y", plain)
        .node("p", plain)
        .node("q", plain)
        .edge(START, "x")
        .edge(START, "y")
        .branch("x", |_: &Log| END, ["p", END])
        .branch("y", |_: &Log| END, ["q", END])
        .join(["x", "p"], "q")
        .join(["y", "q"], "p")
        .edge("p", END)
        .edge("q", END)
        .dataflow()
        .build()
        .unwrap();
    for runtime in [runtime(&Arc::default()), stored(&Arc::default())] {
        let session = runtime.session("s").unwrap();
        let error = soon(session.run(&graph, Log::update())).await.unwrap_err();
        assert_eq!(error.code(), Code::JoinNeverFilled, "{error}");
    }
}

#[derive(Debug, Default)]
struct CountAppends(AtomicU32);

impl StoreHook for CountAppends {
    async fn after(&self, call: StoreCall) -> std::result::Result<(), StoreError> {
        self.0.fetch_add(u32::from(call == StoreCall::Append), Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test]
async fn the_end_of_a_task_and_its_commit_are_one_append() {
    let graph = Graph::<Log>::builder("row").node("a", plain).node("b", plain).node("c", plain);
    let graph = graph.path([START, "a", "b", "c", END]).dataflow().build().unwrap();
    let store = Arc::new(HookedStore::new(Arc::new(InMemoryJournal::new()), CountAppends::default()));
    let session = Runtime::builder().journal(Arc::clone(&store)).build().session("s").unwrap();
    let options = RunOptions::default().durability(Durability::Sync);
    soon(session.run(&graph, Log::update()).options(options)).await.unwrap();
    // The acceptance, three tasks; the end of the run is in the append of the last one.
    assert_eq!(store.0.load(Ordering::Relaxed), 4);
}
