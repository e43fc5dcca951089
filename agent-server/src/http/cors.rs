//! CORS: origins of web pages that may use the server.

use hyper::{
    HeaderMap,
    header::{self, HeaderValue},
};

/// Response headers that a page of another origin may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, retry-after, allow, x-should-retry, x-ignored-parameters, mcp-session-id, x-vercel-ai-ui-message-stream",
);
/// Headers that a page may send if its preflight names none.
const USUAL_HEADERS: HeaderValue =
    HeaderValue::from_static("content-type, authorization, accept, idempotency-key, last-event-id");
/// Maximum length of the header list of a preflight that is repeated.
const HEADER_LIST: usize = 8 * 1024;

/// Origins of web pages that may use the server. Requests without an `Origin` (curl, servers) are not affected.
///
/// # Examples
///
/// ```
/// use agent_server::Origins;
///
/// let origins = Origins::Listed(vec!["https://app.example".into()]);
/// assert_eq!(Origins::parse("https://app.example"), Ok(origins));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// The server's own origin and any port of `localhost`, `127.0.0.1` and `[::1]`. The default.
    Local,
    /// The origins of `Local`, and these.
    Listed(Vec<String>),
    /// Every page of every site, without credentials (cookies). List origins to allow these.
    Any,
}

impl Origins {
    /// Parses a list such as `https://a.example,http://localhost:5173`, the same as a JSON list
    /// (`["https://a.example"]`), or `*`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::Origins;
    ///
    /// let origins = Origins::parse("https://a.example,http://localhost:5173")?;
    /// assert_eq!(origins, Origins::parse(r#"["https://a.example", "http://localhost:5173"]"#)?);
    /// assert_eq!(Origins::parse("*")?, Origins::Any);
    /// assert!(Origins::parse("a.example").is_err());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Names the invalid entry.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries: Vec<String> = match list.trim_start().starts_with('[') {
            true => serde_json::from_str(list)
                .map_err(|_| "a list in brackets must be a JSON list of texts".to_owned())?,
            false => list.split(',').map(str::to_owned).collect(),
        };
        let entries: Vec<&str> =
            entries.iter().map(|entry| entry.trim()).filter(|entry| !entry.is_empty()).collect();
        if entries.is_empty() {
            return Ok(Self::Local);
        }
        if entries.contains(&"*") {
            return Ok(Self::Any);
        }
        for entry in &entries {
            let host = entry.strip_prefix("http://").or_else(|| entry.strip_prefix("https://"));
            // Browsers send an origin without the slash at its end.
            let host = host.map(|host| host.strip_suffix('/').unwrap_or(host));
            if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
                return Err(format!(
                    "`{entry}` is not an origin; write `https://host` or `http://host:port`"
                ));
            }
        }
        let origins = entries.into_iter().map(|entry| entry.trim_end_matches('/').to_ascii_lowercase());
        Ok(Self::Listed(origins.collect()))
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
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        // Credentials are for named origins only: with `*`, every site could use the cookies of a proxy.
        if origin != "*" {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// Adds the headers of a preflight response. An allowed page may send any header.
pub(crate) fn preflight(
    caller: &Caller,
    methods: &HeaderValue,
    request: &HeaderMap,
    headers: &mut HeaderMap,
) {
    if matches!(caller, Caller::Allowed(_)) {
        let requested = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let requested = requested.filter(|list| list.len() <= HEADER_LIST).cloned();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, requested.unwrap_or(USUAL_HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        headers.append(header::VARY, HeaderValue::from_static("access-control-request-headers"));
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
        assert!(Origins::parse("https://a.example/").is_ok_and(|origins| origins.allow("https://a.example")));
    }

    #[test]
    fn a_json_list_is_the_same_as_a_comma_list() {
        let listed = |list: &str| Origins::parse(list);
        assert_eq!(
            listed(r#"["https://a.example", "http://b.example:81"]"#),
            listed("https://a.example,http://b.example:81")
        );
        assert_eq!(listed(r#"["*"]"#), Ok(Origins::Any));
        assert_eq!(listed(" [ ] "), Ok(Origins::Local));
        assert!(listed(r#"["https://a.example""#).unwrap_err().contains("JSON list"));
        assert!(listed(r#"["a.example"]"#).unwrap_err().contains("`a.example`"));
    }
}
