//! Edges of a graph as dense numbers: what the scheduler reads. No names, types or functions.

/// Index of a node in its graph. `START` has the index after the last node.
pub(crate) type NodeIx = u32;

/// Bit set of nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeSet(Vec<u64>);

impl NodeSet {
    pub(crate) fn with_capacity(nodes: usize) -> Self {
        Self(vec![0; nodes.div_ceil(64)])
    }

    /// Inserts a node. Returns `true` if it was not in the set.
    pub(crate) fn insert(&mut self, node: NodeIx) -> bool {
        let (word, bit) = (node as usize / 64, 1 << (node % 64));
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    pub(crate) fn contains(&self, node: NodeIx) -> bool {
        self.0.get(node as usize / 64).is_some_and(|word| word & (1 << (node % 64)) != 0)
    }

    pub(crate) fn intersects(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    pub(crate) fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// A node that waits for several sources.
#[derive(Debug, Clone)]
pub(crate) struct JoinDef {
    pub(crate) sources: Vec<NodeIx>,
    /// Number of sources that it waits for.
    pub(crate) need: usize,
    /// `None`: the join ends the path.
    pub(crate) target: Option<NodeIx>,
    /// For each source, the nodes from which it can be reached (including itself).
    pub(crate) upstream: Vec<NodeSet>,
}

/// Fixed outgoing edges of one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct OutEdges {
    /// Plain edges, without edges to the end.
    pub(crate) edges: Vec<NodeIx>,
    /// `(join, index among its sources)`.
    pub(crate) joins: Vec<(u32, u32)>,
}

/// All fixed edges of a graph.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    /// By node; `START` is the last one.
    pub(crate) out: Vec<OutEdges>,
    pub(crate) joins: Vec<JoinDef>,
    pub(crate) deferred: Vec<bool>,
    /// Whether each finished task is committed alone; see [`GraphBuilder::dataflow`](super::GraphBuilder::dataflow).
    pub(crate) dataflow: bool,
    pub(crate) names: Vec<crate::ids::NodeName>,
}

impl Topology {
    pub(crate) fn nodes(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn start(&self) -> NodeIx {
        self.names.len() as NodeIx
    }

    pub(crate) fn name(&self, node: NodeIx) -> &str {
        self.names.get(node as usize).map_or(super::START, |name| name)
    }

    pub(crate) fn join_label(&self, join: u32) -> String {
        let def = &self.joins[join as usize];
        let sources: Vec<_> = def.sources.iter().map(|&s| self.name(s)).collect();
        format!("[{}] -> {}", sources.join(", "), def.target.map_or(super::END, |t| self.name(t)))
    }
}
