//! What an agent keeps of a turn that was interrupted by a stop, a failure or the death of its process.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Agent, AgentState, BusyPolicy, Graph, RunOptions, RunStatus, Runtime, Session,
    journal::{InMemoryJournal, JournalStore},
    model::{
        Message, Model, Role, ToolCall,
        testing::{Scripted, Turn},
    },
    run::Limits,
    tool::{DynamicTool, Effect, ToolError, ToolFault, ToolPolicy, ToolRegistry},
};
use serde_json::json;
use tokio::sync::mpsc;

type Store = Arc<dyn JournalStore>;

const UNKNOWN: &str = "Error: `write` was cut short before its result was known; it may have happened or not. \
    Find out before you call it again.";
const CANCELLED: &str = "Error: the call was cancelled before it finished";

fn call(id: &str, name: &str) -> ToolCall {
    ToolCall { id: id.into(), name: name.into(), arguments: "{}".into(), provider: None }
}

fn builder(store: Option<&Store>, model: &Scripted) -> Runtime {
    let builder = Runtime::builder().model(Model::new(model.clone()));
    let builder = match store {
        Some(store) => builder.journal(Arc::clone(store)),
        None => builder,
    };
    builder.options(|options| options.lease_ttl = Duration::ZERO).build()
}

/// A message as one line: the role and the text; for tool results also the call.
fn line(message: &Message) -> String {
    let calls: Vec<&str> = message.tool_calls.iter().map(|call| call.id.as_str()).collect();
    match message.role {
        Role::Tool => format!("{}: {}", message.tool_call_id.as_deref().unwrap(), message.text()),
        _ if calls.is_empty() => message.text().into_owned(),
        _ => format!("calls {}", calls.join(" ")),
    }
}

fn lines<'a>(messages: impl IntoIterator<Item = &'a Arc<Message>>) -> Vec<String> {
    messages.into_iter().map(|message| line(message)).collect()
}

async fn stored(session: &Session) -> Vec<String> {
    lines(&session.state::<AgentState>().await.unwrap().messages)
}

/// An agent that calls `done`, `write` and `queued` in one turn: `done` returns, `write` hangs while `hangs`, `queued`
/// hangs as a reader.
struct Turns {
    agent: Graph<AgentState>,
    model: Scripted,
    done: Arc<AtomicU32>,
    wrote: Arc<AtomicU32>,
    reached: mpsc::Receiver<()>,
}

fn turns(hangs: u32) -> Turns {
    let schema = || json!({ "type": "object", "properties": {} });
    let (done, wrote) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let (entered, reached) = mpsc::channel(8);
    let count = Arc::clone(&done);
    let first = DynamicTool::new("done", "Returns.", schema(), move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok("real result".into()) }
    });
    let hang = |name: &'static str, count: Arc<AtomicU32>| {
        let entered = entered.clone();
        DynamicTool::new(name, "Hangs.", schema(), move |_, _| {
            let hang = count.fetch_add(1, Ordering::SeqCst) < hangs;
            let entered = entered.clone();
            async move {
                if hang {
                    entered.send(()).await.unwrap();
                    std::future::pending::<()>().await;
                }
                Ok(format!("{name} at last").into())
            }
        })
    };
    let second = hang("write", Arc::clone(&wrote));
    let third = hang("queued", Arc::default()).with_policy(ToolPolicy::read_only());
    let tools = ToolRegistry::builder().tool(first).tool(second).tool(third).build().unwrap();
    let turn = Turn::default()
        .and_raw_call(call("c1", "done"))
        .and_raw_call(call("c2", "write"))
        .and_raw_call(call("c3", "queued"));
    let model = Scripted::new([turn, Turn::text("fine"), Turn::text("fine again")]);
    Turns { agent: Agent::builder("a").tools(tools).build().unwrap(), model, done, wrote, reached }
}

impl Turns {
    fn session(&self, store: Option<&Store>) -> Session {
        let runtime = builder(store, &self.model);
        runtime.register(&self.agent);
        runtime.session("s").unwrap()
    }

    /// Starts a run and returns when its first call has a result and the other two hang.
    async fn in_the_middle(&mut self, store: Option<&Store>) -> Session {
        let session = self.session(store);
        session.run(&self.agent, "go").start().await.unwrap();
        self.reached.recv().await.unwrap();
        self.reached.recv().await.unwrap();
        while session.status().await.unwrap().used.tool_calls < 1 {
            tokio::task::yield_now().await;
        }
        session
    }

