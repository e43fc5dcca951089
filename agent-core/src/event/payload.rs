//! Payloads of events: one struct per variant of [`EventBody`](super::EventBody).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::EventValue;

use crate::{
    ids::{QuestionId, Seq},
    interrupt::OpenQuestion,
    todo::Todo,
};

macro_rules! payloads {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {
        $($(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        })*
    };
}

payloads! {
    /// A run was accepted.
    RunStarted {
        /// The graph of the run.
        graph: String,
        /// The nodes that run first.
        next: Vec<String>,
        /// Nodes of the graph before which the run pauses.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        break_before: Vec<String>,
        /// Nodes of the graph after which the run pauses.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        break_after: Vec<String>,
    }
    /// A run was queued behind the current run of its session.
    RunQueued {
        /// The graph of the run.
        graph: String,
    }
    /// A queued run was removed from the queue before it began.
    RunDequeued {
        /// Stable error code of the reason.
        code: String,
        /// The reason as a message for people.
        message: String,
    }
    /// The run paused: every task waits for an answer.
    RunPaused {
        /// The open questions.
        questions: Vec<QuestionId>,
    }
    /// A paused, stopped, failed or interrupted run continues.
    RunResumed {}
    /// A run was stopped; it can be resumed.
    RunStopped {
        /// `true` if the run ended between two supersteps (drained); `false` if tasks were stopped within one.
        #[serde(default)]
        drained: bool,
    }
    /// A run failed; it can be resumed from its last commit.
    RunFailed {
        /// Stable error code.
        code: String,
        /// Error message for people; contains no secrets.
        message: String,
        /// The node that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    }
    /// A run completed.
    RunCompleted {
        /// Active time without pauses, in milliseconds.
        active_ms: u64,
        /// Number of supersteps executed.
        supersteps: u64,
    }
    /// A run was rolled back: its changes of the state were undone.
    RunRolledBack {}
    /// The updates of a superstep were applied.
    SuperstepCommitted {
        /// Number of the superstep, counted from 1. The edges from the start are superstep 0.
        superstep: u64,
        /// The nodes that run next. In dataflow mode, those that start now, beside those that run.
        next: Vec<String>,
        /// In dataflow mode, the task of the update; each commit counts as a superstep.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        committed: Option<String>,
    }
    /// A node started. Not numbered; the committed superstep before it names the nodes that are due.
    NodeStarted {
        /// The node.
        node: String,
        /// Number of the attempt, counted from 1.
        attempt: u32,
    }
    /// A node finished. Its update is applied at the end of the superstep.
    NodeFinished {
        /// The node.
        node: String,
        /// The update of the node; `null` if it changes nothing.
        update: EventValue,
        /// Whether the outcome came from the node's cache.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cached: bool,
    }
    /// An attempt of a node failed.
    NodeFailed {
        /// The node.
        node: String,
        /// Number of the attempt, counted from 1.
        attempt: u32,
        /// Stable error code.
        code: String,
        /// Error message for people; contains no secrets.
        message: String,
        /// Delay until the next attempt, in milliseconds; absent if there is no further attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
        /// The node that handles the failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handler: Option<String>,
    }
    /// The result of a step of a node was recorded.
    StepRecorded {
        /// Key of the step.
        key: String,
        /// `step`, `model` or `tool`.
        kind: String,
        /// Duration in milliseconds.
        ms: u64,
        /// Error message; absent if the step succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// The result of a model or tool call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<EventValue>,
        /// Budget usage of the step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<crate::run::BudgetUsage>,
    }
    /// Part of a tool call as a model generates it: first an empty text, then the arguments in pieces. Not numbered; the
    /// complete call is in the message.
    ToolArguments {
        /// Message of the task that contains it.
        message: String,
        /// Index of the call in the message, from 0.
        index: u32,
        /// Id of the call.
        call_id: String,
        /// Name of the tool.
        name: String,
        /// Part of the arguments as JSON text.
        text: String,
    }
    /// A tool call starts. Numbered if the call must not be repeated, so that a crash during the call is
    /// detected; not numbered otherwise. The result is a recorded step of kind `tool`; its value contains
    /// the message that the model reads.
    ToolCalled {
        /// Id of the call.
        call_id: String,
        /// Name of the tool.
        name: String,
        /// The arguments. If a person edited the call, the edited ones.
        arguments: Value,
        /// Key of the step that records the result.
        key: String,
    }
    /// Part of a text from a model. Not numbered; the complete text is in the update of the node.
    Token {
        /// Message of the task that contains it.
        message: String,
        /// The text.
        text: String,
    }
    /// Part of the reasoning of a model. Not numbered.
    Reasoning {
        /// Message of the task that contains it.
        message: String,
        /// The text.
        text: String,
    }
    /// Discards the text of a message so far: the model is called again. Not numbered.
    TokensVoided {
        /// The message.
        message: String,
        /// Error code of the failure.
        reason: String,
    }
    /// A question was asked.
    QuestionAsked {
        /// The question.
        #[serde(flatten)]
        open: Box<OpenQuestion>,
    }
    /// A question was answered.
    QuestionAnswered {
        /// The question.
        id: QuestionId,
        /// The answer.
        value: Value,
        /// Name of the person who answered.
        by: String,
    }
    /// A question was withdrawn.
    QuestionWithdrawn {
        /// The question.
        id: QuestionId,
    }
    /// A todo was added or changed.
    TodoUpdated {
        /// The complete item.
        #[serde(flatten)]
        todo: Todo,
    }
    /// An event of the application.
    Custom {
        /// Its name.
        name: String,
        /// Its value.
        value: EventValue,
    }
    /// Progress of the application. Not numbered; a slow subscriber gets only the latest value of each name.
    Progress {
        /// Its name.
        name: String,
        /// Its value.
        value: Value,
    }
    /// A subgraph started inside a task.
    SubgraphStarted {
        /// The nodes that run first.
        next: Vec<String>,
    }
    /// The state was edited in the name of a node.
    StateEdited {
        /// The node.
        node: String,
        /// The update.
        update: EventValue,
    }
    /// The session was forked from another session.
    SessionForked {
        /// The other session.
        from: String,
        /// Number of the last entry that was copied.
        seq: Seq,
    }
    /// Events that are no longer available to this subscriber.
    Gap {
        /// Numbered events after this number are missing.
        after: Seq,
        /// Last number that is missing. If it equals `after`, only unnumbered events are missing.
        upto: Seq,
        /// Number of missing unnumbered events (tokens, progress).
        unnumbered: u64,
        /// Set if the journal ends before the number that the subscriber requested: the requested number, which belongs to
        /// an earlier journal (the session was deleted and started again, or restored from a backup). `after` and `upto`
        /// are then the end of the journal, and later events follow; subscribe after 0 to read all events.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ahead: Option<Seq>,
    }
}
