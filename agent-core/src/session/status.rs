//! Status and state of a session.

use super::{Reopening, Session, SessionError, cell, options::is_request, phase::Phase};
use crate::{
    compute::compute,
    ids::{RunId, Seq, SessionId, TaskId},
    interrupt::OpenQuestion,
    journal::{entry::Failure, fold, projection::Projection},
    run::{BudgetUsage, RunStatus},
    state::State,
    todo::Todo,
};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Maximum wait of a status for a run that writes its last entries.
const STATUS_WAIT: Duration = Duration::from_secs(1);

/// Status of a session.
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
/// session.run(&graph, Count::update()).await?;
/// let status = session.status().await?;
/// assert_eq!(status.graph, "count");
/// assert!(status.questions.is_empty());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionStatus {
    /// The session.
    pub session: SessionId,
    /// The latest run.
    pub run: RunId,
    /// The status of that run.
    pub status: RunStatus,
    /// The graph of the run.
    pub graph: String,
    /// Its todos.
    pub todos: Vec<Todo>,
    /// The open questions.
    pub questions: Vec<OpenQuestion>,
    /// The budget usage of the run.
    pub used: BudgetUsage,
    /// The number of the entry that accepted the run; its events have this number or a higher one.
    pub accepted: Seq,
    /// When the run was accepted, in milliseconds since 1970.
    pub accepted_at: i64,
    /// Active time without pauses, in milliseconds.
    pub active_ms: u64,
    /// Why the run failed.
    pub failure: Option<RunFailure>,
    /// The last number of the journal.
    pub last: Seq,
    /// The labels of the session.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The context of the run as JSON, if it is stored; see [`RunOptions::context`](crate::RunOptions::context).
    pub context: Option<Value>,
    /// Location of the latest run, as known to this process.
    pub location: RunLocation,
    /// Set while this process tries to open the session again after a failure of the store.
    pub reopening: Option<Reopening>,
}

/// State of a session as JSON, with the tasks that its run is at.
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
/// session.run(&graph, Count::update()).await?;
/// let view = session.state_and_active_tasks().await?;
/// assert_eq!(view.state["n"], 1);
/// assert!(view.active_tasks.is_empty());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct StateView {
    /// The state as of the last committed superstep.
    pub state: Value,
    /// Tasks of the outermost graph that are executing, wait for an answer, or were stopped or failed; empty after the
    /// end of the run.
    pub active_tasks: Vec<TaskId>,
}

/// Location of a run, as known to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunLocation {
    /// Tasks of this process execute the run, or wait in memory for an answer.
    InMemory,
    /// No task of this process executes the run. A `running` one is executed by another process or waits for
    /// [`Runtime::recover`](super::Runtime::recover); a `paused` one waits for an answer.
    Journal,
}

/// Failure of a run, as stored in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunFailure {
    /// The error code.
    pub code: String,
    /// The error message.
    pub message: String,
    /// The node that failed.
    pub node: Option<String>,
}

impl From<Failure> for RunFailure {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, message: failure.message, node: failure.node }
    }
}

