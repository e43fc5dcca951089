//! `GET /metrics`: Prometheus metrics.

use hyper::Method;
use serde_json::json;

use crate::{
    app::RequestContext,
    docs::openapi::RouteDoc,
    http::response::{HandlerResult, bytes},
    metrics::Page,
};

pub(super) fn doc() -> RouteDoc {
    let content = json!({"text/plain": {"schema": {"type": "string"}}});
    RouteDoc::new(Method::GET, "/metrics", "metrics", "operations", "Get metrics for Prometheus")
        .responds(200, json!({"description": "The metrics.", "content": content}))
}

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let app = &context.app;
    let mut page = Page::default();
    let gauges = [
        ("agent_live_runs", "Runs in memory, including paused ones.", app.runtime.live_runs()),
        ("agent_sockets", "Open WebSockets.", app.tasks.len()),
        ("agent_connections", "Open connections, including WebSockets.", app.connections()),
        ("agent_input_bytes", "Memory reserved for callers' input.", app.input.used()),
    ];
    for (name, help, value) in gauges {
        page.family(name, "gauge", help);
        page.line(name, &[], value);
    }
    app.metrics.write(&mut page);
    app.router.write_metrics(&mut page);
    Ok(bytes("text/plain; version=0.0.4; charset=utf-8", page.into_text()))
}
