//! What is done around every request: origin, body limit and time, panic to 500, JSON out.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderValue},
};
use serde_json::Value;

use crate::{
    cors::{self, Caller},
    error::{ApiError, Refusal},
    handler,
    router::{Route, route},
    server::Inner,
    ws,
};

/// The body of a response.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

const DASHBOARD: &str = include_str!("dashboard/index.html");

/// How much of a body that is too large is read and thrown away, so that its sender gets to read the refusal.
const THROWN_AWAY: usize = 4 * 1024 * 1024;

/// Answers one request. Never fails: whatever goes wrong is a response.
pub(crate) async fn serve(
    inner: Arc<Inner>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let caller = cors::caller(&inner.options.origins, request.headers());
    let answered = AssertUnwindSafe(answer(&inner, &caller, request)).catch_unwind().await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => refuse(&error),
        Err(_) => {
            tracing::error!("a handler panicked");
            refuse(&ApiError::new(Refusal::Internal, "the server made a mistake"))
        }
    };
    cors::stamp(&caller, response.headers_mut());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

async fn answer(
    inner: &Arc<Inner>,
    caller: &Caller,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let route = route(request.method(), request.uri().path())?;
    let reads = matches!(route, Route::Preflight(_)) || *request.method() == Method::GET;
    let foreign = *caller == Caller::Foreign;
    // A page elsewhere must neither change anything nor listen in: sockets know no CORS.
    if foreign && (!reads || matches!(route, Route::Socket(_))) {
        return Err(ApiError::new(Refusal::OriginNotAllowed, "pages of this origin may not do this"));
    }
    match route {
        Route::Run => {
            let body = body(inner, request).await?;
            handler::run::run(inner, &body).await.map(ok)
        }
        Route::RunAsync => {
            let body = body(inner, request).await?;
            handler::run::start(inner, &body).await.map(ok)
        }
        Route::Status(id) => handler::status::handle(inner, id).await.map(ok),
        Route::Stop(id) => handler::stop::handle(inner, id).await.map(ok),
        Route::Resume(id) => {
            let body = body(inner, request).await?;
            handler::resume::handle(inner, id, &body).await.map(ok)
        }
        Route::Health => Ok(ok(handler::health::handle(inner))),
        Route::Socket(id) => ws::upgrade(inner, id, request).await,
        Route::Dashboard => Ok(page()),
        Route::Preflight(methods) => {
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
            cors::preflight(caller, methods, response.headers_mut());
            Ok(response)
        }
    }
}

/// The whole body, within the limits of size and time.
async fn body(inner: &Inner, request: Request<Incoming>) -> Result<Bytes, ApiError> {
    let (limit, time) = (inner.options.body_bytes, inner.options.body_time);
    let mut body = request.into_body();
    let too_large = || ApiError::new(Refusal::BodyTooLarge, format!("a body may have {limit} bytes"));
    if body.size_hint().lower() > limit as u64 {
        throw_away(body).await;
        return Err(too_large());
    }
    let read = async {
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::new(Refusal::InvalidRequest, "the body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > limit {
                return Ok(None);
            }
            read.extend_from_slice(&data);
        }
        Ok(Some(Bytes::from(read)))
    };
    match tokio::time::timeout(time, read).await {
        Ok(Ok(Some(read))) => Ok(read),
        Ok(Ok(None)) => {
            throw_away(body).await;
            Err(too_large())
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ApiError::new(Refusal::BodyTimedOut, "the body did not arrive in time")),
    }
}

/// Reads on for a while: a sender that is cut off in the middle would see a broken connection instead of the refusal.
async fn throw_away(mut body: Incoming) {
    let read = async {
        let mut left = THROWN_AWAY;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(size);
            if left == 0 {
                return;
            }
        }
    };
    if tokio::time::timeout(Duration::from_secs(2), read).await.is_err() {
        tracing::debug!("the rest of a body that is too large did not come");
    }
}

fn ok(body: Value) -> Response<Body> {
    json(StatusCode::OK, &body)
}

/// The response of a refusal.
pub(crate) fn refuse(error: &ApiError) -> Response<Body> {
    let mut response = json(error.status, &error.body());
    if let Some(allow) = error.allow {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    if error.status == StatusCode::PAYLOAD_TOO_LARGE || error.status == StatusCode::REQUEST_TIMEOUT {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn json(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn page() -> Response<Body> {
    let mut response = Response::new(full(DASHBOARD));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    );
    response
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

fn empty() -> Body {
    full(Bytes::new())
}
