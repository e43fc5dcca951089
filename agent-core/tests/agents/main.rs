//! Agents and their tools in a run: order, approval, budgets, crashes, stops, sub-agents.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod approval;
mod sub_agents;
mod windows;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Agent, AgentState, Answers, Graph, RunOptions, RunStatus, Runtime, Session, SessionError,
    agent::{Finish, conversation::Window},
    event::EventBody,
    ids::Seq,
    interrupt::{AnswerError, OpenQuestion, Question},
    journal::{InMemoryJournal, JournalStore},
    memory::{self, MemoryStore, Search},
    model::{
        Message, Model, Role, ToolCall,
        testing::{Chunking, Scripted, Turn},
    },
    run::Limits,
    todo::TodoStatus,
    tool::{
        Approval, ApprovalScope, DynamicTool, Effect, ToolContext, ToolError, ToolFault, ToolOutput,
        ToolPolicy, ToolRegistry,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Barrier;

type Store = Arc<dyn JournalStore>;

fn store() -> Store {
    Arc::new(InMemoryJournal::new())
}

fn runtime(store: &Store, model: &Scripted) -> Runtime {
    Runtime::builder()
        .journal(Arc::clone(store))
        .model(Model::new(model.clone()))
        .options(|options| {
            options.lease_ttl = Duration::ZERO;
            options.grace = Duration::from_secs(1);
        })
        .build()
}

fn any() -> Value {
    json!({ "type": "object", "properties": { "n": { "type": "integer" } } })
}

fn tool<F, Fut>(name: &'static str, policy: ToolPolicy, call: F) -> DynamicTool
where
    F: Fn(Value, ToolContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ToolOutput, ToolError>> + Send + 'static,
{
    DynamicTool::new(name, "A tool.", any(), call).with_policy(policy)
}

/// A tool that counts its calls and returns its argument.
fn counting(name: &'static str, policy: ToolPolicy, count: &Arc<AtomicU32>) -> DynamicTool {
    let count = Arc::clone(count);
    tool(name, policy, move |args, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(format!("n={}", args["n"]).into()) }
    })
}

fn registry(tools: impl IntoIterator<Item = DynamicTool>) -> ToolRegistry {
    tools.into_iter().fold(ToolRegistry::builder(), |builder, tool| builder.tool(tool)).build().unwrap()
}

fn agent(tools: ToolRegistry) -> Graph<AgentState> {
    Agent::builder("a").tools(tools).build().unwrap()
}

fn raw(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: arguments.into(), provider: None }
}

fn calls(calls: impl IntoIterator<Item = ToolCall>) -> Turn {
    calls.into_iter().fold(Turn::default(), Turn::and_raw_call)
}

/// What the model read as results, in order.
fn results(state: &AgentState) -> Vec<String> {
    let tools = state.messages.iter().filter(|message| message.role == Role::Tool);
    tools.map(|message| message.text().into_owned()).collect()
}

/// All providers accept this: the results of each call follow it directly.
fn assert_valid(messages: &[Arc<Message>]) {
    let mut at = 0;
    while let Some(message) = messages.get(at) {
        assert_ne!(message.role, Role::Tool, "a result without a call at {at}");
        for call in &message.tool_calls {
            at += 1;
            assert_eq!(messages[at].tool_call_id.as_deref(), Some(&*call.id));
        }
        at += 1;
    }
}

fn find<'a>(questions: &'a [OpenQuestion], call: &str) -> &'a OpenQuestion {
    questions.iter().find(|open| open.question.details.as_ref().unwrap()["call_id"] == call).unwrap()
}

/// The question that a call asks.
fn of_call<'a>(questions: &'a [OpenQuestion], call: &str) -> &'a OpenQuestion {
    let key = format!("ask:{call}/");
    questions.iter().find(|open| open.question.key.as_ref().is_some_and(|own| own.starts_with(&key))).unwrap()
}

async fn settled(session: &Session, answers: Answers) -> AgentState {
    let outcome = session.answer(answers).await.unwrap().outcome::<AgentState>().await.unwrap();
    outcome.state().unwrap().clone()
}

