//! Errors of model calls: kinds to branch on, and messages without secrets or content.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Maximum number of characters kept of an endpoint's message.
const DETAIL_CHARS: usize = 300;

/// Timeout that elapsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutPhase {
    /// No data was received.
    FirstToken,
    /// The answer began and then stalled.
    Idle,
}

/// Kind of a model error, to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum ModelErrorKind {
    /// The key is missing, wrong or lacks permission.
    Auth,
    /// The account has no credit left. Waiting does not help.
    Quota,
    /// Too many requests or tokens per minute.
    RateLimited {
        /// Wait requested by the endpoint, if any.
        retry_after: Option<Duration>,
    },
    /// The conversation exceeds the context length of the model.
    ContextTooLong,
    /// A content filter rejected the request or the answer.
    Filtered,
    /// The endpoint is overloaded or failed internally (5xx).
    Overloaded {
        /// Wait requested by the endpoint, if any.
        retry_after: Option<Duration>,
    },
    /// A timeout of this client elapsed.
    TimedOut {
        /// The timeout that elapsed.
        waited: TimeoutPhase,
    },
    /// The answer violates the protocol, or does not have the requested structure.
    Malformed,
    /// The answer ended before it was complete.
    Cut,
    /// The connection failed.
    Transport,
    /// The endpoint rejected the request as invalid.
    BadRequest,
    /// The endpoint does not know the model, or the path does not exist.
    UnknownModel,
    /// The model does not support a setting or part of the request.
    Unsupported,
}

impl ModelErrorKind {
    /// Returns `(code, message, retryable)`. The only table of these.
    const fn row(self) -> (&'static str, &'static str, bool) {
        match self {
            Self::Auth => ("model_auth", "the model endpoint rejected the API key", false),
            Self::Quota => ("model_quota", "the account of the model endpoint has no credit left", false),
            Self::RateLimited { .. } => {
                ("model_rate_limited", "the rate limit of the model endpoint was exceeded", true)
            }
            Self::ContextTooLong => {
                ("model_context_too_long", "the conversation exceeds the context length of the model", false)
            }
            Self::Filtered => (
                "model_filtered",
                "a content filter of the model endpoint rejected the request or the answer",
                false,
            ),
            Self::Overloaded { .. } => {
                ("model_overloaded", "the model endpoint is overloaded or failing", true)
            }
            Self::TimedOut { waited: TimeoutPhase::FirstToken } => {
                ("model_timed_out", "the model did not start its answer in time", true)
            }
            Self::TimedOut { waited: TimeoutPhase::Idle } => {
                ("model_timed_out", "the model stalled in the middle of its answer", true)
            }
            Self::Malformed => ("model_malformed", "the model endpoint sent an invalid answer", true),
            Self::Cut => ("model_cut", "the model's answer ended before it was complete", true),
            Self::Transport => ("model_transport", "the model endpoint cannot be reached", true),
            Self::BadRequest => {
                ("model_bad_request", "the model endpoint rejected the request as invalid", false)
            }
            Self::UnknownModel => ("model_unknown", "the endpoint does not know this model", false),
            Self::Unsupported => {
                ("model_unsupported", "the model does not support a setting of the request", false)
            }
        }
    }

    /// Returns the stable name for wire formats and logs, for example `model_rate_limited`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// assert_eq!(ModelError::new(ModelErrorKind::Transport).kind().code(), ModelErrorKind::Transport.code());
    /// ```
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.row().0
    }

    /// Returns `true` if the same request may succeed later.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::ModelErrorKind;
    /// assert!(ModelErrorKind::Transport.is_retryable());
    /// assert!(!ModelErrorKind::Auth.is_retryable());
    /// ```
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        self.row().2
    }
}

/// Error of a model call.
///
/// `Display` describes the error and names the model; it contains no key, no user content and nothing that the
/// endpoint wrote. What the endpoint wrote, scrubbed and limited to 300 characters, is the
/// [`source`](std::error::Error::source) and the [`detail`](Self::detail), for operators.
///
/// # Examples
///
/// ```
/// use agent_core::model::{ModelError, ModelErrorKind};
///
/// let error = ModelError::new(ModelErrorKind::Auth).with_model("gpt-4o-mini").with_status(401);
/// assert_eq!(error.code(), "model_auth");
/// assert!(!error.is_retryable());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelError(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Inner {
    fault: ModelErrorKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<Detail>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    attempts: u32,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_one(attempts: &u32) -> bool {
    *attempts == 1
}

/// Message of the endpoint: one line, at most 300 characters, secrets removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Detail(String);

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Detail {}

impl ModelError {
    /// Creates an error of this kind.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{ModelError, ModelErrorKind};
    ///
    /// let error = ModelError::new(ModelErrorKind::Cut).with_model("gpt-5");
    /// assert_eq!((error.code(), error.is_retryable()), ("model_cut", true));
    /// ```
    #[must_use]
    pub fn new(fault: ModelErrorKind) -> Self {
        Self(Box::new(Inner { fault, model: None, status: None, detail: None, attempts: 1 }))
    }