impl Session {
    /// Returns the status of the session.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
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
    /// session.run(&graph, Greeting::update()).await?;
    /// let status = session.status().await?;
    /// assert_eq!(status.status, RunStatus::Paused);
    /// assert_eq!(status.questions[0].question.prompt, "Name?");
    /// # Ok(()) }
    /// ```
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
                questions: env
                    .pending_questions
                    .open()
                    .iter()
                    .map(|open| OpenQuestion::clone(open))
                    .collect(),
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
                context: env.context.as_ref().and_then(|context| context.json()),
                location: RunLocation::InMemory,
                reopening: None,
            });
        }
        self.status_from_journal().await
    }

    /// Returns the run that the request of this name started or queued ([`RunOptions::request`](super::RunOptions::request)), as
    /// far as the journal has it and the session remembers it.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`], and errors of the store; [`SessionError::CannotResume`] without a store.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunOptions, Runtime, START, State, journal::InMemoryJournal};
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
    /// session.run(&graph, Count::update()).options(RunOptions::default().request("order-7")).await?;
    /// assert_eq!(session.run_of_request("order-7").await?.map(|run| run.0), Some(1));
    /// assert_eq!(session.run_of_request("order-8").await?, None);
    /// # Ok(()) }
    /// ```
    pub async fn run_of_request(&self, name: &str) -> Result<Option<RunId>, SessionError> {
        let projection = self.peek().await?;
        let found = projection.requests.iter().rev().find(|(known, _)| is_request(known, name));
        Ok(found.map(|(_, run)| *run))
    }

    /// Waits for a run that ends or pauses, at most [`STATUS_WAIT`]: a subscriber that has seen the end or pause must not
    /// get an older status.
    pub(super) async fn wait_published(&self, live: &cell::LiveRun) {
        let env = &live.env;
        let ends = env.control.is_closed();
        // Without an open question, the answer that is being stored lets it continue.
        let pauses = live.phase() == Phase::Pausing && env.pending_questions.any_open();
        if !ends && !pauses {
            return;
        }
        let reported = async {
            match ends {
                true => live.watch.wait_removed().await,
                false => drop(live.watch.subscribe().wait().await),
            }
        };
        if tokio::time::timeout(STATUS_WAIT, reported).await.is_err() {
            tracing::debug!(session = %self.id(), "an end or a pause takes long to be stored");
        }
    }

    pub(super) fn status_of(&self, projection: Projection) -> SessionStatus {
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
            failure: projection.failure.map(|failure| (*failure).into()),
            last: projection.last,
            labels: projection.labels,
            context: projection.context.and_then(|context| context.json()),
            location: RunLocation::Journal,
            reopening: None,
        }
    }

    /// Returns the state as of the last committed superstep, as JSON.
    ///
    /// # Errors
    ///
    /// Returns [`SessionError::NotFound`], [`SessionError::GraphNotFound`], [`SessionError::CannotResume`] during a run
    /// without a store, or an error if the stored state cannot be decoded.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
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
    /// session.run(&graph, Count::update()).await?;
    /// assert_eq!(session.state_json().await?, json!({ "n": 1 }));
    /// # Ok(()) }
    /// ```
    pub async fn state_json(&self) -> Result<Value, SessionError> {
        Ok(self.state_and_active_tasks().await?.state)
    }

    /// Returns the state as JSON and the tasks that the run is at. Reads the journal once.
    ///
    /// # Errors
    ///
    /// As [`state_json`](Session::state_json).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
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
    /// let view = session.state_and_active_tasks().await?;
    /// assert_eq!(view.active_tasks[0].to_string(), "ask#1");
    /// # Ok(()) }
    /// ```
    pub async fn state_and_active_tasks(&self) -> Result<StateView, SessionError> {
        self.check_readable()?;
        let (projection, state) = self.peek_with_state().await?;
        let tasks = projection.root.unfinished();
        let graph = self.graph_to_read(&projection.graph)?;
        let bytes = projection.root.state_bytes().max(state.as_ref().map_or(0, |_| self.cell.footprint()));
        let state = compute(bytes, move || graph.state_json(&projection, state)).await?;
        Ok(StateView { state, active_tasks: tasks })
    }

    /// Returns a copy of the state as of the last committed superstep.
    ///
    /// # Errors
    ///
    /// See [`state_json`](Session::state_json).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
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
    /// let count: Count = session.state().await?;
    /// assert_eq!(count.n, 1);
    /// # Ok(()) }
    /// ```
    pub async fn state<S: State>(&self) -> Result<S, SessionError> {
        self.check_readable()?;
        let (projection, state) = self.peek_with_state().await?;
        match state.and_then(|state| state.downcast::<S>().ok()) {
            // A state that JSON cannot express (NaN of a custom reducer) is folded from the journal.
            Some(state) => match (super::run_input::copy_state(&*state), &self.shared.store) {
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

    /// Returns the projection of the session without acquiring its lease.
    pub(crate) async fn peek(&self) -> Result<Projection, SessionError> {
        Ok(self.peek_with_state().await?.0)
    }

    /// Without a journal, the state of a run in memory cannot be read.
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
            if let Some(idle) = &inner.idle
                && (self.shared.store.is_none() || idle.state.is_some())
            {
                let state = idle.state.clone();
                return Ok((idle.projection.without_state(), state));
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
        // If it was deleted in the meantime, the store may have returned a later session of the same id.
        self.cell.check_exists()?;
        Ok((projection?.ok_or_else(not_found)?, None))
    }
}
