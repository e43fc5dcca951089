//! Registry of pending deliveries: accepts them, and answers their question when the run has ended.

use std::collections::{HashMap, HashSet};

use agent_core::{
    Answers, RunOptions, RunStatus, Runtime, Session, SessionError,
    clock::{Clock, WallClock},
    ids::{RunId, Seq, SessionId},
    journal::{Label, Recent, RecentCursor},
};
use parking_lot::Mutex;
use serde_json::json;

use super::{Delivery, GRAPH, Progress, session_of};
use crate::derived::Derived;

/// Label of deliveries.
const KIND: (&str, &str) = ("kind", GRAPH);
/// Deliveries read per page.
const PAGE: usize = 500;
/// Age before which a delivery without a run is kept: its request may still be in progress.
const ORPHAN_AGE_MS: i64 = 60_000;
/// Bound runs that are remembered. Beyond, a request that is repeated after its run sends its webhook once more.
const BOUND: usize = 100_000;

/// Pending deliveries of this process.
pub(crate) struct DeliveryRegistry {
    pending: Mutex<HashMap<(SessionId, RunId), Session>>,
    /// Runs with deliveries that this process bound, so that a repeated request does not send them again.
    bound: Mutex<HashSet<(SessionId, RunId)>>,
    derived: Derived,
}

/// A delivery that was accepted before its run.
#[must_use = "bind it to the run, or cancel it"]
pub(crate) struct PreparedDelivery {
    delivery: Session,
    /// Whether this request created it; otherwise it belongs to a queued run.
    created: bool,
    target: SessionId,
    run: RunId,
    url: String,
}

impl DeliveryRegistry {
    pub(crate) fn new(derived: Derived) -> Self {
        Self { pending: Mutex::default(), bound: Mutex::default(), derived }
    }

    /// Returns whether a delivery waits for the run.
    pub(crate) fn waits_for(&self, session: &SessionId, run: RunId) -> bool {
        let pending = self.pending.lock();
        !pending.is_empty() && pending.contains_key(&(session.clone(), run))
    }

    /// Starts the delivery of a run that has ended, if there is one. `seq` is the entry that ended it, if known.
    pub(crate) async fn ended(&self, end: &(SessionId, RunId), seq: Option<Seq>) {
        let delivery = self.pending.lock().remove(end);
        if let Some(delivery) = delivery {
            release(&delivery, seq).await;
        }
    }

