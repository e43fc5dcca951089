//! Outcome of a node or branch: a state update and the selected targets.

use std::{borrow::Cow, fmt};

use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

use crate::state::State;

/// Result of a node: a state update, and optionally targets (`goto`) and sends.
///
/// Most nodes return only the update: every derived update, `()` and `Outcome` itself implement [`IntoOutcome`].
///
/// # Examples
///
/// ```
/// use agent_core::{Context, State, graph::Outcome};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Draft { text: String }
///
/// async fn check(draft: &Draft, _: &Context) -> agent_core::Result<Outcome<Draft>> {
///     let outcome = Outcome::update(Draft::update().text(draft.text.trim()));
///     Ok(if draft.text.is_empty() { outcome.goto("write") } else { outcome })
/// }
/// # let _ = check;
/// ```
pub struct Outcome<S: State> {
    pub(crate) update: Option<S::Update>,
    /// Apart, because most outcomes select nothing and every one is moved several times.
    pub(crate) selection: Option<Box<Selection>>,
}

/// What an outcome selects in addition to the fixed edges.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) goto: Vec<Cow<'static, str>>,
    pub(crate) sends: Vec<Dispatch>,
    /// Targets in the graph that contains this one.
    pub(crate) parent: Vec<Cow<'static, str>>,
    /// Sends to nodes of the graph that contains this one.
    pub(crate) parent_sends: Vec<Dispatch>,
}

/// What nodes of a subgraph selected in the graph that contains it, in task order.
#[derive(Debug, Clone, Default)]
pub(crate) struct ParentTargets {
    pub(crate) goto: Vec<String>,
    pub(crate) sends: Vec<(String, Arc<RawValue>)>,
}

impl Selection {
    /// Boxed, unless it is empty.
    pub(crate) fn boxed(self) -> Option<Box<Self>> {
        let is_empty = self.goto.is_empty() && self.sends.is_empty() && !self.leaves();
        if is_empty { None } else { Some(Box::new(self)) }
    }

    /// Returns whether it ends the subgraph.
    pub(crate) fn leaves(&self) -> bool {
        !self.parent.is_empty() || !self.parent_sends.is_empty()
    }
}

