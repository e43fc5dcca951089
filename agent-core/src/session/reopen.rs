//! Recovery from store failures: a run that cannot write its journal ends, and continues when the store works again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    RunFailure, RunLocation, Runtime, Session, SessionError, SessionStatus,
    cell::{LiveRun, SessionCell},
    run_watch::RunResult,
    runtime::Shared,
    takeover::Resumption,
};
use crate::{
    clock::millis,
    engine::{RunError, journal_writer::OnFailure},
    event::{EventBody, payload},
    ids::SessionId,
    journal::StoreError,
    run::RunStatus,
};

/// First and longest wait between attempts to open a session again.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// State of the background task that opens a session again after a store failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reopening {
    /// Number of attempts so far.
    pub attempts: u32,
    /// Time of the next attempt, in milliseconds since 1970.
    pub next_at: i64,
    /// Error of the last attempt, or of the append before it.
    pub error: String,
}

/// Status of a run as of the failure of its store.
pub(crate) struct LostRun(SessionStatus);

impl LostRun {
    /// Captures the status of a run that cannot write its journal. `None` if another process writes the journal now.
    pub(super) fn of(cell: &SessionCell, live: &LiveRun, result: &RunResult) -> Option<Box<Self>> {
        let env = &live.env;
        match env.writer.failure()? {
            StoreError::StaleWriter { .. }
            | StoreError::Conflict { .. }
            | StoreError::NotFound { .. }
            | StoreError::Leased { .. } => None,
            _ => Some(Box::new(Self(SessionStatus {
                session: cell.id.clone(),
                run: live.run(),
                status: result.status,
                graph: live.graph.to_string(),
                todos: env.todos.lock().items().to_vec(),
                questions: result.open_questions(),
                used: env.budget.used(),
                accepted: live.accepted,
                accepted_at: live.accepted_at,
                active_ms: env.control.active_ms(),
                failure: result.error.as_deref().map(Into::into),
                last: env.writer.last(),
                labels: env.writer.labels(),
                context: env.context.as_ref().and_then(|context| context.json()),
                location: RunLocation::Journal,
                reopening: None,
            }))),
        }
    }

    /// Publishes the end of the run as an unnumbered event, because the journal does not have it.
    pub(super) fn show(&self, live: &LiveRun) {
        if let Some(failure) = &self.0.failure {
            let (code, message) = (failure.code.clone(), failure.message.clone());
            let body = EventBody::RunFailed(payload::RunFailed { code, message, node: failure.node.clone() });
            live.env.emit_ephemeral(None, body);
        }
    }
}

impl From<&RunError> for RunFailure {
    fn from(error: &RunError) -> Self {
        Self {
            code: error.code().to_string(),
            message: error.report(),
            node: error.node().map(str::to_owned),
        }
    }
}

impl Session {
    /// Returns the status of a session without a run in memory: that of the journal, except for a run that this process
    /// lost and that the journal still has as running.
    pub(super) async fn status_from_journal(&self) -> Result<SessionStatus, SessionError> {
        let read = self.peek().await;
        let inner = self.cell.inner.lock();
        let kept = |lost: &LostRun| SessionStatus { reopening: inner.reopening.clone(), ..lost.0.clone() };
        match (read, &inner.lost) {
            (Ok(projection), Some(lost)) if projection.run < lost.0.run => Ok(kept(lost)),
            (Ok(projection), Some(lost))
                if projection.run == lost.0.run && projection.status == RunStatus::Running =>
            {
                let last = projection.last;
                let status = match lost.0.status {
                    // It was lost while it was paused, and the journal has an answer that was being stored.
                    RunStatus::Paused => self.status_of(projection),
                    _ => SessionStatus { last, ..kept(lost) },
                };
                Ok(SessionStatus { reopening: inner.reopening.clone(), ..status })
            }
            (Ok(projection), _) => {
                Ok(SessionStatus { reopening: inner.reopening.clone(), ..self.status_of(projection) })
            }
            (Err(SessionError::NotFound { .. } | SessionError::Store(_)), Some(lost)) => Ok(kept(lost)),
            (Err(error), _) => Err(error),
        }
    }

