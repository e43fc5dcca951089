//! Scenarios of the golden files since format v2: steering, timers, run contexts, quorums, breakpoints, background
//! agents and dataflow mode. As in [`golden`](crate::golden), names are part of the files: add, never change.

use std::time::Duration;

use agent_core::{
    Agent, AgentState, Answers, BusyPolicy, Context, END, Graph, Question, Result, RunOptions, Runtime,
    START, Session,
    event::EventBody,
    graph::{Dispatch, Outcome},
    ids::Seq,
    model::{
        Model, Role,
        testing::{Scripted, Turn},
    },
    session::BackgroundAgent,
    tool::ToolRegistry,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::golden::{Ledger, LedgerUpdate, WRITTEN_AT, agent, effect, plain};

/// Context of the runs of the scenario `context`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Name of the user.
    pub name: String,
    /// More than a JSON number of most readers holds.
    pub credit: u128,
}

/// Sleeps between two effects.
///
/// # Panics
///
/// Never: the graph is legal.
#[must_use]
pub fn nap() -> Graph<Ledger> {
    Graph::<Ledger>::builder("nap")
        .node("nap", async |_: &Ledger, cx: &Context| {
            effect(cx, "lie down").await?;
            cx.sleep(Duration::from_secs(3_600)).await?;
            effect(cx, "get up").await?;
            Ok(Ledger::update().steps(["nap".to_owned()]))
        })
        .path([START, "nap", END])
        .build()
        .expect("the graph is legal")
}

/// Asks, then greets the user of the run's context.
///
/// # Panics
///
/// Never: the graph is legal.
#[must_use]
pub fn greet() -> Graph<Ledger> {
    Graph::<Ledger>::builder("greet")
        .node("ask", async |_: &Ledger, cx: &Context| -> Result<LedgerUpdate> {
            Ok(Ledger::update().sum(cx.ask::<i64>(Question::new("How much?").key("amount")).await?))
        })
        .node("greet", async |_: &Ledger, cx: &Context| -> Result<LedgerUpdate> {
            let user = cx.context::<User>()?;
            Ok(Ledger::update().steps([format!("{} {}", user.name, user.credit)]))
        })
        .path([START, "ask", "greet", END])
        .build()
        .expect("the graph is legal")
}

/// `last` runs when `fast` has finished, while `slow` still asks.
///
/// # Panics
///
/// Never: the graph is legal.
#[must_use]
pub fn race() -> Graph<Ledger> {
    Graph::<Ledger>::builder("race")
        .node("fast", plain)
        .node("begin", plain)
        .node("slow", async |_: &Ledger, cx: &Context| -> Result<LedgerUpdate> {
            let amount: i64 = cx.ask(Question::new("How much?").key("amount")).await?;
            Ok(Ledger::update().steps(["slow".to_owned()]).sum(amount))
        })
        .node("last", plain)
        .path([START, "fast"])
        .path([START, "begin", "slow"])
        .quorum(1, ["fast", "slow"], "last")
        .edge("last", END)
        .build()
        .expect("the graph is legal")
}

/// `fast` and `after` have finished while `slow`, which began with them, still asks.
///
/// # Panics
///
/// Never: the graph is legal.
#[must_use]
pub fn flow() -> Graph<Ledger> {
    Graph::<Ledger>::builder("flow")
        .node("fast", plain)
        .node("after", plain)
        .node("slow", async |ledger: &Ledger, cx: &Context| -> Result<LedgerUpdate> {
            effect(cx, "look").await?;
            let amount: i64 = cx.ask(Question::new("How much?").key("amount")).await?;
            Ok(Ledger::update().steps([format!("slow saw {}", ledger.steps.len())]).sum(amount))
        })
        .node("last", plain)
        .path([START, "fast", "after"])
        .edge(START, "slow")
        .join(["after", "slow"], "last")
        .edge("last", END)
        .dataflow()
        .build()
        .expect("the graph is legal")
}

