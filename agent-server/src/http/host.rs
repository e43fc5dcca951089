//! Allowed hosts, as a protection against DNS rebinding: a web page can point its own name at any address, and is then of
//! the same origin as a server at that address.

use std::net::IpAddr;

use hyper::{Request, Version, header, http::uri::Authority};

use crate::error::{ApiError, Rejection};

/// Hosts for which the server responds if callers present no credentials. IP addresses, `localhost` and names without a
/// dot are always allowed, because no web page can have such a name.
///
/// # Examples
///
/// ```
/// use agent_server::Hosts;
///
/// assert_eq!(Hosts::parse("agents.example, api.example")?, Hosts::Listed(vec!["agents.example".into(), "api.example".into()]));
/// assert!(Hosts::parse("https://agents.example").is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Hosts {
    /// IP addresses, `localhost` and names without a dot. The default.
    #[default]
    Local,
    /// The hosts of `Local`, and these, in lower case, without a port.
    Listed(Vec<String>),
    /// Every host. Use it only behind a proxy that checks the host.
    Any,
}

impl Hosts {
    /// Parses a list such as `agents.example,api.example`, or `*`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::Hosts;
    ///
    /// assert_eq!(Hosts::parse("agents.example")?, Hosts::Listed(vec!["agents.example".to_owned()]));
    /// assert!(Hosts::parse("https://agents.example").is_err());
    /// # Ok::<(), String>(())
    /// ```
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
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        match entries.iter().find(|entry| !entry.chars().all(legal)) {
            Some(entry) => {
                Err(format!("`{entry}` is not a host name; write `agents.example`, without port or scheme"))
            }
            None => Ok(Self::Listed(entries.into_iter().map(str::to_ascii_lowercase).collect())),
        }
    }

    /// Returns whether a host is allowed. A request without a host does not come from a browser, and is allowed.
    pub(crate) fn allow(&self, host: Option<&Authority>) -> bool {
        let Some(host) = host else { return true };
        let name = host.host().trim_end_matches('.');
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        // Most requests have an address.
        let is_local = || {
            let last = || name.rsplit('.').next().unwrap_or(name);
            bare.parse::<IpAddr>().is_ok() || !name.contains('.') || last().eq_ignore_ascii_case("localhost")
        };
        match self {
            Self::Any => true,
            Self::Local => is_local(),
            Self::Listed(listed) => {
                is_local() || listed.iter().any(|listed| listed.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// Returns the host of a request. HTTP/1.1 requires exactly one `Host`, which must equal that of an absolute target.
///
/// # Errors
///
/// 400 for any other request, because a proxy may have interpreted it differently.
pub(crate) fn of<B>(request: &Request<B>) -> Result<Option<Authority>, ApiError> {
    let invalid = |message: &str| ApiError::new(Rejection::InvalidRequest, message);
    let mut lines = request.headers().get_all(header::HOST).iter();
    let (first, second) = (lines.next(), lines.next());
    if second.is_some() {
        return Err(invalid("a request may have one `Host` header only"));
    }
    let Some(line) = first else {
        return match request.version() {
            Version::HTTP_09 | Version::HTTP_10 => Ok(request.uri().authority().cloned()),
            _ => Err(invalid("the `Host` header is missing")),
        };
    };
    let host = Authority::try_from(line.as_bytes()).ok().filter(|host| !host.as_str().contains('@'));
    let host = host.ok_or_else(|| invalid("the `Host` header is not a host name with an optional port"))?;
    match request.uri().authority() {
        Some(target) if *target != host => {
            Err(invalid("the `Host` header differs from the host of the target"))
        }
        _ => Ok(Some(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_no_web_page_can_have_are_local() {
        let allow = |hosts: &Hosts, host: &str| hosts.allow(Some(&Authority::try_from(host).unwrap()));
        let listed = Hosts::parse("Agents.Example").unwrap();
        for host in [
            "localhost:8000",
            "dev.localhost",
            "127.0.0.1",
            "[::1]:8000",
            "192.0.2.7:80",
            "agents",
            "LOCALHOST.",
        ] {
            assert!(allow(&Hosts::Local, host) && allow(&listed, host), "{host}");
        }
        for host in ["rebound.example", "127.0.0.1.example", "localhost.example:80", "x.127.0.0.1.nip.io"] {
            assert!(
                !allow(&Hosts::Local, host) && !allow(&listed, host) && allow(&Hosts::Any, host),
                "{host}"
            );
        }
        assert!(allow(&listed, "agents.example:8443") && allow(&listed, "agents.example."));
        assert!(!allow(&listed, "evil.agents.example"));
    }
}
