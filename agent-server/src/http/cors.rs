//! CORS: origins of web pages that may use the server.

use hyper::{
    HeaderMap,
    header::{self, HeaderValue},
};

/// Origins of web pages that may use the server. Requests without an `Origin` (curl, servers) are not affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// The server's own origin and any port of `localhost`, `127.0.0.1` and `[::1]`. The default.
    Local,
    /// The origins of `Local`, and these.
    Listed(Vec<String>),
    /// Every page of every site, without credentials.
    Any,
}

impl Origins {
    /// Parses a list such as `https://a.example,http://localhost:5173`, or `*`.
    ///
    /// # Errors
    ///
    /// Names the invalid entry.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries: Vec<&str> = list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        if entries.is_empty() {
            return Ok(Self::Local);
        }
        if entries.contains(&"*") {
            return Ok(Self::Any);
        }
        for entry in &entries {
            let host = entry.strip_prefix("http://").or_else(|| entry.strip_prefix("https://"));
            if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
                return Err(format!(
                    "`{entry}` is not an origin; write `https://host` or `http://host:port`"
                ));
            }
        }
        Ok(Self::Listed(entries.into_iter().map(str::to_ascii_lowercase).collect()))
    }

    fn allow(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        match self {
            Self::Any => true,
            Self::Local => is_local(&origin),
            Self::Listed(listed) => is_local(&origin) || listed.contains(&origin),
        }
    }
}

/// Origin of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// No page, or a page of this server.
    Own,
    /// An allowed page, with the value of `Access-Control-Allow-Origin`.
    Allowed(HeaderValue),
    /// A page that is not allowed.
    Foreign,
}

/// Determines the origin of a request.
pub(crate) fn caller(origins: &Origins, headers: &HeaderMap) -> Caller {
    let Some(origin) = headers.get(header::ORIGIN) else { return Caller::Own };
    let Ok(text) = origin.to_str() else { return Caller::Foreign };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = text.split_once("://").map(|(_, rest)| rest);
    if own.is_some() && own.map(str::to_ascii_lowercase) == host.map(str::to_ascii_lowercase) {
        return Caller::Own;
    }
    match origins {
        Origins::Any => Caller::Allowed(HeaderValue::from_static("*")),
        _ if origins.allow(text) => Caller::Allowed(origin.clone()),
        _ => Caller::Foreign,
    }
}

/// Adds the headers of a response.
pub(crate) fn add_headers(caller: &Caller, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Caller::Allowed(origin) = caller {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

/// Adds the headers of a preflight response.
pub(crate) fn preflight(caller: &Caller, methods: &HeaderValue, headers: &mut HeaderMap) {
    if matches!(caller, Caller::Allowed(_)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("content-type, authorization, accept, idempotency-key, last-event-id"),
        );
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
}

fn is_local(origin: &str) -> bool {
    let Some((_, host)) = origin.split_once("://") else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    matches!(name, "localhost" | "127.0.0.1" | "::1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_the_prefix_of_a_local_name_is_foreign() {
        let local = Origins::Local;
        for origin in ["http://localhost:5173", "http://127.0.0.1", "http://[::1]:8000", "HTTP://LOCALHOST"] {
            assert!(local.allow(origin), "{origin}");
        }
        for origin in ["http://localhost.evil.example", "http://127.0.0.1.evil.example", "null", "localhost"]
        {
            assert!(!local.allow(origin), "{origin}");
        }
    }

    #[test]
    fn a_list_with_a_path_is_rejected() {
        assert!(Origins::parse("https://a.example/x").is_err());
        assert!(Origins::parse("a.example").is_err());
        assert_eq!(Origins::parse(" "), Ok(Origins::Local));
        assert!(Origins::parse("https://A.example").is_ok_and(|origins| origins.allow("https://a.example")));
    }
}
