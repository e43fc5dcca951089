//! `GET /health`: liveness and load of the server.

use hyper::Method;

use crate::{
    api::operations::Health,
    app::RequestContext,
    docs::openapi::RouteDoc,
    http::response::{HandlerResult, ok},
};

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(Method::GET, "/health", "health", "operations", "Check liveness")
        .aliased()
        .response::<Health>(200, "The server is alive.")
}

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let app = &context.app;
    Ok(ok(&Health {
        status: "healthy",
        version: env!("CARGO_PKG_VERSION"),
        agent: app.agents.first().map(|agent| agent.graph().to_owned()),
        live_runs: app.runtime.live_runs() as u64,
    }))
}
