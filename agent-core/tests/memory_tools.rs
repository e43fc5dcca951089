//! What the memory tools promise: notes outlast sessions, and no model reads another's.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::Arc;
use std::time::Duration;

use agent_core::{
    Agent, AgentState, Runtime,
    memory::{InMemory, MemoryStore, MemoryTools, Namespace, Put},
    model::{
        Model, Role,
        testing::{Scripted, Turn},
    },
    tool::{Tool, ToolContext, ToolRegistry},
};
use serde_json::{Value, json};

fn ns<const N: usize>(segments: [&str; N]) -> Namespace {
    Namespace::new(segments).unwrap()
}

/// Makes these calls in a session and gives what came back.
async fn calls(
    memory: &Arc<dyn MemoryStore>,
    tools: &MemoryTools,
    session: &str,
    calls: &[(&str, Value)],
) -> Vec<String> {
    let turn = calls.iter().fold(Turn::default(), |turn, (name, args)| turn.and_call(*name, args.clone()));
    let model = Scripted::new([turn, Turn::text("done")]);
    let agent = Agent::builder("a").tools(tools.registry().unwrap()).build().unwrap();
    let runtime = Runtime::builder().model(Model::new(model)).memory(Arc::clone(memory)).build();
    let outcome = runtime.session(session).unwrap().run(&agent, "go").await.unwrap();
    let state: &AgentState = outcome.state().unwrap();
    let results = state.messages.iter().filter(|message| message.role == Role::Tool);
    results.map(|message| message.text().into_owned()).collect()
}

#[tokio::test]
async fn a_note_is_found_in_another_session_and_can_be_forgotten() {
    let memory: Arc<dyn MemoryStore> = Arc::new(InMemory::new());
    let tools = MemoryTools::new(ns(["users", "1"]));
    let note = json!({ "key": "skin", "text": "피부가 건성이라 수분 크림을 좋아한다" });
    assert_eq!(calls(&memory, &tools, "s1", &[("save_memory", note)]).await, ["saved"]);
    let found = calls(&memory, &tools, "s2", &[("search_memory", json!({ "query": "수분 세럼" }))]).await;
    assert!(found[0].contains("건성") && found[0].contains("skin"), "{found:?}");
    let both = [("forget_memory", json!({ "key": "skin" })), ("forget_memory", json!({ "key": "never" }))];
    let forgotten = calls(&memory, &tools, "s3", &both).await;
    assert_eq!(forgotten, ["forgotten", "there is no note with this name"]);
    let left = calls(&memory, &tools, "s4", &[("search_memory", json!({ "query": "" }))]).await;
    assert_eq!(left, ["[]"]);
}

#[tokio::test]
async fn a_model_reads_and_writes_in_its_own_namespace_only() {
    let memory: Arc<dyn MemoryStore> = Arc::new(InMemory::new());
    memory.put(Put::new(ns(["users", "2"]), "secret", json!({ "text": "theirs" }))).await.unwrap();
    let tools = MemoryTools::new(ns(["users", "1"]));
    let tries = [
        ("search_memory", json!({ "query": "theirs" })),
        ("search_memory", json!({ "query": "", "namespace": ["users", "2"] })),
        ("forget_memory", json!({ "key": "secret" })),
        ("save_memory", json!({ "key": "../2/secret", "text": "mine" })),
    ];
    let results = calls(&memory, &tools, "s", &tries).await;
    assert!(results.iter().all(|text| !text.contains("theirs")), "{results:?}");
    assert!(results[1].contains("not valid"), "{results:?}");
    let kept = memory.get(&ns(["users", "2"]), "secret").await.unwrap().unwrap();
    assert_eq!(kept.value["text"], "theirs");
    assert!(memory.get(&ns(["users", "1"]), "../2/secret").await.unwrap().is_some());
}

#[tokio::test]
async fn sessions_can_have_notes_of_their_own() {
    let memory: Arc<dyn MemoryStore> = Arc::new(InMemory::new());
    let tools = MemoryTools::new(ns(["notes"])).by_session().keep_for(Duration::from_secs(60));
    calls(&memory, &tools, "s1", &[("save_memory", json!({ "key": "k", "text": "one" }))]).await;
    let other = calls(&memory, &tools, "s2", &[("search_memory", json!({ "query": "one" }))]).await;
    let own = calls(&memory, &tools, "s1", &[("search_memory", json!({ "query": "one" }))]).await;
    assert_eq!(other, ["[]"]);
    assert!(own[0].contains("one"), "{own:?}");
    let item = memory.get(&ns(["notes", "s1"]), "k").await.unwrap().unwrap();
    assert!(item.expires_at.is_some());
}

#[tokio::test]
async fn without_a_memory_the_model_is_told_so() {
    let tools = MemoryTools::new(ns(["notes"])).registry().unwrap();
    let call = agent_core::tool::ToolCall::new("search_memory", &json!({ "query": "" }));
    let error = tools.prepare(call).unwrap().run(&ToolContext::detached()).await.unwrap_err();
    assert!(error.for_model().contains("no long-term memory"), "{error}");
}

#[tokio::test]
async fn the_todo_tool_works_in_any_registry() {
    use agent_core::agent::plan::UpdatePlan;
    let registry = ToolRegistry::builder().tool(UpdatePlan).build().unwrap();
    assert_eq!(UpdatePlan.name(), "update_plan");
    let add = json!({ "operations": [{ "op": "add", "id": "1", "title": "리뷰 수집" }, { "op": "start", "id": "1" }] });
    let model = Scripted::new([Turn::call("update_plan", add), Turn::text("done")]);
    let agent = Agent::builder("a").tools(registry).build().unwrap();
    let runtime = Runtime::builder().model(Model::new(model)).build();
    let session = runtime.session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let todos = session.status().await.unwrap().todos;
    assert_eq!((todos.len(), todos[0].title.as_str()), (1, "리뷰 수집"));
}
