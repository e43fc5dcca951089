//! What a handler gives back: JSON, a file, or a stream.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::Frame,
    header::{self, HeaderValue},
};
use serde_json::Value;

use crate::error::{ApiError, Contract, Refusal};

/// The body of a response.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a handler comes to.
pub(crate) type Reply = Result<Response<Body>, ApiError>;

/// `200 OK` with JSON.
pub(crate) fn ok(body: &Value) -> Response<Body> {
    json(StatusCode::OK, body)
}

/// `200 OK` with JSON that is written already.
pub(crate) fn written(json: String) -> Response<Body> {
    let mut response = of("application/json", json);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// JSON with a status; not to be kept by anybody on the way.
pub(crate) fn json(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = of("application/json", body.to_string());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `200 OK` with bytes of a kind.
pub(crate) fn of(kind: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// A status without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Server-sent events, one item a write: nothing is held back to fill a buffer. The stream is dropped when the
/// client goes away.
pub(crate) fn sse(events: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let frames = events.map(|event| Ok(Frame::data(event)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies of nginx's kind collect what they pass on unless told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The events, and a comment whenever none has come for a while, so that nobody on the way takes the silence for the end.
pub(crate) fn alive(
    events: impl Stream<Item = Bytes> + Send + 'static,
    beat: Duration,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(Box::pin(events), move |mut events| async move {
        match tokio::time::timeout(beat, events.next()).await {
            Ok(event) => event.map(|event| (event, events)),
            Err(_) => Some((Bytes::from_static(b": ping\n\n"), events)),
        }
    })
}

/// The response of a refusal, in the words of the contract that the path belongs to.
pub(crate) fn refuse(contract: Contract, error: &ApiError) -> Response<Body> {
    let mut response = json(error.status, &error.body(contract));
    if let Some(allow) = &error.allow {
        response.headers_mut().insert(header::ALLOW, (**allow).clone());
    }
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.status == StatusCode::UNAUTHORIZED {
        let wrong = error.code == Refusal::InvalidToken.name();
        let challenge = if wrong { "Bearer error=\"invalid_token\"" } else { "Bearer" };
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if matches!(error.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}
