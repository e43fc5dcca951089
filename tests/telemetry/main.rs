//! What a `tracing` subscriber receives from a run, and what it never receives.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    thread::ThreadId,
};

use agent_core::{
    Agent, AgentState, Context, END, Graph, NodeError, Result, RunStatus, Runtime, START, State,
    graph::NodeExt,
    model::{
        Model, ModelError, ModelErrorKind, ModelRequest, Usage,
        testing::{Scripted, Turn},
    },
    retry::RetryPolicy,
    telemetry::TARGET,
    tool::{DynamicTool, ToolError, ToolRegistry},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tests::{journal, on};
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::set_default,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_core::{Interest, span::Current};

#[derive(State, Default, Debug, Serialize, Deserialize)]
struct Trail {
    #[state(append)]
    steps: Vec<String>,
}

async fn step(_: &Trail, cx: &Context) -> Result<TrailUpdate> {
    Ok(Trail::update().steps([cx.node().to_owned()]))
}

/// A recorded span.
#[derive(Debug, Clone)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    metadata: &'static Metadata<'static>,
    handles: usize,
}

#[derive(Default)]
struct Told {
    spans: Vec<Seen>,
    inside: HashMap<ThreadId, Vec<u64>>,
}

/// Records the spans of the engine, down to a level.
#[derive(Clone)]
struct Recorder {
    reported: Arc<Mutex<Told>>,
    level: Level,
}

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && *metadata.level() <= self.level
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = BTreeMap::new();
        span.record(&mut Fields(&mut fields));
        let mut reported = self.reported.lock();
        let current =
            reported.inside.get(&std::thread::current().id()).and_then(|stack| stack.last().copied());
        let parent = if span.is_contextual() { current } else { span.parent().map(Id::into_u64) };
        let metadata = span.metadata();
        reported.spans.push(Seen { name: metadata.name(), parent, fields, metadata, handles: 1 });
        Id::from_u64(reported.spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&mut self.reported.lock().spans[span.into_u64() as usize - 1].fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        self.reported.lock().inside.entry(std::thread::current().id()).or_default().push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let left = self.reported.lock().inside.get_mut(&std::thread::current().id()).and_then(Vec::pop);
        assert_eq!(left, Some(span.into_u64()), "spans are left in the order they were entered");
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.reported.lock().spans[span.into_u64() as usize - 1].handles += 1;
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        let mut reported = self.reported.lock();
        let seen = &mut reported.spans[span.into_u64() as usize - 1];
        seen.handles -= 1;
        seen.handles == 0
    }

    fn current_span(&self) -> Current {
        let reported = self.reported.lock();
        let inside =
            reported.inside.get(&std::thread::current().id()).and_then(|stack| stack.last().copied());
        match inside {
            Some(id) => Current::new(Id::from_u64(id), reported.spans[id as usize - 1].metadata),
            None => Current::none(),
        }
    }
}

/// Records nothing, and keeps each call site enabled for a later check.
struct Sometimes;

impl Subscriber for Sometimes {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Recorder {
    fn new(level: Level) -> Self {
        Self { reported: Arc::default(), level }
    }

    /// From now on, on this thread.
    fn here(&self) -> tracing::subscriber::DefaultGuard {
        // Before any span is made: a call site that is first used without a subscriber would stay disabled.
        static EVER: std::sync::Once = std::sync::Once::new();
        EVER.call_once(|| tracing::subscriber::set_global_default(Sometimes).expect("nobody else sets one"));
        set_default(&Dispatch::new(self.clone()))
    }

    fn spans(&self) -> Vec<Seen> {
        self.reported.lock().spans.clone()
    }

    fn names(&self) -> Vec<String> {
        self.spans().iter().map(|span| span.fields["otel.name"].clone()).collect()
    }

    fn one(&self, name: &str) -> Seen {
        let found: Vec<Seen> = self.spans().into_iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), 1, "{name}: {:#?}", self.spans());
        found[0].clone()
    }

    /// The names of the spans around one, the nearest first.
    fn around(&self, span: &Seen) -> Vec<String> {
        let spans = self.spans();
        let mut names = Vec::new();
        let mut parent = span.parent;
        while let Some(id) = parent {
            let outer = &spans[id as usize - 1];
            names.push(outer.fields["otel.name"].clone());
            parent = outer.parent;
        }
        names
    }
}

fn fields(span: &Seen, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| span.fields.get(name).cloned().unwrap_or_default()).collect()
}

const SAID: &str = "제 주민번호는 900101입니다";

fn looks_up() -> DynamicTool {
    let schema = json!({"type": "object", "properties": {"q": {"type": "string"}}});
    DynamicTool::new("look_up", "Looks something up.", schema, |args, _| async move {
        assert_eq!(args["q"], "argument-of-the-tool");
        Ok("result-of-the-tool".into())
    })
}

