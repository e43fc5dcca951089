//! Nodes: the trait, the functions that implement it, node errors and retry policies.

use std::{
    any::TypeId, error::Error as StdError, fmt, future::Future, marker::PhantomData, sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    engine::Context,
    graph::{IntoOutcome, Outcome},
    retry::RetryPolicy,
    state::State,
};

/// Result of a node. `?` converts every [`std::error::Error`] into a [`NodeError`].
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, State};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Draft { text: String }
/// async fn write(_: &Draft, _: &Context) -> agent_core::Result<DraftUpdate> {
///     let text = std::fs::read_to_string("template.txt")?;
///     Ok(Draft::update().text(text))
/// }
/// # let _ = write;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type Result<T, E = NodeError> = std::result::Result<T, E>;

/// One async step of a graph: reads the state, uses the [`Context`] for effects, returns an [`Outcome`].
///
/// Async functions and closures `(&S, &Context) -> Result<impl IntoOutcome<S>>` are nodes, and so are those with an
/// input, `(&S, I, &Context)`. Implement the trait for a node that carries data.
///
/// # Cancel safety
///
/// The future is dropped on stop, timeout or a sibling's failure. Steps recorded before that stay recorded.
///
/// # Examples
///
/// ```
/// use agent_core::{Context, Result, State, graph::{Node, Outcome}};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Greeting { text: String }
///
/// /// A node that carries data.
/// struct Greet { name: String }
///
/// impl Node<Greeting> for Greet {
///     type Input = ();
///
///     async fn run(&self, _: &Greeting, (): (), _: &Context) -> Result<Outcome<Greeting>> {
///         Ok(Outcome::update(Greeting::update().text(format!("Hello, {}!", self.name))))
///     }
/// }
/// # let _ = Greet { name: String::new() };
/// ```
pub trait Node<S: State>: Send + Sync + 'static {
    /// Input that a send must provide; `()` for a node that is reached by edges.
    type Input: DeserializeOwned + Send + 'static;

    /// Runs one activation.
    fn run(
        &self,
        state: &S,
        input: Self::Input,
        cx: &Context,
    ) -> impl Future<Output = Result<Outcome<S>>> + Send;
}

/// Object-safe counterpart of [`Node`]; nodes are erased once, when they are registered.
pub(crate) trait DynNode<S: State>: Send + Sync {
    fn call<'a>(
        &'a self,
        state: &'a S,
        input: Option<&'a RawValue>,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome<S>>>;

    /// Returns whether the node can run without an input.
    fn plain(&self) -> bool;

    /// The inner graph of a subgraph, for rendering and hashing.
    fn drawing(&self) -> Option<&crate::graph::render::Drawing> {
        None
    }

    /// Targets that nodes of a subgraph may select in the graph that contains it, as `(node, target)`.
    fn parent_targets(&self) -> Vec<(&str, &crate::ids::NodeName)> {
        Vec::new()
    }

    /// Adds the types that its behaviour depends on; see [`CodeIdentity`].
    fn identify(&self, code: &mut CodeIdentity)
    where
        Self: 'static,
    {
        code.add::<Self>(size_of_val(self));
    }
}

/// Identity of a graph's code, for comparing two graphs with the same nodes and edges.
///
/// Code that carries data (a closure with captured values, an agent with its tools) is equal to nothing but itself:
/// two graphs of one type may hold different clients, users or permissions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CodeIdentity {
    types: Vec<TypeId>,
    carries_data: bool,
}

impl CodeIdentity {
    /// Adds the type of a node, branch or mapping, and the size of its value.
    pub(crate) fn add<T: ?Sized + 'static>(&mut self, size: usize) {
        self.types.push(TypeId::of::<T>());
        self.carries_data |= size > 0;
    }

    /// Adds the code of a subgraph.
    pub(crate) fn add_graph(&mut self, inner: &Self) {
        self.types.extend_from_slice(&inner.types);
        self.carries_data |= inner.carries_data;
    }

    /// Marks code of unknown type.
    pub(crate) const fn add_unknown(&mut self) {
        self.carries_data = true;
    }

    /// Returns whether the types are a complete description.
    pub(crate) const fn is_known(&self) -> bool {
        !self.carries_data
    }
}

