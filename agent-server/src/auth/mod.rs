//! Who calls: API keys and tokens, and what is asked of those who show neither. Knows no route and no session.

mod crypto;
mod jwt;
mod keys;
pub(crate) mod ownership;

use std::{collections::HashSet, fmt, net::IpAddr, str::FromStr, sync::Arc};

use agent_core::secret::Secret;
use hyper::{
    HeaderMap, Version,
    header::{self, HeaderName},
};

pub use jwt::Jwt;

use crate::error::{ApiError, Rejection};
use keys::Keys;

/// The subprotocol of our sockets; a browser offers it together with `bearer.TOKEN`.
pub(crate) const PROTOCOL: &str = "agent.v1";
const PROTOCOL_TOKEN: &str = "bearer.";

/// The longest credential that is looked at, in bytes.
const TOKEN_BYTES: usize = 8 * 1024;
/// The longest name of a subject, in bytes: with what is before it, no more than a session's label holds.
const NAME_BYTES: usize = 500;

/// The label of a session that says whose it is.
pub(crate) const OWNER: &str = "owner";

/// Who may use a server, and how they show who they are.
///
/// A server that was told nothing serves [callers on this machine](Auth::local) and nobody else. As soon as there
/// are keys or tokens, everybody shows one: `Authorization: Bearer ..`, or on a WebSocket from a browser the
/// subprotocols `agent.v1, bearer.TOKEN`. Sessions belong to who began them; those of others do not exist for a
/// caller.
///
/// # Examples
///
/// ```
/// use agent_core::secret::Secret;
/// use agent_server::auth::{Auth, Jwt};
///
/// let auth = Auth::asked()
///     .key("alice", Secret::new("a-key-that-nobody-guesses"))?
///     .tokens(Jwt::hs256(&Secret::new("a secret of at least thirty-two bytes")).issuer("https://id.example"));
/// assert_eq!(format!("{auth:?}"), "Auth { keys: 1, tokens: 1, .. }");
/// # Ok::<(), agent_server::auth::AuthError>(())
/// ```
#[derive(Clone)]
pub struct Auth {
    asked: Asked,
    keys: Keys,
    tokens: Vec<Jwt>,
    admins: HashSet<Subject>,
}

/// Whom a credential is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nobody,
    Strangers,
    Everybody,
}

/// What is wrong with a key, or with the material that tokens are checked with. Never says what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthError(pub(crate) String);

impl Auth {
    /// Callers on this machine need show nothing; others are refused. A request with a trace of a proxy is not from this
    /// machine: a header that proxies add (`Forwarded`, `Via`, `X-Forwarded-*`, `X-Real-IP`, `CF-*` and others), or HTTP/1.0.
    /// A proxy that leaves no trace opens the server to everybody behind it: configure keys before you put one in front. A
    /// request whose `Host` is a name of the public web is refused ([`Hosts`](crate::Hosts)). The default.
    #[must_use]
    pub fn local() -> Self {
        Self::of(Asked::Strangers)
    }

    /// Nobody shows anything: every caller that reaches the server can read and run everything. Requests whose `Host` is a
    /// name of the public web are refused unless [`Hosts`](crate::Hosts) lists it.
    #[must_use]
    pub fn off() -> Self {
        Self::of(Asked::Nobody)
    }

    /// Everybody shows a key or a token; add them by [`key`](Auth::key) and [`tokens`](Auth::tokens).
    #[must_use]
    pub fn asked() -> Self {
        Self::of(Asked::Everybody)
    }

    fn of(asked: Asked) -> Self {
        Self { asked, keys: Keys::default(), tokens: Vec::new(), admins: HashSet::new() }
    }

    /// Adds a key, and whose it is: the subject `key:NAME`. Only a hash of it is kept. Several keys may have one name.
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

    /// Takes tokens as well; the subject is `token:` and the token's `sub`, whichever of several signers it is from.
    #[must_use]
    pub fn tokens(mut self, tokens: Jwt) -> Self {
        self.tokens.push(tokens);
        self
    }