#[tokio::test]
async fn a_run_its_nodes_and_its_calls_are_spans_inside_each_other_without_what_was_said() {
    let recorder = Recorder::new(Level::DEBUG);
    let _here = recorder.here();
    let model = Scripted::new([
        Turn::call("look_up", json!({"q": "argument-of-the-tool"})),
        Turn::text("answer-of-the-model").usage(Usage {
            input_tokens: 11,
            output_tokens: 7,
            ..Usage::default()
        }),
    ]);
    let tools = ToolRegistry::builder().tool(looks_up()).build().unwrap();
    let tune = |request: ModelRequest| request.temperature(0.7).max_output_tokens(99);
    let agent = Agent::builder("clerk").tools(tools).request(tune).build().unwrap();
    let runtime = on(&journal()).model(Model::new(model)).build();
    let outcome = runtime.session("s").unwrap().run(&agent, AgentState::user(SAID)).await.unwrap();
    assert!(outcome.completed().is_some());

    let run = recorder.one("invoke_agent");
    assert_eq!(run.parent, None);
    let names = [
        "otel.name",
        "gen_ai.operation.name",
        "gen_ai.agent.name",
        "gen_ai.conversation.id",
        "agent_core.status",
        "error.type",
    ];
    assert_eq!(fields(&run, &names), ["invoke_agent clerk", "invoke_agent", "clerk", "s", "completed", ""]);
    let chats: Vec<Seen> = recorder.spans().into_iter().filter(|span| span.name == "chat").collect();
    assert_eq!(chats.len(), 2);
    assert_eq!(recorder.around(&chats[1]), ["node model", "invoke_agent clerk"]);
    let names = [
        "otel.name",
        "otel.kind",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.request.temperature",
        "gen_ai.request.max_tokens",
        "gen_ai.response.finish_reasons",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.conversation.id",
    ];
    assert_eq!(
        fields(&chats[1], &names),
        ["chat scripted", "client", "chat", "scripted", "scripted", "0.7", "99", "stop", "11", "7", "s"]
    );
    assert_eq!(chats[0].fields["gen_ai.response.finish_reasons"], "tool_call");
    let tool = recorder.one("execute_tool");
    assert_eq!(recorder.around(&tool), ["node tools", "invoke_agent clerk"]);
    let names = ["otel.name", "gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.tool.type", "error.type"];
    assert_eq!(fields(&tool, &names), ["execute_tool look_up", "execute_tool", "look_up", "function", ""]);
    assert!(!tool.fields["gen_ai.tool.call.id"].is_empty());

    let all = format!("{:?}", recorder.spans());
    for said in [SAID, "900101", "argument-of", "result-of", "answer-of"] {
        assert!(!all.contains(said), "{said} stands in a span: {all}");
    }
    let open: Vec<Seen> = recorder.spans().into_iter().filter(|span| span.handles > 0).collect();
    assert!(open.is_empty(), "a run at rest has no open span: {open:?}");
}

