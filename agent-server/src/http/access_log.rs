//! Access log and spans of requests. Neither contains paths, queries or bodies.

use std::{net::IpAddr, time::Duration};

use hyper::{HeaderMap, Method, StatusCode, header::HeaderValue};
use tracing::field::Empty;

use crate::{auth::Subject, otlp};

/// Log record of one request.
pub(crate) struct AccessRecord<'a> {
    pub(crate) id: &'a HeaderValue,
    pub(crate) method: &'a Method,
    /// Pattern of the path.
    pub(crate) route: &'a str,
    pub(crate) subject: Option<&'a Subject>,
    pub(crate) peer: IpAddr,
}

impl AccessRecord<'_> {
    /// Writes the record.
    pub(crate) fn log(&self, status: StatusCode, took: Duration) {
        tracing::info!(
            target: "agent_server::access",
            request_id = self.id.to_str().unwrap_or_default(),
            method = %self.method,
            route = self.route,
            status = status.as_u16(),
            ms = took.as_secs_f64() * 1_000.0,
            caller = self.subject.map(Subject::as_str),
            peer = %self.peer,
            "answered"
        );
    }
}

/// Creates the log span in which a request is handled.
pub(crate) fn log_span(id: &HeaderValue, method: &Method, route: &str) -> tracing::Span {
    tracing::info_span!("http.request", request_id = id.to_str().unwrap_or_default(), %method, route)
}

/// Creates the span of a request for the tracing backend. It contains no path, query, caller or body.
pub(crate) fn trace_span(
    id: &HeaderValue,
    method: &Method,
    route: &str,
    headers: &HeaderMap,
) -> tracing::Span {
    let span = tracing::info_span!(
        target: otlp::REQUEST_TARGET,
        "http.server",
        openinference.span.kind = "CHAIN",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method.as_str(),
        http.route = route,
        http.response.status_code = Empty,
        agent_server.request_id = id.to_str().unwrap_or_default(),
        error.type = Empty,
        otel.status_code = Empty,
    );
    otlp::adopt(&span, headers);
    span
}

/// Ends the trace span of a request, even if a run started by the request is still in it.
pub(crate) fn end_trace_span(span: &tracing::Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
    otlp::ended(span);
}