    /// Lets a subject see and act on every session, those that are nobody's included (begun before keys were asked for, or
    /// from the command line). A session that somebody else began stays theirs. Default: nobody may.
    #[must_use]
    pub fn admin(mut self, subject: Subject) -> Self {
        self.admins.insert(subject);
        self
    }

    /// Whether a subject may use all sessions.
    pub(crate) fn is_admin(&self, subject: &Subject) -> bool {
        self.admins.contains(subject)
    }

    /// Whether sessions have owners.
    pub(crate) const fn knows_subjects(&self) -> bool {
        matches!(self.asked, Asked::Everybody)
    }

    /// Who calls.
    ///
    /// # Errors
    ///
    /// 401 without credentials where some are asked, and with wrong ones.
    pub(crate) fn check(
        &self,
        peer: IpAddr,
        version: Version,
        headers: &HeaderMap,
    ) -> Result<Option<Subject>, ApiError> {
        match self.asked {
            Asked::Nobody => Ok(None),
            Asked::Strangers if !peer.to_canonical().is_loopback() || is_passed_on(version, headers) => {
                let told =
                    "only callers on the server's own machine are served; its operator can set API_KEYS";
                Err(ApiError::new(Rejection::Unauthorized, told))
            }
            Asked::Strangers => Ok(None),
            Asked::Everybody => {
                let Some(shown) = shown(headers) else {
                    let told = "show who you are: `Authorization: Bearer ..`";
                    return Err(ApiError::new(Rejection::Unauthorized, told));
                };
                let wrong = || ApiError::new(Rejection::InvalidToken, "this key or token is not accepted");
                shown.and_then(|token| self.subject(token)).map(Some).ok_or_else(wrong)
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

/// Who calls, as a key or a token says: `key:NAME` or `token:SUB`. The two never meet, whatever a name or a `sub` is made of.
/// A handler of [your own](crate::ServerBuilder::route) finds it among the request's extensions, where the server asks who
/// calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(Arc<str>);

/// How a subject shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// By a key that the operator gave it.
    Key,
    /// By a token that somebody signed.
    Token,
}

impl SubjectKind {
    /// What a subject of this kind begins with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Key => "key:",
            Self::Token => "token:",
        }
    }
}

impl Subject {
    /// `None` for what cannot be a subject.
    fn new(kind: SubjectKind, name: &str) -> Option<Self> {
        let legal = (1..=NAME_BYTES).contains(&name.len());
        legal.then(|| Self(format!("{}{name}", kind.prefix()).into()))
    }

    /// The whole of it, by which sessions and limits know it: `key:alice`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How it shows who it is.
    #[must_use]
    pub fn kind(&self) -> SubjectKind {
        if self.0.starts_with(SubjectKind::Key.prefix()) { SubjectKind::Key } else { SubjectKind::Token }
    }

    /// The name of its key, or the `sub` of its tokens. Not enough to know it by.
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

/// The credential of a request: `Some(None)` when there is one of a kind that is not understood.
fn shown(headers: &HeaderMap) -> Option<Option<&str>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        return Some(token);
    }
    // Browsers let a page say nothing but this when it opens a socket. A URL would end up in logs.
    let mut offered = offered(headers);
    offered.any(|name| name == PROTOCOL).then_some(())?;
    self::offered(headers).find_map(|name| name.strip_prefix(PROTOCOL_TOKEN)).map(Some)
}

/// The subprotocols that a request for a socket offers.
pub(crate) fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// Headers that proxies and the networks of their providers add.
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
/// What the names of such headers begin with.
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

/// Whether a request has a trace of a proxy: a header of its making, or HTTP/1.0, in which nginx passes requests on when
/// it is told nothing but where to.
fn is_passed_on(version: Version, headers: &HeaderMap) -> bool {
    let of_proxy = |name: &HeaderName| {
        PROXY_HEADERS.contains(&name.as_str())
            || PROXY_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
    };
    version < Version::HTTP_11 || headers.keys().any(of_proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn without_keys_this_machine_is_served_and_nobody_else() {
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
            "a proxy's caller is elsewhere"
        );
    }

    #[test]
    fn a_browser_shows_its_token_beside_the_protocol_and_nowhere_else() {
        let auth = Auth::asked().key("alice", "a-key-of-sixteen".into()).unwrap();
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
