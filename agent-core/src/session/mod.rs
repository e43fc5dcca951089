//! Sessions: starting, watching, answering, stopping and resuming runs. A session has one writer.

mod answer;
mod command;
mod cell;
mod chat;
mod admission;
mod background;
mod builder;
mod deadlines;
mod dyn_graph;
mod error;
mod eviction;
mod follow;
mod handover;
mod history;
mod lock;
mod options;
mod phase;
mod provenance;
mod queue;
mod recovery;
mod reopen;
mod replay;
mod replicas;
mod requests;
mod resume;
mod run_end;
mod run_handle;
mod run_input;
mod run_queue;
mod run_report;
mod run_watch;
mod runtime;
mod slots;
mod snapshots;
mod start;
mod status;
mod steer;
mod supervisor;
mod suspects;
mod takeover;

pub use background::BackgroundAgent;
pub use builder::RuntimeBuilder;
pub use chat::{Chat, Reply};
pub use error::SessionError;
pub use history::{Checkpoint, CheckpointView};
pub use options::{BusyPolicy, Retention, RunOptions, RuntimeOptions};
pub use provenance::{Provenance, ProvenanceKind, ProvenanceSource};
pub use recovery::{RecoveryReport, UnrecoveredSession};
pub use reopen::Reopening;
pub use replay::{ReplayDifference, ReplayReport};
pub use requests::{AnswerRequest, JsonRunRequest, ResumeRequest, RunRequest};
pub use run_handle::{EventStream, Run};
pub use run_report::RunReport;
pub use runtime::{Runtime, SessionInfo};
pub use status::{RunFailure, RunLocation, SessionStatus, StateView};

use std::{fmt, sync::Arc, sync::atomic::Ordering};

use serde_json::Value;

use self::{dyn_graph::DynGraph, lock::LockedSession, replicas::ReplicaCommand};
use crate::{
    event::{EventFilter, Subscription},
    graph::Graph,
    ids::{RunId, Seq, SessionId},
    interrupt::Answers,
    run::RunStatus,
    state::{Input, State},
};
use cell::SessionCell;
pub(crate) use runtime::Shared;

/// A durable conversation or task. Cheap to clone.
///
/// # Examples
///
/// ```
/// # use agent_core::{Answers, Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
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
/// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
/// let session = runtime.session("ana")?;
/// session.run(&graph, Greeting::update()).await?;
/// session.answer(Answers::only("Ana")).await?;
/// session.wait_status().await?;
/// assert_eq!(session.state::<Greeting>().await?.name, "Ana");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) cell: Arc<SessionCell>,
}

