//! Settings of a node: retries, timeouts, cache, concurrency and error handler.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    AnyNode, IntoNode, NodeError,
    node::{CachePolicy, CodeIdentity, NodeRetry, cache_key},
};
use crate::{retry::RetryPolicy, state::State};

impl<S: State> AnyNode<S> {
    /// See [`NodeExt::retry`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let node = write.timeout(Duration::from_secs(30)).retry(3);
    /// # Graph::<Draft>::builder("draft").node("write", node).edge(START, "write").edge("write", END).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn retry(mut self, policy: impl Into<RetryPolicy>) -> Self {
        let when = self.policy.retry.take().and_then(|retry| retry.when);
        self.policy.retry = Some(NodeRetry { policy: policy.into(), when });
        self
    }

    /// See [`NodeExt::retry_if`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let node = write.retry(3).retry_if(|error| error.downcast_ref::<std::io::Error>().is_some());
    /// # Graph::<Draft>::builder("draft").node("write", node).edge(START, "write").edge("write", END).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn retry_if(mut self, when: impl Fn(&NodeError) -> bool + Send + Sync + 'static) -> Self {
        // The type of the function is known, its captured values are not compared.
        self.code.add_unknown();
        let policy = self.policy.retry.take().map_or_else(RetryPolicy::default, |retry| retry.policy);
        self.policy.retry = Some(NodeRetry { policy, when: Some(Arc::new(when)) });
        self
    }

    /// See [`NodeExt::timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let node = write.retry(3).timeout(Duration::from_secs(30));
    /// # Graph::<Draft>::builder("draft").node("write", node).edge(START, "write").edge("write", END).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.policy.timeout = Some(limit);
        self
    }

    /// See [`NodeExt::idle_timeout`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let node = write.retry(3).idle_timeout(Duration::from_secs(5));
    /// # Graph::<Draft>::builder("draft").node("write", node).edge(START, "write").edge("write", END).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.policy.idle_timeout = Some(limit);
        self
    }

    /// See [`NodeExt::cache`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let node = write.retry(3).cache(Duration::from_secs(3600), |draft: &Draft| draft.text.clone());
    /// # Graph::<Draft>::builder("draft").node("write", node).edge(START, "write").edge("write", END).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cache<K: Serialize>(
        mut self,
        ttl: Duration,
        key: impl Fn(&S) -> K + Send + Sync + 'static,
    ) -> Self {
        fn add<F: 'static>(code: &mut CodeIdentity, _: &F) {
            code.add::<F>(size_of::<F>());
        }
        add(&mut self.code, &key);
        self.policy.cache = Some(CachePolicy { key: cache_key(key), ttl });
        self
    }

    /// See [`NodeExt::concurrency`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let node = write.retry(3).concurrency(2);
    /// # Graph::<Draft>::builder("draft").node("write", node).edge(START, "write").edge("write", END).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn concurrency(mut self, limit: usize) -> Self {
        self.policy.concurrency = Some(limit.max(1));
        self
    }

    /// See [`NodeExt::deferred`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let node = write.retry(3).deferred();
    /// # Graph::<Draft>::builder("draft").node("write", node).edge(START, "write").edge("write", END).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn deferred(mut self) -> Self {
        self.policy.deferred = true;
        self
    }

    /// See [`NodeExt::on_error`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let node = write.retry(3).on_error("apologise");
    /// # Graph::<Draft>::builder("draft")
    /// #    .node("write", node).node("apologise", write)
    /// #    .edge(START, "write").edge("write", END).edge("apologise", END).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn on_error(mut self, handler: impl Into<String>) -> Self {
        self.handler = Some(handler.into());
        self
    }
}

/// Settings of a node, as methods of everything that can be a node: functions, closures, types that implement
/// [`Node`](super::Node).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Draft { text: String }
///
/// async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> {
///     Ok(Draft::update().text("a draft"))
/// }
///
/// let graph = Graph::<Draft>::builder("draft")
///     .node("write", write.retry(3).timeout(Duration::from_secs(30)))
///     .edge(START, "write")
///     .edge("write", END)
///     .build()?;
/// # assert_eq!(graph.name(), "draft");
/// # Ok::<(), agent_core::graph::BuildError>(())
/// ```
pub trait NodeExt<S: State, Marker>: IntoNode<S, Marker> + Sized {
    /// Retries the node when it fails: a number of attempts, or a [`RetryPolicy`]. Default: one attempt.
    ///
    /// Errors that are [permanent](NodeError::permanent) are not retried. The number of attempts is stored in the journal,
    /// so it survives a restart.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write.retry(3))
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .build()?;
    /// # assert_eq!(graph.nodes().count(), 1);
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    fn retry(self, policy: impl Into<RetryPolicy>) -> AnyNode<S> {
        self.into_node().retry(policy)
    }

