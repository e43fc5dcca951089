//! A graph as plain data, for programs that draw graphs themselves.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    END, START,
    render::{Drawing, Line},
};

/// Nodes and edges of a graph, including those of its subgraphs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct GraphDescription {
    /// Name of the graph.
    pub name: String,
    /// Nodes, including start and end. The nodes of a subgraph follow the node that contains it.
    pub nodes: Vec<NodeDescription>,
    /// Edges between the nodes.
    pub edges: Vec<EdgeDescription>,
    /// Whether each task is committed as soon as it finishes; see
    /// [`GraphBuilder::dataflow`](crate::graph::GraphBuilder::dataflow).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub dataflow: bool,
}

/// A node of an [`GraphDescription`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct NodeDescription {
    /// Path of the node: `outer/inner` inside a subgraph. The task of an event is this path with a number after
    /// each part.
    pub id: String,
    /// Name of the node.
    pub label: String,
    /// Kind of the node.
    pub kind: NodeKind,
    /// Node with the subgraph that contains this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Whether the node contains a graph in dataflow mode.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    pub dataflow: bool,
}

/// Kind of a node in an [`GraphDescription`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeKind {
    /// Start of a graph.
    Start,
    /// End of a graph.
    End,
    /// A node that runs after any of its sources.
    Node,
    /// A node that waits for several sources.
    Join,
    /// A node that contains a graph.
    Subgraph,
}

/// An edge of an [`GraphDescription`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct EdgeDescription {
    /// Id of the source node.
    pub from: String,
    /// Id of the target node.
    pub to: String,
    /// Condition under which the edge is taken.
    pub kind: EdgeKind,
    /// For an edge to a join that does not wait for all of its sources: how many it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<QuorumDescription>,
    /// For an edge to the end of a subgraph: nodes of the graph that contains it, one or more of which the source node
    /// selects with [`Outcome::goto_parent`](crate::graph::Outcome::goto_parent) or
    /// [`Outcome::send_parent`](crate::graph::Outcome::send_parent).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub parent_targets: Vec<String>,
}

/// A join that runs when a part of its sources have run; see
/// [`GraphBuilder::quorum`](crate::graph::GraphBuilder::quorum).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct QuorumDescription {
    /// Number of sources that the join waits for.
    pub need: usize,
    /// Number of its sources.
    pub of: usize,
}

/// Condition under which an edge of an [`GraphDescription`] is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EdgeKind {
    /// Always.
    Edge,
    /// If a branch function selects it.
    Branch,
    /// Always; the target waits for other sources too.
    Join,
    /// If the outcome of the node selects it.
    Goto,
    /// If the node fails.
    Error,
}

impl GraphDescription {
    pub(super) fn of(drawing: &Drawing) -> Self {
        let mut description = Self {
            name: drawing.name.clone(),
            nodes: Vec::new(),
            edges: Vec::new(),
            dataflow: drawing.dataflow,
        };
        description.add_nodes(drawing, None);
        description
    }

    fn add_nodes(&mut self, drawing: &Drawing, parent: Option<&str>) {
        let id = |name: &str| parent.map_or_else(|| name.to_owned(), |parent| format!("{parent}/{name}"));
        let node = |name: &str, kind| NodeDescription {
            id: id(name),
            label: name.to_owned(),
            kind,
            parent: parent.map(str::to_owned),
            dataflow: false,
        };
        self.nodes.push(node(START, NodeKind::Start));
        for (name, inner) in &drawing.nodes {
            let joins = drawing
                .lines
                .iter()
                .any(|(_, to, line)| to == name && matches!(line, Line::Join | Line::Quorum { .. }));
            let kind = match inner {
                Some(_) => NodeKind::Subgraph,
                None if joins => NodeKind::Join,
                None => NodeKind::Node,
            };
            let dataflow = inner.as_ref().is_some_and(|inner| inner.dataflow);
            self.nodes.push(NodeDescription { dataflow, ..node(name, kind) });
            if let Some(inner) = inner {
                self.add_nodes(inner, Some(&id(name)));
            }
        }
        self.nodes.push(node(END, NodeKind::End));
        self.edges.extend(drawing.lines.iter().map(|(from, to, line)| EdgeDescription {
            from: id(from),
            to: id(to),
            kind: match line {
                Line::Edge => EdgeKind::Edge,
                Line::Branch => EdgeKind::Branch,
                Line::Join | Line::Quorum { .. } => EdgeKind::Join,
                Line::Goto | Line::Parent(_) => EdgeKind::Goto,
                Line::Error => EdgeKind::Error,
            },
            quorum: match *line {
                Line::Quorum { need, of } => Some(QuorumDescription { need, of }),
                _ => None,
            },
            parent_targets: match line {
                Line::Parent(targets) => targets.clone(),
                _ => Vec::new(),
            },
        }));
    }
}
