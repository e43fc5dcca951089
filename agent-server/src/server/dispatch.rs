//! Dispatches requests: routing, CORS, authentication, rate limit, logging. Every error becomes a response.

use std::{
    net::IpAddr,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Instant,
};

use futures::FutureExt;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderValue},
    http::uri::Authority,
};
use tracing::{Instrument, Span};

use crate::{
    app::{AppState, RequestContext},
    auth::{PROTOCOL, Subject, offered},
    error::{ApiError, Contract, Rejection},
    fail_points,
    http::{
        access_log::{self, AccessRecord},
        cors::{self, Caller},
        header_timeout::RequestGuard,
        host,
        query::Query,
        request::{BodyLimits, PathParams, discard},
        request_id::{REQUEST_ID, request_id},
        response::{Body, HandlerResult, empty, error_response},
        router::{AuthPolicy, Route, RouteMatch},
    },
    limits::Key,
};

/// Responds to a request. Errors become responses too.
pub(super) async fn dispatch(
    app: &Arc<AppState>,
    peer: IpAddr,
    guard: RequestGuard,
    request: Request<Incoming>,
) -> Response<Body> {
    let started = Instant::now();
    let host = host::of(&request);
    let client = app.options.proxies.client(peer, request.headers());
    let id = request_id(request.headers());
    let caller = cors::caller(&app.options.origins, request.headers());
    let found = app.router.find(request.method(), request.uri().path());
    let (mut response, metrics) = match host.and_then(|host| Ok((host, found?))) {
        Ok((host, RouteMatch::Route(route, metrics, params))) => {
            let span = match route.auth {
                AuthPolicy::Public => Span::none(),
                _ => access_log::trace_span(&id, request.method(), &route.path, request.headers()),
            };
            let meta = RequestMeta { started, id: &id, host: host.as_ref(), peer, client, caller: &caller };
            let responding = respond(app, meta, route, params, request);
            let response = if span.is_disabled() {
                responding.await
            } else {
                let response = Box::pin(responding.instrument(span.clone())).await;
                access_log::end_trace_span(&span, response.status());
                response
            };
            (response, metrics)
        }
        Ok((_, RouteMatch::Preflight(methods))) => {
            (preflight(&caller, methods, request.headers()), app.router.unmatched())
        }
        // The preflight succeeds, so that the page can read the 404 of its request.
        Err(error) if error.status == StatusCode::NOT_FOUND && is_preflight(&request) => {
            let method = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
            let method = method.and_then(|method| method.to_str().ok()).unwrap_or_default();
            (preflight(&caller, method, request.headers()), app.router.unmatched())
        }
        Err(error) => {
            let contract = Contract::of_path(request.uri().path());
            let response = refuse(request, error_response(contract, &error)).await;
            (response, app.router.unmatched())
        }
    };
    cors::add_headers(&caller, response.headers_mut());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers_mut().insert(REQUEST_ID, id);
    metrics.count(response.status(), started.elapsed());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        guard.disarm();
    } else if response.body().size_hint().exact().is_none() {
        response = response.map(|body| guard.wrap_body(body));
    }
    response
}

/// Metadata of a request before it is handled.
struct RequestMeta<'a> {
    started: Instant,
    id: &'a HeaderValue,
    /// The requested host.
    host: Option<&'a Authority>,
    /// Address of the connection.
    peer: IpAddr,
    /// Address of the client, as reported by trusted proxies.
    client: IpAddr,
    caller: &'a Caller,
}

