//! Parsing of database addresses, with the parameters of libpq that the driver does not know.

use std::path::PathBuf;

use agent_core::secret::Secret;
use tokio_postgres::config::{Config, Host, SslMode};

/// Error of a database address. Does not repeat the address, because it may contain a password.
///
/// # Examples
///
/// ```no_run
/// use agent_core::secret::Secret;
/// use agent_postgres::{ConnectError, Postgres};
///
/// # async fn open(address: &Secret) {
/// if let Err(ConnectError::Address(fault)) = Postgres::connect(address).await {
///     eprintln!("DATABASE_URL: {fault}");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is not an address of a PostgreSQL database.
    #[error("invalid database address; expected `postgres://user:password@host:port/database`")]
    Malformed,
    /// The value of `sslmode` is unknown.
    #[error("unknown `sslmode`; use `disable`, `prefer`, `require`, `verify-ca` or `verify-full`")]
    SslMode,
}

/// A parsed address.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) config: Config,
    pub(crate) root: Option<PathBuf>,
}

impl Address {
    /// Parses a URL (also with a driver, as in `postgresql+asyncpg://`) or a list of `name=value`.
    ///
    /// Without `sslmode`, a connection over the network requires TLS, and one to this machine does not use it.
    pub(crate) fn parse(address: &Secret) -> Result<Self, AddressError> {
        let (rest, pairs) = split(address.expose().trim());
        let (mut mode, mut root) = (None, None);
        for (name, value) in pairs {
            match &*name {
                "sslmode" | "ssl" => {
                    mode = Some(match &*value {
                        "disable" | "allow" | "false" => SslMode::Disable,
                        "prefer" => SslMode::Prefer,
                        "require" | "verify-ca" | "verify-full" | "true" => SslMode::Require,
                        _ => return Err(AddressError::SslMode),
                    });
                }
                _ if value == "system" => {}
                _ => root = Some(PathBuf::from(value)),
            }
        }
        let mut config: Config = rest.parse().map_err(|_| AddressError::Malformed)?;
        if config.get_hosts().is_empty() {
            config.host("localhost");
        }
        config.ssl_mode(mode.unwrap_or_else(|| match config.get_hosts().iter().all(is_local) {
            true => SslMode::Disable,
            false => SslMode::Require,
        }));
        Ok(Self { config, root })
    }

    /// Returns host, port and database, for messages.
    pub(crate) fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            _ => "localhost".to_owned(),
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let database = self.config.get_dbname().or_else(|| self.config.get_user()).unwrap_or("(default)");
        format!("database `{database}` at {host}:{port}")
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(host) => {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

/// Takes the TLS parameters out of an address.
fn split(address: &str) -> (String, Vec<(String, String)>) {
    const NAMES: [&str; 3] = ["sslmode", "ssl", "sslrootcert"];
    let Some((scheme, rest)) = address.split_once("://") else {
        let (ours, others): (Vec<&str>, Vec<&str>) = address
            .split_whitespace()
            .partition(|pair| pair.split_once('=').is_some_and(|(name, _)| NAMES.contains(&name)));
        if ours.is_empty() {
            return (address.to_owned(), Vec::new());
        }
        let pairs = ours.iter().filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()));
        return (others.join(" "), pairs.collect());
    };
    let scheme = scheme.split_once('+').map_or(scheme, |(scheme, _)| scheme);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut pairs, mut others) = (Vec::new(), Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((name, value)) if NAMES.contains(&name) => {
                pairs.push((name.to_owned(), value.replace("%2F", "/").replace("%2f", "/")));
            }
            _ => others.push(pair),
        }
    }
    let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
    (format!("{scheme}://{place}{query}"), pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        Address::parse(&Secret::new(text)).unwrap()
    }

    #[test]
    fn tls_is_required_over_the_network_and_the_address_may_say_otherwise() {
        for (text, mode) in [
            ("postgres://u:p@db.internal/agents", SslMode::Require),
            ("postgresql+asyncpg://u:p@db.internal:5433/agents", SslMode::Require),
            ("postgres://u@localhost/agents", SslMode::Disable),
            ("postgres://u@127.0.0.1/agents?sslmode=verify-full", SslMode::Require),
            ("postgres://u@db/agents?sslmode=disable&connect_timeout=3", SslMode::Disable),
            ("host=/tmp user=u dbname=agents", SslMode::Disable),
            ("host=db user=u sslmode=prefer", SslMode::Prefer),
        ] {
            assert_eq!(parsed(text).config.get_ssl_mode(), mode, "{text}");
        }
        let rooted = parsed("postgres://u@db/agents?sslrootcert=%2Fetc%2Fca.pem");
        assert_eq!(rooted.root, Some(PathBuf::from("/etc/ca.pem")));
    }

    #[test]
    fn an_error_does_not_repeat_the_address() {
        for text in ["http://u:hunter2@db", "postgres://u:hunter2@db/x?sslmode=maybe"] {
            let error = Address::parse(&Secret::new(text)).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        assert_eq!(parsed("postgres://u:hunter2@db:5433/x").place(), "database `x` at db:5433");
    }
}
