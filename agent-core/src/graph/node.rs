//! One async step of a graph: the trait, the functions that are nodes, their errors and their policies.

use std::{error::Error as StdError, fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    engine::Context,
    graph::{IntoOutcome, Outcome},
    state::State,
};

/// What a node returns. `?` turns every [`std::error::Error`] into a [`NodeError`].
pub type Result<T, E = NodeError> = std::result::Result<T, E>;

/// One async step: reads the state, speaks to the world through the [`Context`], returns an [`Outcome`].
///
/// Async functions and closures `(&S, &Context) -> Result<impl IntoOutcome<S>>` are nodes, and with an input of
/// their own `(&S, I, &Context)`; implement the trait for a node that carries data.
///
/// # Cancel safety
///
/// The future is dropped on stop, timeout or a sibling's failure; what it recorded by then stays recorded.
pub trait Node<S: State>: Send + Sync + 'static {
    /// What a send must bring; `()` for a node that is reached by edges.
    type Input: DeserializeOwned + Send + 'static;

    /// Runs one activation.
    fn run(
        &self,
        state: &S,
        input: Self::Input,
        cx: &Context,
    ) -> impl Future<Output = Result<Outcome<S>>> + Send;
}

/// The private twin of [`Node`], erased once where a node is registered.
pub(crate) trait DynNode<S: State>: Send + Sync {
    fn call<'a>(
        &'a self,
        state: &'a S,
        input: Option<&'a RawValue>,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome<S>>>;

    /// Whether it can run without an input of its own.
    fn plain(&self) -> bool;

    /// The inner graph of a subgraph, for drawing and hashing.
    fn drawing(&self) -> Option<&crate::graph::draw::Drawing> {
        None
    }
}

/// What can be registered as a node.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a node of a graph over `{S}`",
    note = "a node is `async fn(&S, &Context) -> agent_core::Result<impl IntoOutcome<S>>`, or with a typed input `async fn(&S, I, &Context)`, or a type that implements `Node<S>`",
    note = "closures need the types of their arguments: `async |state: &MyState, cx: &Context| {{ .. }}`"
)]
pub trait IntoNode<S: State, Marker> {
    /// The node.
    fn into_node(self) -> AnyNode<S>;
}

/// A registered node, its concrete type erased.
pub struct AnyNode<S: State>(pub(crate) Arc<dyn DynNode<S>>);

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
    serde_json::from_str(text).map_err(|source| {
        NodeError::permanent(InputMismatch { node: cx.node().to_string(), reason: source.to_string() })
    })
}

/// A send brought an input that is not of the type its node takes.
#[derive(Debug, thiserror::Error)]
#[error("node `{node}` was sent an input it cannot read: {reason}; send a value of the node's input type")]
pub struct InputMismatch {
    /// The node that was to run.
    pub node: String,
    /// What serde said.
    pub reason: String,
}

// --- nodes that implement the trait -------------------------------------------------------------------------

/// Marks the way by which a type became a node (so that the ways do not overlap).
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
        AnyNode(Arc::new(TraitNode(self)))
    }
}

// --- functions ----------------------------------------------------------------------------------------------

/// An async function of state and context; see [`Node`].
///
/// Bounded by `FnOnce + Clone` rather than `Fn`: an async closure that captures anything lends from itself and
/// is no `Fn`. Functions clone for nothing, a captured `Arc` for a count.
pub trait NodeFn<'a, S: State>: Clone + Send + Sync {
    /// Its future.
    type Future: Future<Output = Result<Self::Out>> + Send + 'a;
    /// What it returns.
    type Out: IntoOutcome<S>;
    /// Calls it.
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
        let future = self.0.clone().call(state, cx);
        Box::pin(async move { future.await.map(IntoOutcome::into_outcome) })
    }

    fn plain(&self) -> bool {
        true
    }
}

impl<S: State, F: for<'a> NodeFn<'a, S> + 'static> IntoNode<S, ByFn> for F {
    fn into_node(self) -> AnyNode<S> {
        AnyNode(Arc::new(FnNode(self)))
    }
}

/// An async function of state, input and context; see [`Node`].
pub trait InputFn<'a, S: State, I>: Clone + Send + Sync {
    /// Its future.
    type Future: Future<Output = Result<Self::Out>> + Send + 'a;
    /// What it returns.
    type Out: IntoOutcome<S>;
    /// Calls it.
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
        let future = decode(input, cx).map(|input| self.0.clone().call(state, input, cx));
        Box::pin(async move { future?.await.map(IntoOutcome::into_outcome) })
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
        AnyNode(Arc::new(InputFnNode(self, PhantomData)))
    }
}

