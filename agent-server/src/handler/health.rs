//! `GET /health`: whether the server lives, and how busy it is.

use serde_json::{Value, json};

use crate::server::Inner;

pub(crate) fn handle(inner: &Inner) -> Value {
    json!({
        "status": "healthy",
        "version": env!("CARGO_PKG_VERSION"),
        "agent": inner.agent.graph(),
        "live_runs": inner.runtime.live_runs(),
    })
}
