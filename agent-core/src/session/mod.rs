//! One conversation, one writer: starting, watching, answering, stopping and resuming its runs.

mod answer;
mod command;
mod cell;
mod deadlines;
mod dyn_graph;
mod error;
mod history;
mod lock;
mod options;
mod provenance;
mod queue;
mod reopen;
mod run_handle;
mod run_watch;
mod runtime;
mod start;
mod supervisor;
mod takeover;

pub use error::SessionError;
pub use history::{Checkpoint, CheckpointView};
pub use options::{BusyPolicy, Retention, RunOptions, RuntimeOptions};
pub use provenance::{Provenance, ProvenanceKind};
pub use reopen::Reopening;
pub use run_handle::{EventStream, Run};
pub use runtime::{RecoveryReport, Runtime, RuntimeBuilder, SessionInfo};

use std::{collections::BTreeMap, fmt, sync::Arc, sync::atomic::Ordering, time::Duration};

use serde_json::Value;

use self::{dyn_graph::DynGraph, lock::LockedSession, start::AckMode, takeover::Resumption};
use crate::{
    compute::compute,
    graph::Graph,
    ids::{RunId, Seq, SessionId, TaskId},
    interrupt::{Answers, OpenQuestion},
    journal::{entry::Failure, fold, projection::Projection},
    run::{BudgetUsage, Limits, RunOutcome, RunStatus},
    state::{Input, State},
    todo::Todo,
};
use cell::SessionCell;
use runtime::Shared;

/// How long a status waits for a run that is being closed. Longer only where the store is slow.
const STATUS_WAIT: Duration = Duration::from_secs(1);

/// One durable conversation or task. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) cell: Arc<SessionCell>,
}

/// Where a session stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionStatus {
    /// The session.
    pub session: SessionId,
    /// Its latest run.
    pub run: RunId,
    /// Where that run stands.
    pub status: RunStatus,
    /// The graph it runs.
    pub graph: String,
    /// Its schedule.
    pub todos: Vec<Todo>,
    /// What is asked.
    pub questions: Vec<OpenQuestion>,
    /// What it used up.
    pub used: BudgetUsage,
    /// The number of its acceptance: events of the run stand at this number and behind it.
    pub accepted: Seq,
    /// When it was accepted, in milliseconds since 1970.
    pub accepted_at: i64,
    /// Time spent running, pauses left out, in milliseconds.
    pub active_ms: u64,
    /// Why it failed: code, message, node.
    pub failure: Option<RunFailure>,
    /// The last number in the journal.
    pub last: Seq,
    /// Marks that the application gave the session.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Where the latest run is, as far as this process can tell.
    pub location: RunLocation,
    /// The store failed for longer than its retries, and this process opens the session again in the background.
    pub reopening: Option<Reopening>,
}

/// State of a session as JSON, with the tasks that its run is at.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct StateView {
    /// The state as of the last committed superstep.
    pub state: Value,
    /// Tasks of the outermost graph that are executing, wait for an answer, or were stopped or failed; empty after the
    /// end of the run.
    pub active_tasks: Vec<TaskId>,
}

/// Where a run is, as far as this process can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunLocation {
    /// Tasks of this process drive it, or wait in memory for an answer.
    InMemory,
    /// No task of this process drives it. A `running` one is driven by another process, or waits for
    /// [`Runtime::recover`]; a `paused` one waits for an answer.
    Journal,
}

/// Why a run failed, as it is journalled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunFailure {
    /// What went wrong, to branch on.
    pub code: String,
    /// The same for people.
    pub message: String,
    /// The node at fault.
    pub node: Option<String>,
}

impl From<Failure> for RunFailure {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message, node: failure.node }
    }
}