    /// Returns the run in memory. Waits for a run that writes its last entries (a subscriber may have seen its end and start
    /// the next run at once), and for a run that cannot write its journal.
    pub(super) async fn live_run(&self) -> Option<Arc<LiveRun>> {
        let live = self.cell.live()?;
        if !live.env.writer.has_failed() && !live.env.control.is_closed() {
            return Some(live);
        }
        Box::pin(live.watch.wait_removed()).await;
        self.cell.live()
    }

    /// Opens the session again with a new epoch, and resumes its run if the journal has it as running.
    async fn reopen(&self) -> Result<(), SessionError> {
        let locked = self.lock().await;
        if self.live_run().await.is_some() {
            return Ok(());
        }
        let (status, run) = {
            let idle = locked.idle().await?;
            (idle.projection().status, idle.projection().run)
        };
        {
            let mut inner = self.cell.inner.lock();
            if status != RunStatus::Running && inner.lost.as_ref().is_some_and(|lost| lost.0.run <= run) {
                // The journal has more of it.
                inner.lost = None;
            }
        }
        match status {
            RunStatus::Running => drop(locked.resume(None, Resumption::InProcess).await?),
            RunStatus::Paused => self.shared.watch_deadlines(),
            _ => {
                drop(locked);
                self.begin_next().await;
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Returns the callback for the end of a writer of `session`.
    pub(super) fn on_failure(&self, session: &SessionId) -> OnFailure {
        let (shared, session) = (self.me.clone(), session.clone());
        Box::new(move |writer, error| {
            let Some(shared) = shared.upgrade() else { return };
            let cell = shared.cells.lock().get(&session).cloned();
            let live = cell.and_then(|cell| cell.live());
            if let Some(live) = live.filter(|live| std::ptr::eq(&*live.env.writer, writer)) {
                live.env.control.fail_store();
            }
            if error.is_transient() {
                shared.reopen_later(session.clone(), error);
            }
        })
    }

    /// Opens a session again in the background, with growing waits.
    fn reopen_later(self: &Arc<Self>, id: SessionId, error: &StoreError) {
        if self.options.store_reopen == 0 || self.closing.load(Ordering::Acquire) {
            return;
        }
        let cell = Runtime(Arc::clone(self)).session_of(id.clone()).cell;
        if !self.plan_reopening(&cell, 0, FIRST, error.to_string()) {
            // A task does that already.
            return;
        }
        let (shared, attempts) = (Arc::downgrade(self), self.options.store_reopen);
        self.group.spawn(async move {
            let mut wait = FIRST;
            for tried in 1..=attempts {
                tokio::time::sleep(wait).await;
                let Some(shared) = shared.upgrade() else { return };
                if shared.closing.load(Ordering::Acquire) {
                    return;
                }
                let session = Runtime(Arc::clone(&shared)).session_of(id.clone());
                let error = match session.reopen().await {
                    Ok(()) => {
                        tracing::info!(session = %id, tried, "a session was opened again behind its store's failure");
                        session.cell.inner.lock().reopening = None;
                        return;
                    }
                    Err(error) => error,
                };
                let again = match &error {
                    SessionError::Store(error) => error.is_transient(),
                    SessionError::TooManyRuns { .. } => true,
                    _ => false,
                };
                if !again || tried == attempts {
                    tracing::error!(session = %id, tried, %error, "a session was not opened again; resume it when the cause is gone");
                    let mut inner = session.cell.inner.lock();
                    inner.reopening = None;
                    if matches!(error, SessionError::Store(StoreError::Leased { .. })) {
                        // Another process has it.
                        inner.lost = None;
                    }
                    return;
                }
                wait = wait.saturating_mul(2).min(LONGEST);
                session.cell.inner.lock().reopening = None;
                shared.plan_reopening(&session.cell, tried, wait, error.to_string());
            }
        });
    }

    /// Sets the next attempt for [`SessionStatus::reopening`]. Returns `false` if one is set already.
    fn plan_reopening(&self, cell: &SessionCell, attempts: u32, wait: Duration, error: String) -> bool {
        let next_at = self.clock.now_ms().saturating_add(millis(wait));
        let mut inner = cell.inner.lock();
        if inner.reopening.is_some() {
            return false;
        }
        inner.reopening = Some(Reopening { attempts, next_at, error });
        true
    }
}
