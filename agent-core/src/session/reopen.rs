//! Sessions whose store failed for longer than its retries: the run in memory ends, and continues when the store works.

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

/// Waits between the tries to open a session again: the first, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// The background task that opens a session again whose store failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reopening {
    /// Tries so far.
    pub tries: u32,
    /// When the next one is due, in milliseconds since 1970.
    pub next_at: i64,
    /// Why the last try, or the append before it, failed.
    pub error: String,
}

/// Where a run stood when its store failed.
pub(crate) struct LostRun(SessionStatus);

impl LostRun {
    /// Of a run that ended because its journal cannot be written. `None`: another process writes it now.
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
                questions: result.questions.clone(),
                used: env.budget.used(),
                accepted: live.accepted,
                accepted_at: live.accepted_at,
                active_ms: env.control.active_ms(),
                failure: result.error.as_deref().map(Into::into),
                last: env.writer.last(),
                labels: env.writer.labels(),
                location: RunLocation::Journal,
                reopening: None,
            }))),
        }
    }

    /// Shows subscribers the end of the run, without a number: the journal does not have it.
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
    /// Where the session stands while no run of it is in memory: as the journal says, but for a run that this process
    /// lost, which nothing executes although the journal says that it is running.
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
                    // It was lost while it waited, with an answer on its way that the journal has after all.
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

    /// The run in memory. Waits for the end of one that writes its last entries: a subscriber may have seen its end and
    /// ask for the next run at once. Waits as well for one whose journal cannot be written.
    pub(super) async fn live_run(&self) -> Option<Arc<LiveRun>> {
        let live = self.cell.live()?;
        if !live.env.writer.has_failed() && !live.env.control.is_closed() {
            return Some(live);
        }
        Box::pin(live.watch.wait_removed()).await;
        self.cell.live()
    }

    /// Opens the session again, with a new epoch, and continues the run that its journal calls running.
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
    /// What a writer of `session` calls when it has ended.
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

    /// Opens a session again, in the background and with growing waits, until that works.
    fn reopen_later(self: &Arc<Self>, id: SessionId, error: &StoreError) {
        if self.options.store_reopen == 0 || self.closing.load(Ordering::Acquire) {
            return;
        }
        let cell = Runtime(Arc::clone(self)).session_of(id.clone()).cell;
        if !self.plan_reopening(&cell, 0, FIRST, error.to_string()) {
            // A task does that already.
            return;
        }
        let (shared, tries) = (Arc::downgrade(self), self.options.store_reopen);
        self.group.spawn(async move {
            let mut wait = FIRST;
            for tried in 1..=tries {
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
                if !again || tried == tries {
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

    /// Notes the next try for [`SessionStatus::reopening`]. `false`: one is noted already.
    fn plan_reopening(&self, cell: &SessionCell, tries: u32, wait: Duration, error: String) -> bool {
        let next_at = self.clock.now_ms().saturating_add(millis(wait));
        let mut inner = cell.inner.lock();
        if inner.reopening.is_some() {
            return false;
        }
        inner.reopening = Some(Reopening { tries, next_at, error });
        true
    }
}
