//! Handle of a run, and the stream of its events.

use std::{
    future::IntoFuture,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{Stream, future::BoxFuture};

use super::{
    Session, SessionError,
    cell::LiveRun,
    run_report::RunReport,
    run_watch::{ErasedState, RunReceiver, RunResult},
};
use crate::{
    engine::RunError,
    event::{Event, EventBody, Subscription, SubscriptionError},
    ids::{RunId, SessionId},
    interrupt::OpenQuestion,
    run::{Finished, RunOutcome, RunStatus},
    state::State,
};

/// Handle of an accepted run. Dropping it does not stop the run. Cheap to clone.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, Runtime, START, State};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Count { #[state(add)] n: u64 }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Count>::builder("count")
/// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
/// #     .edge(START, "add").edge("add", END).build()?;
/// # let session = Runtime::builder().build().session("s-1")?;
/// let run = session.run(&graph, Count::update()).start().await?;
/// let report = run.await;
/// assert_eq!(report.state::<Count>().ok_or("failed")?.n, 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Run {
    session: Session,
    run: RunId,
    watch: RunReceiver,
}

impl Run {
    pub(super) fn of(session: Session, live: &LiveRun) -> Self {
        Self { session, run: live.run(), watch: live.watch.subscribe() }
    }

    /// Creates the handle of a queued run.
    pub(super) const fn queued(session: Session, run: RunId, watch: RunReceiver) -> Self {
        Self { session, run, watch }
    }

    /// Creates the handle of an unfinished run that is not in memory.
    pub(super) fn waiting(
        session: Session,
        run: RunId,
        status: RunStatus,
        questions: Vec<OpenQuestion>,
    ) -> Self {
        let questions = questions.into_iter().map(Arc::new).collect();
        let result = RunResult { questions, ..RunResult::new(status, None) };
        Self { session, run, watch: RunReceiver::fixed(result) }
    }

    /// Returns the number of the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let run = session.run(&graph, Count::update()).start().await?;
    /// assert_eq!(run.id().to_string(), "run-1");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn id(&self) -> RunId {
        self.run
    }

    /// Returns the session of the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let run = session.run(&graph, Count::update()).start().await?;
    /// assert_eq!(run.session().id(), session.id());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Returns a handle that does not keep a waiting run in this process; see
    /// [`RuntimeOptions::max_active_runs`](super::RuntimeOptions::max_active_runs). When another process takes the run over,
    /// [`wait_status`](Self::wait_status) returns [`RunStatus::Running`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let mut run = session.run(&graph, Count::update()).start().await?.observer();
    /// assert_eq!(run.wait_status().await, RunStatus::Completed);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn observer(self) -> Self {
        Self { watch: self.watch.unawaited(), ..self }
    }

    /// Returns the current status.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("slow")
    /// #     .node("add", async |_: &Count, _: &Context| {
    /// #         std::future::pending::<()>().await;
    /// #         Ok(Count::update().n(1))
    /// #     })
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let run = session.run(&graph, Count::update()).start().await?;
    /// assert_eq!(run.status(), RunStatus::Running);
    /// # session.stop().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.watch.status()
    }

    /// Waits until the run ends or pauses, and returns its status. Cancel safe.
    ///
    /// If the process shuts down first, the status is [`RunStatus::Running`]: another process continues the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let mut run = session.run(&graph, Count::update()).start().await?;
    /// assert_eq!(run.wait_status().await, RunStatus::Completed);
    /// # Ok(()) }
    /// ```
    pub async fn wait_status(&mut self) -> RunStatus {
        self.wait_result().await.map_or(RunStatus::Running, |result| result.status)
    }

    /// Waits until the run ends or pauses, and returns its outcome with the typed state.
    ///
    /// # Errors
    ///
    /// Returns [`SessionError::Run`] if the run failed; [`SessionError::InvalidInput`] if the state is not an `S`;
    /// [`SessionError::ShuttingDown`] if the process shuts down before the run ends.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let run = session.run(&graph, Count::update()).start().await?;
    /// let outcome = run.outcome::<Count>().await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.n, 1);
    /// # Ok(()) }
    /// ```
    pub async fn outcome<S: State>(self) -> Result<RunOutcome<S>, SessionError> {
        let result = self.wait_result().await.ok_or(SessionError::ShuttingDown)?;
        if let Some(error) = &result.error {
            return Err(SessionError::Run(Arc::clone(error)));
        }
        if result.status == RunStatus::Paused {
            return Ok(RunOutcome::Paused { run: self.run, questions: result.open_questions() });
        }
        let state = result.state.as_ref().and_then(ErasedState::downcast::<S>);
        let Some(state) = state else {
            let reason = format!("its state is not of type `{}`", std::any::type_name::<S>());
            return Err(SessionError::InvalidInput { graph: String::new(), reason });
        };
        let finished = Finished { run: self.run, state, supersteps: result.supersteps };
        Ok(match result.status {
            RunStatus::Completed => RunOutcome::Completed(finished),
            _ => RunOutcome::Stopped(finished),
        })
    }

    /// Waits until the run ends or pauses, and returns a report: status, state, questions, todos, usage and error.
    ///
    /// `run.await` does the same for a run by value.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Greeting { name: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Greeting>::builder("greet")
    /// #     .node("ask", async |_: &Greeting, cx: &Context| {
    /// #         Ok(Greeting::update().name(cx.ask::<String>("Name?").await?))
    /// #     })
    /// #     .edge(START, "ask").edge("ask", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let mut run = session.run(&graph, Greeting::update()).start().await?;
    /// let report = run.wait().await;
    /// assert_eq!(report.status, RunStatus::Paused);
    /// assert_eq!(report.questions[0].question.prompt, "Name?");
    /// # Ok(()) }
    /// ```
    pub async fn wait(&mut self) -> RunReport {
        let result = self.wait_result().await;
        RunReport::new(self.run, result.as_deref())
    }

    /// Returns `None` if the process shuts down and another process continues the run.
    async fn wait_result(&self) -> Option<Arc<RunResult>> {
        self.watch.wait().await
    }
}

