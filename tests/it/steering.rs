//! Messages to a running agent: read before its next model call, stored, and refused where no run can take them.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Agent, AgentState, Answers, Context, END, Graph, RunStatus, Runtime, START, Session, SessionError,
    event::{EventBody, STEERED},
    ids::Seq,
    journal::JournalStore,
    model::{
        Model, ModelRequest, Role,
        testing::{Scripted, Turn},
    },
    tool::{DynamicTool, ToolPolicy, ToolRegistry},
};
use serde_json::json;
use tests::{Yielding, drop_after, journal, on, soon};
use tokio::sync::Notify;

use super::graph::Trail;

/// The conversation, a line each.
fn lines(state: &AgentState) -> Vec<String> {
    state.messages.iter().map(|message| format!("{:?}: {}", message.role, message.text())).collect()
}

/// Calls the tool once, then answers how often the user spoke.
fn rule(_: usize, request: &ModelRequest) -> Turn {
    let count = |role: Role| request.messages.iter().filter(|message| message.role == role).count();
    match count(Role::Tool) {
        0 => Turn::call("work", json!({})),
        _ => Turn::text(format!("{} messages", count(Role::User))),
    }
}

/// An agent with a tool that reports its begin and waits, while it is held.
fn worker(began: &Arc<Notify>, go: &Arc<Notify>, held: bool) -> Graph<AgentState> {
    let (began, go) = (Arc::clone(began), Arc::clone(go));
    let work =
        DynamicTool::new("work", "Works.", json!({ "type": "object", "properties": {} }), move |_, _| {
            let (began, go) = (Arc::clone(&began), Arc::clone(&go));
            async move {
                if held {
                    began.notify_one();
                    go.notified().await;
                }
                Ok("worked".into())
            }
        });
    let tools = ToolRegistry::builder().tool(work.with_policy(ToolPolicy::read_only())).build().unwrap();
    Agent::builder("worker").tools(tools).build().unwrap()
}

async fn steered_at(session: &Session) -> Seq {
    let events = session.events(Seq::ZERO, 1_000).await.unwrap();
    let steered = |body: &EventBody| matches!(body, EventBody::Custom(custom) if custom.name == STEERED);
    events.iter().find(|event| steered(&event.body)).unwrap().seq.unwrap()
}

