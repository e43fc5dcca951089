//! Graph builder: collects nodes and edges; `build` validates and freezes them.

use std::sync::Arc;

use super::{
    AnyNode, BranchFn, BuildError, CloseFn, CopyFn, FailurePolicy, Graph, IntoNode, Route,
    node::CodeIdentity, validate,
};
use crate::{engine::UnfinishedTask, state::State};

/// Builder of a [`Graph`].
///
/// Settings of a node are given with the node: `.node("write", write.retry(3))`, see [`NodeExt`](crate::graph::NodeExt). A
/// graph is a node too: `.node("chapter", chapter.as_node(..))`, see [`Graph::as_node`].
///
/// # Examples
///
/// ```
/// use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Draft { text: String }
///
/// async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> {
///     Ok(Draft::update().text("hello"))
/// }
///
/// let builder = Graph::<Draft>::builder("draft").node("write", write.retry(3)).path([START, "write", END]);
/// assert_eq!(builder.build()?.name(), "draft");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct GraphBuilder<S: State> {
    pub(super) name: String,
    pub(super) nodes: Vec<Added<S>>,
    pub(super) edges: Vec<(String, String)>,
    pub(super) branches: Vec<Branching<S>>,
    pub(super) joins: Vec<Joining>,
    pub(super) leads: Vec<(String, Vec<String>)>,
    pub(super) parent_leads: Vec<(String, Vec<String>)>,
    pub(super) max_supersteps: u64,
    pub(super) max_takeovers: Option<u32>,
    pub(super) concurrency: usize,
    pub(super) on_failure: FailurePolicy,
    pub(super) on_stop: Option<CloseFn<S>>,
    pub(super) dataflow: Option<CopyFn<S>>,
    pub(super) code: CodeIdentity,
}

pub(super) struct Added<S: State> {
    pub(super) name: String,
    pub(super) node: AnyNode<S>,
}

pub(super) struct Joining {
    pub(super) sources: Vec<String>,
    pub(super) target: String,
    /// `None`: all sources.
    pub(super) need: Option<usize>,
}

pub(super) struct Branching<S: State> {
    pub(super) from: String,
    pub(super) choose: BranchFn<S>,
    pub(super) targets: Vec<String>,
}

