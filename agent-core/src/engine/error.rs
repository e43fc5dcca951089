//! Errors of runs, and the code of each.

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

/// Error of a run that failed.
///
/// The journal keeps everything up to the last committed superstep and the tasks that finished since, so a resume
/// executes only unfinished tasks.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, NodeError, RunError, Runtime, START, State};
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
/// let report = session.run(&graph, Draft::update()).start().await?.await;
/// let error = report.error.ok_or("the node fails")?;
/// assert!(matches!(&*error, RunError::Node { node, attempts: 1, .. } if node == "write"));
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A node returned an error, after all its attempts.
    #[error("node `{node}` failed in superstep {superstep}{}", after(*attempts))]
    Node {
        /// The node.
        node: String,
        /// The superstep, counted from 1.
        superstep: u64,
        /// Number of attempts.
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
        /// The panic message, shortened.
        message: String,
    },
    /// A node exceeded its run timeout or its idle timeout.
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
    /// A node or branch selected a target that it does not declare.
    #[error("`{from}` selected `{target}`, which it does not declare; declared: {}", listed(declared))]
    UndeclaredTarget {
        /// The node.
        from: String,
        /// The selected target.
        target: String,
        /// The declared targets.
        declared: Vec<String>,
    },
    /// A node or branch selected no target.
    #[error("`{from}` selected no target; return one of: {} (use END to finish)", declared.join(", "))]
    NoBranchTaken {
        /// The node.
        from: String,
        /// The declared targets.
        declared: Vec<String>,
    },
    /// A node of a graph that is not a subgraph selected a target of the parent graph.
    #[error("`{from}` selected `{target}` of the parent graph, but its graph does not run as a subgraph")]
    NoParent {
        /// The node.
        from: String,
        /// The selected target.
        target: String,
    },
    /// The input of a send is not valid JSON.
    #[error("`{from}` sends `{target}` an input that is not valid JSON: {reason}")]
    Send {
        /// The node that sends.
        from: String,
        /// The target node.
        target: String,
        /// Why.
        reason: String,
    },
    /// Joins wait for sources that wait for these joins.
    #[error("these joins can never fill now: {}", joins.join("; "))]
    JoinNeverFilled {
        /// Sources and target of each join.
        joins: Vec<String>,
    },
    /// A replayed node requested other steps or questions than it had recorded.
    #[error(
        "replay mismatch in task {task}: recorded [{}], requested [{}]; the node's code changed during a run: restore it, or fork the session before the task",
        recorded.join(", "), asked.join(", ")
    )]
    ReplayMismatch {
        /// The task.
        task: Box<TaskId>,
        /// Recorded, but not requested.
        recorded: Vec<String>,
        /// Requested, but not recorded; empty if the node ended without a request.
        asked: Vec<String>,
    },
    /// Stored data cannot be decoded as the present types.
    #[error("stored data cannot be read: {reason}")]
    StoredState {
        /// Why.
        reason: String,
    },
    /// The graph no longer contains pending tasks or joins.
    #[error("graph `{graph}` changed while tasks are pending; missing: {}; restore them, or fork the session from an earlier checkpoint", missing.join(", "))]
    GraphChanged {
        /// The graph.
        graph: String,
        /// Pending tasks and joins that the graph no longer contains.
        missing: Vec<String>,
    },
    /// A node failed in an earlier process, after all its attempts.
    #[error("{message}")]
    FailedBefore {
        /// The node.
        node: String,
        /// Number of attempts.
        attempts: u32,
        /// The error code.
        code: Code,
        /// The message in the journal.
        message: String,
    },
    /// Several processes died while they executed the run, without progress in between.
    #[error(
        "the run was taken over {takeovers} times from a process that died, each time at the same place (at work: {}); find what ends the process, then resume the run",
        tasks.join(", ")
    )]
    CrashLoop {
        /// Number of takeovers.
        takeovers: u32,
        /// The tasks that were executing.
        tasks: Vec<String>,
    },
    /// A value returned by a node cannot be stored.
    #[error("node `{node}` returned a value that cannot be stored")]
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
    /// The run has already ended. Reported to a task that could not be stopped.
    #[error("the run has already ended")]
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
    /// Returns the stable error code.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Code, Context, END, Graph, NodeError, Runtime, SessionError, START, State};
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
    /// let error = session.run(&graph, Draft::update()).await.unwrap_err();
    /// let SessionError::Run(error) = error else { panic!("the run was accepted") };
    /// assert_eq!(error.code(), Code::NodeFailed);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Node { source, .. } => code_of(source.0.source()),
            Self::Panicked { .. } => Code::Panicked,
            Self::TimedOut { .. } => Code::NodeTimedOut,
            Self::WriteConflict { .. } => Code::WriteConflict,
            Self::Update { .. } => Code::UpdateRefused,
            Self::UndeclaredTarget { .. } | Self::NoParent { .. } => Code::UndeclaredTarget,
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

    /// Returns the node that failed, if the error belongs to one.
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
    /// let error = session.run(&graph, Draft::update()).await.unwrap_err();
    /// let SessionError::Run(error) = error else { panic!("the run was accepted") };
    /// assert_eq!(error.node(), Some("write"));
    /// # Ok(()) }
    /// ```
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
            | Self::NoParent { from, .. }
            | Self::Send { from, .. } => Some(from),
            Self::ReplayMismatch { task, .. } => Some(task.node()),
            _ => None,
        }
    }

    /// Returns the model error that failed the node, if that was the cause.
    pub(crate) fn model(&self) -> Option<&ModelError> {
        let Self::Node { source, .. } = self else { return None };
        source.0.downcast_ref()
    }

    /// Returns the error and its causes in one line. The text of a model's endpoint ([`ModelError::detail`]) is left out,
    /// because it may contain keys or user input.
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
    /// let error = session.run(&graph, Draft::update()).await.unwrap_err();
    /// let SessionError::Run(error) = error else { panic!("the run was accepted") };
    /// assert!(error.report().ends_with("no topic"));
    /// # Ok(()) }
    /// ```
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
            RoutingError::NoParent { from, target } => Self::NoParent { from, target },
            RoutingError::BadInput { from, target, reason } => Self::Send { from, target, reason },
            RoutingError::Panicked { from, message } => Self::Panicked { node: from, message },
        }
    }
}

/// Returns the declared targets, for an error.
fn listed(declared: &[String]) -> String {
    if declared.is_empty() { "none".to_owned() } else { declared.join(", ") }
}

/// Returns the number of attempts as a part of a message, if there were several.
fn after(attempts: u32) -> String {
    if attempts == 1 { String::new() } else { format!(" after {attempts} attempts") }
}

/// Returns whether an error that was converted to a [`NodeError`](crate::graph::NodeError) by `?` is retryable. Errors of
/// other crates are.
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
        || error.is::<crate::run::ContextError>()
    {
        return false;
    }
    true
}

/// Returns the code of the cause of a failed node.
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
    if error.is::<crate::run::ContextError>() {
        return Code::ContextMissing;
    }
    if let Some(crate::interrupt::AskError::Changed { .. }) = error.downcast_ref() {
        return Code::QuestionChanged;
    }
    if error.is::<NodeEnded>() || matches!(error.downcast_ref(), Some(crate::todo::TodoError::NodeEnded(_))) {
        return Code::NodeEnded;
    }
    Code::NodeFailed
}