#[tokio::test]
async fn a_message_is_read_before_the_next_model_call_wherever_the_process_dies() {
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let inner = journal();
    let agent = worker(&began, &go, true);
    let runtime = on(&inner).model(Model::new(Scripted::rule(rule))).build();
    let session = runtime.session("s").unwrap();
    let run = session.run(&agent, "go").start().await.unwrap();
    soon(began.notified()).await;
    session.steer("shorter").await.unwrap();
    go.notify_one();
    let whole = lines(soon(run.outcome::<AgentState>()).await.unwrap().state().unwrap());
    let steered = ["User: go", "Assistant: ", "Tool: worked", "User: shorter", "Assistant: 2 messages"];
    assert_eq!(whole, steered);

    let at = steered_at(&session).await;
    let last = session.events(Seq::ZERO, 1_000).await.unwrap().last().unwrap().seq.unwrap();
    let later = on(&inner).model(Model::new(Scripted::rule(rule))).graph(&worker(&began, &go, false)).build();
    for seq in (1..last.0).map(Seq) {
        let source = later.session("s").unwrap();
        let fork = source.fork(seq, format!("f-{seq}").parse().unwrap()).await.unwrap();
        let outcome = soon(fork.resume().await.unwrap().outcome::<AgentState>()).await.unwrap();
        let lines = lines(outcome.state().unwrap());
        if seq < at {
            assert_eq!(lines, ["User: go", "Assistant: ", "Tool: worked", "Assistant: 1 messages"], "{seq}");
        } else {
            assert_eq!(lines, steered, "{seq}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_about_to_answer_reads_the_message_and_answers_again() {
    let script = Scripted::new([
        Turn::text("Ten pages.").after(std::time::Duration::from_secs(5)),
        Turn::text("One page."),
    ]);
    let agent = Agent::builder("writer").model(Model::new(script.clone())).build().unwrap();
    let session = on(&journal()).build().session("s").unwrap();
    let run = session.run(&agent, "Write.").start().await.unwrap();
    while script.calls() == 0 {
        tokio::task::yield_now().await;
    }
    session.steer("Keep it short.").await.unwrap();
    let outcome = soon(run.outcome::<AgentState>()).await.unwrap();
    let wanted = ["User: Write.", "Assistant: Ten pages.", "User: Keep it short.", "Assistant: One page."];
    assert_eq!(lines(outcome.state().unwrap()), wanted);
}

#[tokio::test]
async fn a_message_that_no_run_can_take_is_refused() {
    let agent = Agent::builder("a").model(Model::new(Scripted::new([Turn::text("done")]))).build().unwrap();
    let runtime = on(&journal()).graph(&agent).build();
    let session = runtime.session("s").unwrap();
    assert!(matches!(session.steer("hello").await, Err(SessionError::NotFound { .. })));
    session.run(&agent, "go").await.unwrap();
    let refused = session.steer("hello").await.unwrap_err();
    assert_eq!(
        (refused.code().name(), refused.to_string().contains("steer")),
        ("nothing_to_do", true),
        "{refused}"
    );

    let plain = Graph::<Trail>::builder("plain")
        .node("ask", async |_: &Trail, cx: &Context| Ok(Trail::update().sum(cx.ask::<i64>("n?").await?)))
        .path([START, "ask", END])
        .build()
        .unwrap();
    let session = runtime.session("t").unwrap();
    assert!(session.run(&plain, Trail::update()).await.unwrap().is_paused());
    let refused = session.steer("hello").await.unwrap_err();
    assert!(matches!(refused, SessionError::NothingToDo { status: RunStatus::Paused, .. }), "{refused}");
}

#[tokio::test]
async fn a_paused_agent_of_another_process_reads_the_message_when_it_continues() {
    let inner = journal();
    let ask = |name: &'static str| {
        let schema = json!({ "type": "object", "properties": {} });
        let tool =
            DynamicTool::new(name, "Asks.", schema, |_, cx: agent_core::tool::ToolContext| async move {
                Ok(cx.ask("sure?").await?.to_string().into())
            });
        let tools = ToolRegistry::builder().tool(tool.with_policy(ToolPolicy::read_only())).build().unwrap();
        Agent::builder("asker").tools(tools).build().unwrap()
    };
    let agent = ask("work");
    let process = || on(&inner).model(Model::new(Scripted::rule(rule))).graph(&agent).build();
    assert!(process().session("s").unwrap().run(&agent, "go").await.unwrap().is_paused());
    process().session("s").unwrap().steer("and hurry").await.unwrap();
    let run = process().session("s").unwrap().answer(Answers::only("yes")).await.unwrap();
    let outcome = soon(run.outcome::<AgentState>()).await.unwrap();
    assert_eq!(outcome.state().unwrap().answer(), "2 messages");
    let lines = lines(outcome.state().unwrap());
    assert_eq!(lines.iter().filter(|line| *line == "User: and hurry").count(), 1, "{lines:?}");
}

/// A process on a store that yields around each call, whose leases end at once.
fn process(store: &Arc<dyn JournalStore>, agent: &Graph<AgentState>) -> Runtime {
    let builder = Runtime::builder().journal(Yielding::on(Arc::clone(store))).graph(agent);
    builder
        .model(Model::new(Scripted::rule(rule)))
        .options(|options| options.lease_ttl = Duration::ZERO)
        .build()
}

#[tokio::test]
async fn a_caller_of_steer_that_leaves_at_any_await_point_sends_the_message_once_or_not_at_all() {
    for in_memory in [true, false] {
        let (mut sent, mut unsent) = (0, 0);
        for polls in 0.. {
            assert!(polls < 500, "steer does not complete");
            let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let store: Arc<dyn JournalStore> = journal();
            let mut runtime = process(&store, &worker(&began, &go, true));
            let session = runtime.session("s").unwrap();
            let run = session.run(&worker(&began, &go, true), "go").start().await.unwrap();
            soon(began.notified()).await;
            if !in_memory {
                drop((run, session));
                runtime.shutdown(Duration::ZERO).await;
                runtime = process(&store, &worker(&began, &go, false));
            }
            let session = runtime.session("s").unwrap();
            let left = drop_after(polls, session.steer("shorter")).await;
            let completed = left.map(Result::unwrap).is_some();
            go.notify_one();
            if !in_memory {
                soon(runtime.recover()).await.unwrap();
            }
            assert_eq!(soon(session.wait_status()).await.unwrap(), RunStatus::Completed);
            let state: AgentState = session.state().await.unwrap();
            let found = lines(&state).iter().filter(|line| *line == "User: shorter").count();
            assert!(found <= 1 && (!completed || found == 1), "{polls}: {:?}", lines(&state));
            let events = session.events(Seq::ZERO, 1_000).await.unwrap();
            let is_steered =
                |body: &EventBody| matches!(body, EventBody::Custom(custom) if custom.name == STEERED);
            let stored = events.iter().filter(|event| is_steered(&event.body)).count();
            assert_eq!(found, stored, "{polls}: a stored message is read");
            sent += found;
            unsent += 1 - found;
            if completed {
                break;
            }
        }
        assert!(sent > 0 && unsent > 0, "{sent} sent, {unsent} not sent");
    }
}
