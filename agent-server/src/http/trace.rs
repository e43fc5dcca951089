//! A name for each request, in the answer and in the log; and one line of log a request, without what was said in it.

use std::{net::IpAddr, time::Duration};

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{HeaderName, HeaderValue},
};

use crate::auth::Subject;

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