impl IntoFuture for Run {
    type Output = RunReport;
    type IntoFuture = BoxFuture<'static, RunReport>;

    fn into_future(mut self) -> Self::IntoFuture {
        Box::pin(async move { self.wait().await })
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let session: &SessionId = self.session.id();
        f.debug_struct("Run")
            .field("session", session)
            .field("run", &self.run)
            .field("status", &self.status())
            .finish()
    }
}

/// Event stream of a run, from its acceptance to its end or pause. Implements [`Stream`].
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, Runtime, START, State};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Count { #[state(add)] n: u64 }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Count>::builder("count")
/// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
/// #     .edge(START, "add").edge("add", END).build()?;
/// # let session = Runtime::builder().build().session("s-1")?;
/// # use futures::StreamExt;
/// let mut events = session.run(&graph, Count::update()).stream().await?;
/// while let Some(event) = StreamExt::next(&mut events).await {
///     println!("{:?}", event?.body);
/// }
/// # Ok(()) }
/// ```
pub struct EventStream {
    run: Run,
    events: Subscription,
    ended: bool,
    /// Waits until the journal has failed, after which no event can follow. Created when there is no event.
    lost: Option<BoxFuture<'static, ()>>,
}

impl EventStream {
    pub(super) const fn new(run: Run, events: Subscription) -> Self {
        Self { run, events, ended: false, lost: None }
    }

    /// Creates the stream of a run without further events.
    pub(super) const fn ended(run: Run, events: Subscription) -> Self {
        Self { run, events, ended: true, lost: None }
    }

    /// Returns the next event; `None` after the one that ends or pauses the run. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`SubscriptionError`] when the journal cannot be read, or the session was deleted.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, event::EventBody};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let mut events = session.run(&graph, Count::update()).stream().await?;
    /// let mut supersteps = 0;
    /// while let Some(event) = events.next().await {
    ///     supersteps += u32::from(matches!(event?.body, EventBody::SuperstepCommitted(_)));
    /// }
    /// assert_eq!(supersteps, 1);
    /// # Ok(()) }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, SubscriptionError>> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Arc<Event>, SubscriptionError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            let Poll::Ready(event) = self.events.poll_event(cx) else {
                let lost = self.lost.get_or_insert_with(|| Box::pin(lost(self.run.clone())));
                ready!(lost.as_mut().poll(cx));
                // A run ends without an event if its journal failed.
                self.ended = true;
                return Poll::Ready(None);
            };
            if event.as_ref().is_err_and(SubscriptionError::is_final) {
                self.ended = true;
            }
            if let Ok(event) = &event {
                // Skip other runs: one that this one replaced, and later ones that begin before a queued run. Gaps concern every
                // subscriber.
                if event.run != self.run.run && !matches!(event.body, EventBody::Gap(_)) {
                    continue;
                }
                self.ended = event.body.ends_run();
            }
            return Poll::Ready(Some(event));
        }
    }

    /// Returns the handle of the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let events = session.run(&graph, Count::update()).stream().await?;
    /// let run = events.run().clone();
    /// drop(events);
    /// assert!(run.outcome::<Count>().await?.is_completed());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn run(&self) -> &Run {
        &self.run
    }

    /// Waits until the run ends or pauses, and returns its outcome.
    ///
    /// # Errors
    ///
    /// As [`Run::outcome`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let session = Runtime::builder().build().session("s-1")?;
    /// let mut events = session.run(&graph, Count::update()).stream().await?;
    /// while let Some(event) = events.next().await {
    ///     println!("{:?}", event?.body);
    /// }
    /// let outcome = events.outcome::<Count>().await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.n, 1);
    /// # Ok(()) }
    /// ```
    pub async fn outcome<S: State>(self) -> Result<RunOutcome<S>, SessionError> {
        self.run.outcome().await
    }
}

impl Stream for EventStream {
    type Item = Result<Arc<Event>, SubscriptionError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_event(cx)
    }
}

/// Waits until the run has failed because of its store, after which no event can follow.
async fn lost(run: Run) {
    loop {
        let Some(result) = run.wait_result().await else { return };
        if result.error.as_ref().is_some_and(|error| matches!(**error, RunError::Store(_))) {
            return;
        }
        run.watch.changed_from(&result).await;
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream")
            .field("run", &self.run)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
