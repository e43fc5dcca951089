//! Validation of a graph: collects all faults, and freezes a graph without faults into dense numbers.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    BranchDef, BuildError, BuildFault, Choices, END, Graph, GraphBuilder, Inner, NodeDef, START, Target,
    reachability::Reachability,
    render::{Drawing, Line},
    topology::{JoinDef, NodeIx, OutEdges, Topology},
};
use crate::{
    graph::builder::{Branching, Joining},
    ids::NodeName,
    state::State,
};

/// Validates and freezes a graph.
pub(super) fn freeze<S: State>(mut builder: GraphBuilder<S>) -> Result<Graph<S>, BuildError> {
    let mut freezer = Freezer::new(&builder);
    freezer.edges(&builder.edges);
    freezer.joins(&builder.joins);
    freezer.branches(std::mem::take(&mut builder.branches));
    freezer.declared_targets(&builder.leads);
    freezer.parent_targets(&builder.parent_leads);
    freezer.targets_of_subgraphs(&builder);
    freezer.error_handlers(&builder);
    freezer.finish(builder)
}

/// A graph that is being validated: the faults found so far, and the frozen parts.
struct Freezer<S: State> {
    faults: Vec<BuildFault>,
    names: Names,
    /// By node: whether it can run without an input.
    plain: Vec<bool>,
    reachability: Reachability,
    lines: Vec<(String, String, Line)>,
    out: Vec<OutEdges>,
    joins: Vec<JoinDef>,
    /// Joins that do not wait for all, for the hash.
    quorums: Vec<String>,
    /// Targets in the parent graph, for the hash.
    parent: Vec<String>,
    choices: Vec<Choices<S>>,
    handlers: Vec<Option<NodeIx>>,
}

impl<S: State> Freezer<S> {
    fn new(builder: &GraphBuilder<S>) -> Self {
        let mut faults = Vec::new();
        let names = Names::collect(builder.nodes.iter().map(|added| added.name.as_str()), &mut faults);
        let count = names.list.len();
        let no_choices =
            || Choices { branches: Vec::new(), declared: Vec::new(), parent: Vec::new(), fixed: false };
        Self {
            faults,
            names,
            plain: builder.nodes.iter().map(|added| added.node.run.plain()).collect(),
            reachability: Reachability::new(count),
            lines: Vec::new(),
            out: vec![OutEdges::default(); count + 1],
            joins: Vec::new(),
            quorums: Vec::new(),
            parent: Vec::new(),
            choices: (0..=count).map(|_| no_choices()).collect(),
            handlers: vec![None; count],
        }
    }

    fn source(&mut self, from: &str, to: &str, used_in: &str) -> Option<NodeIx> {
        self.names.source(from, to, used_in, &mut self.faults)
    }

    fn target(&mut self, from: &str, to: &str, used_in: &str) -> Option<Target> {
        self.names.target(from, to, used_in, &mut self.faults)
    }

    fn targets(&mut self, from: &str, to: &[String], used_in: &str) -> Vec<(NodeName, Target)> {
        let found = to.iter().filter_map(|name| {
            let target = self.names.target(from, name, used_in, &mut self.faults)?;
            Some((NodeName::from(name.as_str()), target))
        });
        found.collect()
    }

    /// Records a fault if `target` needs an input, which edges and joins do not carry.
    fn check_input(&mut self, target: Target, used_in: &str) {
        if let Target::Node(node) = target
            && self.plain.get(node as usize) == Some(&false)
        {
            let name = self.names.list[node as usize].to_string();
            self.faults.push(BuildFault::NeedsInput { name, used_in: used_in.to_owned() });
        }
    }

    fn edges(&mut self, edges: &[(String, String)]) {
        let mut seen = HashSet::new();
        for (from, to) in edges {
            let used_in = format!("edge `{from}` -> `{to}`");
            let ends = (self.source(from, to, &used_in), self.target(from, to, &used_in));
            if !seen.insert((from, to)) {
                self.faults.push(BuildFault::DuplicateEdge { from: from.clone(), to: to.clone() });
                continue;
            }
            let (Some(source), Some(target)) = ends else { continue };
            self.check_input(target, &used_in);
            self.reachability.add(source, target);
            self.choices[source as usize].fixed = true;
            if let Target::Node(target) = target {
                self.out[source as usize].edges.push(target);
            }
            self.lines.push((from.clone(), to.clone(), Line::Edge));
        }
    }

