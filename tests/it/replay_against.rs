//! A recorded run against another version of its graph: what is the same, what differs, and that nothing is executed.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use agent_core::{
    Agent, AgentState, Answers, Context, END, Graph, NodeError, Result, RunStatus, Runtime, START, State,
    graph::{Dispatch, Outcome},
    journal::InMemoryJournal,
    model::{
        Model,
        testing::{Scripted, Turn},
    },
    session::{ReplayDifference, ReplayReport},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(State, Default, Serialize, Deserialize)]
struct Shop {
    #[state(append)]
    lines: Vec<String>,
    #[state(add)]
    sum: u64,
}

#[derive(State, Default, Serialize, Deserialize)]
struct Inner {
    text: String,
}

/// A version of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Recorded,
    OtherUpdate,
    NewStep,
    WithoutStep,
    OtherRoute,
    WithoutNode,
}

/// Counts what is done outside.
#[derive(Default)]
struct Outside(AtomicU32);

async fn effect(cx: &Context, key: &str) -> Result<u64> {
    let outside = cx.get::<Arc<Outside>>()?;
    cx.step(key, async { Ok::<_, NodeError>(u64::from(outside.0.fetch_add(1, Ordering::SeqCst))) }).await?;
    Ok(10)
}

fn shop(version: Version) -> Graph<Shop> {
    let inner = Graph::<Inner>::builder("inner")
        .node("write", async |_: &Inner, cx: &Context| {
            effect(cx, "inside").await?;
            Ok::<_, NodeError>(Inner::update().text("written".to_owned()))
        })
        .path([START, "write", END])
        .build()
        .unwrap();
    let split = async move |_: &Shop, cx: &Context| {
        effect(cx, "split").await?;
        Ok::<_, NodeError>(Outcome::empty().send_all((0..2_u64).map(|part| Dispatch::new("part", &part))))
    };
    let part = async move |_: &Shop, part: u64, cx: &Context| {
        let sum = effect(cx, "price").await?;
        if version == Version::NewStep && part == 1 {
            effect(cx, "again").await?;
        }
        let factor = if version == Version::OtherUpdate && part == 1 { 2 } else { 1 };
        Ok::<_, NodeError>(Shop::update().sum(sum * factor))
    };
    let ask = async move |shop: &Shop, cx: &Context| {
        if version != Version::WithoutStep {
            effect(cx, "before").await?;
        }
        let name: String = cx.ask("Name?").await?;
        Ok::<_, NodeError>(Shop::update().lines([format!("{name} pays {}", shop.sum)]))
    };
    let thank = async |_: &Shop, _: &Context| Ok::<_, NodeError>(Shop::update().lines(["thanks".to_owned()]));
    let mut graph = Graph::<Shop>::builder("shop")
        .node("split", split)
        .node("part", part)
        .node(
            "inner",
            inner.as_node(|_: &Shop| Inner::default(), |inner: Inner| Shop::update().lines([inner.text])),
        )
        .node("ask", ask)
        .edge(START, "split")
        .declare_targets("split", ["part"])
        .edge("part", "inner")
        .edge("inner", "ask");
    graph = match version {
        Version::WithoutNode => graph.edge("ask", END),
        Version::OtherRoute => graph
            .node("thank", thank)
            .node("more", thank)
            .edge("ask", "more")
            .edge("more", "thank")
            .edge("thank", END),
        _ => graph.node("thank", thank).edge("ask", "thank").edge("thank", END),
    };
    graph.build().unwrap()
}

fn runtime(journal: &Arc<InMemoryJournal>, version: Version) -> (Runtime, Arc<Outside>) {
    let outside = Arc::<Outside>::default();
    let runtime = Runtime::builder().journal(Arc::clone(journal)).graph(&shop(version));
    (
        runtime
            .provide(Arc::clone(&outside))
            .options(|options| options.lease_ttl = std::time::Duration::ZERO)
            .build(),
        outside,
    )
}

/// Two runs on one session; the second one is replayed.
async fn recorded() -> Arc<InMemoryJournal> {
    let journal = Arc::<InMemoryJournal>::default();
    let (runtime, outside) = runtime(&journal, Version::Recorded);
    let session = runtime.session("s").unwrap();
    for name in ["Ana", "Bo"] {
        session.run(&shop(Version::Recorded), Shop::update()).await.unwrap();
        session.answer(Answers::only(name)).await.unwrap();
        assert_eq!(session.wait_status().await.unwrap(), RunStatus::Completed);
    }
    assert_eq!(outside.0.load(Ordering::SeqCst), 10, "five effects in each run");
    journal
}