/// Types that can be registered as a node.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a node of a graph over `{S}`",
    note = "a node is `async fn(&S, &Context) -> agent_core::Result<impl IntoOutcome<S>>`, or with a typed input `async fn(&S, I, &Context)`, or a type that implements `Node<S>`",
    note = "closures need the types of their arguments: `async |state: &MyState, cx: &Context| {{ .. }}`"
)]
pub trait IntoNode<S: State, Marker> {
    /// Converts the value into a node.
    fn into_node(self) -> AnyNode<S>;
}

/// A node with its settings and with its concrete type erased; see [`NodeExt`](crate::graph::NodeExt).
pub struct AnyNode<S: State> {
    pub(crate) run: Arc<dyn DynNode<S>>,
    pub(crate) policy: NodePolicy<S>,
    /// Node that handles a failure after all retries.
    pub(crate) handler: Option<String>,
    /// Types of the functions among its settings.
    pub(crate) code: CodeIdentity,
}

impl<S: State> AnyNode<S> {
    pub(crate) fn new(run: impl DynNode<S> + 'static) -> Self {
        Self {
            run: Arc::new(run),
            policy: NodePolicy::default(),
            handler: None,
            code: CodeIdentity::default(),
        }
    }
}

impl<S: State> fmt::Debug for AnyNode<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyNode")
    }
}

impl<S: State> IntoNode<S, AnyNode<S>> for AnyNode<S> {
    fn into_node(self) -> Self {
        self
    }
}

fn decode<I: DeserializeOwned>(input: Option<&RawValue>, cx: &Context) -> Result<I> {
    let text = input.map_or("null", RawValue::get);
    crate::json::read(text).map_err(|source| {
        NodeError::permanent(InputMismatch { node: cx.node().to_string(), reason: source.to_string() })
    })
}

/// The input of a send does not have the type that the node takes.
#[derive(Debug, thiserror::Error)]
#[error("node `{node}` was sent an input it cannot read: {reason}; send a value of the node's input type")]
pub struct InputMismatch {
    /// The node that was activated.
    pub node: String,
    /// The message of serde.
    pub reason: String,
}

// --- nodes that implement the trait -------------------------------------------------------------------------

/// Marks types that implement [`Node`], so that the blanket implementations do not overlap.
#[derive(Debug)]
pub struct ByTrait<I>(PhantomData<I>);

struct TraitNode<N>(N);

impl<S: State, N: Node<S>> DynNode<S> for TraitNode<N> {
    fn call<'a>(
        &'a self,
        state: &'a S,
        input: Option<&'a RawValue>,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome<S>>> {
        Box::pin(async move { self.0.run(state, decode(input, cx)?, cx).await })
    }

    fn plain(&self) -> bool {
        is_unit::<N::Input>()
    }
}

fn is_unit<T: 'static>() -> bool {
    std::any::TypeId::of::<T>() == std::any::TypeId::of::<()>()
}

impl<S: State, N: Node<S>> IntoNode<S, ByTrait<N::Input>> for N {
    fn into_node(self) -> AnyNode<S> {
        AnyNode::new(TraitNode(self))
    }
}

// --- functions ----------------------------------------------------------------------------------------------

/// An async function of state and context; see [`Node`].
///
/// Bounded by `FnOnce + Clone` rather than `Fn`: an async closure that captures anything borrows from itself and is
/// not `Fn`. Cloning a function is free, cloning a captured `Arc` increments a counter.
pub trait NodeFn<'a, S: State>: Clone + Send + Sync {
    /// Future of the call.
    type Future: Future<Output = Result<Self::Out>> + Send + 'a;
    /// Output of the node.
    type Out: IntoOutcome<S>;
    /// Calls the function.
    fn call(self, state: &'a S, cx: &'a Context) -> Self::Future;
}

impl<'a, S, F, Fut, Out> NodeFn<'a, S> for F
where
    S: State,
    F: FnOnce(&'a S, &'a Context) -> Fut + Clone + Send + Sync,
    Fut: Future<Output = Result<Out>> + Send + 'a,
    Out: IntoOutcome<S>,
{
    type Future = Fut;
    type Out = Out;

    fn call(self, state: &'a S, cx: &'a Context) -> Fut {
        self(state, cx)
    }
}

