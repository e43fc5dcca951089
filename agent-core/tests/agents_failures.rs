//! What agents do when a model refuses, a process dies in the middle of a call, or sub-agents come late.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Agent, AgentState, Answers, Graph, RunStatus, Runtime, Session,
    agent::conversation::Window,
    event::{EventBody, payload},
    ids::Seq,
    journal::{InMemoryJournal, JournalStore},
    model::{
        Message, Model, ModelError, ModelErrorKind, ModelRequest, Role, ToolCall,
        testing::{Chunking, Scripted, Turn},
    },
    tool::{Approval, ApprovalScope, DynamicTool, Effect, InterruptedCallPolicy, ToolPolicy, ToolRegistry},
};
use serde_json::json;
use tokio::sync::mpsc;

type Store = Arc<dyn JournalStore>;

fn store() -> Store {
    Arc::new(InMemoryJournal::new())
}

fn runtime(store: &Store, model: &Scripted) -> Runtime {
    Runtime::builder()
        .journal(Arc::clone(store))
        .model(Model::new(model.clone()))
        .options(|options| options.lease_ttl = Duration::ZERO)
        .build()
}

fn raw(id: &str, name: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: "{}".into(), provider: None }
}

/// What the model read as results, in order.
fn results(state: &AgentState) -> Vec<String> {
    let tools = state.messages.iter().filter(|message| message.role == Role::Tool);
    tools.map(|message| message.text().into_owned()).collect()
}

// --- a conversation that is too long -------------------------------------------------------------------------------

/// Refuses more than `most` messages; says how many it was sent.
fn short_of_breath(most: usize) -> Scripted {
    Scripted::rule(move |_, request: &ModelRequest| {
        if request.system.as_deref().is_some_and(|prompt| prompt.contains("condense")) {
            return Turn::text("the short of it");
        }
        if request.messages.len() > most {
            return Turn::error(ModelError::new(ModelErrorKind::ContextTooLong));
        }
        Turn::text(format!("read {}", request.messages.len()))
    })
}

fn long_talk() -> Vec<Message> {
    let turns = (0..20).flat_map(|n| [Message::user(format!("question {n}")), Message::assistant("answer")]);
    turns.chain([Message::user("the last one")]).collect()
}

async fn compactions(session: &Session) -> Vec<serde_json::Value> {
    let events = session.events(Seq::ZERO, 1_000).await.unwrap();
    let custom = events.into_iter().filter_map(|event| match event.body {
        EventBody::Custom(payload::Custom { name, value, .. }) if name == "context_compacted" => {
            Some(serde_json::Value::clone(&value))
        }
        _ => None,
    });
    custom.collect()
}

#[tokio::test]
async fn a_conversation_that_the_model_refuses_as_too_long_is_halved_and_asked_again() {
    let model = short_of_breath(12);
    let agent = Agent::builder("a").build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, AgentState::says(long_talk())).await.unwrap();
    let state = outcome.state().unwrap();
    assert!(state.answer().starts_with("read "), "{}", state.answer());
    assert_eq!(state.messages.len(), 42, "the state keeps every message");
    let reported = compactions(&session).await;
    assert_eq!((reported.len(), &reported[0]["messages"]), (2, &json!(41)));
    // The next turn knows it: no call is wasted.
    let calls = model.calls();
    session.run(&agent, "one more").await.unwrap();
    assert_eq!((model.calls(), compactions(&session).await.len()), (calls + 1, 2));
}

#[tokio::test]
async fn what_does_not_fit_the_model_is_summarised_where_that_is_wanted() {
    let model = short_of_breath(12);
    let agent = Agent::builder("a").summarise_beyond(Window::tokens(100_000)).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, AgentState::says(long_talk())).await.unwrap();
    let state = outcome.state().unwrap();
    assert_eq!(state.summary.as_ref().map(|summary| summary.text.as_str()), Some("the short of it"));
    assert!(state.answer().starts_with("read "), "{}", state.answer());
}

