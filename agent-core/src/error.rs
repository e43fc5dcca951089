//! Error codes: one table of stable names, families and retryability.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Group of error codes by who can act on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// The caller sent something that cannot be accepted.
    Input,
    /// What the caller names is not there.
    NotFound,
    /// Another caller was faster, or holds what is needed.
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
        /// A stable name for one kind of failure. `docs` of each variant say the cause.
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
    /// A session id of illegal form.
    InvalidSessionId = "invalid_session_id", Input, false;
    /// An input that is not what the graph takes.
    InvalidInput = "invalid_input", Input, false;
    /// A value nests deeper than what is stored can be read.
    ValueTooDeep = "value_too_deep", Input, false;
    /// A value is larger than what is stored.
    ValueTooLarge = "value_too_large", Input, false;
    /// A value has a key that the JSON library reserves.
    ValueReservedKey = "value_reserved_key", Input, false;
    /// A number is NaN or infinite, which JSON cannot express.
    ValueNotFinite = "value_not_finite", Run, false;
    /// An answer that does not fit its question.
    InvalidAnswer = "invalid_answer", Input, false;
    /// A bare answer while several questions are open.
    AmbiguousAnswer = "ambiguous_answer", Input, false;
    /// No such session.
    SessionNotFound = "session_not_found", NotFound, false;
    /// No such graph is registered.
    GraphNotFound = "graph_not_found", NotFound, false;
    /// No such question is open.
    QuestionNotFound = "question_not_found", NotFound, false;
    /// The journal does not reach back (or forward) to that place.
    CheckpointNotFound = "checkpoint_not_found", NotFound, false;
    /// The session has a run that is not at its end.
    SessionBusy = "session_busy", Conflict, true;
    /// The session exists already.
    SessionExists = "session_exists", Conflict, false;
    /// The question was answered before.
    AlreadyAnswered = "already_answered", Conflict, false;
    /// The session's state is another graph's.
    OtherGraph = "other_graph", Conflict, false;
    /// The name of a request was used for another one.
    RequestDiffers = "request_differs", Conflict, false;
    /// The labels of the session differ from those of the run.
    LabelDiffers = "label_differs", Conflict, false;
    /// Nothing is there to resume or to stop.
    NothingToDo = "nothing_to_do", Conflict, false;
    /// Another process writes to the session now.
    StaleWriter = "stale_writer", Conflict, true;
    /// The graph changed under what is pending.
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
    /// A node or branch went where it had not declared.
    UndeclaredTarget = "undeclared_target", Run, false;
    /// A node or branch that must choose chose nothing.
    NoBranchTaken = "no_way_taken", Run, false;
    /// A send's input is no JSON.
    SendRefused = "send_refused", Run, false;
    /// A join waits for what waits for it.
    JoinNeverFilled = "join_never_filled", Run, false;
    /// A node asked for other steps or questions than it had recorded.
    ReplayMismatch = "replay_mismatch", Run, false;
    /// A question changed after an answer was given to it.
    QuestionChanged = "question_changed", Run, false;
    /// What a node left running did something after the node had ended.
    NodeEnded = "node_ended", Run, false;
    /// Stored data cannot be read as the present types.
    StoredState = "stored_state", Run, false;
    /// One process after another died while it executed the run.
    CrashLoop = "crash_loop", Run, false;
    /// Too many supersteps.
    SuperstepLimit = "superstep_limit", Limit, false;
    /// A budget is used up.
    BudgetExceeded = "budget_exceeded", Limit, false;
    /// The runtime runs as much as it may.
    TooManyRuns = "too_many_runs", Limit, true;
    /// The runtime is shutting down.
    ShuttingDown = "shutting_down", Store, true;
    /// A model call failed.
    ModelFailed = "model_failed", Model, true;
    /// A tool call failed and the policy ends the run.
    ToolFailed = "tool_failed", Tool, false;
    /// The store cannot be used now.
    StoreUnavailable = "store_unavailable", Store, true;
    /// The store holds something unreadable.
    StoreCorrupt = "store_corrupt", Store, false;
    /// The store forgets, so this cannot be done later or elsewhere.
    CannotResume = "cannot_resume", Store, false;
}

impl Code {
    /// Returns the name used on the wire and in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Returns the family: who can act on the error.
    #[must_use]
    pub const fn family(self) -> Family {
        self.row().1
    }

    /// Returns `true` if the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        self.row().2
    }

    /// Returns the code with this name.
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
