//! Resuming a run after a failure, a stop or a crash.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use agent_core::{
    Context, END, Graph, NodeError, Result, Runtime, START,
    journal::{InMemoryJournal, JournalStore},
};

use super::graph::{Trail, step};

#[derive(Default)]
struct World {
    broken: AtomicBool,
    good: AtomicU32,
}

fn graph() -> Graph<Trail> {
    Graph::<Trail>::builder("pair")
        .node("begin", step)
        .node("good", async |_: &Trail, cx: &Context| {
            cx.get::<Arc<World>>()?.good.fetch_add(1, Ordering::SeqCst);
            Ok(Trail::update().steps(["good".to_owned()]))
        })
        .node("bad", async |_: &Trail, cx: &Context| {
            tokio::task::yield_now().await;
            if cx.get::<Arc<World>>()?.broken.load(Ordering::SeqCst) {
                return Err(NodeError::msg("down"));
            }
            Result::Ok(Trail::update().steps(["bad".to_owned()]))
        })
        .node("end", step)
        .edge(START, "begin")
        .edge("begin", "good")
        .edge("begin", "bad")
        .join(["good", "bad"], "end")
        .edge("end", END)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_resume_runs_only_what_is_unfinished() {
    let world = Arc::new(World { broken: AtomicBool::new(true), ..World::default() });
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let runtime = Runtime::builder().journal(Arc::clone(&store)).provide(Arc::clone(&world)).build();
    let session = runtime.session("s").unwrap();
    let error = session.run(&graph(), Trail::update()).await.unwrap_err();
    assert_eq!(error.code().name(), "node_failed", "{error}");
    assert_eq!(session.state::<Trail>().await.unwrap().steps, ["begin"]);
    world.broken.store(false, Ordering::SeqCst);
    let outcome = session.resume().await.unwrap().outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["begin", "good", "bad", "end"]);
    assert_eq!(world.good.load(Ordering::SeqCst), 1);
}