#[tokio::test]
async fn calls_of_a_turn_overlap_and_their_results_keep_the_order_of_the_calls() {
    let barrier = Arc::new(Barrier::new(2));
    let meet = |name: &'static str| {
        let barrier = Arc::clone(&barrier);
        tool(name, ToolPolicy::default(), move |_, _| {
            let barrier = Arc::clone(&barrier);
            async move {
                // The second call is done first.
                barrier.wait().await;
                if name == "first" {
                    tokio::task::yield_now().await;
                }
                Ok(name.into())
            }
        })
    };
    let model =
        Scripted::new([Turn::call("first", json!({})).and_call("second", json!({})), Turn::text("done")]);
    let agent = agent(registry([meet("first"), meet("second")]));
    let outcome = runtime(&store(), &model).session("s").unwrap().run(&agent, "go").await.unwrap();
    let state = outcome.state().unwrap();
    assert_eq!(results(state), ["first", "second"]);
    assert_eq!((state.answer().as_str(), state.finish), ("done", Some(Finish::Answered)));
}

#[tokio::test]
async fn an_unknown_tool_bad_arguments_and_a_failure_are_told_to_the_model() {
    let fails = tool("fails", ToolPolicy::default(), |_, _| async { Err(ToolError::failed("no such sku")) });
    let model = Scripted::new([
        calls([
            raw("c1", "nope", "{}"),
            raw("c2", "fails", r#"{"n":"x"}"#),
            raw("c3", "fails", "{"),
            raw("c4", "fails", "{}"),
        ]),
        Turn::text("done"),
    ]);
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent(registry([fails])), "go").await.unwrap();
    let results = results(outcome.state().unwrap());
    assert!(results[0].contains("unknown tool `nope`"), "{results:?}");
    assert!(results[1].contains("not valid"), "{results:?}");
    assert!(results[2].contains("Error"), "{results:?}");
    assert_eq!(results[3], "Error: no such sku");
    assert_eq!(session.status().await.unwrap().used.tool_calls, 1);
}

#[tokio::test]
async fn a_policy_can_end_the_run_on_a_fault() {
    let model = Scripted::new([calls([raw("c1", "nope", "{}")])]);
    let agent = Agent::builder("a").failing_on([ToolFault::Unknown]).build().unwrap();
    let error = runtime(&store(), &model).session("s").unwrap().run(&agent, "go").await.unwrap_err();
    assert_eq!(error.code().name(), "tool_failed", "{error}");
}

