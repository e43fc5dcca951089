//! Graphs and scenarios of the golden files: SQLite files written by an earlier version of the library.
//!
//! `tests/examples/write_golden.rs` runs the scenarios and stores one file for each. `tests/it/golden.rs` opens the
//! stored files with the present code. Names of graphs, nodes, keys and tools are part of the files: add, never change.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Agent, Answers, BusyPolicy, Context, END, Graph, Input, NodeError, Question, Result, RunOptions, Runtime,
    START, Session, State,
    clock::ManualClock,
    graph::{Dispatch, Outcome},
    ids::Seq,
    interrupt::AskError,
    journal::JournalStore,
    model::{
        Model, Price, PriceTable, ToolCall, Usage,
        testing::{Scripted, Turn},
    },
    run::{Limits, OverrunPolicy},
    session::{Retention, RuntimeBuilder, StateView},
    tool::{Approval, DynamicTool, ToolPolicy, ToolRegistry},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    World,
    golden_v2::{flow, greet, head, mail, nap, outward, play_v2, porter, race},
};

/// Time at which the golden files were written, in milliseconds since 1970 (2025-11-24).
pub const WRITTEN_AT: i64 = 1_764_000_000_000;

/// Names of the scenarios. Each is the name of a file.
#[rustfmt::skip]
pub const SCENARIOS: [&str; 24] = [
    "idle", "paused", "queued", "failed", "stopped", "forked", "edited", "undone", "work", "agent", "budget",
    "snapshot", "inside", "running", "shipping",
    // Since v2.
    "steered", "sleeping", "context", "quorum", "breakpoints", "background", "outward", "flow", "mail",
];

/// State of all graphs but the agent's.
#[derive(State, Default, Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// One entry for each node that finished.
    #[state(append)]
    pub steps: Vec<String>,
    /// A sum.
    #[state(add)]
    pub sum: i64,
    /// The latest note.
    pub note: Option<String>,
}

/// What the nodes of a process have besides their state.
#[derive(Debug, Default)]
pub struct Outside {
    /// Effects that happened in this process.
    pub world: World,
    /// Whether the node `charge` fails after its step.
    pub broken: bool,
    /// Whether the node `hold` waits for `gate`.
    pub holds: bool,
    /// Signalled by the node `hold` when it waits.
    pub reached: Notify,
    /// What the node `hold` waits for.
    pub gate: Notify,
}

pub(crate) async fn plain(_: &Ledger, cx: &Context) -> Result<LedgerUpdate> {
    Ok(Ledger::update().steps([cx.node().to_owned()]))
}

pub(crate) fn outside(cx: &Context) -> Result<Arc<Outside>> {
    Ok(Arc::clone(&*cx.get::<Arc<Outside>>()?))
}

/// Runs an effect as a recorded step.
pub(crate) async fn effect(cx: &Context, name: &'static str) -> Result<u32> {
    let outside = outside(cx)?;
    cx.step(name, async move { Ok::<_, NodeError>(outside.world.happens(name)) }).await
}

/// A graph of two nodes with one recorded step; never pauses.
///
/// # Panics
///
/// Never: the graph is legal.
#[must_use]
pub fn count() -> Graph<Ledger> {
    Graph::<Ledger>::builder("count")
        .node("first", plain)
        .node("second", async |state: &Ledger, cx: &Context| {
            effect(cx, "count").await?;
            Ok(Ledger::update().steps(["second".to_owned()]).note(format!("sum {}", state.sum)))
        })
        .edge(START, "first")
        .edge("first", "second")
        .edge("second", END)
        .build()
        .expect("the graph is legal")
}

/// Asks one question with options, a schema and details between two nodes.
fn ask() -> Graph<Ledger> {
    Graph::<Ledger>::builder("ask")
        .node("before", plain)
        .node("ask", async |_: &Ledger, cx: &Context| {
            effect(cx, "prepare").await?;
            let question = Question::choose("How many?", [1, 2])
                .or_anything()
                .key("amount")
                .schema(json!({"type": "integer"}))
                .details(json!({"unit": "병 🌸"}));
            let amount: i64 = cx.ask(question).await?;
            effect(cx, "deliver").await?;
            Ok(Ledger::update().steps([format!("ask {amount}")]).sum(amount))
        })
        .node("after", plain)
        .edge(START, "before")
        .edge("before", "ask")
        .edge("ask", "after")
        .edge("after", END)
        .build()
        .expect("the graph is legal")
}

