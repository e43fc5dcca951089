//! One conversation, one writer: starting, watching, answering, stopping and resuming its runs.

mod conduct;
mod erased;
mod error;
mod expire;
mod handle;
mod history;
mod launch;
mod options;
mod queue;
mod runtime;
mod settled;
mod slot;
mod why;

pub use error::SessionError;
pub use handle::{EventStream, Run};
pub use history::Checkpoint;
pub use options::{BusyPolicy, Retention, RunOptions, RuntimeOptions};
pub use runtime::{Recovered, Runtime, RuntimeBuilder, SessionInfo};
pub use why::{Cause, CauseKind};

use std::{collections::BTreeMap, fmt, sync::Arc, sync::atomic::Ordering, time::Duration};

use serde_json::Value;

use self::launch::Waits;
use crate::{
    engine::{Limits, Used},
    graph::Graph,
    ids::{RunId, Seq, SessionId, TaskId},
    interrupt::{AnswerError, Answers, OpenQuestion},
    journal::{
        Summary,
        entry::{Answered, Fact, Failure},
        fold,
        image::Image,
    },
    run::{RunOutcome, RunStatus},
    state::{Input, State},
    todo::Todo,
};
use runtime::Shared;
use slot::Slot;

/// How long a status waits for a run that is being closed. Longer only where the store is slow.
const ENDING: Duration = Duration::from_secs(1);

