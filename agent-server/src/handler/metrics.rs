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
        .parameter("query", "replaced", false, &json!({"type": "string"}), REPLACED)
        .responds(200, json!({"description": "The metrics.", "content": content}))
}

const REPLACED: &str = "Whether to include `agent_model_milliseconds_total` and `agent_model_cost_micros_total`, which \
    `agent_model_call_duration_seconds_sum` and `agent_model_cost_total` replace.";

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let app = &context.app;
    let mut page = Page::default();
    let gauges = [
        ("agent_live_runs", "Runs in memory, including paused ones.", app.runtime.live_runs()),
        ("agent_waiting_runs", "Runs that wait for a slot (MAX_ACTIVE_RUNS).", app.runtime.waiting_runs()),
        ("agent_sockets", "Open WebSockets.", app.tasks.len()),
        ("agent_connections", "Open connections, including WebSockets.", app.connections()),
        ("agent_input_bytes", "Memory reserved for callers' input.", app.input.used()),
    ];
    for (name, help, value) in gauges {
        page.family(name, "gauge", help);
        page.line(name, &[], value);
    }
    app.metrics.write(&mut page);
    for metric in &app.custom_metrics {
        metric.write(&mut page);
    }
    if context.query().get("replaced").is_some_and(|value| value != "false") {
        app.metrics.write_replaced(&mut page);
    }
    app.router.write_metrics(&mut page);
    Ok(bytes("text/plain; version=0.0.4; charset=utf-8", page.into_text()))
}