/// Fails behind a recorded step while the world is broken.
fn charge() -> Graph<Ledger> {
    Graph::<Ledger>::builder("charge")
        .node("before", plain)
        .node("charge", async |_: &Ledger, cx: &Context| {
            cx.todos().start("pay", "Pay the bill")?;
            effect(cx, "charge").await?;
            if outside(cx)?.broken {
                return Err(NodeError::msg("the receipt printer is offline"));
            }
            effect(cx, "receipt").await?;
            cx.todos().get("pay")?.done();
            Ok(Ledger::update().steps(["charge".to_owned()]))
        })
        .edge(START, "before")
        .edge("before", "charge")
        .edge("charge", END)
        .build()
        .expect("the graph is legal")
}

/// Changes the todo tree, records steps, a model call and tool calls, then asks with a deadline.
fn work() -> Graph<Ledger> {
    Graph::<Ledger>::builder("work")
        .node("work", async |_: &Ledger, cx: &Context| {
            let collect = cx.todos().start("collect", "Collect reviews")?;
            let shops = collect.children();
            shops.start("shop-a", "Shop A")?.done_with("40 reviews");
            shops.start("shop-b", "Shop B")?.progress(50, "half of them");
            shops.add("shop-c", "Shop C")?;
            cx.todos().add("report", "Write the report")?;
            cx.emit("found", json!({"reviews": 40}))?;
            effect(cx, "fetch").await?;
            let said = cx.model()?.complete("Summarise the reviews.").await?.message.text().into_owned();
            let call = |n: u64| ToolCall {
                id: format!("c{n}"),
                name: "lookup".into(),
                arguments: json!({ "n": n }).to_string(),
                provider: None,
            };
            let results = cx.tools()?.call_all([call(1), call(2)]).await?;
            let results: Vec<String> = results.iter().map(|result| result.text().into_owned()).collect();
            let deadline = Duration::from_secs(3_600);
            let title = match cx.ask::<String>(Question::new("Title?").key("title").deadline(deadline)).await
            {
                Ok(title) => title,
                Err(error) if matches!(error.downcast_ref(), Some(AskError::Expired { .. })) => {
                    "untitled".to_owned()
                }
                Err(error) => return Err(error),
            };
            shops.get("shop-b")?.done();
            shops.get("shop-c")?.cancel("not needed");
            effect(cx, "write").await?;
            cx.todos().get("report")?.done();
            Ok(Ledger::update().steps([said, results.join("+"), title]))
        })
        .edge(START, "work")
        .edge("work", END)
        .build()
        .expect("the graph is legal")
}

/// Waits for a gate while the world holds it.
fn hold() -> Graph<Ledger> {
    Graph::<Ledger>::builder("hold")
        .node("before", plain)
        .node("hold", async |_: &Ledger, cx: &Context| {
            let outside = outside(cx)?;
            effect(cx, "begin").await?;
            if outside.holds {
                outside.reached.notify_one();
                outside.gate.notified().await;
            }
            effect(cx, "finish").await?;
            Ok(Ledger::update().steps(["hold".to_owned()]))
        })
        .edge(START, "before")
        .edge("before", "hold")
        .edge("hold", END)
        .build()
        .expect("the graph is legal")
}

/// Makes one tool call that must not be made twice.
fn ship() -> Graph<Ledger> {
    Graph::<Ledger>::builder("ship")
        .node("ship", async |_: &Ledger, cx: &Context| {
            let arguments = json!({"n": 9}).to_string();
            let call = ToolCall { id: "c1".into(), name: "ship".into(), arguments, provider: None };
            let result = cx.tools()?.call(call).await?;
            Ok(Ledger::update().steps([result.text().into_owned()]))
        })
        .edge(START, "ship")
        .edge("ship", END)
        .build()
        .expect("the graph is legal")
}

/// Asks inside one of three sends and inside a subgraph; a join waits for both.
fn inside() -> Graph<Ledger> {
    let inner = Graph::<Ledger>::builder("inner")
        .node("open", plain)
        .node("sign", async |state: &Ledger, cx: &Context| {
            effect(cx, "print").await?;
            let name: String = cx.ask(Question::new("Who signs?").key("name")).await?;
            Ok(Ledger::update().steps([format!("signed by {name}")]).sum(state.sum))
        })
        .edge(START, "open")
        .edge("open", "sign")
        .edge("sign", END)
        .build()
        .expect("the graph is legal");
    Graph::<Ledger>::builder("inside")
        .node("split", async |_: &Ledger, _: &Context| {
            let sends = (1..=3i64).map(|n| Dispatch::new("part", &n));
            Ok(Outcome::update(Ledger::update().steps(["split".to_owned()])).send_all(sends).goto("contract"))
        })
        .node("part", async |_: &Ledger, n: i64, cx: &Context| {
            effect(cx, ["", "part 1", "part 2", "part 3"][usize::try_from(n).unwrap_or(0)]).await?;
            let more: i64 =
                if n == 2 { cx.ask(Question::new("How much is part 2?").key("price")).await? } else { 0 };
            Ok(Ledger::update().steps([format!("part {n}")]).sum(n * 10 + more))
        })
        .node(
            "contract",
            inner.as_node(
                |state: &Ledger| Ledger { sum: state.sum + 7, ..Ledger::default() },
                |inner: Ledger| Ledger::update().steps(inner.steps).sum(inner.sum),
            ),
        )
        .node("close", plain)
        .edge(START, "split")
        .declare_targets("split", ["part", "contract"])
        .join(["part", "contract"], "close")
        .edge("close", END)
        .build()
        .expect("the graph is legal")
}

