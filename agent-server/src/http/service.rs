//! What is done around every request: where it goes, its origin, and that whatever goes wrong is a response.

use std::{convert::Infallible, net::IpAddr, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};

use super::{
    call::Call,
    cors::{self, Caller},
    reply::{Body, Reply, empty, refuse},
    routes::{Access, Found},
};
use crate::{
    auth::{PROTOCOL, offered},
    error::{ApiError, Contract, Refusal},
    limit::Key,
    server::Inner,
};

/// Answers one request. Never fails: whatever goes wrong is a response.
pub(crate) async fn serve(
    inner: Arc<Inner>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let caller = cors::caller(&inner.options.origins, request.headers());
    let mut response = answer(inner, peer, &caller, request).await;
    cors::stamp(&caller, response.headers_mut());
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

async fn answer(
    inner: Arc<Inner>,
    peer: IpAddr,
    caller: &Caller,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let shared = Arc::clone(&inner);
    let (route, parts) = match shared.routes.find(request.method(), request.uri().path()) {
        Ok(Found::Route(route, parts)) => (route, parts),
        Ok(Found::Preflight(methods)) => return preflight(caller, methods),
        Err(error) => return refuse(Contract::of_path(request.uri().path()), &error),
    };
    let foreign = *caller == Caller::Foreign;
    // A page elsewhere must neither change anything nor listen in.
    if foreign && (route.method != Method::GET || route.access == Access::Socket) {
        let error = ApiError::new(Refusal::OriginNotAllowed, "pages of this origin may not do this");
        return refuse(route.contract, &error);
    }
    let subject = match route.access {
        Access::Open => None,
        Access::Known | Access::Socket => {
            let checked = inner.auth.check(peer, request.headers());
            // Who guesses is counted too.
            let key = Key::of(peer, checked.as_ref().ok().and_then(Option::as_ref));
            match inner.limits.request(key).and(checked) {
                Ok(subject) => subject,
                Err(error) => return refuse(route.contract, &error),
            }
        }
    };
    let offers_ours = offered(request.headers()).any(|name| name == PROTOCOL);
    // Nobody further in has a use for it.
    request.headers_mut().remove(header::AUTHORIZATION);
    if let Some(subject) = &subject {
        request.extensions_mut().insert(subject.clone());
    }
    let call = Call { inner, request, parts, peer, subject };
    let answered: Reply =
        AssertUnwindSafe(async { (route.handler)(call).await }).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(path = route.path, "a handler panicked");
            Err(ApiError::new(Refusal::Internal, "the server made a mistake"))
        });
    let mut response = answered.unwrap_or_else(|error| refuse(route.contract, &error));
    if offers_ours && response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Never the token that a browser offers beside it.
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    }
    response
}

fn preflight(caller: &Caller, methods: &str) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    if let Ok(allow) = HeaderValue::from_str(methods) {
        cors::preflight(caller, &allow, response.headers_mut());
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}
