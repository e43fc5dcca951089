//! `GET /ready`: whether the server can handle requests: the store accepts writes, and there is no shutdown.

use hyper::{Method, StatusCode};

use crate::{
    api::operations::Ready,
    app::RequestContext,
    docs::openapi::RouteDoc,
    http::response::{HandlerResult, json, ok},
};

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(Method::GET, "/ready", "ready", "operations", "Check readiness")
        .response::<Ready>(200, "Ready: the store responds, and the server is not shutting down.")
        .response::<Ready>(503, "Not ready; `reason` has the cause.")
}

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let app = &context.app;
    let result = match app.shutdown.is_cancelled() {
        true => Err("the server is shutting down"),
        false => app.readiness.check(&app.runtime).await,
    };
    Ok(match result {
        Ok(()) => ok(&Ready { status: "ready", reason: None }),
        Err(reason) => {
            let body = Ready { status: "not_ready", reason: Some(reason) };
            json(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    })
}
