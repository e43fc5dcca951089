//! Graphs as Mermaid and DOT text. Uses names and edges only.

use std::fmt::Write;

/// Style of a drawn edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Edge,
    Branch,
    Join,
    Goto,
    Error,
}

impl Line {
    const fn word(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Branch => "branch",
            Self::Join => "join",
            Self::Goto => "goto",
            Self::Error => "error",
        }
    }
}

/// Names and edges of a graph, including those of its subgraphs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drawing {
    pub(crate) name: String,
    pub(crate) nodes: Vec<(String, Option<Drawing>)>,
    pub(crate) lines: Vec<(String, String, Line)>,
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

    pub(crate) fn mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
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
                    line(text, format_args!("{pad}subgraph {path}n{at} [{}]", quoted(node)));
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
                Line::Goto => "-. goto .->",
                Line::Error => "-. error .->",
            };
            line(text, format_args!("{pad}{} {arrow} {}", ids.of(from), ids.of(to)));
        }
    }

    pub(crate) fn dot(&self) -> String {
        let mut text = format!("digraph {} {{\n  compound=true;\n", quoted(&self.name));
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
                    line(text, format_args!("{pad}  label={};", quoted(node)));
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
                Line::Edge => "",
                Line::Branch => " [style=dashed]",
                Line::Join => " [style=bold]",
                Line::Goto => " [style=dashed, label=\"goto\"]",
                Line::Error => " [style=dashed, color=red, label=\"error\"]",
            };
            line(text, format_args!("{pad}{} -> {}{style};", ids.of(from), ids.of(to)));
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
