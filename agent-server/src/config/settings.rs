//! Table of settings: field, type, name, default and help of each.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use agent_core::{run::Durability, secret::Secret, session::Retention};
use tracing::Level;

use super::{
    ApiKey, AuthMode, Headers, LogFormat,
    error::Fault,
    mcp::{self, McpServer},
    source::{Layers, Origin, file_name},
    value::{self, Kind, Shape},
};
use crate::{Hosts, Origins, Proxies, ProxyHeader, auth::Subject, otlp::TraceSampler};

/// Description of a setting.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// Environment variable. The flag and the key in the file are the same in lower case.
    pub(crate) name: &'static str,
    /// Other variables for the same setting.
    pub(crate) aliases: &'static [&'static str],
    /// Section in the file.
    pub(crate) section: &'static str,
    /// Help text.
    pub(crate) help: String,
    /// Default value.
    pub(crate) default: Option<&'static str>,
    pub(super) shape: Shape,
}

impl Setting {
    /// Returns the flag: `--api-host`, or for a secret `--jwt-secret-key-file`, because command lines are visible to other
    /// users.
    pub(crate) fn flag(&self) -> String {
        self.flag_variable().to_lowercase().replace('_', "-")
    }

    /// Returns the variable that the flag sets.
    pub(crate) fn flag_variable(&self) -> String {
        if self.shape.secret { file_name(self.name) } else { self.name.to_owned() }
    }

    /// Returns the placeholder of the value.
    pub(crate) fn word(&self) -> &'static str {
        if self.shape.secret { "FILE" } else { self.shape.word }
    }

    /// Returns whether a flag without a value means `true`.
    pub(crate) const fn is_switch(&self) -> bool {
        self.shape.switch
    }

    /// Returns a description of valid values.
    pub(crate) fn what(&self) -> &str {
        &self.shape.what
    }

    /// Returns whether the value is secret.
    pub(crate) const fn is_secret(&self) -> bool {
        self.shape.secret
    }
}

/// Finds the setting of a variable, an alias or `NAME_FILE`.
pub(super) fn by_name(name: &str) -> Option<Setting> {
    table().into_iter().find(|setting| {
        setting.name == name
            || setting.aliases.contains(&name)
            || (setting.shape.secret && file_name(setting.name) == name)
    })
}

/// Effective value of a setting, and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effective {
    /// Environment variable.
    pub name: &'static str,
    /// Value; `None`: not set, without a default. `***` for a secret.
    pub text: Option<String>,
    /// Source.
    pub origin: Origin,
}

/// Reads settings.
pub(super) struct Reader<'a> {
    layers: &'a Layers,
    table: Vec<Setting>,
    pub(super) faults: Vec<Fault>,
    pub(super) effective: Vec<Effective>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers, faults: Vec<Fault>) -> Self {
        Self { layers, table: table(), faults, effective: Vec::new() }
    }

    /// Returns the text with the highest precedence, and records it.
    fn text(&mut self, name: &str) -> Option<(String, Origin)> {
        let setting = self.table.iter().find(|setting| setting.name == name)?.clone();
        let found = self.layers.text(&setting, &mut self.faults);
        let shown = match &found {
            Some(_) if setting.shape.secret => Some("***".to_owned()),
            Some((text, _)) => Some(text.clone()),
            None => setting.default.map(str::to_owned),
        };
        let origin = found.as_ref().map_or(Origin::Default, |(_, origin)| origin.clone());
        self.effective.push(Effective { name: setting.name, text: shown, origin });
        found
    }

    fn optional<T>(&mut self, name: &'static str, kind: &Kind<T>) -> Option<T> {
        let (text, origin) = self.text(name)?;
        match kind.read(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.faults.push(Fault::new(name, origin, message));
                None
            }
        }
    }

    fn required<T>(&mut self, name: &'static str, kind: &Kind<T>, default: &str) -> T {
        match self.optional(name, kind) {
            Some(value) => value,
            None => kind.read(default).expect("a test reads every default"),
        }
    }
}

macro_rules! default_text {
    (none) => {
        None
    };
    ($text:literal) => {
        Some($text)
    };
}

macro_rules! read {
    ($reader:ident, $name:ident, $kind:expr, none) => {
        $reader.optional(stringify!($name), &$kind)
    };
    ($reader:ident, $name:ident, $kind:expr, $text:literal) => {
        $reader.required(stringify!($name), &$kind, $text)
    };
}

