//! Error codes: one table of stable names, families and retryability.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Group of error codes by who can act on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// The caller: the input is invalid.
    Input,
    /// The caller: the requested object does not exist.
    NotFound,
    /// The caller: another request or run is in conflict with this one.
    Conflict,
    /// The author of the graph, or of its data.
    Run,
    /// The operator, or a person who may raise a limit.
    Limit,
    /// The provider of a model.
    Model,
    /// A tool.
    Tool,
    /// The operator of the store.
    Store,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $family:ident, $retry:literal;)*) => {
        /// Stable name of a kind of error.
        ///
        /// # Examples
        ///
        /// ```
        /// use agent_core::Code;
        ///
        /// let code = Code::named("model_failed");
        /// assert_eq!(code.map(|code| (code.name(), code.is_retryable())), Some(("model_failed", true)));
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$meta])* $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns `(wire name, family, retryable)`.
            const fn row(self) -> (&'static str, Family, bool) {
                match self { $(Self::$variant => ($name, Family::$family, $retry),)* }
            }
        }
    };
}

codes! {
    /// The session id is invalid.
    InvalidSessionId = "invalid_session_id", Input, false;
    /// The input does not match the graph.
    InvalidInput = "invalid_input", Input, false;
    /// A value is nested too deeply to be stored.
    ValueTooDeep = "value_too_deep", Input, false;
    /// A value is too large to be stored.
    ValueTooLarge = "value_too_large", Input, false;
    /// A value contains a key that is reserved by the JSON library.
    ValueReservedKey = "value_reserved_key", Input, false;
    /// A number is NaN or infinite, which JSON cannot express.
    ValueNotFinite = "value_not_finite", Run, false;
    /// The answer does not match the options or the schema of its question.
    InvalidAnswer = "invalid_answer", Input, false;
    /// The answer has no id, and several questions are open.
    AmbiguousAnswer = "ambiguous_answer", Input, false;
    /// The session does not exist.
    SessionNotFound = "session_not_found", NotFound, false;
    /// The graph is not registered.
    GraphNotFound = "graph_not_found", NotFound, false;
    /// The question is not open.
    QuestionNotFound = "question_not_found", NotFound, false;
    /// The journal does not contain the checkpoint.
    CheckpointNotFound = "checkpoint_not_found", NotFound, false;
    /// The session has an unfinished run.
    SessionBusy = "session_busy", Conflict, true;
    /// The session already exists.
    SessionExists = "session_exists", Conflict, false;
    /// The question was already answered.
    AlreadyAnswered = "already_answered", Conflict, false;
    /// The state of the session belongs to another graph.
    OtherGraph = "other_graph", Conflict, false;
    /// The request name was used for a request with other content.
    RequestDiffers = "request_differs", Conflict, false;
    /// The labels of the session differ from those of the run.
    LabelDiffers = "label_differs", Conflict, false;
    /// There is no run to stop, resume or undo.
    NothingToDo = "nothing_to_do", Conflict, false;
    /// Another process writes to the session now.
    StaleWriter = "stale_writer", Conflict, true;
    /// The graph no longer contains pending tasks or joins.
    GraphChanged = "graph_changed", Conflict, false;
    /// A node returned an error.
    NodeFailed = "node_failed", Run, true;
    /// A node, branch or reducer panicked.
    Panicked = "panicked", Run, false;
    /// A node exceeded its timeout or its idle timeout.
    NodeTimedOut = "node_timed_out", Run, true;
    /// Two tasks of one superstep replaced the same field.
    WriteConflict = "write_conflict", Run, false;
    /// An update could not be applied.
    UpdateRefused = "update_refused", Run, false;
    /// A node or branch selected a target that it does not declare.
    UndeclaredTarget = "undeclared_target", Run, false;
    /// A node or branch selected no target.
    NoBranchTaken = "no_way_taken", Run, false;
    /// The input of a send is not valid JSON.
    SendRefused = "send_refused", Run, false;
    /// Joins wait for sources that wait for these joins.
    JoinNeverFilled = "join_never_filled", Run, false;
    /// A replayed node requested other steps or questions than it had recorded.
    ReplayMismatch = "replay_mismatch", Run, false;
    /// A question changed after an answer was given to it.
    QuestionChanged = "question_changed", Run, false;
    /// The run has no context, or one that this process does not have.
    ContextMissing = "context_missing", Run, false;
    /// Code that a node left running recorded, asked or emitted something after the node had ended.
    NodeEnded = "node_ended", Run, false;
    /// Stored data cannot be decoded as the present types.
    StoredState = "stored_state", Run, false;
    /// Several processes died while they executed the run.
    CrashLoop = "crash_loop", Run, false;
    /// The limit of supersteps was reached.
    SuperstepLimit = "superstep_limit", Limit, false;
    /// A limit of the run was reached.
    BudgetExceeded = "budget_exceeded", Limit, false;
    /// The limit of concurrent runs was reached.
    TooManyRuns = "too_many_runs", Limit, true;
    /// The runtime is shutting down.
    ShuttingDown = "shutting_down", Store, true;
    /// A model call failed.
    ModelFailed = "model_failed", Model, true;
    /// A tool call failed, and its fault ends the run.
    ToolFailed = "tool_failed", Tool, false;
    /// The store is unavailable.
    StoreUnavailable = "store_unavailable", Store, true;
    /// The store contains data that cannot be read.
    StoreCorrupt = "store_corrupt", Store, false;
    /// The runtime has no journal store, so the session cannot be resumed.
    CannotResume = "cannot_resume", Store, false;
}

impl Code {
    /// Returns the name used on the wire and in logs.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Code;
    /// assert_eq!(Code::SessionNotFound.name(), "session_not_found");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Returns the family: who can act on the error.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Code;
    /// use agent_core::error::Family;
    ///
    /// assert_eq!(Code::SessionNotFound.family(), Family::NotFound);
    /// ```
    #[must_use]
    pub const fn family(self) -> Family {
        self.row().1
    }

    /// Returns `true` if the same call may succeed later.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Code;
    /// assert!(Code::SessionBusy.is_retryable());
    /// assert!(!Code::SessionNotFound.is_retryable());
    /// ```
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        self.row().2
    }

    /// Returns the code with this name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Code;
    /// assert_eq!(Code::named("session_busy"), Some(Code::SessionBusy));
    /// assert_eq!(Code::named("no_such_code"), None);
    /// ```
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| D::Error::custom("unknown error code"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::ALL.iter().position(|other| other.name() == code.name()), Some(at), "{code}");
            assert_eq!(Code::named(code.name()), Some(*code));
        }
    }
}
