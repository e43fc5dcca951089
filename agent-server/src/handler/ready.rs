//! `GET /ready`: whether the server can handle requests: the store accepts writes, and there is no shutdown.

use hyper::StatusCode;
use serde_json::json;

use crate::{
    app::RequestContext,
    http::response::{HandlerResult, json, ok},
};

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let app = &context.app;
    let result = match app.shutdown.is_cancelled() {
        true => Err("the server is shutting down"),
        false => app.readiness.check(&app.runtime).await,
    };
    Ok(match result {
        Ok(()) => ok(&json!({"status": "ready"})),
        Err(reason) => {
            json(StatusCode::SERVICE_UNAVAILABLE, &json!({"status": "not_ready", "reason": reason}))
        }
    })
}
