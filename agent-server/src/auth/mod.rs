//! Authentication by API keys and tokens; session ownership in `ownership`.

mod crypto;
mod jwt;
mod keys;
pub(crate) mod ownership;

use std::{collections::HashSet, fmt, net::IpAddr, str::FromStr, sync::Arc};

use agent_core::secret::Secret;
use hyper::{HeaderMap, Version, header};

pub use jwt::Jwt;

use crate::error::{ApiError, Rejection};
use keys::Keys;

/// Subprotocol of the WebSockets. A browser offers it together with `bearer.TOKEN`.
pub(crate) const PROTOCOL: &str = "agent.v1";
const PROTOCOL_TOKEN: &str = "bearer.";

/// Maximum length of a credential, in bytes.
const TOKEN_BYTES: usize = 8 * 1024;
/// Maximum length of a subject's name, in bytes. With its prefix, it fits into a session's label.
const NAME_BYTES: usize = 500;

/// Label of a session's owner: the [`Subject`]. A program that starts runs for an authenticated caller sets it, so that the
/// routes of the server show the session to its owner and to no other caller.
///
/// # Examples
///
/// ```
/// use agent_core::RunOptions;
/// use agent_server::auth::{OWNER, Subject};
///
/// let subject: Subject = "token:alice".parse()?;
/// let options = RunOptions::default().label(OWNER, subject.as_str());
/// assert_eq!(options.labels["owner"], "token:alice");
/// # Ok::<(), agent_server::auth::AuthError>(())
/// ```
pub const OWNER: &str = "owner";

/// Authentication of callers.
///
/// By default only [callers on this machine](Auth::local) are served. With keys or tokens every request must present one:
/// `Authorization: Bearer ..`, or on a WebSocket from a browser the subprotocols `agent.v1, bearer.TOKEN`. A session
/// belongs to the subject that created it; sessions of other subjects are reported as 404.
///
/// # Examples
///
/// ```
/// use agent_core::secret::Secret;
/// use agent_server::auth::{Auth, Jwt};
///
/// let auth = Auth::required()
///     .key("alice", Secret::new("a-key-that-nobody-guesses"))?
///     .tokens(Jwt::hs256(&Secret::new("a secret of at least thirty-two bytes")).issuer("https://id.example"));
/// assert_eq!(format!("{auth:?}"), "Auth { keys: 1, tokens: 1, .. }");
/// # Ok::<(), agent_server::auth::AuthError>(())
/// ```
#[derive(Clone)]
pub struct Auth {
    required: Required,
    keys: Keys,
    tokens: Vec<Jwt>,
    admins: HashSet<Subject>,
}

/// Callers that need credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Required {
    None,
    /// Callers on other machines are rejected.
    Remote,
    All,
}

/// Error of an API key or of a key for tokens. Never contains the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthError(pub(crate) String);

impl Auth {
    /// Serves callers on this machine without credentials, and rejects all others. The default.
    ///
    /// A request through a proxy counts as remote: one with a header that proxies add (`Forwarded`, `Via`, `X-Forwarded-*`,
    /// `X-Real-IP`, `CF-*` and others), or with HTTP/1.0. A proxy that adds no header opens the server to all its clients:
    /// configure keys before you put one in front. A request for a public `Host` name is rejected
    /// ([`Hosts`](crate::Hosts)).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::Auth;
    ///
    /// let auth = Auth::local();
    /// # drop(auth);
    /// ```
    #[must_use]
    pub fn local() -> Self {
        Self::of(Required::Remote)
    }

    /// Disables authentication: every caller can read and run everything. Requests for a public `Host` name are
    /// rejected unless [`Hosts`](crate::Hosts) contains it.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::Auth;
    ///
    /// let auth = Auth::off(); // for a network that only trusted clients can reach
    /// # drop(auth);
    /// ```
    #[must_use]
    pub fn off() -> Self {
        Self::of(Required::None)
    }

    /// Requires a key or token of every caller; add them with [`key`](Auth::key) and [`tokens`](Auth::tokens).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    /// use agent_server::Auth;
    ///
    /// let auth = Auth::required().key("alice", Secret::new("a-key-of-at-least-16-bytes"))?;
    /// # drop(auth); Ok::<(), agent_server::auth::AuthError>(())
    /// ```
    #[must_use]
    pub fn required() -> Self {
        Self::of(Required::All)
    }

    fn of(required: Required) -> Self {
        Self { required, keys: Keys::default(), tokens: Vec::new(), admins: HashSet::new() }
    }