impl Session {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.cell.id
    }

    /// Runs a graph until it ends or waits for a person. See [`start`](Session::start).
    ///
    /// # Errors
    ///
    /// [`SessionError`]; a run that failed is [`SessionError::Run`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the run.
    pub async fn run<S: State>(
        &self,
        graph: &Graph<S>,
        input: impl Into<Input<S>>,
    ) -> Result<RunOutcome<S>, SessionError> {
        self.run_with(graph, input, RunOptions::default()).await
    }

    /// As [`run`](Session::run), with options.
    ///
    /// # Errors
    ///
    /// See [`run`](Session::run).
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, the run is accepted and
    /// executed, or refused.
    pub async fn run_with<S: State>(
        &self,
        graph: &Graph<S>,
        input: impl Into<Input<S>>,
        options: RunOptions,
    ) -> Result<RunOutcome<S>, SessionError> {
        self.accept(graph, input.into(), options, AckMode::AfterRun).await?.outcome().await
    }

    /// Starts a run and returns its events, from its acceptance to its end or pause.
    ///
    /// # Errors
    ///
    /// See [`start`](Session::start).
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, the run is accepted and
    /// executed, or refused.
    pub async fn stream<S: State>(
        &self,
        graph: &Graph<S>,
        input: impl Into<Input<S>>,
        options: RunOptions,
    ) -> Result<EventStream, SessionError> {
        let events = self.subscribe(None);
        let run = self.accept(graph, input.into(), options, AckMode::AfterAccept).await?;
        Ok(EventStream::new(run, events))
    }

    /// Starts a run. When this returns, the run is accepted for good: it is stored, and a process that dies now
    /// leaves it to the next one (unless the durability is [`Exit`](crate::run::Durability::Exit)).
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] and its like; [`SessionError::InvalidInput`] when the input cannot be applied.
    /// Nothing has changed then.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, the run is accepted and
    /// executed, or refused.
    pub async fn start<S: State>(
        &self,
        graph: &Graph<S>,
        input: impl Into<Input<S>>,
        options: RunOptions,
    ) -> Result<Run, SessionError> {
        self.accept(graph, input.into(), options, AckMode::AfterAccept).await
    }

    /// As [`start`](Session::start), for a graph known by name and an update as JSON.
    ///
    /// # Errors
    ///
    /// See [`start`](Session::start), and [`SessionError::GraphNotFound`].
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, the run is accepted and
    /// executed, or refused.
    pub async fn start_json(
        &self,
        graph: &str,
        update: Value,
        options: RunOptions,
    ) -> Result<Run, SessionError> {
        self.shared.graph(graph)?.start(self, update, options, AckMode::AfterAccept).await
    }

    /// As [`start_json`](Session::start_json), for a caller that says nothing to anybody before the run is at rest: a
    /// short run is at rest when this returns, and what was accepted is stored together with what came of it. Wait
    /// with [`Run::rest`].
    ///
    /// # Errors
    ///
    /// See [`start_json`](Session::start_json).
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, the run is accepted and
    /// executed, or refused.
    pub async fn run_json(
        &self,
        graph: &str,
        update: Value,
        options: RunOptions,
    ) -> Result<Run, SessionError> {
        self.shared.graph(graph)?.start(self, update, options, AckMode::AfterRun).await
    }

    /// Resumes a run that was stopped, failed, or lost its process: from its last commit, executing only what is
    /// unfinished.
    ///
    /// # Errors
    ///
    /// [`SessionError::NothingToDo`] when it is running, waits for answers or is completed;
    /// [`RunError::GraphChanged`](crate::engine::RunError::GraphChanged) with what is missing. Nothing has changed then.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, it completes.
    pub async fn resume(&self) -> Result<Run, SessionError> {
        self.resume_as(None).await
    }

    /// As [`resume`](Session::resume), with new limits (a limit that the run reached, raised).
    ///
    /// # Errors
    ///
    /// See [`resume`](Session::resume).
    ///
    /// # Cancel safety
    ///
    /// See [`resume`](Session::resume).
    pub async fn resume_with(&self, limits: Limits) -> Result<Run, SessionError> {
        self.resume_as(Some(limits)).await
    }

    async fn resume_as(&self, limits: Option<Limits>) -> Result<Run, SessionError> {
        if self.cell.live().is_none() {
            // A session that does not exist must not get a lease.
            self.peek().await?;
        }
        self.lock()
            .await
            .complete(async move |locked: LockedSession| locked.resume(limits, Resumption::Asked).await)
            .await
    }

    /// Answers open questions. Accepted answers are stored before this returns, and the run continues.
    ///
    /// # Errors
    ///
    /// [`AnswerError`](crate::interrupt::AnswerError); [`SessionError::Run`] when the run cannot be resumed with the present graph. Nothing has changed
    /// then, and the questions are open.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, it completes: the
    /// answers are stored and delivered, or refused.
    pub async fn answer(&self, answers: Answers) -> Result<Run, SessionError> {
        self.answer_as(answers, "somebody").await
    }

    /// As [`answer`](Session::answer), with the name of the person who answers (at most 200 characters are kept).
    ///
    /// # Errors
    ///
    /// See [`answer`](Session::answer).
    ///
    /// # Cancel safety
    ///
    /// See [`answer`](Session::answer).
    pub async fn answer_as(&self, answers: Answers, by: &str) -> Result<Run, SessionError> {
        let by = crate::util::shorten(by, 200);
        let answers = answers.checked()?;
        let answer = async move |locked: LockedSession| locked.answer(answers, &by).await;
        self.lock().await.complete(answer).await
    }

    /// Stops the run: tasks that listen for cancellation are given a grace time, others are dropped; todos in progress
    /// become cancelled. Ready when nothing of the run is left in memory. A paused run that is not in memory is marked as
    /// stopped.
    ///
    /// # Errors
    ///
    /// [`SessionError::NothingToDo`] when no run is running or paused.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, the run stops all
    /// the same.
    pub async fn stop(&self) -> Result<RunStatus, SessionError> {
        let locked = self.lock().await;
        if let Some(live) = self.cell.live() {
            live.env.control.stop.cancel();
            // Other commands need not wait for its end.
            drop(locked);
            return Ok(self.wait_removed(&live).await);
        }
        locked.complete(async move |locked: LockedSession| locked.mark_stopped().await).await
    }

    /// Ends the run at the end of its present superstep, to be resumed later. Ready when nothing of it is left in memory.
    /// A [`stop`](Session::stop) need not wait for it.
    ///
    /// # Errors
    ///
    /// As [`stop`](Session::stop).
    ///
    /// # Cancel safety
    ///
    /// As [`stop`](Session::stop): the run ends at the end of its superstep all the same.
    pub async fn drain(&self) -> Result<RunStatus, SessionError> {
        let locked = self.lock().await;
        if let Some(live) = self.cell.live() {
            live.env.control.drain.store(true, Ordering::Release);
            live.env.control.idle.notify_one();
            drop(locked);
            return Ok(self.wait_removed(&live).await);
        }
        locked.complete(async move |locked: LockedSession| locked.mark_stopped().await).await
    }

    async fn wait_removed(&self, live: &cell::LiveRun) -> RunStatus {
        live.watch.wait_removed().await;
        live.status()
    }

    /// A handle to the unfinished run of the session, whichever caller started it; `None` when its latest run has
    /// finished.
    ///
    /// The run is running or paused. Where no task of this process drives it (see [`SessionStatus::location`]), the
    /// handle shows what the journal says, and waiting for it returns at once.
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
    /// assert_eq!(session.wait().await?, RunStatus::Completed);
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
    /// process it returns the status in the journal at once.
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
    /// See [`current_run`](Session::current_run).
    pub async fn wait(&self) -> Result<RunStatus, SessionError> {
        if let Some(live) = self.cell.live() {
            let result = live.watch.listener().rest().await;
            return Ok(result.map_or(RunStatus::Running, |result| result.status));
        }
        Ok(self.peek().await?.status)
    }

    /// The graph that continues an unfinished run: the one it began with in this process, else the registered one.
    pub(crate) fn graph_of(&self, name: &str) -> Result<Arc<dyn DynGraph>, SessionError> {
        let own = self.cell.inner.lock().graph.clone().filter(|graph| graph.name() == name);
        own.map_or_else(|| self.shared.graph_to_resume(name, self.id()), Ok)
    }

    /// The graph that reads the state of the session: any graph of the name reads it alike.
    pub(crate) fn graph_to_read(&self, name: &str) -> Result<Arc<dyn DynGraph>, SessionError> {
        let own = self.cell.inner.lock().graph.clone().filter(|graph| graph.name() == name);
        own.map_or_else(|| self.shared.graph(name), Ok)
    }

    /// Where the session stands.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn status(&self) -> Result<SessionStatus, SessionError> {
        if let Some(live) = self.cell.live() {
            self.wait_published(&live).await;
        }
        if let Some(live) = self.cell.live() {
            let env = &live.env;
            let result = live.watch.result();
            return Ok(SessionStatus {
                session: self.id().clone(),
                run: live.run(),
                status: live.status(),
                graph: live.graph.to_string(),
                todos: env.todos.lock().items().to_vec(),
                questions: env.board.open(),
                used: env.budget.used(),
                accepted: live.accepted,
                accepted_at: live.accepted_at,
                active_ms: env.control.active_ms(),
                failure: result.and_then(|result| result.error.clone()).map(|error| RunFailure {
                    code: error.code().to_string(),
                    message: error.report(),
                    node: error.node().map(str::to_owned),
                }),
                last: env.writer.last(),
                labels: env.writer.labels(),
                location: RunLocation::InMemory,
                reopening: None,
            });
        }
        self.status_from_journal().await
    }

    /// Subscribers hear of an end, or a pause, when it is stored; who asks upon that must not find the run before it.
    async fn wait_published(&self, live: &cell::LiveRun) {
        let env = &live.env;
        let ends = env.control.is_closed();
        let pauses =
            !ends && live.status() == RunStatus::Running && env.board.any_open() && env.control.is_idle();
        if !ends && !pauses {
            return;
        }
        let told = async {
            match ends {
                true => live.watch.wait_removed().await,
                false => drop(live.watch.listener().rest().await),
            }
        };
        if tokio::time::timeout(STATUS_WAIT, told).await.is_err() {
            tracing::debug!(session = %self.id(), "an end or a pause takes long to be stored");
        }
    }

    fn status_of(&self, projection: Projection) -> SessionStatus {
        let busy = projection.status.is_busy();
        SessionStatus {
            session: self.id().clone(),
            run: projection.run,
            status: projection.status,
            graph: projection.graph.to_string(),
            todos: projection.todos.items().to_vec(),
            questions: if busy { projection.open } else { Vec::new() },
            used: projection.used,
            accepted: projection.accepted,
            accepted_at: projection.accepted_at,
            active_ms: projection.active_ms,
            failure: projection.failure.map(Into::into),
            last: projection.last,
            labels: projection.labels,
            location: RunLocation::Journal,
            reopening: None,
        }
    }

    /// The state as of the last committed superstep, as JSON.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`], [`SessionError::GraphNotFound`], [`SessionError::CannotResume`] during a run
    /// without a store, or what is stored cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn state_json(&self) -> Result<Value, SessionError> {
        Ok(self.state_and_active_tasks().await?.state)
    }

    /// The state as [`state_json`](Session::state_json) has it, and the tasks of the outermost graph that the run is at: at
    /// work, waiting for a person, or where it was stopped or has failed. None after its end. Both of one reading of the
    /// journal.
    ///
    /// # Errors
    ///
    /// As [`state_json`](Session::state_json).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn state_and_active_tasks(&self) -> Result<StateView, SessionError> {
        self.check_readable()?;
        let (projection, state) = self.peek_with_state().await?;
        let tasks = projection.root.unfinished();
        let graph = self.graph_to_read(&projection.graph)?;
        let bytes = projection.root.state_bytes().max(state.as_ref().map_or(0, |_| self.cell.footprint()));
        let state = compute(bytes, move || graph.state_json(&projection, state)).await?;
        Ok(StateView { state, active_tasks: tasks })
    }

    /// The state as of the last committed superstep: a copy.
    ///
    /// # Errors
    ///
    /// See [`state_json`](Session::state_json).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn state<S: State>(&self) -> Result<S, SessionError> {
        self.check_readable()?;
        let (projection, state) = self.peek_with_state().await?;
        match state.and_then(|state| state.downcast::<S>().ok()) {
            // A state that JSON cannot express (NaN of a custom reducer) is folded from the journal.
            Some(state) => match (start::copy_state(&*state), &self.shared.store) {
                (Err(_), Some(store)) => {
                    let projection = fold(&**store, self.id(), Seq(u64::MAX >> 1)).await?.unwrap_or_default();
                    Ok(crate::engine::read_state::<S>(&projection.root)?)
                }
                (copy, _) => copy.map_err(Into::into),
            },
            None => {
                let bytes = projection.root.state_bytes();
                Ok(compute(bytes, move || crate::engine::read_state::<S>(&projection.root)).await?)
            }
        }
    }

    /// Events: everything after a number from the journal and then what happens, or only what happens from now on.
    pub fn subscribe(&self, after: Option<Seq>) -> crate::event::Subscription {
        let keep: Arc<dyn Send + Sync> = Arc::clone(&self.cell) as _;
        self.cell.broadcast.subscribe(self.shared.store.clone(), after).keeping(keep)
    }

    /// Removes the session with everything it has, and ends its subscriptions. Handles of it stay handles of the
    /// deleted session: they answer [`SessionError::NotFound`], also when the id is used again.
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] while a run is in memory; [`SessionError::NotFound`].
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, it completes.
    pub async fn delete(&self) -> Result<(), SessionError> {
        self.lock().await.complete(async move |locked: LockedSession| locked.delete_locked().await).await
    }

    pub(crate) fn busy(&self, run: RunId, status: RunStatus) -> SessionError {
        SessionError::Busy { session: self.id().clone(), run, status }
    }

    /// Where the session stands by the journal, without becoming its writer.
    pub(crate) async fn peek(&self) -> Result<Projection, SessionError> {
        Ok(self.peek_with_state().await?.0)
    }

    /// Without a journal the state of a run that is not at rest is the run's own.
    fn check_readable(&self) -> Result<(), SessionError> {
        match (&self.shared.store, self.cell.live()) {
            (None, Some(_)) => Err(SessionError::CannotResume { session: self.id().clone() }),
            _ => Ok(()),
        }
    }

    async fn peek_with_state(
        &self,
    ) -> Result<(Projection, Option<Arc<dyn std::any::Any + Send + Sync>>), SessionError> {
        let not_found = || SessionError::NotFound { session: self.id().clone() };
        self.cell.check_exists()?;
        {
            let inner = self.cell.inner.lock();
            if let Some(rest) = &inner.idle
                && (self.shared.store.is_none() || rest.state.is_some())
            {
                let state = rest.state.clone();
                return Ok((rest.projection.without_state(), state));
            }
            if let (Some(live), None) = (&inner.live, &self.shared.store) {
                let mut projection = Projection {
                    graph: Arc::clone(&live.graph),
                    run: live.run(),
                    labels: live.env.writer.labels(),
                    ..Projection::default()
                };
                projection.status = live.status();
                return Ok((projection, None));
            }
        }
        let Some(store) = &self.shared.store else { return Err(not_found()) };
        if let Some(live) = self.cell.live() {
            live.env.writer.wait_all_durable().await?;
        }
        let projection = fold(&**store, self.id(), Seq(u64::MAX >> 1)).await;
        // Deleted meanwhile: what was read may be that of a session made under the same id.
        self.cell.check_exists()?;
        Ok((projection?.ok_or_else(not_found)?, None))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", self.id()).finish_non_exhaustive()
    }
}