impl<S: State> Outcome<S> {
    /// Creates an outcome without an update. The fixed edges apply.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, State, graph::Outcome};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn check(_: &Draft, cx: &Context) -> agent_core::Result<Outcome<Draft>> {
    ///     cx.progress("checked", true)?;
    ///     Ok(Outcome::empty())
    /// }
    /// # let _ = check;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn empty() -> Self {
        Self { update: None, selection: None }
    }

    /// Creates an outcome with an update. The fixed edges apply.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{State, graph::Outcome};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    ///
    /// let outcome = Outcome::update(Draft::update().text("a draft"));
    /// # let _: Outcome<Draft> = outcome;
    /// ```
    #[must_use]
    pub const fn update(update: S::Update) -> Self {
        Self { update: Some(update), selection: None }
    }

    /// Activates `node` in addition to the fixed edges of this node, or selects [`END`](crate::graph::END).
    ///
    /// The node must be declared with [`declare_targets`](crate::graph::GraphBuilder::declare_targets).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{State, graph::Outcome};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    ///
    /// let outcome = Outcome::update(Draft::update().text("a draft")).goto("check");
    /// # let _: Outcome<Draft> = outcome;
    /// ```
    #[must_use]
    pub fn goto(mut self, node: impl Into<Cow<'static, str>>) -> Self {
        self.selection.get_or_insert_default().goto.push(node.into());
        self
    }

    /// Ends the subgraph that this node belongs to, and activates `node` in the graph that contains it (LangGraph's
    /// `Command(graph=PARENT)`).
    ///
    /// The superstep of the subgraph is finished first: its other tasks run to their end, and all updates are applied, this
    /// one included. Then no edge, branch, join or `goto` of the subgraph is followed. The subgraph's final state becomes an
    /// update of the parent as at any other end, and `node` is activated in addition to what leads out of the subgraph in
    /// the parent. Several nodes of one superstep may select targets; they are activated in task order.
    ///
    /// The target must be declared with
    /// [`declare_parent_targets`](crate::graph::GraphBuilder::declare_parent_targets), which the parent checks when it is
    /// built; [`END`](crate::graph::END) is the end of the parent's path. In a graph that is not a subgraph it is an error
    /// ([`RunError::NoParent`](crate::RunError::NoParent)).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, graph::Outcome};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Ticket { text: String, #[state(append)] log: Vec<String> }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let triage = Graph::<Ticket>::builder("triage")
    ///     .node("classify", async |ticket: &Ticket, _: &Context| {
    ///         let outcome = Outcome::update(Ticket::update().log(["classified"]));
    ///         Ok(if ticket.text.contains("lawyer") { outcome.goto_parent("person") } else { outcome.goto("reply") })
    ///     })
    ///     .node("reply", async |_: &Ticket, _: &Context| Ok(Ticket::update().log(["replied"])))
    ///     .edge(START, "classify")
    ///     .declare_targets("classify", ["reply"])
    ///     .declare_parent_targets("classify", ["person"])
    ///     .edge("reply", END)
    ///     .build()?;
    /// let into = |ticket: &Ticket| Ticket { text: ticket.text.clone(), log: Vec::new() };
    /// let out = |ticket: Ticket| Ticket::update().log(ticket.log);
    /// let desk = Graph::<Ticket>::builder("desk")
    ///     .node("triage", triage.as_node(into, out))
    ///     .node("person", async |_: &Ticket, _: &Context| Ok(Ticket::update().log(["a person was asked"])))
    ///     .path([START, "triage", END])
    ///     .edge("person", END)
    ///     .build()?;
    /// let session = Runtime::builder().build().session("s-1")?;
    /// let outcome = session.run(&desk, Ticket::update().text("My lawyer says…")).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.log, ["classified", "a person was asked"]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn goto_parent(mut self, node: impl Into<Cow<'static, str>>) -> Self {
        self.selection.get_or_insert_default().parent.push(node.into());
        self
    }

    /// Ends the subgraph that this node belongs to, and activates a node of the graph that contains it with its own input
    /// (LangGraph's `Command(graph=PARENT, goto=[Send(..)])`).
    ///
    /// As [`goto_parent`](Self::goto_parent), with which it may be combined: the subgraph ends in the same way, and the
    /// target must be declared with [`declare_parent_targets`](crate::graph::GraphBuilder::declare_parent_targets). In the
    /// parent, the nodes selected by `goto_parent` are activated first, then the sends, each in task order. Only the graph
    /// that contains the subgraph directly can be selected.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, graph::{Dispatch, Outcome}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Report { topics: Vec<String>, #[state(append)] log: Vec<String> }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let plan = Graph::<Report>::builder("plan")
    ///     .node("split", async |_: &Report, _: &Context| {
    ///         let outcome = Outcome::update(Report::update().log(["split"]));
    ///         Ok(outcome.send_parent(Dispatch::new("study", "birds")).send_parent(Dispatch::new("study", "fish")))
    ///     })
    ///     .edge(START, "split")
    ///     .declare_parent_targets("split", ["study"])
    ///     .build()?;
    /// let report = Graph::<Report>::builder("report")
    ///     .node("plan", plan.as_node(|_: &Report| Report::default(), |plan: Report| Report::update().log(plan.log)))
    ///     .node("study", async |_: &Report, topic: String, _: &Context| Ok(Report::update().log([topic])))
    ///     .edge(START, "plan")
    ///     .edge("study", END)
    ///     .build()?;
    /// let session = Runtime::builder().build().session("s-1")?;
    /// let outcome = session.run(&report, Report::update()).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.log, ["split", "birds", "fish"]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn send_parent(mut self, dispatch: Dispatch) -> Self {
        self.selection.get_or_insert_default().parent_sends.push(dispatch);
        self
    }

    /// Adds several sends to nodes of the graph that contains this one, in this order; see
    /// [`send_parent`](Self::send_parent). Without any, the subgraph does not end.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, State, graph::{Dispatch, Outcome}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { topics: Vec<String> }
    /// async fn plan(draft: &Draft, _: &Context) -> agent_core::Result<Outcome<Draft>> {
    ///     Ok(Outcome::empty().send_all_parent(draft.topics.iter().map(|topic| Dispatch::new("study", topic))))
    /// }
    /// # let _ = plan;
    /// ```
    #[must_use]
    pub fn send_all_parent(mut self, dispatches: impl IntoIterator<Item = Dispatch>) -> Self {
        let mut dispatches = dispatches.into_iter().peekable();
        if dispatches.peek().is_some() {
            self.selection.get_or_insert_default().parent_sends.extend(dispatches);
        }
        self
    }

    /// Activates a node with its own input; see [`Dispatch`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{State, graph::{Dispatch, Outcome}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    ///
    /// let outcome = Outcome::update(Draft::update()).send(Dispatch::new("chapter", "one"));
    /// # let _: Outcome<Draft> = outcome;
    /// ```
    #[must_use]
    pub fn send(mut self, dispatch: Dispatch) -> Self {
        self.selection.get_or_insert_default().sends.push(dispatch);
        self
    }

    /// Adds several sends, in this order.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, State, graph::{Dispatch, Outcome}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn plan(_: &Draft, _: &Context) -> agent_core::Result<Outcome<Draft>> {
    ///     let topics = ["birds", "fish"];
    ///     Ok(Outcome::empty().send_all(topics.map(|topic| Dispatch::new("study", topic))))
    /// }
    /// # let _ = plan;
    /// ```
    #[must_use]
    pub fn send_all(mut self, dispatches: impl IntoIterator<Item = Dispatch>) -> Self {
        let mut dispatches = dispatches.into_iter().peekable();
        if dispatches.peek().is_some() {
            self.selection.get_or_insert_default().sends.extend(dispatches);
        }
        self
    }
}

