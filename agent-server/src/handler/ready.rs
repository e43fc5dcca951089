//! `GET /ready`: whether requests should be sent here: the store answers, and the server is not ending.

use std::time::Duration;

use agent_core::journal::Recent;
use hyper::StatusCode;
use serde_json::json;

use crate::http::{
    call::Call,
    reply::{Reply, json, ok},
};

/// How long the store may take.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) async fn handle(call: Call) -> Reply {
    let not =
        |why: &str| Ok(json(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not_ready", "reason": why})));
    if call.inner.ending.is_cancelled() {
        return not("the server is ending");
    }
    let wanted = Recent { limit: 1, ..Recent::default() };
    match tokio::time::timeout(PATIENCE, call.inner.runtime.recent(wanted)).await {
        Ok(Ok(_)) => Ok(ok(&json!({"status": "ready"}))),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the store failed");
            not("the store cannot be used")
        }
        Err(_) => not("the store does not answer"),
    }
}