macro_rules! settings {
    ($($section:literal {
        $($(#[doc = $help:literal])+ $field:ident: $type:ty = $name:ident $(or $alias:ident)*, $kind:expr, $default:tt;)*
    })*) => {
        /// Configuration of a process, with one field per setting.
        ///
        /// `docs/configuration.md` lists the settings.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct Config {
            $($($(#[doc = $help])+ #[doc = ""] #[doc = concat!("`", stringify!($name), "`")] pub $field: $type,)*)*
            /// Warnings for the operator.
            pub warnings: Vec<String>,
            /// Effective values of all settings, in the order of the table.
            pub effective: Vec<Effective>,
        }

        /// Returns all settings.
        pub(crate) fn table() -> Vec<Setting> {
            vec![$($(Setting {
                name: stringify!($name),
                aliases: &[$(stringify!($alias)),*],
                section: $section,
                help: [$($help),+].map(str::trim).join(" "),
                default: default_text!($default),
                shape: $kind.shape,
            },)*)*]
        }

        /// Reads all settings.
        pub(super) fn read(reader: &mut Reader<'_>) -> Config {
            Config {
                $($($field: read!(reader, $name, $kind, $default),)*)*
                warnings: Vec::new(),
                effective: std::mem::take(&mut reader.effective),
            }
        }
    };
}

settings! {
    "server" {
        /// Address to listen on.
        host: IpAddr = API_HOST, value::ip(), "0.0.0.0";
        /// Port; 0 selects a free one. `PORT` counts if `API_PORT` is not set.
        port: u16 = API_PORT or PORT, value::number("PORT", "a port", 0..=u16::MAX), "8000";
        /// Web origins that may use the server, in addition to its own and those of this machine; `*` allows all.
        origins: Origins = ALLOWED_ORIGINS, value::origins(), "http://localhost:5173,http://127.0.0.1:5173";
        /// Hosts for which the server responds to callers without a key, in addition to IP addresses, `localhost` and names without
        /// a dot: names without port, separated by commas; `*` allows all. Default: none.
        hosts: Option<Hosts> = ALLOWED_HOSTS, value::allowed_hosts(), none;
        /// Proxies trusted to report the address of their client: addresses and networks, separated by commas. The nearest hop that
        /// is not one of them is the caller for limits and the access log. Default: none.
        proxies: Option<Proxies> = TRUSTED_PROXIES, value::proxies(), none;
        /// Header in which trusted proxies report the client; the other one is ignored.
        proxy_header: ProxyHeader = PROXY_HEADER, value::one_of(&ProxyHeader::WORDS), "x-forwarded-for";
        /// PEM file with the certificate and its chain. With it and `TLS_KEY_FILE` the server uses HTTPS.
        tls_cert: Option<PathBuf> = TLS_CERT_FILE, value::file(), none;
        /// PEM file with the key of the certificate.
        tls_key: Option<PathBuf> = TLS_KEY_FILE, value::file(), none;
        /// Time for runs to reach their next superstep and for responses to be sent during shutdown.
        grace: Duration = GRACE_SECONDS, value::seconds(0.0..=600.0), "5";
    }
    "limits" {
        /// Maximum number of connections, including WebSockets.
        connections: usize = MAX_CONNECTIONS, value::number("NUMBER", "a number", 1..=1_000_000), "10000";
        /// Maximum number of connections per address, except loopback; 0: no limit.
        connections_per_address: usize = MAX_CONNECTIONS_PER_ADDRESS, value::number("NUMBER", "a number", 0..=1_000_000), "1000";
        /// Maximum number of requests per minute and caller, over all replicas on a PostgreSQL database; 0: no limit.
        rate_per_minute: u32 = RATE_LIMIT_PER_MINUTE, value::number("NUMBER", "a number", 0..=1_000_000), "0";
        /// Maximum number of sessions per caller, over all replicas; 0: no limit.
        sessions_per_subject: u32 = MAX_SESSIONS_PER_SUBJECT, value::number("NUMBER", "a number", 0..=100_000_000), "0";
        /// Maximum number of WebSockets and streams per caller; 0: no limit.
        sockets_per_caller: usize = MAX_SOCKETS_PER_CALLER, value::number("NUMBER", "a number", 0..=1_000_000), "1000";
        /// Maximum number of running runs per caller over all replicas, including chat answers. Paused runs do not count; 0: no limit.
        runs_per_caller: usize = MAX_RUNS_PER_CALLER, value::number("NUMBER", "a number", 0..=1_000_000), "0";
        /// WebSocket frames read per second; further frames wait. 0: no limit.
        frames_per_second: u32 = FRAMES_PER_SECOND, value::number("NUMBER", "a number", 0..=1_000_000), "100";
        /// Maximum number of runs, including paused ones in memory.
        runs: usize = MAX_RUNS, value::number("NUMBER", "a number", 1..=10_000_000), "100000";
        /// Maximum number of runs that execute at once in this process. Further runs are accepted and wait, in turns between callers;
        /// replicas with room take them over. Paused runs do not count; 0: no limit.
        active_runs: usize = MAX_ACTIVE_RUNS, value::number("NUMBER", "a number", 0..=1_000_000), "0";
        /// Timeout for reading request headers, and for idle connections.
        head_time: Duration = HEAD_SECONDS, value::seconds(0.1..=3600.0), "30";
        /// Maximum size of a request body.
        body_bytes: usize = BODY_BYTES, value::bytes(1024..=256 * 1024 * 1024), "1MiB";
        /// Memory for the input of all callers: bodies while they are read and parsed, and incomplete WebSocket messages. Requests
        /// beyond it get 503.
        input_bytes: usize = INPUT_BYTES, value::bytes(16 * 1024 * 1024..=64 * 1024 * 1024 * 1024), "256MiB";
        /// Timeout for reading a request body.
        body_time: Duration = BODY_SECONDS, value::seconds(0.1..=3600.0), "30";
        /// Maximum size of a WebSocket frame.
        frame_bytes: usize = FRAME_BYTES, value::bytes(1024..=16 * 1024 * 1024), "64KiB";
        /// Interval of WebSocket pings. A client that sends nothing for three intervals is disconnected.
        ping: Duration = PING_SECONDS, value::seconds(0.1..=3600.0), "20";
        /// Timeout for a write that makes no progress.
        write_time: Duration = WRITE_SECONDS, value::seconds(0.1..=3600.0), "30";
        /// Maximum number of tokens per run, input and output. Default: no limit.
        run_tokens: Option<u64> = RUN_MAX_TOKENS, value::number("NUMBER", "a number", 1..=u64::MAX >> 1), none;
        /// Maximum number of model calls per run. Default: no limit.
        run_model_calls: Option<u64> = RUN_MAX_MODEL_CALLS, value::number("NUMBER", "a number", 1..=u64::MAX >> 1), none;
        /// Maximum number of tool calls per run. Default: no limit.
        run_tool_calls: Option<u64> = RUN_MAX_TOOL_CALLS, value::number("NUMBER", "a number", 1..=u64::MAX >> 1), none;
        /// Maximum time that a run may be active, without pauses. Default: no limit.
        run_active: Option<Duration> = RUN_MAX_SECONDS, value::seconds(0.1..=31_536_000.0), none;
    }
    "store" {
        /// SQLite file of the journals, or `:memory:`.
        database: PathBuf = DATABASE_PATH or CHECKPOINT_DB, value::path(), "agent.db";
        /// Address of the database of long-term memory, and of the journals if `CHECKPOINT_DB_URI` is not set:
        /// `postgresql://user:password@host:port/database`, or `sqlite:FILE`. Not used if `DATABASE_PATH` is set.
        database_url: Option<Secret> = DATABASE_URL, value::secret(), none;
        /// Address of the database of journals and snapshots, and of long-term memory if `DATABASE_URL` is not set.
        checkpoint_url: Option<Secret> = CHECKPOINT_DB_URI, value::secret(), none;
        /// Schema of the tables in PostgreSQL. It is created if it does not exist.
        database_schema: String = DATABASE_SCHEMA, value::text("NAME"), "agent";
        /// Maximum number of connections of this process to a PostgreSQL database.
        database_connections: usize = DATABASE_MAX_CONNECTIONS, value::number("NUMBER", "a number", 2..=1_000), "16";
        /// Address of the same PostgreSQL database for the connection that listens for other replicas. Necessary if
        /// `CHECKPOINT_DB_URI` is that of PgBouncer in transaction mode. Default: `CHECKPOINT_DB_URI`.
        database_listen_url: Option<Secret> = DATABASE_LISTEN_URL, value::secret(), none;
        /// Keeps prepared statements on connections to PostgreSQL. Do not use it with PgBouncer in transaction mode.
        database_statement_cache: bool = DATABASE_STATEMENT_CACHE, value::flag(), "false";
        /// Time after which the sessions of a process that does not respond are free for others. Default: 3 with PostgreSQL, else 15.
        lease: Option<Duration> = LEASE_SECONDS, value::seconds(1.0..=3600.0), none;
        /// When commits are stored: before the next superstep (`sync`), during it (`async`), or when a run ends or pauses (`exit`).
        durability: Durability = DURABILITY, value::durability(), "async";
        /// Number of journal entries kept before the latest snapshot of a session, or `all`.
        retention: Retention = RETENTION, value::retention(), "10000";
        /// Interval of the search for runs of crashed processes. Default: 1 with PostgreSQL, else 15.
        sweep: Option<Duration> = SWEEP_SECONDS, value::seconds(0.1..=3600.0), none;
        /// Time after which a paused run is evicted from memory.
        evict_paused_after: Duration = PARK_SECONDS, value::seconds(0.0..=86_400.0), "600";
    }
    "model" {
        /// API key of OpenAI, or of the endpoint at `OPENAI_BASE_URL`.
        openai_key: Option<Secret> = OPENAI_API_KEY, value::secret(), none;
        /// URL of an OpenAI-compatible endpoint. Default: OpenAI.
        openai_url: Option<String> = OPENAI_BASE_URL, value::url(), none;
        /// Name of the main model. `claude…` and `gemini…` use their own endpoints if their key is set and `OPENAI_BASE_URL` is
        /// not.
        model_name: String = DEFAULT_LLM_MODEL, value::text("NAME"), "gpt-4o-mini";
        /// Sampling temperature of the models.
        temperature: f32 = LLM_TEMPERATURE, value::number("NUMBER", "a number", 0.0..=2.0), "0.7";
        /// Timeout for the first piece of a model's answer. A local model may need minutes to read a long prompt; then raise `ANSWER_SECONDS` too.
        first_token: Duration = FIRST_TOKEN_SECONDS, value::seconds(0.1..=86_400.0), "120";
        /// Timeout for a whole answer of the model to the sample agent; after it, the built-in analyst writes the report.
        answer_time: Duration = ANSWER_SECONDS, value::seconds(0.1..=86_400.0), "300";
        /// Maximum length of a chat answer, in tokens.
        chat_tokens: u32 = CHAT_MAX_TOKENS, value::number("NUMBER", "a number", 1..=1_000_000), "1000";
        /// API key of Anthropic, for models with the prefix `claude`.
        anthropic_key: Option<Secret> = ANTHROPIC_API_KEY, value::secret(), none;
        /// API key of Google, for models with the prefix `gemini`.
        gemini_key: Option<Secret> = GEMINI_API_KEY, value::secret(), none;
        /// URL of the vLLM server for `/api/v1/chat`.
        vllm_url: String = VLLM_BASE_URL, value::url(), "http://localhost:8000";
        /// Name of its model.
        vllm_model: String = VLLM_MODEL, value::text("NAME"), "Qwen/Qwen2.5-7B-Instruct";
        /// The sample agent uses its built-in analyst on the shipped reviews instead of a model. The chats and the assistant use a
        /// model only if one is configured.
        mock_data: bool = USE_MOCK_DATA, value::flag(), "false";
        /// Delay between the steps of the built-in analyst, to make its progress visible.
        pace: Duration = TREND_PACE_MS, value::millis(), "0";
    }
    "mcp" {
        /// MCP servers with tools for the assistant: a JSON object by name, each with `command`, `args`, `env` and `cwd`, or with `url`
        /// and `headers`; also `approval` (`writes`, `always`, `never`), `tools`, `timeout_seconds`, `questions`, `required` and `disabled`.
        /// `${NAME}` is replaced by the environment variable. In the TOML file also as tables `[mcp_servers.NAME]`. Default: none.
        mcp_servers: Option<Vec<McpServer>> = MCP_SERVERS, mcp::servers(), none;
    }
    "auth" {
        /// Callers that need a key or token: all (`on`), none (`off`), or `auto`: all if keys or a JWT key are configured; otherwise
        /// callers on this machine need none, and others are rejected.
        auth: AuthMode = AUTH, value::one_of(&AuthMode::WORDS), "auto";
        /// API keys for `Authorization: Bearer KEY`, with their names: `name:key,name:key`; one per line in the file that
        /// `API_KEYS_FILE` names.
        api_keys: Option<Vec<ApiKey>> = API_KEYS, value::api_keys(), none;
        /// Subjects with access to all sessions, including those without an owner (created before keys were configured, or from the
        /// command line): `key:NAME` for a key, `token:SUB` for tokens, separated by commas. Default: none.
        admins: Option<Vec<Subject>> = API_ADMINS, value::subjects(), none;
        /// Secret from which ids of sessions are derived that a request does not name (requests with an `Idempotency-Key`, webhooks).
        /// It must be the same for all processes on one database. Default: a random secret, stored in a file next to the database.
        server_secret: Option<Secret> = SERVER_SECRET, value::secret(), none;
        /// Key of HS256 tokens.
        jwt_secret: Option<Secret> = JWT_SECRET_KEY, value::secret(), none;
        /// PEM file with the public key of RS256 tokens.
        jwt_public_key: Option<PathBuf> = JWT_PUBLIC_KEY_FILE, value::file(), none;
        /// File with a JSON Web Key Set.
        jwt_jwks: Option<PathBuf> = JWT_JWKS_FILE, value::file(), none;
        /// Required `iss` of tokens. Default: not checked.
        jwt_issuer: Option<String> = JWT_ISSUER, value::text("TEXT"), none;
        /// Required `aud` of tokens. Default: not checked.
        jwt_audience: Option<String> = JWT_AUDIENCE, value::text("TEXT"), none;
    }
    "operations" {
        /// Same as `LOG_LEVEL=debug`, unless `LOG_LEVEL` is set.
        debug: bool = DEBUG, value::flag(), "false";
        /// Log level: `error`, `warn`, `info`, `debug` or `trace`.
        log_level: Option<Level> = LOG_LEVEL, value::one_of(&LEVELS), none;
        /// Format of the log.
        log_format: LogFormat = LOG_FORMAT, value::one_of(&LogFormat::WORDS), "text";
        /// Whether to log each request, without bodies.
        access_log: bool = ACCESS_LOG, value::flag(), "false";
        /// URL of an OpenTelemetry collector that accepts OTLP over HTTP (`/v1/traces` is appended). Requires a build with
        /// `--features otlp`. Default: traces are not exported.
        otlp: Option<String> = OTEL_EXPORTER_OTLP_ENDPOINT, value::url(), none;
        /// Headers of requests to the collector, for example an API key: `name=value,name=value`, percent-encoded.
        otlp_headers: Option<Headers> = OTEL_EXPORTER_OTLP_HEADERS, value::headers(), none;
        /// Name of this service in traces.
        service_name: String = OTEL_SERVICE_NAME, value::text("NAME"), "agent-server";
        /// Sampler of traces, by its OpenTelemetry name. `parentbased_` samplers follow the decision of the caller.
        traces_sampler: TraceSampler = OTEL_TRACES_SAMPLER, value::one_of(&TraceSampler::WORDS), "parentbased_traceidratio";
        /// Fraction of new traces that ratio samplers export, from 0 to 1.
        traces_ratio: f64 = OTEL_TRACES_SAMPLER_ARG, value::number("NUMBER", "a number", 0.0..=1.0), "1";
        /// Whether traces contain the messages of models and the arguments and results of tools. They may be personal or secret.
        trace_content: bool = TRACE_CONTENT or OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT, value::flag(), "false";
        /// Whether journals contain the requests of model calls, as events `model_request`.
        journal_requests: bool = JOURNAL_REQUESTS, value::flag(), "false";
        /// Regular expression of what `[redacted]` replaces in the content of traces and in journalled requests, for example
        /// `[0-9]{3}-[0-9]{4}`. Default: nothing.
        content_redact: Option<regex::Regex> = CONTENT_REDACT, value::pattern(), none;
        /// Key for signing webhooks.
        webhook_secret: Option<Secret> = WEBHOOK_SECRET, value::secret(), none;
        /// Hosts with private addresses that webhooks may reach: names without port, or addresses, separated by commas. Default:
        /// none.
        webhook_hosts: Option<Vec<String>> = WEBHOOK_HOSTS, value::hosts(), none;
    }
}

const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];
