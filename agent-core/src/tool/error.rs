//! Why a call gave no result: what the model may read, apart from what the operator may.

use std::{error::Error, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Longest text shown to a model, in characters.
const FOR_MODEL_CHARS: usize = 4_000;

/// The kind of a failed call, to branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolFault {
    /// No tool in this registry has the name.
    Unknown,
    /// The arguments are no JSON or do not fit the schema.
    BadArguments,
    /// A person or a guardrail said no.
    Refused,
    /// It did not finish in time.
    TimedOut,
    /// The run was stopped.
    Cancelled,
    /// It cannot be done now and did nothing; another attempt may succeed.
    Unavailable,
    /// It was tried and failed.
    Failed,
    /// It panicked.
    Panicked,
    /// It was begun and cut short: whether it happened is not known.
    OutcomeUnknown,
}

impl ToolFault {
    /// The stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "tool_unknown",
            Self::BadArguments => "tool_bad_arguments",
            Self::Refused => "tool_refused",
            Self::TimedOut => "tool_timed_out",
            Self::Cancelled => "tool_cancelled",
            Self::Unavailable => "tool_unavailable",
            Self::Failed => "tool_failed",
            Self::Panicked => "tool_panicked",
            Self::OutcomeUnknown => "tool_outcome_unknown",
        }
    }
}

/// A call that gave no result.
///
/// `?` turns any [`std::error::Error`] into one: the model then reads only that the tool failed, and the error is
/// kept as the [`cause`](Self::cause) for logs, because errors of libraries carry paths, addresses and keys. Say what
/// the model should know with [`ToolError::failed`]. (For that conversion this type is no `std::error::Error`
/// itself.)
///
/// # Examples
///
/// ```
/// use agent_core::tool::{ToolError, ToolFault};
///
/// let error = ToolError::failed("no product has this number").with_cause("row 7 is missing");
/// assert_eq!((error.fault(), error.for_model()), (ToolFault::Failed, "no product has this number"));
/// ```
#[derive(Serialize, Deserialize)]
pub struct ToolError {
    fault: ToolFault,
    for_model: String,
    /// How long to wait before another attempt, when the tool knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<Duration>,
    /// Never stored: it belongs to this process and its logs.
    #[serde(skip)]
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ToolError {
    pub(super) fn new(fault: ToolFault, for_model: impl Into<String>) -> Self {
        let mut for_model = for_model.into();
        if let Some((at, _)) = for_model.char_indices().nth(FOR_MODEL_CHARS) {
            for_model.truncate(at);
            for_model.push('…');
        }
        Self { fault, for_model, retry_after: None, cause: None }
    }

    /// Creates an error of a call that failed. `for_model` is shown to the model and, through it, to the user.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::ToolError;
    ///
    /// assert_eq!(ToolError::failed("no such product").for_model(), "no such product");
    /// ```
    pub fn failed(for_model: impl Into<String>) -> Self {
        Self::new(ToolFault::Failed, for_model)
    }

    /// Creates an error of a call that had no effect and may succeed later: the retries of the policy apply.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use agent_core::tool::ToolError;
    ///
    /// let error = ToolError::unavailable("the shop is closed").retry_after(Duration::from_secs(5));
    /// assert_eq!(error.for_model(), "the shop is closed");
    /// ```
    pub fn unavailable(for_model: impl Into<String>) -> Self {
        Self::new(ToolFault::Unavailable, for_model)
    }

    /// Creates an error of a call with an unknown outcome (the connection was lost): the retries of the policy apply only if the
    /// [`Effect`](super::Effect) says that twice is the same as once.
    pub fn lost(for_model: impl Into<String>) -> Self {
        Self::new(ToolFault::OutcomeUnknown, for_model)
    }

    /// Creates an error of a call that is not allowed.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::{ToolError, ToolFault};
    ///
    /// assert_eq!(ToolError::refused("outside of opening hours").fault(), ToolFault::Refused);
    /// ```
    pub fn refused(for_model: impl Into<String>) -> Self {
        Self::new(ToolFault::Refused, for_model)
    }

    /// Creates an error of a call that was cancelled by a stop of its run.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ToolFault::Cancelled, "the call was cancelled before it finished")
    }

    /// The call was interrupted and its outcome is unknown.
    pub(crate) fn outcome_unknown(tool: &str) -> Self {
        let text = format!(
            "`{tool}` was cut short before its result was known; it may have happened or not. Find out before you call it again."
        );
        Self::new(ToolFault::OutcomeUnknown, text)
    }

    /// It panicked; the message is for logs only.
    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        Self::new(ToolFault::Panicked, "the tool failed").with_cause(crate::util::panic_message(panic))
    }

    /// The arguments of `tool` have these faults.
    pub(super) fn bad_arguments(tool: &str, faults: &[String]) -> Self {
        let mut text = format!("the arguments of `{tool}` are not valid:");
        for fault in faults {
            text.push_str("\n- ");
            text.push_str(fault);
        }
        text.push_str("\nCall it again with corrected arguments.");
        Self::new(ToolFault::BadArguments, text)
    }

    /// Keeps `cause` for the logs.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Sets how long to wait before another attempt. Default: what the policy says.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub const fn fault(&self) -> ToolFault {
        self.fault
    }

    /// Returns the text for the model, which the user may read too.
    #[must_use]
    pub fn for_model(&self) -> &str {
        &self.for_model
    }

    /// Returns the cause, for logs. `None` after a restart.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }

    pub(super) const fn wait(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// Also `anyhow::Error` and its like, a boxed error, and a text; the model reads none of them.
impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for ToolError {
    fn from(error: E) -> Self {
        Self::failed("the tool failed").with_cause(error)
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.for_model)
    }
}

impl fmt::Debug for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolError")
            .field("fault", &self.fault)
            .field("for_model", &self.for_model)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}
