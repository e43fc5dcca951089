//! What an agent sends in each turn, what an agent keeps after a hand-off, and how the calls of one turn run.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Agent, AgentState, Answers, Runtime,
    agent::{AgentError, Finish, OutputMode, conversation::Window},
    interrupt::Question,
    journal::{InMemoryJournal, JournalStore},
    memory::{self, MemoryStore},
    model::{
        Model, ModelRequest, Role, ToolCall, ToolChoice,
        testing::{Scripted, Turn},
    },
    tool::{
        DynamicTool, ReadResult, ToolContext, ToolError, ToolFault, ToolOutput, ToolPolicy, ToolRegistry,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

fn tool<F, Fut>(name: &'static str, call: F) -> DynamicTool
where
    F: Fn(Value, ToolContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ToolOutput, ToolError>> + Send + 'static,
{
    let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
    DynamicTool::new(name, "A tool.", schema, call).with_policy(ToolPolicy::read_only())
}

fn registry(tools: impl IntoIterator<Item = DynamicTool>) -> ToolRegistry {
    tools.into_iter().fold(ToolRegistry::builder(), |builder, tool| builder.tool(tool)).build().unwrap()
}

fn raw(id: &str, name: &str, arguments: &Value) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: arguments.to_string(), provider: None }
}

fn runtime(model: &Scripted) -> Runtime {
    Runtime::builder().model(Model::new(model.clone())).build()
}

fn results(state: &AgentState) -> Vec<String> {
    let tools = state.messages.iter().filter(|message| message.role == Role::Tool);
    tools.map(|message| message.text().into_owned()).collect()
}

// --- a typed answer ------------------------------------------------------------------------------------------------

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Tone {
    sentiment: String,
}

/// Whether each request of a run had a schema, and whether it offered tools.
async fn schemas(mode: OutputMode, with_tools: bool, max_turns: u32) -> Vec<(bool, bool)> {
    let call = Turn::call("t", json!({}));
    let words = Turn::text("I liked it.");
    let typed = Turn::text(r#"{"sentiment":"좋음"}"#);
    let script = match (with_tools, max_turns) {
        (true, 2) => Scripted::new([call, typed]),
        (true, _) => Scripted::new([call, words, typed]),
        (false, _) => Scripted::new([typed]),
    };
    let mut agent = Agent::builder("a").output::<Tone>().output_mode(mode).max_turns(max_turns);
    if with_tools {
        agent = agent.tools(registry([tool("t", |_, _| async { Ok("ok".into()) })]));
    }
    let agent = agent.build().unwrap();
    let runtime = Runtime::builder().model(Model::new(script.clone())).build();
    let outcome = runtime.session("s").unwrap().run(&agent, "go").await.unwrap();
    assert_eq!(outcome.state().unwrap().output::<Tone>().unwrap(), Tone { sentiment: "좋음".into() });
    let requests = script.requests();
    let offers =
        |request: &ModelRequest| !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
    requests.iter().map(|request| (request.response_format.is_some(), offers(request))).collect()
}

#[tokio::test]
async fn the_schema_of_a_typed_answer_is_sent_when_no_tools_are_offered() {
    let schema_only = (true, false);
    let tools_only = (false, true);
    assert_eq!(schemas(OutputMode::LastTurn, true, 9).await, [tools_only, tools_only, schema_only]);
    assert_eq!(schemas(OutputMode::LastTurn, true, 2).await, [tools_only, schema_only]);
    assert_eq!(schemas(OutputMode::LastTurn, false, 9).await, [schema_only]);
}

#[tokio::test]
async fn the_schema_of_a_typed_answer_is_sent_with_every_turn_where_that_is_chosen() {
    let both = (true, true);
    assert_eq!(schemas(OutputMode::EveryTurn, true, 9).await, [both, both, (true, false)]);
}

// --- hand-offs -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_peer_keeps_its_sub_agents_its_window_and_its_fatal_faults() {
    let helper = Agent::builder("helper").model(Model::new(Scripted::new([Turn::text("helped")])));
    let billing =
        Scripted::new([Turn::call("helper", json!({ "task": "help", "todo": null })), Turn::text("done")]);
    let peer = Agent::builder("billing")
        .model(Model::new(billing.clone()))
        .sub_agent(helper)
        .window(Window::messages(3));
    let triage =
        Scripted::new([Turn::call("helper", json!({})), Turn::call("transfer_to_billing", json!({}))]);
    let agent = Agent::builder("triage").model(Model::new(triage.clone())).hand_off(peer).build().unwrap();
    let outcome = Runtime::builder().build().session("s").unwrap().run(&agent, "my invoice").await.unwrap();
    let state = outcome.state().unwrap();
    assert_eq!((state.answer().as_str(), state.finish), ("done", Some(Finish::Answered)));
    let results = results(state);
    assert!(results[0].contains("unknown tool `helper`"), "only the peer has it: {results:?}");
    assert_eq!(results[2], "helped");
    let offered = |script: &Scripted| -> Vec<String> {
        script.requests()[0].tools.iter().map(|tool| tool.name.clone()).collect()
    };
    assert_eq!(offered(&triage), ["transfer_to_billing"]);
    assert_eq!(offered(&billing), ["helper", "transfer_to_triage"]);
    let read: Vec<usize> = billing.requests().iter().map(|request| request.messages.len()).collect();
    assert!(read.iter().all(|count| *count <= 3), "the peer's window: {read:?}");

    let fatal = Scripted::new([Turn::call("nope", json!({}))]);
    let peer = Agent::builder("billing").model(Model::new(fatal)).failing_on([ToolFault::Unknown]);
    let triage = Scripted::new([Turn::call("transfer_to_billing", json!({}))]);
    let agent = Agent::builder("triage").model(Model::new(triage)).hand_off(peer).build().unwrap();
    let error = Runtime::builder().build().session("s").unwrap().run(&agent, "go").await.unwrap_err();
    assert_eq!(error.code().name(), "tool_failed");
}

#[test]
fn a_setting_that_has_no_effect_after_a_hand_off_is_refused_at_build() {
    let peer = || Agent::builder("billing");
    let peers = [
        ("output", peer().output::<Tone>()),
        ("reviewer", peer().reviewer("Be strict.", 2)),
        ("max_turns", peer().max_turns(3)),
        ("hand_off", peer().hand_off(Agent::builder("other"))),
    ];
    for (name, peer) in peers {
        let error = Agent::builder("triage").hand_off(peer).build().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(matches!(error, AgentError::PeerSetting { setting, .. } if setting == name));
    }
    let twice = Agent::builder("triage")
        .sub_agent(Agent::builder("helper"))
        .hand_off(peer().sub_agent(Agent::builder("helper")));
    assert!(matches!(twice.build(), Err(AgentError::Twice { .. })));
}

// --- results that are too long -------------------------------------------------------------------------------------

#[tokio::test]
async fn an_agent_pages_through_a_result_that_it_was_shown_in_part() {
    let whole: String = (0..60_000).map(|line| format!("{line} 줄\n")).collect();
    let text = whole.clone();
    let big = DynamicTool::new("big", "Big.", json!({ "type": "object", "properties": {} }), move |_, _| {
        let text = text.clone();
        async move { Ok(text.into()) }
    });
    let big = big.with_policy(ToolPolicy::read_only().result_limit(1_000));
    // The model reads on from each offset that it is given, in steps, the borders of kept parts included.
    let model = Scripted::rule(move |call, request| {
        let last = request.messages.last().unwrap().text().into_owned();
        if call == 0 {
            assert!(request.tools.iter().all(|tool| tool.name != ReadResult::NAME), "nothing to read yet");
            return Turn::call("big", json!({}));
        }
        assert!(request.tools.iter().any(|tool| tool.name == ReadResult::NAME));
        let preview = request.messages.iter().find(|message| message.role == Role::Tool).unwrap().text();
        let (_, note) = preview.rsplit_once("is kept as `").unwrap();
        let id = note.split('`').next().unwrap();
        let offset = match last.split_once("the next offset is ") {
            Some((_, rest)) => rest.split(']').next().unwrap().parse::<u64>().unwrap(),
            None if call == 1 => 0,
            None => return Turn::text("read all"),
        };
        Turn::call(ReadResult::NAME, json!({ "id": id, "offset": offset, "limit": 23_999 }))
    });
    let memory: Arc<dyn MemoryStore> = Arc::new(memory::InMemoryStore::new());
    let runtime = Runtime::builder().model(Model::new(model)).memory(memory).build();
    let agent = Agent::builder("a").tools(registry([big])).max_turns(200).build().unwrap();
    let outcome = runtime.session("s").unwrap().run(&agent, "go").await.unwrap();
    let state = outcome.state().unwrap();
    assert_eq!((state.answer().as_str(), state.kept_results), ("read all", true));
    let pages: String = results(state)[1..].iter().map(|page| page.split_once("]\n").unwrap().1).collect();
    assert!(pages == whole, "{} of {} bytes", pages.len(), whole.len());
}

#[tokio::test]
async fn a_kept_result_is_read_within_its_session_and_its_bounds() {
    let memory: Arc<dyn MemoryStore> = Arc::new(memory::InMemoryStore::new());
    let big = tool("big", |_, _| async { Ok("x".repeat(2_000).into()) });
    let big = big.with_policy(ToolPolicy::read_only().result_limit(100));
    let agent = Agent::builder("a").tools(registry([big])).build().unwrap();
    let model = Scripted::new([Turn::call("big", json!({})), Turn::text("done")]);
    let runtime = Runtime::builder().model(Model::new(model)).memory(Arc::clone(&memory)).build();
    let outcome = runtime.session("s").unwrap().run(&agent, "go").await.unwrap();
    let preview = results(outcome.state().unwrap()).remove(0);
    let id = preview.rsplit_once("is kept as `").unwrap().1.split('`').next().unwrap().to_owned();

    let reader = |calls: Vec<Value>| {
        let script = calls.iter().enumerate().fold(Turn::default(), |turn, (at, args)| {
            turn.and_raw_call(raw(&format!("c{at}"), ReadResult::NAME, args))
        });
        Scripted::new([script, Turn::text("done")])
    };
    let tools = ToolRegistry::builder().tool(ReadResult).build().unwrap();
    let agent = Agent::builder("a").tools(tools).build().unwrap();
    let calls = vec![
        json!({ "id": id, "offset": 1_990 }),
        json!({ "id": id, "offset": 2_000 }),
        json!({ "id": "../other", "offset": 0 }),
        json!({ "id": id, "limit": 1_000_000 }),
    ];
    for (session, expected) in [("s", true), ("another", false)] {
        let model = reader(calls.clone());
        let runtime = Runtime::builder().model(Model::new(model)).memory(Arc::clone(&memory)).build();
        let outcome = runtime.session(session).unwrap().run(&agent, "go").await.unwrap();
        let read = results(outcome.state().unwrap());
        assert_eq!(read[0] == "[bytes 1990 to 2000 of 2000; the end]\nxxxxxxxxxx", expected, "{read:?}");
        assert_eq!(read[1].contains("the result has 2000 bytes"), expected, "{read:?}");
        assert!(read[2].contains("no result is kept"), "{read:?}");
        assert!(read[3].contains("not valid"), "{read:?}");
    }
}

// --- the calls of one turn -----------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tools_that_keep_their_thread_overlap_within_a_turn() {
    // Each call waits for the other two without a timeout: one after another, they would wait for ever.
    let all = Arc::new(Barrier::new(3));
    let meet = tool("meet", move |args, _| {
        let all = Arc::clone(&all);
        async move {
            all.wait();
            Ok(format!("met {}", args["n"]).into())
        }
    });
    let turn = (1..=3).fold(Turn::default(), |turn, n| turn.and_call("meet", json!({ "n": n })));
    let model = Scripted::new([turn, Turn::text("done")]);
    let agent = Agent::builder("a").tools(registry([meet])).build().unwrap();
    let outcome = runtime(&model).session("s").unwrap().run(&agent, "go").await.unwrap();
    assert_eq!(results(outcome.state().unwrap()), ["met 1", "met 2", "met 3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_one_call_of_a_turn_is_the_result_of_that_call() {
    let shaky = tool("shaky", |args, _| async move {
        assert_ne!(args["n"], 2, "the second");
        Ok(format!("n={}", args["n"]).into())
    });
    let turn = (1..=3).fold(Turn::default(), |turn, n| turn.and_call("shaky", json!({ "n": n })));
    let model = Scripted::new([turn, Turn::text("done")]);
    let agent = Agent::builder("a").tools(registry([shaky])).build().unwrap();
    let outcome = runtime(&model).session("s").unwrap().run(&agent, "go").await.unwrap();
    assert_eq!(results(outcome.state().unwrap()), ["n=1", "Error: the tool failed", "n=3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_of_one_turn_that_ask_people_on_several_threads_pause_the_run_once() {
    let store: Arc<dyn JournalStore> = Arc::new(InMemoryJournal::new());
    let begun = Arc::<AtomicU32>::default();
    let count = Arc::clone(&begun);
    let ask = tool("ask", move |args, cx: ToolContext| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::task::yield_now().await;
            let key = args["n"].to_string();
            let answer = cx.ask(Question::new(format!("question {key}")).key(key)).await?;
            Ok(answer.to_string().into())
        }
    });
    let turn = (1..=8).fold(Turn::default(), |turn, n| turn.and_call("ask", json!({ "n": n })));
    let model = Scripted::new([turn, Turn::text("done")]);
    let agent = Agent::builder("a").tools(registry([ask])).build().unwrap();
    let runtime = Runtime::builder()
        .journal(store)
        .model(Model::new(model))
        .options(|options| options.lease_ttl = Duration::ZERO)
        .build();
    let session = runtime.session("s").unwrap();
    let outcome = session.run(&agent, "go").await.unwrap();
    assert!(outcome.is_paused());
    let questions = outcome.questions().to_vec();
    assert_eq!(questions.len(), 8);
    let answers = questions.iter().map(|open| (open.id.clone(), open.question.prompt.clone()));
    let run = session.answer(Answers::each(answers)).await.unwrap();
    let state = run.outcome::<AgentState>().await.unwrap().completed().unwrap().state;
    let expected: Vec<String> = (1..=8).map(|n| format!("\"question {n}\"")).collect();
    assert_eq!(results(&state), expected);
    assert_eq!(begun.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn the_todo_tool_works_in_any_registry() {
    use agent_core::{agent::todo_tool::UpdateTodos, tool::Tool as _};
    let registry = ToolRegistry::builder().tool(UpdateTodos).build().unwrap();
    assert_eq!(UpdateTodos.name(), "update_plan");
    let add = json!({ "operations": [{ "op": "add", "id": "1", "title": "리뷰 수집" }, { "op": "start", "id": "1" }] });
    let model = Scripted::new([Turn::call("update_plan", add), Turn::text("done")]);
    let agent = Agent::builder("a").tools(registry).build().unwrap();
    let runtime = Runtime::builder().model(Model::new(model)).build();
    let session = runtime.session("s").unwrap();
    session.run(&agent, "go").await.unwrap();
    let todos = session.status().await.unwrap().todos;
    assert_eq!((todos.len(), todos[0].title.as_str()), (1, "리뷰 수집"));
}
