//! A session in memory: event broadcast, pending questions, queue, and the run while there is one.

use std::{any::Any, sync::Arc};

use parking_lot::Mutex;

use super::{
    Reopening, SessionError,
    dyn_graph::DynGraph,
    phase::{Effect, Phase, PhaseEvent},
    reopen::LostRun,
    run_queue::{QueuedRun, RunQueue},
    run_watch::{RunResult, RunSender},
    runtime::Shared,
};
use crate::{
    engine::{RunContext, journal_writer::JournalWriter},
    event::{EventBroadcast, ObserverCells},
    ids::{RunId, Seq, SessionId},
    interrupt::PendingQuestions,
    journal::{
        Lease, StoreError, Summary,
        entry::{Fact, Queued},
        projection::Projection,
    },
    run::RunStatus,
};

pub(crate) struct SessionCell {
    pub(crate) id: SessionId,
    pub(crate) broadcast: Arc<EventBroadcast>,
    pub(crate) pending_questions: Arc<PendingQuestions>,
    /// Held by commands that change the session, so that they run one after another.
    pub(crate) command_lock: Arc<tokio::sync::Mutex<()>>,
    pub(crate) inner: Mutex<Inner>,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) writer: Option<(Arc<JournalWriter>, Option<Lease>)>,
    pub(crate) live: Option<Arc<LiveRun>>,
    /// Cached projection while no run is in memory.
    pub(crate) idle: Option<IdleProjection>,
    pub(crate) queue: RunQueue,
    /// The graph of the latest run that was in memory: an unfinished run continues with it.
    pub(crate) graph: Option<Arc<dyn DynGraph>>,
    /// The run that ended because its store failed, until it continues.
    pub(crate) lost: Option<Box<LostRun>>,
    /// The task that opens the session again, while there is one.
    pub(crate) reopening: Option<Reopening>,
    /// The next run that is resumed waits for a slot.
    pub(crate) in_line: bool,
    /// The context of the latest run in this process, if it cannot be stored.
    pub(crate) transient: Option<Arc<dyn Any + Send + Sync>>,
}

impl Inner {
    /// Returns whether this process writes the session.
    pub(crate) fn holds(&self) -> bool {
        self.writer.as_ref().is_some_and(|(writer, _)| !writer.has_failed())
    }
}

/// Cached projection and state of an idle session, so that the next run need not read the journal.
pub(crate) struct IdleProjection {
    /// Boxed, because it is moved often.
    pub(crate) projection: Box<Projection>,
    /// `Arc<S>`. When it is there, `projection.root` holds neither base nor updates.
    pub(crate) state: Option<Arc<dyn Any + Send + Sync>>,
}

/// A run in memory.
pub(crate) struct LiveRun {
    pub(crate) env: Arc<RunContext>,
    pub(crate) graph: Arc<str>,
    pub(crate) accepted: Seq,
    pub(crate) accepted_at: i64,
    /// Named requests that were accepted up to this run.
    pub(crate) requests: Arc<Vec<(String, RunId)>>,
    /// The highest number of a run when this one began.
    pub(crate) runs: RunId,
    pub(crate) watch: RunSender,
    /// It waits for a slot before it begins; a run that continues after an answer does not.
    pub(crate) waits: bool,
}

impl LiveRun {
    pub(crate) fn run(&self) -> RunId {
        self.env.run
    }

    /// Ends the run at its next superstep, to be resumed by another process.
    pub(crate) fn drain_for_restart(&self) {
        self.env.control.drain_for_restart();
    }

    /// Ends the run at once, to be resumed by another process.
    pub(crate) fn stop_for_restart(&self) {
        self.env.control.stop_for_restart();
    }

    pub(crate) fn status(&self) -> RunStatus {
        self.watch.status()
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.status(), !self.env.control.is_idle())
    }

    /// Applies an event to the phase of the run and publishes the change. Returns the effect.
    ///
    /// The lock of the cell is held, so that a pause and an answer that arrive together see each other.
    pub(super) fn apply(&self, _lock: &Inner, event: PhaseEvent) -> Effect {
        let runnable = !self.env.control.is_idle();
        let (_, effect) = Phase::of(self.status(), runnable).next(event, runnable);
        match effect {
            Effect::Suspend | Effect::UpdateQuestions => {
                self.env.control.pause_clock();
                // Some questions may have been answered in the meantime.
                let questions = self.env.pending_questions.open();
                self.watch.send(Some(Arc::new(RunResult { questions, ..self.result(RunStatus::Paused) })));
            }
            Effect::Resume => {
                self.env.control.resume_clock();
                self.watch.send(None);
            }
            Effect::Evict | Effect::None => {}
        }
        effect
    }

    /// Returns a result with the todos and the usage of the run.
    pub(super) fn result(&self, status: RunStatus) -> RunResult {
        let env = &self.env;
        RunResult {
            todos: env.todos.lock().items().to_vec(),
            used: env.budget.used(),
            active_ms: env.control.active_ms(),
            ..RunResult::new(status, None)
        }
    }
}

