//! A name for each request, in the answer and in the log; and one line of log a request, without what was said in it.

use std::{net::IpAddr, time::Duration};

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{HeaderName, HeaderValue},
};

use tracing::field::Empty;

use crate::{auth::Subject, otlp};

/// The header of a request's name.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name that is taken over.
const LONGEST: usize = 128;

/// The name that the caller gave the request, or a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let legal = |id: &&HeaderValue| {
        (1..=LONGEST).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(legal).cloned().unwrap_or_else(|| {
        let mut id = [0; 16];
        let mut bits = fastrand::u64(..);
        for digit in &mut id {
            *digit = b"0123456789abcdef"[(bits & 15) as usize];
            bits >>= 4;
        }
        HeaderValue::from_bytes(&id).expect("these are legal characters")
    })
}

/// One request, as the log has it: no path, no query, no body.
pub(crate) struct Access<'a> {
    pub(crate) id: &'a HeaderValue,
    pub(crate) method: &'a Method,
    /// The pattern of the path.
    pub(crate) route: &'a str,
    pub(crate) subject: Option<&'a Subject>,
    pub(crate) peer: IpAddr,
}

impl Access<'_> {
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

/// What is done for a request happens in this span.
pub(crate) fn span(id: &HeaderValue, method: &Method, route: &str) -> tracing::Span {
    tracing::info_span!("http.request", request_id = id.to_str().unwrap_or_default(), %method, route)
}

/// The target of spans that are for a tracing backend: the log leaves them out.
pub(crate) const SPANS: &str = "agent_server::span";

/// A request as a tracing backend sees it: no path, no query, no caller, no body.
pub(crate) fn shown(id: &HeaderValue, method: &Method, route: &str, headers: &HeaderMap) -> tracing::Span {
    let span = tracing::info_span!(
        target: SPANS,
        "http.server",
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

/// The head of the answer has been made: the request's span ends, whatever goes on inside it.
pub(crate) fn answered(span: &tracing::Span, status: StatusCode) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
    otlp::ended(span);
}