    /// What the model is sent last.
    fn sent(&self) -> Vec<String> {
        lines(&self.model.requests().pop().unwrap().messages)
    }
}

fn closed() -> Vec<String> {
    ["go", "calls c1 c2 c3", "c1: real result", &format!("c2: {UNKNOWN}"), &format!("c3: {CANCELLED}")]
        .map(str::to_owned)
        .to_vec()
}

fn and(mut lines: Vec<String>, more: &[&str]) -> Vec<String> {
    lines.extend(more.iter().map(|line| (*line).to_owned()));
    lines
}

#[tokio::test]
async fn a_message_after_a_stop_finds_the_real_result_of_every_call_that_has_one() {
    let store: Store = Arc::new(InMemoryJournal::new());
    for (store, restart) in
        [(None, false), (Some(&store), false), (Some(&(Arc::new(InMemoryJournal::new()) as Store)), true)]
    {
        let mut turns = turns(1);
        let mut session = turns.in_the_middle(store).await;
        assert_eq!(session.stop().await.unwrap(), RunStatus::Stopped);
        assert_eq!(stored(&session).await, closed(), "the stored state is valid after the stop itself");
        if restart {
            session = turns.session(store);
            assert_eq!(stored(&session).await, closed());
        }
        session.run(&turns.agent, "and now?").await.unwrap();
        assert_eq!(turns.sent(), and(closed(), &["and now?"]));
        assert_eq!(stored(&session).await, and(closed(), &["and now?", "fine"]));
        assert_eq!((turns.done.load(Ordering::SeqCst), turns.wrote.load(Ordering::SeqCst)), (1, 1));
    }
}

#[tokio::test]
async fn a_stop_returns_the_closed_state_to_the_caller_of_the_run() {
    let mut turns = turns(1);
    let session = turns.session(None);
    let run = session.run(&turns.agent, "go").start().await.unwrap();
    turns.reached.recv().await.unwrap();
    turns.reached.recv().await.unwrap();
    session.stop().await.unwrap();
    let outcome = run.outcome::<AgentState>().await.unwrap();
    assert_eq!(lines(&outcome.state().unwrap().messages), closed());
}

