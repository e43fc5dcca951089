//! The one table of settings: each line gives a field its type, its name, its default and its help.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use agent_core::{run::Durability, secret::Secret, session::Retention};
use tracing::Level;

use super::{
    ApiKey, AuthMode, Headers, LogFormat,
    error::Fault,
    source::{Layers, Origin, file_name},
    value::{self, Kind, Shape},
};
use crate::{Hosts, Origins, Proxies, ProxyHeader, auth::Subject, otlp::TraceSampler};

/// A setting as people are told of it.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    /// The variable; the flag and the key of the file are the same in small letters.
    pub(crate) name: &'static str,
    /// Other variables that say the same.
    pub(crate) aliases: &'static [&'static str],
    /// The section of the file.
    pub(crate) section: &'static str,
    /// What it is for.
    pub(crate) help: String,
    /// What holds when it is not said.
    pub(crate) default: Option<&'static str>,
    pub(super) shape: Shape,
}

impl Setting {
    /// `--api-host`; for a secret `--jwt-secret-key-file`, as command lines are seen by others.
    pub(crate) fn flag(&self) -> String {
        self.said_by_flag().to_lowercase().replace('_', "-")
    }

    /// The variable that its flag stands for.
    pub(crate) fn said_by_flag(&self) -> String {
        if self.shape.secret { file_name(self.name) } else { self.name.to_owned() }
    }

    /// The word for its value.
    pub(crate) fn word(&self) -> &'static str {
        if self.shape.secret { "FILE" } else { self.shape.word }
    }

    /// Whether a flag without a value means `true`.
    pub(crate) const fn is_switch(&self) -> bool {
        self.shape.switch
    }

    /// What its text must be.
    pub(crate) fn what(&self) -> &str {
        &self.shape.what
    }

    /// Whether its text is hidden.
    pub(crate) const fn is_secret(&self) -> bool {
        self.shape.secret
    }
}

/// The setting of a variable's name, an alias and `NAME_FILE` included.
pub(super) fn by_name(name: &str) -> Option<Setting> {
    table().into_iter().find(|setting| {
        setting.name == name
            || setting.aliases.contains(&name)
            || (setting.shape.secret && file_name(setting.name) == name)
    })
}

/// A setting's text as it holds, and where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effective {
    /// The variable.
    pub name: &'static str,
    /// Its text; `None`: nothing was said and there is no default. That of a secret is `***`.
    pub text: Option<String>,
    /// Where it was said.
    pub origin: Origin,
}

