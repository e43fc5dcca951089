//! Reachability of nodes: from the start, to the end, and through joins.

use std::collections::HashMap;

use petgraph::{
    Direction,
    graph::{DiGraph, NodeIndex},
    visit::{Dfs, Reversed},
};

use super::{
    BuildFault, END, Target,
    topology::{JoinDef, NodeIx, NodeSet},
};
use crate::ids::NodeName;

/// All edges of a graph. The weight of an edge is `false` for the edge to an error handler.
pub(super) struct Reachability {
    graph: DiGraph<(), bool>,
    end: NodeIx,
}

impl Reachability {
    pub(super) fn new(count: usize) -> Self {
        let mut graph = DiGraph::new();
        for _ in 0..count + 2 {
            graph.add_node(());
        }
        Self { graph, end: count as NodeIx + 1 }
    }

    pub(super) fn add(&mut self, from: NodeIx, to: Target) {
        let to = match to {
            Target::Node(node) => node,
            Target::End => self.end,
        };
        self.graph.add_edge(NodeIndex::new(from as usize), NodeIndex::new(to as usize), true);
    }

    pub(super) fn add_error(&mut self, from: NodeIx, to: NodeIx) {
        self.graph.add_edge(NodeIndex::new(from as usize), NodeIndex::new(to as usize), false);
    }

    pub(super) fn upstream(&self, node: NodeIx) -> NodeSet {
        let mut set = NodeSet::with_capacity(self.graph.node_count());
        let reversed = Reversed(&self.graph);
        let mut dfs = Dfs::new(reversed, NodeIndex::new(node as usize));
        while let Some(found) = dfs.next(reversed) {
            set.insert(found.index() as NodeIx);
        }
        set
    }

    /// Adds a fault for each node that cannot be reached or cannot reach the end, and for each join that cannot fill.
    pub(super) fn check(&self, names: &[NodeName], joins: &[JoinDef], faults: &mut Vec<BuildFault>) {
        let start = names.len() as NodeIx;
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
        for (at, name) in names.iter().enumerate() {
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
    fn roots(&self, names: &[NodeName]) -> Vec<NodeIx> {
        let entered = |node: NodeIx| {
            let node = NodeIndex::new(node as usize);
            self.graph.neighbors_directed(node, Direction::Incoming).any(|from| from != node)
        };
        (0..names.len() as NodeIx).filter(|&node| !entered(node)).collect()
    }

    /// Reports joins that can never be filled: computes the least fixed point of the nodes that can run, from the entries,
    /// where a join needs every source once.
    fn check_joins(
        &self,
        names: &[NodeName],
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
                    sources: join.sources.iter().map(|&s| names[s as usize].to_string()).collect(),
                    target: join.target.map_or(END, |t| &names[t as usize]).to_owned(),
                    missing: names[missing as usize].to_string(),
                });
            }
        }
    }
}
