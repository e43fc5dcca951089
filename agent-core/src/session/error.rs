//! Errors of sessions.

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

/// Error of a call on a session, or of its run.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, NodeError, Runtime, SessionError, START, State};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Draft { text: String }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Draft>::builder("draft")
/// #     .node("write", async |_: &Draft, _: &Context| -> agent_core::Result<()> {
/// #         Err(NodeError::permanent("no topic"))
/// #     })
/// #     .edge(START, "write").edge("write", END).build()?;
/// # let session = Runtime::builder().build().session("s-1")?;
/// match session.run(&graph, Draft::update()).await {
///     Err(SessionError::Run(error)) => assert_eq!(error.node(), Some("write")),
///     other => panic!("the node fails, but the run ended with {other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The session does not exist.
    #[error("there is no session `{session}`")]
    NotFound {
        /// The session.
        session: SessionId,
    },
    /// The session already exists.
    #[error("session `{session}` exists already")]
    Exists {
        /// The session.
        session: SessionId,
    },
    /// The session has an unfinished run, and the policy is to reject.
    #[error(
        "session `{session}` has {run}, which is {status}; wait for it, stop it, or choose another policy"
    )]
    Busy {
        /// The session.
        session: SessionId,
        /// Its run.
        run: RunId,
        /// The status of the run.
        status: RunStatus,
    },
    /// There is nothing to stop, resume or undo.
    #[error("session `{session}` is {status}: nothing to {verb}")]
    NothingToDo {
        /// The session.
        session: SessionId,
        /// The status of the latest run.
        status: RunStatus,
        /// The requested operation.
        verb: &'static str,
    },
    /// The graph is not registered with the runtime.
    #[error("graph `{graph}` is not registered; add it with `Runtime::builder().graph(..)`")]
    GraphNotFound {
        /// Its name.
        graph: String,
    },
    /// The run began in another process, and a graph of its name was run in this process without being registered: it may
    /// carry another user's data.
    #[error(
        "session `{session}` waits for graph `{graph}`, which was run here but is not registered; register the graph that continues it with `Runtime::register`"
    )]
    GraphNotRegistered {
        /// The session.
        session: SessionId,
        /// The graph's name.
        graph: String,
    },
    /// No run of this number is queued.
    #[error("session `{session}` has no queued {run}: it has begun, has finished or never existed")]
    NotQueued {
        /// The session.
        session: SessionId,
        /// The run.
        run: RunId,
    },
    /// The input cannot be applied to the session's state.
    #[error("invalid input for graph `{graph}`: {reason}")]
    InvalidInput {
        /// The graph.
        graph: String,
        /// Why.
        reason: String,
    },
    /// A value cannot be stored. Nothing was changed.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The answer was refused.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The journal has no such checkpoint.
    #[error("session `{session}` has no checkpoint {seq}; its journal has {first} to {last}")]
    NoSuchCheckpoint {
        /// The session.
        session: SessionId,
        /// The requested number.
        seq: Seq,
        /// The first number of the journal.
        first: Seq,
        /// The last number of the journal.
        last: Seq,
    },
    /// The same request was accepted earlier.
    #[error("this request was accepted before, as {run} of session `{session}`")]
    SameRequest {
        /// The session.
        session: SessionId,
        /// The run.
        run: RunId,
    },
    /// An earlier request of this name had other content.
    #[error(
        "the name of this request was used for another one, {run} of session `{session}`; take a new name"
    )]
    RequestDiffers {
        /// The session.
        session: SessionId,
        /// The run of the earlier request.
        run: RunId,
    },
    /// The session has this label with another value.
    #[error("session `{session}` has another `{label}`")]
    LabelDiffers {
        /// The session.
        session: SessionId,
        /// The name of the label.
        label: String,
    },
    /// The state of the session belongs to another graph.
    #[error(
        "session `{session}` belongs to the graph `{graph}`; `{wanted}` cannot read its state, start a new session for it"
    )]
    OtherGraph {
        /// The session.
        session: SessionId,
        /// The graph of the state.
        graph: String,
        /// The requested graph.
        wanted: String,
    },
    /// The labels exceed the limits of a session.
    #[error(
        "session `{session}` may have 16 labels, with names of 1 to 64 of `a-z 0-9 _ . -` and values of 512 bytes"
    )]
    TooManyLabels {
        /// The session.
        session: SessionId,
    },
    /// The runtime has no durable store, and the run is no longer in memory.
    #[error(
        "session `{session}` cannot be resumed: the runtime has no journal store; set one (`InMemoryJournal` suffices within one process)"
    )]
    CannotResume {
        /// The session.
        session: SessionId,
    },
    /// The runtime is shutting down.
    #[error("the runtime is shutting down")]
    ShuttingDown,
    /// The limit of concurrent runs is reached.
    #[error("the runtime has {limit} runs already")]
    TooManyRuns {
        /// The limit.
        limit: usize,
    },
    /// The process that executes the run refused the command.
    #[error("{message}")]
    Replica {
        /// The code of its error.
        code: Code,
        /// Its message.
        message: String,
    },
    /// The run failed.
    #[error(transparent)]
    Run(#[from] Arc<RunError>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SessionError {
    /// Returns the stable error code.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Code, Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// let error = session.status().await.unwrap_err();
    /// assert_eq!(error.code(), Code::SessionNotFound);
    /// # Ok(()) }
    /// ```
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
            Self::Replica { code, .. } => *code,
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