/// Checks the request against the policy of its route and runs the handler.
async fn respond(
    app: &Arc<AppState>,
    meta: RequestMeta<'_>,
    route: &Route<AppState>,
    path_params: PathParams,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let RequestMeta { started, id, host, peer, client, caller } = meta;
    let method = request.method().clone();
    let logs = app.options.access_log;
    let log = |subject: Option<&Subject>, response: Response<Body>| {
        if logs {
            let record = AccessRecord { id, method: &method, route: &route.path, subject, peer: client };
            record.log(response.status(), started.elapsed());
        }
        response
    };
    let foreign = *caller == Caller::Foreign;
    // Pages of foreign origins must neither change anything nor read streams.
    if foreign && (route.method != Method::GET || route.auth == AuthPolicy::AuthenticatedSameOrigin) {
        let error = ApiError::new(
            Rejection::OriginNotAllowed,
            "pages of this origin may not do this; the operator can add the origin to ALLOWED_ORIGINS",
        );
        return log(None, refuse(request, error_response(route.contract, &error)).await);
    }
    if route.query_token {
        take_query_token(&mut request);
    }
    let subject = match route.auth {
        AuthPolicy::Public => None,
        AuthPolicy::Authenticated | AuthPolicy::AuthenticatedSameOrigin => {
            // Authentication uses the peer address, never a forwarded one.
            let checked = app.auth.check(peer, request.version(), request.headers());
            // The host matters only for callers without credentials (DNS rebinding).
            let host_allowed = app.auth.knows_subjects() || app.options.hosts.allow(host);
            let checked =
                checked.and_then(|subject| if host_allowed { Ok(subject) } else { Err(foreign_host()) });
            // Requests with wrong credentials count too.
            let key = Key::of(client, checked.as_ref().ok().and_then(Option::as_ref));
            match app.limits.request(key).await.and(checked) {
                Ok(subject) => subject,
                Err(error) => {
                    return log(None, refuse(request, error_response(route.contract, &error)).await);
                }
            }
        }
    };
    if let Some(query) = request.uri().query()
        && let names = (route.query)(&route.method, &route.path)
        && !names.is_empty()
        && let Err(error) = Query::parse(query).check_names(names)
    {
        return log(subject.as_ref(), error_response(route.contract, &error));
    }
    let offers_protocol = offered(request.headers()).any(|name| name == PROTOCOL);
    // No handler needs the credentials.
    request.headers_mut().remove(header::AUTHORIZATION);
    if let Some(subject) = &subject {
        request.extensions_mut().insert(subject.clone());
    }
    let context = RequestContext {
        memory: None,
        body_limits: BodyLimits { bytes: app.options.body_bytes, timeout: app.options.body_time },
        app: Arc::clone(app),
        request,
        path_params,
        peer: client,
        subject: subject.clone(),
    };
    // The future of the handler is boxed, so that this one keeps no room for the context.
    let handled = match panic::catch_unwind(AssertUnwindSafe(|| (route.handler)(context))) {
        Ok(handled) => {
            let span = match route.auth {
                AuthPolicy::Public => Span::none(),
                _ => access_log::log_span(id, &method, &route.path),
            };
            AssertUnwindSafe(handled).catch_unwind().instrument(span).await
        }
        Err(panic) => Err(panic),
    };
    let result: HandlerResult = handled.unwrap_or_else(|_| {
        tracing::error!(path = route.path, "a handler panicked");
        Err(ApiError::internal())
    });
    let mut response = result.unwrap_or_else(|error| error_response(route.contract, &error));
    if method == Method::POST && response.status().is_success() {
        fail_points::reach("acknowledge.before");
    }
    if offers_protocol && response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Never the token, which a browser offers as another protocol.
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    log(subject.as_ref(), response)
}

/// Returns the response of a request that is refused before its body was read. A small body is read and discarded, so that the
/// connection can be used again and its client can read the response; otherwise the connection is closed.
async fn refuse(request: Request<Incoming>, mut response: Response<Body>) -> Response<Body> {
    if !discard(request.into_body()).await {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Moves the credential in the query parameter `token` to the header, unless the request has one there.
fn take_query_token(request: &mut Request<Incoming>) {
    let Some(query) = request.uri().query() else { return };
    let token = Query::parse(query).get("token").map(str::to_owned);
    if let Some(token) = token
        && !request.headers().contains_key(header::AUTHORIZATION)
        && let Ok(value) = HeaderValue::try_from(format!("Bearer {token}"))
    {
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
}

/// The error of a request without credentials for a host that is not the server's.
fn foreign_host() -> ApiError {
    let message =
        "this server does not respond for this host; its operator can set ALLOWED_HOSTS or API_KEYS";
    ApiError::new(Rejection::OriginNotAllowed, message)
}

fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && request.headers().contains_key(header::ORIGIN)
}

fn preflight(caller: &Caller, methods: &str, request: &HeaderMap) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    if let Ok(allow) = HeaderValue::from_str(methods) {
        cors::preflight(caller, &allow, request, response.headers_mut());
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}
