//! Registry of pending deliveries: accepts them, and answers their question when the run has ended.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use agent_core::{
    Answers, RunOptions, RunStatus, Runtime, Session, SessionError,
    ids::{RunId, Seq, SessionId},
};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    Delivery, GRAPH,
    locks::{DeliveryLocks, DeliveryUse},
    session_of,
};
use crate::{derived::Derived, run_progress::RunProgress};

/// Label of deliveries.
pub(super) const KIND: (&str, &str) = ("kind", GRAPH);
/// Attempts to bring a delivery into the wanted condition.
const ATTEMPTS: u32 = 10;
/// Timeout for a delivery that another request created to ask its question.
const QUESTION: Duration = Duration::from_secs(1);
/// Bound runs that are remembered. Beyond, a request that is repeated after its run sends its webhook once more.
const BOUND: usize = 100_000;

/// Pending deliveries of this process.
pub(crate) struct DeliveryRegistry {
    pub(super) pending: Mutex<Pending>,
    /// Runs with deliveries that this process bound, so that a repeated request does not send them again.
    bound: Mutex<HashSet<(SessionId, RunId)>>,
    pub(super) locks: DeliveryLocks,
    derived: Derived,
}

/// Deliveries of known runs.
#[derive(Default)]
pub(super) struct Pending {
    by_run: HashMap<(SessionId, RunId), Session>,
    /// The runs by the session of the delivery.
    pub(super) runs: HashMap<SessionId, RunId>,
}

impl Pending {
    /// Adds a delivery, unless the run has another one. Returns whether it is the delivery of the run.
    pub(super) fn insert(&mut self, target: SessionId, run: RunId, delivery: &Session) -> bool {
        let known = self.by_run.entry((target, run)).or_insert_with(|| delivery.clone());
        if known.id() != delivery.id() {
            return false;
        }
        // The earlier handle may be of a session that was deleted and created again.
        *known = delivery.clone();
        self.runs.insert(delivery.id().clone(), run);
        true
    }

    pub(super) fn remove(&mut self, of: &(SessionId, RunId)) -> Option<Session> {
        let delivery = self.by_run.remove(of)?;
        self.runs.remove(delivery.id());
        Some(delivery)
    }
}

/// A delivery that was accepted before its run. It belongs to the request, because the number of the run is not known yet.
#[must_use = "bind it to the run, or cancel it"]
pub(crate) struct PreparedDelivery {
    runtime: Runtime,
    session: Session,
    user: Arc<DeliveryUse>,
    target: SessionId,
    request: String,
    url: String,
    options: RunOptions,
    /// Whether this request created it; otherwise an earlier one with the same name did.
    created: bool,
}

impl DeliveryRegistry {
    pub(crate) fn new(derived: Derived) -> Self {
        Self { pending: Mutex::default(), bound: Mutex::default(), locks: DeliveryLocks::default(), derived }
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

    /// Accepts a delivery for the run that the named request is about to start. Without effect if the request has started its
    /// run before.
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
        let id = session_of(&self.derived, target.id(), request);
        let mut prepared = PreparedDelivery {
            runtime: runtime.clone(),
            user: Arc::new(self.locks.enter(&id)),
            session: runtime.session_of(id),
            target: target.id().clone(),
            request: request.to_owned(),
            url,
            options,
            created: false,
        };
        // The start of the run decides whether the content is the same; binding creates what is missing.
        if run_of_request(target, request).await?.is_none() {
            prepared.ensure(None).await?;
        }
        Ok(prepared)
    }

    /// Binds a delivery to the run that was accepted, unless the run has ended and this process bound it before. A delivery
    /// that was cancelled, or that belongs to other content of the same request, is replaced.
    ///
    /// # Errors
    ///
    /// Errors of the store. The run continues without a webhook until the next sweep, or a repeated request, binds it.
    pub(crate) async fn bind(
        &self,
        runtime: &Runtime,
        mut prepared: PreparedDelivery,
        run: RunId,
    ) -> Result<(), SessionError> {
        let key = (prepared.target.clone(), run);
        let session = runtime.session_of(key.0.clone());
        let progress = async || RunProgress::read(&session, run).await;
        let is_bound = self.bound.lock().contains(&key);
        if is_bound && end_of(progress().await?).is_some() {
            prepared.delete_if_created().await;
            return Ok(());
        }
        if prepared.ensure(Some(run)).await? {
            let is_first = self.pending.lock().insert(key.0.clone(), run, &prepared.session);
            if !is_first {
                prepared.delete_if_created().await;
                return Ok(());
            }
            // The run may have ended before the delivery was registered.
            if let Some(seq) = end_of(progress().await?) {
                self.ended(&key, seq).await;
            }
        }
        let mut bound = self.bound.lock();
        if bound.len() >= BOUND {
            bound.clear();
        }
        bound.insert(key);
        Ok(())
    }

    /// Deletes the delivery of a run that was not accepted, unless another request uses it.
    pub(crate) async fn cancel(&self, prepared: PreparedDelivery) {
        prepared.delete_if_created().await;
    }
}

