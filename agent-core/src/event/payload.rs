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
        /// The graph it runs.
        graph: String,
        /// The nodes that are due first.
        next: Vec<String>,
    }
    /// A run waits for its turn.
    RunQueued {
        /// The graph it will run.
        graph: String,
    }
    /// A queued run was removed from the queue before it began.
    RunDequeued {
        /// What is wrong, to branch on.
        code: String,
        /// The same for people.
        message: String,
    }
    /// Every task waits for an answer.
    RunPaused {
        /// The open questions.
        questions: Vec<QuestionId>,
    }
    /// A paused, stopped, failed or interrupted run continues.
    RunResumed {}
    /// A run was stopped; it can be resumed.
    RunStopped {
        /// At a superstep's end rather than in the middle.
        #[serde(default)]
        drained: bool,
    }
    /// A run failed; it can be resumed from its last commit.
    RunFailed {
        /// What went wrong, to branch on.
        code: String,
        /// The same for people; never holds a secret.
        message: String,
        /// The node that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    }
    /// A run reached its end.
    RunCompleted {
        /// Time spent running, pauses left out, in milliseconds.
        active_ms: u64,
        /// Supersteps taken.
        supersteps: u64,
    }
    /// A run was undone.
    RunRolledBack {}
    /// The updates of a superstep are applied.
    SuperstepCommitted {
        /// Which one, counted from 1. The start's own edges are superstep 0.
        superstep: u64,
        /// The nodes that are due next.
        next: Vec<String>,
    }
    /// A node began. Not numbered: which nodes are due is in the superstep before.
    NodeStarted {
        /// The node.
        node: String,
        /// Which try, counted from 1.
        attempt: u32,
    }
    /// A node is done; its update is applied at the superstep's end.
    NodeFinished {
        /// The node.
        node: String,
        /// What it changes; `null`: nothing.
        update: EventValue,
        /// Whether the outcome came from the node's cache.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cached: bool,
    }
    /// One try of a node failed.
    NodeFailed {
        /// The node.
        node: String,
        /// Which try, counted from 1.
        attempt: u32,
        /// What went wrong, to branch on.
        code: String,
        /// The same for people; never holds a secret.
        message: String,
        /// The wait before the next try, in milliseconds; absent: there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
        /// The node that handles the failure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        handler: Option<String>,
    }
    /// A step inside a node has its result.
    StepRecorded {
        /// Its key.
        key: String,
        /// `step`, `model` or `tool`.
        kind: String,
        /// How long it took, in milliseconds.
        ms: u64,
        /// Why it failed; absent: it did not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// The result of a model or tool call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<EventValue>,
        /// What it used up of the budget.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<crate::run::BudgetUsage>,
    }
    /// A model writes a tool call: its beginning (an empty text), then the arguments piece by piece. Not numbered; the
    /// whole call comes with the message.
    ToolArguments {
        /// Which message of the task it belongs to.
        message: String,
        /// Which call of that message, from 0.
        index: u32,
        /// The call.
        call_id: String,
        /// The tool.
        name: String,
        /// A piece of JSON text.
        text: String,
    }
    /// A tool is about to run. Numbered when the call must not be made twice, so that a crash in the middle of it
    /// is known; not numbered otherwise. Its result comes as a recorded step of kind `tool`, whose value holds
    /// the message that the model reads.
    ToolCalled {
        /// The call.
        call_id: String,
        /// The tool.
        name: String,
        /// With what: an edited call has the edited arguments.
        arguments: Value,
        /// The key of the step that will have its result.
        key: String,
    }
    /// A piece of text from a model. Not numbered; the whole text comes with the node's update.
    Token {
        /// Which message of the task it belongs to.
        message: String,
        /// The text.
        text: String,
    }
    /// A piece of a model's reasoning. Not numbered.
    Reasoning {
        /// Which message of the task it belongs to.
        message: String,
        /// The text.
        text: String,
    }
    /// The text shown so far of a message is void: the model is asked again. Not numbered.
    TokensVoided {
        /// Which message of the task it is.
        message: String,
        /// Code of the failure.
        reason: String,
    }
    /// A person is asked.
    QuestionAsked {
        /// The question.
        #[serde(flatten)]
        open: OpenQuestion,
    }
    /// A person answered.
    QuestionAnswered {
        /// The question.
        id: QuestionId,
        /// The answer.
        value: Value,
        /// Who.
        by: String,
    }
    /// A question is no longer asked.
    QuestionWithdrawn {
        /// The question.
        id: QuestionId,
    }
    /// A todo is different now.
    TodoUpdated {
        /// The whole item.
        #[serde(flatten)]
        todo: Todo,
    }
    /// An event of the application.
    Custom {
        /// Its name.
        name: String,
        /// What it carries.
        value: EventValue,
    }
    /// Progress of the application. Not numbered: a slow subscriber sees the latest of each name.
    Progress {
        /// Its name.
        name: String,
        /// What it carries.
        value: Value,
    }
    /// A subgraph began inside a task.
    SubgraphStarted {
        /// The nodes that are due first.
        next: Vec<String>,
    }
    /// The state was edited in the name of a node.
    StateEdited {
        /// The node.
        node: String,
        /// The update.
        update: EventValue,
    }
    /// The session is a copy of another up to a place.
    SessionForked {
        /// The other session.
        from: String,
        /// The place.
        seq: Seq,
    }
    /// Events that this subscriber can no longer get.
    Gap {
        /// Numbered events after this number are missing.
        after: Seq,
        /// … up to and with this one. Equal to `after`: only unnumbered events are missing.
        upto: Seq,
        /// How many unnumbered events (tokens, progress) are missing.
        unnumbered: u64,
        /// The number that the subscriber named, when the journal ends before it: it is a number of another journal
        /// (the session was deleted and begun again, or restored from a copy). `after` and `upto` are the journal's end,
        /// and the events behind it follow; subscribe after 0 to read them all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ahead: Option<Seq>,
    }
}
