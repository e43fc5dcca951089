//! System 2: the streaming chat's request and its events, field by field.
//!
//! `data: {"chunk": ".."}` as often as the model says something, then `data: {"done": true}`. What fails before the
//! request is understood is a 4xx with JSON. What fails later is one `data: {"error": "..", "code": ".."}` before the
//! `done`, also when the model never said a word: the stream has begun, and an `EventSource` cannot read the body of
//! a refusal.

use agent_core::model::{Message, ModelError};
use bytes::Bytes;
use serde_json::{Value, json};

use super::json::{object, value};
use crate::{
    error::{ApiError, Rejection},
    http::query::Query,
};

/// The longest text, in bytes.
pub(crate) const TEXT_BYTES: usize = 32 * 1024;
/// The longest history, in messages.
pub(crate) const HISTORY: usize = 1_000;
/// Names the event after which an `EventSource` that reconnects wants nothing more.
pub(crate) const DONE_ID: &str = "done";

/// `{message, history?: [{role, content}]}`.
#[derive(Debug)]
pub(crate) struct ChatRequest {
    /// The history, and the message as its end.
    pub(crate) messages: Vec<Message>,
}

impl ChatRequest {
    /// Returns the conversation.
    pub(crate) fn into_messages(self) -> Vec<Message> {
        self.messages
    }

    /// Reads a body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let fields = object(body)?;
        let message = match fields.get("message") {
            None | Some(Value::Null) => None,
            Some(Value::String(message)) => Some(message.as_str()),
            Some(_) => return Err(wrong("`message` must be text")),
        };
        Self::of(message, fields.get("history").unwrap_or(&Value::Null))
    }

    /// Reads `?message=..&history=<JSON array>`.
    pub(crate) fn from_query(query: &Query) -> Result<Self, ApiError> {
        if !query.is_utf8() {
            return Err(wrong("the query is not UTF-8"));
        }
        let history = match query.get("history").filter(|history| !history.trim().is_empty()) {
            Some(history) => value(history.as_bytes())?,
            None => Value::Null,
        };
        Self::of(query.get("message"), &history)
    }

    fn of(message: Option<&str>, history: &Value) -> Result<Self, ApiError> {
        let Some(message) = message else {
            return Err(ApiError::new(Rejection::EmptyMessage, "`message` is missing"));
        };
        if message.trim().is_empty() {
            return Err(ApiError::new(Rejection::EmptyMessage, "`message` is empty"));
        }
        bounded("message", message)?;
        let mut messages = match history {
            Value::Null => Vec::new(),
            Value::Array(turns) if turns.len() > HISTORY => {
                return Err(wrong(format!("`history` has {} messages, more than {HISTORY}", turns.len())));
            }
            Value::Array(turns) => {
                let read = turns.iter().enumerate().map(|(at, turn)| turn_of(at, turn));
                read.filter_map(Result::transpose).collect::<Result<_, _>>()?
            }
            _ => return Err(wrong("`history` must be a list of `{role, content}`")),
        };
        messages.push(Message::user(message));
        Ok(Self { messages })
    }
}

/// A message of the history; none when nothing was said.
fn turn_of(at: usize, turn: &Value) -> Result<Option<Message>, ApiError> {
    let place = |told: &str| wrong(format!("`history[{at}]` {told}"));
    let Value::Object(fields) = turn else { return Err(place("must be `{role, content}`")) };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let Some(role) = text("role") else { return Err(place("has no `role`")) };
    let make: fn(&str) -> Message = match role {
        "user" => |said| Message::user(said),
        "assistant" => |said| Message::assistant(said),
        "system" => |said| Message::system(said),
        _ => return Err(place("has a `role` other than `user`, `assistant` and `system`")),
    };
    let Some(content) = text("content") else { return Err(place("has no text as `content`")) };
    bounded(&format!("history[{at}].content"), content)?;
    Ok((!content.trim().is_empty()).then(|| make(content)))
}

fn bounded(name: &str, text: &str) -> Result<(), ApiError> {
    if text.len() <= TEXT_BYTES {
        return Ok(());
    }
    let told = format!("`{name}` has {} bytes, more than {TEXT_BYTES}", text.len());
    Err(ApiError::new(Rejection::MessageTooLong, told))
}

fn wrong(told: impl Into<String>) -> ApiError {
    ApiError::new(Rejection::InvalidRequest, told)
}

/// A piece of the answer.
pub(crate) fn chunk(text: &str) -> Bytes {
    let mut event = Vec::with_capacity(text.len() + 32);
    event.extend_from_slice(b"data: {\"chunk\":");
    // Writing text to memory cannot fail.
    if serde_json::to_writer(&mut event, text).is_err() {
        return Bytes::new();
    }
    event.extend_from_slice(b"}\n\n");
    event.into()
}

/// What went wrong with the model.
pub(crate) fn model_error_event(error: &ModelError) -> Bytes {
    error_event(error.code(), &error.to_string())
}

/// What went wrong.
pub(crate) fn error_event(code: &str, told: &str) -> Bytes {
    format!("data: {}\n\n", json!({"error": told, "code": code})).into()
}

/// Whether the last event has an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventIds {
    On,
    Off,
}

/// The end. For an `EventSource` it has an id, which the browser names when it reconnects, as it always does.
pub(crate) fn done(ids: EventIds) -> Bytes {
    match ids {
        EventIds::On => format!("data: {{\"done\":true}}\nid: {DONE_ID}\n\n").into(),
        EventIds::Off => Bytes::from_static(b"data: {\"done\":true}\n\n"),
    }
}