impl<S: State> GraphBuilder<S> {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            nodes: Vec::new(),
            edges: Vec::new(),
            branches: Vec::new(),
            joins: Vec::new(),
            leads: Vec::new(),
            parent_leads: Vec::new(),
            max_supersteps: 100,
            max_takeovers: None,
            concurrency: usize::MAX,
            on_failure: FailurePolicy::default(),
            on_stop: None,
            dataflow: None,
            code: CodeIdentity::default(),
        }
    }

    /// Adds a node under a name of 1 to 128 bytes without `#`, `/` and control characters.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String, #[state(add)] words: u64 }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// # async fn check(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update()) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub fn node<Marker>(mut self, name: impl Into<String>, node: impl IntoNode<S, Marker>) -> Self {
        self.nodes.push(Added { name: name.into(), node: node.into_node() });
        self
    }

    /// Adds a fixed edge: after `from` has run, `to` runs.
    ///
    /// Several outgoing edges run all their targets in parallel. Several incoming edges run the target once per
    /// superstep in which any of them fired.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String, #[state(add)] words: u64 }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// # async fn check(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update()) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .node("check", check)
    ///     .edge(START, "write")
    ///     .edge("write", "check")
    ///     .edge("check", END)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub fn edge(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.edges.push((from.into(), to.into()));
        self
    }

    /// Adds a fixed edge from each of `nodes` to the next one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// # async fn check(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update()) }
    /// let path = [START, "write", "check", END];
    /// let graph = Graph::<Draft>::builder("draft").node("write", write).node("check", check).path(path).build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub fn path<I>(mut self, nodes: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        let nodes: Vec<String> = nodes.into_iter().map(Into::into).collect();
        self.edges.extend(nodes.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())));
        self
    }

    /// Adds a conditional edge: after `from` has run, `choose` reads the state and returns which of `targets` run.
    ///
    /// A target that is not in `targets`, or no target at all, fails the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String, #[state(add)] words: u64 }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// # async fn check(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update()) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .node("check", check)
    ///     .edge(START, "write")
    ///     .branch("write", |draft: &Draft| if draft.words > 100 { "check" } else { END }, ["check", END])
    ///     .edge("check", END)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub fn branch<R: Into<Route>, N: Into<String>>(
        mut self,
        from: impl Into<String>,
        choose: impl Fn(&S) -> R + Send + Sync + 'static,
        targets: impl IntoIterator<Item = N>,
    ) -> Self {
        identify_closure(&mut self.code, &choose);
        self.branches.push(Branching {
            from: from.into(),
            choose: Arc::new(move |state| choose(state).into()),
            targets: targets.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// Adds a join: `target` runs once when all `sources` have run.
    ///
    /// A source on a branch that was not taken is not waited for.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String, #[state(add)] words: u64 }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// # async fn check(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update()) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .node("research", write)
    ///     .node("check", check)
    ///     .edge(START, "write")
    ///     .edge(START, "research")
    ///     .join(["write", "research"], "check")
    ///     .edge("check", END)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub fn join<N: Into<String>>(
        mut self,
        sources: impl IntoIterator<Item = N>,
        target: impl Into<String>,
    ) -> Self {
        let sources = sources.into_iter().map(Into::into).collect();
        self.joins.push(Joining { sources, target: target.into(), need: None });
        self
    }

    /// Adds a join that does not wait for all: `target` runs once when `need` of the `sources` have run (at least 1), or when no
    /// further one can. With 1 the first one wins. Sources that run later activate nothing.
    ///
    /// The other branches continue, because nodes of one superstep end together: a quorum saves the supersteps that slower
    /// branches still have, not the time of a slow node beside a fast one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { #[state(append)] log: Vec<String> }
    /// # async fn work(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    /// #     Ok(Draft::update().log([cx.node().to_owned()]))
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("cache", work)
    ///     .node("search", work)
    ///     .node("read", work)
    ///     .node("answer", work)
    ///     .edge(START, "cache")
    ///     .path([START, "search", "read"])
    ///     .quorum(1, ["cache", "read"], "answer")
    ///     .edge("answer", END)
    ///     .build()?;
    /// let outcome = Runtime::builder().build().session("s-1")?.run(&graph, Draft::update()).await?;
    /// // `answer` runs beside `read`, which is not waited for.
    /// assert_eq!(outcome.state().ok_or("paused")?.log, ["cache", "search", "read", "answer"]);
    /// # Ok(()) }
    /// ```
    pub fn quorum<N: Into<String>>(
        mut self,
        need: usize,
        sources: impl IntoIterator<Item = N>,
        target: impl Into<String>,
    ) -> Self {
        let sources = sources.into_iter().map(Into::into).collect();
        self.joins.push(Joining { sources, target: target.into(), need: Some(need) });
        self
    }

    /// Declares the nodes that a `goto` or a send in the outcome of `from` may target.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::{Dispatch, Outcome}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String, #[state(add)] words: u64 }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// # async fn check(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update()) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("plan", async |_: &Draft, _: &Context| {
    ///         let chapters = ["one", "two"].map(|title| Dispatch::new("chapter", title));
    ///         Ok(Outcome::update(Draft::update()).send_all(chapters))
    ///     })
    ///     .node("chapter", async |_: &Draft, title: String, _: &Context| {
    ///         Ok(Draft::update().words(title.len() as u64))
    ///     })
    ///     .edge(START, "plan")
    ///     .declare_targets("plan", ["chapter"])
    ///     .edge("chapter", END)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub fn declare_targets<N: Into<String>>(
        mut self,
        from: impl Into<String>,
        targets: impl IntoIterator<Item = N>,
    ) -> Self {
        self.leads.push((from.into(), targets.into_iter().map(Into::into).collect()));
        self
    }

    /// Declares nodes of the graph that contains this one as targets that the node `from` may select with
    /// [`Outcome::goto_parent`](crate::graph::Outcome::goto_parent) or
    /// [`Outcome::send_parent`](crate::graph::Outcome::send_parent), which end the subgraph.
    ///
    /// A graph that adds this one as a subgraph must have the nodes, or it is not built. They are targets of the
    /// subgraph's node there, as if it had declared them. [`END`](crate::graph::END) may be declared too.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::{BuildFault, Outcome}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// let inner = Graph::<Draft>::builder("inner")
    ///     .node("check", async |_: &Draft, _: &Context| Ok(Outcome::<Draft>::empty().goto_parent("review")))
    ///     .edge(START, "check")
    ///     .declare_parent_targets("check", ["review"])
    ///     .build()?;
    /// let outer = Graph::<Draft>::builder("outer")
    ///     .node("inner", inner.as_node(|_: &Draft| Draft::default(), |_| ()))
    ///     .path([START, "inner", END])
    ///     .build();
    /// assert!(matches!(&outer.unwrap_err().faults[..], [BuildFault::UnknownNode { name, .. }] if name == "review"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn declare_parent_targets<N: Into<String>>(
        mut self,
        from: impl Into<String>,
        targets: impl IntoIterator<Item = N>,
    ) -> Self {
        self.parent_leads.push((from.into(), targets.into_iter().map(Into::into).collect()));
        self
    }

    /// Limits the number of supersteps of a run; beyond it the run fails with a limit error. Default: 100.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String, #[state(add)] words: u64 }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// # async fn check(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update()) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .max_supersteps(20)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub const fn max_supersteps(mut self, limit: u64) -> Self {
        self.max_supersteps = limit;
        self
    }

    /// Sets the maximum number of takeovers without progress for runs of this graph; see
    /// [`RuntimeOptions::max_takeovers`](crate::session::RuntimeOptions::max_takeovers), which is the default.
    ///
    /// More than the default is for nodes that work for long and do not end the process themselves; `u32::MAX` never fails a
    /// run for this reason.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String, #[state(add)] words: u64 }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .max_takeovers(10)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub const fn max_takeovers(mut self, limit: u32) -> Self {
        self.max_takeovers = Some(limit);
        self
    }

    /// Limits the number of tasks that run at once in a superstep. Default: no limit.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String, #[state(add)] words: u64 }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// # async fn check(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update()) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .max_concurrency(8)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub fn max_concurrency(mut self, limit: usize) -> Self {
        self.concurrency = limit.max(1);
        self
    }

    /// Sets the policy for the siblings of a failed task. Default: [`FailurePolicy::FailFast`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::FailurePolicy};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String, #[state(add)] words: u64 }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// # async fn check(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update()) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .on_failure(FailurePolicy::LetFinish)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub const fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.on_failure = policy;
        self
    }

    /// Computes an update when a run is stopped or has failed, from the state and the tasks that did not finish.
    ///
    /// The update is applied and stored in the same append as the end of the run, so that a state that is valid only
    /// between supersteps (a conversation in which all tool calls must have results) is valid for the next run too. A
    /// resume enters the unfinished tasks again with the state as `close` left it. `None` changes nothing; so does a
    /// panic, which is logged. Applies to the outermost graph, not to a subgraph. Default: no update.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Context, END, Graph, START, State};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(State, Default, Serialize, Deserialize)]
    /// struct Build { note: String }
    ///
    /// let graph = Graph::<Build>::builder("build")
    ///     .node("compile", async |_: &Build, _: &Context| Ok(Build::update()))
    ///     .edge(START, "compile")
    ///     .edge("compile", END)
    ///     .on_stop(|_, tasks| {
    ///         let open: Vec<&str> = tasks.iter().map(|task| task.node()).collect();
    ///         Some(Build::update().note(format!("cut short in {}", open.join(", "))))
    ///     })
    ///     .build()?;
    /// # assert_eq!(graph.name(), "build");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub fn on_stop(
        mut self,
        close: impl Fn(&S, &[UnfinishedTask<'_>]) -> Option<S::Update> + Send + Sync + 'static,
    ) -> Self {
        identify_closure(&mut self.code, &close);
        self.on_stop = Some(Arc::new(close));
        self
    }

    /// Commits each task as soon as it finishes, so that a fast branch does not wait for a slow sibling. Default: the tasks
    /// of a superstep are committed together.
    ///
    /// When a task finishes, its update is applied and stored and its successors start. A task reads the state as of its
    /// start, also after a restart. Consequences:
    ///
    /// - Updates are applied in the order in which tasks finish. Give fields that parallel branches write a reducer for
    ///   which the order does not matter, or sort what you read.
    /// - Two tasks that replace the same field fail the run with [`RunError::WriteConflict`](crate::RunError::WriteConflict)
    ///   if neither of them started from a state with the update of the other.
    /// - A node with several plain edges in runs once for each of them. Use a [`join`](Self::join) to run it once.
    /// - [`max_supersteps`](Self::max_supersteps) limits the number of tasks on a path; events, checkpoints and results
    ///   count each commit as a superstep.
    /// - While a task is in flight, a snapshot is not kept, and the state is copied once for each version that tasks still
    ///   read. With a large state, put its large fields into [`Shared`](crate::state::Shared) or `Arc`.
    ///
    /// A run that began with this mode is continued only by a graph with it. A subgraph has its own mode.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Context, END, Graph, Runtime, START, State};
    /// use serde::{Deserialize, Serialize};
    /// use tokio::sync::Notify;
    ///
    /// #[derive(State, Default, Clone, Serialize, Deserialize)]
    /// struct Trip { #[state(append)] log: Vec<String> }
    ///
    /// static BOOKED: Notify = Notify::const_new();
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let graph = Graph::<Trip>::builder("trip")
    ///     .node("flight", async |_: &Trip, _: &Context| Ok(Trip::update().log(["flight".to_owned()])))
    ///     .node("book", async |_: &Trip, _: &Context| {
    ///         BOOKED.notify_one();
    ///         Ok(Trip::update().log(["book".to_owned()]))
    ///     })
    ///     .node("hotel", async |_: &Trip, _: &Context| {
    ///         BOOKED.notified().await; // slow: ends after `book`, which comes after `flight`
    ///         Ok(Trip::update().log(["hotel".to_owned()]))
    ///     })
    ///     .path([START, "flight", "book", END])
    ///     .path([START, "hotel", END])
    ///     .dataflow()
    ///     .build()?;
    /// let outcome = Runtime::builder().build().session("s-1")?.run(&graph, Trip::update()).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.log, ["flight", "book", "hotel"]);
    /// # Ok(()) }
    /// ```
    pub fn dataflow(mut self) -> Self
    where
        S: Clone,
    {
        self.dataflow = Some(S::clone);
        self
    }

    /// Validates and freezes the graph.
    ///
    /// # Errors
    ///
    /// [`BuildError`] lists every fault found, not only the first.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String, #[state(add)] words: u64 }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// # async fn check(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update()) }
    /// let error = Graph::<Draft>::builder("draft").node("write", write).edge(START, "wriet").build().unwrap_err();
    /// assert_eq!(error.faults.len(), 3);
    /// assert!(error.to_string().contains("did you mean `write`?"));
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub fn build(mut self) -> Result<Graph<S>, BuildError> {
        for Added { node, .. } in &self.nodes {
            node.run.identify(&mut self.code);
            self.code.add_graph(&node.code);
        }
        validate::freeze(self)
    }
}

fn identify_closure<F: 'static>(code: &mut CodeIdentity, _: &F) {
    code.add::<F>(size_of::<F>());
}

impl<S: State> std::fmt::Debug for GraphBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphBuilder")
            .field("name", &self.name)
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}
