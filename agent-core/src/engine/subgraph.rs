//! A graph as one node of another: its own state, the same loop, a path in everything it records.

use std::{marker::PhantomData, sync::Arc};

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::superstep::{Leaves, Slot};
use super::{Context, Frame, FrameEnd, RunError, begin, drive, plan::Plan, raw_plan, read_state};
use crate::{
    graph::{
        AnyNode, CodeIdentity, DynNode, Graph, GraphBuilder, IntoOutcome, NodeError, Outcome, Result,
        render::Drawing,
    },
    journal::entry::{Fact, Frame as FrameFact},
    json::{self, Stored},
    state::State,
};

struct Subgraph<T: State, I, Into, Out> {
    graph: Graph<T>,
    into: Into,
    out: Out,
    input: PhantomData<fn(I)>,
}

impl<S: State> GraphBuilder<S> {
    /// Adds another graph as one node.
    ///
    /// `into` derives the subgraph's initial state from this graph's state, `out` turns its final state into an
    /// update of this graph. The subgraph's supersteps are written to the journal; its questions and events carry
    /// the path of the outer task.
    pub fn subgraph<T: State, Out: IntoOutcome<S>>(
        self,
        name: impl Into<String>,
        graph: &Graph<T>,
        into: impl Fn(&S) -> T + Send + Sync + 'static,
        out: impl Fn(T) -> Out + Send + Sync + 'static,
    ) -> Self {
        self.node(name, node(graph.clone(), move |state: &S, (): ()| into(state), out))
    }

    /// Adds a subgraph that is activated by sends with an input of type `I`; see [`subgraph`](Self::subgraph).
    pub fn subgraph_with_input<T: State, I: DeserializeOwned + Send + 'static, Out: IntoOutcome<S>>(
        self,
        name: impl Into<String>,
        graph: &Graph<T>,
        into: impl Fn(&S, I) -> T + Send + Sync + 'static,
        out: impl Fn(T) -> Out + Send + Sync + 'static,
    ) -> Self {
        self.node(name, node(graph.clone(), into, out))
    }
}

/// Creates a node of `graph`.
fn node<S, T, I, Into, Out, O>(graph: Graph<T>, into: Into, out: Out) -> AnyNode<S>
where
    S: State,
    T: State,
    I: DeserializeOwned + Send + 'static,
    Into: Fn(&S, I) -> T + Send + Sync + 'static,
    Out: Fn(T) -> O + Send + Sync + 'static,
    O: IntoOutcome<S>,
{
    AnyNode(Arc::new(Subgraph {
        graph,
        into,
        out: move |state| out(state).into_outcome(),
        input: PhantomData,
    }))
}

impl<S, T, I, Into, Out> DynNode<S> for Subgraph<T, I, Into, Out>
where
    S: State,
    T: State,
    I: DeserializeOwned + Send + 'static,
    Into: Fn(&S, I) -> T + Send + Sync,
    Out: Fn(T) -> Outcome<S> + Send + Sync,
{
    fn call<'a>(
        &'a self,
        state: &'a S,
        input: Option<&'a RawValue>,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<Outcome<S>>> {
        Box::pin(async move {
            let mut frame = match cx.cell().take_frame() {
                Some(image) => self.restore(*image, cx)?,
                None => {
                    let input = input.map_or("null", RawValue::get);
                    let input = json::read(input).map_err(|error| {
                        NodeError::permanent(format!("the input of subgraph `{}`: {error}", cx.node()))
                    })?;
                    self.open((self.into)(state, input), cx).await?
                }
            };
            // In a crew with caps, what waits inside is this task's waiting.
            let slot = cx.slot.clone().map(|slot| Arc::new(Leaves::new(slot, cx.task())) as Arc<dyn Slot>);
            frame = frame.under(slot);
            cx.cell().hosts_tasks(true);
            match drive(&mut frame).await? {
                FrameEnd::Completed => {}
                // The run is being ended: this task does no more, and stays unfinished. At a stop it is dropped as soon
                // as it waits.
                FrameEnd::Interrupted => {
                    cx.cell().hosts_tasks(false);
                    if !cx.env.control.stop.is_cancelled() {
                        cx.env.control.busy(-1);
                    }
                    std::future::pending().await
                }
            }
            let state = Arc::into_inner(frame.state).expect("no task is left to hold the subgraph's state");
            Ok((self.out)(state))
        })
    }

    fn plain(&self) -> bool {
        std::any::TypeId::of::<I>() == std::any::TypeId::of::<()>()
    }

    fn drawing(&self) -> Option<&Drawing> {
        Some(&self.graph.0.drawing)
    }

    fn identify(&self, code: &mut CodeIdentity)
    where
        Self: 'static,
    {
        code.add_graph(&self.graph.0.code);
        code.add::<Self>(size_of::<Into>() + size_of::<Out>());
    }
}

impl<T: State, I, Into, Out> Subgraph<T, I, Into, Out> {
    async fn open(&self, state: T, cx: &Context) -> std::result::Result<Frame<T>, RunError> {
        let plan = begin(&self.graph, &state, 1)?;
        let task = cx.task();
        if cx.env.writer.matters() {
            let stored = Stored::new(&state, json::NEW).map_err(|error| RunError::Value {
                node: cx.node().to_owned(),
                source: error.of("the state of the subgraph"),
            })?;
            let fact = FrameFact {
                task: Arc::clone(&task),
                version: T::VERSION,
                state: stored.json,
                form: stored.form,
                plan: raw_plan(&plan),
            };
            cx.env.commit([Fact::FrameOpened(fact)]).await?;
        }
        let env = Arc::clone(&cx.env);
        Ok(Frame::new(self.graph.clone(), Arc::new(state), plan, env, Some(task), Default::default()))
    }

    fn restore(
        &self,
        image: crate::journal::image::FrameImage,
        cx: &Context,
    ) -> std::result::Result<Frame<T>, RunError> {
        let state = read_state::<T>(&image)?;
        let plan = Plan::restore(Arc::clone(&self.graph.0.topology), &image.plan.unwrap_or_default())
            .map_err(|missing| RunError::GraphChanged { graph: self.graph.name().to_owned(), missing })?;
        let (env, task) = (Arc::clone(&cx.env), Some(cx.task()));
        Ok(Frame::new(self.graph.clone(), Arc::new(state), plan, env, task, image.tasks))
    }
}