#[tokio::test]
async fn a_single_message_that_is_too_long_is_an_error_as_before() {
    let model = short_of_breath(0);
    let session = runtime(&store(), &model).session("s").unwrap();
    let error = session.run(&Agent::builder("a").build().unwrap(), "go").await.unwrap_err();
    assert_eq!((error.code().name(), model.calls()), ("model_failed", 1));
}

#[tokio::test]
async fn a_refusal_is_not_asked_for_again_after_a_restart() {
    let (entered, mut reached) = mpsc::channel(4);
    let model = Scripted::rule(move |call, request: &ModelRequest| match call {
        0 => Turn::error(ModelError::new(ModelErrorKind::ContextTooLong)),
        1 => {
            entered.try_send(()).unwrap();
            Turn::text("x").then_hang(0)
        }
        _ => Turn::text(format!("read {}", request.messages.len())),
    });
    let (store, agent) = (store(), Agent::builder("a").build().unwrap());
    let dead = runtime(&store, &model);
    let input = AgentState::says(long_talk());
    dead.session("s").unwrap().run(&agent, input).start().await.unwrap();
    reached.recv().await.unwrap();
    let alive = runtime(&store, &model);
    alive.register(&agent);
    let run = alive.session("s").unwrap().resume().await.unwrap();
    let state = run.outcome::<AgentState>().await.unwrap().completed().unwrap().state;
    assert_ne!(state.answer(), "read 41", "the halved conversation was sent");
    assert_eq!(model.calls(), 3);
}

// --- a call whose outcome nobody knows -----------------------------------------------------------------------------

struct Payment {
    agent: Graph<AgentState>,
    model: Scripted,
    made: Arc<AtomicU32>,
    reached: mpsc::Receiver<()>,
}

/// An agent with a tool that hangs in its first `hangs` calls.
fn payment(policy: ToolPolicy, hangs: u32) -> Payment {
    let made = Arc::<AtomicU32>::default();
    let (entered, reached) = mpsc::channel(4);
    let count = Arc::clone(&made);
    let pay = DynamicTool::new("pay", "Pays.", json!({ "type": "object", "properties": {} }), move |_, _| {
        let hang = count.fetch_add(1, Ordering::SeqCst) < hangs;
        let entered = entered.clone();
        async move {
            if hang {
                entered.send(()).await.unwrap();
                std::future::pending::<()>().await;
            }
            Ok("paid".into())
        }
    });
    let tools = ToolRegistry::builder().tool(pay.with_policy(policy)).build().unwrap();
    let agent = Agent::builder("a").tools(tools).build().unwrap();
    let model = Scripted::new([Turn::default().and_raw_call(raw("c1", "pay")), Turn::text("done")]);
    Payment { agent, model, made, reached }
}

/// The session as the next process sees it.
fn next_process(store: &Store, payment: &Payment) -> Session {
    let runtime = runtime(store, &payment.model);
    runtime.register(&payment.agent);
    runtime.session("s").unwrap()
}

async fn crash_in_the_call(store: &Store, payment: &mut Payment) {
    let session = next_process(store, payment);
    session.run(&payment.agent, "go").start().await.unwrap();
    payment.reached.recv().await.unwrap();
}

#[tokio::test]
async fn a_call_with_an_effect_is_not_made_again_after_a_crash_in_the_middle_of_it() {
    for effect in [Effect::Writes, Effect::Destructive] {
        let (store, mut payment) = (store(), payment(ToolPolicy::default().effect(effect), 1));
        crash_in_the_call(&store, &mut payment).await;
        let session = next_process(&store, &payment);
        let run = session.resume().await.unwrap();
        let state = run.outcome::<AgentState>().await.unwrap().completed().unwrap().state;
        assert!(results(&state)[0].contains("may have happened or not"), "{:?}", results(&state));
        assert_eq!(payment.made.load(Ordering::SeqCst), 1);
        assert_eq!(session.status().await.unwrap().used.tool_calls, 1, "it may have happened, so it counts");
        let events = session.events(Seq::ZERO, 100).await.unwrap();
        let called = events.iter().filter(|event| matches!(event.body, EventBody::ToolCalled(_)));
        assert_eq!(called.count(), 1, "its beginning is in the journal");
    }
}

