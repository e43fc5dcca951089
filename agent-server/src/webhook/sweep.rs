//! Sweep over the deliveries in the store: resumes those of crashed processes, and deletes those that are no longer needed.

use agent_core::{
    RunStatus, Runtime, Session, SessionError,
    clock::{Clock, WallClock},
    ids::{RunId, SessionId},
    journal::{Label, Recent, RecentCursor},
};

use super::{
    Delivery,
    registry::{DeliveryRegistry, KIND, discard, end_of, release, run_of_request},
};
use crate::run_progress::RunProgress;

/// Deliveries read per page.
const PAGE: usize = 500;
/// Age before which a delivery without a run is kept: its request may still be in progress.
const ORPHAN_AGE_MS: i64 = 60_000;
/// Statuses of deliveries that are resumed or deleted. Failed ones are kept for inspection.
const STATUSES: [RunStatus; 3] = [RunStatus::Paused, RunStatus::Stopped, RunStatus::Completed];

impl DeliveryRegistry {
    /// Resumes the pending deliveries in the store, including those of crashed processes, and deletes those that are no longer
    /// needed.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub(crate) async fn resume_all(&self, runtime: &Runtime) -> Result<(), SessionError> {
        let mut query = Recent {
            limit: PAGE,
            statuses: STATUSES.map(|status| status.as_str().to_owned()).to_vec(),
            label: Some(Label::new(KIND.0, KIND.1)),
            ..Recent::default()
        };
        loop {
            let page = runtime.recent(query.clone()).await?;
            for info in &page {
                let delivery = runtime.session_of(info.id.clone());
                let is_old = WallClock.now_ms() - info.head.summary.at > ORPHAN_AGE_MS;
                let resumed = self.resume(runtime, &delivery, is_old).await;
                match resumed {
                    Ok(()) | Err(SessionError::NotFound { .. }) => {}
                    Err(error) => {
                        tracing::warn!(session = %info.id, %error, "a webhook delivery could not be resumed");
                    }
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => {
                    query.before = Some(RecentCursor { at: last.head.summary.at, session: last.id.clone() });
                }
                _ => return Ok(()),
            }
        }
    }

    async fn resume(&self, runtime: &Runtime, delivery: &Session, is_old: bool) -> Result<(), SessionError> {
        let user = self.locks.enter(delivery.id());
        let _lock = user.lock().await;
        // Without a request in progress in this process.
        let is_orphan = is_old && user.is_only();
        match delivery.status().await?.status {
            RunStatus::Paused => {}
            // It was sent, or cancelled, and its process died before it deleted it.
            RunStatus::Stopped | RunStatus::Completed if is_orphan => return discard(delivery).await,
            _ => return Ok(()),
        }
        let state: Delivery = delivery.state().await?;
        let Ok(target) = state.session.parse::<SessionId>() else { return Ok(()) };
        let session = runtime.session_of(target.clone());
        let known = self.pending.lock().runs.get(delivery.id()).copied();
        let run = match (known, &state.request) {
            (Some(run), _) => Some(run),
            (None, Some(request)) => run_of_request(&session, request).await?,
            // Of an earlier version.
            (None, None) => Some(RunId(state.run)),
        };
        let progress = match run {
            Some(run) => Some((run, RunProgress::read(&session, run).await?)),
            None => None,
        };
        match progress {
            Some((run, RunProgress::Unfinished)) => {
                self.pending.lock().insert(target, run, delivery);
            }
            Some((run, progress)) if let Some(seq) = end_of(progress) => {
                self.pending.lock().remove(&(target, run));
                release(delivery, run, seq).await;
            }
            _ if is_orphan => {
                tracing::info!(session = %target, delivery = %delivery.id(), "a webhook of a request that started no run is cancelled");
                // A later sweep deletes it. A request that starts the run in another process until then finds it stopped, and
                // replaces it.
                delivery.stop().await?;
            }
            _ => {}
        }
        Ok(())
    }
}
