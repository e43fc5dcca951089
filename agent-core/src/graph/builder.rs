//! Graph builder: collects nodes and edges; `build` validates and freezes them.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    AnyNode, BranchFn, BuildError, BuildFault, CloseFn, FailurePolicy, Graph, IntoNode, NodePolicy,
    RetryPolicy, Route,
    node::{self, CodeIdentity},
    validate,
};
use crate::{engine::UnfinishedTask, state::State};

/// Builder of a [`Graph`]. Node settings such as [`retry`](Self::retry) apply to the node added last.
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
    pub(super) on_stop: Option<CloseFn<S>>,
    pub(super) faults: Vec<BuildFault>,
    pub(super) code: CodeIdentity,
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
            on_stop: None,
            faults: Vec::new(),
            code: CodeIdentity::default(),
        }
    }

    /// Adds a node under a name of 1 to 128 bytes without `#`, `/` and control characters.
    pub fn node<Marker>(mut self, name: impl Into<String>, node: impl IntoNode<S, Marker>) -> Self {
        let node = node.into_node();
        node.0.identify(&mut self.code);
        self.nodes.push(Added { name: name.into(), node, policy: NodePolicy::default(), handler: None });
        self
    }

    /// Retries the node when it fails. Takes a number of attempts or a whole [`RetryPolicy`]. Default: one attempt.
    pub fn retry(self, policy: impl Into<RetryPolicy>) -> Self {
        let mut graph = self;
        let policy: RetryPolicy = policy.into();
        if policy.when.is_some() {
            graph.code.add_unknown();
        }
        graph.last("retry", |added| added.policy.retry = Some(policy))
    }

    /// Timeout of one attempt, without the time spent waiting for answers. Default: none.
    pub fn timeout(self, limit: Duration) -> Self {
        self.last("timeout", |added| added.policy.timeout = Some(limit))
    }

    /// Timeout between two signs of progress: a recorded step, an event, a token or a
    /// [`heartbeat`](crate::Context::heartbeat). Default: none.
    pub fn idle_timeout(self, limit: Duration) -> Self {
        self.last("idle_timeout", |added| added.policy.idle_timeout = Some(limit))
    }

    /// Caches the node's outcome for `ttl`.
    ///
    /// The cache key is `key(state)` and the input of a send. On a hit, the cached outcome is used and the node
    /// does not run. The cache belongs to the runtime and is not stored.
    pub fn cache<K: Serialize>(self, ttl: Duration, key: impl Fn(&S) -> K + Send + Sync + 'static) -> Self {
        let mut graph = self;
        identify_closure(&mut graph.code, &key);
        let key = node::cache_key(key);
        graph.last("cache", |added| added.policy.cache = Some(node::CachePolicy { key, ttl }))
    }

    /// Limits how many activations of the node run at once within a run. Tasks that wait for an answer do not
    /// count. Default: no limit but that of the graph.
    pub fn concurrency(self, limit: usize) -> Self {
        self.last("concurrency", |added| added.policy.concurrency = Some(limit.max(1)))
    }

    /// Defers the node until no other task is due.
    pub fn deferred(self) -> Self {
        self.last("deferred", |added| added.policy.deferred = true)
    }

    /// Routes to `handler` when the node has failed after all retries.
    ///
    /// A handler with an input receives a [`NodeFailure`](crate::engine::NodeFailure). Sibling tasks continue. If
    /// the handler fails too, the run fails, and a resume starts at the handler.
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

    /// Adds a fixed edge: after `from` has run, `to` runs.
    ///
    /// Several outgoing edges run all their targets in parallel. Several incoming edges run the target once per
    /// superstep in which any of them fired.
    pub fn edge(mut self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.edges.push((from.into(), to.into()));
        self
    }

    /// Adds a conditional edge: after `from` has run, `choose` reads the state and returns which of `targets` run.
    ///
    /// A target that is not in `targets`, or no target at all, fails the run.
    pub fn branch<R: Into<Route>, N: Into<String>>(
        mut self,
        from: impl Into<String>,
        choose: impl Fn(&S) -> R + Send + Sync + 'static,
        targets: impl IntoIterator<Item = N>,
    ) -> Self {
        identify_closure(&mut self.code, &choose);
        self.branches.push(Branching {
            from: from.into(),
            choose: Arc::new(move |state| choose(state).into()),
            targets: targets.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// Adds a join: `target` runs once when all `sources` have run.
    ///
    /// A source on a branch that was not taken is not waited for.
    pub fn join<N: Into<String>>(
        mut self,
        sources: impl IntoIterator<Item = N>,
        target: impl Into<String>,
    ) -> Self {
        self.joins.push((sources.into_iter().map(Into::into).collect(), target.into()));
        self
    }

    /// Declares the nodes that a `goto` or a send in the outcome of `from` may target.
    pub fn declare_targets<N: Into<String>>(
        mut self,
        from: impl Into<String>,
        targets: impl IntoIterator<Item = N>,
    ) -> Self {
        self.leads.push((from.into(), targets.into_iter().map(Into::into).collect()));
        self
    }

    /// Limits the number of supersteps of a run; beyond it the run fails with a limit error. Default: 100.
    pub const fn max_supersteps(mut self, limit: u64) -> Self {
        self.max_supersteps = limit;
        self
    }

    /// Limits the number of tasks that run at once in a superstep. Default: no limit.
    pub fn max_concurrency(mut self, limit: usize) -> Self {
        self.concurrency = limit.max(1);
        self
    }

    /// Sets the policy for the siblings of a failed task. Default: [`FailurePolicy::FailFast`].
    pub const fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.on_failure = policy;
        self
    }

    /// Computes an update when a run is stopped or has failed, from the state and the tasks that did not finish.
    ///
    /// The update is applied and stored in the same append as the end of the run, so that a state that is valid only
    /// between supersteps (a conversation whose tool calls must all have results) is valid for the next run too. A
    /// resume enters the unfinished tasks again with the state as `close` left it. `None` changes nothing; so does a
    /// panic, which is logged. Applies to the outermost graph, not to a subgraph. Default: no update.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Context, END, Graph, START, State};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(State, Default, Serialize, Deserialize)]
    /// struct Build { note: String }
    ///
    /// let graph = Graph::<Build>::builder("build")
    ///     .node("compile", async |_: &Build, _: &Context| Ok(Build::update()))
    ///     .edge(START, "compile")
    ///     .edge("compile", END)
    ///     .on_stop(|_, tasks| {
    ///         let open: Vec<&str> = tasks.iter().map(|task| task.node()).collect();
    ///         Some(Build::update().note(format!("cut short in {}", open.join(", "))))
    ///     })
    ///     .build()?;
    /// # assert_eq!(graph.name(), "build");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    pub fn on_stop(
        mut self,
        close: impl Fn(&S, &[UnfinishedTask<'_>]) -> Option<S::Update> + Send + Sync + 'static,
    ) -> Self {
        identify_closure(&mut self.code, &close);
        self.on_stop = Some(Arc::new(close));
        self
    }

    /// Validates and freezes the graph.
    ///
    /// # Errors
    ///
    /// [`BuildError`] lists every fault found, not only the first.
    pub fn build(self) -> Result<Graph<S>, BuildError> {
        validate::freeze(self)
    }
}

fn identify_closure<F: 'static>(code: &mut CodeIdentity, _: &F) {
    code.add::<F>(size_of::<F>());
}

impl<S: State> std::fmt::Debug for GraphBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphBuilder")
            .field("name", &self.name)
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}