#[tokio::test]
async fn a_repeatable_call_and_one_whose_policy_says_so_are_made_again() {
    let repeats = ToolPolicy::default().interrupted(InterruptedCallPolicy::Repeat);
    for policy in [ToolPolicy::read_only(), ToolPolicy::default().effect(Effect::Idempotent), repeats] {
        let (store, mut payment) = (store(), payment(policy, 1));
        crash_in_the_call(&store, &mut payment).await;
        let run = next_process(&store, &payment).resume().await.unwrap();
        let state = run.outcome::<AgentState>().await.unwrap().completed().unwrap().state;
        assert_eq!((results(&state), payment.made.load(Ordering::SeqCst)), (vec!["paid".to_owned()], 2));
    }
}

#[tokio::test]
async fn a_person_can_be_asked_whether_to_make_it_again_each_time_it_was_cut_short() {
    for last in ["repeat", "leave"] {
        let (store, mut payment) =
            (store(), payment(ToolPolicy::default().interrupted(InterruptedCallPolicy::Ask), 2));
        crash_in_the_call(&store, &mut payment).await;
        let outcome = next_process(&store, &payment).resume().await.unwrap().outcome::<AgentState>().await;
        assert_eq!(outcome.unwrap().questions().len(), 1);
        assert_eq!(payment.made.load(Ordering::SeqCst), 1, "not before somebody said so");
        // The second call is cut short too.
        next_process(&store, &payment).answer(Answers::only("repeat")).await.unwrap();
        payment.reached.recv().await.unwrap();
        let outcome = next_process(&store, &payment).resume().await.unwrap().outcome::<AgentState>().await;
        assert_eq!(outcome.unwrap().questions().len(), 1, "a yes is for one call");
        let run = next_process(&store, &payment).answer(Answers::only(last)).await.unwrap();
        let state = run.outcome::<AgentState>().await.unwrap().completed().unwrap().state;
        let (text, made) = (results(&state).remove(0), payment.made.load(Ordering::SeqCst));
        match last {
            "repeat" => assert_eq!((text.as_str(), made), ("paid", 3)),
            _ => assert!(text.contains("may have happened") && made == 2, "{text} {made}"),
        }
    }
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_call_leaves_its_outcome_unknown_too() {
    let (store, mut payment) = (store(), payment(ToolPolicy::default(), 1));
    let session = next_process(&store, &payment);
    session.run(&payment.agent, "go").start().await.unwrap();
    payment.reached.recv().await.unwrap();
    assert_eq!(session.stop().await.unwrap(), RunStatus::Stopped);
    let run = session.resume().await.unwrap();
    let state = run.outcome::<AgentState>().await.unwrap().completed().unwrap().state;
    assert!(results(&state)[0].contains("may have happened or not"), "{:?}", results(&state));
    assert_eq!(payment.made.load(Ordering::SeqCst), 1);
}

// --- sub-agents ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn results_stand_in_the_order_of_the_calls_whether_a_tool_or_a_sub_agent_gave_them() {
    let tool =
        DynamicTool::new("t", "A tool.", json!({ "type": "object", "properties": {} }), |_, _| async {
            Ok("tool".into())
        });
    let tools = ToolRegistry::builder().tool(tool).build().unwrap();
    let worker = |name: &str, wait: u64| {
        let answer = Turn::text(name).after(Duration::from_millis(wait));
        Agent::builder(name).model(Model::new(Scripted::rule(move |_, _| answer.clone())))
    };
    let task = |name: &str, id: &str| ToolCall {
        arguments: json!({ "task": "help", "todo": null }).to_string(),
        ..raw(id, name)
    };
    let turn = Turn::default()
        .and_raw_call(task("slow", "c1"))
        .and_raw_call(raw("c2", "t"))
        .and_raw_call(task("fast", "c3"))
        .and_raw_call(raw("c4", "t"));
    let model = Scripted::new([turn, Turn::text("done")]);
    let agent = Agent::builder("a")
        .tools(tools)
        .sub_agent(worker("slow", 20))
        .sub_agent(worker("fast", 0))
        .build()
        .unwrap();
    let outcome = runtime(&store(), &model).session("s").unwrap().run(&agent, "go").await.unwrap();
    assert_eq!(results(outcome.state().unwrap()), ["slow", "tool", "fast", "tool"]);
    let read = model.requests().pop().unwrap();
    let ids: Vec<&str> = read.messages.iter().filter_map(|message| message.tool_call_id.as_deref()).collect();
    assert_eq!(ids, ["c1", "c2", "c3", "c4"]);
}