impl<S: State> fmt::Debug for Outcome<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcome")
            .field("update", &self.update.is_some())
            .field("selection", &self.selection)
            .finish()
    }
}

/// Types that a node may return in `Ok`.
#[diagnostic::on_unimplemented(
    message = "a node of this graph cannot return `{Self}`",
    note = "return the state's update (`MyState::update()…`), `Outcome::<MyState>::…` or `()`"
)]
pub trait IntoOutcome<S: State> {
    /// Converts the value into an outcome.
    fn into_outcome(self) -> Outcome<S>;
}

impl<S: State> IntoOutcome<S> for Outcome<S> {
    fn into_outcome(self) -> Outcome<S> {
        self
    }
}

impl<S: State> IntoOutcome<S> for () {
    fn into_outcome(self) -> Outcome<S> {
        Outcome::empty()
    }
}

/// Activation of a node with its own typed input (LangGraph's `Send`).
///
/// The input is serialized immediately, so it survives a pause, a crash and a move to another process.
///
/// # Examples
///
/// ```
/// use agent_core::graph::Dispatch;
///
/// let sends = ["a", "b"].map(|name| Dispatch::new("greet", name));
/// # drop(sends);
/// ```
#[derive(Debug)]
pub struct Dispatch {
    pub(crate) node: Cow<'static, str>,
    pub(crate) input: Result<Arc<RawValue>, String>,
}

impl Dispatch {
    /// Activates `node` with `input`. An input that cannot be stored ([`ValueError`](crate::json::ValueError): NaN, or
    /// a map with keys that are not strings, say) fails the node that sends it, with the reason. Nested options arrive
    /// as JSON has them: `Some(None)` as `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::graph::Dispatch;
    /// let dispatch = Dispatch::new("study", &serde_json::json!({ "topic": "birds" }));
    /// # let _ = dispatch;
    /// ```
    #[must_use]
    pub fn new<I: Serialize + ?Sized>(node: impl Into<Cow<'static, str>>, input: &I) -> Self {
        let input = crate::json::to_raw(input).map_err(|error| error.of("the input").to_string());
        Self { node: node.into(), input }
    }
}

