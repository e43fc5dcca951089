//! What is done around every request: where it goes, its origin, and that whatever goes wrong is a response.

use std::{convert::Infallible, net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use futures::FutureExt;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderValue},
    http::uri::Authority,
};
use tracing::{Instrument, Span};

use super::{
    call::Call,
    cors::{self, Caller},
    host,
    patience::Handling,
    reply::{Body, Reply, empty, refuse},
    routes::{Access as Entry, Found, Route},
    trace::{self, Access},
};
use crate::{
    auth::{PROTOCOL, Subject, offered},
    error::{ApiError, Contract, Refusal},
    limit::Key,
    server::Inner,
};

/// Answers one request. Never fails: whatever goes wrong is a response.
pub(crate) async fn serve(
    inner: Arc<Inner>,
    peer: IpAddr,
    handling: Handling,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let begun = Instant::now();
    let host = host::of(&request);
    let from = inner.options.proxies.caller(peer, request.headers());
    let id = trace::request_id(request.headers());
    let caller = cors::caller(&inner.options.origins, request.headers());
    let shared = Arc::clone(&inner);
    let found = shared.routes.find(request.method(), request.uri().path());
    let (mut response, meter) = match host.and_then(|host| Ok((host, found?))) {
        Ok((host, Found::Route(route, meter, parts))) => {
            let span = match route.access {
                Entry::Open => Span::none(),
                _ => trace::shown(&id, request.method(), &route.path, request.headers()),
            };
            let asked = Asked { begun, id: &id, host: host.as_ref(), peer, from, caller: &caller };
            let answering = answer(inner, asked, route, parts, request);
            let response = if span.is_disabled() {
                answering.await
            } else {
                let response = Box::pin(answering.instrument(span.clone())).await;
                trace::answered(&span, response.status());
                response
            };
            (response, meter)
        }
        Ok((_, Found::Preflight(methods))) => (preflight(&caller, methods), shared.routes.nowhere()),
        Err(error) => (refuse(Contract::of_path(request.uri().path()), &error), shared.routes.nowhere()),
    };
    cors::stamp(&caller, response.headers_mut());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers_mut().insert(trace::REQUEST_ID, id);
    meter.count(response.status(), begun.elapsed());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        handling.for_good();
    } else if response.body().size_hint().exact().is_none() {
        response = response.map(|body| handling.with(body));
    }
    Ok(response)
}

/// What is known of a request before anybody looks into it.
struct Asked<'a> {
    begun: Instant,
    id: &'a HeaderValue,
    /// The host that it is for.
    host: Option<&'a Authority>,
    /// Who holds the connection.
    peer: IpAddr,
    /// For whom, where a trusted proxy says so.
    from: IpAddr,
    caller: &'a Caller,
}

async fn answer(
    inner: Arc<Inner>,
    asked: Asked<'_>,
    route: &Route,
    parts: Vec<(Box<str>, String)>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let Asked { begun, id, host, peer, from, caller } = asked;
    let method = request.method().clone();
    let logs = inner.options.access_log;
    let log = |subject: Option<&Subject>, response: Response<Body>| {
        if logs {
            let access = Access { id, method: &method, route: &route.path, subject, peer: from };
            access.log(response.status(), begun.elapsed());
        }
        response
    };
    let foreign = *caller == Caller::Foreign;
    // A page elsewhere must neither change anything nor listen in.
    if foreign && (route.method != Method::GET || route.access == Entry::Socket) {
        let error = ApiError::new(Refusal::OriginNotAllowed, "pages of this origin may not do this");
        return log(None, refuse(route.contract, &error));
    }
    let subject = match route.access {
        Entry::Open => None,
        Entry::Known | Entry::Socket => {
            // Nobody is let in for what a proxy says.
            let version = request.version();
            let checked = inner.auth.check(peer, version, request.headers());
            // With a key or a token it does not matter by which name a server was found.
            let named = inner.auth.knows_subjects() || inner.options.hosts.allow(host);
            let checked = checked.and_then(|subject| if named { Ok(subject) } else { Err(unnamed()) });
            // Who guesses is counted too.
            let key = Key::of(from, checked.as_ref().ok().and_then(Option::as_ref));
            match inner.limits.request(key).and(checked) {
                Ok(subject) => subject,
                Err(error) => return log(None, refuse(route.contract, &error)),
            }
        }
    };
    let offers_ours = offered(request.headers()).any(|name| name == PROTOCOL);
    // Nobody further in has a use for it.
    request.headers_mut().remove(header::AUTHORIZATION);
    if let Some(subject) = &subject {
        request.extensions_mut().insert(subject.clone());
    }
    let memory = inner.input.share();
    let call = Call { inner, request, parts, peer: from, subject: subject.clone(), memory };
    let handled = AssertUnwindSafe(async { (route.handler)(call).await }).catch_unwind();
    let handled = async {
        match route.access {
            Entry::Open => handled.await,
            _ => handled.instrument(trace::span(id, &method, &route.path)).await,
        }
    };
    let answered: Reply = handled.await.unwrap_or_else(|_| {
        tracing::error!(path = route.path, "a handler panicked");
        Err(ApiError::new(Refusal::Internal, "the server made a mistake"))
    });
    let mut response = answered.unwrap_or_else(|error| refuse(route.contract, &error));
    if offers_ours && response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Never the token that a browser offers beside it.
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    log(subject.as_ref(), response)
}

/// What a request is told that is for a host which is none of the server's.
fn unnamed() -> ApiError {
    let told = "this server does not answer for this host; its operator can set ALLOWED_HOSTS, or API_KEYS";
    ApiError::new(Refusal::OriginNotAllowed, told)
}

fn preflight(caller: &Caller, methods: &str) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    if let Ok(allow) = HeaderValue::from_str(methods) {
        cors::preflight(caller, &allow, response.headers_mut());
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}
