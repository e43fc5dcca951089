//! Graphs: nodes, edges and their validation.
//!
//! Data only: nothing here runs a node.

mod builder;
mod description;
mod fault;
mod node;
mod node_ext;
mod outcome;
mod reachability;
pub(crate) mod render;
pub(crate) mod topology;
mod validate;

pub use builder::GraphBuilder;
pub use description::{
    EdgeDescription, EdgeKind, GraphDescription, NodeDescription, NodeKind, QuorumDescription,
};
pub use fault::{BuildError, BuildFault};
pub use node::{
    AnyNode, ByFn, ByInputFn, ByTrait, InputFn, InputMismatch, IntoNode, Node, NodeError, NodeFn, Result,
};
pub(crate) use node::{CodeIdentity, DynNode, NodePolicy};
pub use node_ext::NodeExt;
pub use outcome::{Dispatch, IntoOutcome, Outcome, Route};
pub(crate) use outcome::{ParentTargets, Selection, Ways};

use std::{collections::HashMap, fmt, panic::AssertUnwindSafe, sync::Arc};

use crate::{engine::UnfinishedTask, ids::NodeName, state::State};
use topology::{NodeIx, Topology};

/// Start of every run: the source of the first edges. Not a node.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, START, State};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Draft { text: String }
/// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
/// let graph = Graph::<Draft>::builder("draft")
///     .node("write", write)
///     .edge(START, "write")
///     .edge("write", END)
///     .build()?;
/// # assert_eq!(graph.name(), "draft");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const START: &str = "__start__";

/// End of a path: the target of the last edges. Not a node.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, START, State};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Draft { text: String }
/// // A branch may end the run too.
/// let graph = Graph::<Draft>::builder("draft")
///     .node("write", async |_: &Draft, _: &Context| Ok(Draft::update().text("a long text")))
///     .edge(START, "write")
///     .branch("write", |draft| if draft.text.is_empty() { "write" } else { END }, ["write", END])
///     .build()?;
/// # assert_eq!(graph.name(), "draft");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const END: &str = "__end__";

/// A validated, immutable graph over the state `S`. Cheap to clone.
///
/// # Examples
///
/// ```
/// use agent_core::{Context, State, graph::{END, Graph, START}};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Hello { name: String, greeting: String }
///
/// async fn greet(state: &Hello, _cx: &Context) -> agent_core::Result<HelloUpdate> {
///     Ok(Hello::update().greeting(format!("Hello, {}!", state.name)))
/// }
///
/// let graph = Graph::<Hello>::builder("hello")
///     .node("greet", greet)
///     .edge(START, "greet")
///     .edge("greet", END)
///     .build()?;
/// assert_eq!(graph.name(), "hello");
/// # Ok::<(), agent_core::graph::BuildError>(())
/// ```
pub struct Graph<S: State>(pub(crate) Arc<Inner<S>>);

pub(crate) struct Inner<S: State> {
    pub(crate) name: Arc<str>,
    pub(crate) nodes: Vec<NodeDef<S>>,
    pub(crate) topology: Arc<Topology>,
    pub(crate) index: HashMap<NodeName, NodeIx>,
    /// By node; `START` is the last one.
    pub(crate) choices: Vec<Choices<S>>,
    pub(crate) max_supersteps: u64,
    pub(crate) max_takeovers: Option<u32>,
    pub(crate) concurrency: usize,
    pub(crate) on_failure: FailurePolicy,
    pub(crate) on_stop: Option<CloseFn<S>>,
    /// In dataflow mode; see [`GraphBuilder::dataflow`].
    pub(crate) dataflow: Option<CopyFn<S>>,
    pub(crate) hash: Arc<str>,
    pub(crate) drawing: render::Drawing,
    pub(crate) code: CodeIdentity,
}

pub(crate) struct NodeDef<S: State> {
    pub(crate) name: NodeName,
    pub(crate) run: Arc<dyn DynNode<S>>,
    pub(crate) policy: NodePolicy<S>,
    /// Node that handles a failure after all retries.
    pub(crate) handler: Option<NodeIx>,
}

/// Outgoing edges of a node that are chosen at run time.
pub(crate) struct Choices<S: State> {
    pub(crate) branches: Vec<BranchDef<S>>,
    /// Declared targets of a `goto` or a send.
    pub(crate) declared: Vec<(NodeName, Target)>,
    /// Declared targets in the graph that contains this one.
    pub(crate) parent: Vec<NodeName>,
    /// Whether the node has a fixed edge or join. Without one, an outcome that selects no target is an error.
    pub(crate) fixed: bool,
}

