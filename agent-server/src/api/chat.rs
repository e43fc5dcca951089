//! The streaming chat: its request, and its events.
//!
//! `data: {"chunk": ".."}` for each delta, then `data: {"done": true}`. Errors before the stream begins are a 4xx with
//! JSON. Later errors are one `data: {"error": "..", "code": ".."}` before the `done`, even if the model sent nothing:
//! the stream has begun, and an `EventSource` cannot read the body of an error response.

use agent_core::model::{Message, ModelError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    json,
    task_agent::{check_length, check_text},
};
use crate::{
    error::{ApiError, Rejection, help, is_retryable, with_setting},
    http::{query::Query, response::escape_separators},
};

/// Maximum number of messages in the history.
const HISTORY: usize = 1_000;
/// Id of the last event. A browser that reconnects sends it.
pub(crate) const DONE_ID: &str = "done";

/// Request of the streaming chat.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ChatRequest {
    /// Message of the user; at most 32 KiB of UTF-8, not blank.
    #[serde(default)]
    #[schema(
        required = true,
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    message: String,
    /// Earlier messages, oldest first.
    #[schema(required = false, max_items = 1000)]
    history: Option<Vec<ChatTurn>>,
}

/// An earlier message.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ChatTurn {
    /// Role of the author.
    role: ChatRole,
    /// Text of the message.
    #[schema(max_length = 32_768)]
    content: String,
}

/// Role of a message's author.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChatRole {
    User,
    Assistant,
    System,
}

impl ChatRequest {
    /// Parses a body.
    ///
    /// # Errors
    ///
    /// 400 that names the invalid field.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        json::strict_message::<Self>(body)?.checked()
    }

    /// Parses `?message=..&history=<JSON array>`.
    ///
    /// # Errors
    ///
    /// 400 that names the invalid parameter.
    pub(crate) fn from_query(query: &Query) -> Result<Self, ApiError> {
        if !query.is_utf8() {
            return Err(ApiError::new(Rejection::InvalidRequest, "the query is not UTF-8"));
        }
        let mut fields = json!({"message": query.get("message").unwrap_or_default()});
        if let Some(history) = query.get("history").filter(|history| !history.trim().is_empty()) {
            let history = json::value(history.as_bytes())?;
            if history != Value::Null {
                fields["history"] = history;
            }
        }
        json::strict::<Self>(fields)?.checked()
    }

    fn checked(self) -> Result<Self, ApiError> {
        check_text("message", &self.message)?;
        let history = self.history.as_deref().unwrap_or_default();
        if history.len() > HISTORY {
            let message = format!("`history` has {} messages, more than {HISTORY}", history.len());
            return Err(ApiError::new(Rejection::InvalidRequest, message));
        }
        for (at, turn) in history.iter().enumerate() {
            check_length(&format!("history[{at}].content"), &turn.content)?;
        }
        Ok(self)
    }

    /// Returns the conversation, without empty messages.
    pub(crate) fn into_messages(self) -> Vec<Message> {
        let turns = self.history.unwrap_or_default().into_iter();
        let turns = turns.filter(|turn| !turn.content.trim().is_empty()).map(|turn| match turn.role {
            ChatRole::User => Message::user(turn.content),
            ChatRole::Assistant => Message::assistant(turn.content),
            ChatRole::System => Message::system(turn.content),
        });
        turns.chain([Message::user(self.message)]).collect()
    }
}

/// Event of the streaming chat: a delta, an error, or the end.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct ChatEvent<'a> {
    /// Delta of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    chunk: Option<&'a str>,
    /// Error message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    error: Option<&'a str>,
    /// Error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    code: Option<&'a str>,
    /// Path of the page about the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    help: Option<String>,
    /// Whether the same request may succeed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    retryable: Option<bool>,
    /// With `done`: why the answer is incomplete: `length` (the limit of output tokens was reached).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    finish_reason: Option<&'static str>,
    /// `true` for the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    done: Option<bool>,
}

/// Whether the last event has an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventIds {
    On,
    Off,
}

/// Returns a server-sent event with a message as its data.
pub(super) fn sse_data(message: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_string(message).expect("messages serialize to JSON");
    let mut event = Vec::with_capacity(json.len() + 8);
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(escape_separators(json).as_bytes());
    event.extend_from_slice(b"\n\n");
    event
}

/// Returns the event of a delta.
pub(crate) fn chunk(text: &str) -> Bytes {
    sse_data(&ChatEvent { chunk: Some(text), ..ChatEvent::default() }).into()
}

/// Returns the event of a failed model call.
pub(crate) fn model_error_event(error: &ModelError) -> Bytes {
    error_event(error.code(), &with_setting(error.to_string(), error.kind()))
}

/// Returns the event of an error.
pub(crate) fn error_event(code: &str, message: &str) -> Bytes {
    let (help, retryable) = (Some(help(code)), Some(is_retryable(code)));
    sse_data(&ChatEvent { error: Some(message), code: Some(code), help, retryable, ..ChatEvent::default() })
        .into()
}

/// Returns the last event, with the reason if the answer is incomplete.
pub(crate) fn done(ids: EventIds, finish_reason: Option<&'static str>) -> Bytes {
    let mut event = sse_data(&ChatEvent { done: Some(true), finish_reason, ..ChatEvent::default() });
    if ids == EventIds::On {
        event.pop();
        event.extend_from_slice(format!("id: {DONE_ID}\n\n").as_bytes());
    }
    event.into()
}
