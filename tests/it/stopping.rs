//! Stopping: tasks that do not watch for the stop are dropped at once; tasks that watch for it get the grace period.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Agent, Answers, Context, END, Graph, NodeError, Result, RunStatus, START, Session,
    graph::{GraphBuilder, NodeExt},
    model::{
        Model,
        testing::{Scripted, Turn},
    },
    retry::RetryPolicy,
    session::RuntimeBuilder,
    tool::{DynamicTool, ToolContext, ToolRegistry},
};
use serde_json::json;
use tests::{journal, on, soon};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::graph::{Trail, TrailUpdate, step};

/// Longer than any test runs: a test that waits for it fails.
const GRACE: Duration = Duration::from_secs(3_600);

/// What a test and its nodes share.
struct Stage {
    /// A permit for each node that waits.
    waits: Semaphore,
    /// A node that does not listen was dropped.
    dropped: Notify,
    drops: AtomicUsize,
    /// Lets the node that listens end.
    release: Notify,
    /// The node that watches for the stop has ended.
    ended: AtomicBool,
    begun_late: AtomicBool,
}

impl Stage {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            waits: Semaphore::new(0),
            dropped: Notify::new(),
            drops: AtomicUsize::new(0),
            release: Notify::new(),
            ended: AtomicBool::new(false),
            begun_late: AtomicBool::new(false),
        })
    }
}

struct Dropped(Arc<Stage>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Ordering::SeqCst);
        self.0.dropped.notify_one();
    }
}

async fn works(_: &Trail, cx: &Context) -> Result<TrailUpdate> {
    let stage = cx.get::<Arc<Stage>>()?;
    let _dropped = Dropped(Arc::clone(&stage));
    stage.waits.add_permits(1);
    std::future::pending().await
}

async fn listens(_: &Trail, cx: &Context) -> Result<TrailUpdate> {
    let stage = cx.get::<Arc<Stage>>()?;
    // It listens from here on.
    assert!(!cx.is_cancelled());
    stage.waits.add_permits(1);
    cx.cancelled().await;
    stage.release.notified().await;
    stage.ended.store(true, Ordering::SeqCst);
    Ok(Trail::update().steps(["listened".to_owned()]))
}

fn side_by_side(builder: GraphBuilder<Trail>, nodes: &[&str]) -> Graph<Trail> {
    nodes.iter().fold(builder, |builder, node| builder.edge(START, *node).edge(*node, END)).build().unwrap()
}

fn within(name: &str, inner: &Graph<Trail>) -> Graph<Trail> {
    let builder = Graph::<Trail>::builder(name).node(
        "sub",
        inner.as_node(|_: &Trail| Trail::default(), |trail: Trail| Trail::update().steps(trail.steps)),
    );
    side_by_side(builder, &["sub"])
}

/// Graphs in which one task listens and another does not, wherever they are.
fn shapes() -> Vec<Graph<Trail>> {
    let pair = |name: &str| {
        let builder = Graph::<Trail>::builder(name).node("works", works).node("listens", listens);
        side_by_side(builder, &["works", "listens"])
    };
    let alone = |name: &str| side_by_side(Graph::<Trail>::builder(name).node("works", works), &["works"]);
    let beside = Graph::<Trail>::builder("beside")
        .node("listens", listens)
        .node("sub", within("deep", &alone("alone")).as_node(|_: &Trail| Trail::default(), |_: Trail| ()));
    vec![
        pair("pair"),
        within("subgraph", &pair("pair")),
        within("deeper", &within("subgraph", &pair("pair"))),
        side_by_side(beside, &["listens", "sub"]),
    ]
}

fn set_up(stage: &Arc<Stage>) -> RuntimeBuilder {
    on(&journal()).provide(Arc::clone(stage)).options(|options| options.grace = GRACE)
}