/// A node of a subgraph selects a node of the parent, while a sibling and a node of the parent ask.
///
/// # Panics
///
/// Never: the graphs are legal.
#[must_use]
pub fn outward() -> Graph<Ledger> {
    let ask = async |_: &Ledger, cx: &Context| -> Result<LedgerUpdate> {
        let amount: i64 = cx.ask(Question::new(cx.node().to_owned()).key("amount")).await?;
        Ok(Ledger::update().steps([cx.node().to_owned()]).sum(amount))
    };
    let inner = Graph::<Ledger>::builder("inner")
        .node("pick", async |_: &Ledger, _: &Context| {
            Ok(Outcome::update(Ledger::update().steps(["pick".to_owned()])).goto_parent("chosen"))
        })
        .node("inside", ask)
        .path([START, "inside", END])
        .edge(START, "pick")
        .declare_parent_targets("pick", ["chosen"])
        .build()
        .expect("the graph is legal");
    Graph::<Ledger>::builder("outward")
        .node(
            "inner",
            inner.as_node(
                |_: &Ledger| Ledger::default(),
                |inner: Ledger| Ledger::update().steps(inner.steps).sum(inner.sum),
            ),
        )
        .node("outside", ask)
        .node("chosen", plain)
        .edge(START, "inner")
        .path([START, "outside", END])
        .edge("chosen", END)
        .build()
        .expect("the graph is legal")
}

/// A node of a subgraph sends to a node of the parent, while a sibling and a node of the parent ask.
///
/// # Panics
///
/// Never: the graphs are legal.
#[must_use]
pub fn mail() -> Graph<Ledger> {
    let ask = async |_: &Ledger, cx: &Context| -> Result<LedgerUpdate> {
        let amount: i64 = cx.ask(Question::new(cx.node().to_owned()).key("amount")).await?;
        Ok(Ledger::update().steps([cx.node().to_owned()]).sum(amount))
    };
    let inner = Graph::<Ledger>::builder("inner")
        .node("pick", async |_: &Ledger, _: &Context| {
            let outcome = Outcome::update(Ledger::update().steps(["pick".to_owned()]));
            let sends = ["하나\0", "two"].map(|text| Dispatch::new("read", text));
            Ok(outcome.goto_parent("chosen").send_all_parent(sends))
        })
        .node("inside", ask)
        .path([START, "inside", END])
        .edge(START, "pick")
        .declare_parent_targets("pick", ["chosen", "read"])
        .build()
        .expect("the graph is legal");
    Graph::<Ledger>::builder("mail")
        .node(
            "inner",
            inner.as_node(
                |_: &Ledger| Ledger::default(),
                |inner: Ledger| Ledger::update().steps(inner.steps).sum(inner.sum),
            ),
        )
        .node("outside", ask)
        .node("chosen", plain)
        .node("read", async |_: &Ledger, text: String, _: &Context| {
            Ok(Ledger::update().steps([format!("read {text}")]))
        })
        .edge(START, "inner")
        .path([START, "outside", END])
        .edge("chosen", END)
        .edge("read", END)
        .build()
        .expect("the graph is legal")
}

/// An agent that calls the tool `order`.
///
/// # Panics
///
/// Never: the agent is legal.
#[must_use]
pub fn porter() -> Graph<AgentState> {
    let model = Model::new(Scripted::rule(|_, request| {
        let last = request.messages.last().expect("there is a task");
        match last.role {
            Role::User => Turn::call("order", json!({ "n": 6 })),
            _ => Turn::text("ordered"),
        }
    }));
    Agent::builder("porter").runtime_tools().model(model).build().expect("the agent is legal")
}

/// An agent that starts `porter` in the background, and answers with what the call returned.
///
/// # Panics
///
/// Never: the agents are legal.
#[must_use]
pub fn background(runtime: &Runtime) -> Graph<AgentState> {
    let tools = BackgroundAgent::new(runtime, &porter()).tools().expect("the names are legal");
    head_with(tools)
}

/// The agent of [`background`] without tools, to read its sessions.
pub(crate) fn head() -> Graph<AgentState> {
    head_with(ToolRegistry::default())
}