    /// Accepts a delivery for the next run of a session.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub(crate) async fn prepare(
        &self,
        runtime: &Runtime,
        target: &Session,
        url: String,
        options: RunOptions,
    ) -> Result<PreparedDelivery, SessionError> {
        let run = match target.status().await {
            Ok(status) => RunId(status.run.0 + 1),
            Err(SessionError::NotFound { .. }) => RunId(1),
            Err(error) => return Err(error),
        };
        let (delivery, created) = self.accept(runtime, target.id(), run, &url, options).await?;
        Ok(PreparedDelivery { delivery, created, target: target.id().clone(), run, url })
    }

    /// Starts the run of a delivery. Returns its session, and whether this call created it.
    async fn accept(
        &self,
        runtime: &Runtime,
        target: &SessionId,
        run: RunId,
        url: &str,
        options: RunOptions,
    ) -> Result<(Session, bool), SessionError> {
        let delivery = runtime.session_of(session_of(&self.derived, target, run));
        let input = json!({"url": url, "session": target, "run": run.0, "taken": null});
        let created = match delivery
            .run_json(GRAPH, input)
            .options(options.request("deliver").label(KIND.0, KIND.1))
            .start()
            .await
        {
            Ok(mut run) => {
                // The question must be open before it can be answered.
                run.wait_status().await;
                true
            }
            Err(SessionError::SameRequest { .. }) => false,
            Err(error) => return Err(error),
        };
        self.pending.lock().insert((target.clone(), run), delivery.clone());
        Ok((delivery, created))
    }

    /// Binds a delivery to the run that was accepted, unless the run has ended and this process bound it before.
    ///
    /// # Errors
    ///
    /// Errors of the store. The run continues without a webhook until a repeated request binds it.
    pub(crate) async fn bind(
        &self,
        runtime: &Runtime,
        prepared: PreparedDelivery,
        run: RunId,
        options: RunOptions,
    ) -> Result<(), SessionError> {
        let target = prepared.target.clone();
        let key = (target.clone(), run);
        let progress = async || {
            let status = runtime.session_of(target.clone()).status().await;
            status.map_or(Progress::Unknown, |status| Progress::of(run, &status))
        };
        let is_bound = self.bound.lock().contains(&key);
        if is_bound && matches!(progress().await, Progress::Ended { .. }) {
            self.cancel(prepared).await;
            return Ok(());
        }
        if run != prepared.run {
            // Another run was accepted first.
            self.accept(runtime, &target, run, &prepared.url, options).await?;
            self.cancel(prepared).await;
        }
        // The run may have ended before the delivery was registered.
        if let Progress::Ended { seq } = progress().await {
            self.ended(&key, seq).await;
        }
        let mut bound = self.bound.lock();
        if bound.len() >= BOUND {
            bound.clear();
        }
        bound.insert(key);
        Ok(())
    }

    /// Deletes the delivery of a run that was not accepted.
    pub(crate) async fn cancel(&self, prepared: PreparedDelivery) {
        if prepared.created {
            self.pending.lock().remove(&(prepared.target, prepared.run));
            delete(&prepared.delivery).await;
        }
    }

    /// Resumes the pending deliveries in the store, including those of crashed processes.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub(crate) async fn resume_all(&self, runtime: &Runtime) -> Result<(), SessionError> {
        let mut query = Recent {
            limit: PAGE,
            statuses: vec![RunStatus::Paused.as_str().to_owned()],
            label: Some(Label::new(KIND.0, KIND.1)),
            ..Recent::default()
        };
        loop {
            let page = runtime.recent(query.clone()).await?;
            for info in &page {
                let delivery = runtime.session_of(info.id.clone());
                if let Err(error) = self.resume(runtime, &delivery, info.head.summary.at).await {
                    tracing::warn!(session = %info.id, %error, "a webhook delivery could not be resumed");
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

    async fn resume(&self, runtime: &Runtime, delivery: &Session, at: i64) -> Result<(), SessionError> {
        let state: Delivery = delivery.state().await?;
        let Ok(target) = state.session.parse::<SessionId>() else { return Ok(()) };
        let run = RunId(state.run);
        let progress = match runtime.session_of(target.clone()).status().await {
            Ok(status) => Progress::of(run, &status),
            Err(SessionError::NotFound { .. }) => Progress::Unknown,
            Err(error) => return Err(error),
        };
        match progress {
            Progress::Ended { seq } => {
                self.pending.lock().remove(&(target, run));
                release(delivery, seq).await;
            }
            Progress::Unfinished => {
                self.pending.lock().insert((target, run), delivery.clone());
            }
            Progress::Unknown if WallClock.now_ms() - at > ORPHAN_AGE_MS => {
                self.pending.lock().remove(&(target, run));
                delete(delivery).await;
            }
            Progress::Unknown => {}
        }
        Ok(())
    }
}

/// Answers the question of a delivery: the run has ended, with the entry `seq`.
async fn release(delivery: &Session, seq: Option<Seq>) {
    // Earlier versions answered `true`.
    let answer = seq.map_or_else(|| json!(true), |seq| json!({ "seq": seq }));
    match delivery.answer(Answers::only(answer)).by("the server").await {
        Ok(_) => {}
        Err(error) => tracing::debug!(session = %delivery.id(), %error, "a webhook delivery is not pending"),
    }
}

async fn delete(delivery: &Session) {
    let stopped = delivery.stop().await.map(drop);
    if let Err(error) = stopped.and(delivery.delete().await) {
        tracing::debug!(session = %delivery.id(), %error, "a webhook delivery could not be deleted");
    }
}