/// Copies a state that tasks in flight still read.
pub(crate) type CopyFn<S> = fn(&S) -> S;

pub(crate) type BranchFn<S> = Arc<dyn Fn(&S) -> Route + Send + Sync>;

/// Computes the update of a state after its run was stopped or failed.
pub(crate) type CloseFn<S> =
    Arc<dyn Fn(&S, &[UnfinishedTask<'_>]) -> Option<<S as State>::Update> + Send + Sync>;

pub(crate) struct BranchDef<S: State> {
    pub(crate) choose: BranchFn<S>,
    pub(crate) targets: Vec<(NodeName, Target)>,
}

/// Target of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Node(NodeIx),
    End,
}

/// Policy for the other tasks of a superstep when one fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Cancels them. Tasks that have finished stay finished.
    #[default]
    FailFast,
    /// Lets them run to their end.
    LetFinish,
}

impl<S: State> Graph<S> {
    /// Starts building a graph. The name is stored with every run, so keep it when the graph changes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(State, Default, Serialize, Deserialize)]
    /// struct Count { #[state(add)] n: u32 }
    ///
    /// let graph = Graph::<Count>::builder("count")
    ///     .node("one", async |_: &Count, _: &Context| Ok(Count::update().n(1u32)))
    ///     .edge(START, "one")
    ///     .edge("one", END)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "count");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(name: impl Into<String>) -> GraphBuilder<S> {
        GraphBuilder::new(name.into())
    }

    /// Returns the graph's name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write)
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .build()?;
    /// assert_eq!(graph.name(), "draft");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the names of the nodes in the order in which they were added.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Empty {}
    /// let graph = Graph::<Empty>::builder("one")
    ///     .node("a", async |_: &Empty, _: &Context| Ok(Empty::update()))
    ///     .edge(START, "a")
    ///     .edge("a", END)
    ///     .build()?;
    /// assert_eq!(graph.nodes().collect::<Vec<_>>(), ["a"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.0.nodes.iter().map(|node| &*node.name)
    }

    /// Returns 16 hexadecimal digits that change with the names and edges of the graph, not with its code.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let build = |name: &str| {
    ///     Graph::<Draft>::builder("draft").node(name, write).edge(START, name).edge(name, END).build()
    /// };
    /// assert_eq!(build("write")?.hash(), build("write")?.hash());
    /// assert_ne!(build("write")?.hash(), build("draft")?.hash());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.0.hash
    }

    /// Renders the graph as a Mermaid flow chart with subgraphs expanded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Empty {}
    /// let graph = Graph::<Empty>::builder("one")
    ///     .node("a", async |_: &Empty, _: &Context| Ok(Empty::update()))
    ///     .edge(START, "a")
    ///     .edge("a", END)
    ///     .build()?;
    /// assert!(graph.to_mermaid().starts_with("flowchart TD"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        self.0.drawing.mermaid()
    }

    /// Returns the graph as plain data, including its subgraphs.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Context, END, Graph, START, State, graph::NodeKind};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(State, Default, Serialize, Deserialize)]
    /// struct Empty {}
    ///
    /// let graph = Graph::<Empty>::builder("one")
    ///     .node("a", async |_: &Empty, _: &Context| Ok(Empty::update()))
    ///     .edge(START, "a")
    ///     .edge("a", END)
    ///     .build()?;
    /// let outline = graph.description();
    /// assert_eq!((outline.nodes[1].id.as_str(), outline.nodes[1].kind), ("a", NodeKind::Node));
    /// assert_eq!(outline.edges.len(), 2);
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    #[must_use]
    pub fn description(&self) -> GraphDescription {
        GraphDescription::of(&self.0.drawing)
    }

    /// Renders the graph in Graphviz' DOT language with subgraphs expanded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Empty {}
    /// let graph = Graph::<Empty>::builder("one")
    ///     .node("a", async |_: &Empty, _: &Context| Ok(Empty::update()))
    ///     .edge(START, "a")
    ///     .edge("a", END)
    ///     .build()?;
    /// assert!(graph.to_dot().starts_with("digraph"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_dot(&self) -> String {
        self.0.drawing.dot()
    }

    pub(crate) fn node(&self, ix: NodeIx) -> &NodeDef<S> {
        &self.0.nodes[ix as usize]
    }
}

impl<S: State> Clone for Graph<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