    /// Retries only errors for which `when` returns `true`. Default: [`NodeError::is_retryable`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write.retry(3).retry_if(|error| error.is_retryable()))
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .build()?;
    /// # assert_eq!(graph.nodes().count(), 1);
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    fn retry_if(self, when: impl Fn(&NodeError) -> bool + Send + Sync + 'static) -> AnyNode<S> {
        self.into_node().retry_if(when)
    }

    /// Sets the timeout of one attempt, without the time spent waiting for answers. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write.timeout(Duration::from_secs(30)))
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .build()?;
    /// # assert_eq!(graph.nodes().count(), 1);
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    fn timeout(self, limit: Duration) -> AnyNode<S> {
        self.into_node().timeout(limit)
    }

    /// Sets the timeout between two signs of progress: a recorded step, an event, a token or a
    /// [`heartbeat`](crate::Context::heartbeat). Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write.idle_timeout(Duration::from_secs(10)))
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .build()?;
    /// # assert_eq!(graph.nodes().count(), 1);
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    fn idle_timeout(self, limit: Duration) -> AnyNode<S> {
        self.into_node().idle_timeout(limit)
    }

    /// Caches the outcome of the node for `ttl`.
    ///
    /// The cache key is `key(state)` and the input of a send. On a hit, the cached outcome is used and the node does not
    /// run. The cache belongs to the runtime and is not stored.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write.cache(Duration::from_secs(60), |draft: &Draft| draft.text.clone()))
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .build()?;
    /// # assert_eq!(graph.nodes().count(), 1);
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    fn cache<K: Serialize>(self, ttl: Duration, key: impl Fn(&S) -> K + Send + Sync + 'static) -> AnyNode<S> {
        self.into_node().cache(ttl, key)
    }

    /// Limits how many tasks of the node run at once within a run. Tasks that wait for an answer do not count. Default: the
    /// limit of the graph.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write.concurrency(4))
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .build()?;
    /// # assert_eq!(graph.nodes().count(), 1);
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    fn concurrency(self, limit: usize) -> AnyNode<S> {
        self.into_node().concurrency(limit)
    }

    /// Defers the node until no other task is due. Default: not deferred.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> { Ok(Draft::update().text("…")) }
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write.deferred())
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .build()?;
    /// # assert_eq!(graph.nodes().count(), 1);
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    fn deferred(self) -> AnyNode<S> {
        self.into_node().deferred()
    }

    /// Routes to the node `handler` when this node has failed after all retries.
    ///
    /// A handler with an input receives a [`NodeFailure`](crate::engine::NodeFailure). Sibling tasks continue. If the
    /// handler fails too, the run fails, and a resume starts at the handler.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Context, END, Graph, START, State, engine::NodeFailure, graph::NodeExt};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(State, Default, Serialize, Deserialize)]
    /// struct Draft { text: String }
    ///
    /// async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> {
    ///     Err(agent_core::NodeError::permanent("the printer is out of ink"))
    /// }
    ///
    /// let graph = Graph::<Draft>::builder("draft")
    ///     .node("write", write.on_error("explain"))
    ///     .node("explain", async |_: &Draft, failure: NodeFailure, _: &Context| {
    ///         Ok(Draft::update().text(failure.message))
    ///     })
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .edge("explain", END)
    ///     .build()?;
    /// # assert_eq!(graph.name(), "draft");
    /// # Ok::<(), agent_core::graph::BuildError>(())
    /// ```
    fn on_error(self, handler: impl Into<String>) -> AnyNode<S> {
        self.into_node().on_error(handler)
    }
}

impl<S: State, Marker, N: IntoNode<S, Marker>> NodeExt<S, Marker> for N {}
