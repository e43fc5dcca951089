//! Subgraphs: a graph as a node of another one, executed by the same loop inside a task.

use std::{borrow::Cow, marker::PhantomData, sync::Arc};

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::concurrency::{ConcurrencySlot, SubgraphSlot};
use super::{
    Context, Frame, FrameEnd, RunError, begin, drive, encode_schedule, read_frame, schedule::Schedule,
};
use crate::{
    event::EventKind,
    graph::{
        AnyNode, CodeIdentity, Dispatch, DynNode, Graph, IntoOutcome, NodeError, Outcome, ParentTargets,
        Result, render::Drawing,
    },
    ids::NodeName,
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

impl<T: State> Graph<T> {
    /// Returns this graph as a node of another graph: a subgraph.
    ///
    /// `into` derives the subgraph's initial state from the state of the graph that contains it, `out` turns its final state
    /// into an update of that graph. The subgraph's supersteps are written to the journal; its questions and events carry
    /// the path of the outer task. Settings such as a timeout apply to the subgraph as a whole.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Book { title: String, text: String }
    /// let chapter = Graph::<Draft>::builder("chapter")
    ///     .node("write", async |draft: &Draft, _: &Context| Ok(Draft::update().text(format!("On {}", draft.text))))
    ///     .edge(START, "write")
    ///     .edge("write", END)
    ///     .build()?;
    /// let into = |book: &Book| Draft { text: book.title.clone() };
    /// let out = |draft: Draft| Book::update().text(draft.text);
    /// let book = Graph::<Book>::builder("book")
    ///     .node("chapter", chapter.as_node(into, out).timeout(Duration::from_secs(60)))
    ///     .edge(START, "chapter")
    ///     .edge("chapter", END)
    ///     .build()?;
    /// let session = Runtime::builder().build().session("s-1")?;
    /// let outcome = session.run(&book, Book::update().title("birds")).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.text, "On birds");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn as_node<S: State, Out: IntoOutcome<S>>(
        &self,
        into: impl Fn(&S) -> T + Send + Sync + 'static,
        out: impl Fn(T) -> Out + Send + Sync + 'static,
    ) -> AnyNode<S> {
        node(self.clone(), move |state: &S, (): ()| into(state), out)
    }

    /// Returns this graph as a node that is activated by sends with an input of type `I`; see [`as_node`](Self::as_node).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, graph::{Dispatch, Outcome}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Book { #[state(append)] chapters: Vec<String> }
    /// # let chapter = Graph::<Draft>::builder("chapter")
    /// #    .node("write", async |draft: &Draft, _: &Context| Ok(Draft::update().text(format!("On {}", draft.text))))
    /// #    .edge(START, "write").edge("write", END).build()?;
    /// let into = |_: &Book, topic: String| Draft { text: topic };
    /// let out = |draft: Draft| Book::update().chapters([draft.text]);
    /// let book = Graph::<Book>::builder("book")
    ///     .node("plan", async |_: &Book, _: &Context| {
    ///         let chapters = ["birds", "fish"].map(|topic| Dispatch::new("chapter", topic));
    ///         Ok(Outcome::empty().send_all(chapters))
    ///     })
    ///     .node("chapter", chapter.as_node_with_input(into, out))
    ///     .edge(START, "plan")
    ///     .declare_targets("plan", ["chapter"])
    ///     .edge("chapter", END)
    ///     .build()?;
    /// let session = Runtime::builder().build().session("s-1")?;
    /// let outcome = session.run(&book, Book::update()).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.chapters, ["On birds", "On fish"]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn as_node_with_input<S: State, I: DeserializeOwned + Send + 'static, Out: IntoOutcome<S>>(
        &self,
        into: impl Fn(&S, I) -> T + Send + Sync + 'static,
        out: impl Fn(T) -> Out + Send + Sync + 'static,
    ) -> AnyNode<S> {
        node(self.clone(), into, out)
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
    AnyNode::new(Subgraph { graph, into, out: move |state| out(state).into_outcome(), input: PhantomData })
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
            let mut frame = match cx.replay().take_frame() {
                Some(projection) => self.restore(*projection, cx)?,
                None => {
                    let input = input.map_or("null", RawValue::get);
                    let input = json::read(input).map_err(|error| {
                        NodeError::permanent(format!("the input of subgraph `{}`: {error}", cx.node()))
                    })?;
                    self.open((self.into)(state, input), cx).await?
                }
            };
            // In a pool with limits, a task that waits inside makes this task wait.
            let slot = cx
                .scope
                .slot
                .clone()
                .map(|slot| Arc::new(SubgraphSlot::new(slot, cx.task())) as Arc<dyn ConcurrencySlot>);
            frame = frame.under(slot);
            cx.replay().hosts_tasks(true);
            match drive(&mut frame).await? {
                FrameEnd::Completed => {}
                // The run is being ended: this task does no more, and stays unfinished. At a stop it is dropped as soon
                // as it waits.
                FrameEnd::Interrupted => {
                    cx.replay().hosts_tasks(false);
                    if !cx.scope.env.control.stop.is_cancelled() {
                        cx.scope.env.control.adjust_runnable(-1);
                    }
                    std::future::pending().await
                }
            }
            let targets = frame.schedule.take_parent_targets();
            let state = Arc::into_inner(frame.state).expect("no task is left to hold the subgraph's state");
            let mut outcome = (self.out)(state);
            if let Some(targets) = targets {
                let ParentTargets { goto, sends } = *targets;
                let selection = outcome.selection.get_or_insert_default();
                selection.goto.extend(goto.into_iter().map(Cow::Owned));
                let send = |(node, input)| Dispatch { node: Cow::Owned(node), input: Ok(input) };
                selection.sends.extend(sends.into_iter().map(send));
            }
            Ok(outcome)
        })
    }

    fn plain(&self) -> bool {
        std::any::TypeId::of::<I>() == std::any::TypeId::of::<()>()
    }

    fn drawing(&self) -> Option<&Drawing> {
        Some(&self.graph.0.drawing)
    }

    fn parent_targets(&self) -> Vec<(&str, &NodeName)> {
        let nodes = self.graph.0.topology.names.iter().zip(&self.graph.0.choices);
        nodes.flat_map(|(node, choices)| choices.parent.iter().map(|name| (&**node, name))).collect()
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
        let schedule = begin(&self.graph, &state, 1)?;
        let task = cx.task();
        let writer = &cx.scope.env.writer;
        if writer.wants(EventKind::SubgraphStarted) {
            // Without a store nothing reads the state.
            let (stored, encoded) = if writer.is_durable() {
                let stored = Stored::new(&state, json::NEW).map_err(|error| RunError::Value {
                    node: cx.node().to_owned(),
                    source: error.of("the state of the subgraph"),
                })?;
                (stored, encode_schedule(&schedule))
            } else {
                (Stored::null(), Stored::null().json)
            };
            let fact = FrameFact {
                task: Arc::clone(&task),
                version: T::VERSION,
                state: stored.json,
                form: stored.form,
                schedule: encoded,
                due: writer.is_watched().then(|| schedule.due_nodes()),
            };
            cx.scope.env.commit([Fact::FrameOpened(fact)]).await?;
        }
        let env = Arc::clone(&cx.scope.env);
        Ok(Frame::new(self.graph.clone(), Arc::new(state), schedule, env, Some(task), Default::default()))
    }

    fn restore(
        &self,
        projection: crate::journal::projection::FrameProjection,
        cx: &Context,
    ) -> std::result::Result<Frame<T>, RunError> {
        let stored = projection.schedule.clone().unwrap_or_default();
        let schedule = Schedule::restore(Arc::clone(&self.graph.0.topology), &stored)
            .map_err(|missing| RunError::GraphChanged { graph: self.graph.name().to_owned(), missing })?;
        let (state, starts) = read_frame(&self.graph, &projection, &schedule)?;
        let (env, task) = (Arc::clone(&cx.scope.env), Some(cx.task()));
        Ok(Frame::new(self.graph.clone(), state, schedule, env, task, projection.tasks).starting(starts))
    }
}
