//! What goes wrong, told in one line with what to do, and the exit code that goes with it.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use agent_core::{SessionError, ids::InvalidSessionId, journal::StoreError, model::ModelError};

use crate::config::ConfigError;

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(super) struct CliError {
    told: String,
    hint: Option<String>,
    code: u8,
    /// The reader of the output has gone: nothing to tell.
    silent: bool,
}

impl CliError {
    /// It failed, or is not done.
    pub(super) fn new(told: impl Into<String>) -> Self {
        Self { told: told.into(), hint: None, code: 1, silent: false }
    }

    /// It was called wrongly.
    pub(super) fn usage(told: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(told) }
    }

    /// What to do about it.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Words that clap does not understand.
    pub(super) fn misuse(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let lines = text.trim_start_matches("error: ").lines().map(str::trim);
        let kept = lines
            .filter(|line| !line.is_empty() && !line.starts_with("Usage:") && !line.starts_with("For more"));
        let told: Vec<&str> = kept.collect();
        Self::usage(told.join("; ").replace(":;", ":")).hint("`agent-server --help` has every word")
    }

    pub(super) fn from_io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::new(format!("{what}: {error}"))
    }

    /// Output that cannot be written. A reader that has gone (`| head`) is no failure.
    pub(super) fn written(error: &io::Error) -> Self {
        let mut failure = Self::new(format!("the output cannot be written: {error}"));
        if error.kind() == io::ErrorKind::BrokenPipe {
            (failure.silent, failure.code) = (true, 0);
        }
        failure
    }

    /// An error of a session, with what to do about it.
    pub(super) fn of(error: &SessionError) -> Self {
        let failure = Self::new(error.to_string());
        match error {
            SessionError::NotFound { .. } | SessionError::Store(StoreError::NotFound { .. }) => {
                failure.hint("`agent-server sessions` lists what there is")
            }
            SessionError::Store(StoreError::Leased { .. } | StoreError::StaleWriter { .. }) => failure
                .hint("a server or another `run` has it: use the server's API, or end that process first"),
            SessionError::Busy { session, .. } => failure.hint(format!(
                "`agent-server run --session {session}` goes on with it, `--on-busy interrupt` replaces it"
            )),
            SessionError::NoSuchCheckpoint { session, .. } => {
                failure.hint(format!("`agent-server history {session}` lists the places"))
            }
            SessionError::Exists { .. } => failure.hint("choose another name for the new session"),
            SessionError::GraphNotFound { .. } => {
                failure.hint("the session belongs to an agent that this program does not have")
            }
            _ => failure,
        }
    }

    /// Writes it, and gives the exit code.
    pub(super) fn tell(self) -> ExitCode {
        if !self.silent {
            let hint = self.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            // Nobody is left to hear that this cannot be written.
            writeln!(io::stderr().lock(), "agent-server: {}{hint}", self.told).ok();
        }
        ExitCode::from(self.code)
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<SessionError> for CliError {
    fn from(error: SessionError) -> Self {
        Self::of(&error)
    }
}

impl From<InvalidSessionId> for CliError {
    fn from(error: InvalidSessionId) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::of(&SessionError::Store(error))
    }
}

impl From<ModelError> for CliError {
    fn from(error: ModelError) -> Self {
        Self::usage(format!("the model cannot be used: {error}"))
    }
}