impl Session {
    /// Returns the session id.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Runtime;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let session = Runtime::builder().build().session("order-7")?;
    /// assert_eq!(session.id().as_str(), "order-7");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.cell.id
    }

    /// Describes a run of `graph`: await it for the outcome, or start or stream it.
    ///
    /// The input is a state, which replaces the state of the session, or an update of it.
    ///
    /// # Errors
    ///
    /// See [`RunRequest`].
    ///
    /// # Cancel safety
    ///
    /// See [`RunRequest`].
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
    /// let outcome = session.run(&graph, Count::update()).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.n, 1);
    /// # Ok(()) }
    /// ```
    pub fn run<'a, S: State>(&'a self, graph: &'a Graph<S>, input: impl Into<Input<S>>) -> RunRequest<'a, S> {
        RunRequest::new(self, graph, input.into())
    }

    /// Describes a run of a registered graph, with an update of the state as JSON.
    ///
    /// # Errors
    ///
    /// See [`JsonRunRequest`].
    ///
    /// # Cancel safety
    ///
    /// See [`JsonRunRequest`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// let mut run = session.run_json("count", json!({ "n": 4 })).start().await?;
    /// assert_eq!(run.wait_status().await, RunStatus::Completed);
    /// assert_eq!(session.state_json().await?["n"], 5);
    /// # Ok(()) }
    /// ```
    pub fn run_json<'a>(&'a self, graph: &'a str, update: Value) -> JsonRunRequest<'a> {
        JsonRunRequest::new(self, graph, update)
    }

    /// Resumes a run that was stopped, failed, or lost its process, when awaited. Continues from its last commit and
    /// executes only unfinished tasks.
    ///
    /// # Errors
    ///
    /// See [`ResumeRequest`].
    ///
    /// # Cancel safety
    ///
    /// See [`ResumeRequest`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State, journal::InMemoryJournal};
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
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// let run = session.run(&graph, Count::update()).start().await?;
    /// assert_eq!(session.stop().await?, RunStatus::Stopped);
    /// let resumed = session.resume().await?;
    /// assert_eq!(resumed.id(), run.id());
    /// # session.stop().await?;
    /// # Ok(()) }
    /// ```
    pub const fn resume(&self) -> ResumeRequest<'_> {
        ResumeRequest::new(self)
    }

    /// Answers open questions, when awaited. Accepted answers are stored then, and the run continues.
    ///
    /// # Errors
    ///
    /// See [`AnswerRequest`].
    ///
    /// # Cancel safety
    ///
    /// See [`AnswerRequest`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Answers, Context, END, Graph, Runtime, START, State};
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
    /// session.run(&graph, Greeting::update()).await?;
    /// let report = session.answer(Answers::only("Ana")).await?.await;
    /// assert_eq!(report.state::<Greeting>().ok_or("failed")?.name, "Ana");
    /// # Ok(()) }
    /// ```
    pub fn answer(&self, answers: Answers) -> AnswerRequest<'_> {
        AnswerRequest::new(self, answers)
    }

    /// Stops the run and waits until it has left memory.
    ///
    /// Tasks that listen for cancellation get a grace period, the others are dropped; todos in progress are cancelled. A
    /// paused run that is not in memory is marked as stopped.
    ///
    /// # Errors
    ///
    /// [`SessionError::NothingToDo`] when no run is running or paused.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, the run stops all
    /// the same.
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
    /// session.run(&graph, Count::update()).start().await?;
    /// assert_eq!(session.stop().await?, RunStatus::Stopped);
    /// # Ok(()) }
    /// ```
    pub async fn stop(&self) -> Result<RunStatus, SessionError> {
        let locked = self.lock().await;
        if let Some(live) = self.cell.live() {
            live.env.control.stop.cancel();
            // Other commands need not wait for its end.
            drop(locked);
            return Ok(self.wait_removed(&live).await);
        }
        let stopped = locked.complete(async move |locked: LockedSession| locked.mark_stopped().await).await;
        match stopped {
            Err(busy @ SessionError::Busy { .. }) => self.forward(ReplicaCommand::Stop, busy).await,
            stopped => stopped,
        }
    }

    /// Ends the run after its current superstep and waits until it has left memory. It can be resumed later.
    ///
    /// # Errors
    ///
    /// As [`stop`](Session::stop).
    ///
    /// # Cancel safety
    ///
    /// As [`stop`](Session::stop): the run ends at the end of its superstep all the same.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State, journal::InMemoryJournal};
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
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// session.run(&graph, Greeting::update()).await?;
    /// assert_eq!(session.drain().await?, RunStatus::Stopped);
    /// session.resume().await?;
    /// assert_eq!(session.wait_status().await?, RunStatus::Paused);
    /// # Ok(()) }
    /// ```
    pub async fn drain(&self) -> Result<RunStatus, SessionError> {
        let locked = self.lock().await;
        if let Some(live) = self.cell.live() {
            live.env.control.drain.store(true, Ordering::Release);
            live.env.control.idle.notify_one();
            drop(locked);
            return Ok(self.wait_removed(&live).await);
        }
        let stopped = locked.complete(async move |locked: LockedSession| locked.mark_stopped().await).await;
        match stopped {
            Err(busy @ SessionError::Busy { .. }) => self.forward(ReplicaCommand::Drain, busy).await,
            stopped => stopped,
        }
    }

    async fn wait_removed(&self, live: &cell::LiveRun) -> RunStatus {
        live.watch.wait_removed().await;
        live.status()
    }

    /// Returns a handle of the unfinished run of the session; `None` if the latest run has finished.
    ///
    /// If no task of this process executes the run (see [`SessionStatus::location`]), the handle has the status in the
    /// journal, and waiting for it returns at once.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`]; [`SessionError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Answers, Context, END, Graph, RunStatus, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Greeting { name: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Greeting>::builder("ask")
    /// #     .node("ask", async |_: &Greeting, cx: &Context| {
    /// #         Ok(Greeting::update().name(cx.ask::<String>("Name?").await?))
    /// #     })
    /// #     .edge(START, "ask").edge("ask", END).build()?;
    /// let session = Runtime::builder().build().session("s")?;
    /// session.run(&graph, Greeting::update()).await?;
    /// let run = session.current_run().await?.expect("it waits for an answer");
    /// assert_eq!(run.status(), RunStatus::Paused);
    /// session.answer(Answers::only("Ana")).await?;
    /// assert_eq!(session.wait_status().await?, RunStatus::Completed);
    /// assert!(session.current_run().await?.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn current_run(&self) -> Result<Option<Run>, SessionError> {
        if let Some(live) = self.cell.live() {
            self.wait_published(&live).await;
        }
        if let Some(live) = self.cell.live() {
            return Ok(Some(Run::of(self.clone(), &live)));
        }
        let projection = self.peek().await?;
        if !projection.status.is_busy() {
            return Ok(None);
        }
        let open = if projection.status == RunStatus::Paused { projection.open } else { Vec::new() };
        Ok(Some(Run::waiting(self.clone(), projection.run, projection.status, open)))
    }

    /// Waits until the current run of the session finishes or pauses, and returns its status. Without a run in this
    /// process it returns the status in the journal at once. For a report of the run, see [`Run::wait`].
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`]; [`SessionError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Answers, Context, END, Graph, RunStatus, Runtime, START, State};
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
    /// session.run(&graph, Greeting::update()).await?;
    /// assert_eq!(session.wait_status().await?, RunStatus::Paused);
    /// session.answer(Answers::only("Ana")).await?;
    /// assert_eq!(session.wait_status().await?, RunStatus::Completed);
    /// # Ok(()) }
    /// ```
    pub async fn wait_status(&self) -> Result<RunStatus, SessionError> {
        if let Some(live) = self.cell.live() {
            let result = live.watch.subscribe().wait().await;
            return Ok(result.map_or(RunStatus::Running, |result| result.status));
        }
        Ok(self.status_from_journal().await?.status)
    }

    /// Returns the graph that continues an unfinished run: the one it began with in this process, else the registered one.
    pub(crate) fn graph_of(&self, name: &str) -> Result<Arc<dyn DynGraph>, SessionError> {
        let own = self.cell.inner.lock().graph.clone().filter(|graph| graph.name() == name);
        own.map_or_else(|| self.shared.graph_to_resume(name, self.id()), Ok)
    }

    /// Returns a graph that can decode the state of the session.
    pub(crate) fn graph_to_read(&self, name: &str) -> Result<Arc<dyn DynGraph>, SessionError> {
        let own = self.cell.inner.lock().graph.clone().filter(|graph| graph.name() == name);
        own.map_or_else(|| self.shared.graph(name), Ok)
    }

    /// Subscribes to events: to all events after a number (from the journal) and then live ones, or (`None`) to live events
    /// only.
    ///
    /// Every event is wanted, with updates as JSON; see [`subscribe_to`](Session::subscribe_to) for less.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use agent_core::{event::EventBody, ids::Seq, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// session.run(&graph, Count::update()).await?;
    /// let mut events = session.subscribe(Some(Seq::ZERO));
    /// let first = events.next().await?;
    /// assert!(matches!(first.body, EventBody::RunStarted(_)));
    /// # Ok(()) }
    /// ```
    pub fn subscribe(&self, after: Option<Seq>) -> Subscription {
        self.subscribe_to(after, EventFilter::all())
    }

    /// As [`subscribe`](Session::subscribe), to the events that `filter` wants. A run does nothing for events that no
    /// subscriber wants.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Context, END, Graph, Runtime, START, State};
    /// use agent_core::event::{EventBody, EventFilter, EventKind, UpdateForm};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(State, Default, Serialize, Deserialize)]
    /// struct Count { n: u64 }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let graph = Graph::<Count>::builder("count")
    ///     .node("set", async |_: &Count, _: &Context| Ok(Count::update().n(7)))
    ///     .edge(START, "set")
    ///     .edge("set", END)
    ///     .build()?;
    /// let session = Runtime::builder().build().session("s")?;
    /// let updates = EventFilter::none().with(EventKind::NodeFinished).updates(UpdateForm::Typed);
    /// let mut events = session.subscribe_to(None, updates);
    /// session.run(&graph, Count::update()).await?;
    /// let event = events.next().await?;
    /// let EventBody::NodeFinished(finished) = &event.body else { panic!("only these are wanted") };
    /// let update: &CountUpdate = finished.update.downcast_ref().expect("no JSON was written");
    /// assert_eq!(update.n, Some(7));
    /// # Ok(()) }
    /// ```
    pub fn subscribe_to(&self, after: Option<Seq>, filter: EventFilter) -> Subscription {
        let keep: Arc<dyn Send + Sync> = Arc::clone(&self.cell) as _;
        let subscription =
            self.cell.broadcast.subscribe(self.shared.store.clone(), after, filter).keeping(keep);
        // Live events only: the caller starts the run here.
        if after.is_some() {
            self.follow();
        }
        subscription
    }

    /// Deletes the session and ends its subscriptions. Existing handles return [`SessionError::NotFound`] from then on, also
    /// when the id is used again.
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] while a run is in memory; [`SessionError::NotFound`].
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, it completes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Code, Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// session.run(&graph, Count::update()).await?;
    /// session.delete().await?;
    /// assert_eq!(session.status().await.unwrap_err().code(), Code::SessionNotFound);
    /// # Ok(()) }
    /// ```
    pub async fn delete(&self) -> Result<(), SessionError> {
        self.lock().await.complete(async move |locked: LockedSession| locked.delete_locked().await).await
    }

    pub(crate) fn busy(&self, run: RunId, status: RunStatus) -> SessionError {
        SessionError::Busy { session: self.id().clone(), run, status }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", self.id()).finish_non_exhaustive()
    }
}
