//! Why a run failed: the place, the cause, and what to do about it.

use std::{error::Error as StdError, fmt, time::Duration};

use super::{NodeEnded, ToolFailed};
use crate::{
    error::Code,
    graph::{NodeError, RoutingError},
    ids::{RunId, TaskId},
    journal::StoreError,
    json::ValueError,
    model::ModelError,
    run::LimitError,
    state::ApplyError,
};

/// Why a run failed. The journal keeps everything up to the last committed superstep, and what finished since:
/// a resume executes only what is unfinished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A node returned an error, after all its tries.
    #[error("node `{node}` failed in superstep {superstep} after {attempts} attempt(s)")]
    Node {
        /// The node.
        node: String,
        /// The superstep, counted from 1.
        superstep: u64,
        /// How often it was tried.
        attempts: u32,
        /// Its error.
        #[source]
        source: NodeCause,
    },
    /// A node, branch or reducer panicked. The panic was contained.
    #[error("`{node}` panicked: {message}")]
    Panicked {
        /// The node.
        node: String,
        /// What it said, cut.
        message: String,
    },
    /// A node took too long, or gave no sign of life for too long.
    #[error("node `{node}` reached its {which} timeout of {limit:?}")]
    TimedOut {
        /// The node.
        node: String,
        /// `run` or `idle`.
        which: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// Two tasks of one superstep replaced the same field.
    #[error(
        "nodes `{}` and `{}` both replaced field `{field}` in superstep {superstep}; give the field a reducer or let one node write it",
        nodes[0], nodes[1]
    )]
    WriteConflict {
        /// The field.
        field: String,
        /// The nodes.
        nodes: Box<[String; 2]>,
        /// The superstep.
        superstep: u64,
    },
    /// An update could not be applied.
    #[error("the update of node `{node}` was refused")]
    Update {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: ApplyError,
    },
    /// A node or branch went where it had not declared.
    #[error("`{from}` leads to `{target}`, which it does not declare; declared: {}", declared.join(", "))]
    UndeclaredTarget {
        /// The node.
        from: String,
        /// Where it went.
        target: String,
        /// Where it may go.
        declared: Vec<String>,
    },
    /// A node or branch that must choose chose nothing.
    #[error("`{from}` chose none of its ways ({}); choose END to end the path", declared.join(", "))]
    NoBranchTaken {
        /// The node.
        from: String,
        /// Where it may go.
        declared: Vec<String>,
    },
    /// A send's input is no JSON.
    #[error("`{from}` sends `{target}` an input that is no JSON: {reason}")]
    Send {
        /// The node that sends.
        from: String,
        /// The node that was to get it.
        target: String,
        /// Why.
        reason: String,
    },
    /// Joins that wait for what waits for them.
    #[error("these joins can never fill now: {}", joins.join("; "))]
    JoinNeverFilled {
        /// Sources and target of each.
        joins: Vec<String>,
    },
    /// A node that was entered again asked for other steps or questions than it had recorded.
    #[error(
        "task {task} recorded [{}] before and asks for [{}] now; its code changed under a run: restore it, or fork the session before the task",
        recorded.join(", "), asked.join(", ")
    )]
    ReplayMismatch {
        /// The task.
        task: Box<TaskId>,
        /// Recorded and not asked for.
        recorded: Vec<String>,
        /// Asked for and not recorded; empty: the node ended without asking.
        asked: Vec<String>,
    },
    /// Stored data cannot be read as the present types.
    #[error("stored data cannot be read: {reason}")]
    StoredState {
        /// Why.
        reason: String,
    },
    /// The graph changed under what is pending.
    #[error("graph `{graph}` changed while work is pending, and these are gone: {}; bring them back, or fork the session from an earlier place", missing.join(", "))]
    GraphChanged {
        /// The graph.
        graph: String,
        /// What is pending and gone.
        missing: Vec<String>,
    },
    /// A node failed for good in a process that ended before the run did.
    #[error("{message}")]
    FailedBefore {
        /// The node.
        node: String,
        /// How often it was tried.
        attempts: u32,
        /// What went wrong.
        code: Code,
        /// The same for people, as it was journalled.
        message: String,
    },
    /// One process after another died while it executed the run, without any progress in between.
    #[error(
        "the run was taken over {takeovers} times from a process that died, each time at the same place (at work: {}); find what ends the process, then resume the run",
        tasks.join(", ")
    )]
    CrashLoop {
        /// How often it was taken over.
        takeovers: u32,
        /// The tasks that were at work.
        tasks: Vec<String>,
    },
    /// A value that a node made cannot be stored.
    #[error("node `{node}` made a value that cannot be stored")]
    Value {
        /// The node.
        node: String,
        /// The place and the reason.
        #[source]
        source: ValueError,
    },
    /// A limit was reached.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The run was stopped or taken over while a task could not be stopped; what the task says now comes too late.
    #[error("the run was ended meanwhile")]
    Closed,
    /// The run was removed from the queue before it began.
    #[error("{run} was cancelled while it was queued")]
    Dequeued {
        /// The run.
        run: RunId,
    },
    /// The journal cannot be written or read.
    #[error("the journal failed")]
    Store(#[source] Box<StoreError>),
}