/// An agent with a tool `order` that needs an approval.
pub(crate) fn agent() -> Graph<agent_core::AgentState> {
    Agent::builder("clerk").runtime_tools().build().expect("the agent is legal")
}

fn tools(outside: &Arc<Outside>) -> ToolRegistry {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let tool = |name: &'static str, policy: ToolPolicy| {
        let outside = Arc::clone(outside);
        DynamicTool::new(name, "A tool.", schema.clone(), move |args: Value, _| {
            let outside = Arc::clone(&outside);
            async move {
                outside.world.happens(name);
                if name == "ship" && outside.holds {
                    outside.reached.notify_one();
                    outside.gate.notified().await;
                }
                Ok(format!("{name} {}", args["n"]).into())
            }
        })
        .with_policy(policy)
    };
    let order = ToolPolicy::default().approval(Approval::Always);
    ToolRegistry::builder()
        .tool(tool("lookup", ToolPolicy::read_only()))
        .tool(tool("ship", ToolPolicy::default()))
        .tool(tool("order", order))
        .build()
        .expect("the tools are legal")
}

/// Answers of the model in the process that writes the files.
#[must_use]
pub fn first_turns() -> Scripted {
    let usage = Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() };
    Scripted::rule(move |call, _| match call {
        0 => Turn::text("good").and_call("lookup", json!({"n": 4})).usage(usage),
        _ => Turn::text("").and_call("order", json!({"n": 5})).usage(usage),
    })
}

/// A runtime that knows every graph of the golden files.
pub fn runtime(store: Arc<dyn JournalStore>, outside: &Arc<Outside>, model: Scripted) -> RuntimeBuilder {
    let price = Price { input: 2_000_000, output: 10_000_000, cached: None };
    Runtime::builder()
        .journal(store)
        .clock(Arc::new(ManualClock::new(WRITTEN_AT)))
        .graph(&count())
        .graph(&ask())
        .graph(&charge())
        .graph(&work())
        .graph(&hold())
        .graph(&ship())
        .graph(&inside())
        .graph(&agent())
        .graph(&nap())
        .graph(&greet())
        .graph(&race())
        .graph(&outward())
        .graph(&flow())
        .graph(&mail())
        .graph(&porter())
        .graph(&head())
        .model(Model::new(model))
        .prices(PriceTable::new().with("scripted", price))
        .tools(tools(outside))
        .provide(Arc::clone(outside))
}

