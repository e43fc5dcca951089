//! Permit of a run: counts it against the runs of its caller until it ends or pauses.

use agent_core::{Run, RunStatus, Session};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{CallerLimits, Key, Permit};
use crate::error::ApiError;

/// Permit to start or resume a run.
#[must_use = "release it when the run is idle, so that the run is counted until then"]
pub(crate) struct RunPermit(Option<Permit>);

impl RunPermit {
    /// Returns a permit for a new run.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) async fn for_start(limits: &CallerLimits, key: Key) -> Result<Self, ApiError> {
        limits.run(key).await.map(Self)
    }

    /// Returns a permit for resuming a stopped or paused run. An answer to a question is never denied.
    ///
    /// # Errors
    ///
    /// 429.
    pub(crate) async fn for_resume(
        limits: &CallerLimits,
        key: Key,
        session: &Session,
        with_answer: bool,
    ) -> Result<Self, ApiError> {
        // A running run is counted already.
        if !limits.counts_runs() || session.status().await.is_ok_and(|now| now.status == RunStatus::Running) {
            return Ok(Self(None));
        }
        if with_answer { Ok(Self(limits.answered_run(key))) } else { Self::for_start(limits, key).await }
    }

    /// Releases the permit when the run ends or pauses, or when `cancelled`.
    pub(crate) fn release_when_idle(self, run: &Run, tasks: &TaskTracker, cancelled: &CancellationToken) {
        let Some(permit) = self.0 else { return };
        // An answer to one of several questions: the run is still paused.
        if run.status() == RunStatus::Paused {
            return;
        }
        let (mut run, cancelled) = (run.clone().observer(), cancelled.clone());
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = cancelled.cancelled() => {}
                _ = run.wait_status() => {}
            }
            drop(permit);
        });
    }
}
