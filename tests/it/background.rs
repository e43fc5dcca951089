//! Background agents: they outlive the turn and the process that started them, and belong to their session.

use std::sync::Arc;

use agent_core::{
    Agent, AgentState, Graph, RunStatus, Runtime, Session,
    journal::Recent,
    model::{
        Model, Role,
        testing::{Scripted, Turn},
    },
    session::BackgroundAgent,
    tool::{DynamicTool, ToolPolicy, ToolRegistry},
};
use serde_json::{Value, json};
use tests::{Dying, journal, on, soon};
use tokio::sync::Notify;

/// An agent with a tool that waits until it may end.
fn researcher(go: &Arc<Notify>) -> Graph<AgentState> {
    let go = Arc::clone(go);
    let wait =
        DynamicTool::new("wait", "Waits.", json!({ "type": "object", "properties": {} }), move |_, _| {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                Ok("waited".into())
            }
        });
    let tools = ToolRegistry::builder().tool(wait.with_policy(ToolPolicy::read_only())).build().unwrap();
    let model = Model::new(Scripted::rule(|_, request| match request.messages.last().unwrap().role {
        Role::User => Turn::call("wait", json!({})),
        _ => Turn::text("ten pages"),
    }));
    Agent::builder("researcher").tools(tools).model(model).build().unwrap()
}

/// An agent that makes the call that the user writes, `TOOL ARGUMENTS`, and answers with its result.
fn lead(runtime: &Runtime, researcher: &Graph<AgentState>) -> Graph<AgentState> {
    let tools = BackgroundAgent::new(runtime, researcher).tools().unwrap();
    let model = Model::new(Scripted::rule(|_, request| {
        let last = request.messages.last().unwrap();
        let said = last.text().into_owned();
        match last.role {
            Role::User => {
                let (tool, arguments) = said.split_once(' ').unwrap();
                Turn::call(tool, serde_json::from_str(arguments).unwrap())
            }
            _ => Turn::text(said),
        }
    }));
    Agent::builder("lead").tools(tools).model(model).build().unwrap()
}

async fn call(session: &Session, lead: &Graph<AgentState>, tool: &str, arguments: Value) -> String {
    soon(session.chat(lead, format!("{tool} {arguments}"))).await.unwrap().text().to_owned()
}

#[tokio::test]
async fn a_background_agent_outlives_the_turn_and_the_process_that_started_it() {
    let (inner, go) = (journal(), Arc::new(Notify::new()));
    let agent = researcher(&go);
    let first = on(&inner).build();
    let lead_of_first = lead(&first, &agent);
    let session = first.session("s").unwrap();
    let started = call(&session, &lead_of_first, "start_researcher", json!({ "task": "sun cream" })).await;
    let started: Value = serde_json::from_str(&started).unwrap();
    assert_eq!(started["status"], "running");
    let named = json!({ "id": started["id"] });
    assert!(call(&session, &lead_of_first, "check_researcher", named.clone()).await.contains("running"));
    first.shutdown(std::time::Duration::ZERO).await;

    let second = on(&inner).build();
    let lead = lead(&second, &agent);
    second.recover().await.unwrap();
    go.notify_one();
    let background = second.session(started["id"].as_str().unwrap()).unwrap();
    soon(background.wait_status()).await.unwrap();
    let session = second.session("s").unwrap();
    let checked = call(&session, &lead, "check_researcher", named.clone()).await;
    assert!(checked.contains("completed") && checked.contains("ten pages"), "{checked}");
    // Another session did not start it.
    let other = second.session("other").unwrap();
    let refused = call(&other, &lead, "check_researcher", named).await;
    assert_eq!(refused, "Error: no task has this id");
}

#[tokio::test]
async fn a_cancelled_background_agent_is_stopped() {
    let runtime = on(&journal()).build();
    let lead = lead(&runtime, &researcher(&Arc::new(Notify::new())));
    let session = runtime.session("s").unwrap();
    let started = call(&session, &lead, "start_researcher", json!({ "task": "sun cream" })).await;
    let started: Value = serde_json::from_str(&started).unwrap();
    let named = json!({ "id": started["id"] });
    assert!(call(&session, &lead, "cancel_researcher", named.clone()).await.contains("stopped"));
    assert!(call(&session, &lead, "check_researcher", named).await.contains("stopped"));
}

#[tokio::test]
async fn a_start_that_a_crash_repeats_starts_one_run() {
    let mut repeated = 0;
    for appends in 0..24 {
        let (inner, go) = (journal(), Arc::new(Notify::new()));
        let agent = researcher(&go);
        let begin = json!({ "task": "sun cream" });
        let dying = Runtime::builder().journal(Dying::at(&inner, appends, false)).build();
        let lead_of_first = lead(&dying, &agent);
        let first = dying.session("s").unwrap();
        first.chat(&lead_of_first, format!("start_researcher {begin}")).await.ok();

        let runtime = on(&inner).build();
        let lead = lead(&runtime, &agent);
        runtime.register(&lead);
        runtime.recover().await.unwrap();
        let session = runtime.session("s").unwrap();
        if session.status().await.is_err() {
            continue;
        }
        soon(session.wait_status()).await.unwrap();
        assert_eq!(session.status().await.unwrap().status, RunStatus::Completed, "{appends}");
        let wanted = Recent { limit: 100, ..Recent::default() };
        let all = runtime.recent(wanted).await.unwrap();
        let started = all.iter().filter(|info| info.id.as_str().starts_with("researcher-")).count();
        assert_eq!(started, 1, "{appends}");
        repeated += 1;
        go.notify_waiters();
        runtime.shutdown(std::time::Duration::ZERO).await;
    }
    assert!(repeated > 5);
}
