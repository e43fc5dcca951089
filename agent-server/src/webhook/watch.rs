//! Which deliveries wait for which runs, and the answer that they get.

use std::collections::HashMap;

use agent_core::{
    Answers, RunOptions, RunStatus, Runtime, Session, SessionError,
    clock::{Clock, WallClock},
    ids::{RunId, SessionId},
    journal::Recent,
};
use parking_lot::Mutex;
use serde_json::json;

use super::{Delivery, GRAPH, is_over, session_of};
use crate::derived::Derived;

/// The label of deliveries.
const KIND: (&str, &str) = ("kind", GRAPH);
/// Deliveries looked at once.
const PAGE: usize = 500;
/// A delivery whose run is not there is given so long: its request may be on its way.
const YOUNG_MS: i64 = 60_000;

/// Deliveries that wait in this process.
pub(crate) struct Watcher {
    waiting: Mutex<HashMap<(SessionId, RunId), Session>>,
    derived: Derived,
}

/// A delivery that waits for a run which is not accepted yet.
#[must_use = "bind it to the run, or call it off"]
pub(crate) struct Prepared {
    delivery: Session,
    /// Whether it is this request's, rather than that of a run in line.
    own: bool,
    target: SessionId,
    run: RunId,
    url: String,
}

impl Watcher {
    pub(crate) fn new(derived: Derived) -> Self {
        Self { waiting: Mutex::default(), derived }
    }

    /// Whether a delivery waits for the run.
    pub(crate) fn waits_for(&self, session: &SessionId, run: RunId) -> bool {
        let waiting = self.waiting.lock();
        !waiting.is_empty() && waiting.contains_key(&(session.clone(), run))
    }

    /// A run has ended: its delivery goes on, if there is one.
    pub(crate) async fn ended(&self, end: &(SessionId, RunId)) {
        let delivery = self.waiting.lock().remove(end);
        if let Some(delivery) = delivery {
            release(&delivery).await;
        }
    }

    /// Accepts the delivery of the run that a session will have next.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub(crate) async fn prepare(
        &self,
        runtime: &Runtime,
        target: &Session,
        url: String,
        options: RunOptions,
    ) -> Result<Prepared, SessionError> {
        let run = match target.status().await {
            Ok(status) => RunId(status.run.0 + 1),
            Err(SessionError::NotFound { .. }) => RunId(1),
            Err(error) => return Err(error),
        };
        let (delivery, own) = self.accept(runtime, target.id(), run, &url, options).await?;
        Ok(Prepared { delivery, own, target: target.id().clone(), run, url })
    }

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
        let own =
            match delivery.start_json(GRAPH, input, options.request("deliver").label(KIND.0, KIND.1)).await {
                Ok(mut run) => {
                    // Only who waits can be let go.
                    run.wait_status().await;
                    true
                }
                Err(SessionError::SameRequest { .. }) => false,
                Err(error) => return Err(error),
            };
        self.waiting.lock().insert((target.clone(), run), delivery.clone());
        Ok((delivery, own))
    }

    /// The run was accepted, with this number.
    ///
    /// # Errors
    ///
    /// What the store says; the run goes on then, without a webhook.
    pub(crate) async fn bind(
        &self,
        runtime: &Runtime,
        prepared: Prepared,
        run: RunId,
        options: RunOptions,
    ) -> Result<(), SessionError> {
        let target = prepared.target.clone();
        if run != prepared.run {
            // Somebody else's run came between.
            self.accept(runtime, &target, run, &prepared.url, options).await?;
            self.call_off(prepared).await;
        }
        // It may have ended before anybody waited for it.
        if let Ok(status) = runtime.session_of(target.clone()).status().await
            && is_over(&status, run) == Some(true)
        {
            self.ended(&(target, run)).await;
        }
        Ok(())
    }

    /// The run was not accepted.
    pub(crate) async fn call_off(&self, prepared: Prepared) {
        if prepared.own {
            self.waiting.lock().remove(&(prepared.target, prepared.run));
            remove(&prepared.delivery).await;
        }
    }

    /// Looks through the store for deliveries that wait: for those of processes that are gone.
    ///
    /// # Errors
    ///
    /// What the store says.
    pub(crate) async fn look(&self, runtime: &Runtime) -> Result<(), SessionError> {
        let mut wanted = Recent {
            limit: PAGE,
            statuses: vec![RunStatus::Paused.as_str().to_owned()],
            label: Some((KIND.0.to_owned(), KIND.1.to_owned())),
            ..Recent::default()
        };
        loop {
            let page = runtime.recent(wanted.clone()).await?;
            for info in &page {
                let delivery = runtime.session_of(info.id.clone());
                if let Err(error) = self.look_at(runtime, &delivery, info.head.summary.at).await {
                    tracing::warn!(session = %info.id, %error, "a delivery cannot be looked at");
                }
            }
            match page.last() {
                Some(last) if page.len() == PAGE => {
                    wanted.before = Some((last.head.summary.at, last.id.clone()));
                }
                _ => return Ok(()),
            }
        }
    }

    async fn look_at(&self, runtime: &Runtime, delivery: &Session, at: i64) -> Result<(), SessionError> {
        let said: Delivery = delivery.state().await?;
        let Ok(target) = said.session.parse::<SessionId>() else { return Ok(()) };
        let run = RunId(said.run);
        let over = match runtime.session_of(target.clone()).status().await {
            Ok(status) => is_over(&status, run),
            Err(SessionError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        match over {
            Some(true) => {
                self.waiting.lock().remove(&(target, run));
                release(delivery).await;
            }
            Some(false) => {
                self.waiting.lock().insert((target, run), delivery.clone());
            }
            None if WallClock.now_ms() - at > YOUNG_MS => {
                self.waiting.lock().remove(&(target, run));
                remove(delivery).await;
            }
            None => {}
        }
        Ok(())
    }
}

/// Lets a delivery go.
async fn release(delivery: &Session) {
    match delivery.answer_as(Answers::only(json!(true)), "the server").await {
        Ok(_) => {}
        Err(error) => tracing::debug!(session = %delivery.id(), %error, "a delivery does not wait any more"),
    }
}

async fn remove(delivery: &Session) {
    let stopped = delivery.stop().await.map(drop);
    if let Err(error) = stopped.and(delivery.delete().await) {
        tracing::debug!(session = %delivery.id(), %error, "a delivery cannot be removed");
    }
}
