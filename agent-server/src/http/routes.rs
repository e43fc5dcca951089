//! Method and path to a handler, by one table. Knows no handler and reads no body.

use std::{future::Future, sync::Arc};

use futures::future::BoxFuture;
use hyper::{Method, header::HeaderValue};

use super::{call::Call, call::decode, reply::Reply};
use crate::{
    error::{ApiError, Contract, Refusal},
    metrics::{Meter, Page},
};

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody: nothing of anybody's is there.
    Open,
    /// Who is known, where the server asks who calls.
    Known,
    /// As `Known`, and no page of a foreign origin even to read: sockets know no CORS.
    Socket,
}

/// What handles a request.
pub(crate) type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Reply> + Send + Sync>;

/// A way in.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// The path with `{name}` where it varies.
    pub(crate) path: String,
    pub(crate) access: Access,
    /// Whose words a refusal is in.
    pub(crate) contract: Contract,
    pub(crate) handler: Handler,
}

/// A request's way in.
pub(crate) enum Found<'a> {
    /// This route, what is counted of it, and the parts of the path.
    Route(&'a Route, &'a Meter, Vec<(Box<str>, String)>),
    /// A browser asks what it may send; the methods of the path.
    Preflight(&'a str),
}

/// All ways in.
#[derive(Default)]
pub(crate) struct Routes {
    paths: matchit::Router<usize>,
    known: Vec<Path>,
    /// What is counted of requests that went nowhere.
    nowhere: Meter,
}

struct Path {
    pattern: String,
    routes: Vec<(Route, Meter)>,
    /// Its methods, as `Allow` lists them.
    allow: String,
}

impl Routes {
    /// Adds a way in.
    ///
    /// # Errors
    ///
    /// What is wrong with the pattern, or that the place is taken.
    pub(crate) fn add(&mut self, route: Route) -> Result<(), String> {
        let known = match self.known.iter_mut().find(|known| known.pattern == route.path) {
            Some(known) => known,
            None => {
                let told = |error| format!("the path `{}` cannot be served: {error}", route.path);
                self.paths.insert(route.path.clone(), self.known.len()).map_err(told)?;
                self.known.push(Path {
                    pattern: route.path.clone(),
                    routes: Vec::new(),
                    allow: String::new(),
                });
                self.known.last_mut().expect("one was added")
            }
        };
        if known.routes.iter().any(|(other, _)| other.method == route.method) {
            return Err(format!("`{} {}` is served twice", route.method, route.path));
        }
        if !known.allow.is_empty() {
            known.allow.push_str(", ");
        }
        known.allow.push_str(route.method.as_str());
        known.routes.push((route, Meter::default()));
        Ok(())
    }

    /// Every way in, in the order they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.known.iter().flat_map(|path| path.routes.iter().map(|(route, _)| route))
    }

    /// The way in of a request.
    ///
    /// # Errors
    ///
    /// 404; 405 with the methods that the path has.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Result<Found<'_>, ApiError> {
        let Ok(matched) = self.paths.at(path) else {
            return Err(ApiError::new(Refusal::NotFound, "there is nothing at this path"));
        };
        let known = &self.known[*matched.value];
        let wanted = if *method == Method::HEAD { &Method::GET } else { method };
        match known.routes.iter().find(|(route, _)| route.method == *wanted) {
            Some((route, meter)) => {
                let parts = matched.params.iter().map(|(name, text)| (name.into(), decode(text))).collect();
                Ok(Found::Route(route, meter, parts))
            }
            None if *method == Method::OPTIONS => Ok(Found::Preflight(&known.allow)),
            None => {
                let told = format!("this path takes {}", known.allow);
                let mut error = ApiError::new(Refusal::MethodNotAllowed, told);
                error.allow = HeaderValue::from_str(&known.allow).ok().map(Box::new);
                Err(error)
            }
        }
    }
}

impl Routes {
    /// What is counted of requests that went nowhere.
    pub(crate) const fn nowhere(&self) -> &Meter {
        &self.nowhere
    }

    /// What was counted of every route.
    pub(crate) fn write_meters(&self, page: &mut Page) {
        let routes = || self.known.iter().flat_map(|path| &path.routes);
        page.family("agent_http_requests_total", "counter", "Answers, by route and status.");
        for (route, meter) in routes() {
            meter.write_statuses(page, route.method.as_str(), &route.path);
        }
        self.nowhere.write_statuses(page, "", "");
        page.family(
            "agent_http_request_seconds",
            "histogram",
            "Time until the head of the answer, by route.",
        );
        for (route, meter) in routes() {
            meter.write_times(page, route.method.as_str(), &route.path);
        }
    }
}

/// A handler from a function.
pub(crate) fn handler<F, R>(run: F) -> Handler
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    Arc::new(move |call| Box::pin(run(call)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler;

    #[test]
    fn every_path_is_served_at_both_places_and_an_encoded_colon_is_a_colon() {
        let routes = handler::routes().unwrap();
        for prefix in ["", "/api/agent"] {
            let at = |method: Method, path: &str| match routes.find(&method, &format!("{prefix}{path}")) {
                Ok(Found::Route(route, _, parts)) => Ok((route.path.clone(), parts)),
                Ok(Found::Preflight(_)) => panic!("not asked"),
                Err(error) => Err(error),
            };
            assert_eq!(at(Method::POST, "/run").unwrap().0, format!("{prefix}/run"));
            assert_eq!(at(Method::GET, "/status/a%3Ab").unwrap().1[0].1, "a:b");
            assert_eq!(at(Method::GET, "/run").unwrap_err().allow.unwrap().to_str().unwrap(), "POST");
            assert_eq!(at(Method::GET, "/run/").unwrap_err().code, "not_found");
        }
        assert!(routes.find(&Method::GET, "/api/agentx/run").is_err());
    }
}
