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

/// Access policy of a route.
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
    /// Whether the query parameter `token` may contain the caller's credential.
    pub(crate) query_token: bool,
    /// Format of errors.
    pub(crate) contract: Contract,
    /// Returns the names of the query parameters of a method and path. Empty: they are not checked.
    pub(crate) query: fn(&Method, &str) -> &'static [String],
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
        // A path with a trailing slash is the same path.
        let without_slash = || path.strip_suffix('/').filter(|path| !path.is_empty());
        let matched = self.matcher.at(path).ok().or_else(|| self.matcher.at(without_slash()?).ok());
        let Some(matched) = matched else { return Err(self.not_found(method, path)) };
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

    /// Returns the error for a path without a route, which names the nearest path.
    fn not_found(&self, method: &Method, path: &str) -> ApiError {
        let of_method = |path: &Path<A>| path.routes.iter().any(|(route, _)| route.method == *method);
        let near = |candidate: &Path<A>| (path_distance(path, &candidate.pattern), !of_method(candidate));
        let nearest = match path.len() {
            ..=LONGEST_PATH => {
                let nearest = self.paths.iter().min_by_key(|candidate| near(candidate));
                nearest.filter(|candidate| path_distance(path, &candidate.pattern) <= FARTHEST)
            }
            _ => None,
        };
        let message = match nearest {
            Some(Path { pattern, allow, .. }) => {
                format!("there is no route for this path; the nearest is `{pattern}` ({allow})")
            }
            None => "there is no route for this path".to_owned(),
        };
        ApiError::new(Rejection::NotFound, message)
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

/// Distance up to which a path is named as the nearest one: two segments more or less.
const FARTHEST: usize = 6;
/// Longest path that is compared with those that exist.
const LONGEST_PATH: usize = 256;

/// Returns how much a path differs from a pattern: the edits within segments, and more for each missing or further segment.
fn path_distance(path: &str, pattern: &str) -> usize {
    const SEGMENT: usize = 3;
    let of = |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let (path, pattern): (Vec<String>, Vec<String>) = (of(path), of(pattern));
    // Levenshtein distance of segments, row by row.
    let mut row: Vec<usize> = (0..=pattern.len()).map(|count| count * SEGMENT).collect();
    for (at, segment) in path.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], (at + 1) * SEGMENT);
        for (column, part) in pattern.iter().enumerate() {
            let changed = match part.starts_with('{') {
                true => 0,
                false => match strsim::damerau_levenshtein(segment, part) {
                    // Another word, and not a slip.
                    edits if edits > part.chars().count() / 2 => 2 * SEGMENT,
                    edits => edits,
                },
            };
            let best = (diagonal + changed).min(row[column] + SEGMENT).min(row[column + 1] + SEGMENT);
            diagonal = std::mem::replace(&mut row[column + 1], best);
        }
    }
    row[pattern.len()]
}

/// Makes a handler from an async function.
pub(crate) fn handler<A, F, R>(run: F) -> Handler<A>
where
    F: Fn(RequestContext<A>) -> R + Send + Sync + 'static,
    R: Future<Output = HandlerResult> + Send + 'static,
{
    Arc::new(move |context| Box::pin(run(context)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_near_to_one_with_a_slip_or_a_segment_more_or_less() {
        let patterns = [
            "/run",
            "/api/agent/run",
            "/status/{session_id}",
            "/api/chat/stream",
            "/api/v1/chat",
            "/v1/models",
        ];
        let nearest =
            |path: &str| *patterns.iter().min_by_key(|pattern| path_distance(path, pattern)).unwrap();
        for (path, pattern) in [
            ("/rum", "/run"),
            ("/api/agent/runn", "/api/agent/run"),
            ("/stauts/x", "/status/{session_id}"),
            ("/chat/stream", "/api/chat/stream"),
            ("/api/chat", "/api/chat/stream"),
            ("/api/v1/chats", "/api/v1/chat"),
            ("/v1/model", "/v1/models"),
        ] {
            assert_eq!(nearest(path), pattern, "{path}");
        }
        assert_eq!(path_distance("/status/한글", "/status/{session_id}"), 0);
        // Other words are not slips, also if a parameter would match the rest.
        assert!(
            path_distance("/v1/completions", "/ws/{session_id}")
                > path_distance("/v1/completions", "/v1/chat/completions")
        );
        assert!(path_distance("/nope/a/b", "/mcp") > FARTHEST);
    }
}