fn head_with(tools: ToolRegistry) -> Graph<AgentState> {
    let head = Model::new(Scripted::rule(|_, request| {
        let last = request.messages.last().expect("there is a message");
        match (last.role, last.text().strip_prefix("check ")) {
            (Role::User, Some(id)) => Turn::call("check_porter", json!({ "id": id })),
            (Role::User, None) => Turn::call("start_porter", json!({ "task": last.text() })),
            _ => Turn::text(last.text()),
        }
    }));
    Agent::builder("head").tools(tools).model(head).build().expect("the agent is legal")
}

/// Runs a scenario; see [`play`](crate::golden::play).
///
/// # Panics
///
/// If the name is unknown or a run ends in another way than the scenario needs.
pub async fn play_v2(name: &str, runtime: &Runtime, session: &Session) {
    let update = Ledger::update;
    let options = RunOptions::default;
    match name {
        "steered" => {
            assert!(session.run(&agent(), "주문해 줘").await.expect("it pauses").is_paused());
            session.steer("one more 🌸").await.expect("the agent is paused");
            // The agent reads the message, and asks for the approval of its next call.
            let run = session.answer(Answers::only("approve")).await.expect("it takes the answer");
            assert!(run.outcome::<AgentState>().await.expect("it pauses").is_paused());
            session.steer("and hurry").await.expect("the agent is paused");
        }
        "sleeping" => {
            assert!(session.run(&nap(), update()).await.expect("it pauses").is_paused());
        }
        "context" => {
            let of = |name: &str| {
                let user = User { name: name.to_owned(), credit: u128::MAX };
                options().context(user).on_busy(BusyPolicy::Enqueue)
            };
            let first = session.run(&greet(), update()).options(of("앤")).await.expect("it pauses");
            assert!(first.is_paused());
            let second = of("Bob").break_before(["greet"]);
            session.run(&greet(), update()).options(second).start().await.expect("it is queued");
        }
        "quorum" => {
            let outcome = session.run(&race(), update()).await.expect("it pauses");
            assert!(outcome.is_paused());
        }
        "flow" => {
            let outcome = session.run(&flow(), update()).await.expect("it pauses");
            assert!(outcome.is_paused());
        }
        "breakpoints" => {
            let options =
                options().break_before(["fast"]).break_after(["last"]).start_at(WRITTEN_AT + 60_000);
            assert!(session.run(&race(), update()).options(options).await.expect("it pauses").is_paused());
        }
        "background" => {
            let head = background(runtime);
            let outcome = session.run(&head, "주문해 줘").await.expect("it completes");
            let answer = outcome.state().expect("it completes").answer();
            let id = answer.split('"').find(|part| part.starts_with("porter-")).expect("it has an id");
            let porter = runtime.session(id).expect("the id is legal");
            porter.wait_status().await.expect("it pauses");
        }
        "outward" | "mail" => {
            let graph = if name == "mail" { mail() } else { outward() };
            let outcome = session.run(&graph, update()).await.expect("it pauses");
            let head = session.head().await.expect("it reads").last;
            session.fork(head, "before".parse().expect("legal")).await.expect("it forks");
            let inside = outcome.questions().iter().find(|open| open.question.prompt == "inside");
            let inside = inside.expect("the node asks").id.clone();
            let mut run = session.answer(Answers::to(inside, 3)).await.expect("it takes the answer");
            run.wait_status().await;
            // Between the end of the subgraph and that of its task.
            let events = session.events(Seq::ZERO, 1_000).await.expect("the events read");
            let ended =
                |body: &EventBody| matches!(body, EventBody::NodeFinished(end) if end.node == "inner");
            let ended = events.iter().find(|event| ended(&event.body)).and_then(|event| event.seq);
            let between = Seq(ended.expect("the subgraph has ended").0 - 1);
            session.fork(between, "between".parse().expect("legal")).await.expect("it forks");
        }
        other => panic!("no scenario is called `{other}`"),
    }
}
