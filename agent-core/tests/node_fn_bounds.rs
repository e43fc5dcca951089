//! The bound under which every way to write a node compiles: async fn, closure, async closure, with and without input.
//!
//! A self-contained model of `graph::NodeFn`; it exists so that the trait design is known to work on stable Rust.
//! What it shows, and why each part is as it is:
//!
//! - `for<'a> NodeFn<'a, S, M>` with the future as an associated type of the `'a` instance lets the future borrow from
//!   both references *and* be bounded by `Send`; `AsyncFn(..)` cannot say `Send` on stable.
//! - `Clone + FnOnce` instead of `Fn`: an async closure that captures anything lends from itself and therefore is no
//!   `Fn`, but it is `FnOnce`. Functions and closures without captures clone for nothing, captured `Arc`s for a count.
//! - the error type is fixed, otherwise `Ok(..)` and `?` in a closure have nothing to infer it from.
//! - `M` (`Plain`, `WithInput<I>`) keeps the two implementations apart; it is inferred from the number of arguments.
//!
//! Not possible, and not our doing: a closure needs its argument types written (`|s: &S, cx: &Context|`), and a plain
//! closure with an `async` block inside cannot borrow from its arguments (use `async |s: &S, cx: &Context|`).

use std::{error::Error, future::Future, marker::PhantomData, pin::Pin, sync::Arc};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

struct NodeError(Box<dyn Error + Send + Sync>);
impl<E: Error + Send + Sync + 'static> From<E> for NodeError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}
type Result<T, E = NodeError> = std::result::Result<T, E>;

trait State: Send + Sync + 'static {
    type Update: Send;
}
struct Outcome<S: State>(Option<S::Update>);
trait IntoOutcome<S: State> {
    fn into_outcome(self) -> Outcome<S>;
}
impl<S: State> IntoOutcome<S> for () {
    fn into_outcome(self) -> Outcome<S> {
        Outcome(None)
    }
}

struct Context {
    known: u32,
}
impl Context {
    async fn ask(&self) -> Result<u32, std::fmt::Error> {
        tokio::task::yield_now().await;
        Ok(self.known)
    }
}

struct Plain;
struct WithInput<I>(PhantomData<fn(I)>);

#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a node of a graph over `{S}`",
    note = "write `async fn(&{S}, &Context) -> Result<..>`, or with a typed input between the two; \
            in closures, write the argument types"
)]
trait NodeFn<'a, S: State, M>: Clone + Send + Sync + 'static {
    type Input;
    type Out: IntoOutcome<S>;
    type Future: Future<Output = Result<Self::Out>> + Send + 'a;
    fn call(self, state: &'a S, input: Self::Input, cx: &'a Context) -> Self::Future;
}
impl<'a, S, F, Fut, O> NodeFn<'a, S, Plain> for F
where
    S: State,
    F: FnOnce(&'a S, &'a Context) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'a,
    O: IntoOutcome<S>,
{
    type Input = ();
    type Out = O;
    type Future = Fut;
    fn call(self, state: &'a S, (): (), cx: &'a Context) -> Fut {
        self(state, cx)
    }
}
impl<'a, S, F, Fut, O, I> NodeFn<'a, S, WithInput<I>> for F
where
    S: State,
    I: 'static,
    F: FnOnce(&'a S, I, &'a Context) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'a,
    O: IntoOutcome<S>,
{
    type Input = I;
    type Out = O;
    type Future = Fut;
    fn call(self, state: &'a S, input: I, cx: &'a Context) -> Fut {
        self(state, input, cx)
    }
}

/// The erased form. In the engine `Default` is `DeserializeOwned`, and the input comes as JSON.
type Erased<S> = Box<dyn for<'a> Fn(&'a S, &'a Context) -> BoxFuture<'a, Result<Outcome<S>>> + Send + Sync>;

struct Builder<S: State>(Vec<Erased<S>>);
impl<S: State> Builder<S> {
    fn node<M, I, F>(mut self, node: F) -> Self
    where
        I: Default + Send + 'static,
        F: for<'a> NodeFn<'a, S, M, Input = I>,
    {
        self.0.push(Box::new(move |state, cx| {
            let future = node.clone().call(state, I::default(), cx);
            Box::pin(async move { future.await.map(IntoOutcome::into_outcome) })
        }));
        self
    }
}

struct Report {
    brand: String,
}
impl State for Report {
    type Update = ReportUpdate;
}
struct ReportUpdate(String);
impl IntoOutcome<Report> for ReportUpdate {
    fn into_outcome(self) -> Outcome<Report> {
        Outcome(Some(self))
    }
}

async fn borrows_both(state: &Report, cx: &Context) -> Result<ReportUpdate> {
    let known = cx.ask().await?;
    Ok(ReportUpdate(format!("{} {known}", state.brand)))
}
async fn changes_nothing(_: &Report, _: &Context) -> Result<()> {
    Ok(())
}
async fn takes_input(state: &Report, input: Vec<u32>, cx: &Context) -> Result<ReportUpdate> {
    let known = cx.ask().await?;
    Ok(ReportUpdate(format!("{} {known} {}", state.brand, input.len())))
}

#[tokio::test]
async fn every_way_to_write_a_node_compiles_and_runs_again() {
    let shared = Arc::new(String::from("공유"));
    let (first, second) = (shared.clone(), shared);
    let nodes = Builder::<Report>(Vec::new())
        .node(borrows_both)
        .node(changes_nothing)
        .node(takes_input)
        .node(|_: &Report, _: &Context| async move { Ok(()) })
        .node(|state: &Report, _: &Context| {
            let brand = state.brand.clone();
            async move { Ok(ReportUpdate(brand)) }
        })
        .node(|_: &Report, input: u32, _: &Context| async move { Ok(ReportUpdate(input.to_string())) })
        .node(async |state: &Report, cx: &Context| {
            let known = cx.ask().await?;
            if known == 0 {
                return Err(std::fmt::Error.into());
            }
            Ok(ReportUpdate(format!("{} {known}", state.brand)))
        })
        .node(async |state: &Report, input: String, cx: &Context| {
            Ok(ReportUpdate(format!("{}{input}{}", state.brand, cx.ask().await?)))
        })
        .node(async move |state: &Report, cx: &Context| {
            cx.ask().await?;
            Ok(ReportUpdate(format!("{} {first}", state.brand)))
        })
        .node(move |_: &Report, _: &Context| {
            let second = second.clone();
            async move { Ok(ReportUpdate(second.to_string())) }
        });

    let (state, cx) = (Report { brand: "설화수".into() }, Context { known: 7 });
    let expected =
        ["설화수 7", "-", "설화수 7 0", "-", "설화수", "0", "설화수 7", "설화수7", "설화수 공유", "공유"];
    for round in 0..2 {
        for (node, expected) in nodes.0.iter().zip(expected) {
            let outcome = node(&state, &cx).await.unwrap_or_else(|error| panic!("{}", error.0));
            let said = outcome.0.map_or("-".to_owned(), |update| update.0);
            assert_eq!(said, expected, "in round {round}");
        }
    }
    assert_eq!(nodes.0.len(), expected.len());
}