    fn joins(&mut self, joins: &[Joining]) {
        for Joining { sources, target: to, need } in joins {
            let used_in = format!("join [{}] -> `{to}`", sources.join(", "));
            let distinct: HashSet<_> = sources.iter().collect();
            if sources.is_empty()
                || distinct.len() != sources.len()
                || sources.iter().any(|source| source == START || source == END)
                || need.is_some_and(|need| need == 0 || need > sources.len())
            {
                self.faults.push(BuildFault::BadJoin { sources: sources.clone(), target: to.clone() });
                continue;
            }
            let target = self.target(&sources[0], to, &used_in);
            let found: Vec<_> = sources.iter().filter_map(|from| self.source(from, to, &used_in)).collect();
            let Some(target) = target else { continue };
            if found.len() != sources.len() {
                continue;
            }
            self.check_input(target, &used_in);
            let join = self.joins.len() as u32;
            let line = match *need {
                Some(need) if need < found.len() => Line::Quorum { need, of: found.len() },
                _ => Line::Join,
            };
            for (index, &source) in found.iter().enumerate() {
                self.reachability.add(source, target);
                self.choices[source as usize].fixed = true;
                self.out[source as usize].joins.push((join, index as u32));
                self.lines.push((sources[index].clone(), to.clone(), line.clone()));
            }
            let target = match target {
                Target::Node(node) => Some(node),
                Target::End => None,
            };
            let need = need.unwrap_or(found.len());
            if need < found.len() {
                self.quorums.push(format!("quorum {need} {} -> {to}", sources.join(",")));
            }
            self.joins.push(JoinDef { sources: found, need, target, upstream: Vec::new() });
        }
    }

    fn branches(&mut self, branches: Vec<Branching<S>>) {
        for branching in branches {
            let used_in = format!("branch of `{}`", branching.from);
            if branching.targets.is_empty() {
                self.faults.push(BuildFault::NoTargets { from: branching.from.clone(), what: "branch" });
            }
            let source = self.source(&branching.from, "", &used_in);
            let targets = self.targets(&branching.from, &branching.targets, &used_in);
            let Some(source) = source else { continue };
            self.add_choices(source, &branching.from, &targets, &Line::Branch);
            self.choices[source as usize].branches.push(BranchDef { choose: branching.choose, targets });
        }
    }

    fn declared_targets(&mut self, declared: &[(String, Vec<String>)]) {
        for (from, to) in declared {
            let used_in = format!("`declare_targets` of `{from}`");
            if to.is_empty() {
                self.faults.push(BuildFault::NoTargets { from: from.clone(), what: "`declare_targets`" });
            }
            if from == START {
                self.faults.push(BuildFault::WrongWay { from: from.clone(), to: START.to_owned() });
                continue;
            }
            let source = self.source(from, "", &used_in);
            let targets = self.targets(from, to, &used_in);
            let Some(source) = source else { continue };
            self.add_choices(source, from, &targets, &Line::Goto);
            self.choices[source as usize].declared.extend(targets);
        }
    }

    /// Targets in the parent graph, which has its own check of them: here they end the graph.
    fn parent_targets(&mut self, declared: &[(String, Vec<String>)]) {
        for (from, to) in declared {
            let used_in = format!("`declare_parent_targets` of `{from}`");
            if to.is_empty() {
                let what = "`declare_parent_targets`";
                self.faults.push(BuildFault::NoTargets { from: from.clone(), what });
            }
            if from == START || to.iter().any(|name| name == START) {
                self.faults.push(BuildFault::WrongWay { from: from.clone(), to: START.to_owned() });
                continue;
            }
            let Some(source) = self.source(from, "", &used_in) else { continue };
            self.add_choices(source, from, &[(NodeName::from(END), Target::End)], &Line::Parent(to.clone()));
            self.parent.extend(to.iter().map(|name| format!("parent {from} -> {name}")));
            self.choices[source as usize].parent.extend(to.iter().map(|name| NodeName::from(name.as_str())));
        }
    }

    /// Declares the targets that nodes of subgraphs may select in this graph.
    fn targets_of_subgraphs(&mut self, builder: &GraphBuilder<S>) {
        for (at, added) in builder.nodes.iter().enumerate() {
            for (node, name) in added.node.run.parent_targets() {
                let used_in = format!("`declare_parent_targets` of `{node}` in subgraph `{}`", added.name);
                let Some(target) = self.target(&added.name, name, &used_in) else { continue };
                let declared = &self.choices[at].declared;
                if declared.iter().all(|(known, _)| **known != **name) {
                    let target = [(Arc::clone(name), target)];
                    self.add_choices(at as NodeIx, &added.name, &target, &Line::Goto);
                    self.choices[at].declared.extend(target);
                }
            }
        }
    }

    fn add_choices(&mut self, source: NodeIx, from: &str, targets: &[(NodeName, Target)], line: &Line) {
        for (name, target) in targets {
            self.reachability.add(source, *target);
            self.lines.push((from.to_owned(), name.to_string(), line.clone()));
        }
    }

