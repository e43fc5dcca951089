//! Errors of tool calls: the text for the model, and the cause for logs.

use std::{error::Error, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Longest text shown to a model, in characters.
const FOR_MODEL_CHARS: usize = 4_000;

/// Kind of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolFault {
    /// The registry has no tool of this name.
    Unknown,
    /// The arguments are not valid JSON or do not match the schema.
    BadArguments,
    /// A person or a guardrail refused the call.
    Refused,
    /// The call exceeded its timeout.
    TimedOut,
    /// The run was stopped.
    Cancelled,
    /// The call had no effect; another attempt may succeed.
    Unavailable,
    /// The call failed.
    Failed,
    /// The tool panicked.
    Panicked,
    /// The call was interrupted, and its outcome is unknown.
    OutcomeUnknown,
}

impl ToolFault {
    /// Returns the stable name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolFault;
    /// assert_eq!(ToolFault::TimedOut.code(), "tool_timed_out");
    /// ```
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

/// Error of a tool call.
///
/// `?` converts any [`std::error::Error`]. The model then reads only that the tool failed, and the error is kept as the
/// [`cause`](Self::cause) for logs, because errors of libraries may contain paths, addresses and keys. Use
/// [`ToolError::failed`] for a message to the model. (This conversion is the reason why the type itself does not
/// implement `std::error::Error`.)
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
    /// Delay before the next attempt, if the tool sets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<Duration>,
    /// Never stored; available in this process only.
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

    /// Creates an error of a call with an unknown outcome (a lost connection, for example). Retries apply only if the
    /// [`Effect`](super::Effect) is repeatable.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{ToolError, ToolFault};
    /// let error = ToolError::lost("the connection was lost; the order may have been placed");
    /// assert_eq!(error.fault(), ToolFault::OutcomeUnknown);
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{ToolError, ToolFault};
    /// assert_eq!(ToolError::cancelled().fault(), ToolFault::Cancelled);
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolError;
    /// let cause = std::io::Error::other("connect: 10.0.0.7: refused");
    /// let error = ToolError::unavailable("the shop does not answer").with_cause(cause);
    /// assert_eq!(error.for_model(), "the shop does not answer");
    /// assert!(error.cause().is_some());
    /// ```
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Sets the delay before the next attempt. Default: the delay of the retry policy.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{ToolError, ToolFault};
    /// # use std::time::Duration;
    /// let error = ToolError::unavailable("too many requests").retry_after(Duration::from_secs(2));
    /// # assert_eq!(error.fault(), ToolFault::Unavailable);
    /// ```
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Returns the kind of the error.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{ToolError, ToolFault};
    /// assert_eq!(ToolError::refused("not in this folder").fault(), ToolFault::Refused);
    /// ```
    #[must_use]
    pub const fn fault(&self) -> ToolFault {
        self.fault
    }

    /// Returns the text for the model, which the user may read too.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolError;
    /// assert_eq!(ToolError::failed("no such city").for_model(), "no such city");
    /// ```
    #[must_use]
    pub fn for_model(&self) -> &str {
        &self.for_model
    }

    /// Returns the cause, for logs. `None` after a restart.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::ToolError;
    /// let error = ToolError::from(std::io::Error::other("disk full"));
    /// assert_eq!(error.cause().ok_or("none")?.to_string(), "disk full");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
