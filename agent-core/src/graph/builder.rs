//! Collects what a graph is made of; `build` checks it as a whole and freezes it.

use std::{sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    AnyNode, BranchFn, BuildError, BuildFault, FailurePolicy, Graph, IntoNode, IntoOutcome, NodePolicy,
    RetryPolicy, Route, node, validate,
};
use crate::{engine::subgraph, state::State};

/// Collects nodes and ways. Settings such as [`retry`](Self::retry) apply to the node added last.
#[must_use = "a builder does nothing until `build`"]
pub struct GraphBuilder<S: State> {
    pub(super) name: String,
    pub(super) nodes: Vec<Added<S>>,
    pub(super) edges: Vec<(String, String)>,
    pub(super) branches: Vec<Branching<S>>,
    pub(super) joins: Vec<(Vec<String>, String)>,
    pub(super) leads: Vec<(String, Vec<String>)>,
    pub(super) max_supersteps: u64,
    pub(super) concurrency: usize,
    pub(super) on_failure: FailurePolicy,
    pub(super) faults: Vec<BuildFault>,
}

pub(super) struct Added<S: State> {
    pub(super) name: String,
    pub(super) node: AnyNode<S>,
    pub(super) policy: NodePolicy<S>,
    pub(super) handler: Option<String>,
}

pub(super) struct Branching<S: State> {
    pub(super) from: String,
    pub(super) choose: BranchFn<S>,
    pub(super) targets: Vec<String>,
}