/// Targets selected by a branch: one node, several, sends, or a mix.
///
/// # Examples
///
/// ```
/// use agent_core::{END, graph::{Dispatch, Route}};
///
/// let one: Route = "write".into();
/// let both = Route::to("write").and("check");
/// let fan_out = Route::sends([Dispatch::new("chapter", &1), Dispatch::new("chapter", &2)]);
/// let end = Route::to(END);
/// # drop((one, both, fan_out, end));
/// ```
#[derive(Debug)]
pub struct Route(pub(crate) Ways);

#[derive(Debug)]
pub(crate) enum Ways {
    One(Cow<'static, str>),
    Many(Vec<Cow<'static, str>>, Vec<Dispatch>),
}

impl Route {
    /// Selects one node, or [`END`](crate::graph::END).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::Route};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .edge(START, "write")
    ///     .branch("write", |draft| Route::to(if draft.text.is_empty() { "write" } else { END }), ["write", END])
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to(node: impl Into<Cow<'static, str>>) -> Self {
        Self(Ways::One(node.into()))
    }

    /// Selects several nodes, which run in parallel.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::Route};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("check", write)
    ///     .node("translate", write)
    ///     .branch(START, |_| Route::to_all(["check", "translate"]), ["check", "translate"])
    ///     .edge("check", END)
    ///     .edge("translate", END)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_all<N: Into<Cow<'static, str>>>(nodes: impl IntoIterator<Item = N>) -> Self {
        Self(Ways::Many(nodes.into_iter().map(Into::into).collect(), Vec::new()))
    }

    /// Selects activations with their own inputs.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::{Dispatch, Route}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn study(_: &Draft, topic: String, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text(topic)) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("study", study)
    ///     .branch(START, |_| Route::sends(["birds", "fish"].map(|topic| Dispatch::new("study", topic))), ["study"])
    ///     .edge("study", END)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn sends(dispatches: impl IntoIterator<Item = Dispatch>) -> Self {
        Self(Ways::Many(Vec::new(), dispatches.into_iter().collect()))
    }

    /// Adds one more node.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::Route};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("check", write)
    ///     .node("translate", write)
    ///     .branch(START, |_| Route::to("check").and("translate"), ["check", "translate"])
    ///     .edge("check", END)
    ///     .edge("translate", END)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn and(self, node: impl Into<Cow<'static, str>>) -> Self {
        let (mut nodes, sends) = self.parts();
        nodes.push(node.into());
        Self(Ways::Many(nodes, sends))
    }

    fn parts(self) -> (Vec<Cow<'static, str>>, Vec<Dispatch>) {
        match self.0 {
            Ways::One(node) => (vec![node], Vec::new()),
            Ways::Many(nodes, sends) => (nodes, sends),
        }
    }
}

impl From<&'static str> for Route {
    fn from(node: &'static str) -> Self {
        Self::to(node)
    }
}

impl From<String> for Route {
    fn from(node: String) -> Self {
        Self::to(node)
    }
}

impl From<Dispatch> for Route {
    fn from(dispatch: Dispatch) -> Self {
        Self::sends([dispatch])
    }
}

impl From<Vec<Dispatch>> for Route {
    fn from(dispatches: Vec<Dispatch>) -> Self {
        Self::sends(dispatches)
    }
}

impl From<Vec<&'static str>> for Route {
    fn from(nodes: Vec<&'static str>) -> Self {
        Self::to_all(nodes)
    }
}

impl<const N: usize> From<[&'static str; N]> for Route {
    fn from(nodes: [&'static str; N]) -> Self {
        Self::to_all(nodes)
    }
}