/// Runs the scenario `name` on a runtime of the process that writes the files.
///
/// `builder` is a [`runtime`]. The session is called `s`.
///
/// # Panics
///
/// If the name is unknown or a run ends in another way than the scenario needs.
pub async fn play(name: &str, builder: RuntimeBuilder, outside: &Outside) -> Runtime {
    let builder = match name {
        "snapshot" => builder.options(|options| {
            options.snapshot_bytes = 1;
            options.retention = Retention::entries(4);
        }),
        _ => builder,
    };
    let runtime = builder.build();
    let session = runtime.session("s").expect("the id is legal");
    let update = Ledger::update;
    let options = RunOptions::default;
    match name {
        "idle" | "snapshot" => {
            let marks = |options: RunOptions| options.label("owner", "ann").label("title", "첫 대화");
            let first = marks(options()).request_of("r-1", b"content").default_label("kind", "demo");
            session.run(&count(), update().sum(1)).options(first).await.expect("it completes");
            session
                .run(&count(), update().sum(2))
                .options(options().request("r-2"))
                .await
                .expect("it completes");
        }
        "paused" => {
            let first = options().request("r-1").label("owner", "ann");
            let outcome = session.run(&ask(), update().sum(5)).options(first).await.expect("it pauses");
            assert!(outcome.is_paused());
        }
        "queued" => {
            assert!(session.run(&ask(), update().sum(5)).await.expect("it pauses").is_paused());
            let later = || options().on_busy(BusyPolicy::Enqueue);
            session
                .run(&count(), update().sum(1))
                .options(later().request("r-2"))
                .start()
                .await
                .expect("it is queued");
            let whole = Ledger { steps: vec!["given".to_owned()], sum: 40, note: None };
            let limits = Limits::default().supersteps(7);
            session
                .run(&ask(), Input::State(whole))
                .options(later().limits(limits))
                .start()
                .await
                .expect("it is queued");
        }
        "failed" => {
            session.run(&charge(), update()).await.expect_err("the printer is offline");
        }
        "stopped" => {
            let run = session.run(&hold(), update()).options(options()).start().await.expect("it starts");
            outside.reached.notified().await;
            session.stop().await.expect("it stops");
            drop(run);
        }
        "forked" => {
            session.run(&ask(), update().sum(5)).await.expect("it pauses");
            let places = session.history(Seq::ZERO, 10).await.expect("it reads");
            session.fork(places[0].seq, "fork-early".parse().expect("legal")).await.expect("it forks");
            let last = session.head().await.expect("it reads").last;
            session.fork(last, "fork-late".parse().expect("legal")).await.expect("it forks");
            let run = session.answer(Answers::only(2)).by("ann").await.expect("it takes the answer");
            run.outcome::<Ledger>().await.expect("it completes");
        }
        "edited" => {
            session.run(&ask(), update().sum(5)).await.expect("it pauses");
            session.edit(&ask(), "ask", update().sum(30).note("edited")).await.expect("it edits");
        }
        "undone" => {
            session.run(&count(), update().sum(1)).await.expect("it completes");
            session.run(&ask(), update().sum(100)).await.expect("it pauses");
            let outcome =
                session.run(&ask(), update().sum(2)).options(options().on_busy(BusyPolicy::Rollback)).await;
            assert!(outcome.expect("it pauses").is_paused());
        }
        "work" => assert!(session.run(&work(), update()).await.expect("it pauses").is_paused()),
        "agent" => assert!(session.run(&agent(), "주문해 줘").await.expect("it pauses").is_paused()),
        "budget" => {
            let limits = Limits::default().model_calls(1).on_overrun(OverrunPolicy::Ask);
            let outcome =
                session.run(&agent(), "go").options(options().limits(limits)).await.expect("it pauses");
            assert!(outcome.is_paused());
        }
        "inside" => {
            let outcome = session.run(&inside(), update().sum(100)).await.expect("it pauses");
            let questions = outcome.questions();
            let part = questions.iter().find(|open| open.question.key.as_deref() == Some("price"));
            let part = part.expect("the part asks").id.clone();
            let mut run = session.answer(Answers::to(part, 3)).await.expect("it takes the answer");
            assert!(run.wait_status().await.is_busy());
        }
        "running" | "shipping" => {
            let graph = if name == "running" { hold() } else { ship() };
            let run = session.run(&graph, update()).options(options()).start().await.expect("it starts");
            outside.reached.notified().await;
            drop(run);
        }
        other => play_v2(other, &runtime, &session).await,
    }
    runtime
}

/// All that the public API reads of every session of a store.
///
/// # Panics
///
/// If a session cannot be read.
pub async fn reading(runtime: &Runtime) -> Value {
    let mut all = serde_json::Map::new();
    for info in runtime.sessions(None, &[], 100).await.expect("the list reads") {
        let session = runtime.session_of(info.id.clone());
        let summary = &info.head.summary;
        let listed = json!({
            "graph": summary.graph, "status": summary.status, "run": summary.run, "at": summary.at,
            "questions": summary.questions, "labels": summary.labels,
            "first": info.head.first, "last": info.head.last,
        });
        let mut read = one_reading(&session).await;
        read["listed"] = listed;
        all.insert(info.id.to_string(), read);
    }
    Value::Object(all)
}

async fn one_reading(session: &Session) -> Value {
    let status = session.status().await.expect("the status reads");
    let failure = status.failure.as_ref();
    let StateView { state, active_tasks: tasks, .. } =
        session.state_and_active_tasks().await.expect("the state reads");
    let history: Vec<Value> = session
        .history(Seq::ZERO, 1_000)
        .await
        .expect("the history reads")
        .iter()
        .map(|place| {
            json!({
                "seq": place.seq, "at": place.at, "run": place.run, "superstep": place.superstep, "next": place.next,
            })
        })
        .collect();
    let events = session.events(Seq::ZERO, 1_000).await.expect("the events read");
    json!({
        "status": {
            "run": status.run, "status": status.status, "graph": status.graph, "todos": status.todos,
            "questions": status.questions, "used": status.used, "accepted": status.accepted,
            "accepted_at": status.accepted_at, "active_ms": status.active_ms,
            "failure": failure.map(|failure| json!([failure.code, failure.message, failure.node])),
            "last": status.last, "labels": *status.labels,
        },
        "state": state,
        "tasks": tasks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "history": history,
        "events": serde_json::to_value(events).expect("events are JSON"),
    })
}