impl SessionCell {
    pub(crate) fn new(id: SessionId, observed: Arc<ObserverCells>) -> Self {
        Self {
            broadcast: Arc::new(EventBroadcast::new(id.clone(), observed)),
            id,
            pending_questions: Arc::default(),
            command_lock: Arc::default(),
            inner: Mutex::default(),
        }
    }

    /// Returns whether the session was deleted. A later session of the same id has another cell.
    pub(crate) fn is_deleted(&self) -> bool {
        self.broadcast.is_closed()
    }

    /// Fails if the session was deleted.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`].
    pub(crate) fn check_exists(&self) -> Result<(), SessionError> {
        if self.is_deleted() { Err(SessionError::NotFound { session: self.id.clone() }) } else { Ok(()) }
    }

    /// Returns whether this process writes the session.
    pub(crate) fn is_held(&self) -> bool {
        self.inner.lock().holds()
    }

    pub(crate) fn live(&self) -> Option<Arc<LiveRun>> {
        self.inner.lock().live.clone()
    }

    /// Returns the number of the next run; `runs` is the highest one in the journal.
    pub(crate) fn next_run(&self, runs: RunId) -> RunId {
        RunId(runs.max(self.inner.lock().queue.last()).0 + 1)
    }

    /// Appends a queued run to the journal and adds it to the queue, in the same order.
    pub(crate) fn enqueue(
        &self,
        writer: &JournalWriter,
        run: RunId,
        queued: Queued,
        graph: Arc<dyn DynGraph>,
        watch: RunSender,
    ) -> Result<Seq, StoreError> {
        let fact = Fact::RunQueued(Box::new(queued.clone()));
        // Without a store, observers are called here, and no snapshot is kept: not under the lock.
        let first = if writer.is_durable() { None } else { Some(writer.push(run, [fact.clone()])?) };
        let mut inner = self.inner.lock();
        let seq = match first {
            Some(seq) => seq,
            None => writer.push(run, [fact])?,
        };
        inner.queue.push(QueuedRun { run, seq, queued, graph: Some(graph), watch });
        Ok(seq)
    }

    /// Removes a run from the queue and returns its sender.
    pub(crate) fn remove_queued(&self, run: RunId) -> Option<RunSender> {
        Some(self.inner.lock().queue.remove(run)?.watch)
    }

    /// Returns the estimated size of an idle session in memory, in bytes; 0 if nothing is cached or there is no store.
    pub(crate) fn footprint(&self) -> usize {
        let inner = self.inner.lock();
        let writer = inner.idle.as_ref().and(inner.writer.as_ref());
        writer.map_or(0, |(writer, _)| usize::try_from(writer.footprint()).unwrap_or(usize::MAX))
    }

    /// Evicts the cached projection: the next use reads the store. Returns `None` while the session is in use.
    pub(crate) fn evict_idle(&self) -> Option<IdleProjection> {
        let _lock = self.command_lock.try_lock().ok()?;
        let mut inner = self.inner.lock();
        if inner.live.is_some() || !inner.writer.as_ref().is_some_and(|(writer, _)| writer.is_durable()) {
            return None;
        }
        inner.idle.take()
    }

    /// Returns the context of the latest run in this process, if it cannot be stored.
    pub(crate) fn transient(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.inner.lock().transient.clone()
    }

    /// Returns whether the cell can be evicted: everything it has is in the store.
    pub(crate) fn is_evictable(&self) -> bool {
        let inner = self.inner.lock();
        inner.live.is_none()
            && inner.queue.is_empty()
            && inner.lost.is_none()
            && inner.reopening.is_none()
            && !self.broadcast.is_watched()
    }

    pub(super) fn writer(&self, shared: &Shared, lease: Option<&Lease>, last: Seq) -> Arc<JournalWriter> {
        let store = if lease.is_some() { shared.store.clone() } else { None };
        let epoch = lease.map(|lease| lease.epoch).unwrap_or_default();
        let stored = store.is_some();
        let (broadcast, clock, group) =
            (Arc::clone(&self.broadcast), Arc::clone(&shared.clock), shared.group.clone());
        let writer = JournalWriter::new(store, epoch, last, broadcast, clock, group);
        Arc::new(match stored {
            true => writer.with_retry(shared.options.store_retry, shared.on_failure(&self.id)),
            false => writer,
        })
    }

    /// Caches the projection of an idle session; `None`: the next use reads the store.
    pub(super) fn set_idle(&self, idle: Option<IdleProjection>) {
        self.inner.lock().idle = idle;
    }

    /// As [`set_idle`](Self::set_idle), after the entry `seq`: the projection, or the journal, has what was queued until then.
    pub(super) fn set_idle_as_of(&self, seq: Seq, idle: Option<IdleProjection>) {
        let mut inner = self.inner.lock();
        inner.queue.forget_requests_until(seq);
        inner.idle = idle;
    }

    /// Drops writer and cached projection, so that the next use reads the store.
    pub(crate) fn invalidate(&self) {
        let mut inner = self.inner.lock();
        inner.writer = None;
        inner.idle = None;
    }
}

/// Returns the summary of a projection.
pub(super) fn summary_of(projection: &Projection) -> Summary {
    Summary::new(&*projection.graph, projection.status.as_str(), projection.run, projection.last_at)
        .with_questions(&projection.open)
}
