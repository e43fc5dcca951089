//! One execution on a session: where it stands and how it ends.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{ids::RunId, interrupt::OpenQuestion, state::State};

/// Where a session's latest run stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// No run was ever accepted.
    #[default]
    Idle,
    /// It is being executed, or waits for its turn after a restart.
    Running,
    /// It waits for a person.
    Paused,
    /// It reached its end.
    Completed,
    /// It failed and can be resumed from its last commit.
    Failed,
    /// It was stopped and can be resumed.
    Stopped,
}

impl RunStatus {
    /// The word on wires and in stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Whether a new run would be a second one.
    #[must_use]
    pub const fn is_busy(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a run came to rest. Pausing and stopping are outcomes, not errors: nobody's `?` can swallow a question.
#[non_exhaustive]
pub enum RunOutcome<S: State> {
    /// It reached its end.
    Completed(Rest<S>),
    /// It waits for a person; answer with [`Session::answer`](crate::session::Session::answer). The state is
    /// the run's own until it rests; [`Session::state`](crate::session::Session::state) reads a copy.
    Paused {
        /// The run.
        run: RunId,
        /// What is asked.
        questions: Vec<OpenQuestion>,
    },
    /// It was stopped or drained; go on with [`Session::resume`](crate::session::Session::resume).
    Stopped(Rest<S>),
}

/// What is known of a run that ended.
pub struct Rest<S: State> {
    /// The run.
    pub run: RunId,
    /// The state as of the last committed superstep.
    pub state: Arc<S>,
    /// Supersteps begun in this run.
    pub supersteps: u64,
}

impl<S: State> RunOutcome<S> {
    /// The state as of the last committed superstep; none while paused.
    #[must_use]
    pub fn state(&self) -> Option<&S> {
        match self {
            Self::Completed(rest) | Self::Stopped(rest) => Some(&rest.state),
            Self::Paused { .. } => None,
        }
    }

    /// What is known of the run, when it reached its end.
    #[must_use]
    pub fn completed(self) -> Option<Rest<S>> {
        match self {
            Self::Completed(rest) => Some(rest),
            _ => None,
        }
    }

    /// The open questions; empty unless paused.
    #[must_use]
    pub fn questions(&self) -> &[OpenQuestion] {
        match self {
            Self::Paused { questions, .. } => questions,
            Self::Completed(_) | Self::Stopped(_) => &[],
        }
    }

    /// The run.
    #[must_use]
    pub const fn run(&self) -> RunId {
        match self {
            Self::Completed(rest) | Self::Stopped(rest) => rest.run,
            Self::Paused { run, .. } => *run,
        }
    }

    /// Where the run stands.
    #[must_use]
    pub const fn status(&self) -> RunStatus {
        match self {
            Self::Completed(_) => RunStatus::Completed,
            Self::Paused { .. } => RunStatus::Paused,
            Self::Stopped(_) => RunStatus::Stopped,
        }
    }

    /// Whether the run reached its end.
    #[must_use]
    pub const fn is_completed(&self) -> bool {
        matches!(self, Self::Completed(_))
    }

    /// Whether the run waits for a person.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        matches!(self, Self::Paused { .. })
    }

    /// Whether the run was stopped or drained.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped(_))
    }
}

impl<S: State> Clone for RunOutcome<S> {
    fn clone(&self) -> Self {
        match self {
            Self::Completed(rest) => Self::Completed(rest.clone()),
            Self::Paused { run, questions } => Self::Paused { run: *run, questions: questions.clone() },
            Self::Stopped(rest) => Self::Stopped(rest.clone()),
        }
    }
}

impl<S: State> Clone for Rest<S> {
    fn clone(&self) -> Self {
        Self { run: self.run, state: Arc::clone(&self.state), supersteps: self.supersteps }
    }
}

// By hand: `derive` would ask for `S: Debug`, and states are often large and private.
impl<S: State> fmt::Debug for RunOutcome<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOutcome")
            .field("status", &self.status())
            .field("run", &self.run())
            .field("questions", &self.questions())
            .finish_non_exhaustive()
    }
}

impl<S: State> fmt::Debug for Rest<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest")
            .field("run", &self.run)
            .field("supersteps", &self.supersteps)
            .finish_non_exhaustive()
    }
}