/// The error of a node as the source of a [`RunError`].
pub struct NodeCause(pub NodeError);

impl fmt::Display for NodeCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for NodeCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for NodeCause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.source())
    }
}

impl RunError {
    /// The stable name of what went wrong.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Node { source, .. } => code_of(source.0.source()),
            Self::Panicked { .. } => Code::Panicked,
            Self::TimedOut { .. } => Code::NodeTimedOut,
            Self::WriteConflict { .. } => Code::WriteConflict,
            Self::Update { .. } => Code::UpdateRefused,
            Self::UndeclaredTarget { .. } => Code::UndeclaredTarget,
            Self::NoBranchTaken { .. } => Code::NoBranchTaken,
            Self::Send { .. } => Code::SendRefused,
            Self::JoinNeverFilled { .. } => Code::JoinNeverFilled,
            Self::ReplayMismatch { .. } => Code::ReplayMismatch,
            Self::StoredState { .. } => Code::StoredState,
            Self::GraphChanged { .. } => Code::GraphChanged,
            Self::FailedBefore { code, .. } => *code,
            Self::CrashLoop { .. } => Code::CrashLoop,
            Self::Value { source, .. } => source.code().unwrap_or(Code::NodeFailed),
            Self::Limit(error) => error.code(),
            Self::Closed => Code::StaleWriter,
            Self::Dequeued { .. } => Code::NothingToDo,
            Self::Store(error) => match **error {
                StoreError::StaleWriter { .. } | StoreError::Conflict { .. } | StoreError::Leased { .. } => {
                    Code::StaleWriter
                }
                StoreError::Corrupt { .. } | StoreError::FormatTooNew { .. } => Code::StoreCorrupt,
                _ => Code::StoreUnavailable,
            },
        }
    }

    /// The node at fault, where there is one.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Node { node, .. }
            | Self::Panicked { node, .. }
            | Self::TimedOut { node, .. }
            | Self::FailedBefore { node, .. }
            | Self::Update { node, .. }
            | Self::Value { node, .. } => Some(node),
            Self::UndeclaredTarget { from, .. }
            | Self::NoBranchTaken { from, .. }
            | Self::Send { from, .. } => Some(from),
            Self::ReplayMismatch { task, .. } => Some(task.node()),
            _ => None,
        }
    }

    /// The model's error that failed a node, if that is what it was.
    pub(crate) fn model(&self) -> Option<&ModelError> {
        let Self::Node { source, .. } = self else { return None };
        source.0.downcast_ref()
    }

    /// The error with its causes, in one line. What a model's endpoint said is left out ([`ModelError::detail`]): it is for
    /// operators, and may repeat a key or what a person wrote.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut source = StdError::source(self);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = if cause.is::<ModelError>() { None } else { cause.source() };
        }
        text
    }
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

impl From<RoutingError> for RunError {
    fn from(fault: RoutingError) -> Self {
        match fault {
            RoutingError::Undeclared { from, target, declared } => {
                Self::UndeclaredTarget { from, target, declared }
            }
            RoutingError::NoBranchTaken { from, declared } => Self::NoBranchTaken { from, declared },
            RoutingError::BadInput { from, target, reason } => Self::Send { from, target, reason },
            RoutingError::Panicked { from, message } => Self::Panicked { node: from, message },
        }
    }
}

/// Whether an error that became a [`NodeError`](crate::graph::NodeError) by `?` is worth trying again:
/// errors of this crate know it themselves, others are.
pub(crate) fn is_retryable(error: &(dyn StdError + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<crate::model::ModelError>() {
        return error.kind().is_retryable();
    }
    if let Some(error) = error.downcast_ref::<RunError>() {
        return error.code().is_retryable();
    }
    if error.is::<crate::json::ValueError>()
        || error.is::<crate::interrupt::AskError>()
        || error.is::<crate::todo::TodoError>()
        || error.is::<NodeEnded>()
        || error.is::<ToolFailed>()
    {
        return false;
    }
    true
}

/// The code of a failed node's cause.
pub(crate) fn code_of(error: &(dyn StdError + 'static)) -> Code {
    if error.is::<crate::model::ModelError>() {
        return Code::ModelFailed;
    }
    if let Some(error) = error.downcast_ref::<RunError>() {
        return error.code();
    }
    if let Some(error) = error.downcast_ref::<LimitError>() {
        return error.code();
    }
    if error.is::<ToolFailed>() {
        return Code::ToolFailed;
    }
    if let Some(error) = error.downcast_ref::<crate::json::ValueError>() {
        return error.code().unwrap_or(Code::NodeFailed);
    }
    if let Some(crate::interrupt::AskError::Changed { .. }) = error.downcast_ref() {
        return Code::QuestionChanged;
    }
    if error.is::<NodeEnded>() || matches!(error.downcast_ref(), Some(crate::todo::TodoError::NodeEnded(_))) {
        return Code::NodeEnded;
    }
    Code::NodeFailed
}