impl<S: State> GraphBuilder<S> {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            nodes: Vec::new(),
            edges: Vec::new(),
            branches: Vec::new(),
            joins: Vec::new(),
            leads: Vec::new(),
            max_supersteps: 100,
            concurrency: usize::MAX,
            on_failure: FailurePolicy::default(),
            faults: Vec::new(),
        }
    }

    /// Adds a node under a name of 1 to 128 bytes without `#`, `/` and control characters.
    pub fn node<Marker>(mut self, name: impl Into<String>, node: impl IntoNode<S, Marker>) -> Self {
        self.nodes.push(Added {
            name: name.into(),
            node: node.into_node(),
            policy: NodePolicy::default(),
            handler: None,
        });
        self
    }

    /// Adds another graph as one node. `into` makes its state from this one, `out` turns its final state into
    /// this graph's update. Its supersteps are journalled, its questions and events carry the path.
    pub fn subgraph<T: State, Out: IntoOutcome<S>>(
        self,
        name: impl Into<String>,
        graph: &Graph<T>,
        into: impl Fn(&S) -> T + Send + Sync + 'static,
        out: impl Fn(T) -> Out + Send + Sync + 'static,
    ) -> Self {
        self.node(name, subgraph::node(graph.clone(), move |state: &S, (): ()| into(state), out))
    }

    /// As [`subgraph`](Self::subgraph), for a subgraph that is reached by sends of `I`.
    pub fn subgraph_with_input<T: State, I: DeserializeOwned + Send + 'static, Out: IntoOutcome<S>>(
        self,
        name: impl Into<String>,
        graph: &Graph<T>,
        into: impl Fn(&S, I) -> T + Send + Sync + 'static,
        out: impl Fn(T) -> Out + Send + Sync + 'static,
    ) -> Self {
        self.node(name, subgraph::node(graph.clone(), into, out))
    }

    /// Tries the node again when it fails: a number of tries, or a whole [`RetryPolicy`]. Default: one try.
    pub fn retry(self, policy: impl Into<RetryPolicy>) -> Self {
        let policy = policy.into();
        self.last("retry", |added| added.policy.retry = Some(policy))
    }

    /// Longest time of one try, time spent waiting for a person left out. Default: none.
    pub fn timeout(self, limit: Duration) -> Self {
        self.last("timeout", |added| added.policy.timeout = Some(limit))
    }

    /// Longest time without a sign of life: a recorded step, an event, a token, a
    /// [`heartbeat`](crate::Context::heartbeat). Default: none.
    pub fn idle_timeout(self, limit: Duration) -> Self {
        self.last("idle_timeout", |added| added.policy.idle_timeout = Some(limit))
    }

    /// Keeps the node's outcome for `ttl` under `key(state)` and the input of a send: an equal key takes the kept
    /// outcome instead of running the node. The cache belongs to the runtime and is not stored.
    pub fn cache<K: Serialize>(self, ttl: Duration, key: impl Fn(&S) -> K + Send + Sync + 'static) -> Self {
        let key = node::cache_key(key);
        self.last("cache", |added| added.policy.cache = Some(node::CachePolicy { key, ttl }))
    }

    /// How many activations of the node run at once within a run. Tasks that wait for a person do not count.
    /// Default: no bound but that of the graph.
    pub fn concurrency(self, limit: usize) -> Self {
        self.last("concurrency", |added| added.policy.concurrency = Some(limit.max(1)))
    }

    /// The node runs only when nothing else is left to run.
    pub fn deferred(self) -> Self {
        self.last("deferred", |added| added.policy.deferred = true)
    }

    /// Where to go when the node has failed for good. A handler that takes an input is given a
    /// [`NodeFailure`](crate::engine::NodeFailure). The siblings go on. When the handler fails too, the run
    /// fails, and a resume starts with the handler.
    pub fn on_error(self, handler: impl Into<String>) -> Self {
        let handler = handler.into();
        self.last("on_error", |added| added.handler = Some(handler))
    }

    fn last(mut self, setting: &'static str, set: impl FnOnce(&mut Added<S>)) -> Self {
        match self.nodes.last_mut() {
            Some(added) => set(added),
            None => self.faults.push(BuildFault::SettingWithoutNode { setting }),
        }
        self
    }

    /// When `from` has run, `to` runs. Several edges out run all their targets, in parallel; several edges in run
    /// the target once in a superstep in which any of them fired.
    pub fn edge(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.edges.push((from.into(), to.into()));
        self
    }

    /// When `from` has run, `choose` reads the state and says which of `targets` run.
    /// Choosing another node, or nothing, is an error of the run.
    pub fn branch<R: Into<Route>, N: Into<String>>(
        mut self,
        from: impl Into<String>,
        choose: impl Fn(&S) -> R + Send + Sync + 'static,
        targets: impl IntoIterator<Item = N>,
    ) -> Self {
        self.branches.push(Branching {
            from: from.into(),
            choose: Arc::new(move |state| choose(state).into()),
            targets: targets.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// `target` runs once when all `sources` have run. A source on a path that is not taken is not waited for.
    pub fn join<N: Into<String>>(
        mut self,
        sources: impl IntoIterator<Item = N>,
        target: impl Into<String>,
    ) -> Self {
        self.joins.push((sources.into_iter().map(Into::into).collect(), target.into()));
        self
    }

    /// Declares where a `goto` or a send in the outcome of `from` may lead.
    pub fn leads_to<N: Into<String>>(
        mut self,
        from: impl Into<String>,
        targets: impl IntoIterator<Item = N>,
    ) -> Self {
        self.leads.push((from.into(), targets.into_iter().map(Into::into).collect()));
        self
    }

    /// How many supersteps a run may take before it fails with a limit error. Default: 100.
    pub const fn max_supersteps(mut self, limit: u64) -> Self {
        self.max_supersteps = limit;
        self
    }

    /// How many tasks of a superstep run at once. Default: no bound.
    pub fn max_concurrency(mut self, limit: usize) -> Self {
        self.concurrency = limit.max(1);
        self
    }

    /// What becomes of a failed task's siblings. Default: [`FailurePolicy::FailFast`].
    pub const fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.on_failure = policy;
        self
    }

    /// Checks everything and freezes the graph.
    ///
    /// # Errors
    ///
    /// [`BuildError`] lists every fault found, not only the first.
    pub fn build(self) -> Result<Graph<S>, BuildError> {
        validate::freeze(self)
    }
}

impl<S: State> std::fmt::Debug for GraphBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphBuilder")
            .field("name", &self.name)
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}
