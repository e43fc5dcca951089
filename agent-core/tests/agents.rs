//! What agents and their tools promise in a run: order, approval, budgets, crashes, stops, sub-agents.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

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

/// A tool that counts its calls and says its argument.
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

/// Every provider takes it: each call has its results directly behind it.
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

/// The question that a call asks itself.
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
async fn two_calls_that_need_approval_are_both_asked_and_answered_apart() {
    let count = Arc::default();
    let policy = ToolPolicy::default().approval(Approval::Always);
    let model = Scripted::new([
        calls([raw("c1", "pay", r#"{"n":1}"#), raw("c2", "pay", r#"{"n":2}"#)]),
        Turn::text("done"),
    ]);
    let agent = agent(registry([counting("pay", policy, &count)]));
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let questions = outcome.questions();
    assert_eq!(questions.len(), 2);
    let (one, two) = (find(questions, "c1"), find(questions, "c2"));
    assert_eq!(two.question.details.as_ref().unwrap()["arguments"], json!({ "n": 2 }));
    let bare = session.answer(Answers::only("approve")).await.unwrap_err();
    assert!(matches!(bare, SessionError::Answer(AnswerError::Ambiguous { .. })), "{bare}");
    let refused = json!({ "decision": "reject", "reason": "비싸요" });
    let still = session.answer(Answers::to(two.id.clone(), refused)).await.unwrap();
    assert!(still.outcome::<AgentState>().await.unwrap().is_paused());
    let state = settled(&session, Answers::to(one.id.clone(), json!({ "decision": "approve" }))).await;
    let results = results(&state);
    assert_eq!(results[0], "n=1");
    assert!(results[1].contains("비싸요"), "{results:?}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// A tool that asks how many, and says how often it began.
fn asking(began: &Arc<AtomicU32>, limit: Duration) -> DynamicTool {
    let began = Arc::clone(began);
    tool("order", ToolPolicy::default().timeout(limit), move |_, cx| {
        let time = began.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            let schema = json!({ "type": "integer" });
            let many = cx.ask(Question::new("몇 개?").schema(schema)).await?;
            let sure = cx.ask(Question::choose("Sure?", ["yes", "no"])).await?;
            Ok(ToolOutput::text(format!("{many} {sure}, begun {time}")))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_tool_asks_a_person_and_the_wait_does_not_count_for_its_time_limit() {
    let began = Arc::default();
    let model = Scripted::new([
        calls([raw("c1", "order", "{}"), raw("c2", "order", r#"{"n":2}"#)]),
        Turn::text("done"),
    ]);
    let agent = agent(registry([asking(&began, Duration::from_secs(2))]));
    let session = Runtime::builder().model(Model::new(model)).build().session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let (one, two) = (of_call(outcome.questions(), "c1"), of_call(outcome.questions(), "c2"));
    tokio::time::advance(Duration::from_secs(300)).await;
    let wrong = session.answer(Answers::to(one.id.clone(), "many")).await.unwrap_err();
    assert!(matches!(wrong, SessionError::Answer(AnswerError::Invalid { .. })), "{wrong}");
    let both = Answers::each([(one.id.clone(), 1), (two.id.clone(), 2)]);
    let next = session.answer(both).await.unwrap().outcome::<AgentState>().await.unwrap();
    let sure = next.questions().iter().map(|open| (open.id.clone(), "yes"));
    let state = settled(&session, Answers::each(sure)).await;
    assert_eq!(results(&state), ["1 \"yes\", begun 1", "2 \"yes\", begun 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_asked_is_still_stopped_by_its_time_limit() {
    let slow =
        tool("slow", ToolPolicy::default().timeout(Duration::from_secs(2)), async |_, cx: ToolContext| {
            cx.ask("go on?").await?;
            std::future::pending().await
        });
    let model = Scripted::new([calls([raw("c1", "slow", "{}")]), Turn::text("done")]);
    let agent = agent(registry([slow]));
    let session = Runtime::builder().model(Model::new(model)).build().session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let state = settled(&session, Answers::only("yes")).await;
    assert_eq!(results(&state), ["Error: `slow` did not finish within 2s"]);
}

#[tokio::test]
async fn a_tool_that_asked_before_a_restart_finds_the_answer() {
    let (began, store) = (Arc::default(), store());
    let model = Scripted::new([calls([raw("c1", "order", "{}")]), Turn::text("done")]);
    let agent = agent(registry([asking(&began, Duration::from_secs(60))]));
    {
        let session = runtime(&store, &model).session("s").unwrap();
        session.run(&agent, "go").await.unwrap();
        let run = session.answer(Answers::only(3)).await.unwrap();
        assert!(run.outcome::<AgentState>().await.unwrap().is_paused());
    }
    let next = Runtime::builder().journal(Arc::clone(&store)).model(Model::new(model)).graph(&agent);
    let session = next.options(|options| options.lease_ttl = Duration::ZERO).build().session("s").unwrap();
    let state = settled(&session, Answers::only("no")).await;
    assert_eq!(results(&state), ["3 \"no\", begun 2"]);
}

#[tokio::test]
async fn a_tool_that_went_on_with_its_answer_is_not_made_again() {
    let (store, went) = (store(), Arc::new(tokio::sync::Notify::new()));
    let goes = Arc::clone(&went);
    let pay = tool("pay", ToolPolicy::default(), move |_, cx| {
        let goes = Arc::clone(&goes);
        async move {
            cx.ask("sure?").await?;
            goes.notify_one();
            std::future::pending().await
        }
    });
    let model = Scripted::new([calls([raw("c1", "pay", "{}")]), Turn::text("done")]);
    let agent = agent(registry([pay]));
    let first = runtime(&store, &model);
    let session = first.session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let run = session.answer(Answers::only(true)).await.unwrap();
    went.notified().await;
    // As a crash: nothing of the first process is told that it ends.
    std::mem::forget((run, session, first));
    let next = Runtime::builder().journal(Arc::clone(&store)).model(Model::new(model)).graph(&agent);
    let session = next.options(|options| options.lease_ttl = Duration::ZERO).build().session("s").unwrap();
    let outcome = session.resume().await.unwrap().outcome::<AgentState>().await.unwrap();
    let results = results(outcome.state().unwrap());
    assert!(results[0].contains("may have happened or not"), "{results:?}");
}

#[tokio::test]
async fn an_approval_sent_twice_runs_the_tool_once() {
    let count = Arc::default();
    let policy = ToolPolicy::default().approval(Approval::Always);
    let model = Scripted::new([calls([raw("c1", "pay", "{}")]), Turn::text("done")]);
    let agent = agent(registry([counting("pay", policy, &count)]));
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let id = outcome.questions()[0].id.clone();
    settled(&session, Answers::to(id.clone(), "approve")).await;
    let again = session.answer(Answers::to(id, "approve")).await.unwrap_err();
    assert!(matches!(again, SessionError::Answer(AnswerError::AlreadyAnswered { .. })), "{again}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_person_can_edit_a_call_or_answer_it_and_a_bad_edit_is_asked_again() {
    let count = Arc::default();
    let policy = ToolPolicy::default().approval(Approval::Always);
    let model = Scripted::new([
        calls([raw("c1", "pay", r#"{"n":1}"#)]),
        calls([raw("c2", "pay", r#"{"n":2}"#)]),
        Turn::text("done"),
    ]);
    let agent = agent(registry([counting("pay", policy, &count)]));
    let session = runtime(&store(), &model).session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let nonsense = session.answer(Answers::only(json!({ "decision": "maybe" }))).await.unwrap_err();
    assert!(matches!(nonsense, SessionError::Answer(AnswerError::Invalid { .. })), "{nonsense}");
    let bad = json!({ "decision": "edit", "arguments": { "n": "viel" } });
    let run = session.answer(Answers::only(bad)).await.unwrap();
    let outcome = run.outcome::<AgentState>().await.unwrap();
    assert!(outcome.questions()[0].question.prompt.contains("cannot be used"));
    let edited = json!({ "decision": "edit", "arguments": { "n": 7 } });
    let run = session.answer(Answers::only(edited)).await.unwrap();
    assert!(run.outcome::<AgentState>().await.unwrap().is_paused());
    let state = settled(&session, Answers::only(json!({ "decision": "respond", "output": "paid" }))).await;
    assert_eq!(results(&state), ["n=7", "paid"]);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_sticky_approval_counts_in_later_runs_of_the_session() {
    let count = Arc::default();
    let policy = ToolPolicy::default().approval(Approval::Always).sticky(ApprovalScope::SameArguments);
    let model = Scripted::new([
        calls([raw("c1", "pay", r#"{"n":1}"#)]),
        Turn::text("one"),
        calls([raw("c1", "pay", r#"{ "n": 1 }"#)]),
        Turn::text("two"),
        calls([raw("c1", "pay", r#"{"n":2}"#)]),
    ]);
    let agent = agent(registry([counting("pay", policy, &count)]));
    let session = runtime(&store(), &model).session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    settled(&session, Answers::only(true)).await;
    let again = session.run(&agent, "again").await.unwrap();
    assert_eq!(again.state().map(AgentState::answer).as_deref(), Some("two"));
    assert!(session.run(&agent, "other").await.unwrap().is_paused());
    assert_eq!(count.load(Ordering::SeqCst), 2);
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
    assert!(results[0].contains("there is no tool `nope`"), "{results:?}");
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
    dead.session("s").unwrap().start(&agent, "go", RunOptions::default()).await.unwrap();
    reached.recv().await.unwrap();
    // As a crash: nothing of the first process is told that it ends.
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
    session.start(&agent, "go", RunOptions::default()).await.unwrap();
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
    let error = session.run_with(&agent, "go", options).await.unwrap_err();
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

fn plan_call(id: &str, operations: Value) -> ToolCall {
    raw(id, "update_plan", &json!({ "operations": operations }).to_string())
}

#[tokio::test]
async fn the_todos_of_a_sub_agent_hang_under_its_parents_item() {
    let sub_model = Scripted::new([
        calls([plan_call(
            "p1",
            json!([
                { "op": "add", "id": "1", "title": "읽기" },
                { "op": "add", "id": "2", "title": "세기" },
                { "op": "done", "id": "1" },
            ]),
        )]),
        Turn::text("12 reviews"),
    ]);
    let model = Scripted::new([
        calls([plan_call("p1", json!([{ "op": "add", "id": "1", "title": "Reviews" }]))]),
        calls([raw("c1", "reader", r#"{"task":"read the reviews","todo":"1"}"#)]),
        Turn::text("done"),
    ]);
    let reader = Agent::builder("reader").model(Model::new(sub_model.clone())).plans();
    let agent = Agent::builder("lead").plans().sub_agent(reader).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    assert_eq!(results(outcome.state().unwrap()).last().unwrap(), "12 reviews");
    let todos = session.status().await.unwrap().todos;
    let item = |id: &str| todos.iter().find(|todo| todo.id == id).unwrap();
    assert_eq!((item("1/1").parent.as_deref(), item("1/1").status), (Some("1"), TodoStatus::Completed));
    assert_eq!((item("1/2").parent.as_deref(), item("1/2").status), (Some("1"), TodoStatus::Pending));
    assert_eq!(sub_model.requests()[0].messages[0].text(), "read the reviews");
}

#[tokio::test]
async fn a_sub_agent_that_fails_does_not_disturb_the_others() {
    let sub = Scripted::rule(|_, request| match request.messages[0].text().as_ref() {
        "bad" => Turn::error(agent_core::model::ModelError::new(agent_core::model::ModelErrorKind::Filtered)),
        task => Turn::text(format!("did {task}")),
    });
    let model = Scripted::new([
        calls([
            raw("c1", "worker", r#"{"task":"one"}"#),
            raw("c2", "worker", r#"{"task":"bad"}"#),
            raw("c3", "worker", r#"{"task":"three"}"#),
        ]),
        Turn::text("done"),
    ]);
    let worker = Agent::builder("worker").model(Model::new(sub));
    let agent = Agent::builder("lead").sub_agent(worker).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    let results = results(outcome.state().unwrap());
    assert_eq!((results[0].as_str(), results[2].as_str()), ("did one", "did three"));
    assert!(results[1].starts_with("Error: the agent gave up"), "{results:?}");
    assert_valid(&model.requests()[1].messages);
    let todos = session.status().await.unwrap().todos;
    let statuses: Vec<_> = todos.iter().map(|todo| todo.status).collect();
    assert_eq!(statuses, [TodoStatus::Completed, TodoStatus::Failed, TodoStatus::Completed]);
}

#[tokio::test]
async fn a_conversation_that_was_handed_over_stays_there() {
    let triage = Scripted::new([Turn::call("transfer_to_billing", json!({}))]);
    let billing = Scripted::new([Turn::text("billing here"), Turn::text("still billing")]);
    let other = Agent::builder("billing").system("You bill.").model(Model::new(billing.clone()));
    let agent = Agent::builder("triage").model(Model::new(triage)).hand_off(other).build().unwrap();
    let session = Runtime::builder().build().session("s").unwrap();
    session.run(&agent, "my invoice").await.unwrap();
    let outcome = session.run(&agent, "and another").await.unwrap();
    assert_eq!(outcome.state().map(AgentState::answer).as_deref(), Some("still billing"));
    let requests = billing.requests();
    assert_eq!(requests[0].system.as_deref(), Some("You bill."));
    assert_eq!(requests[0].tools[0].name, "transfer_to_triage");
    assert_valid(&requests[1].messages);
}

#[tokio::test]
async fn a_reviewer_sends_an_answer_back_until_it_approves() {
    let model = Scripted::new([
        Turn::text("short"),
        Turn::text(r#"{"approved":false,"feedback":"longer"}"#),
        Turn::text("much longer"),
        Turn::text(r#"{"approved":true,"feedback":""}"#),
    ]);
    let agent = Agent::builder("a").reviewer("Be strict.", 3).build().unwrap();
    let outcome = runtime(&store(), &model).session("s").unwrap().run(&agent, "write").await.unwrap();
    let state = outcome.state().unwrap();
    assert_eq!((state.answer().as_str(), state.reviews), ("much longer", 2));
    assert_eq!(model.requests()[2].messages.last().unwrap().text(), "longer");
}

#[tokio::test]
async fn what_does_not_fit_the_window_is_summed_up_and_the_state_keeps_it() {
    let model = Scripted::new([
        Turn::text("one"),
        Turn::text("two"),
        Turn::text("요약: 셋까지"),
        Turn::text("three"),
    ]);
    let agent = Agent::builder("a").summarise_beyond(Window::messages(4)).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    for text in ["1", "2", "3"] {
        session.run(&agent, text).await.unwrap();
    }
    let state = session.state::<AgentState>().await.unwrap();
    assert_eq!((state.messages.len(), state.answer().as_str()), (6, "three"));
    let last = model.requests().pop().unwrap().messages;
    assert!(last[0].text().contains("요약: 셋까지"), "{last:?}");
    assert_eq!(last.last().unwrap().text(), "3");
    assert!(last.len() < 5);
}

#[tokio::test]
async fn a_hundred_rounds_of_36_kb_keep_each_result_once_in_the_journal() {
    let result = "r".repeat(36_000);
    let big = tool("big", ToolPolicy::default().result_limit(40_000), move |_, _| {
        let result = result.clone();
        async move { Ok(result.into()) }
    });
    let model =
        Scripted::rule(
            |call, _| {
                if call < 100 { Turn::call("big", json!({ "n": call })) } else { Turn::text("done") }
            },
        );
    let agent = Agent::builder("a").tools(registry([big])).max_turns(200).build().unwrap();
    let store = store();
    let session = runtime(&store, &model).session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let head = store.head(session.id()).await.unwrap().unwrap();
    assert!(head.journal_bytes < 5 * 1024 * 1024, "{}", head.journal_bytes);
    // What is kept once is still all there: for a fold, for subscribers, for a look back.
    let other = runtime(&store, &model);
    other.register(&agent);
    let state = other.session("s").unwrap().state::<AgentState>().await.unwrap();
    assert_eq!(results(&state).iter().map(String::len).sum::<usize>(), 3_600_000);
    assert_valid(&state.messages);
    let finished = session.events(Seq::ZERO, 10_000).await.unwrap().into_iter().filter_map(|event| {
        let EventBody::NodeFinished(finished) = event.body else { return None };
        Some(finished.update["messages"][0]["content"].as_str().unwrap_or_default().len())
    });
    assert_eq!(finished.filter(|len| *len == 36_000).count(), 100);
}

#[tokio::test]
async fn a_crash_at_any_place_of_the_journal_repeats_nothing_recorded_and_ends_the_same() {
    let (paid, asked) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let (count, told) = (Arc::clone(&paid), Arc::clone(&asked));
    let wordy = tool("wordy", ToolPolicy::read_only(), move |args, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(format!("{} {}", args["n"], "긴 \"답\" ".repeat(200)).into()) }
    });
    let model = Scripted::rule(move |_, request| {
        told.fetch_add(1, Ordering::SeqCst);
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

#[cfg(feature = "prompt")]
#[tokio::test]
async fn a_prompt_template_is_filled_in_from_the_state_and_a_missing_name_is_an_error() {
    let model = Scripted::new([Turn::text("네"), Turn::text("no")]);
    use agent_core::agent::Prompt;
    let prompt =
        Prompt::new("{% if mood %}The user is {{ mood }}. {% endif %}Speak {{ language }}.").unwrap();
    let agent = Agent::builder("a").system_template(prompt).build().unwrap();
    let session = runtime(&store(), &model).session("s").unwrap();
    let error = session.run(&agent, "hi").await.unwrap_err();
    assert!(
        error.to_string().contains("prompt template") || format!("{error:?}").contains("undefined"),
        "{error:?}"
    );
    let Value::Object(context) = json!({ "language": "한국어" }) else { unreachable!() };
    session.run(&agent, AgentState::user("hi").context(context)).await.unwrap();
    assert_eq!(model.requests()[0].system.as_deref(), Some("Speak 한국어."));
    assert!(Prompt::new("{% if %}").is_err());
}

#[tokio::test]
async fn what_was_said_before_a_stop_stays_and_a_resume_says_it_whole() {
    for resume in [true, false] {
        let model = Scripted::new([
            Turn::text("서울은 맑고").chunked(Chunking::Chars(3)).then_hang(2),
            Turn::text("서울은 맑고 따뜻합니다."),
        ]);
        let agent = agent(ToolRegistry::default());
        let session = runtime(&store(), &model).session("s").unwrap();
        let mut events = session.stream(&agent, "날씨?", RunOptions::default()).await.unwrap();
        let mut heard = String::new();
        while heard != "서울은 맑고" {
            if let EventBody::Token(token) = &events.next().await.unwrap().unwrap().body {
                heard.push_str(&token.text);
            }
        }
        assert_eq!(session.stop().await.unwrap(), RunStatus::Stopped);
        let state = session.state::<AgentState>().await.unwrap();
        assert_eq!((state.messages.len(), state.answer().as_str()), (2, "서울은 맑고"));
        let outcome = if resume {
            session.resume().await.unwrap().outcome::<AgentState>().await.unwrap()
        } else {
            session.run(&agent, "더?").await.unwrap()
        };
        let state = outcome.state().unwrap();
        assert_eq!(state.answer(), "서울은 맑고 따뜻합니다.");
        let asked = model.requests().pop().unwrap().messages;
        assert_eq!((state.messages.len(), asked.len()), if resume { (2, 1) } else { (4, 3) });
    }
}

#[tokio::test]
async fn a_streamed_answer_is_the_plain_one() {
    let turns = || [Turn::call("t", json!({})), Turn::text("서울은 맑습니다.").chunked(Chunking::Chars(2))];
    let agent = agent(registry([counting("t", ToolPolicy::default(), &Arc::default())]));
    let plain = runtime(&store(), &Scripted::new(turns())).session("s").unwrap();
    let plain = plain.run(&agent, "go").await.unwrap().state().unwrap().clone();
    let session = runtime(&store(), &Scripted::new(turns())).session("s").unwrap();
    let mut events = session.stream(&agent, "go", RunOptions::default()).await.unwrap();
    let mut heard = String::new();
    while let Some(event) = events.next().await {
        if let EventBody::Token(token) = &event.unwrap().body {
            heard.push_str(&token.text);
        }
    }
    let streamed = session.state::<AgentState>().await.unwrap();
    assert_eq!(
        (heard.as_str(), streamed.answer(), results(&streamed)),
        ("서울은 맑습니다.", plain.answer(), results(&plain))
    );
}

#[tokio::test]
async fn sub_agents_of_sub_agents_have_todos_of_their_own() {
    let worker = Scripted::rule(|_, _| Turn::text("done"));
    let lead = Scripted::rule(|_, request| match request.messages.len() {
        1 => calls([raw("0", "worker", r#"{"task":"x"}"#)]),
        _ => Turn::text("led"),
    });
    let top = Scripted::new([
        calls([raw("0", "lead", r#"{"task":"a"}"#), raw("0", "lead", r#"{"task":"b"}"#)]),
        Turn::text("all"),
    ]);
    let worker = Agent::builder("worker").model(Model::new(worker));
    let lead = Agent::builder("lead").model(Model::new(lead)).sub_agent(worker);
    let agent = Agent::builder("top").sub_agent(lead).build().unwrap();
    let session = runtime(&store(), &top).session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let todos = session.status().await.unwrap().todos;
    let mut ids: Vec<_> = todos.iter().map(|todo| todo.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["lead:1.0", "lead:1.0/worker:1.0", "lead:1.1", "lead:1.1/worker:1.0"]);
    assert!(todos.iter().all(|todo| todo.status == TodoStatus::Completed), "{todos:?}");
}
