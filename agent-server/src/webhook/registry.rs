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

use super::{Delivery, GRAPH, session_of};
use crate::{derived::Derived, run_progress::RunProgress};

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
    pending: Mutex<Pending>,
    /// Runs with deliveries that this process bound, so that a repeated request does not send them again.
    bound: Mutex<HashSet<(SessionId, RunId)>>,
    derived: Derived,
}

/// Deliveries of known runs.
#[derive(Default)]
struct Pending {
    by_run: HashMap<(SessionId, RunId), Session>,
    /// The runs by the session of the delivery.
    runs: HashMap<SessionId, RunId>,
}

impl Pending {
    /// Adds a delivery, unless the run has another one. Returns whether it is the delivery of the run.
    fn insert(&mut self, target: SessionId, run: RunId, delivery: &Session) -> bool {
        let known = self.by_run.entry((target, run)).or_insert_with(|| delivery.clone());
        if known.id() != delivery.id() {
            return false;
        }
        self.runs.insert(delivery.id().clone(), run);
        true
    }

    fn remove(&mut self, of: &(SessionId, RunId)) -> Option<Session> {
        let delivery = self.by_run.remove(of)?;
        self.runs.remove(delivery.id());
        Some(delivery)
    }
}

/// A delivery that was accepted before its run. It belongs to the request, because the number of the run is not known yet.
#[must_use = "bind it to the run, or cancel it"]
pub(crate) struct PreparedDelivery {
    delivery: Session,
    /// Whether this request created it; otherwise an earlier one with the same name did.
    created: bool,
    target: SessionId,
}

impl DeliveryRegistry {
    pub(crate) fn new(derived: Derived) -> Self {
        Self { pending: Mutex::default(), bound: Mutex::default(), derived }
    }

    /// Returns whether a delivery waits for the run.
    pub(crate) fn waits_for(&self, session: &SessionId, run: RunId) -> bool {
        let pending = self.pending.lock();
        !pending.by_run.is_empty() && pending.by_run.contains_key(&(session.clone(), run))
    }

    /// Starts the delivery of a run that has ended, if there is one. `seq` is the entry that ended it, if known.
    pub(crate) async fn ended(&self, end: &(SessionId, RunId), seq: Option<Seq>) {
        let delivery = self.pending.lock().remove(end);
        if let Some(delivery) = delivery {
            release(&delivery, end.1, seq).await;
        }
    }

    /// Accepts a delivery for the run that the named request is about to start.
    ///
    /// # Errors
    ///
    /// Errors of the store.
    pub(crate) async fn prepare(
        &self,
        runtime: &Runtime,
        target: &Session,
        request: &str,
        url: String,
        options: RunOptions,
    ) -> Result<PreparedDelivery, SessionError> {
        let delivery = runtime.session_of(session_of(&self.derived, target.id(), request));
        let input = json!({"url": url, "session": target.id(), "run": 0, "request": request, "taken": null});
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
        Ok(PreparedDelivery { delivery, created, target: target.id().clone() })
    }

    /// Binds a delivery to the run that was accepted, unless the run has ended and this process bound it before.
    ///
    /// # Errors
    ///
    /// Errors of the store. The run continues without a webhook until the next sweep, or a repeated request, binds it.
    pub(crate) async fn bind(
        &self,
        runtime: &Runtime,
        prepared: PreparedDelivery,
        run: RunId,
    ) -> Result<(), SessionError> {
        let key = (prepared.target.clone(), run);
        let session = runtime.session_of(key.0.clone());
        let progress = async || RunProgress::read(&session, run).await;
        let is_bound = self.bound.lock().contains(&key);
        let is_superfluous = (is_bound && end_of(progress().await?).is_some())
            || !self.pending.lock().insert(key.0.clone(), run, &prepared.delivery);
        if is_superfluous {
            self.cancel(prepared).await;
            return Ok(());
        }
        // The run may have ended before the delivery was registered.
        if let Some(seq) = end_of(progress().await?) {
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
        let session = runtime.session_of(target.clone());
        let known = self.pending.lock().runs.get(delivery.id()).copied();
        let run = match (known, &state.request) {
            (Some(run), _) => Some(run),
            (None, Some(request)) => match session.run_of_request(request).await {
                Ok(run) => run,
                Err(SessionError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            },
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
            _ if WallClock.now_ms() - at > ORPHAN_AGE_MS => {
                tracing::info!(session = %target, delivery = %delivery.id(), "a webhook of a request that started no run is deleted");
                delete(delivery).await;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Returns the entry that ended a run, as far as there is one; `None` if the run has not ended.
const fn end_of(progress: RunProgress) -> Option<Option<Seq>> {
    match progress {
        RunProgress::Ended(seq) => Some(Some(seq)),
        RunProgress::Removed | RunProgress::Trimmed => Some(None),
        RunProgress::Unknown | RunProgress::Unfinished => None,
    }
}

/// Answers the question of a delivery: the run has ended, with the entry `seq`.
async fn release(delivery: &Session, run: RunId, seq: Option<Seq>) {
    // Earlier versions answered `true`, or without the run.
    let answer = json!({ "run": run, "seq": seq });
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
