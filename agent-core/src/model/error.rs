//! Why a model did not answer, in kinds a caller can act on, in texts that give nothing away.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many characters of what an endpoint said are kept.
const DETAIL_CHARS: usize = 300;

/// Which time limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waited {
    /// Nothing came at all.
    FirstToken,
    /// It began and then fell silent.
    Idle,
}

/// The kind of a failure, to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum ModelFault {
    /// The key is missing, wrong or not allowed to do this.
    Auth,
    /// The account has no credit left. Waiting does not help.
    Quota,
    /// Too many requests or tokens a minute.
    RateLimited {
        /// How long the endpoint asked us to wait, when it said so.
        retry_after: Option<Duration>,
    },
    /// The conversation is longer than the model can read.
    ContextTooLong,
    /// A content filter stopped the request or the answer.
    Filtered,
    /// The endpoint is overloaded or failed internally (5xx).
    Overloaded {
        /// How long the endpoint asked us to wait, when it said so.
        retry_after: Option<Duration>,
    },
    /// A time limit of ours was hit.
    TimedOut {
        /// Which one.
        waited: Waited,
    },
    /// The answer is not what the protocol allows, or not the structure asked for.
    Malformed,
    /// The answer ended before it was finished.
    Cut,
    /// No connection, or it broke.
    Transport,
    /// The endpoint refused the request as invalid.
    BadRequest,
    /// The endpoint does not know the model, or there is no such path.
    UnknownModel,
    /// The request cannot be expressed for this model (a setting or part it does not take).
    Unsupported,
}

impl ModelFault {
    /// `(code, sentence, worth trying again)`: the only place that says so.
    const fn row(self) -> (&'static str, &'static str, bool) {
        match self {
            Self::Auth => ("model_auth", "the model endpoint refused the key", false),
            Self::Quota => ("model_quota", "the account of the model endpoint has no credit left", false),
            Self::RateLimited { .. } => ("model_rate_limited", "the model endpoint limits the rate", true),
            Self::ContextTooLong => {
                ("model_context_too_long", "the conversation is longer than the model can read", false)
            }
            Self::Filtered => {
                ("model_filtered", "a content filter of the model endpoint stopped this", false)
            }
            Self::Overloaded { .. } => {
                ("model_overloaded", "the model endpoint is overloaded or failing", true)
            }
            Self::TimedOut { waited: Waited::FirstToken } => {
                ("model_timed_out", "the model did not begin to answer in time", true)
            }
            Self::TimedOut { waited: Waited::Idle } => {
                ("model_timed_out", "the model fell silent in the middle of its answer", true)
            }
            Self::Malformed => {
                ("model_malformed", "the model endpoint sent something that cannot be read", true)
            }
            Self::Cut => ("model_cut", "the model's answer ended before it was finished", true),
            Self::Transport => ("model_transport", "the model endpoint cannot be reached", true),
            Self::BadRequest => {
                ("model_bad_request", "the model endpoint refused the request as invalid", false)
            }
            Self::UnknownModel => ("model_unknown", "the endpoint does not know this model", false),
            Self::Unsupported => ("model_unsupported", "this model cannot do what the request asks", false),
        }
    }

    /// Stable name for wires and logs, for example `model_rate_limited`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.row().0
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        self.row().2
    }
}

/// Why a model did not answer.
///
/// `Display` says what happened and names the model; it holds no key, no text of the person and nothing
/// the endpoint wrote. What the endpoint wrote, scrubbed and cut to 300 characters, is the
/// [`source`](std::error::Error::source) and [`detail`](Self::detail), for operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelError(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Inner {
    fault: ModelFault,
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

/// What the endpoint said about it: one line, at most 300 characters, secrets scrubbed.
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
    /// An error of this kind.
    #[must_use]
    pub fn new(fault: ModelFault) -> Self {
        Self(Box::new(Inner { fault, model: None, status: None, detail: None, attempts: 1 }))
    }

    /// Names the model (its name, never its address or key).
    #[must_use]
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.0.model = Some(model.into());
        self
    }

    /// Adds the status of the HTTP answer.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Adds what is known beyond the kind. Control characters become spaces, what looks like a key is
    /// blanked out, and the text is cut to 300 characters.
    #[must_use]
    pub fn with_detail(mut self, detail: impl AsRef<str>) -> Self {
        let text = scrub(detail.as_ref());
        self.0.detail = (!text.is_empty()).then_some(Detail(text));
        self
    }

    /// Says how often it was tried.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts.max(1);
        self
    }

    /// The kind, to branch on.
    #[must_use]
    pub fn fault(&self) -> ModelFault {
        self.0.fault
    }

    /// Stable name for wires and logs, for example `model_rate_limited`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.fault.code()
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.fault.is_retryable()
    }

    /// How long the endpoint asked us to wait, when it said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.fault {
            ModelFault::RateLimited { retry_after } | ModelFault::Overloaded { retry_after } => retry_after,
            _ => None,
        }
    }

    /// The model's name, when known.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.0.model.as_deref()
    }

    /// The status of the HTTP answer, when there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// What the endpoint said, scrubbed and cut. For operators; not for users.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_ref().map(|detail| detail.0.as_str())
    }

    /// How often it was tried.
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
            write!(f, "; it asks to wait {:.1} s", wait.as_secs_f64())?;
        }
        if self.0.attempts > 1 {
            write!(f, "; tried {} times", self.0.attempts)?;
        }
        Ok(())
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.detail.as_ref().map(|detail| detail as _)
    }
}

/// One line, at most [`DETAIL_CHARS`] characters, words that look like keys blanked out.
fn scrub(text: &str) -> String {
    let mut clean = String::new();
    let mut chars = 0;
    // Bounded before it is worked on: the text may be a whole page of HTML.
    let end = text.char_indices().nth(4 * DETAIL_CHARS).map_or(text.len(), |(at, _)| at);
    for word in
        text[..end].split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty())
    {
        let word = if looks_like_a_key(word) { "***" } else { word };
        let space = (!clean.is_empty()).then_some(' ');
        for c in space.into_iter().chain(word.chars()) {
            // The last character says that there was more.
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

/// Long runs of key-like characters, and the well-known beginnings.
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
