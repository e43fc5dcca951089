//! `GET /health`: whether the server lives, and how busy it is.

use serde_json::json;

use crate::http::{
    call::Call,
    reply::{Reply, ok},
};

pub(crate) async fn handle(call: Call) -> Reply {
    let inner = &call.inner;
    Ok(ok(&json!({
        "status": "healthy",
        "version": env!("CARGO_PKG_VERSION"),
        "agent": inner.agents.first().map(|agent| agent.graph()),
        "live_runs": inner.runtime.live_runs(),
    })))
}