    /// Adds an API key of the subject `key:NAME`. Only a hash of the key is kept. Several keys may have the same name.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    /// use agent_server::Auth;
    ///
    /// // Two keys of one subject, for a change of keys.
    /// let auth = Auth::required()
    ///     .key("alice", Secret::new("the-key-until-Friday"))?
    ///     .key("alice", Secret::new("the-key-from-Monday-on"))?;
    /// assert!(Auth::required().key("bob", Secret::new("short")).is_err());
    /// # drop(auth); Ok::<(), agent_server::auth::AuthError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The name is empty or longer than 500 bytes; the key is shorter than 16 bytes, or not of printable ASCII.
    pub fn key(mut self, name: &str, key: Secret) -> Result<Self, AuthError> {
        let subject = Subject::new(SubjectKind::Key, name)
            .ok_or_else(|| AuthError(format!("the name of a key must have 1 to {NAME_BYTES} bytes")))?;
        self.keys.add(subject, &key)?;
        Ok(self)
    }

    /// Accepts tokens. The subject is `token:` and the token's `sub`, independent of the signer.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    /// use agent_server::{Auth, auth::Jwt};
    ///
    /// let tokens = Jwt::hs256(&Secret::new("thirty-two random bytes, at least"));
    /// let auth = Auth::required().tokens(tokens.issuer("https://login.example").audience("agents"));
    /// # drop(auth);
    /// ```
    #[must_use]
    pub fn tokens(mut self, tokens: Jwt) -> Self {
        self.tokens.push(tokens);
        self
    }

    /// Grants a subject access to all sessions, including those without an owner (created before keys were configured, or
    /// from the command line). Sessions keep their owner. Default: no admins.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    /// use agent_server::Auth;
    ///
    /// let auth = Auth::required()
    ///     .key("operator", Secret::new("a-key-of-at-least-16-bytes"))?
    ///     .admin("key:operator".parse()?);
    /// # drop(auth); Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn admin(mut self, subject: Subject) -> Self {
        self.admins.insert(subject);
        self
    }

    /// Returns whether a subject may use all sessions.
    pub(crate) fn is_admin(&self, subject: &Subject) -> bool {
        self.admins.contains(subject)
    }

    /// Returns whether callers are authenticated, so that sessions have owners.
    pub(crate) const fn knows_subjects(&self) -> bool {
        matches!(self.required, Required::All)
    }

    /// Authenticates a request.
    ///
    /// # Errors
    ///
    /// 401 if credentials are required and missing, or invalid.
    pub(crate) fn check(
        &self,
        peer: IpAddr,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Option<Subject>, ApiError> {
        match self.required {
            Required::None => Ok(None),
            Required::Remote if !peer.to_canonical().is_loopback() || is_forwarded(version, headers) => {
                let message =
                    "only callers on the server's machine are served; its operator can set API_KEYS";
                Err(ApiError::new(Rejection::Unauthorized, message))
            }
            Required::Remote => Ok(None),
            Required::All => {
                let Some(credential) = credential(headers) else {
                    let message = "credentials are missing; send `Authorization: Bearer ..`";
                    return Err(ApiError::new(Rejection::Unauthorized, message));
                };
                let invalid = || ApiError::new(Rejection::InvalidToken, "the key or token is invalid");
                credential.and_then(|token| self.subject(token)).map(Some).ok_or_else(invalid)
            }
        }
    }

    fn subject(&self, token: &str) -> Option<Subject> {
        if token.is_empty() || token.len() > TOKEN_BYTES {
            return None;
        }
        let by_key = self.keys.find(token);
        by_key.or_else(|| self.tokens.iter().find_map(|tokens| tokens.check(token)))
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self::local()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("keys", &self.keys.len())
            .field("tokens", &self.tokens.len())
            .finish_non_exhaustive()
    }
}

/// An authenticated caller: `key:NAME` or `token:SUB`. The prefixes keep both kinds apart.
///
/// If callers are authenticated, the extensions of a request to a [custom route](crate::ServerBuilder::route) contain it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(Arc<str>);

/// Kind of a subject's credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// An API key.
    Key,
    /// A signed token.
    Token,
}

impl SubjectKind {
    /// Returns the prefix of subjects of this kind.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Key => "key:",
            Self::Token => "token:",
        }
    }
}

impl Subject {
    /// Returns a subject; `None` if the name is empty or too long.
    fn new(kind: SubjectKind, name: &str) -> Option<Self> {
        let legal = (1..=NAME_BYTES).contains(&name.len());
        legal.then(|| Self(format!("{}{name}", kind.prefix()).into()))
    }

    /// Returns the subject with its prefix, for example `key:alice`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::auth::{Subject, SubjectKind};
    ///
    /// let subject: Subject = "key:alice".parse()?;
    /// assert_eq!(subject.as_str(), "key:alice");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the kind of its credentials.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::auth::{Subject, SubjectKind};
    ///
    /// let subject: Subject = "key:alice".parse()?;
    /// assert_eq!(subject.kind(), SubjectKind::Key);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> SubjectKind {
        if self.0.starts_with(SubjectKind::Key.prefix()) { SubjectKind::Key } else { SubjectKind::Token }
    }

    /// Returns the name of its key, or the `sub` of its tokens. Not unique: a key and a token may have the same name.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::auth::{Subject, SubjectKind};
    ///
    /// let subject: Subject = "key:alice".parse()?;
    /// assert_eq!(subject.name(), "alice");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0[self.kind().prefix().len()..]
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `key:NAME` or `token:SUB`.
impl FromStr for Subject {
    type Err = AuthError;