#[tokio::test]
async fn a_resume_after_a_stop_replaces_what_the_stop_closed() {
    let store: Store = Arc::new(InMemoryJournal::new());
    let mut turns = turns(1);
    let session = turns.in_the_middle(Some(&store)).await;
    session.stop().await.unwrap();
    let run = turns.session(Some(&store)).resume().await.unwrap();
    let state = run.outcome::<AgentState>().await.unwrap().completed().unwrap().state;
    let expected =
        ["go", "calls c1 c2 c3", "c1: real result", &format!("c2: {UNKNOWN}"), "c3: queued at last", "fine"];
    assert_eq!(lines(&state.messages), expected);
    assert_eq!((turns.done.load(Ordering::SeqCst), turns.wrote.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(stored(&turns.session(Some(&store))).await, expected, "memory and journal agree");
}

#[tokio::test]
async fn a_message_after_a_crash_finds_the_real_result_of_every_call_that_has_one() {
    for way in ["stop", "interrupt"] {
        let store: Store = Arc::new(InMemoryJournal::new());
        let mut turns = turns(1);
        // The first process is neither stopped nor dropped.
        let _dead = turns.in_the_middle(Some(&store)).await;
        let session = turns.session(Some(&store));
        let mut options = RunOptions::default();
        if way == "stop" {
            session.stop().await.unwrap();
            assert_eq!(stored(&session).await, closed());
        } else {
            options = options.on_busy(BusyPolicy::Interrupt);
        }
        session.run(&turns.agent, "and now?").options(options).await.unwrap();
        assert_eq!(turns.sent(), and(closed(), &["and now?"]), "{way}");
        assert_eq!(stored(&turns.session(Some(&store))).await, and(closed(), &["and now?", "fine"]));
    }
}

#[tokio::test]
async fn a_message_after_a_failure_finds_the_real_result_of_every_call_that_has_one() {
    let schema = || json!({ "type": "object", "properties": {} });
    for store in [None, Some(Arc::new(InMemoryJournal::new()) as Store)] {
        let good = DynamicTool::new("done", "Returns.", schema(), |_, _| async { Ok("real result".into()) });
        let bad = DynamicTool::new("fatal", "Fails.", schema(), |_, _| async {
            Err(ToolError::refused("not allowed here"))
        });
        let tools = ToolRegistry::builder().tool(good).tool(bad).build().unwrap();
        let agent = Agent::builder("a").tools(tools).failing_on([ToolFault::Refused]).build().unwrap();
        let turn = Turn::default().and_raw_call(call("c1", "done")).and_raw_call(call("c2", "fatal"));
        let model = Scripted::new([turn, Turn::text("fine")]);
        let session = builder(store.as_ref(), &model).session("s").unwrap();
        let error = session.run(&agent, "go").await.unwrap_err();
        assert_eq!(error.code().name(), "tool_failed");
        let closed = ["go", "calls c1 c2", "c1: real result", "c2: Error: not allowed here"];
        assert_eq!(stored(&session).await, closed);
        session.run(&agent, "and now?").await.unwrap();
        let sent = lines(&model.requests().pop().unwrap().messages);
        assert_eq!(sent, and(closed.map(str::to_owned).to_vec(), &["and now?"]));
    }
}

#[tokio::test]
async fn calls_that_the_budget_refused_are_closed_as_cancelled() {
    let store: Store = Arc::new(InMemoryJournal::new());
    let mut turns = turns(0);
    turns.model = Scripted::new([
        Turn::default().and_raw_call(call("c1", "done")).and_raw_call(call("c2", "write")),
        Turn::text("fine"),
    ]);
    let session = turns.session(Some(&store));
    let options = RunOptions::default().limits(Limits::default().tool_calls(1));
    let error = session.run(&turns.agent, "go").options(options).await.unwrap_err();
    assert_eq!(error.code().name(), "budget_exceeded");
    let closed = ["go", "calls c1 c2", "c1: real result", &format!("c2: {CANCELLED}")];
    assert_eq!(stored(&session).await, closed);
    assert_eq!(turns.wrote.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_fork_of_a_running_session_is_closed_like_a_stopped_one() {
    let store: Store = Arc::new(InMemoryJournal::new());
    let mut turns = turns(1);
    let session = turns.in_the_middle(Some(&store)).await;
    let seq = session.head().await.unwrap().last;
    let fork = session.fork(seq, "fork".parse().unwrap()).await.unwrap();
    assert_eq!(stored(&fork).await, closed());
    session.stop().await.unwrap();
}

#[tokio::test]
async fn sub_agents_that_finished_before_a_stop_keep_their_results() {
    let store: Store = Arc::new(InMemoryJournal::new());
    let (entered, mut reached) = mpsc::channel(4);
    let quick = Agent::builder("quick").model(Model::new(Scripted::new([Turn::text("quick answer")])));
    let hang =
        DynamicTool::new("hang", "Hangs.", json!({ "type": "object", "properties": {} }), move |_, _| {
            let entered = entered.clone();
            async move {
                entered.send(()).await.unwrap();
                std::future::pending().await
            }
        });
    let tools = ToolRegistry::builder().tool(hang.with_policy(ToolPolicy::default().effect(Effect::Writes)));
    let slow = Agent::builder("slow")
        .tools(tools.build().unwrap())
        .model(Model::new(Scripted::new([Turn::call("hang", json!({}))])));
    let task = |id: &str, name: &str| ToolCall {
        arguments: json!({ "task": "help", "todo": null }).to_string(),
        ..call(id, name)
    };
    let turn = Turn::default().and_raw_call(task("c1", "slow")).and_raw_call(task("c2", "quick"));
    let model = Scripted::new([turn, Turn::text("fine")]);
    let agent = Agent::builder("a").sub_agent(quick).sub_agent(slow).build().unwrap();
    let session = builder(Some(&store), &model).session("s").unwrap();
    let mut events = session.subscribe(None);
    session.run(&agent, "go").start().await.unwrap();
    reached.recv().await.unwrap();
    // Until the other sub-agent's result is in the journal.
    loop {
        let event = events.next().await.unwrap();
        if let agent_core::event::EventBody::NodeFinished(finished) = &event.body
            && finished.update.to_string().contains("\"c2\"")
        {
            break;
        }
    }
    session.stop().await.unwrap();
    let unknown = UNKNOWN.replace("`write`", "`slow`");
    let closed = ["go", "calls c1 c2", &format!("c1: {unknown}"), "c2: quick answer"];
    assert_eq!(stored(&session).await, closed);
    session.run(&agent, "and now?").await.unwrap();
    let sent = lines(&model.requests().pop().unwrap().messages);
    assert_eq!(sent, and(closed.map(str::to_owned).to_vec(), &["and now?"]));
}
