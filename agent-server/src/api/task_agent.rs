//! Task agents: requests to run and resume, and their responses.

use agent_core::{BusyPolicy, ids::SessionId, interrupt::Answers};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    json,
    session_data::{RunStatus, SessionData, SessionDetails},
};
use crate::error::{ApiError, Rejection};

/// Maximum length of a message, in bytes.
pub(super) const MESSAGE_BYTES: usize = 32 * 1024;
/// Maximum length of a webhook URL, in bytes.
const URL_BYTES: usize = 2_048;

/// Request to start a run.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct RunRequest {
    /// Task for the agent, in any language; at most 32 KiB of UTF-8, not blank.
    #[serde(default)]
    #[schema(
        required = true,
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    pub(crate) message: String,
    /// Session of the run; a new session begins empty. Default: a new one with a random id.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$", required = false)]
    pub(crate) session_id: Option<String>,
    /// Additional input, which is passed to the state of the graph.
    #[serde(default)]
    #[schema(value_type = Option<Object>, required = false)]
    pub(crate) context: Map<String, Value>,
    /// Name of the agent (see `GET /agents`). Default: the first one.
    #[schema(required = false)]
    pub(crate) agent: Option<String>,
    /// Policy if the session is busy. Default: `reject`.
    #[schema(required = false)]
    pub(crate) on_busy: Option<OnBusy>,
    /// Address that is notified when the run has ended.
    #[schema(required = false)]
    pub(crate) webhook: Option<WebhookTarget>,
}

/// Policy if the session is busy: `reject` responds with 409, `enqueue` starts the run after the current one,
/// `interrupt` stops the current run and keeps its commits, `rollback` stops it and reverts its commits.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnBusy {
    #[default]
    Reject,
    Enqueue,
    Interrupt,
    Rollback,
}

impl From<OnBusy> for BusyPolicy {
    fn from(policy: OnBusy) -> Self {
        match policy {
            OnBusy::Reject => Self::Reject,
            OnBusy::Enqueue => Self::Enqueue,
            OnBusy::Interrupt => Self::Interrupt,
            OnBusy::Rollback => Self::Rollback,
        }
    }
}

/// Address that is notified when the run has ended.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct WebhookTarget {
    /// Public `http` or `https` URL.
    #[schema(max_length = 2048)]
    pub(crate) url: String,
}

impl RunRequest {
    /// Parses a request.
    ///
    /// # Errors
    ///
    /// 400 that names the invalid field.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let request: Self = json::strict_message(body)?;
        check_text("message", &request.message)?;
        if request.webhook.as_ref().is_some_and(|webhook| webhook.url.len() > URL_BYTES) {
            let message = format!("`webhook.url` exceeds {URL_BYTES} bytes");
            return Err(ApiError::new(Rejection::InvalidRequest, message));
        }
        Ok(request)
    }

    /// Returns the session that the request names.
    ///
    /// # Errors
    ///
    /// 400 for an invalid id.
    pub(crate) fn session(&self) -> Result<Option<SessionId>, ApiError> {
        self.session_id.as_deref().map(json::session_id).transpose()
    }
}

/// Checks a required message of a person.
///
/// # Errors
///
/// `empty_message`, `message_too_long`.
pub(super) fn check_text(name: &str, text: &str) -> Result<(), ApiError> {
    if text.trim().is_empty() {
        return Err(ApiError::new(Rejection::EmptyMessage, format!("`{name}` is missing or empty")));
    }
    check_length(name, text)
}

/// Checks the length of a message.
///
/// # Errors
///
/// `message_too_long`.
pub(super) fn check_length(name: &str, text: &str) -> Result<(), ApiError> {
    if text.len() <= MESSAGE_BYTES {
        return Ok(());
    }
    let message = format!("`{name}` has {} bytes, more than {MESSAGE_BYTES}", text.len());
    Err(ApiError::new(Rejection::MessageTooLong, message))
}

/// An empty body or object resumes a stopped or failed run; otherwise this is the answer to an open question.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub(crate) struct AnswerRequest {
    /// The answer: any JSON value, including `null`.
    #[serde(default, deserialize_with = "json::present")]
    #[schema(value_type = Value, required = false)]
    value: Option<Value>,
    /// Id of the question; may be omitted if only one is open.
    #[schema(required = false)]
    id: Option<String>,
}

impl AnswerRequest {
    /// Parses the body of `POST /resume`. `None`: there is no answer.
    ///
    /// # Errors
    ///
    /// 400 that names the invalid field.
    pub(crate) fn parse(body: &[u8]) -> Result<Option<Answers>, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        let fields = json::object(body)?;
        let is_empty = !fields.contains_key("value") && !fields.contains_key("id");
        let request: Self = json::strict(Value::Object(fields))?;
        if is_empty {
            return Ok(None);
        }
        let Some(value) = request.value else {
            return Err(ApiError::new(Rejection::InvalidRequest, "`value` is missing"));
        };
        Ok(Some(answers(value, request.id)))
    }
}

/// A message to the agent at work.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct SteerRequest {
    /// The message, in any language; at most 32 KiB of UTF-8, not blank.
    #[serde(default)]
    #[schema(
        required = true,
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    message: String,
}

impl SteerRequest {
    /// Parses a request.
    ///
    /// # Errors
    ///
    /// 400 that names the invalid field.
    pub(crate) fn parse(body: &[u8]) -> Result<String, ApiError> {
        json::strict_message::<Self>(body)?.checked()
    }

    /// Returns the message.
    ///
    /// # Errors
    ///
    /// `empty_message`, `message_too_long`.
    pub(super) fn checked(self) -> Result<String, ApiError> {
        check_text("message", &self.message)?;
        Ok(self.message)
    }
}

/// Returns an answer to a question, or to the only open one.
pub(super) fn answers(value: Value, id: Option<String>) -> Answers {
    match id {
        Some(id) => Answers::to(&*id, value),
        None => Answers::only(value),
    }
}

/// Result of a run: its end, or the question on which it is paused.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunResponse {
    /// Id of the session.
    #[schema(value_type = String, pattern = "^[A-Za-z0-9._:-]{1,128}$")]
    pub(crate) session_id: SessionId,
    /// Status of the run.
    pub(crate) status: RunStatus,
    /// Description of the status.
    pub(crate) message: String,
    /// Details.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    pub(crate) data: Option<SessionData>,
}

/// A run that was accepted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StartResponse {
    /// Id of the session.
    #[schema(value_type = String)]
    pub(crate) session_id: SessionId,
    /// The run has started or is queued; it is stored in both cases.
    #[schema(value_type = String, pattern = "^started$")]
    pub(crate) status: &'static str,
    /// Description of the status.
    #[schema(value_type = String)]
    pub(crate) message: &'static str,
    /// Number of the run.
    pub(crate) data: RunNumber,
}

/// Number of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunNumber {
    /// Counted from 1 in each session.
    pub(crate) run: u64,
}

/// A run that was resumed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResumeResponse {
    /// Id of the session.
    #[schema(value_type = String)]
    pub(crate) session_id: SessionId,
    /// Status of the run.
    pub(crate) status: RunStatus,
    /// Description of the status.
    #[schema(value_type = String)]
    pub(crate) message: &'static str,
    /// Number of the run.
    pub(crate) data: RunNumber,
}

/// Status of a session with all details.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusResponse {
    /// Id of the session.
    #[schema(value_type = String)]
    pub(crate) session_id: SessionId,
    /// Status of the latest run.
    pub(crate) status: RunStatus,
    /// Description of the status.
    pub(crate) message: String,
    /// Details.
    pub(crate) data: SessionDetails,
}
