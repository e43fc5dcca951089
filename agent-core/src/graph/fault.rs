//! Build errors: every fault of a graph, with what to change.

use std::fmt;

use super::START;

/// Error of [`GraphBuilder::build`](super::GraphBuilder::build): all faults of a graph.
///
/// # Examples
///
/// ```
/// use agent_core::{Graph, State, graph::BuildFault};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Empty {}
///
/// let error = Graph::<Empty>::builder("empty").build().unwrap_err();
/// assert_eq!(error.faults, [BuildFault::NoStart]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BuildError {
    /// Name of the graph.
    pub graph: String,
    /// Every fault, in the order in which it was found; at least one.
    pub faults: Vec<BuildFault>,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "graph `{}` has {} fault(s)", self.graph, self.faults.len())?;
        for fault in &self.faults {
            write!(f, "; {fault}")?;
        }
        Ok(())
    }
}

/// One fault of a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildFault {
    /// An edge, branch or join names a node that was not added.
    #[error("no node is called `{name}` ({used_in}); add it with `.node({name:?}, ..)` or fix the name{}", hint(.nearest))]
    UnknownNode {
        /// The name.
        name: String,
        /// The edge, branch or join that uses it.
        used_in: String,
        /// A node with a similar name.
        nearest: Option<String>,
    },
    /// Two nodes have one name.
    #[error("two nodes are called `{name}`; rename one")]
    DuplicateNode {
        /// The name.
        name: String,
    },
    /// The same edge was added twice.
    #[error("the edge `{from}` -> `{to}` was added twice; remove one")]
    DuplicateEdge {
        /// Its source.
        from: String,
        /// Its target.
        to: String,
    },
    /// An invalid name.
    #[error(
        "invalid node name `{name}`: 1 to 128 bytes, no `#`, no `/`, no control characters, not `__start__` or `__end__`"
    )]
    IllegalName {
        /// The name, cut.
        name: String,
    },
    /// An edge into the start or out of the end.
    #[error("edge `{from}` -> `{to}` is invalid: {}; reverse or remove it", if .to == START { "START has no incoming edges" } else { "END has no outgoing edges" })]
    WrongWay {
        /// Its source.
        from: String,
        /// Its target.
        to: String,
    },
    /// The start has no outgoing edge.
    #[error("START has no outgoing edge; add `.edge(START, ..)`")]
    NoStart,
    /// No path from the start leads to a node.
    #[error("node `{name}` cannot be reached from the start; lead an edge to it or remove it")]
    Unreachable {
        /// The node.
        name: String,
    },
    /// A node has no outgoing edge.
    #[error("node `{name}` has no outgoing edge; add `.edge({name:?}, END)` or another edge")]
    NoWayOut {
        /// The node.
        name: String,
    },
    /// A node has outgoing edges, but no path to the end.
    #[error("node `{name}` cannot reach END; add an edge out of its loop")]
    NoWayToEnd {
        /// The node.
        name: String,
    },
    /// A join that can never fill, because one of its sources comes only after it.
    #[error("join [{}] -> `{target}` can never fill: `{missing}` cannot run before it; use a plain edge for the way back", .sources.join(", "))]
    JoinCannotFill {
        /// Its sources.
        sources: Vec<String>,
        /// Its target.
        target: String,
        /// The source that cannot come first.
        missing: String,
    },
    /// A join without sources, or with one of them twice.
    #[error("join [{}] -> `{target}` needs at least one source, each once, and none may be the start or the end; a quorum is 1 to their number", .sources.join(", "))]
    BadJoin {
        /// Its sources.
        sources: Vec<String>,
        /// Its target.
        target: String,
    },
    /// A branch or a declaration of targets without targets.
    #[error("the {what} of `{from}` declares no targets; list every node it may choose")]
    NoTargets {
        /// Its source.
        from: String,
        /// Branch or `declare_targets`.
        what: &'static str,
    },
    /// A node with an input is the target of an edge or join, which carry none.
    #[error(
        "node `{name}` requires an input, which {used_in} does not carry; activate it by a send (`declare_targets` or a branch with `Dispatch`)"
    )]
    NeedsInput {
        /// The node.
        name: String,
        /// The edge, branch or join.
        used_in: String,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