async fn begin(session: &Session, graph: &Graph<Trail>, stage: &Stage, waits: u32) {
    session.run(graph, Trail::update()).start().await.unwrap();
    soon(stage.waits.acquire_many(waits)).await.unwrap().forget();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_drops_what_does_not_listen_at_once_and_waits_for_what_listens() {
    for graph in shapes() {
        let stage = Stage::new();
        let session = set_up(&stage).build().session("s").unwrap();
        begin(&session, &graph, &stage, 2).await;
        let mut stopping = tokio::task::JoinSet::new();
        stopping.spawn({
            let session = session.clone();
            async move { session.stop().await }
        });
        soon(stage.dropped.notified()).await;
        assert!(!stage.ended.load(Ordering::SeqCst), "{}: dropped before the other ended", graph.name());
        assert!(stopping.try_join_next().is_none(), "{}: the one that listens has its time", graph.name());
        stage.release.notify_one();
        let stopped = soon(stopping.join_next()).await.unwrap().unwrap();
        assert_eq!(stopped.unwrap(), RunStatus::Stopped, "{}", graph.name());
        assert!(stage.ended.load(Ordering::SeqCst), "{}", graph.name());
        assert_eq!(stage.drops.load(Ordering::SeqCst), 1, "{}", graph.name());
    }
}

#[tokio::test]
async fn what_a_listener_comes_to_in_its_grace_time_is_kept_and_its_siblings_run_again() {
    let stage = Stage::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let again = {
        let runs = Arc::clone(&runs);
        async move |_: &Trail, cx: &Context| {
            if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                cx.get::<Arc<Stage>>()?.waits.add_permits(1);
                std::future::pending::<()>().await;
            }
            Ok(Trail::update().steps(["again".to_owned()]))
        }
    };
    let builder = Graph::<Trail>::builder("kept").node("listens", listens).node("again", again);
    let graph = side_by_side(builder, &["listens", "again"]);
    let session = set_up(&stage).build().session("s").unwrap();
    begin(&session, &graph, &stage, 2).await;
    stage.release.notify_one();
    soon(session.stop()).await.unwrap();
    let outcome = soon(session.resume()).await.unwrap().outcome::<Trail>().await.unwrap();
    assert_eq!(outcome.state().unwrap().steps, ["listened", "again"]);
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn tasks_that_wait_for_a_place_do_not_begin_after_a_stop() {
    let stage = Stage::new();
    let late = async |_: &Trail, cx: &Context| {
        cx.get::<Arc<Stage>>()?.begun_late.store(true, Ordering::SeqCst);
        Ok(())
    };
    let builder = Graph::<Trail>::builder("capped")
        .node("works", works)
        .node("listens", listens)
        .node("late", late)
        .node("later", late)
        .max_concurrency(2);
    let graph = side_by_side(builder, &["works", "listens", "late", "later"]);
    let session = set_up(&stage).build().session("s").unwrap();
    begin(&session, &graph, &stage, 2).await;
    let (stopped, ()) = soon(async {
        tokio::join!(session.stop(), async {
            stage.dropped.notified().await;
            stage.release.notify_one();
        })
    })
    .await;
    assert_eq!(stopped.unwrap(), RunStatus::Stopped);
    assert!(!stage.begun_late.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_question_of_a_task_that_a_stop_dropped_is_open_again_after_a_resume() {
    let stage = Stage::new();
    let asks = async |_: &Trail, cx: &Context| {
        let sum: i64 = cx.ask("how many?").await?;
        Ok(Trail::update().sum(sum))
    };
    let builder = Graph::<Trail>::builder("asking").node("asks", asks).node("listens", listens);
    let graph = side_by_side(builder, &["asks", "listens"]);
    let session = set_up(&stage).build().session("s").unwrap();
    begin(&session, &graph, &stage, 1).await;
    let question = session.status().await.unwrap().questions[0].id.clone();
    stage.release.notify_one();
    soon(session.stop()).await.unwrap();
    assert!(session.status().await.unwrap().questions.is_empty(), "a stopped run asks nothing");
    session.resume().await.unwrap();
    let run = soon(session.answer(Answers::to(question, 7))).await.unwrap();
    assert_eq!(soon(run.outcome::<Trail>()).await.unwrap().state().unwrap().sum, 7);
}

#[tokio::test(start_paused = true)]
async fn a_task_between_two_tries_does_not_hold_up_a_stop() {
    let stage = Stage::new();
    let fails = async |_: &Trail, cx: &Context| -> Result<TrailUpdate> {
        cx.get::<Arc<Stage>>()?.waits.add_permits(1);
        Err(NodeError::msg("not now"))
    };
    let retry = RetryPolicy::attempts(9).first_wait(Duration::from_secs(1_800));
    let builder =
        Graph::<Trail>::builder("trying").node("fails", fails.retry(retry)).node("listens", listens);
    let graph = side_by_side(builder, &["fails", "listens"]);
    let session = set_up(&stage).build().session("s").unwrap();
    begin(&session, &graph, &stage, 2).await;
    let begun = Instant::now();
    stage.release.notify_one();
    assert_eq!(session.stop().await.unwrap(), RunStatus::Stopped);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_listener_that_is_alone_has_its_grace_time() {
    let stage = Stage::new();
    let builder = Graph::<Trail>::builder("alone").node("listens", listens).node("end", step);
    let graph = builder.edge(START, "listens").edge("listens", "end").edge("end", END).build().unwrap();
    for graph in [within("inside", &graph), graph] {
        let session = set_up(&stage).build().session("s").unwrap();
        begin(&session, &graph, &stage, 1).await;
        stage.release.notify_one();
        assert_eq!(soon(session.stop()).await.unwrap(), RunStatus::Stopped);
        assert!(stage.ended.swap(false, Ordering::SeqCst));
        let outcome = soon(session.resume()).await.unwrap().outcome::<Trail>().await.unwrap();
        assert_eq!(outcome.state().unwrap().steps, ["listened", "end"], "{}", graph.name());
    }
}

/// A call may have given its token to a thread or to another task, which the stop does not drop.
#[tokio::test]
async fn the_token_of_a_tool_call_is_cancelled_by_a_stop() {
    let (sender, mut tokens) = tokio::sync::mpsc::channel(1);
    let wait = DynamicTool::new("wait", "Waits.", json!({ "type": "object" }), move |_, cx: ToolContext| {
        let sender = sender.clone();
        async move {
            sender.send(cx.cancelled).await.unwrap();
            std::future::pending().await
        }
    });
    let tools = ToolRegistry::builder().tool(wait).build().unwrap();
    let model = Model::new(Scripted::new([Turn::call("wait", json!({}))]));
    let agent = Agent::builder("waiting").tools(tools).model(model).build().unwrap();
    let session = on(&journal()).build().session("s").unwrap();
    session.run(&agent, "go").start().await.unwrap();
    let token = soon(tokens.recv()).await.unwrap();
    assert!(!token.is_cancelled());
    assert_eq!(soon(session.stop()).await.unwrap(), RunStatus::Stopped);
    assert!(token.is_cancelled());
}
