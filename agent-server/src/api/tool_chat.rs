//! System 4: the agent with tools, its request, its answer and its events, field by field.
//!
//! The events of `/api/v1/chat/stream`, each a `data:` with one JSON object:
//!
//! | Event | When |
//! |---|---|
//! | `{conversation_id}` | first |
//! | `{content}` | a piece of what the assistant says, as it comes |
//! | `{tool_call: {id, name, arguments}}` | a tool is called |
//! | `{tool_result: {id, name, arguments, result, error?, duration_ms}}` | it has its result |
//! | `{reset: true}` | what was said since the last tool call is void: the model is asked again |
//! | `{question: {id, prompt, options}}` | a person must answer; the next `content` of the conversation is the answer |
//! | `{error, code}` | the run failed; at most one |
//! | `{done: true, conversation_id, content, tool_calls?}` | last, also after an error; `content` is the answer alone |
//!
//! A failure before anything of this was sent has the status of the plain request: 502 for the model, 500 for a tool.

use agent_core::{
    ids::SessionId,
    interrupt::{Answers, OpenQuestion},
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::json::{object, session_id, text};
use crate::{
    conversation::{ConversationStream, ToolCallRecord},
    error::{ApiError, Contract, Rejection},
};

/// The longest message, in bytes.
const CONTENT_BYTES: usize = 32 * 1024;

/// `{content, conversation_id?}`.
#[derive(Debug)]
pub(crate) struct TalkRequest {
    pub(crate) content: String,
    pub(crate) conversation_id: Option<SessionId>,
}

impl TalkRequest {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let fields = object(body)?;
        let content = match text(&fields, "content")? {
            Some(content) if !content.trim().is_empty() => content,
            Some(_) => return Err(ApiError::new(Rejection::EmptyMessage, "`content` is empty")),
            None => return Err(ApiError::new(Rejection::EmptyMessage, "`content` is missing")),
        };
        if content.len() > CONTENT_BYTES {
            let told = format!("`content` has {} bytes, more than {CONTENT_BYTES}", content.len());
            return Err(ApiError::new(Rejection::MessageTooLong, told));
        }
        let conversation_id = text(&fields, "conversation_id")?.map(|id| session_id(&id)).transpose()?;
        Ok(Self { content, conversation_id })
    }
}

/// `{content, conversation_id, tool_calls?}`.
pub(crate) fn answer(reading: &ConversationStream, content: &str) -> Value {
    let mut body = json!({"content": content, "conversation_id": reading.session().id()});
    if !reading.calls().is_empty() {
        body["tool_calls"] = reading.calls().iter().map(made).collect();
    }
    body
}

/// `{name, arguments, result, error?, duration_ms}`.
fn made(call: &ToolCallRecord) -> Value {
    let mut body = json!({
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "result": call.result,
        "duration_ms": call.ms,
    });
    if let Some(error) = &call.error {
        body["error"] = json!(error);
    }
    body
}

pub(crate) fn conversation(session: &SessionId) -> Bytes {
    event(&json!({"conversation_id": session}))
}

pub(crate) fn content(text: &str) -> Bytes {
    event(&json!({"content": text}))
}

pub(crate) fn tool_call(call: &ToolCallRecord) -> Bytes {
    event(&json!({"tool_call": {"id": call.id, "name": call.name, "arguments": call.arguments}}))
}

pub(crate) fn tool_result(call: &ToolCallRecord) -> Bytes {
    event(&json!({"tool_result": made(call)}))
}

pub(crate) fn reset() -> Bytes {
    event(&json!({"reset": true}))
}

pub(crate) fn question(open: &OpenQuestion) -> Bytes {
    let (prompt, options) = (&open.question.prompt, &open.question.options);
    event(&json!({"question": {"id": open.id, "prompt": prompt, "options": options}}))
}

pub(crate) fn error(error: &ApiError) -> Bytes {
    event(&error.body(Contract::ToolChat))
}

pub(crate) fn done(reading: &ConversationStream, content: &str) -> Bytes {
    let mut body = answer(reading, content);
    body["done"] = json!(true);
    event(&body)
}

fn event(body: &Value) -> Bytes {
    format!("data: {body}\n\n").into()
}

/// A question in words.
pub(crate) fn render_question(open: &OpenQuestion) -> String {
    let mut words = open.question.prompt.clone();
    for (at, option) in open.question.options.iter().enumerate() {
        let gap = if at == 0 { "\n" } else { "" };
        let option = option.as_str().map_or_else(|| option.to_string(), str::to_owned);
        words.push_str(&format!("{gap}\n{}. {option}", at + 1));
    }
    words
}

/// An answer in words: an option by its text or its number, else the words themselves.
pub(crate) fn parse_answer(open: &OpenQuestion, words: &str) -> Answers {
    let words = words.trim();
    let options = &open.question.options;
    let by_text = || {
        let same = |option: &&Value| match option {
            Value::String(text) => text.trim().to_lowercase() == words.to_lowercase(),
            other => serde_json::from_str::<Value>(words).is_ok_and(|said| said == **other),
        };
        options.iter().find(same)
    };
    let by_number = || {
        let number: usize = words.trim_end_matches(['.', '번']).parse().ok()?;
        options.get(number.checked_sub(1)?)
    };
    let value = by_text().or_else(by_number).cloned().unwrap_or_else(|| words.into());
    Answers::to(open.id.clone(), value)
}
