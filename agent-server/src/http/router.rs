//! Router: method and path to a handler. Reads no body.

use std::{future::Future, sync::Arc};

use futures::future::BoxFuture;
use hyper::{Method, header::HeaderValue};

use super::{
    query::decode,
    request::{PathParams, RequestContext},
    response::HandlerResult,
};
use crate::{
    error::{ApiError, Contract, Rejection},
    metrics::{Page, RouteMetrics},
};

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthPolicy {
    /// Everyone.
    Public,
    /// Authenticated callers, if the server authenticates callers.
    Authenticated,
    /// As `Authenticated`, but no pages of foreign origins, even for `GET`: CORS does not apply to WebSockets.
    AuthenticatedSameOrigin,
}

/// A handler of requests.
pub(crate) type Handler<A> =
    Arc<dyn Fn(RequestContext<A>) -> BoxFuture<'static, HandlerResult> + Send + Sync>;

/// A route.
pub(crate) struct Route<A> {
    pub(crate) method: Method,
    /// Path with `{name}` for variable parts.
    pub(crate) path: String,
    pub(crate) auth: AuthPolicy,
    /// Format of errors.
    pub(crate) contract: Contract,
    pub(crate) handler: Handler<A>,
}

/// Route of a request.
pub(crate) enum RouteMatch<'a, A> {
    /// The route, its metrics, and the values of the path's variable parts.
    Route(&'a Route<A>, &'a RouteMetrics, PathParams),
    /// A CORS preflight, with the methods of the path.
    Preflight(&'a str),
}

/// All routes.
pub(crate) struct Router<A> {
    matcher: matchit::Router<usize>,
    paths: Vec<Path<A>>,
    /// Metrics of requests without a route.
    unmatched: RouteMetrics,
}

struct Path<A> {
    pattern: String,
    routes: Vec<(Route<A>, RouteMetrics)>,
    /// Methods of the path, in the format of the `Allow` header.
    allow: String,
}

impl<A> Default for Router<A> {
    fn default() -> Self {
        Self { matcher: matchit::Router::new(), paths: Vec::new(), unmatched: RouteMetrics::default() }
    }
}

impl<A> Router<A> {
    /// Adds a route.
    ///
    /// # Errors
    ///
    /// The pattern is invalid, or there is a route with this method and path.
    pub(crate) fn add(&mut self, route: Route<A>) -> Result<(), String> {
        let path = match self.paths.iter_mut().find(|path| path.pattern == route.path) {
            Some(path) => path,
            None => {
                let invalid = |error| format!("the path `{}` cannot be served: {error}", route.path);
                self.matcher.insert(route.path.clone(), self.paths.len()).map_err(invalid)?;
                self.paths.push(Path {
                    pattern: route.path.clone(),
                    routes: Vec::new(),
                    allow: String::new(),
                });
                self.paths.last_mut().expect("a path was added")
            }
        };
        if path.routes.iter().any(|(other, _)| other.method == route.method) {
            return Err(format!("`{} {}` is served twice", route.method, route.path));
        }
        if !path.allow.is_empty() {
            path.allow.push_str(", ");
        }
        path.allow.push_str(route.method.as_str());
        path.routes.push((route, RouteMetrics::default()));
        Ok(())
    }

    /// Returns all routes, in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route<A>> {
        self.paths.iter().flat_map(|path| path.routes.iter().map(|(route, _)| route))
    }

    /// Finds the route of a request.
    ///
    /// # Errors
    ///
    /// 404, or 405 with the methods of the path.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<RouteMatch<'_, A>, ApiError> {
        let Ok(matched) = self.matcher.at(path) else {
            return Err(ApiError::new(Rejection::NotFound, "there is no route for this path"));
        };
        let path = &self.paths[*matched.value];
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        match path.routes.iter().find(|(route, _)| route.method == *wanted) {
            Some((route, metrics)) => {
                let params = matched.params.iter().map(|(name, text)| (name.into(), decode(text))).collect();
                Ok(RouteMatch::Route(route, metrics, PathParams(params)))
            }
            None if *method == Method::OPTIONS => Ok(RouteMatch::Preflight(&path.allow)),
            None => {
                let message = format!("this path supports {}", path.allow);
                let mut error = ApiError::new(Rejection::MethodNotAllowed, message);
                error.allow = HeaderValue::from_str(&path.allow).ok().map(Box::new);
                Err(error)
            }
        }
    }

    /// Returns the metrics of requests without a route.
    pub(crate) const fn unmatched(&self) -> &RouteMetrics {
        &self.unmatched
    }

    /// Writes the metrics of all routes.
    pub(crate) fn write_metrics(&self, page: &mut Page) {
        let routes = || self.paths.iter().flat_map(|path| &path.routes);
        page.family("agent_http_requests_total", "counter", "Responses, by route and status.");
        for (route, metrics) in routes() {
            metrics.write_statuses(page, route.method.as_str(), &route.path);
        }
        self.unmatched.write_statuses(page, "", "");
        page.family("agent_http_request_seconds", "histogram", "Time until the response headers, by route.");
        for (route, metrics) in routes() {
            metrics.write_times(page, route.method.as_str(), &route.path);
        }
    }
}

/// Makes a handler from an async function.
pub(crate) fn handler<A, F, R>(run: F) -> Handler<A>
where
    F: Fn(RequestContext<A>) -> R + Send + Sync + 'static,
    R: Future<Output = HandlerResult> + Send + 'static,
{
    Arc::new(move |context| Box::pin(run(context)))
}