    fn from_str(text: &str) -> Result<Self, AuthError> {
        let kinds = [SubjectKind::Key, SubjectKind::Token].into_iter();
        let mut found = kinds.filter_map(|kind| Self::new(kind, text.strip_prefix(kind.prefix())?));
        found.next().ok_or_else(|| AuthError("a subject is `key:NAME` or `token:SUB`".to_owned()))
    }
}

/// Returns the credential of a request; `Some(None)` if it is of an unsupported kind.
fn credential(headers: &HeaderMap) -> Option<Option<&str>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        return Some(token);
    }
    // The only header that a browser lets a page set on a WebSocket. URLs would end up in logs.
    let mut offered = offered(headers);
    offered.any(|name| name == PROTOCOL).then_some(())?;
    self::offered(headers).find_map(|name| name.strip_prefix(PROTOCOL_TOKEN)).map(Some)
}

/// Returns the subprotocols that a WebSocket request offers.
pub(crate) fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// Headers that proxies add.
const PROXY_HEADERS: [&str; 14] = [
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "proxy-client-ip",
    "true-client-ip",
    "via",
    "wl-proxy-client-ip",
    "x-client-ip",
    "x-cloud-trace-context",
    "x-cluster-client-ip",
    "x-host",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-scheme",
];
/// Prefixes of the names of such headers.
const PROXY_PREFIXES: [&str; 11] = [
    "cdn-",
    "cf-",
    "fly-",
    "x-amz",
    "x-appengine-",
    "x-arr-",
    "x-azure-",
    "x-envoy-",
    "x-forwarded",
    "x-original-",
    "x-vercel-",
];

/// Returns whether a request came through a proxy: it has a header that proxies add, or uses HTTP/1.0, which is nginx's
/// default.
fn is_forwarded(version: Version, headers: &HeaderMap) -> bool {
    version < Version::HTTP_11 || headers.keys().any(|name| is_of_proxy(name.as_str()))
}

/// Returns whether proxies add a header of this name.
fn is_of_proxy(name: &str) -> bool {
    // Most headers have another first letter, and are not compared with the lists.
    matches!(name.as_bytes().first(), Some(b'c' | b'f' | b'p' | b't' | b'v' | b'w' | b'x'))
        && (PROXY_HEADERS.contains(&name) || PROXY_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn every_header_of_a_proxy_makes_a_request_a_remote_one() {
        let names = PROXY_HEADERS.iter().copied().map(str::to_owned);
        for name in names.chain(PROXY_PREFIXES.iter().map(|prefix| format!("{prefix}a"))) {
            assert!(is_of_proxy(&name), "{name}");
        }
        for name in ["host", "content-type", "cookie", "forward", "x-request-id", "traceparent", "via-x"] {
            assert!(!is_of_proxy(name), "{name}");
        }
    }

    #[test]
    fn without_keys_only_this_machine_is_served() {
        let local: IpAddr = [127, 0, 0, 1].into();
        let auth = Auth::default();
        let status = |peer: IpAddr, of: &[(&'static str, &str)]| {
            auth.check(peer, Version::HTTP_11, &headers(of)).err().map(|error| error.status.as_u16())
        };
        for host in ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "agent:80", "dev.localhost"] {
            assert_eq!(status(local, &[("host", host)]), None, "{host}");
        }
        assert_eq!(status("::ffff:127.0.0.1".parse().unwrap(), &[]), None);
        assert_eq!(status("10.0.0.9".parse().unwrap(), &[("host", "localhost")]), Some(401));
        assert_eq!(
            status(local, &[("x-forwarded-for", "1.2.3.4")]),
            Some(401),
            "the client of a proxy is remote"
        );
    }

    #[test]
    fn a_browser_sends_its_token_only_with_the_protocol() {
        let auth = Auth::required().key("alice", "a-key-of-sixteen".into()).unwrap();
        let peer: IpAddr = [1, 1, 1, 1].into();
        let who = |of: &[(&'static str, &str)]| match auth.check(peer, Version::HTTP_11, &headers(of)) {
            Ok(subject) => Ok(subject.unwrap().name().to_owned()),
            Err(error) => Err(error.code),
        };
        let protocol = "sec-websocket-protocol";
        assert_eq!(who(&[(protocol, "agent.v1, bearer.a-key-of-sixteen")]), Ok("alice".to_owned()));
        assert_eq!(who(&[(protocol, "bearer.a-key-of-sixteen")]), Err("unauthorized"));
        assert_eq!(who(&[("authorization", "bearer  a-key-of-sixteen")]), Ok("alice".to_owned()));
        for wrong in ["Bearer", "Bearer ", "Basic YTpi", "Bearer a-key-of-sixteem", "a-key-of-sixteen"] {
            assert_eq!(who(&[("authorization", wrong)]), Err("invalid_token"), "{wrong}");
        }
    }
}