#[tokio::test]
async fn a_crash_between_tool_calls_repeats_no_paid_call() {
    let (count, keys) = (Arc::<AtomicU32>::default(), Arc::new(std::sync::Mutex::<Vec<String>>::default()));
    let store = store();
    let first = counting("first", ToolPolicy::default(), &count);
    // The first process dies in the middle of this call; the second one finishes it.
    let (seen, hang) = (Arc::clone(&keys), Arc::new(AtomicU32::new(1)));
    let (entered, mut reached) = tokio::sync::mpsc::channel(4);
    let second = tool("second", ToolPolicy::default().effect(Effect::Idempotent), move |_, cx| {
        seen.lock().unwrap().push(cx.idempotency_key.clone());
        let (hangs, entered) = (hang.swap(0, Ordering::SeqCst) == 1, entered.clone());
        async move {
            if hangs {
                entered.send(()).await.unwrap();
                std::future::pending::<()>().await;
            }
            Ok("second".into())
        }
    });
    let model =
        Scripted::new([calls([raw("c1", "first", "{}"), raw("c2", "second", "{}")]), Turn::text("done")]);
    let agent = agent(registry([first, second]));
    let dead = runtime(&store, &model);
    dead.session("s").unwrap().run(&agent, "go").start().await.unwrap();
    reached.recv().await.unwrap();
    // Like a crash: the first process gets no notice of its end.
    let alive = runtime(&store, &model);
    alive.register(&agent);
    let run = alive.session("s").unwrap().resume().await.unwrap();
    let outcome = run.outcome::<AgentState>().await.unwrap();
    assert_eq!(results(outcome.state().unwrap()), ["n=null", "second"]);
    assert_eq!((count.load(Ordering::SeqCst), model.calls()), (1, 2));
    let keys = keys.lock().unwrap();
    assert_eq!((keys.len(), &keys[0]), (2, &keys[1]));
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_call_leaves_a_history_that_a_later_run_can_use() {
    let (entered, mut reached) = tokio::sync::mpsc::channel(4);
    let slow = tool("slow", ToolPolicy::default(), move |_, _| {
        let entered = entered.clone();
        async move {
            entered.send(()).await.unwrap();
            std::future::pending().await
        }
    });
    let model =
        Scripted::new([calls([raw("c1", "slow", "{}"), raw("c2", "slow", "{}")]), Turn::text("fine")]);
    let agent = agent(registry([slow]));
    let session = runtime(&store(), &model).session("s").unwrap();
    session.run(&agent, "go").start().await.unwrap();
    reached.recv().await.unwrap();
    reached.recv().await.unwrap();
    assert_eq!(session.stop().await.unwrap(), RunStatus::Stopped);
    let outcome = session.run(&agent, "and now?").await.unwrap();
    assert_eq!(outcome.state().map(AgentState::answer).as_deref(), Some("fine"));
    let request = model.requests().pop().unwrap();
    assert_valid(&request.messages);
    let closed: Vec<_> = request.messages.iter().filter(|message| message.role == Role::Tool).collect();
    assert_eq!(closed.len(), 2);
    assert!(closed.iter().all(|message| message.text().contains("may have happened or not")));
    assert_eq!(request.messages.last().unwrap().text(), "and now?");
}

#[tokio::test]
async fn no_more_tools_are_called_than_the_budget_allows() {
    let count = Arc::default();
    let model = Scripted::new([calls([raw("c1", "t", "{}"), raw("c2", "t", "{}"), raw("c3", "t", "{}")])]);
    let agent = agent(registry([counting("t", ToolPolicy::default(), &count)]));
    let options = RunOptions::default().limits(Limits::default().tool_calls(2));
    let session = runtime(&store(), &model).session("s").unwrap();
    let error = session.run(&agent, "go").options(options).await.unwrap_err();
    assert_eq!(error.code().name(), "budget_exceeded", "{error}");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_agent_that_never_stops_calling_ends_at_its_turn_limit_with_a_valid_history() {
    let model = Scripted::rule(|_, _| Turn::call("t", json!({})));
    let tools = registry([counting("t", ToolPolicy::default(), &Arc::default())]);
    let agent = Agent::builder("a").tools(tools).max_turns(3).build().unwrap();
    let outcome = runtime(&store(), &model).session("s").unwrap().run(&agent, "go").await.unwrap();
    let state = outcome.state().unwrap();
    assert_eq!((state.finish, state.turns, model.calls()), (Some(Finish::TurnLimit), 3, 3));
    assert_valid(&state.messages);
}

#[tokio::test]
async fn call_ids_that_a_server_repeats_are_calls_of_their_own() {
    let count = Arc::default();
    let model = Scripted::new([
        calls([raw("0", "t", r#"{"n":1}"#)]),
        calls([raw("0", "t", r#"{"n":2}"#)]),
        Turn::text("done"),
    ]);
    let agent = agent(registry([counting("t", ToolPolicy::default(), &count)]));
    let outcome = runtime(&store(), &model).session("s").unwrap().run(&agent, "go").await.unwrap();
    assert_eq!(results(outcome.state().unwrap()), ["n=1", "n=2"]);
}

#[tokio::test]
async fn a_result_that_is_too_long_is_kept_whole_in_the_memory() {
    let long = "긴 글 ".repeat(60_000);
    let whole = long.clone();
    let big = tool("big", ToolPolicy::default().result_limit(1_000), move |_, _| {
        let long = long.clone();
        async move { Ok(long.into()) }
    });
    let memory: Arc<dyn MemoryStore> = Arc::new(memory::InMemoryStore::new());
    let model = Scripted::new([Turn::call("big", json!({})), Turn::text("done")]);
    let runtime = Runtime::builder().model(Model::new(model)).memory(Arc::clone(&memory)).build();
    let outcome = runtime.session("s").unwrap().run(&agent(registry([big])), "go").await.unwrap();
    let preview = results(outcome.state().unwrap()).remove(0);
    assert!(preview.len() < 1_400 && preview.contains("is kept as"), "{preview}");
    let namespace = memory::Namespace::new(["tool-results", "s"]).unwrap();
    let mut parts = memory.search(Search::new(namespace)).await.unwrap();
    parts.sort_by(|a, b| a.item.key.cmp(&b.item.key));
    let kept: String = parts.iter().map(|part| part.item.value["text"].as_str().unwrap()).collect();
    assert_eq!(kept, whole);
}

#[tokio::test]
async fn a_tool_reaches_what_the_runtime_provides_and_shows_its_progress() {
    struct Rate(u32);
    let tool = tool("t", ToolPolicy::default(), |_, cx| async move {
        cx.progress(json!({ "percent": 50 }));
        Ok(format!("{}", cx.get::<Rate>()?.0).into())
    });
    let model = Scripted::new([calls([raw("c1", "t", "{}")]), Turn::text("done")]);
    let runtime = Runtime::builder().model(Model::new(model)).provide(Rate(7)).build();
    let session = runtime.session("s").unwrap();
    let mut events = session.subscribe(None);
    let outcome = session.run(&agent(registry([tool])), "go").await.unwrap();
    assert_eq!(results(outcome.state().unwrap()), ["7"]);
    let (mut called, mut progress, mut recorded) = (false, false, false);
    loop {
        match &events.next().await.unwrap().body {
            EventBody::ToolCalled(event) => called = event.name == "t" && !progress,
            EventBody::Progress(event) => progress = event.name == "tool:c1",
            EventBody::StepRecorded(event) if event.kind == "tool" => {
                recorded = event.value.as_ref().unwrap()["message"]["content"] == "7";
            }
            body if body.ends_run() => break,
            _ => {}
        }
    }
    assert!(called && progress && recorded, "{called} {progress} {recorded}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Tone {
    sentiment: String,
}

#[tokio::test]
async fn a_typed_answer_is_read_from_the_words_or_asked_for() {
    for (turns, asked) in [
        (vec![Turn::text(r#"{"sentiment":"좋음"}"#)], 1),
        (vec![Turn::text("I liked it."), Turn::text("{}"), Turn::text(r#"{"sentiment":"좋음"}"#)], 3),
    ] {
        let model = Scripted::new(turns);
        let agent = Agent::builder("a").output::<Tone>().build().unwrap();
        let outcome = runtime(&store(), &model).session("s").unwrap().run(&agent, "go").await.unwrap();
        let tone: Tone = outcome.state().unwrap().output().unwrap();
        assert_eq!((tone.sentiment.as_str(), model.calls()), ("좋음", asked));
    }
}

#[tokio::test]
async fn a_crash_at_any_place_of_the_journal_repeats_nothing_recorded_and_ends_the_same() {
    let (paid, asked) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let (count, reported) = (Arc::clone(&paid), Arc::clone(&asked));
    let wordy = tool("wordy", ToolPolicy::read_only(), move |args, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(format!("{} {}", args["n"], "긴 \"답\" ".repeat(200)).into()) }
    });
    let model = Scripted::rule(move |_, request| {
        reported.fetch_add(1, Ordering::SeqCst);
        match request.messages.len() {
            1 => calls([raw("c1", "wordy", r#"{"n":1}"#), raw("c2", "wordy", r#"{"n":2}"#)]),
            4 => calls([raw("c1", "wordy", r#"{"n":3}"#)]).thinking("흠".repeat(600)),
            _ => Turn::text("done ".repeat(300)),
        }
    });
    let store = store();
    let agent = agent(registry([wordy]));
    let runtime = runtime(&store, &model);
    let session = runtime.session("s").unwrap();
    let whole = session.run(&agent, "go").await.unwrap().state().unwrap().clone();
    let events = session.events(Seq::ZERO, 1_000).await.unwrap();
    let count = |upto: Seq, kind: &str| {
        let steps = events.iter().filter(|event| event.seq <= Some(upto));
        let of = |event: &&agent_core::Event| matches!(&event.body, EventBody::StepRecorded(step) if step.kind == kind);
        u32::try_from(steps.filter(of).count()).unwrap()
    };
    let last = events.last().unwrap().seq.unwrap();
    assert_eq!((count(last, "tool"), count(last, "model")), (3, 3));
    for seq in (1..last.0).map(Seq) {
        paid.store(0, Ordering::SeqCst);
        asked.store(0, Ordering::SeqCst);
        let fork = session.fork(seq, format!("s-{seq}").parse().unwrap()).await.unwrap();
        let outcome = fork.resume().await.unwrap().outcome::<AgentState>().await.unwrap();
        let state = outcome.state().unwrap();
        assert_eq!(results(state), results(&whole), "{seq}");
        assert_eq!(state.answer(), whole.answer(), "{seq}");
        assert_eq!(paid.load(Ordering::SeqCst), 3 - count(seq, "tool"), "{seq}");
        assert_eq!(asked.load(Ordering::SeqCst), 3 - count(seq, "model"), "{seq}");
    }
}
