//! All faults of a graph at once, and the frozen graph when there are none.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use petgraph::{
    Direction,
    graph::{DiGraph, NodeIndex},
    visit::{Dfs, Reversed},
};

use super::{
    BranchDef, Choices, END, Graph, GraphBuilder, Inner, NodeDef, START, Target,
    render::{Drawing, Line},
    topology::{JoinDef, NodeIx, NodeSet, OutEdges, Topology},
};
use crate::{ids::NodeName, state::State};

/// Everything that is wrong with a graph.
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

/// One thing that is wrong with a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildFault {
    /// A way names a node that was not added.
    #[error("no node is called `{name}` ({used_in}); add it with `.node({name:?}, ..)` or fix the name{}", hint(.nearest))]
    UnknownNode {
        /// The name.
        name: String,
        /// Where it is used.
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
    /// A name that cannot be used.
    #[error(
        "`{name}` is no name for a node: 1 to 128 bytes, no `#`, no `/`, no control characters, not `__start__` or `__end__`"
    )]
    IllegalName {
        /// The name, cut.
        name: String,
    },
    /// A way into the start or out of the end.
    #[error("`{from}` -> `{to}` leads {}; turn it round or remove it", if .to == START { "to the start" } else { "out of the end" })]
    WrongWay {
        /// Its source.
        from: String,
        /// Its target.
        to: String,
    },
    /// Nothing leads out of the start.
    #[error("nothing leads out of the start; add `.edge(START, ..)`")]
    NoStart,
    /// No path from the start leads to a node.
    #[error("node `{name}` cannot be reached from the start; lead an edge to it or remove it")]
    Unreachable {
        /// The node.
        name: String,
    },
    /// Nothing leads out of a node.
    #[error("nothing leads out of node `{name}`; add `.edge({name:?}, END)` or another way")]
    NoWayOut {
        /// The node.
        name: String,
    },
    /// A node has ways out, and none of them comes to the end.
    #[error("node `{name}` cannot reach the end; give its loop a way out")]
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
    #[error("join [{}] -> `{target}` needs at least one source, each once, and none may be the start or the end", .sources.join(", "))]
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
    /// A node with an input of its own is reached by a way that brings none.
    #[error(
        "node `{name}` takes an input, but {used_in} brings none; reach it by a send (`declare_targets` or a branch with `Dispatch`)"
    )]
    NeedsInput {
        /// The node.
        name: String,
        /// The way.
        used_in: String,
    },
    /// A setting before the first node.
    #[error("`.{setting}(..)` stands before the first `.node(..)`; settings apply to the node added last")]
    SettingWithoutNode {
        /// The setting.
        setting: &'static str,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

pub(super) fn freeze<S: State>(builder: GraphBuilder<S>) -> Result<Graph<S>, BuildError> {
    let mut faults = builder.faults.clone();
    let names = Names::collect(builder.nodes.iter().map(|added| added.name.as_str()), &mut faults);
    let count = names.list.len();
    let start = count as NodeIx;

    let mut ways = Ways::new(count);
    let mut lines: Vec<(String, String, Line)> = Vec::new();
    let mut out = vec![OutEdges::default(); count + 1];
    let mut joins: Vec<JoinDef> = Vec::new();
    let mut choices: Vec<Choices<S>> = (0..=count)
        .map(|_| Choices { branches: Vec::new(), declare_targets: Vec::new(), fixed: false })
        .collect();
    let plain: Vec<bool> = builder.nodes.iter().map(|added| added.node.0.plain()).collect();
    let needs_input = |faults: &mut Vec<BuildFault>, target: Target, used_in: &str| {
        if let Target::Node(node) = target
            && plain.get(node as usize) == Some(&false)
        {
            faults.push(BuildFault::NeedsInput {
                name: names.list[node as usize].to_string(),
                used_in: used_in.to_owned(),
            });
        }
    };

    let mut seen = HashSet::new();
    for (from, to) in &builder.edges {
        let used_in = format!("edge `{from}` -> `{to}`");
        let ends =
            (names.source(from, to, &used_in, &mut faults), names.target(from, to, &used_in, &mut faults));
        if !seen.insert((from, to)) {
            faults.push(BuildFault::DuplicateEdge { from: from.clone(), to: to.clone() });
            continue;
        }
        let (Some(source), Some(target)) = ends else { continue };
        needs_input(&mut faults, target, &used_in);
        ways.add(source, target);
        choices[source as usize].fixed = true;
        if let Target::Node(target) = target {
            out[source as usize].edges.push(target);
        }
        lines.push((from.clone(), to.clone(), Line::Edge));
    }

    for (sources, to) in &builder.joins {
        let used_in = format!("join [{}] -> `{to}`", sources.join(", "));
        let distinct: HashSet<_> = sources.iter().collect();
        if sources.is_empty()
            || distinct.len() != sources.len()
            || sources.iter().any(|s| s == START || s == END)
        {
            faults.push(BuildFault::BadJoin { sources: sources.clone(), target: to.clone() });
            continue;
        }
        let target = names.target(&sources[0], to, &used_in, &mut faults);
        let found: Vec<_> =
            sources.iter().filter_map(|from| names.source(from, to, &used_in, &mut faults)).collect();
        let Some(target) = target else { continue };
        if found.len() != sources.len() {
            continue;
        }
        needs_input(&mut faults, target, &used_in);
        let join = joins.len() as u32;
        for (place, &source) in found.iter().enumerate() {
            ways.add(source, target);
            choices[source as usize].fixed = true;
            out[source as usize].joins.push((join, place as u32));
            lines.push((sources[place].clone(), to.clone(), Line::Join));
        }
        joins.push(JoinDef {
            sources: found,
            target: match target {
                Target::Node(node) => Some(node),
                Target::End => None,
            },
            upstream: Vec::new(),
        });
    }

    for branching in builder.branches {
        let used_in = format!("branch of `{}`", branching.from);
        if branching.targets.is_empty() {
            faults.push(BuildFault::NoTargets { from: branching.from.clone(), what: "branch" });
        }
        let source = names.source(&branching.from, "", &used_in, &mut faults);
        let targets = names.declared(&branching.from, &branching.targets, &used_in, &mut faults);
        let Some(source) = source else { continue };
        for (name, target) in &targets {
            ways.add(source, *target);
            lines.push((branching.from.clone(), name.to_string(), Line::Branch));
        }
        choices[source as usize].branches.push(BranchDef { choose: branching.choose, targets });
    }

    for (from, to) in &builder.leads {
        let used_in = format!("`declare_targets` of `{from}`");
        if to.is_empty() {
            faults.push(BuildFault::NoTargets { from: from.clone(), what: "`declare_targets`" });
        }
        if from == START {
            faults.push(BuildFault::WrongWay { from: from.clone(), to: START.to_owned() });
            continue;
        }
        let source = names.source(from, "", &used_in, &mut faults);
        let targets = names.declared(from, to, &used_in, &mut faults);
        let Some(source) = source else { continue };
        for (name, target) in &targets {
            ways.add(source, *target);
            lines.push((from.clone(), name.to_string(), Line::Goto));
        }
        choices[source as usize].declare_targets.extend(targets);
    }

    let mut handlers = vec![None; count];
    for (node, added) in builder.nodes.iter().enumerate() {
        if let Some(handler) = &added.handler {
            let used_in = format!("error handler of `{}`", added.name);
            if let Some(Target::Node(target)) = names.target(&added.name, handler, &used_in, &mut faults) {
                ways.add_error(node as NodeIx, target);
                handlers[node] = Some(target);
                lines.push((added.name.clone(), handler.clone(), Line::Error));
            } else if handler == END {
                faults.push(BuildFault::UnknownNode { name: END.to_owned(), used_in, nearest: None });
            }
        }
    }

    ways.check(&names, start, &joins, &mut faults);
    if !faults.is_empty() {
        return Err(BuildError { graph: builder.name, faults });
    }
    for join in &mut joins {
        join.upstream = join.sources.iter().map(|&source| ways.upstream(source)).collect();
    }

    let drawing = Drawing {
        name: builder.name.clone(),
        nodes: builder.nodes.iter().map(|a| (a.name.clone(), a.node.0.drawing().cloned())).collect(),
        lines,
    };
    let topology = Topology {
        out,
        joins,
        deferred: builder.nodes.iter().map(|added| added.policy.deferred).collect(),
        names: names.list.clone(),
    };
    let nodes = builder
        .nodes
        .into_iter()
        .zip(handlers)
        .zip(&names.list)
        .map(|((added, handler), name)| NodeDef {
            name: Arc::clone(name),
            run: added.node.0,
            policy: added.policy,
            handler,
        })
        .collect();
    Ok(Graph(Arc::new(Inner {
        hash: crate::util::fingerprint(&drawing.canonical()),
        name: builder.name.into(),
        nodes,
        topology: Arc::new(topology),
        index: names.index,
        choices,
        max_supersteps: builder.max_supersteps,
        concurrency: builder.concurrency,
        on_failure: builder.on_failure,
        on_stop: builder.on_stop,
        drawing,
        code: builder.code,
    })))
}

/// The nodes by name.
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

    fn declared(
        &self,
        from: &str,
        to: &[String],
        used_in: &str,
        faults: &mut Vec<BuildFault>,
    ) -> Vec<(NodeName, Target)> {
        to.iter()
            .filter_map(|name| {
                self.target(from, name, used_in, faults).map(|target| (NodeName::from(name.as_str()), target))
            })
            .collect()
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

/// All ways as a petgraph, to ask what can be reached.
struct Ways {
    graph: DiGraph<(), bool>,
    end: NodeIx,
}

impl Ways {
    fn new(count: usize) -> Self {
        let mut graph = DiGraph::new();
        for _ in 0..count + 2 {
            graph.add_node(());
        }
        Self { graph, end: count as NodeIx + 1 }
    }

    fn add(&mut self, from: NodeIx, to: Target) {
        let to = match to {
            Target::Node(node) => node,
            Target::End => self.end,
        };
        self.graph.add_edge(NodeIndex::new(from as usize), NodeIndex::new(to as usize), true);
    }

    fn add_error(&mut self, from: NodeIx, to: NodeIx) {
        self.graph.add_edge(NodeIndex::new(from as usize), NodeIndex::new(to as usize), false);
    }

    fn upstream(&self, node: NodeIx) -> NodeSet {
        let mut set = NodeSet::with_capacity(self.graph.node_count());
        let reversed = Reversed(&self.graph);
        let mut dfs = Dfs::new(reversed, NodeIndex::new(node as usize));
        while let Some(found) = dfs.next(reversed) {
            set.insert(found.index() as NodeIx);
        }
        set
    }

    fn check(&self, names: &Names, start: NodeIx, joins: &[JoinDef], faults: &mut Vec<BuildFault>) {
        let has_start = self.graph.edges(NodeIndex::new(start as usize)).next().is_some();
        let entries = if has_start {
            vec![start]
        } else {
            faults.push(BuildFault::NoStart);
            self.roots(names)
        };
        let mut reached = NodeSet::with_capacity(self.graph.node_count());
        for &entry in &entries {
            let mut dfs = Dfs::new(&self.graph, NodeIndex::new(entry as usize));
            while let Some(found) = dfs.next(&self.graph) {
                reached.insert(found.index() as NodeIx);
            }
        }
        let ending = self.upstream(self.end);
        for (at, name) in names.list.iter().enumerate() {
            let node = at as NodeIx;
            let name = name.to_string();
            let mut out = self.graph.edges(NodeIndex::new(at)).filter(|edge| *edge.weight()).peekable();
            // Without a start no node can be reached: one fault says that.
            if has_start && !reached.contains(node) {
                faults.push(BuildFault::Unreachable { name: name.clone() });
            }
            if out.peek().is_none() {
                faults.push(BuildFault::NoWayOut { name });
            } else if !ending.contains(node) {
                faults.push(BuildFault::NoWayToEnd { name });
            }
        }
        let sources_reached = |join: &&JoinDef| join.sources.iter().all(|&source| reached.contains(source));
        // A source that cannot be reached at all is a fault already, or is reached once there is a start.
        let joins: Vec<&JoinDef> = joins.iter().filter(|join| has_start || sources_reached(join)).collect();
        self.check_joins(names, &entries, &joins, faults);
    }

    /// The nodes that nothing leads to: where a graph without a start would begin.
    fn roots(&self, names: &Names) -> Vec<NodeIx> {
        let entered = |node: NodeIx| {
            let node = NodeIndex::new(node as usize);
            self.graph.neighbors_directed(node, Direction::Incoming).any(|from| from != node)
        };
        (0..names.list.len() as NodeIx).filter(|&node| !entered(node)).collect()
    }

    /// Which nodes can run at all when a join needs every source once: the least fixed point from the entries.
    fn check_joins(
        &self,
        names: &Names,
        entries: &[NodeIx],
        joins: &[&JoinDef],
        faults: &mut Vec<BuildFault>,
    ) {
        if joins.is_empty() {
            return;
        }
        // Ways of joins are in the petgraph too; without them, what remains are the ways that need one source.
        let mut by_join: HashMap<(NodeIx, NodeIx), usize> = HashMap::new();
        for join in joins {
            for &source in &join.sources {
                *by_join.entry((source, join.target.unwrap_or(self.end))).or_default() += 1;
            }
        }
        let mut single: Vec<Vec<NodeIx>> = vec![Vec::new(); self.graph.node_count()];
        for edge in self.graph.raw_edges() {
            let (from, to) = (edge.source().index() as NodeIx, edge.target().index() as NodeIx);
            match by_join.get_mut(&(from, to)) {
                Some(count) if *count > 0 && edge.weight => *count -= 1,
                _ => single[from as usize].push(to),
            }
        }
        let mut can = NodeSet::with_capacity(self.graph.node_count());
        let mut todo = entries.to_vec();
        for &entry in entries {
            can.insert(entry);
        }
        loop {
            while let Some(node) = todo.pop() {
                for &to in &single[node as usize] {
                    if can.insert(to) {
                        todo.push(to);
                    }
                }
            }
            for join in joins {
                let target = join.target.unwrap_or(self.end);
                if join.sources.iter().all(|&source| can.contains(source)) && can.insert(target) {
                    todo.push(target);
                }
            }
            if todo.is_empty() {
                break;
            }
        }
        for join in joins {
            if let Some(&missing) = join.sources.iter().find(|&&source| !can.contains(source)) {
                faults.push(BuildFault::JoinCannotFill {
                    sources: join.sources.iter().map(|&s| names.list[s as usize].to_string()).collect(),
                    target: join.target.map_or(END, |t| &names.list[t as usize]).to_owned(),
                    missing: names.list[missing as usize].to_string(),
                });
            }
        }
    }
}
