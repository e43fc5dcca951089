//! Configuration from `.env`, the environment, a TOML file and flags. All errors are reported together.
//!
//! [`Config`] has one field per setting. Later sources override earlier ones: `.env`, the environment, the TOML file, flags.
//! A secret has no flag; in every source `NAME_FILE` names a file with the secret.
//!
//! Read in this order: `settings` the table of settings, `value` their types, `source` their sources, `error` the errors,
//! `model` the configured model, `reference` the output.

mod error;
mod dot_env;
mod mcp;
mod value;
mod model;
mod reference;
mod source;
mod settings;

use std::{path::PathBuf, time::Duration};

use agent_core::{run::Limits, secret::Secret};
use tracing::Level;

pub use crate::otlp::TraceSampler;
pub use error::{ConfigError, Fault};
pub use mcp::{McpApproval, McpServer, McpTransport};
pub use model::Endpoint;
pub use reference::reference;
pub use settings::{Config, Effective};
pub(crate) use settings::{Setting, table};
pub use source::{Origin, Sources};
pub use value::{ApiKey, Headers};

use crate::{
    ServerOptions,
    auth::{Subject, SubjectKind},
    otlp::TraceOptions,
};

/// Location of the journals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// An SQLite file.
    File(PathBuf),
    /// The memory of the process.
    Memory,
    /// A PostgreSQL database: addresses of the journals and of the long-term memory.
    Postgres {
        /// Address of the journals.
        journals: Secret,
        /// Address of the long-term memory.
        memory: Secret,
    },
}

/// Value of `AUTH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Depends on other settings; see [`Config::access_mode`].
    Auto,
    /// Credentials are required.
    On,
    /// Authentication is disabled.
    Off,
}

impl AuthMode {
    const WORDS: [(&str, Self); 3] = [("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];
}

/// Callers that need a key or token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessMode {
    /// None.
    Open,
    /// Callers on other machines. No credentials are configured, so they are rejected.
    RemoteRejected,
    /// All.
    All,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text lines.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    const WORDS: [(&str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

impl Config {
    /// Returns the settings of the trace exporter, if an endpoint is configured.
    pub(crate) fn traces(&self) -> Option<TraceOptions> {
        Some(TraceOptions {
            endpoint: self.otlp.clone()?,
            headers: self.otlp_headers.as_ref().map(|headers| headers.0.clone()).unwrap_or_default(),
            service_name: self.service_name.clone(),
            sampler: self.traces_sampler,
            ratio: self.traces_ratio,
        })
    }

    /// Reads the sources.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().environment(|name| (name == "API_PORT").then(|| "9000".to_owned()));
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.port, 9000);
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError`] lists all faults. It contains no values.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        let layers = source::Layers::gather(sources, &mut faults, &mut warnings);
        let mut reader = settings::Reader::new(&layers, faults);
        let mut config = settings::read(&mut reader);
        let mut faults = reader.faults;
        config.check(&mut faults);
        if !faults.is_empty() {
            return Err(ConfigError { faults });
        }
        config.warnings = warnings;
        config.warn();
        Ok(config)
    }

    /// Reads the sources of the process; see [`Sources::process`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::Config;
    ///
    /// match Config::load() {
    ///     Ok(config) => println!("{}", config.to_text()),
    ///     Err(error) => eprintln!("{error}"),
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn load() -> Result<Self, ConfigError> {
        Self::read(&Sources::process())
    }

    /// Returns whether a setting is set, rather than at its default.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().flag("API_PORT", "9000");
    /// let config = Config::read(&sources)?;
    /// assert!(config.is_set("API_PORT"));
    /// assert!(!config.is_set("API_HOST"));
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.origin(name) != Origin::Default
    }

    fn origin(&self, name: &str) -> Origin {
        let found = self.effective.iter().find(|setting| setting.name == name);
        found.map_or(Origin::Default, |setting| setting.origin.clone())
    }

    /// Returns the location of the journals.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources, Database};
    ///
    /// let sources = Sources::none().flag("DATABASE_PATH", ":memory:");
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.store(), Database::Memory);
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn store(&self) -> Database {
        if let Some((journals, memory)) = self.postgres_urls() {
            return Database::Postgres { journals: journals.clone(), memory: memory.clone() };
        }
        let path = match self.sqlite_url() {
            Some(path) if !self.is_set("DATABASE_PATH") => PathBuf::from(path),
            _ => self.database.clone(),
        };
        if path.as_os_str() == ":memory:" { Database::Memory } else { Database::File(path) }
    }

    /// Returns the addresses of PostgreSQL for journals and long-term memory.
    fn postgres_urls(&self) -> Option<(&Secret, &Secret)> {
        let postgres = |url: &&Secret| is_postgres(url);
        let journals = self.checkpoint_url.as_ref().or(self.database_url.as_ref()).filter(postgres)?;
        if self.is_set("DATABASE_PATH") {
            return None;
        }
        Some((journals, self.database_url.as_ref().filter(postgres).unwrap_or(journals)))
    }

    /// Returns the file in `sqlite:FILE`, `sqlite://FILE` or `sqlite:///absolute/FILE`.
    fn sqlite_url(&self) -> Option<&str> {
        let url = self.checkpoint_url.as_ref().or(self.database_url.as_ref())?;
        let rest = url.expose().strip_prefix("sqlite:")?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        Some(path.split('?').next().unwrap_or(path)).filter(|path| !path.is_empty())
    }

    /// Returns the callers that need a key or token.
    ///
    /// With `auto`: all, if credentials are configured. Otherwise callers on this machine are served, and all others are
    /// rejected, so that a server without configuration is usable but not open to the network.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources, AccessMode};
    ///
    /// let sources = Sources::none();
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.access_mode(), AccessMode::RemoteRejected);
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn access_mode(&self) -> AccessMode {
        match self.auth {
            AuthMode::On => AccessMode::All,
            AuthMode::Off => AccessMode::Open,
            AuthMode::Auto if self.has_credentials() => AccessMode::All,
            AuthMode::Auto => AccessMode::RemoteRejected,
        }
    }

    fn has_credentials(&self) -> bool {
        self.api_keys.is_some()
            || self.jwt_secret.is_some()
            || self.jwt_public_key.is_some()
            || self.jwt_jwks.is_some()
    }

    /// Returns the time after which the sessions of a silent process are free.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none();
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.lease_ttl().as_secs(), 15);
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        let replicas = matches!(self.store(), Database::Postgres { .. });
        self.lease.unwrap_or(Duration::from_secs(if replicas { 3 } else { 15 }))
    }

