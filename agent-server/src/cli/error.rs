//! Errors of commands: one line with a hint, and an exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use agent_core::{SessionError, ids::InvalidSessionId, journal::StoreError, model::ModelError};

use crate::config::ConfigError;

/// Error of a command.
#[derive(Debug)]
pub(super) struct CliError {
    message: String,
    hint: Option<String>,
    code: u8,
    /// The reader of the output has gone, so nothing is printed.
    silent: bool,
}

impl CliError {
    /// Creates an error with exit code 1: the command failed, or is incomplete.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, code: 1, silent: false }
    }

    /// Creates an error with exit code 2: the arguments or settings are invalid.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, ..Self::new(message) }
    }

    /// Adds a hint.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Converts an error of clap.
    pub(super) fn misuse(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let lines = text.trim_start_matches("error: ").lines().map(str::trim);
        let kept = lines
            .filter(|line| !line.is_empty() && !line.starts_with("Usage:") && !line.starts_with("For more"));
        let lines: Vec<&str> = kept.collect();
        Self::usage(lines.join("; ").replace(":;", ":")).hint("see `agent-server --help`")
    }

    pub(super) fn from_io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::new(format!("{what}: {error}"))
    }

    /// Converts an error of the output. A reader that has gone (`| head`) is not an error.
    pub(super) fn written(error: &io::Error) -> Self {
        let mut failure = Self::new(format!("the output cannot be written: {error}"));
        if error.kind() == io::ErrorKind::BrokenPipe {
            (failure.silent, failure.code) = (true, 0);
        }
        failure
    }

    /// Converts an error of a session, with a hint.
    pub(super) fn of(error: &SessionError) -> Self {
        let failure = Self::new(error.to_string());
        match error {
            SessionError::NotFound { .. } | SessionError::Store(StoreError::NotFound { .. }) => {
                failure.hint("`agent-server sessions` lists the sessions")
            }
            SessionError::Store(StoreError::Leased { .. } | StoreError::StaleWriter { .. }) => failure
                .hint("a server or another `run` uses the session: use the server's API, or stop that process first"),
            SessionError::Busy { session, .. } => failure.hint(format!(
                "`agent-server run --session {session}` continues it, `--on-busy interrupt` replaces it"
            )),
            SessionError::NoSuchCheckpoint { session, .. } => {
                failure.hint(format!("`agent-server history {session}` lists the checkpoints"))
            }
            SessionError::Exists { .. } => failure.hint("choose another name for the new session"),
            SessionError::GraphNotFound { .. } => {
                failure.hint("the session belongs to an agent that this program does not have")
            }
            _ => failure,
        }
    }

    /// Prints the error and returns the exit code.
    pub(super) fn report(self) -> ExitCode {
        ExitCode::from(self.print())
    }

    /// As [`report`](Self::report), as a number.
    pub(super) fn print(self) -> u8 {
        if !self.silent {
            let hint = self.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            // There is no other place to report a failed write.
            writeln!(io::stderr().lock(), "agent-server: {}{hint}", self.message).ok();
        }
        self.code
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