    /// Adds the model's name (never its address or key).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// let error = ModelError::new(ModelErrorKind::Auth).with_model("gpt-5");
    /// assert_eq!(error.model(), Some("gpt-5"));
    /// ```
    #[must_use]
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.0.model = Some(model.into());
        self
    }

    /// Adds the HTTP status of the response.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// assert_eq!(ModelError::new(ModelErrorKind::Auth).with_status(401).status(), Some(401));
    /// ```
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Adds details. Control characters become spaces, text that looks like a key is masked, and the result is
    /// limited to 300 characters.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// let error = ModelError::new(ModelErrorKind::BadRequest).with_detail("temperature is too high");
    /// assert_eq!(error.detail(), Some("temperature is too high"));
    /// ```
    #[must_use]
    pub fn with_detail(mut self, detail: impl AsRef<str>) -> Self {
        let text = scrub(detail.as_ref());
        self.0.detail = (!text.is_empty()).then_some(Detail(text));
        self
    }

    /// Adds the number of attempts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// assert_eq!(ModelError::new(ModelErrorKind::Transport).with_attempts(3).attempts(), 3);
    /// ```
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts.max(1);
        self
    }

    /// Returns the kind of the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{ModelError, ModelErrorKind};
    ///
    /// assert_eq!(ModelError::new(ModelErrorKind::Transport).kind(), ModelErrorKind::Transport);
    /// ```
    #[must_use]
    pub fn kind(&self) -> ModelErrorKind {
        self.0.fault
    }

    /// Returns the stable name for wire formats and logs, for example `model_rate_limited`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// assert_eq!(ModelError::new(ModelErrorKind::Auth).code(), ModelErrorKind::Auth.code());
    /// ```
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.fault.code()
    }

    /// Returns `true` if the same request may succeed later.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// assert!(ModelError::new(ModelErrorKind::Transport).is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.fault.is_retryable()
    }

    /// Returns the wait requested by the endpoint, if any.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// # use std::time::Duration;
    /// let kind = ModelErrorKind::RateLimited { retry_after: Some(Duration::from_secs(2)) };
    /// assert_eq!(ModelError::new(kind).retry_after(), Some(Duration::from_secs(2)));
    /// ```
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.fault {
            ModelErrorKind::RateLimited { retry_after } | ModelErrorKind::Overloaded { retry_after } => {
                retry_after
            }
            _ => None,
        }
    }

    /// Returns the model's name, if known.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// assert_eq!(ModelError::new(ModelErrorKind::Auth).model(), None);
    /// ```
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.0.model.as_deref()
    }

    /// Returns the HTTP status of the response, if there was one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// assert_eq!(ModelError::new(ModelErrorKind::Transport).status(), None);
    /// ```
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Returns the endpoint's message, scrubbed and shortened. For operators, not for users.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// assert_eq!(ModelError::new(ModelErrorKind::Transport).detail(), None);
    /// ```
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_ref().map(|detail| detail.0.as_str())
    }

    /// Returns the number of attempts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{ModelError, ModelErrorKind};
    /// assert_eq!(ModelError::new(ModelErrorKind::Transport).with_attempts(2).attempts(), 2);
    /// ```
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.fault.row().1)?;
        if let Some(model) = &self.0.model {
            write!(f, " (model `{model}`")?;
            if let Some(status) = self.0.status {
                write!(f, ", status {status}")?;
            }
            f.write_str(")")?;
        } else if let Some(status) = self.0.status {
            write!(f, " (status {status})")?;
        }
        if let Some(wait) = self.retry_after() {
            write!(f, "; retry after {:.1} s", wait.as_secs_f64())?;
        }
        if self.0.attempts > 1 {
            write!(f, "; failed after {} attempts", self.0.attempts)?;
        }
        Ok(())
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.detail.as_ref().map(|detail| detail as _)
    }
}

/// Returns one line of at most [`DETAIL_CHARS`] characters with words that look like keys masked.
fn scrub(text: &str) -> String {
    let mut clean = String::new();
    let mut chars = 0;
    // Shortened first: the text may be a whole HTML page.
    let end = text.char_indices().nth(4 * DETAIL_CHARS).map_or(text.len(), |(at, _)| at);
    for word in
        text[..end].split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty())
    {
        let word = if looks_like_a_key(word) { "***" } else { word };
        let space = (!clean.is_empty()).then_some(' ');
        for c in space.into_iter().chain(word.chars()) {
            // The last character marks that text was removed.
            if chars + 1 == DETAIL_CHARS {
                clean.push('…');
                return clean;
            }
            clean.push(c);
            chars += 1;
        }
    }
    clean
}

/// Long runs of key-like characters, and well-known key prefixes.
fn looks_like_a_key(word: &str) -> bool {
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let known = ["sk-", "sk_", "AIza", "gsk_", "xai-", "hf_", "Bearer", "eyJ", "tvly-"];
    if known.iter().any(|start| core.starts_with(start) || word.contains(&format!("={start}")))
        && core.len() > 6
    {
        return true;
    }
    core.len() >= 32
        && core.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'*' | b'.'))
        && core.bytes().any(|byte| byte.is_ascii_digit())
        && core.bytes().any(|byte| byte.is_ascii_alphabetic())
}