/// One durable conversation or task. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slot: Arc<Slot>,
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
    /// Its plan.
    pub todos: Vec<Todo>,
    /// What is asked.
    pub questions: Vec<OpenQuestion>,
    /// What it used up.
    pub used: Used,
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
        &self.slot.id
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
    pub async fn run_with<S: State>(
        &self,
        graph: &Graph<S>,
        input: impl Into<Input<S>>,
        options: RunOptions,
    ) -> Result<RunOutcome<S>, SessionError> {
        self.accept(graph, input.into(), options, Waits::Yes).await?.outcome().await
    }

    /// Starts a run and returns its events, from its acceptance to its end or pause.
    ///
    /// # Errors
    ///
    /// See [`start`](Session::start).
    pub async fn stream<S: State>(
        &self,
        graph: &Graph<S>,
        input: impl Into<Input<S>>,
        options: RunOptions,
    ) -> Result<EventStream, SessionError> {
        let events = self.subscribe(None);
        let run = self.accept(graph, input.into(), options, Waits::No).await?;
        Ok(EventStream::new(run, events))
    }

    /// Starts a run. When this returns, the run is accepted for good: it is stored, and a process that dies now
    /// leaves it to the next one (unless the durability is [`Exit`](crate::engine::Durability::Exit)).
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] and its like; [`SessionError::InvalidInput`] when the input cannot be applied.
    /// Nothing has changed then.
    pub async fn start<S: State>(
        &self,
        graph: &Graph<S>,
        input: impl Into<Input<S>>,
        options: RunOptions,
    ) -> Result<Run, SessionError> {
        self.accept(graph, input.into(), options, Waits::No).await
    }

    /// As [`start`](Session::start), for a graph known by name and an update as JSON.
    ///
    /// # Errors
    ///
    /// See [`start`](Session::start), and [`SessionError::GraphNotFound`].
    pub async fn start_json(
        &self,
        graph: &str,
        update: Value,
        options: RunOptions,
    ) -> Result<Run, SessionError> {
        self.shared.graph(graph)?.start(self, update, options, Waits::No).await
    }

    /// As [`start_json`](Session::start_json), for a caller that says nothing to anybody before the run is at rest: a
    /// short run is at rest when this returns, and what was accepted is stored together with what came of it. Wait
    /// with [`Run::rest`].
    ///
    /// # Errors
    ///
    /// See [`start_json`](Session::start_json).
    pub async fn run_json(
        &self,
        graph: &str,
        update: Value,
        options: RunOptions,
    ) -> Result<Run, SessionError> {
        self.shared.graph(graph)?.start(self, update, options, Waits::Yes).await
    }

    /// Goes on with a run that was stopped, failed, or lost its process: from its last commit, executing only what
    /// is unfinished.
    ///
    /// # Errors
    ///
    /// [`SessionError::NothingToDo`] when it is running, waits for answers or is completed;
    /// [`RunError::GraphChanged`](crate::engine::RunError::GraphChanged) with what is missing.
    pub async fn resume(&self) -> Result<Run, SessionError> {
        let image = self.peek().await?;
        self.shared.graph(&image.graph)?.resume(self, None).await
    }

    /// As [`resume`](Session::resume), with what the run may use from now on (a limit it came to, raised).
    ///
    /// # Errors
    ///
    /// See [`resume`](Session::resume).
    pub async fn resume_with(&self, limits: Limits) -> Result<Run, SessionError> {
        let image = self.peek().await?;
        self.shared.graph(&image.graph)?.resume(self, Some(limits)).await
    }

    /// Answers open questions. Accepted answers are stored before this returns, and the run goes on.
    ///
    /// # Errors
    ///
    /// [`AnswerError`]; nothing has changed then.
    pub async fn answer(&self, answers: Answers) -> Result<Run, SessionError> {
        self.answer_as(answers, "somebody").await
    }

    /// As [`answer`](Session::answer), with who answers (at most 200 characters are kept).
    ///
    /// # Errors
    ///
    /// See [`answer`](Session::answer).
    pub async fn answer_as(&self, answers: Answers, by: &str) -> Result<Run, SessionError> {
        let by = crate::text::shorten(by, 200);
        let _door = self.slot.door.lock().await;
        if let Some(live) = self.slot.live() {
            let taken = self.slot.board.take(answers, &by)?;
            let facts = answered_facts(&self.slot, &taken, &by);
            let env = &live.env;
            // Idle: it pauses, and only the note that says so is on its way.
            let pauses = live.status() == RunStatus::Paused || env.control.is_idle();
            let waits = pauses && !self.slot.board.frees(&taken);
            let status = if waits { RunStatus::Paused } else { RunStatus::Running };
            let open = if waits { self.slot.board.open().len() } else { 0 };
            let summary = conduct::summary(&self.shared, &live, status).questions(open);
            let stored = match env.writer.push_with(env.run, facts, Some(summary)) {
                Ok(seq) => env.writer.stored(seq).await,
                Err(error) => Err(error),
            };
            if let Err(error) = stored {
                self.slot.board.put_back(&taken);
                return Err(error.into());
            }
            // Under the slot's lock, as is the notice of a pause: one of the two sees the other.
            let _inner = self.slot.inner.lock();
            self.slot.board.deliver(taken, &by);
            if live.status() == RunStatus::Paused {
                if env.control.is_idle() {
                    let questions = self.slot.board.open();
                    let paused = settled::Settled {
                        status: RunStatus::Paused,
                        questions,
                        state: None,
                        supersteps: 0,
                        error: None,
                    };
                    live.settled.tell(Some(Arc::new(paused)));
                } else {
                    env.control.go_on();
                    live.settled.tell(None);
                }
            }
            return Ok(Run::of(self.clone(), &live));
        }
        self.answer_at_rest(answers, &by).await
    }

    /// Answers a run that is not in memory, and takes it up.
    async fn answer_at_rest(&self, answers: Answers, by: &str) -> Result<Run, SessionError> {
        if self.shared.store.is_none() {
            return Err(match self.slot.inner.lock().rest {
                Some(_) => AnswerError::NothingAsked.into(),
                None => SessionError::NotFound { session: self.id().clone() },
            });
        }
        let (writer, mut resting) = self.slot.open(&self.shared).await?;
        let result = self.answer_resting(&writer, &mut resting, answers, by).await;
        match result {
            Ok(graph) => {
                self.slot.inner.lock().rest = Some(resting);
                graph.resume_held(self).await
            }
            Err(error) => {
                self.slot.inner.lock().rest = Some(resting);
                Err(error)
            }
        }
    }

    async fn answer_resting(
        &self,
        writer: &Arc<crate::journal::writer::Writer>,
        resting: &mut slot::Resting,
        answers: Answers,
        by: &str,
    ) -> Result<Arc<dyn erased::DynGraph>, SessionError> {
        let image = &mut resting.image;
        if image.last == Seq::ZERO {
            return Err(SessionError::NotFound { session: self.id().clone() });
        }
        if !image.status.is_busy() && !image.open.is_empty() {
            return Err(AnswerError::NotWaiting { status: image.status.to_string() }.into());
        }
        let open = if image.status.is_busy() { image.open.clone() } else { Vec::new() };
        self.slot.board.restore(open, &image.answered);
        let taken = self.slot.board.take(answers, by)?;
        // Before anything is stored: an answer must not vanish into a run that nobody can take up.
        let graph = self.shared.graph(&image.graph)?;
        graph.check(image)?;
        let facts: Vec<Fact> = answered_facts(&self.slot, &taken, by);
        let now = self.shared.clock.now_ms();
        let waits = image.status == RunStatus::Paused && !self.slot.board.frees(&taken);
        let status = if waits { RunStatus::Paused } else { RunStatus::Running };
        let open = if waits { self.slot.board.open().len() } else { 0 };
        let summary = Summary::new(&*image.graph, status.as_str(), image.run, now).questions(open);
        let seq = writer.push_with(image.run, facts.clone(), Some(summary))?;
        if let Err(error) = writer.stored(seq).await {
            self.slot.forget();
            return Err(error.into());
        }
        let first = seq.0 + 1 - facts.len() as u64;
        for (at, fact) in facts.into_iter().enumerate() {
            let seq = Seq(first + at as u64);
            image.take(crate::journal::entry::Entry { seq, at: now, run: image.run, fact });
        }
        self.slot.board.deliver(taken, by);
        Ok(graph)
    }

    /// Stops the run: its tasks are given a grace time if they listen, else dropped; todos in progress become
    /// cancelled. Ready when nothing of it is left in memory. A paused run that is not in memory is marked as stopped.
    ///
    /// # Errors
    ///
    /// [`SessionError::NothingToDo`] when no run is running or paused.
    pub async fn stop(&self) -> Result<RunStatus, SessionError> {
        let _door = self.slot.door.lock().await;
        self.stop_held().await
    }

    pub(crate) async fn stop_held(&self) -> Result<RunStatus, SessionError> {
        if let Some(live) = self.slot.live() {
            live.env.control.stop.cancel();
            return Ok(self.wait_gone(&live).await);
        }
        self.mark_stopped().await
    }

    /// Ends the run at its next superstep's boundary, to be resumed later. Ready when nothing of it is left.
    ///
    /// # Errors
    ///
    /// As [`stop`](Session::stop).
    pub async fn drain(&self) -> Result<RunStatus, SessionError> {
        let _door = self.slot.door.lock().await;
        if let Some(live) = self.slot.live() {
            live.env.control.drain.store(true, Ordering::Release);
            live.env.control.idle.notify_one();
            return Ok(self.wait_gone(&live).await);
        }
        self.mark_stopped().await
    }

    async fn wait_gone(&self, live: &slot::LiveRun) -> RunStatus {
        live.settled.gone().await;
        live.status()
    }

    /// A run that is not in memory is stopped by saying so.
    async fn mark_stopped(&self) -> Result<RunStatus, SessionError> {
        let nothing = |status| SessionError::NothingToDo { session: self.id().clone(), status, verb: "stop" };
        let status = self.peek().await?.status;
        if !status.is_busy() {
            return Err(nothing(status));
        }
        let (writer, mut resting) = self.slot.open(&self.shared).await?;
        let image = &mut resting.image;
        let changed = image.todos.settle(crate::todo::TodoStatus::Cancelled, "stopped");
        let mut facts: Vec<Fact> = conduct::todo_facts(changed).collect();
        let closing = self.closing(image);
        facts.push(Fact::RunStopped(crate::journal::entry::Stopped { drained: false, closing }));
        let summary = self.summary_at_rest(&image.graph, RunStatus::Stopped, image.run);
        let seq = writer.push_with(image.run, facts, Some(summary))?;
        self.slot.forget();
        writer.stored(seq).await?;
        self.shared.run_ended(&self.slot);
        Ok(RunStatus::Stopped)
    }

    /// Where the session stands.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`].
    pub async fn status(&self) -> Result<SessionStatus, SessionError> {
        if let Some(live) = self.slot.live() {
            self.until_told(&live).await;
        }
        if let Some(live) = self.slot.live() {
            let env = &live.env;
            let settled = live.settled.settled();
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
                failure: settled.and_then(|settled| settled.error.clone()).map(|error| RunFailure {
                    code: error.code().to_string(),
                    message: error.report(),
                    node: error.node().map(str::to_owned),
                }),
                last: env.writer.last(),
                labels: env.writer.labels(),
            });
        }
        Ok(self.status_of(self.peek().await?))
    }

    /// Subscribers hear of an end, or a pause, when it is stored; who asks upon that must not find the run before it.
    async fn until_told(&self, live: &slot::LiveRun) {
        let env = &live.env;
        let ends = env.control.is_closed();
        let pauses =
            !ends && live.status() == RunStatus::Running && env.board.any_open() && env.control.is_idle();
        if !ends && !pauses {
            return;
        }
        let told = async {
            match ends {
                true => live.settled.gone().await,
                false => drop(live.settled.listener().rest().await),
            }
        };
        if tokio::time::timeout(ENDING, told).await.is_err() {
            tracing::debug!(session = %self.id(), "an end or a pause takes long to be stored");
        }
    }

    fn status_of(&self, image: Image) -> SessionStatus {
        let busy = image.status.is_busy();
        SessionStatus {
            session: self.id().clone(),
            run: image.run,
            status: image.status,
            graph: image.graph.to_string(),
            todos: image.todos.items().to_vec(),
            questions: if busy { image.open } else { Vec::new() },
            used: image.used,
            accepted: image.accepted,
            accepted_at: image.accepted_at,
            active_ms: image.active_ms,
            failure: image.failure.map(Into::into),
            last: image.last,
            labels: image.labels,
        }
    }

    /// The state as of the last committed superstep, as JSON.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`], [`SessionError::GraphNotFound`], [`SessionError::CannotResume`] during a run
    /// without a store, or what is stored cannot be read.
    pub async fn state_json(&self) -> Result<Value, SessionError> {
        Ok(self.place_json().await?.0)
    }

    /// The state as [`state_json`](Session::state_json) has it, and the tasks of the outermost graph that the run is at: at
    /// work, waiting for a person, or where it was stopped or has failed. None after its end. Both of one reading of the
    /// journal.
    ///
    /// # Errors
    ///
    /// As [`state_json`](Session::state_json).
    pub async fn place_json(&self) -> Result<(Value, Vec<TaskId>), SessionError> {
        self.check_readable()?;
        let (image, state) = self.peek_with_state().await?;
        let tasks = image.root.unfinished();
        Ok((self.shared.graph(&image.graph)?.state_json(&image, state)?, tasks))
    }

    /// The state as of the last committed superstep: a copy.
    ///
    /// # Errors
    ///
    /// See [`state_json`](Session::state_json).
    pub async fn state<S: State>(&self) -> Result<S, SessionError> {
        self.check_readable()?;
        let (image, state) = self.peek_with_state().await?;
        match state.and_then(|state| state.downcast::<S>().ok()) {
            Some(state) => launch::copy_state(&*state).map_err(Into::into),
            None => Ok(crate::engine::read_state::<S>(&image.root)?),
        }
    }

    /// Events: everything after a number from the journal and then what happens, or only what happens from now on.
    pub fn subscribe(&self, after: Option<Seq>) -> crate::event::Subscription {
        let keep: Arc<dyn Send + Sync> = Arc::clone(&self.slot) as _;
        self.slot.feed.subscribe(self.shared.store.clone(), after).keeping(keep)
    }

    /// Removes the session with everything it has.
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] while a run is in memory; [`SessionError::NotFound`].
    pub async fn delete(&self) -> Result<(), SessionError> {
        let _door = self.slot.door.lock().await;
        if let Some(live) = self.slot.live() {
            return Err(self.busy(live.run(), live.status()));
        }
        let known = self.slot.inner.lock().rest.is_some();
        self.slot.forget();
        self.slot.board.clear();
        self.slot.inner.lock().queue.clear();
        let deleted = match &self.shared.store {
            Some(store) => store.delete(self.id()).await?,
            None => known,
        };
        if deleted { Ok(()) } else { Err(SessionError::NotFound { session: self.id().clone() }) }
    }

    pub(crate) fn busy(&self, run: RunId, status: RunStatus) -> SessionError {
        SessionError::Busy { session: self.id().clone(), run, status }
    }

    /// Where the session stands by the journal, without becoming its writer.
    pub(crate) async fn peek(&self) -> Result<Image, SessionError> {
        Ok(self.peek_with_state().await?.0)
    }

    /// Without a journal the state of a run that is not at rest is the run's own.
    fn check_readable(&self) -> Result<(), SessionError> {
        match (&self.shared.store, self.slot.live()) {
            (None, Some(_)) => Err(SessionError::CannotResume { session: self.id().clone() }),
            _ => Ok(()),
        }
    }

    async fn peek_with_state(
        &self,
    ) -> Result<(Image, Option<Arc<dyn std::any::Any + Send + Sync>>), SessionError> {
        let not_found = || SessionError::NotFound { session: self.id().clone() };
        {
            let inner = self.slot.inner.lock();
            if let Some(rest) = &inner.rest
                && (self.shared.store.is_none() || rest.state.is_some())
            {
                let state = rest.state.clone();
                return Ok((rest.image.outline(), state));
            }
            if let (Some(live), None) = (&inner.live, &self.shared.store) {
                let mut image = Image {
                    graph: Arc::clone(&live.graph),
                    run: live.run(),
                    labels: live.env.writer.labels(),
                    ..Image::default()
                };
                image.status = live.status();
                return Ok((image, None));
            }
        }
        let Some(store) = &self.shared.store else { return Err(not_found()) };
        if let Some(live) = self.slot.live() {
            live.env.writer.all_stored().await?;
        }
        let image = fold(&**store, self.id(), Seq(u64::MAX >> 1)).await?.ok_or_else(not_found)?;
        Ok((image, None))
    }
}

fn answered_facts(slot: &Slot, taken: &[(crate::ids::QuestionId, Value)], by: &str) -> Vec<Fact> {
    taken
        .iter()
        .filter_map(|(id, value)| {
            let task = slot.board.task_of(id)?;
            Some(Fact::QuestionAnswered(Answered {
                id: id.clone(),
                task,
                value: value.clone(),
                by: by.to_owned(),
            }))
        })
        .collect()
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", self.id()).finish_non_exhaustive()
    }
}