/// Marks a function of state and context.
#[derive(Debug)]
pub struct ByFn;

struct FnNode<F>(F);

impl<S: State, F: for<'a> NodeFn<'a, S> + 'static> DynNode<S> for FnNode<F> {
    fn call<'a>(
        &'a self,
        state: &'a S,
        _input: Option<&'a RawValue>,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome<S>>> {
        // A combinator, because an `async` block would keep the future twice: as captured, and as awaited.
        Box::pin(self.0.clone().call(state, cx).map(|outcome| outcome.map(IntoOutcome::into_outcome)))
    }

    fn plain(&self) -> bool {
        true
    }
}

impl<S: State, F: for<'a> NodeFn<'a, S> + 'static> IntoNode<S, ByFn> for F {
    fn into_node(self) -> AnyNode<S> {
        AnyNode::new(FnNode(self))
    }
}

/// An async function of state, input and context; see [`Node`].
pub trait InputFn<'a, S: State, I>: Clone + Send + Sync {
    /// Future of the call.
    type Future: Future<Output = Result<Self::Out>> + Send + 'a;
    /// Output of the node.
    type Out: IntoOutcome<S>;
    /// Calls the function.
    fn call(self, state: &'a S, input: I, cx: &'a Context) -> Self::Future;
}

impl<'a, S, I, F, Fut, Out> InputFn<'a, S, I> for F
where
    S: State,
    F: FnOnce(&'a S, I, &'a Context) -> Fut + Clone + Send + Sync,
    Fut: Future<Output = Result<Out>> + Send + 'a,
    Out: IntoOutcome<S>,
{
    type Future = Fut;
    type Out = Out;

    fn call(self, state: &'a S, input: I, cx: &'a Context) -> Fut {
        self(state, input, cx)
    }
}

/// Marks a function with an input of type `I`.
#[derive(Debug)]
pub struct ByInputFn<I>(PhantomData<I>);

struct InputFnNode<F, I>(F, PhantomData<fn(I)>);

