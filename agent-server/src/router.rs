//! Method and path to a route. Knows no handler and reads no body.

use agent_core::ids::SessionId;
use hyper::Method;

use crate::error::{ApiError, Refusal};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// Run to the end.
    Run,
    /// Start.
    RunAsync,
    /// Where a run stands.
    Status(SessionId),
    /// Stop.
    Stop(SessionId),
    /// Go on, or answer.
    Resume(SessionId),
    /// Whether the server lives.
    Health,
    /// The socket of a session.
    Socket(SessionId),
    /// The page at the root.
    Dashboard,
    /// What a browser may send here.
    Preflight(&'static str),
}

/// The route of a request.
///
/// # Errors
///
/// 404, 405 with the methods that the path has, 400 for an illegal session id.
pub(crate) fn route(method: &Method, path: &str) -> Result<Route, ApiError> {
    let local = path.strip_prefix("/api/agent").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let segments: Vec<&str> = local.split('/').skip(1).collect();
    let (methods, endpoint) = match segments.as_slice() {
        [""] => ("GET", Endpoint::Fixed(Route::Dashboard)),
        ["run"] => ("POST", Endpoint::Fixed(Route::Run)),
        ["run-async"] => ("POST", Endpoint::Fixed(Route::RunAsync)),
        ["health"] => ("GET", Endpoint::Fixed(Route::Health)),
        ["status", id] => ("GET", Endpoint::Session(Route::Status, id)),
        ["stop", id] => ("POST", Endpoint::Session(Route::Stop, id)),
        ["resume", id] => ("POST", Endpoint::Session(Route::Resume, id)),
        ["ws", id] => ("GET", Endpoint::Session(Route::Socket, id)),
        _ => return Err(ApiError::new(Refusal::NotFound, "there is nothing at this path")),
    };
    if *method == Method::OPTIONS {
        return Ok(Route::Preflight(methods));
    }
    if method.as_str() != methods && !(*method == Method::HEAD && methods == "GET") {
        let mut error = ApiError::new(Refusal::MethodNotAllowed, format!("this path takes {methods}"));
        error.allow = Some(methods);
        return Err(error);
    }
    match endpoint {
        Endpoint::Fixed(route) => Ok(route),
        Endpoint::Session(route, id) => parse_session(&decode(id)).map(route),
    }
}

/// A path that is known, its session id not read yet.
enum Endpoint<'a> {
    Fixed(Route),
    Session(fn(SessionId) -> Route, &'a str),
}

/// A session id from outside.
pub(crate) fn parse_session(text: &str) -> Result<SessionId, ApiError> {
    text.parse().map_err(|error: agent_core::ids::InvalidSessionId| {
        let mut refused = ApiError::new(Refusal::InvalidRequest, error.to_string());
        refused.code = agent_core::Code::InvalidSessionId.name();
        refused
    })
}

/// Undoes percent-encoding (some clients encode `:`). What is not UTF-8 afterwards is no legal id anyway.
fn decode(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_served_at_both_places_and_an_encoded_colon_is_a_colon() {
        for prefix in ["", "/api/agent"] {
            let at = |method: Method, path: &str| route(&method, &format!("{prefix}{path}"));
            assert_eq!(at(Method::POST, "/run").unwrap(), Route::Run);
            assert_eq!(at(Method::GET, "/status/a%3Ab").unwrap(), Route::Status("a:b".parse().unwrap()));
            assert_eq!(at(Method::GET, "/run").unwrap_err().allow, Some("POST"));
            assert_eq!(at(Method::GET, "/ws/%ff").unwrap_err().code, "invalid_session_id");
            assert_eq!(at(Method::GET, "/run/").unwrap_err().code, "not_found");
        }
        assert_eq!(route(&Method::GET, "/api/agentx/run").unwrap_err().code, "not_found");
    }
}
