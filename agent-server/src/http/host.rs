//! The `Host` of a request, and which hosts a server without keys answers for: a page of the web can point a name of
//! its own at any address (DNS rebinding) and is then of one origin with the server.

use std::net::IpAddr;

use hyper::{Request, Version, header, http::uri::Authority};

use crate::error::{ApiError, Rejection};

/// Hosts that a server answers for where callers show no key. IP addresses, `localhost` and names without a dot are
/// always among them: no page of the web can have such a name.
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
    /// This machine's: IP addresses, `localhost` and names without a dot. The default.
    #[default]
    Local,
    /// Local ones and these, in small letters, without a port.
    Listed(Vec<String>),
    /// Every host. Only behind a proxy that checks it.
    Any,
}

impl Hosts {
    /// Reads a list such as `agents.example,api.example`, or `*`.
    ///
    /// # Errors
    ///
    /// The entry that is not a host name.
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

    /// Whether the server answers for a host. None at all is that of a client without a browser.
    pub(crate) fn allow(&self, host: Option<&Authority>) -> bool {
        let Some(host) = host else { return true };
        let name = host.host().trim_end_matches('.').to_ascii_lowercase();
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
        let last = name.rsplit('.').next().unwrap_or(&name);
        let local = last == "localhost" || !name.contains('.') || bare.parse::<IpAddr>().is_ok();
        match self {
            Self::Any => true,
            Self::Local => local,
            Self::Listed(listed) => local || listed.contains(&name),
        }
    }
}

/// The host that a request is for. HTTP/1.1 demands exactly one `Host`, and that of an absolute target is the same.
///
/// # Errors
///
/// 400 for any other request: a proxy in front may have read it otherwise.
pub(crate) fn of<B>(request: &Request<B>) -> Result<Option<Authority>, ApiError> {
    let refused = |told: &str| ApiError::new(Rejection::InvalidRequest, told);
    let mut lines = request.headers().get_all(header::HOST).iter();
    let (first, second) = (lines.next(), lines.next());
    if second.is_some() {
        return Err(refused("a request may have one `Host` header only"));
    }
    let Some(line) = first else {
        return match request.version() {
            Version::HTTP_09 | Version::HTTP_10 => Ok(request.uri().authority().cloned()),
            _ => Err(refused("the `Host` header is missing")),
        };
    };
    let host = Authority::try_from(line.as_bytes()).ok().filter(|host| !host.as_str().contains('@'));
    let host = host.ok_or_else(|| refused("the `Host` header is not a host name with an optional port"))?;
    match request.uri().authority() {
        Some(target) if *target != host => {
            Err(refused("the `Host` header differs from the host of the target"))
        }
        _ => Ok(Some(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_that_no_page_can_name_itself_are_local() {
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
