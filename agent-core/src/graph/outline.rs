//! A graph as plain data: what a program draws that wants to know more than a picture's text says.

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    END, START,
    draw::{Drawing, Line},
};

/// The nodes and edges of a graph, subgraphs inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Outline {
    /// The graph's name.
    pub name: String,
    /// Its nodes, start and end included; those of a subgraph follow the node that holds it.
    pub nodes: Vec<OutlineNode>,
    /// The ways between them.
    pub edges: Vec<OutlineEdge>,
}

/// A node of an [`Outline`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct OutlineNode {
    /// Its path: `outer/inner` inside a subgraph. An event's task is this with a number behind each part.
    pub id: String,
    /// Its name.
    pub label: String,
    /// What it is.
    pub kind: NodeKind,
    /// The node whose subgraph holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// What a node of an [`Outline`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeKind {
    /// Where its graph begins.
    Start,
    /// Where its graph ends.
    End,
    /// It runs by itself.
    Node,
    /// It waits for several.
    Join,
    /// It holds a graph.
    Subgraph,
}

/// A way of an [`Outline`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct OutlineEdge {
    /// The id of the node it leaves.
    pub from: String,
    /// The id of the node it leads to.
    pub to: String,
    /// When it is taken.
    pub kind: EdgeKind,
}

/// When a way of an [`Outline`] is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EdgeKind {
    /// Always.
    Edge,
    /// When a function chooses it.
    Branch,
    /// Always, towards a node that waits for others too.
    Join,
    /// When the node says so.
    Goto,
    /// When the node fails.
    Error,
}

impl Outline {
    pub(super) fn of(drawing: &Drawing) -> Self {
        let mut outline = Self { name: drawing.name.clone(), nodes: Vec::new(), edges: Vec::new() };
        outline.take(drawing, None);
        outline
    }

    fn take(&mut self, drawing: &Drawing, parent: Option<&str>) {
        let id = |name: &str| parent.map_or_else(|| name.to_owned(), |parent| format!("{parent}/{name}"));
        let node = |name: &str, kind| OutlineNode {
            id: id(name),
            label: name.to_owned(),
            kind,
            parent: parent.map(str::to_owned),
        };
        self.nodes.push(node(START, NodeKind::Start));
        for (name, inner) in &drawing.nodes {
            let joins = drawing.lines.iter().any(|(_, to, line)| to == name && *line == Line::Join);
            let kind = match inner {
                Some(_) => NodeKind::Subgraph,
                None if joins => NodeKind::Join,
                None => NodeKind::Node,
            };
            self.nodes.push(node(name, kind));
            if let Some(inner) = inner {
                self.take(inner, Some(&id(name)));
            }
        }
        self.nodes.push(node(END, NodeKind::End));
        self.edges.extend(drawing.lines.iter().map(|(from, to, line)| OutlineEdge {
            from: id(from),
            to: id(to),
            kind: match line {
                Line::Edge => EdgeKind::Edge,
                Line::Branch => EdgeKind::Branch,
                Line::Join => EdgeKind::Join,
                Line::Goto => EdgeKind::Goto,
                Line::Error => EdgeKind::Error,
            },
        }));
    }
}