    fn sweep_interval(&self) -> Duration {
        let replicas = matches!(self.store(), Database::Postgres { .. });
        self.sweep.unwrap_or(Duration::from_secs(if replicas { 1 } else { 15 }))
    }

    /// Returns the log level.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().flag("DEBUG", "true");
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.level(), tracing::Level::DEBUG);
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn level(&self) -> Level {
        self.log_level.unwrap_or(if self.debug { Level::DEBUG } else { Level::INFO })
    }

    /// Returns the limits of each run.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().flag("RUN_MAX_MODEL_CALLS", "20");
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.run_limits().model_calls, Some(20));
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn run_limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.tokens = self.run_tokens;
        limits.model_calls = self.run_model_calls;
        limits.tool_calls = self.run_tool_calls;
        limits.active = self.run_active;
        limits
    }

    /// Sets the options of a server.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(builder: agent_server::ServerBuilder) -> Result<agent_server::ServerBuilder, agent_server::config::ConfigError> {
    /// use agent_server::Config;
    ///
    /// let config = Config::load()?;
    /// Ok(builder.options(|options| config.apply(options)))
    /// # }
    /// ```
    pub fn apply(&self, options: &mut ServerOptions) {
        options.origins = self.origins.clone();
        options.hosts = self.hosts.clone().unwrap_or_default();
        options.proxies = self.proxies.clone().unwrap_or_default().header(self.proxy_header);
        options.connections = self.connections;
        options.connections_per_address = self.connections_per_address;
        options.requests_per_minute = self.rate_per_minute;
        options.sockets_per_caller = self.sockets_per_caller;
        options.runs_per_caller = self.runs_per_caller;
        options.sessions_per_subject = self.sessions_per_subject;
        options.frames_per_second = self.frames_per_second;
        options.access_log = self.access_log;
        options.head_time = self.head_time;
        options.body_bytes = self.body_bytes;
        options.body_time = self.body_time;
        options.input_bytes = self.input_bytes;
        options.frame_bytes = self.frame_bytes;
        options.ping = self.ping;
        options.write_time = self.write_time;
        options.sweep = self.sweep_interval();
        options.grace = self.grace;
    }

    /// Checks combinations of settings.
    fn check(&self, faults: &mut Vec<Fault>) {
        let mut fault = |name: &str, message: &str| faults.push(Fault::new(name, self.origin(name), message));
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => fault("TLS_CERT_FILE", "requires TLS_KEY_FILE"),
            (None, Some(_)) => fault("TLS_KEY_FILE", "requires TLS_CERT_FILE"),
            _ => {}
        }
        if self.auth == AuthMode::On && !self.has_credentials() {
            fault("AUTH", "is `on`, but no credentials are configured; set API_KEYS or JWT_SECRET_KEY");
        }
        let keys = || self.api_keys.iter().flatten();
        let unknown = |admin: &&Subject| {
            admin.kind() == SubjectKind::Key && !keys().any(|key| key.name == admin.name())
        };
        if let Some(admin) = self.admins.iter().flatten().find(unknown) {
            fault("API_ADMINS", &format!("contains `{admin}`, but API_KEYS has no key with this name"));
        }
        for (name, url) in [("DATABASE_URL", &self.database_url), ("CHECKPOINT_DB_URI", &self.checkpoint_url)]
        {
            if url.as_ref().is_some_and(|url| !is_postgres(url) && !url.expose().starts_with("sqlite:")) {
                fault(name, "must begin with `sqlite:` or `postgresql:`");
            }
        }
    }

    /// Collects warnings.
    fn warn(&mut self) {
        let mut warnings = Vec::new();
        let urls = [("DATABASE_URL", &self.database_url), ("CHECKPOINT_DB_URI", &self.checkpoint_url)];
        for (name, url) in urls {
            if self.is_set("DATABASE_PATH") && url.as_ref().is_some_and(is_postgres) {
                warnings.push(format!("{name} is not used, because DATABASE_PATH is set"));
            }
        }
        warnings.extend(self.unused_key());
        let secret = self.jwt_secret.as_ref().filter(|secret| secret.expose().len() < 32);
        if secret.is_some() {
            warnings.push("JWT_SECRET_KEY is shorter than the 32 bytes that HS256 requires".to_owned());
        }
        self.warnings.extend(warnings);
    }

    /// Returns a warning if callers need no credentials, or if credentials are sent in clear text.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().flag("AUTH", "off");
    /// let config = Config::read(&sources)?;
    /// assert!(config.guard_warning().unwrap().starts_with("AUTH is off"));
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn guard_warning(&self) -> Option<String> {
        let (host, loopback) = (self.host, self.host.to_canonical().is_loopback());
        match self.access_mode() {
            AccessMode::Open if loopback => Some(format!(
                "AUTH is off and the server listens on {host}: every process on this machine, and every client of a \
                 proxy on this machine, can read and run everything without a key"
            )),
            AccessMode::Open => Some(format!(
                "AUTH is off and the server listens on {host}: every client that can reach it can read and run \
                 everything without a key"
            )),
            AccessMode::RemoteRejected => Some(
                "no keys are configured: every process on this machine can read and run everything without a key; remote \
                 callers are rejected. A proxy on this machine that adds no header (X-Forwarded-For, Forwarded, Via) opens \
                 the server to all its clients: set API_KEYS (or JWT_SECRET_KEY) before you put one in front, or to serve \
                 remote callers"
                    .to_owned(),
            ),
            _ if loopback => None,
            AccessMode::All if self.tls_cert.is_none() => Some(
                "keys and tokens are sent in clear text; set TLS_CERT_FILE and TLS_KEY_FILE, or put a proxy with TLS in front"
                    .to_owned(),
            ),
            AccessMode::All => None,
        }
    }
}

/// Returns whether an address is one of PostgreSQL, perhaps with a driver as in `postgresql+asyncpg://`.
fn is_postgres(url: &Secret) -> bool {
    let scheme = url.expose().split(':').next().unwrap_or_default();
    ["postgres", "postgresql"].contains(&scheme.split('+').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_every_name_is_unique() {
        let config = Config::read(&Sources::none()).unwrap();
        assert_eq!(config.effective.len(), table().len());
        let mut names: Vec<String> =
            table().iter().flat_map(|setting| [setting.name.to_owned(), setting.flag_variable()]).collect();
        names.sort();
        names.dedup();
        let secrets = table().iter().filter(|setting| setting.is_secret()).count();
        assert_eq!(names.len(), table().len() + secrets);
    }
}