impl<S, I, F> DynNode<S> for InputFnNode<F, I>
where
    S: State,
    I: DeserializeOwned + Send + 'static,
    F: for<'a> InputFn<'a, S, I> + 'static,
{
    fn call<'a>(
        &'a self,
        state: &'a S,
        input: Option<&'a RawValue>,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome<S>>> {
        match decode(input, cx) {
            Ok(input) => {
                let future = self.0.clone().call(state, input, cx);
                Box::pin(future.map(|outcome| outcome.map(IntoOutcome::into_outcome)))
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn plain(&self) -> bool {
        is_unit::<I>()
    }
}

impl<S, I, F> IntoNode<S, ByInputFn<I>> for F
where
    S: State,
    I: DeserializeOwned + Send + 'static,
    F: for<'a> InputFn<'a, S, I> + 'static,
{
    fn into_node(self) -> AnyNode<S> {
        AnyNode::new(InputFnNode(self, PhantomData))
    }
}

// --- errors -------------------------------------------------------------------------------------------------

/// Error of a node: a cause, and whether a retry may succeed.
///
/// Every error converts into a retryable error with `?`, except causes that are known to be permanent: each
/// [`std::error::Error`], `anyhow::Error` and its like, a boxed error, and a text. Use [`permanent`](NodeError::permanent) for errors that a retry cannot fix.
///
/// # Examples
///
/// ```
/// use agent_core::NodeError;
///
/// fn parse(text: &str) -> agent_core::Result<u32> {
///     text.parse().map_err(NodeError::permanent)
/// }
/// assert!(parse("seven").is_err());
/// ```
pub struct NodeError {
    source: Box<dyn StdError + Send + Sync>,
    retryable: bool,
}

impl NodeError {
    /// Creates an error that a retry cannot fix.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::NodeError;
    ///
    /// assert!(!NodeError::permanent("the order has no address").is_retryable());
    /// ```
    pub fn permanent(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: source.into(), retryable: false }
    }

    /// Creates an error that a retry may fix.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::NodeError;
    ///
    /// assert!(NodeError::transient("the printer is busy").is_retryable());
    /// ```
    pub fn transient(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: source.into(), retryable: true }
    }

    /// Creates a retryable error with a message.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::NodeError;
    /// let error = NodeError::msg("the service is down");
    /// assert!(error.is_retryable());
    /// ```
    pub fn msg(text: impl fmt::Display) -> Self {
        Self::transient(text.to_string())
    }

    /// Returns `true` if a retry may succeed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::NodeError;
    /// assert!(NodeError::msg("the service is down").is_retryable());
    /// assert!(!NodeError::permanent("no such account").is_retryable());
    /// ```
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Returns the cause if it has the type `E`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::NodeError;
    ///
    /// let error = NodeError::from("x".parse::<u32>().unwrap_err());
    /// assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
    /// ```
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.source.downcast_ref()
    }

    /// Returns the cause.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::NodeError;
    /// let error = NodeError::permanent("no such account");
    /// assert_eq!(error.source().to_string(), "no such account");
    /// ```
    #[must_use]
    pub fn source(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.source
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for NodeError {
    fn from(source: E) -> Self {
        let source = source.into();
        let retryable = {
            let any: &(dyn StdError + 'static) = &*source;
            crate::engine::is_retryable(any)
        };
        Self { source, retryable }
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

/// The message and its causes: a program prints this if its `main` returns the error. The fields with `{:#?}`.
impl fmt::Debug for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            let mut fields = f.debug_struct("NodeError");
            return fields.field("source", &self.source).field("retryable", &self.retryable).finish();
        }
        let message = self.source.to_string();
        f.write_str(&message)?;
        let mut cause = self.source.source();
        while let Some(error) = cause {
            // Many messages contain their causes.
            let text = error.to_string();
            if !message.contains(&text) {
                write!(f, "\ncaused by: {text}")?;
            }
            cause = error.source();
        }
        Ok(())
    }
}

// --- policies -----------------------------------------------------------------------------------------------

/// Decides whether an error is retried.
pub(crate) type RetryWhen = Arc<dyn Fn(&NodeError) -> bool + Send + Sync>;

/// Retries of a node. The number of attempts is stored in the journal, so it survives a restart.
pub(crate) struct NodeRetry {
    pub(crate) policy: RetryPolicy,
    /// Predicate of the errors that are retried. `None`: [`NodeError::is_retryable`].
    pub(crate) when: Option<RetryWhen>,
}

impl NodeRetry {
    pub(crate) fn again(&self, failed: u32, error: &NodeError) -> Option<Duration> {
        let wanted = self.when.as_ref().map_or_else(|| error.is_retryable(), |when| when(error));
        self.policy.wait(failed, None, fastrand::f64()).filter(|_| wanted)
    }
}

/// Caches the outcome of a node under a key of its input.
pub(crate) struct CachePolicy<S: State> {
    pub(crate) key: CacheKey<S>,
    pub(crate) ttl: Duration,
}

/// Computes the cache key from the state and the input of a send.
pub(crate) type CacheKey<S> = Arc<dyn Fn(&S, Option<&RawValue>) -> serde_json::Result<String> + Send + Sync>;

pub(crate) fn cache_key<S: State, K: Serialize>(
    key: impl Fn(&S) -> K + Send + Sync + 'static,
) -> CacheKey<S> {
    Arc::new(move |state, input| serde_json::to_string(&(key(state), input)))
}

/// Settings of a node: limits, retries, cache and failure handler.
pub(crate) struct NodePolicy<S: State> {
    pub(crate) retry: Option<NodeRetry>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) cache: Option<CachePolicy<S>>,
    pub(crate) concurrency: Option<usize>,
    pub(crate) deferred: bool,
}

impl<S: State> Default for NodePolicy<S> {
    fn default() -> Self {
        Self {
            retry: None,
            timeout: None,
            idle_timeout: None,
            cache: None,
            concurrency: None,
            deferred: false,
        }
    }
}

impl<S: State> NodePolicy<S> {
    /// Returns whether no setting needs a wrapper: the activation is a plain call.
    pub(crate) fn is_plain(&self) -> bool {
        self.retry.is_none() && self.timeout.is_none() && self.idle_timeout.is_none() && self.cache.is_none()
    }
}
