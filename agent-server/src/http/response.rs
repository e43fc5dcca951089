//! Responses: JSON, files, server-sent events, errors.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::Frame,
    header::{self, HeaderValue},
};
use serde::Serialize;

use crate::error::{ApiError, Contract, Rejection};

/// Body of a response.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Result of a handler.
pub(crate) type HandlerResult = Result<Response<Body>, ApiError>;

/// Returns `200 OK` with a value as JSON.
pub(crate) fn ok(body: &impl Serialize) -> Response<Body> {
    json(StatusCode::OK, body)
}

/// Returns `200 OK` with serialized JSON.
pub(crate) fn json_text(json: String) -> Response<Body> {
    let mut response = bytes("application/json", escape_separators(json));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Escapes U+2028 and U+2029 in serialized JSON, where only strings contain them. JSON allows them, but they end a line in
/// JavaScript before 2019 and in readers that split server-sent events at every Unicode line break.
pub(crate) fn escape_separators(json: String) -> String {
    // The first byte of both; rare in Korean and English text.
    if !json.as_bytes().contains(&0xe2) || !json.contains(['\u{2028}', '\u{2029}']) {
        return json;
    }
    json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// As [`escape_separators`], for bytes of a response that this crate does not write.
#[cfg(feature = "mcp")]
pub(crate) fn escape_separators_in(data: Bytes) -> Bytes {
    if !data.contains(&0xe2) {
        return data;
    }
    match std::str::from_utf8(&data) {
        Ok(text) => escape_separators(text.to_owned()).into(),
        Err(_) => data,
    }
}

/// Returns a value as JSON, with a status. Caches must not store it.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    let mut response = json_text(serde_json::to_string(body).expect("messages serialize to JSON"));
    *response.status_mut() = status;
    response
}

/// Returns `200 OK` with bytes of a media type.
pub(crate) fn bytes(media_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Returns a status without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Returns a stream of server-sent events. Each item is written at once. The stream is dropped when the client
/// disconnects.
pub(crate) fn sse(events: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let frames = events.map(|event| Ok(Frame::data(event)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    // nginx buffers responses by default.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Adds a comment whenever no event was sent for `interval`, so that proxies do not close the stream as idle.
pub(crate) fn with_keep_alive(
    events: impl Stream<Item = Bytes> + Send + 'static,
    interval: Duration,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(Box::pin(events), move |mut events| async move {
        match tokio::time::timeout(interval, events.next()).await {
            Ok(event) => event.map(|event| (event, events)),
            Err(_) => Some((Bytes::from_static(b": ping\n\n"), events)),
        }
    })
}

/// Returns the response for an error, in the format of the route's contract.
pub(crate) fn error_response(contract: Contract, error: &ApiError) -> Response<Body> {
    let mut response = json(error.status, &error.body(contract));
    if let Some(allow) = &error.allow {
        response.headers_mut().insert(header::ALLOW, (**allow).clone());
    }
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if contract == Contract::OpenAi {
        // Clients of OpenAI obey it. A failed model call was repeated here already.
        let retry = if error.is_worth_repeating() { "true" } else { "false" };
        response.headers_mut().insert("x-should-retry", HeaderValue::from_static(retry));
    }
    if error.status == StatusCode::UNAUTHORIZED {
        let invalid = error.code == Rejection::InvalidToken.name();
        let challenge = if invalid { "Bearer error=\"invalid_token\"" } else { "Bearer" };
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if matches!(error.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Returns a body of one frame.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}
