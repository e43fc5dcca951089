//! `GET /health`: liveness and load of the server.

use serde_json::json;

use crate::{
    app::RequestContext,
    http::response::{HandlerResult, ok},
};

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let app = &context.app;
    Ok(ok(&json!({
        "status": "healthy",
        "version": env!("CARGO_PKG_VERSION"),
        "agent": app.agents.first().map(|agent| agent.graph()),
        "live_runs": app.runtime.live_runs(),
    })))
}
