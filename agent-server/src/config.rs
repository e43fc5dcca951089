//! What the environment (and `.env`) says: read once, every fault told at once, secrets kept as such.

use std::{env, fmt, net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use crate::Origins;

/// The file of journals when nothing else is said.
const DATABASE: &str = "agent.db";

/// Where journals are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// In an SQLite file.
    File(PathBuf),
    /// In memory, for as long as the process lives.
    Memory,
}

/// The configuration of the server's process.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// `API_HOST`. Default: `0.0.0.0`.
    pub host: IpAddr,
    /// `API_PORT`; 0 takes any free one. Default: 8000.
    pub port: u16,
    /// `DEBUG`: tell more in the log. Default: no.
    pub debug: bool,
    /// `DATABASE_PATH` or `CHECKPOINT_DB`: a file, or `:memory:`. Default: `agent.db`.
    pub database: Database,
    /// `ALLOWED_ORIGINS`: a list parted by commas, or `*`. Default: this machine's.
    pub origins: Origins,
    /// Whether a model plans and writes: `OPENAI_API_KEY` or `OPENAI_BASE_URL` is set, and `USE_MOCK_DATA` is not true.
    pub model: bool,
    /// `TREND_PACE_MS`: a wait between pieces of the analyst's work, in milliseconds. Default: 0.
    pub pace: Duration,
    /// `MAX_CONNECTIONS`. Default: 10,000.
    pub connections: usize,
    /// What the operator should know, though it is no fault.
    pub warnings: Vec<String>,
}

/// Every fault of the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// One sentence each; values that may be secrets are not in them.
    pub faults: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} fault(s): {}", self.faults.len(), self.faults.join("; "))
    }
}

impl Config {
    /// Reads the environment and `.env`, which fills in what the environment leaves out. Call it before threads that
    /// read the environment begin.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env), and a `.env` that cannot be read.
    pub fn load() -> Result<Self, ConfigError> {
        match dotenvy::dotenv() {
            Err(error) if !error.not_found() => {
                // The error repeats the line, which may hold a secret.
                Err(ConfigError { faults: vec!["`.env` cannot be read: a line is not `NAME=value`".into()] })
            }
            _ => Self::from_env(),
        }
    }

    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] lists every fault.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(|name| env::var(name).ok())
    }

    /// Reads from any source of variables.
    ///
    /// # Errors
    ///
    /// See [`from_env`](Self::from_env).
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut faults = Vec::new();
        let said =
            |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let host = said("API_HOST").unwrap_or_else(|| "0.0.0.0".to_owned());
        let host = match host.as_str() {
            "localhost" => "127.0.0.1",
            host => host,
        };
        let mut warnings = Vec::new();
        if said("DATABASE_URL").is_some() || said("CHECKPOINT_DB_URI").is_some() {
            warnings.push(
                "DATABASE_URL and CHECKPOINT_DB_URI (PostgreSQL) are not used yet; journals are kept in SQLite".into(),
            );
        }
        let mock = flag(said("USE_MOCK_DATA"), "USE_MOCK_DATA", &mut faults);
        let config = Self {
            host: number(
                Some(host.to_owned()),
                "API_HOST",
                IpAddr::from([0, 0, 0, 0]),
                "an IP address",
                &mut faults,
            ),
            port: number(said("API_PORT"), "API_PORT", 8000, "a port from 0 to 65535", &mut faults),
            debug: flag(said("DEBUG"), "DEBUG", &mut faults),
            database: match said("DATABASE_PATH").or_else(|| said("CHECKPOINT_DB")).as_deref() {
                Some(":memory:") => Database::Memory,
                Some(path) => Database::File(path.into()),
                None => Database::File(DATABASE.into()),
            },
            origins: Origins::parse(&said("ALLOWED_ORIGINS").unwrap_or_default()).unwrap_or_else(|fault| {
                faults.push(format!("ALLOWED_ORIGINS: {fault}"));
                Origins::Local
            }),
            model: !mock && (said("OPENAI_API_KEY").is_some() || said("OPENAI_BASE_URL").is_some()),
            pace: Duration::from_millis(number(
                said("TREND_PACE_MS"),
                "TREND_PACE_MS",
                0,
                "a number of milliseconds",
                &mut faults,
            )),
            connections: number(said("MAX_CONNECTIONS"), "MAX_CONNECTIONS", 10_000, "a number", &mut faults)
                .max(1),
            warnings,
        };
        if faults.is_empty() { Ok(config) } else { Err(ConfigError { faults }) }
    }
}

fn number<T: FromStr>(
    said: Option<String>,
    name: &str,
    default: T,
    kind: &str,
    faults: &mut Vec<String>,
) -> T {
    let Some(said) = said else { return default };
    said.parse().unwrap_or_else(|_| {
        faults.push(format!("{name} must be {kind}"));
        default
    })
}

fn flag(said: Option<String>, name: &str, faults: &mut Vec<String>) -> bool {
    match said.map(|said| said.to_ascii_lowercase()).as_deref() {
        None | Some("false" | "0" | "no" | "off") => false,
        Some("true" | "1" | "yes" | "on") => true,
        Some(_) => {
            faults.push(format!("{name} must be true or false"));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(said: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            said.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_environment_has_the_defaults_of_the_contract() {
        let config = read(&[]).unwrap();
        assert_eq!((config.host.to_string().as_str(), config.port), ("0.0.0.0", 8000));
        assert_eq!(config.database, Database::File("agent.db".into()));
        assert!(!config.model && !config.debug);
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let faults =
            read(&[("API_PORT", "http"), ("DEBUG", "maybe"), ("ALLOWED_ORIGINS", "x")]).unwrap_err().faults;
        assert_eq!(faults.len(), 3, "{faults:?}");
    }

    #[test]
    fn mock_data_keeps_the_model_away() {
        assert!(read(&[("OPENAI_BASE_URL", "http://localhost:1/v1")]).unwrap().model);
        assert!(!read(&[("OPENAI_API_KEY", "k"), ("USE_MOCK_DATA", "true")]).unwrap().model);
    }
}