async fn replay(journal: &Arc<InMemoryJournal>, version: Version) -> ReplayReport {
    let (runtime, outside) = runtime(journal, version);
    let report = runtime.session("s").unwrap().replay().await.unwrap();
    assert_eq!(outside.0.load(Ordering::SeqCst), 0, "{version:?}: nothing is executed");
    assert_eq!(report.run.0, 2);
    report
}

#[tokio::test]
async fn the_same_code_behaves_the_same() {
    let report = replay(&recorded().await, Version::Recorded).await;
    assert_eq!(report.differences, []);
    assert_eq!(report.tasks, 7, "with the node inside the subgraph: {report:?}");
}

#[tokio::test]
async fn another_update_is_named_with_its_task() {
    let report = replay(&recorded().await, Version::OtherUpdate).await;
    let [ReplayDifference::Task { task, recorded, replayed }, rest @ ..] = &report.differences[..] else {
        panic!("{report:?}")
    };
    assert!(task.starts_with("part"), "{task}");
    assert_eq!((recorded, replayed), (&Some(json!({"sum": 10})), &Some(json!({"sum": 20}))));
    // What follows from it: the text with the sum.
    assert_eq!(rest.len(), 1, "{report:?}");
    assert!(rest[0].to_string().contains("Bo pays 50"), "{}", rest[0]);
}

#[tokio::test]
async fn a_step_that_is_not_recorded_is_not_executed_and_is_named() {
    let report = replay(&recorded().await, Version::NewStep).await;
    let found = report.differences.iter().find_map(|difference| match difference {
        ReplayDifference::Unrecorded { task, key } => Some((task.as_str(), key.as_str())),
        _ => None,
    });
    let (task, key) = found.unwrap();
    assert!(task.starts_with("part") && key.contains("again"), "{report:?}");
    let outcome = report.differences.last().unwrap().to_string();
    assert!(outcome.contains("recorded completed, replayed failed"), "{outcome}");
}

#[tokio::test]
async fn a_recorded_step_that_is_not_requested_any_more_is_named() {
    let report = replay(&recorded().await, Version::WithoutStep).await;
    let outcome = report.differences.last().unwrap().to_string();
    assert!(outcome.contains("before") && outcome.contains("ask"), "{report:?}");
}

#[tokio::test]
async fn another_route_is_a_difference() {
    let report = replay(&recorded().await, Version::OtherRoute).await;
    let tasks: Vec<String> = report.differences.iter().map(ToString::to_string).collect();
    assert!(
        tasks.iter().any(|text| text.starts_with("more") && text.contains("recorded not executed")),
        "{tasks:?}"
    );
    let report = replay(&recorded().await, Version::WithoutNode).await;
    let tasks: Vec<String> = report.differences.iter().map(ToString::to_string).collect();
    assert!(
        tasks.iter().any(|text| text.starts_with("thank") && text.contains("replayed not executed")),
        "{tasks:?}"
    );
}

#[tokio::test]
async fn a_conversation_with_a_model_is_replayed_without_the_model() {
    let journal = Arc::<InMemoryJournal>::default();
    let graph = Agent::builder("clock").system("Answer in one sentence.").build().unwrap();
    let model = Scripted::new([Turn::text("It is noon."), Turn::text("It is one.")]);
    let before =
        Runtime::builder().journal(Arc::clone(&journal)).graph(&graph).model(Model::new(model)).build();
    let session = before.session("s").unwrap();
    for _ in 0..2 {
        session.run(&graph, "What time is it?").await.unwrap();
    }
    before.shutdown(std::time::Duration::ZERO).await;
    let model = Scripted::new([]);
    let after = Runtime::builder().journal(journal).graph(&graph).model(Model::new(model.clone())).build();
    let session = after.session("s").unwrap();
    let report = session.replay().await.unwrap();
    assert_eq!(report.differences, []);
    assert_eq!(model.calls(), 0);
    let state: AgentState = session.state().await.unwrap();
    assert_eq!(state.answer(), "It is one.", "the session is unchanged");
}
