//! The `why` query: the entries that produced a value, and the entries that those came from.

use agent_core::{Answers, Context, END, Graph, NodeError, START, SessionError, session::ProvenanceKind};
use serde_json::json;
use tests::{journal, on};

use super::graph::{Trail, TrailUpdate, step};

async fn ask(_: &Trail, cx: &Context) -> agent_core::Result<TrailUpdate> {
    let base: i64 = cx.step("base", async { Ok::<_, NodeError>(40) }).await?;
    let more: i64 = cx.ask(agent_core::Question::new("how much?").key("more")).await?;
    Ok(Trail::update().sum(base + more))
}

fn graph() -> Graph<Trail> {
    Graph::<Trail>::builder("why")
        .node("ask", ask)
        .node("after", step)
        .edge(START, "ask")
        .edge("ask", "after")
        .edge("after", END)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_fields_causes_are_the_input_the_task_with_what_it_was_told_and_an_edit() {
    let runtime = on(&journal()).build();
    let session = runtime.session("s").unwrap();
    assert!(matches!(session.provenance("sum").await, Err(SessionError::NotFound { .. })));
    session.run(&graph(), Trail::update().sum(1)).await.unwrap();
    session.answer(Answers::only(2)).by("ana").await.unwrap().outcome::<Trail>().await.unwrap();
    session.edit(&graph(), "after", Trail::update().sum(7)).await.unwrap();

    let causes = session.provenance("sum").await.unwrap();
    let kinds: Vec<_> = causes.iter().map(|cause| (cause.kind, cause.value.clone())).collect();
    let wanted = [
        (ProvenanceKind::Input, json!(1)),
        (ProvenanceKind::Node, json!(42)),
        (ProvenanceKind::Edit, json!(7)),
    ];
    assert_eq!(kinds, wanted);
    let node = &causes[1];
    assert!(node.by.as_deref().unwrap().starts_with("ask#"), "{node:?}");
    let from: Vec<&str> = node.from.iter().map(|source| source.description.as_str()).collect();
    assert!(from[0].contains("`base`") && from[1].contains("by ana"), "{from:?}");
    assert!(node.from.iter().all(|source| source.seq < node.seq), "{node:?}");

    // The question by its key and by its id, the step by its key.
    let asked = session.provenance("more").await.unwrap();
    assert_eq!(
        asked.iter().map(|cause| cause.kind).collect::<Vec<_>>(),
        [ProvenanceKind::Question, ProvenanceKind::Answer]
    );
    assert_eq!(session.provenance("base").await.unwrap()[0].value, json!(40));
    assert!(session.provenance("nothing").await.unwrap().is_empty());
}