#[tokio::test]
async fn an_approval_that_counts_for_later_calls_counts_for_the_parent_too() {
    let count = Arc::<AtomicU32>::default();
    let tools = || {
        let count = Arc::clone(&count);
        let policy = ToolPolicy::default().approval(Approval::Always).sticky(ApprovalScope::Tool);
        let tool =
            DynamicTool::new("t", "A tool.", json!({ "type": "object", "properties": {} }), move |_, _| {
                count.fetch_add(1, Ordering::SeqCst);
                async { Ok("ok".into()) }
            });
        ToolRegistry::builder().tool(tool.with_policy(policy)).build().unwrap()
    };
    let worker = |name: &str| {
        let model = Scripted::new([Turn::call("t", json!({})), Turn::text("done")]);
        Agent::builder(name).tools(tools()).model(Model::new(model))
    };
    let both = Turn::call("x", json!({ "task": "a", "todo": null }))
        .and_call("y", json!({ "task": "b", "todo": null }));
    let model = Scripted::new([both, Turn::call("t", json!({})), Turn::text("done")]);
    let agent =
        Agent::builder("a").tools(tools()).sub_agent(worker("x")).sub_agent(worker("y")).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let questions = outcome.questions();
    assert_eq!(questions.len(), 2, "both sub-agents ask, side by side");
    let run =
        session.answer(Answers::each(questions.iter().map(|open| (open.id.clone(), true)))).await.unwrap();
    run.outcome::<AgentState>().await.unwrap().completed().expect("the parent need not ask again");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

// --- what subscribers see ------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_tool_call_is_seen_while_the_model_writes_it() {
    let schema = json!({ "type": "object", "properties": { "도시": { "type": "string" } } });
    let tool = DynamicTool::new("t", "A tool.", schema, |_, _| async { Ok("ok".into()) });
    let tools = ToolRegistry::builder().tool(tool.with_policy(ToolPolicy::read_only())).build().unwrap();
    let call = ToolCall { arguments: r#"{"도시":"서울"}"#.into(), ..raw("c1", "t") };
    let pieces =
        Turn::default().and_raw_call(call).chunked(Chunking::Chars(3)).every(Duration::from_millis(1));
    let model = Scripted::new([pieces, Turn::text("done")]);
    let session = runtime(&store(), &model).session("s").unwrap();
    let mut events = session.subscribe(None);
    let agent = Agent::builder("a").tools(tools).build().unwrap();
    session.run(&agent, "go").start().await.unwrap();
    let (mut text, mut pieces, mut began_first, mut called_after) = (String::new(), 0, false, false);
    loop {
        match &events.next().await.unwrap().body {
            EventBody::ToolArguments(piece) => {
                assert_eq!((piece.call_id.as_str(), piece.name.as_str(), piece.index), ("c1", "t", 0));
                began_first |= pieces == 0 && piece.text.is_empty();
                text.push_str(&piece.text);
                pieces += 1;
            }
            EventBody::ToolCalled(_) => called_after = text == r#"{"도시":"서울"}"#,
            body if body.ends_run() => break,
            _ => {}
        }
    }
    assert_eq!(text, r#"{"도시":"서울"}"#);
    assert!(pieces > 2 && began_first && called_after, "{pieces} {began_first} {called_after}");
}