#[tokio::test]
async fn what_is_replayed_is_no_second_call() {
    let graph = Graph::<Trail>::builder("asks")
        .node("ask", async |_: &Trail, cx: &Context| {
            let reply = cx.model()?.complete("first").await?;
            let said: String = cx.ask("Well?").await?;
            Result::Ok(Trail::update().steps([reply.message.text().into_owned(), said]))
        })
        .edge(START, "ask")
        .edge("ask", END)
        .build()
        .unwrap();
    let (journal, model) = (journal(), Scripted::new([Turn::text("once")]));
    let runtime = |graph| on(&journal).model(Model::new(model.clone())).graph(graph).build();

    let before = Recorder::new(Level::DEBUG);
    let first = {
        let _here = before.here();
        let first = runtime(&graph);
        assert!(first.session("s").unwrap().run(&graph, Trail::update()).await.unwrap().is_paused());
        first.shutdown(std::time::Duration::from_secs(5)).await;
        first
    };
    assert_eq!(before.names(), ["invoke_agent asks", "node ask", "chat scripted"]);
    drop(first);

    let after = Recorder::new(Level::DEBUG);
    let _here = after.here();
    let second = runtime(&graph);
    let run = second.session("s").unwrap().answer(agent_core::Answers::only("go on")).await.unwrap();
    assert_eq!(run.outcome::<Trail>().await.unwrap().state().unwrap().steps, ["once", "go on"]);
    assert_eq!(after.names(), ["invoke_agent asks", "node ask"]);
    assert_eq!(after.one("invoke_agent").fields["agent_core.resumed"], "true");
    assert_eq!(model.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_fails_says_its_code_and_not_its_words() {
    let recorder = Recorder::new(Level::DEBUG);
    let _here = recorder.here();
    let busy =
        || ModelError::new(ModelErrorKind::Overloaded { retry_after: None }).with_detail("secret-detail");
    let model = Scripted::new([Turn::error(busy()), Turn::text("now").then_error(0, busy())]);
    let graph = Graph::<Trail>::builder("fails")
        .node(
            "try",
            (async |_: &Trail, cx: &Context| -> Result<()> {
                cx.model()?.complete("x").await?;
                Err(NodeError::msg("secret-words"))
            })
            .retry(RetryPolicy::attempts(2)),
        )
        .edge(START, "try")
        .edge("try", END)
        .build()
        .unwrap();
    let runtime = Runtime::builder().model(Model::new(model)).build();
    let session = runtime.session("s").unwrap();
    let error = session.run(&graph, Trail::update()).await.unwrap_err();
    let code = error.code().name();
    let reported: Vec<(String, String, String)> = recorder
        .spans()
        .iter()
        .map(|span| {
            let [name, code, status] =
                fields(span, &["otel.name", "error.type", "otel.status_code"]).try_into().unwrap();
            (name, code, status)
        })
        .collect();
    let failed = |name: &str, code: &str| (name.to_owned(), code.to_owned(), "ERROR".to_owned());
    assert_eq!(
        reported,
        [
            failed("invoke_agent fails", code),
            failed("node try", code),
            failed("chat scripted", "model_overloaded"),
            failed("node try", code),
            failed("chat scripted", "model_overloaded"),
        ]
    );
    let spans = recorder.spans();
    assert_eq!(spans[0].fields["agent_core.status"], RunStatus::Failed.as_str());
    assert_eq!(
        (&*spans[1].fields["agent_core.attempt"], &*spans[3].fields["agent_core.attempt"]),
        ("1", "2")
    );
    let all = format!("{spans:?}");
    assert!(!all.contains("secret"), "{all}");
}

#[tokio::test]
async fn a_tool_that_fails_says_its_fault() {
    let recorder = Recorder::new(Level::INFO);
    let _here = recorder.here();
    let tool = DynamicTool::new("breaks", "Breaks.", json!({"type": "object"}), |_, _| async move {
        Err::<agent_core::tool::ToolOutput, _>(ToolError::failed("secret-reason"))
    });
    let model = Scripted::new([Turn::call("breaks", json!({})), Turn::text("sorry")]);
    let tools = ToolRegistry::builder().tool(tool).build().unwrap();
    let agent = Agent::builder("clerk").tools(tools).build().unwrap();
    let runtime = Runtime::builder().model(Model::new(model)).build();
    runtime.session("s").unwrap().run(&agent, AgentState::user("go")).await.unwrap();
    let span = recorder.one("execute_tool");
    assert_eq!(fields(&span, &["error.type", "otel.status_code"]), ["tool_failed", "ERROR"]);
    // Without debug, nodes have no spans, and calls are right inside the run.
    assert_eq!(recorder.around(&span), ["invoke_agent clerk"]);
    assert!(!format!("{:?}", recorder.spans()).contains("secret"));
}

#[test]
fn tasks_on_other_threads_and_in_subgraphs_know_whose_they_are() {
    let recorder = Recorder::new(Level::DEBUG);
    let everywhere = recorder.clone();
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        // For as long as the thread lives.
        .on_thread_start(move || std::mem::forget(everywhere.here()))
        .build()
        .unwrap();
    let inner = Graph::<Trail>::builder("inner")
        .node("x", step)
        .node("y", step)
        .edge(START, "x")
        .edge(START, "y")
        .edge("x", END)
        .edge("y", END)
        .build()
        .unwrap();
    let mut builder = Graph::<Trail>::builder("outer")
        .node("sub", inner.as_node(|_: &Trail| Trail::default(), |_| Trail::update()));
    builder = builder.edge(START, "sub").edge("sub", END);
    for number in 0..20 {
        let name = format!("n{number}");
        builder = builder
            .node(name.clone(), async |_: &Trail, _: &Context| {
                // Some are polled again elsewhere.
                tokio::task::yield_now().await;
                Ok(())
            })
            .edge(START, name.clone())
            .edge(name, END);
    }
    let graph = builder.build().unwrap();
    let running = async move {
        let runtime = Runtime::builder().build();
        runtime.session("s").unwrap().run(&graph, Trail::update()).await.unwrap();
    };
    let group = agent_core::task_group::TaskGroup::default();
    threads.block_on(async {
        group.spawn(running);
        group.wait_idle().await;
    });
    let nodes: Vec<Seen> = recorder.spans().into_iter().filter(|span| span.name == "node").collect();
    assert_eq!(nodes.len(), 23);
    for node in nodes {
        let around = recorder.around(&node);
        match &*node.fields["agent_core.graph"] {
            "inner" => assert_eq!(around, ["node sub", "invoke_agent outer"]),
            _ => assert_eq!(around, ["invoke_agent outer"], "{node:?}"),
        }
    }
}
