//! `GET /ready`: whether requests should be sent here: the store can be written, and the server is not ending.

use std::time::Duration;

use agent_core::Runtime;
use hyper::StatusCode;
use serde_json::json;
use tokio::{sync::Mutex, time::Instant};

use crate::http::{
    call::Call,
    reply::{Reply, json, ok},
};

/// How long the store may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long what was found holds.
const FRESH: Duration = Duration::from_secs(1);

/// Whether the store can be written, as of a moment ago. However often it is asked for, the store is written once a
/// second at most.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Result<(), &'static str>)>>);

impl Readiness {
    /// `Err` with what is wrong.
    async fn of(&self, runtime: &Runtime) -> Result<(), &'static str> {
        let mut known = self.0.lock().await;
        if let Some((at, found)) = *known
            && at.elapsed() < FRESH
        {
            return found;
        }
        let found = match tokio::time::timeout(PATIENCE, runtime.check_journal()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "not ready: the store failed");
                Err("the store cannot be used")
            }
            Err(_) => Err("the store does not answer"),
        };
        *known = Some((Instant::now(), found));
        found
    }
}

pub(crate) async fn handle(call: Call) -> Reply {
    let inner = &call.inner;
    let found = match inner.ending.is_cancelled() {
        true => Err("the server is ending"),
        false => inner.readiness.of(&inner.runtime).await,
    };
    Ok(match found {
        Ok(()) => ok(&json!({"status": "ready"})),
        Err(why) => json(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not_ready", "reason": why})),
    })
}
