//! Why a call on a session did nothing.

use std::sync::Arc;

use crate::{
    engine::RunError,
    error::Code,
    ids::{RunId, Seq, SessionId},
    interrupt::AnswerError,
    journal::StoreError,
    json::ValueError,
    run::RunStatus,
};

/// Why a call on a session did nothing, or how its run failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no such session.
    #[error("there is no session `{session}`")]
    NotFound {
        /// The session.
        session: SessionId,
    },
    /// The session exists already.
    #[error("session `{session}` exists already")]
    Exists {
        /// The session.
        session: SessionId,
    },
    /// The session has a run that is not at its end, and the policy is to reject.
    #[error(
        "session `{session}` has {run}, which is {status}; wait for it, stop it, or choose another policy"
    )]
    Busy {
        /// The session.
        session: SessionId,
        /// Its run.
        run: RunId,
        /// Where it stands.
        status: RunStatus,
    },
    /// Nothing is there to stop, to resume or to undo.
    #[error("session `{session}` is {status}: nothing to {verb}")]
    NothingToDo {
        /// The session.
        session: SessionId,
        /// Where its latest run stands.
        status: RunStatus,
        /// What was to be done.
        verb: &'static str,
    },
    /// The graph is not known to this runtime.
    #[error("graph `{graph}` is not registered; add it with `Runtime::builder().graph(..)`")]
    GraphNotFound {
        /// Its name.
        graph: String,
    },
    /// The run began in another process, and a graph of its name was run in this one but not registered: it may carry
    /// another user's data.
    #[error(
        "session `{session}` waits for graph `{graph}`, which was run here but is not registered; register the graph that continues it with `Runtime::register`"
    )]
    GraphNotRegistered {
        /// The session.
        session: SessionId,
        /// The graph's name.
        graph: String,
    },
    /// No run of that number is queued.
    #[error("session `{session}` has no queued {run}: it has begun, has finished or never existed")]
    NotQueued {
        /// The session.
        session: SessionId,
        /// The run.
        run: RunId,
    },
    /// The input cannot be applied to the session's state.
    #[error("the input is not what graph `{graph}` takes: {reason}")]
    InvalidInput {
        /// The graph.
        graph: String,
        /// Why.
        reason: String,
    },
    /// A value cannot be stored. Nothing has changed.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The answer was refused.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The journal does not have that place.
    #[error("session `{session}` has no place {seq} to go to; its journal has {first} to {last}")]
    NoSuchCheckpoint {
        /// The session.
        session: SessionId,
        /// The place asked for.
        seq: Seq,
        /// The first place there is.
        first: Seq,
        /// The last place there is.
        last: Seq,
    },
    /// The same request was accepted before.
    #[error("this request was accepted before, as {run} of session `{session}`")]
    SameRequest {
        /// The session.
        session: SessionId,
        /// The run.
        run: RunId,
    },
    /// A request of this name asked for something else before.
    #[error(
        "the name of this request was used for another one, {run} of session `{session}`; take a new name"
    )]
    RequestDiffers {
        /// The session.
        session: SessionId,
        /// The run that the other request began.
        run: RunId,
    },
    /// The session has this mark with another value.
    #[error("session `{session}` has another `{label}`")]
    LabelDiffers {
        /// The session.
        session: SessionId,
        /// The mark's name.
        label: String,
    },
    /// The session's state was left by another graph, and this one cannot read it.
    #[error(
        "session `{session}` belongs to the graph `{graph}`; `{wanted}` cannot read its state, start a new session for it"
    )]
    OtherGraph {
        /// The session.
        session: SessionId,
        /// The graph that left the state.
        graph: String,
        /// The graph that was to run.
        wanted: String,
    },
    /// More or longer marks than a session may have.
    #[error(
        "session `{session}` may have 16 labels, with names of 1 to 64 of `a-z 0-9 _ . -` and values of 512 bytes"
    )]
    TooManyLabels {
        /// The session.
        session: SessionId,
    },
    /// The runtime has no store, or one that forgets, and the run is not in memory any more.
    #[error(
        "session `{session}` cannot be taken up: the runtime keeps no journal; give it a store (`InMemoryJournal` is enough within one process)"
    )]
    CannotResume {
        /// The session.
        session: SessionId,
    },
    /// The runtime is shutting down.
    #[error("the runtime is shutting down")]
    ShuttingDown,
    /// More runs than the runtime may have.
    #[error("the runtime has {limit} runs already")]
    TooManyRuns {
        /// The bound.
        limit: usize,
    },
    /// The run failed.
    #[error(transparent)]
    Run(#[from] Arc<RunError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SessionError {
    /// The stable name of what went wrong.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::SessionNotFound,
            Self::Exists { .. } => Code::SessionExists,
            Self::Busy { .. } => Code::SessionBusy,
            Self::NothingToDo { .. } | Self::SameRequest { .. } => Code::NothingToDo,
            Self::RequestDiffers { .. } => Code::RequestDiffers,
            Self::LabelDiffers { .. } => Code::LabelDiffers,
            Self::OtherGraph { .. } => Code::OtherGraph,
            Self::TooManyLabels { .. } => Code::InvalidInput,
            Self::GraphNotFound { .. } | Self::GraphNotRegistered { .. } => Code::GraphNotFound,
            Self::NotQueued { .. } => Code::NothingToDo,
            Self::InvalidInput { .. } => Code::InvalidInput,
            Self::Value(error) => error.code().unwrap_or(Code::InvalidInput),
            Self::Answer(error) => match error {
                AnswerError::NothingAsked | AnswerError::Unknown { .. } => Code::QuestionNotFound,
                AnswerError::AlreadyAnswered { .. } => Code::AlreadyAnswered,
                AnswerError::Ambiguous { .. } => Code::AmbiguousAnswer,
                AnswerError::Invalid { .. } => Code::InvalidAnswer,
                AnswerError::Value(error) => error.code().unwrap_or(Code::InvalidAnswer),
                AnswerError::NotWaiting { .. } => Code::NothingToDo,
            },
            Self::NoSuchCheckpoint { .. } => Code::CheckpointNotFound,
            Self::CannotResume { .. } => Code::CannotResume,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::TooManyRuns { .. } => Code::TooManyRuns,
            Self::Run(error) => error.code(),
            Self::Store(error) => match error {
                StoreError::NotFound { .. } => Code::SessionNotFound,
                StoreError::Exists { .. } => Code::SessionExists,
                StoreError::Leased { .. } => Code::SessionBusy,
                StoreError::StaleWriter { .. } | StoreError::Conflict { .. } => Code::StaleWriter,
                StoreError::Corrupt { .. } | StoreError::FormatTooNew { .. } => Code::StoreCorrupt,
                _ => Code::StoreUnavailable,
            },
        }
    }
}

impl From<RunError> for SessionError {
    fn from(error: RunError) -> Self {
        Self::Run(Arc::new(error))
    }
}