impl PreparedDelivery {
    /// Creates the delivery, or replaces one that is not pending. Returns whether it is pending: not if it was sent, is being
    /// sent, or has failed, for this run.
    async fn ensure(&mut self, run: Option<RunId>) -> Result<bool, SessionError> {
        let user = Arc::clone(&self.user);
        let _lock = user.lock().await;
        for _ in 0..ATTEMPTS {
            match self.check(run).await {
                Ok(Condition::Pending) => return Ok(true),
                Ok(Condition::Settled) => return Ok(false),
                Ok(Condition::Useless) => match discard(&self.session).await {
                    Ok(()) | Err(SessionError::Busy { .. }) => continue,
                    Err(error) => return Err(error),
                },
                Err(SessionError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
            // A handle of a deleted session stays without a session.
            self.session = self.runtime.session_of(self.session.id().clone());
            match self.create().await {
                Ok(()) => return Ok(true),
                Err(SessionError::SameRequest { .. } | SessionError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(SessionError::NotFound { session: self.session.id().clone() })
    }

    /// Reads the condition of the delivery, for the run of the request if that is known.
    async fn check(&self, run: Option<RunId>) -> Result<Condition, SessionError> {
        let status = self.session.status().await?.status;
        if status == RunStatus::Paused && self.created {
            return Ok(Condition::Pending);
        }
        let state: Delivery = self.session.state().await?;
        let is_of_run = run.is_some_and(|run| run.0 == state.run);
        Ok(match status {
            RunStatus::Running | RunStatus::Completed | RunStatus::Failed if is_of_run => Condition::Settled,
            // Before the run, another request with this name may be the one that starts it.
            RunStatus::Running | RunStatus::Paused
                if state.url != self.url && (run.is_some() || self.user.is_only()) =>
            {
                Condition::Useless
            }
            RunStatus::Running => {
                // The question must be open before it can be answered. The next sweep finds one that takes longer.
                timeout(QUESTION, self.session.wait_status()).await.ok();
                Condition::Pending
            }
            RunStatus::Paused => Condition::Pending,
            _ => Condition::Useless,
        })
    }

    async fn create(&mut self) -> Result<(), SessionError> {
        let Self { target, request, url, options, .. } = self;
        let input = json!({"url": url, "session": target, "run": 0, "request": request, "taken": null});
        let options = options.clone().request("deliver").label(KIND.0, KIND.1);
        let mut run = self.session.run_json(GRAPH, input).options(options).start().await?;
        self.created = true;
        // The question must be open before it can be answered.
        run.wait_status().await;
        Ok(())
    }

    /// Deletes a delivery that this request created and no other one uses.
    async fn delete_if_created(&self) {
        let _lock = self.user.lock().await;
        if self.created
            && self.user.is_only()
            && let Err(error) = discard(&self.session).await
        {
            tracing::debug!(session = %self.session.id(), %error, "a webhook delivery could not be deleted");
        }
    }
}

/// Condition of a delivery in the store.
enum Condition {
    /// It waits for the end of the run.
    Pending,
    /// It is being sent, was sent, or has failed, for the run.
    Settled,
    /// It was cancelled, or belongs to another run or another content.
    Useless,
}

/// Returns the run of a request, if the session exists and remembers it.
pub(super) async fn run_of_request(session: &Session, request: &str) -> Result<Option<RunId>, SessionError> {
    match session.run_of_request(request).await {
        Err(SessionError::NotFound { .. } | SessionError::CannotResume { .. }) => Ok(None),
        run => run,
    }
}

/// Returns the entry that ended a run, as far as there is one; `None` if the run has not ended.
pub(super) const fn end_of(progress: RunProgress) -> Option<Option<Seq>> {
    match progress {
        RunProgress::Ended(seq) => Some(Some(seq)),
        RunProgress::Removed | RunProgress::Trimmed => Some(None),
        RunProgress::Unknown | RunProgress::Unfinished => None,
    }
}

/// Answers the question of a delivery: the run has ended, with the entry `seq`.
pub(super) async fn release(delivery: &Session, run: RunId, seq: Option<Seq>) {
    // Earlier versions answered `true`, or without the run.
    let answer = json!({ "run": run, "seq": seq });
    match delivery.answer(Answers::only(answer)).by("the server").await {
        Ok(_) => {}
        Err(error) => tracing::debug!(session = %delivery.id(), %error, "a webhook delivery is not pending"),
    }
}

/// Stops and deletes a delivery.
///
/// # Errors
///
/// Errors of the store; [`SessionError::Busy`] if its run does not leave the memory.
pub(super) async fn discard(delivery: &Session) -> Result<(), SessionError> {
    match delivery.stop().await {
        Ok(_) | Err(SessionError::NotFound { .. } | SessionError::NothingToDo { .. }) => {}
        Err(error) => return Err(error),
    }
    delete_ended(delivery).await
}

/// Deletes a delivery that has ended, once its run has left the memory.
///
/// # Errors
///
/// As [`discard`].
pub(crate) async fn delete_ended(delivery: &Session) -> Result<(), SessionError> {
    let mut attempt = 1;
    loop {
        match delivery.delete().await {
            Err(SessionError::Busy { .. }) if attempt < ATTEMPTS => sleep(Duration::from_millis(5)).await,
            Err(SessionError::NotFound { .. }) => return Ok(()),
            deleted => return deleted,
        }
        attempt += 1;
    }
}
