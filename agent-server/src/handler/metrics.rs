//! `GET /metrics`: what was counted since the start, as Prometheus reads it.

use crate::{
    http::{
        call::Call,
        reply::{Reply, of},
    },
    metrics::Page,
};

pub(crate) async fn handle(call: Call) -> Reply {
    let inner = &call.inner;
    let mut page = Page::default();
    let now = [
        (
            "agent_live_runs",
            "Runs in memory, those that wait for a person included.",
            inner.runtime.live_runs(),
        ),
        ("agent_sockets", "Open WebSockets.", inner.sockets.len()),
        ("agent_connections", "Open connections, sockets included.", inner.connections()),
        ("agent_input_bytes", "Memory reserved for callers' input.", inner.input.used()),
    ];
    for (name, help, value) in now {
        page.family(name, "gauge", help);
        page.line(name, &[], value);
    }
    inner.metrics.write(&mut page);
    inner.routes.write_meters(&mut page);
    Ok(of("text/plain; version=0.0.4; charset=utf-8", page.into_text()))
}