// By hand: `derive` would ask for `S: Debug`, and states are often large and private.
impl<S: State> fmt::Debug for Graph<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph")
            .field("name", &self.0.name)
            .field("nodes", &self.0.topology.names)
            .field("hash", &self.0.hash)
            .finish_non_exhaustive()
    }
}

/// A target that the node may not select, or a missing selection.
#[derive(Debug)]
pub(crate) enum RoutingError {
    Undeclared { from: String, target: String, declared: Vec<String> },
    NoBranchTaken { from: String, declared: Vec<String> },
    NoParent { from: String, target: String },
    BadInput { from: String, target: String, reason: String },
    Panicked { from: String, message: String },
}

/// Selected targets as `(target, input)`.
pub(crate) type Chosen = (Target, Option<Arc<serde_json::value::RawValue>>);

impl<S: State> Inner<S> {
    /// Resolves the target names of a finished node or branch against its declared targets.
    pub(crate) fn resolve(
        &self,
        from: NodeIx,
        declared: &[(NodeName, Target)],
        goto: Vec<std::borrow::Cow<'static, str>>,
        sends: Vec<Dispatch>,
        into: &mut Vec<Chosen>,
    ) -> std::result::Result<(), RoutingError> {
        let find = |name: &str| {
            declared.iter().find(|(known, _)| **known == *name).map(|(_, target)| *target).ok_or_else(|| {
                RoutingError::Undeclared {
                    from: self.topology.name(from).to_owned(),
                    target: crate::util::shorten(name, 80),
                    declared: declared.iter().map(|(name, _)| name.to_string()).collect(),
                }
            })
        };
        for name in goto {
            into.push((find(&name)?, None));
        }
        for dispatch in sends {
            let target = find(&dispatch.node)?;
            let input = dispatch.input.map_err(|reason| RoutingError::BadInput {
                from: self.topology.name(from).to_owned(),
                target: dispatch.node.to_string(),
                reason,
            })?;
            into.push((target, Some(input)));
        }
        Ok(())
    }

    /// Checks the targets in the parent graph that a finished node selected, and collects them.
    pub(crate) fn resolve_parent(
        &self,
        from: NodeIx,
        is_subgraph: bool,
        goto: Vec<std::borrow::Cow<'static, str>>,
        sends: Vec<Dispatch>,
        into: &mut ParentTargets,
    ) -> std::result::Result<(), RoutingError> {
        let declared = &self.choices[from as usize].parent;
        let from = || self.topology.name(from).to_owned();
        let check = |target: &str| {
            if !is_subgraph {
                return Err(RoutingError::NoParent {
                    from: from(),
                    target: crate::util::shorten(target, 80),
                });
            }
            if !declared.iter().any(|known| **known == *target) {
                let declared = declared.iter().map(ToString::to_string).collect();
                let target = crate::util::shorten(target, 80);
                return Err(RoutingError::Undeclared { from: from(), target, declared });
            }
            Ok(())
        };
        for target in goto {
            check(&target)?;
            into.goto.push(target.into_owned());
        }
        for Dispatch { node, input } in sends {
            check(&node)?;
            let target = node.into_owned();
            match input {
                Ok(input) => into.sends.push((target, input)),
                Err(reason) => return Err(RoutingError::BadInput { from: from(), target, reason }),
            }
        }
        Ok(())
    }

    /// Evaluates the branches of `from` on `state`. Panics in a branch function are caught.
    pub(crate) fn branch(
        &self,
        from: NodeIx,
        state: &S,
        into: &mut Vec<Chosen>,
    ) -> std::result::Result<(), RoutingError> {
        for branch in &self.choices[from as usize].branches {
            let route =
                std::panic::catch_unwind(AssertUnwindSafe(|| (branch.choose)(state))).map_err(|panic| {
                    RoutingError::Panicked {
                        from: self.topology.name(from).to_owned(),
                        message: crate::util::panic_message(&*panic),
                    }
                })?;
            let before = into.len();
            match route.0 {
                Ways::One(name) => self.resolve(from, &branch.targets, vec![name], Vec::new(), into)?,
                Ways::Many(goto, sends) => self.resolve(from, &branch.targets, goto, sends, into)?,
            }
            if into.len() == before {
                return Err(RoutingError::NoBranchTaken {
                    from: self.topology.name(from).to_owned(),
                    declared: branch.targets.iter().map(|(name, _)| name.to_string()).collect(),
                });
            }
        }
        Ok(())
    }
}
