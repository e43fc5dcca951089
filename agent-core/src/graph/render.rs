//! Graphs as Mermaid and DOT text. Uses names and edges only.

use std::fmt::Write;

/// Style of a drawn edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Edge,
    Branch,
    Join,
    /// To a join that waits for `need` of its `of` sources.
    Quorum {
        need: usize,
        of: usize,
    },
    Goto,
    /// To the end of a subgraph, which is left for one of these nodes of the graph that contains it.
    Parent(Vec<String>),
    Error,
}

impl Line {
    /// Returns the word in the input of the hash.
    const fn word(&self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Branch => "branch",
            Self::Join | Self::Quorum { .. } => "join",
            Self::Goto | Self::Parent(_) => "goto",
            Self::Error => "error",
        }
    }

    /// Returns the label at the edge.
    fn label(&self) -> Option<String> {
        match self {
            Self::Edge | Self::Branch | Self::Join => None,
            Self::Quorum { need, of } => Some(format!("first {need} of {of}")),
            Self::Goto => Some("goto".to_owned()),
            Self::Parent(targets) => Some(format!("goto parent: {}", targets.join(", "))),
            Self::Error => Some("error".to_owned()),
        }
    }
}

/// Names and edges of a graph, including those of its subgraphs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drawing {
    pub(crate) name: String,
    pub(crate) nodes: Vec<(String, Option<Drawing>)>,
    pub(crate) lines: Vec<(String, String, Line)>,
    pub(crate) dataflow: bool,
}

impl Drawing {
    /// One line per node and edge, sorted: the input of the hash.
    pub(crate) fn canonical(&self) -> String {
        let mut facts = Vec::new();
        self.facts("", &mut facts);
        facts.sort_unstable();
        facts.join("\n")
    }

    fn facts(&self, path: &str, facts: &mut Vec<String>) {
        for (node, inner) in &self.nodes {
            facts.push(format!("node {path}{node:?}"));
            if let Some(inner) = inner {
                inner.facts(&format!("{path}{node:?}/"), facts);
            }
        }
        for (from, to, line) in &self.lines {
            facts.push(format!("{} {path}{from:?} {to:?}", line.word()));
        }
    }

    /// Returns the title of a subgraph with this node name.
    fn title(&self, node: &str) -> String {
        if self.dataflow { format!("{node} (dataflow)") } else { node.to_owned() }
    }

    pub(crate) fn mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        if self.dataflow {
            text.push_str("  %% dataflow: each node is committed when it ends\n");
        }
        self.mermaid_body("", 1, &mut text);
        text
    }

    fn mermaid_body(&self, path: &str, depth: usize, text: &mut String) {
        let pad = "  ".repeat(depth);
        let ids = Ids { path, drawing: self };
        line(text, format_args!("{pad}{}((start))", ids.of(super::START)));
        for (at, (node, inner)) in self.nodes.iter().enumerate() {
            match inner {
                Some(inner) => {
                    line(text, format_args!("{pad}subgraph {path}n{at} [{}]", quoted(&inner.title(node))));
                    inner.mermaid_body(&format!("{path}n{at}_"), depth + 1, text);
                    line(text, format_args!("{pad}end"));
                }
                None => line(text, format_args!("{pad}{path}n{at}[{}]", quoted(node))),
            }
        }
        line(text, format_args!("{pad}{}((end))", ids.of(super::END)));
        for (from, to, kind) in &self.lines {
            let arrow = match kind {
                Line::Edge => "-->",
                Line::Branch => "-.->",
                Line::Join => "==>",
                Line::Quorum { .. } => &format!("==>|{}|", quoted(&kind.label().unwrap_or_default())),
                Line::Goto => "-. goto .->",
                Line::Parent(_) => &format!("-.->|{}|", quoted(&kind.label().unwrap_or_default())),
                Line::Error => "-. error .->",
            };
            line(text, format_args!("{pad}{} {arrow} {}", ids.of(from), ids.of(to)));
        }
    }

    pub(crate) fn dot(&self) -> String {
        let mut text = format!("digraph {} {{\n  compound=true;\n", quoted(&self.name));
        if self.dataflow {
            text.push_str("  label=\"dataflow\";\n");
        }
        self.dot_body("", 1, &mut text);
        text.push_str("}\n");
        text
    }

    fn dot_body(&self, path: &str, depth: usize, text: &mut String) {
        let pad = "  ".repeat(depth);
        let ids = Ids { path, drawing: self };
        line(text, format_args!("{pad}{} [label=\"start\", shape=circle];", ids.of(super::START)));
        for (at, (node, inner)) in self.nodes.iter().enumerate() {
            match inner {
                Some(inner) => {
                    line(text, format_args!("{pad}subgraph cluster_{path}n{at} {{"));
                    line(text, format_args!("{pad}  label={};", quoted(&inner.title(node))));
                    line(text, format_args!("{pad}  {path}n{at} [label={}, shape=plaintext];", quoted(node)));
                    inner.dot_body(&format!("{path}n{at}_"), depth + 1, text);
                    line(text, format_args!("{pad}}}"));
                }
                None => line(text, format_args!("{pad}{path}n{at} [label={}, shape=box];", quoted(node))),
            }
        }
        line(text, format_args!("{pad}{} [label=\"end\", shape=doublecircle];", ids.of(super::END)));
        for (from, to, kind) in &self.lines {
            let style = match kind {
                Line::Edge => None,
                Line::Branch | Line::Goto | Line::Parent(_) => Some("style=dashed"),
                Line::Join | Line::Quorum { .. } => Some("style=bold"),
                Line::Error => Some("style=dashed, color=red"),
            };
            let label = kind.label().map(|label| format!("label={}", quoted(&label)));
            let attributes: Vec<&str> = style.into_iter().chain(label.as_deref()).collect();
            let attributes = match &attributes[..] {
                [] => String::new(),
                some => format!(" [{}]", some.join(", ")),
            };
            line(text, format_args!("{pad}{} -> {}{attributes};", ids.of(from), ids.of(to)));
        }
    }
}

fn line(text: &mut String, args: std::fmt::Arguments<'_>) {
    writeln!(text, "{args}").expect("writing to a string cannot fail");
}

/// Ids are numbers and names are labels, so that any name (Korean, quotes, reserved words) is safe.
struct Ids<'a> {
    path: &'a str,
    drawing: &'a Drawing,
}

impl Ids<'_> {
    fn of(&self, name: &str) -> String {
        match name {
            super::START => format!("{}start", self.path),
            super::END => format!("{}stop", self.path),
            _ => {
                let at = self.drawing.nodes.iter().position(|(node, _)| node == name).unwrap_or_default();
                format!("{}n{at}", self.path)
            }
        }
    }
}

fn quoted(label: &str) -> String {
    let safe: String = label
        .chars()
        .map(|c| match c {
            '"' => '\'',
            '\\' => '/',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    format!("\"{safe}\"")
}