// --- errors -------------------------------------------------------------------------------------------------

/// Why an activation failed: a cause, and whether it is worth trying again.
///
/// Anything that is [`std::error::Error`] becomes one by `?` and counts as worth trying again, except causes that
/// say otherwise; use [`permanent`](NodeError::permanent) for a fault that another try cannot mend.
pub struct NodeError {
    source: Box<dyn StdError + Send + Sync>,
    retryable: bool,
}

impl NodeError {
    /// An error that another try cannot mend.
    pub fn permanent(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: source.into(), retryable: false }
    }

    /// An error that another try may mend.
    pub fn transient(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: source.into(), retryable: true }
    }

    /// An error with a text, worth trying again.
    pub fn msg(text: impl fmt::Display) -> Self {
        Self::transient(text.to_string())
    }

    /// Whether another try may mend it.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// The cause, if it is of this type.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.source.downcast_ref()
    }

    /// The cause.
    #[must_use]
    pub fn source(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.source
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for NodeError {
    fn from(source: E) -> Self {
        let retryable = {
            let any: &(dyn StdError + 'static) = &source;
            crate::error::worth_trying_again(any)
        };
        Self { source: Box::new(source), retryable }
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl fmt::Debug for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeError").field("source", &self.source).field("retryable", &self.retryable).finish()
    }
}

// --- policies -----------------------------------------------------------------------------------------------

/// Decides whether an error is worth another try.
pub type RetryWhen = Arc<dyn Fn(&NodeError) -> bool + Send + Sync>;

/// How often and how fast a failed activation is tried again: exponential with full jitter.
///
/// The number of tries made is journalled, so it survives a restart.
#[derive(Clone)]
pub struct RetryPolicy {
    /// How many times an activation is tried at most, the first try included. Default: 3.
    pub attempts: u32,
    /// Longest wait before the second try. Default: 200 ms.
    pub base: Duration,
    /// By how much the longest wait grows with each try. Default: 2.
    pub factor: f64,
    /// Bound of every wait. Default: 30 s.
    pub max: Duration,
    /// Which errors are tried again. Default: [`NodeError::is_retryable`].
    pub when: Option<RetryWhen>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_millis(200),
            factor: 2.0,
            max: Duration::from_secs(30),
            when: None,
        }
    }
}

impl RetryPolicy {
    /// At most `attempts` tries, the first included.
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..Self::default() }
    }

    /// The longest wait before the second try.
    #[must_use]
    pub const fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Tries again only errors for which `when` is true.
    #[must_use]
    pub fn when(mut self, when: impl Fn(&NodeError) -> bool + Send + Sync + 'static) -> Self {
        self.when = Some(Arc::new(when));
        self
    }

    pub(crate) fn again(&self, failed: u32, error: &NodeError) -> Option<Duration> {
        let wanted = self.when.as_ref().map_or_else(|| error.is_retryable(), |when| when(error));
        if !wanted || failed >= self.attempts {
            return None;
        }
        let exponent = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
        let bound = (self.base.as_secs_f64() * self.factor.powi(exponent)).min(self.max.as_secs_f64());
        // Full jitter (AWS Architecture Blog, "Exponential Backoff and Jitter", 2015).
        Some(Duration::from_secs_f64(bound * fastrand::f64()))
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("attempts", &self.attempts)
            .field("base", &self.base)
            .field("factor", &self.factor)
            .field("max", &self.max)
            .field("when", &self.when.is_some())
            .finish()
    }
}

impl From<u32> for RetryPolicy {
    fn from(attempts: u32) -> Self {
        Self::attempts(attempts)
    }
}

/// Keeps the outcome of a node under a key of its input, so that an equal input does not run it again.
pub(crate) struct CachePolicy<S: State> {
    pub(crate) key: CacheKey<S>,
    pub(crate) ttl: Duration,
}

/// Computes the key of a cached node from the state and the input of a send.
pub(crate) type CacheKey<S> = Arc<dyn Fn(&S, Option<&RawValue>) -> serde_json::Result<String> + Send + Sync>;

pub(crate) fn cache_key<S: State, K: Serialize>(
    key: impl Fn(&S) -> K + Send + Sync + 'static,
) -> CacheKey<S> {
    Arc::new(move |state, input| serde_json::to_string(&(key(state), input)))
}

/// What a node may use and how its failures are met.
pub(crate) struct NodePolicy<S: State> {
    pub(crate) retry: Option<RetryPolicy>,
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
    /// Nothing to watch: the activation is one call.
    pub(crate) fn is_plain(&self) -> bool {
        self.retry.is_none() && self.timeout.is_none() && self.idle_timeout.is_none() && self.cache.is_none()
    }
}