    fn error_handlers(&mut self, builder: &GraphBuilder<S>) {
        for (node, added) in builder.nodes.iter().enumerate() {
            let Some(handler) = &added.node.handler else { continue };
            let used_in = format!("error handler of `{}`", added.name);
            if let Some(Target::Node(target)) = self.target(&added.name, handler, &used_in) {
                self.reachability.add_error(node as NodeIx, target);
                self.handlers[node] = Some(target);
                self.lines.push((added.name.clone(), handler.clone(), Line::Error));
            } else if handler == END {
                self.faults.push(BuildFault::UnknownNode { name: END.to_owned(), used_in, nearest: None });
            }
        }
    }

    fn finish(mut self, builder: GraphBuilder<S>) -> Result<Graph<S>, BuildError> {
        self.reachability.check(&self.names.list, &self.joins, &mut self.faults);
        if !self.faults.is_empty() {
            return Err(BuildError { graph: builder.name, faults: self.faults });
        }
        for join in &mut self.joins {
            join.upstream = join.sources.iter().map(|&source| self.reachability.upstream(source)).collect();
        }
        let drawing = Drawing {
            name: builder.name.clone(),
            nodes: builder.nodes.iter().map(|a| (a.name.clone(), a.node.run.drawing().cloned())).collect(),
            lines: self.lines,
            dataflow: builder.dataflow.is_some(),
        };
        let topology = Topology {
            out: self.out,
            joins: self.joins,
            deferred: builder.nodes.iter().map(|added| added.node.policy.deferred).collect(),
            dataflow: builder.dataflow.is_some(),
            names: self.names.list.clone(),
        };
        let nodes = builder
            .nodes
            .into_iter()
            .zip(self.handlers)
            .zip(&self.names.list)
            .map(|((added, handler), name)| NodeDef {
                name: Arc::clone(name),
                run: added.node.run,
                policy: added.node.policy,
                handler,
            })
            .collect();
        let mut canonical = drawing.canonical();
        for line in self.quorums.iter().chain(&self.parent) {
            canonical.push('\n');
            canonical.push_str(line);
        }
        if builder.dataflow.is_some() {
            canonical.push_str("\ndataflow");
        }
        Ok(Graph(Arc::new(Inner {
            hash: crate::util::fingerprint(&canonical).into(),
            name: builder.name.into(),
            nodes,
            topology: Arc::new(topology),
            index: self.names.index,
            choices: self.choices,
            max_supersteps: builder.max_supersteps,
            max_takeovers: builder.max_takeovers,
            concurrency: builder.concurrency,
            on_failure: builder.on_failure,
            on_stop: builder.on_stop,
            dataflow: builder.dataflow,
            drawing,
            code: builder.code,
        })))
    }
}

/// Nodes by name.
struct Names {
    list: Vec<NodeName>,
    index: HashMap<NodeName, NodeIx>,
}

impl Names {
    fn collect<'a>(names: impl Iterator<Item = &'a str>, faults: &mut Vec<BuildFault>) -> Self {
        let (mut list, mut index) = (Vec::new(), HashMap::new());
        for name in names {
            let legal = (1..=128).contains(&name.len())
                && name != START
                && name != END
                && !name.chars().any(|c| matches!(c, '#' | '/') || c.is_control());
            if !legal {
                faults.push(BuildFault::IllegalName { name: crate::util::shorten(name, 40) });
            }
            let name: NodeName = name.into();
            if index.insert(Arc::clone(&name), list.len() as NodeIx).is_some() {
                faults.push(BuildFault::DuplicateNode { name: name.to_string() });
            }
            list.push(name);
        }
        Self { list, index }
    }

    fn unknown(&self, name: &str, used_in: &str, faults: &mut Vec<BuildFault>) {
        let nearest = self
            .list
            .iter()
            .map(|known| (distance(known, name), known))
            .filter(|(distance, _)| *distance <= 2)
            .min()
            .map(|(_, known)| known.to_string());
        faults.push(BuildFault::UnknownNode { name: name.to_owned(), used_in: used_in.to_owned(), nearest });
    }

    fn source(&self, from: &str, to: &str, used_in: &str, faults: &mut Vec<BuildFault>) -> Option<NodeIx> {
        match from {
            START => Some(self.list.len() as NodeIx),
            END => {
                faults.push(BuildFault::WrongWay { from: from.to_owned(), to: to.to_owned() });
                None
            }
            _ => {
                let found = self.index.get(from).copied();
                if found.is_none() {
                    self.unknown(from, used_in, faults);
                }
                found
            }
        }
    }

    fn target(&self, from: &str, to: &str, used_in: &str, faults: &mut Vec<BuildFault>) -> Option<Target> {
        match to {
            END => Some(Target::End),
            START => {
                faults.push(BuildFault::WrongWay { from: from.to_owned(), to: to.to_owned() });
                None
            }
            _ => {
                let found = self.index.get(to).copied();
                if found.is_none() {
                    self.unknown(to, used_in, faults);
                }
                found.map(Target::Node)
            }
        }
    }
}

/// Levenshtein distance by characters, for names that are nearly right.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