/// Reads one setting after the other.
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

    /// The strongest text, noted.
    fn said(&mut self, name: &str) -> Option<(String, Origin)> {
        let setting = self.table.iter().find(|setting| setting.name == name)?.clone();
        let said = self.layers.said(&setting, &mut self.faults);
        let shown = match &said {
            Some(_) if setting.shape.secret => Some("***".to_owned()),
            Some((text, _)) => Some(text.clone()),
            None => setting.default.map(str::to_owned),
        };
        let origin = said.as_ref().map_or(Origin::Default, |(_, origin)| origin.clone());
        self.effective.push(Effective { name: setting.name, text: shown, origin });
        said
    }

    fn optional<T>(&mut self, name: &'static str, kind: &Kind<T>) -> Option<T> {
        let (text, origin) = self.said(name)?;
        match kind.read(&text) {
            Ok(value) => Some(value),
            Err(told) => {
                self.faults.push(Fault::new(name, origin, told));
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
        /// The configuration of a process: one field a setting, as the strongest source says it.
        ///
        /// `docs/configuration.md` has them as a table.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct Config {
            $($($(#[doc = $help])+ #[doc = ""] #[doc = concat!("`", stringify!($name), "`")] pub $field: $type,)*)*
            /// What the operator should know, though it is no fault.
            pub warnings: Vec<String>,
            /// Every setting as it holds, in the order of the table.
            pub effective: Vec<Effective>,
        }

        /// Every setting, in the order of help and page.
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

        /// Reads every setting.
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
        /// The address to listen on.
        host: IpAddr = API_HOST, value::ip(), "0.0.0.0";
        /// The port; 0 takes any free one.
        port: u16 = API_PORT, value::number("PORT", "a port", 0..=u16::MAX), "8000";
        /// Which web pages may use the server, besides its own and this machine's; `*` is every page.
        origins: Origins = ALLOWED_ORIGINS, value::origins(), "http://localhost:5173,http://127.0.0.1:5173";
        /// Hosts that the server answers for where callers show no key, besides IP addresses, `localhost` and names without a dot:
        /// names without port, with commas between them; `*` is every host. Not said: none.
        hosts: Option<Hosts> = ALLOWED_HOSTS, value::allowed_hosts(), none;
        /// Proxies that are believed when they say whom they pass a request on for: addresses and networks, with commas between
        /// them. The nearest hop that is none of them is the caller, for limits and for the access log. Not said: none.
        proxies: Option<Proxies> = TRUSTED_PROXIES, value::proxies(), none;
        /// The header in which they say it; the other one is not looked at.
        proxy_header: ProxyHeader = PROXY_HEADER, value::one_of(&ProxyHeader::WORDS), "x-forwarded-for";
        /// A PEM file with the certificate and its chain. With it and `TLS_KEY_FILE` the server speaks HTTPS.
        tls_cert: Option<PathBuf> = TLS_CERT_FILE, value::file(), none;
        /// A PEM file with the certificate's key.
        tls_key: Option<PathBuf> = TLS_KEY_FILE, value::file(), none;
        /// How long runs may take to reach their next superstep when the server is told to end, and responses to leave.
        grace: Duration = GRACE_SECONDS, value::seconds(0.0..=600.0), "5";
    }
    "limits" {
        /// Connections at once, sockets included.
        connections: usize = MAX_CONNECTIONS, value::number("NUMBER", "a number", 1..=1_000_000), "10000";
        /// Connections at once from one address other than this machine's; 0: no bound.
        connections_per_address: usize = MAX_CONNECTIONS_PER_ADDRESS, value::number("NUMBER", "a number", 0..=1_000_000), "1000";
        /// Requests a minute for each caller; 0: no bound.
        rate_per_minute: u32 = RATE_LIMIT_PER_MINUTE, value::number("NUMBER", "a number", 0..=1_000_000), "0";
        /// Sessions that one caller may have; 0: no bound.
        sessions_per_subject: u32 = MAX_SESSIONS_PER_SUBJECT, value::number("NUMBER", "a number", 0..=100_000_000), "0";
        /// WebSockets and streams of one caller at once; 0: no bound.
        sockets_per_caller: usize = MAX_SOCKETS_PER_CALLER, value::number("NUMBER", "a number", 0..=1_000_000), "1000";
        /// Runs of one caller at once, a chat's answers included, those that wait for a person left out; 0: no bound.
        runs_per_caller: usize = MAX_RUNS_PER_CALLER, value::number("NUMBER", "a number", 0..=1_000_000), "0";
        /// Frames a second that are read from a WebSocket; more wait. 0: no bound.
        frames_per_second: u32 = FRAMES_PER_SECOND, value::number("NUMBER", "a number", 0..=1_000_000), "100";
        /// Runs at once, paused ones in memory included.
        runs: usize = MAX_RUNS, value::number("NUMBER", "a number", 1..=10_000_000), "100000";
        /// Time for the head of a request, and the longest a connection may be idle.
        head_time: Duration = HEAD_SECONDS, value::seconds(0.1..=3600.0), "30";
        /// The largest body of a request.
        body_bytes: usize = BODY_BYTES, value::bytes(1024..=256 * 1024 * 1024), "1MiB";
        /// Memory that the input of all callers may take up at once: bodies that are read and parsed, unfinished messages of
        /// WebSockets. Beyond it requests get 503.
        input_bytes: usize = INPUT_BYTES, value::bytes(16 * 1024 * 1024..=64 * 1024 * 1024 * 1024), "256MiB";
        /// Time for a body to arrive.
        body_time: Duration = BODY_SECONDS, value::seconds(0.1..=3600.0), "30";
        /// The largest frame of a WebSocket.
        frame_bytes: usize = FRAME_BYTES, value::bytes(1024..=16 * 1024 * 1024), "64KiB";
        /// How often a quiet WebSocket is pinged; one that gives no sign of life for three times as long is closed.
        ping: Duration = PING_SECONDS, value::seconds(0.1..=3600.0), "20";
        /// How long a write to a slow subscriber may take before it is closed.
        write_time: Duration = WRITE_SECONDS, value::seconds(0.1..=3600.0), "30";
        /// Tokens, input and output together, that one run may use. Not said: no bound.
        run_tokens: Option<u64> = RUN_MAX_TOKENS, value::number("NUMBER", "a number", 1..=u64::MAX >> 1), none;
        /// Model calls that one run may make. Not said: no bound.
        run_model_calls: Option<u64> = RUN_MAX_MODEL_CALLS, value::number("NUMBER", "a number", 1..=u64::MAX >> 1), none;
        /// Tool calls that one run may make. Not said: no bound.
        run_tool_calls: Option<u64> = RUN_MAX_TOOL_CALLS, value::number("NUMBER", "a number", 1..=u64::MAX >> 1), none;
        /// How long one run may be active; pauses do not count. Not said: no bound.
        run_active: Option<Duration> = RUN_MAX_SECONDS, value::seconds(0.1..=31_536_000.0), none;
    }
    "store" {
        /// The SQLite file of all journals, or `:memory:` for as long as the process lives.
        database: PathBuf = DATABASE_PATH or CHECKPOINT_DB, value::path(), "agent.db";
        /// A database by address: `sqlite:FILE`, used when `DATABASE_PATH` is not said. PostgreSQL is not supported yet: it only
        /// warns, and journals are kept in SQLite.
        database_url: Option<Secret> = DATABASE_URL or CHECKPOINT_DB_URI, value::secret(), none;
        /// When commits are stored: before the next superstep (`sync`), beside it (`async`), or when a run rests (`exit`).
        durability: Durability = DURABILITY, value::durability(), "async";
        /// Journal entries of a session that are kept behind its newest snapshot, or `all`.
        retention: Retention = RETENTION, value::retention(), "10000";
        /// How often sessions are looked for whose process has died.
        sweep: Duration = SWEEP_SECONDS, value::seconds(0.1..=3600.0), "15";
        /// How long a run that waits for a person stays in memory before it is put away.
        park: Duration = PARK_SECONDS, value::seconds(0.0..=86_400.0), "600";
    }
    "model" {
        /// The key of OpenAI, or of the endpoint at `OPENAI_BASE_URL`.
        openai_key: Option<Secret> = OPENAI_API_KEY, value::secret(), none;
        /// An endpoint that speaks OpenAI's protocol. Not said: OpenAI itself.
        openai_url: Option<String> = OPENAI_BASE_URL, value::url(), none;
        /// The model that plans and writes. `claude…` and `gemini…` are asked at their own endpoints when their key is there
        /// and `OPENAI_BASE_URL` is not said.
        model_name: String = DEFAULT_LLM_MODEL, value::text("NAME"), "gpt-4o-mini";
        /// How freely the model writes.
        temperature: f32 = LLM_TEMPERATURE, value::number("NUMBER", "a number", 0.0..=2.0), "0.7";
        /// The longest answer of the chat, in tokens.
        chat_tokens: u32 = CHAT_MAX_TOKENS, value::number("NUMBER", "a number", 1..=1_000_000), "1000";
        /// The key of Anthropic, for models whose name begins with `claude`.
        anthropic_key: Option<Secret> = ANTHROPIC_API_KEY, value::secret(), none;
        /// The key of Google, for models whose name begins with `gemini`.
        gemini_key: Option<Secret> = GEMINI_API_KEY, value::secret(), none;
        /// The vLLM server of `/api/v1/chat`.
        vllm_url: String = VLLM_BASE_URL, value::url(), "http://localhost:8000";
        /// The model that it serves.
        vllm_model: String = VLLM_MODEL, value::text("NAME"), "Qwen/Qwen2.5-7B-Instruct";
        /// Keeps the model away: the built-in analyst works on the shipped reviews.
        mock_data: bool = USE_MOCK_DATA, value::flag(), "false";
        /// A wait between pieces of the built-in analyst's work, so that there is something to see.
        pace: Duration = TREND_PACE_MS, value::millis(), "0";
    }
    "auth" {
        /// Who must show a key or token: everybody (`on`), nobody (`off`), or `auto`: everybody once keys or a JWT key are
        /// configured, and until then everybody but this machine itself.
        auth: AuthMode = AUTH, value::one_of(&AuthMode::WORDS), "auto";
        /// Keys that callers may show as `Authorization: Bearer KEY`, and whose they are: `name:key,name:key`; in the file that
        /// `API_KEYS_FILE` names one a line.
        api_keys: Option<Vec<ApiKey>> = API_KEYS, value::api_keys(), none;
        /// Who may see and act on the sessions of all, those that are nobody's included (begun before there were keys, or from the
        /// command line): `key:NAME` for a key, `token:SUB` for tokens, with commas between them. Not said: nobody.
        admins: Option<Vec<Subject>> = API_ADMINS, value::subjects(), none;
        /// The secret from which ids of sessions are derived where a caller names none (requests with an `Idempotency-Key`, webhooks).
        /// The same for all processes on one database. Not said: one is made once, and kept in a file beside the database.
        server_secret: Option<Secret> = SERVER_SECRET, value::secret(), none;
        /// The key with which HS256 tokens are signed.
        jwt_secret: Option<Secret> = JWT_SECRET_KEY, value::secret(), none;
        /// A PEM file with the public key of RS256 tokens.
        jwt_public_key: Option<PathBuf> = JWT_PUBLIC_KEY_FILE, value::file(), none;
        /// A file with a JSON Web Key Set.
        jwt_jwks: Option<PathBuf> = JWT_JWKS_FILE, value::file(), none;
        /// What a token's `iss` must be. Not said: it is not looked at.
        jwt_issuer: Option<String> = JWT_ISSUER, value::text("TEXT"), none;
        /// What a token's `aud` must hold. Not said: it is not looked at.
        jwt_audience: Option<String> = JWT_AUDIENCE, value::text("TEXT"), none;
    }
    "operations" {
        /// Tells more in the log: the same as `LOG_LEVEL=debug`, which wins when it is said.
        debug: bool = DEBUG, value::flag(), "false";
        /// How much is logged: `error`, `warn`, `info`, `debug` or `trace`.
        log_level: Option<Level> = LOG_LEVEL, value::one_of(&LEVELS), none;
        /// How the log is written.
        log_format: LogFormat = LOG_FORMAT, value::one_of(&LogFormat::WORDS), "text";
        /// Whether each request is a line in the log, without what was said.
        access_log: bool = ACCESS_LOG, value::flag(), "false";
        /// Where traces are sent: an OpenTelemetry collector that takes OTLP over HTTP (`/v1/traces` is added). Needs a build with
        /// `--features otlp`. Not said: nowhere.
        otlp: Option<String> = OTEL_EXPORTER_OTLP_ENDPOINT, value::url(), none;
        /// Headers of the requests to the collector, its key for example: `name=value,name=value`, percent-encoded.
        otlp_headers: Option<Headers> = OTEL_EXPORTER_OTLP_HEADERS, value::headers(), none;
        /// The name of this service in traces.
        service_name: String = OTEL_SERVICE_NAME, value::text("NAME"), "agent-server";
        /// Which traces are kept, in OpenTelemetry's words. `parentbased_` ones follow a caller who has decided.
        traces_sampler: TraceSampler = OTEL_TRACES_SAMPLER, value::one_of(&TraceSampler::WORDS), "parentbased_traceidratio";
        /// How many of the traces that begin here are kept, for samplers by ratio: 1 is all.
        traces_ratio: f64 = OTEL_TRACES_SAMPLER_ARG, value::number("NUMBER", "a number", 0.0..=1.0), "1";
        /// The key with which webhooks are signed.
        webhook_secret: Option<Secret> = WEBHOOK_SECRET, value::secret(), none;
        /// Hosts that webhooks may reach though their addresses are private: names without port, or addresses, with commas between
        /// them. Not said: none.
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
