//! What a caller holds of a run: how it idle_memory, and its events while it does not.

use std::{any::Any, sync::Arc};

use super::{
    Session, SessionError,
    cell::LiveRun,
    run_watch::{RunReceiver, RunResult},
};
use crate::{
    engine::RunError,
    event::{Event, EventBody, Subscription, SubscriptionError},
    ids::{RunId, SessionId},
    interrupt::OpenQuestion,
    run::{Finished, RunOutcome, RunStatus},
    state::State,
};

/// A run that was accepted. Dropping it does not stop the run. Cheap to clone; all clones are of one run.
#[derive(Clone)]
pub struct Run {
    session: Session,
    run: RunId,
    watch: RunReceiver,
}

impl Run {
    pub(super) fn of(session: Session, live: &LiveRun) -> Self {
        Self { session, run: live.run(), watch: live.watch.listener() }
    }

    /// A run that waits for its turn.
    pub(super) const fn queued(session: Session, run: RunId, watch: RunReceiver) -> Self {
        Self { session, run, watch }
    }

    /// An unfinished run that is not in memory.
    pub(super) fn waiting(
        session: Session,
        run: RunId,
        status: RunStatus,
        questions: Vec<OpenQuestion>,
    ) -> Self {
        let result = RunResult { status, questions, state: None, supersteps: 0, error: None };
        Self { session, run, watch: RunReceiver::fixed(result) }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> RunId {
        self.run
    }

    /// Its session.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Where it stands now.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.watch.status()
    }

    /// Waits until the run ends or waits for a person, and says which. Cancel safe.
    ///
    /// When the process ends first, the run is still [`RunStatus::Running`]: the next process goes on with it.
    pub async fn wait_status(&mut self) -> RunStatus {
        self.wait().await.map_or(RunStatus::Running, |result| result.status)
    }

    /// Waits as [`wait_status`](Run::wait_status), and tells how it came to rest.
    ///
    /// # Errors
    ///
    /// [`SessionError::Run`] when it failed; [`SessionError::InvalidInput`] when the run's state is no `S`;
    /// [`SessionError::ShuttingDown`] when the process ends before the run does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the run.
    pub async fn outcome<S: State>(mut self) -> Result<RunOutcome<S>, SessionError> {
        let result = self.wait().await.ok_or(SessionError::ShuttingDown)?;
        if let Some(error) = &result.error {
            return Err(SessionError::Run(Arc::clone(error)));
        }
        if result.status == RunStatus::Paused {
            return Ok(RunOutcome::Paused { run: self.run, questions: result.questions.clone() });
        }
        let state =
            result.state.clone().and_then(|state: Arc<dyn Any + Send + Sync>| state.downcast::<S>().ok());
        let Some(state) = state else {
            let reason = format!("its state is no `{}`", std::any::type_name::<S>());
            return Err(SessionError::InvalidInput { graph: String::new(), reason });
        };
        let finished = Finished { run: self.run, state, supersteps: result.supersteps };
        Ok(match result.status {
            RunStatus::Completed => RunOutcome::Completed(finished),
            _ => RunOutcome::Stopped(finished),
        })
    }

    /// Waits as [`wait_status`](Run::wait_status): the status, the open questions, and the error of a failed run.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the run.
    pub async fn rest(&mut self) -> (RunStatus, Vec<OpenQuestion>, Option<Arc<RunError>>) {
        match self.wait().await {
            Some(result) => (result.status, result.questions.clone(), result.error.clone()),
            None => (RunStatus::Running, Vec::new(), None),
        }
    }

    /// `None`: the process ends, and the run is handed over to the next one.
    async fn wait(&mut self) -> Option<Arc<RunResult>> {
        self.watch.rest().await
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

/// The events of one run, from its acceptance to its end or pause.
pub struct EventStream {
    run: Run,
    events: Subscription,
    ended: bool,
}

impl EventStream {
    pub(super) const fn new(run: Run, events: Subscription) -> Self {
        Self { run, events, ended: false }
    }

    /// The next event; `None` after the one that ends or pauses the run. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`SubscriptionError`] when the journal cannot be read, or the session was deleted.
    pub async fn next(&mut self) -> Option<Result<Arc<Event>, SubscriptionError>> {
        if self.ended {
            return None;
        }
        loop {
            let event = tokio::select! {
                biased;
                event = self.events.next() => event,
                // A run whose journal failed ends without an event.
                () = lost(&mut self.run) => {
                    self.ended = true;
                    return None;
                }
            };
            if event.as_ref().is_err_and(SubscriptionError::is_final) {
                self.ended = true;
            }
            if let Ok(event) = &event {
                // The end of a run that this one replaced belongs to that one; a gap belongs to everybody.
                if event.run < self.run.run && !matches!(event.body, EventBody::Gap(_)) {
                    continue;
                }
                self.ended = event.body.ends_run();
            }
            return Some(event);
        }
    }

    /// The run itself.
    #[must_use]
    pub fn into_run(self) -> Run {
        self.run
    }

    /// Reads the remaining events and tells how the run came to rest.
    ///
    /// # Errors
    ///
    /// As [`Run::outcome`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the run.
    pub async fn outcome<S: State>(self) -> Result<RunOutcome<S>, SessionError> {
        self.run.outcome().await
    }
}

/// Ready when the run failed for want of a store, so that no event can come any more.
async fn lost(run: &mut Run) {
    loop {
        let Some(result) = run.wait().await else { return };
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
