//! Messages to an agent at work, by REST and over the WebSocket.

use std::sync::Arc;

use agent_core::{
    Agent, Runtime,
    model::{
        Model, Role,
        testing::{Scripted, Turn},
    },
    tool::{DynamicTool, ToolPolicy, ToolRegistry},
};
use agent_server::Assistant;
use hyper_tungstenite::tungstenite::Message;
use serde_json::json;
use tokio::sync::Notify;

use crate::support::{
    Here,
    agent::{Puppeteer, puppet},
};

/// An agent with a tool that waits, and answers with all that the user said.
async fn worker() -> (Here, Arc<Notify>, Arc<Notify>) {
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let model = Model::new(Scripted::rule(|_, request| {
        let messages = request.messages.iter();
        let said: Vec<String> = messages
            .filter(|message| message.role == Role::User)
            .map(|message| message.text().into_owned())
            .collect();
        match request.messages.last().unwrap().role {
            Role::User if said.len() == 1 => Turn::call("work", json!({})),
            _ => Turn::text(said.join(" + ")),
        }
    }));
    let (tool_began, tool_go) = (Arc::clone(&began), Arc::clone(&go));
    let assistant = Assistant::new(move || {
        let (began, go) = (Arc::clone(&tool_began), Arc::clone(&tool_go));
        let schema = json!({"type": "object", "properties": {}});
        let work = DynamicTool::new("work", "Works.", schema, move |_, _| {
            let (began, go) = (Arc::clone(&began), Arc::clone(&go));
            async move {
                began.notify_one();
                go.notified().await;
                Ok("worked".into())
            }
        });
        let tools = ToolRegistry::builder().tool(work.with_policy(ToolPolicy::read_only())).build().unwrap();
        Agent::builder("assistant").model(model.clone()).tools(tools)
    });
    let here = Here::made(Runtime::builder(), |server| server.assistant(assistant.unwrap())).await;
    (here, began, go)
}

#[tokio::test]
async fn an_agent_at_work_reads_messages_of_both_ways() {
    let (here, began, go) = worker().await;
    here.start("s", "일해 줘").await;
    began.notified().await;
    let reply = here.post("/sessions/s/steer", json!({"message": "짧게 🌸"})).await;
    assert_eq!((reply.status.as_u16(), &reply.body["status"]), (200, &json!("running")), "{reply:?}");
    let mut socket = here.socket("s", "?events=all").await;
    socket.say("steer", json!({"message": "and fast"})).await;
    while !socket.until("event").await.to_string().contains("and fast") {}
    go.notify_one();
    let complete = socket.until("complete").await;
    assert_eq!(complete["data"]["response"], "일해 줘 + 짧게 🌸 + and fast");
}

#[tokio::test]
async fn a_message_that_nothing_can_read_is_refused() {
    let (here, _, go) = worker().await;
    assert_eq!(
        here.post("/sessions/none/steer", json!({"message": "x"})).await.refusal(),
        (404, "session_not_found")
    );
    go.notify_one();
    here.post("/run", json!({"message": "hi", "session_id": "s"})).await;
    let steer = async |body| here.post("/sessions/s/steer", body).await;
    assert_eq!(steer(json!({"message": "late"})).await.refusal(), (409, "nothing_to_do"));
    assert_eq!(steer(json!({"message": " "})).await.refusal(), (400, "empty_message"));
    assert_eq!(steer(json!({})).await.refusal(), (400, "empty_message"));
    assert_eq!(steer(json!({"message": "x".repeat(40_000)})).await.refusal(), (400, "message_too_long"));
    let reply = steer(json!({"mesage": "x"})).await;
    assert_eq!(reply.refusal(), (400, "invalid_request"));
    assert!(reply.body["detail"].as_str().unwrap().contains("`message`"), "{reply:?}");
    let mut socket = here.socket("s", "").await;
    let frame = |text: &str| Message::text(text.to_owned());
    assert_eq!(
        socket.refused(frame(r#"{"type": "steer", "data": {"message": "late"}}"#)).await,
        "nothing_to_do"
    );
    assert_eq!(socket.refused(frame(r#"{"type": "steer", "data": {}}"#)).await, "empty_message");
    assert_eq!(socket.refused(frame(r#"{"type": "steer"}"#)).await, "invalid_request");

    // A graph that is not an agent.
    let here = Here::of(puppet().0, Puppeteer, |_| {}).await;
    here.post("/run", json!({"message": "ask two", "session_id": "s"})).await;
    let reply = here.post("/sessions/s/steer", json!({"message": "x"})).await;
    assert_eq!(reply.refusal(), (409, "nothing_to_do"));
    let mut socket = here.socket("s", "").await;
    assert_eq!(
        socket.refused(frame(r#"{"type": "steer", "data": {"message": "x"}}"#)).await,
        "nothing_to_do"
    );
}
