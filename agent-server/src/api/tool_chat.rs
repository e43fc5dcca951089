//! The agent with tools: its request, its response and its events.
//!
//! The events of `/api/v1/chat/stream`, each a `data:` with one JSON object:
//!
//! | Event | Meaning |
//! |---|---|
//! | `{conversation_id}` | the first event |
//! | `{content}` | a delta of the answer |
//! | `{tool_call: {id, name, arguments}}` | a tool call began |
//! | `{tool_result: {id, name, arguments, result, error?, duration_ms}}` | a tool call ended |
//! | `{reset: true}` | the text since the last tool call is void, because the model is called again |
//! | `{question: {id, prompt, options}}` | a question; the next `content` of the conversation is the answer |
//! | `{error, code, help, retryable}` | the run failed; at most once |
//! | `{done: true, conversation_id, content, tool_calls, finish_reason?}` | the last event, also after an error; `content` is the answer |
//!
//! A failure before the first of these events has the status of the plain request: 502 for the model, 500 for a tool.

use agent_core::{
    ids::SessionId,
    interrupt::{Answers, OpenQuestion, Question},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{chat::sse_data, json, task_agent::check_text};
use crate::{
    conversation::{ConversationStream, Incomplete, ToolCallRecord},
    error::{ApiError, help, is_retryable},
};

/// Request of the agent with tools.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TalkRequest {
    /// Message of the user; at most 32 KiB of UTF-8, not blank. If the agent has asked a question, this is the
    /// answer.
    #[serde(default)]
    #[schema(
        required = true,
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    pub(crate) content: String,
    /// Id of the conversation to continue. Default: a new one.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$", required = false)]
    conversation_id: Option<String>,
}

impl TalkRequest {
    /// Parses a request.
    ///
    /// # Errors
    ///
    /// 400 that names the invalid field.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let request: Self = json::strict_message(body)?;
        check_text("content", &request.content)?;
        Ok(request)
    }

    /// Returns the conversation that the request continues.
    ///
    /// # Errors
    ///
    /// 400 for an invalid id.
    pub(crate) fn conversation(&self) -> Result<Option<SessionId>, ApiError> {
        self.conversation_id.as_deref().map(json::session_id).transpose()
    }
}

/// Response of the agent with tools.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TalkResponse {
    /// Text of the answer.
    content: String,
    /// Id of the conversation.
    #[schema(value_type = String)]
    conversation_id: SessionId,
    /// Tools that the agent called; `null` if it called none.
    #[schema(required = false)]
    tool_calls: Option<Vec<ToolCall>>,
    /// Why the answer is incomplete; absent if it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    finish_reason: Option<FinishReason>,
}

impl TalkResponse {
    /// Returns the response to a message; a question is a complete answer.
    pub(crate) fn new(conversation: &ConversationStream, answer: TalkAnswer) -> Self {
        Self {
            content: answer.content,
            conversation_id: conversation.session().id().clone(),
            tool_calls: tool_calls(conversation),
            finish_reason: answer.finish_reason,
        }
    }
}

/// Why an answer is incomplete: `length` (the limit of output tokens), `content_filter`, `call_limit` (the limit of model
/// calls), `malformed_tool_call` (a tool call that cannot be parsed was removed), `empty`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TalkFinishReason)]
pub(crate) enum FinishReason {
    Length,
    ContentFilter,
    CallLimit,
    MalformedToolCall,
    Empty,
}

impl From<Incomplete> for FinishReason {
    fn from(reason: Incomplete) -> Self {
        match reason {
            Incomplete::Length => Self::Length,
            Incomplete::Filtered => Self::ContentFilter,
            Incomplete::TurnLimit => Self::CallLimit,
            Incomplete::MalformedCall => Self::MalformedToolCall,
            Incomplete::Empty => Self::Empty,
        }
    }
}

impl FinishReason {
    /// Returns the text for people in place of an answer without text.
    const fn notice(self, korean: bool) -> &'static str {
        match (self, korean) {
            (Self::Length, true) => "답변을 시작하기 전에 출력 토큰 한도에 도달했습니다.",
            (Self::Length, false) => "The limit of output tokens was reached before any text.",
            (Self::ContentFilter, true) => "모델의 콘텐츠 필터가 답변을 막았습니다.",
            (Self::ContentFilter, false) => "A content filter of the model blocked the answer.",
            (Self::CallLimit, true) => "답변이 나오기 전에 모델 호출 한도에 도달했습니다.",
            (Self::CallLimit, false) => "The limit of model calls was reached before there was an answer.",
            (Self::MalformedToolCall, true) => {
                "모델이 읽을 수 없는 도구 호출을 보냈습니다. 다시 시도해 주세요."
            }
            (Self::MalformedToolCall, false) => "The model sent a tool call that cannot be read. Try again.",
            (Self::Empty, true) => "모델이 빈 답변을 보냈습니다. 다시 시도해 주세요.",
            (Self::Empty, false) => "The model sent an empty answer. Try again.",
        }
    }
}

/// Returns whether a message has Hangul, so that notices about its answer are Korean.
pub(crate) fn is_korean(message: &str) -> bool {
    message.chars().any(|c| matches!(c, '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7a3}'))
}

/// The text of an answer, and why it is incomplete.
#[derive(Debug)]
pub(crate) struct TalkAnswer {
    content: String,
    finish_reason: Option<FinishReason>,
    /// Whether the content is a notice in place of the model's text.
    is_notice: bool,
}

impl TalkAnswer {
    /// Returns the answer of a run that has ended. An answer without text becomes a notice.
    pub(crate) fn of(conversation: &ConversationStream, korean: bool) -> Self {
        let (content, reason) = (conversation.answer(), conversation.incomplete().map(FinishReason::from));
        match reason {
            Some(reason) if content.trim().is_empty() => Self {
                content: reason.notice(korean).to_owned(),
                finish_reason: Some(reason),
                is_notice: true,
            },
            finish_reason => Self { content: content.to_owned(), finish_reason, is_notice: false },
        }
    }

    /// Returns a text that is complete, such as that of a question or of a failed run.
    pub(crate) fn text(content: impl Into<String>) -> Self {
        Self { content: content.into(), finish_reason: None, is_notice: false }
    }

    /// Returns the text that must still be sent to a reader of deltas.
    pub(crate) fn unsent(&self) -> Option<String> {
        self.is_notice.then(|| self.content.clone())
    }
}

fn tool_calls(conversation: &ConversationStream) -> Option<Vec<ToolCall>> {
    let calls = conversation.calls();
    (!calls.is_empty()).then(|| calls.iter().map(ToolCall::from).collect())
}

/// A tool call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolCall {
    /// Id of the call.
    id: String,
    /// Name of the tool.
    name: String,
    /// Arguments of the call.
    arguments: Value,
    /// Result of the call; `null` if it failed.
    result: Value,
    /// Error of the call; absent if it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    error: Option<String>,
    /// Duration in milliseconds.
    duration_ms: u64,
}

impl From<&ToolCallRecord> for ToolCall {
    fn from(call: &ToolCallRecord) -> Self {
        Self {
            id: call.id.clone(),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
            result: call.result.clone().unwrap_or_default(),
            error: call.error.clone(),
            duration_ms: call.ms,
        }
    }
}

/// Event of the agent with tools.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct TalkEvent {
    /// Id of the conversation: in the first and the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    conversation_id: Option<SessionId>,
    /// Delta of the answer; with `done`, the whole text of the last message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    content: Option<String>,
    /// A tool call began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    tool_call: Option<ToolCallStart>,
    /// A tool call ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    tool_result: Option<ToolCall>,
    /// `true`: the text since the last tool call is void.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    reset: Option<bool>,
    /// Question of the agent; the next message of the conversation is the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    question: Option<TalkQuestion>,
    /// Error message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    error: Option<String>,
    /// Error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    code: Option<&'static str>,
    /// Path of the page about the code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    help: Option<String>,
    /// Whether the same request may succeed later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    retryable: Option<bool>,
    /// With `done`: why the answer is incomplete; absent if it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    finish_reason: Option<FinishReason>,
    /// `true` for the last event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    done: Option<bool>,
    /// With `done`: the tools that were called; `null` if there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<ToolCall>>, required = false)]
    tool_calls: Option<Option<Vec<ToolCall>>>,
}

/// A tool call that began.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ToolCallBegun)]
pub(crate) struct ToolCallStart {
    /// Id of the call.
    id: String,
    /// Name of the tool.
    name: String,
    /// Arguments of the call.
    arguments: Value,
}

/// Question of an agent with tools.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TalkQuestion {
    /// Id of the question.
    id: String,
    /// Text of the question.
    prompt: String,
    /// Answers to choose from; empty: any answer.
    options: Vec<Value>,
}

impl TalkEvent {
    fn to_sse(&self) -> Bytes {
        sse_data(self).into()
    }
}

/// Returns the first event.
pub(crate) fn conversation(session: &SessionId) -> Bytes {
    TalkEvent { conversation_id: Some(session.clone()), ..TalkEvent::default() }.to_sse()
}

/// Returns the event of a delta.
pub(crate) fn content(text: String) -> Bytes {
    TalkEvent { content: Some(text), ..TalkEvent::default() }.to_sse()
}

/// Returns the event of a tool call.
pub(crate) fn tool_call(call: &ToolCallRecord) -> Bytes {
    let start =
        ToolCallStart { id: call.id.clone(), name: call.name.clone(), arguments: call.arguments.clone() };
    TalkEvent { tool_call: Some(start), ..TalkEvent::default() }.to_sse()
}

/// Returns the event of a tool result.
pub(crate) fn tool_result(call: &ToolCallRecord) -> Bytes {
    TalkEvent { tool_result: Some(call.into()), ..TalkEvent::default() }.to_sse()
}

/// Returns the event that voids the text since the last tool call.
pub(crate) fn reset() -> Bytes {
    TalkEvent { reset: Some(true), ..TalkEvent::default() }.to_sse()
}

/// Returns the event of a question.
pub(crate) fn question(open: &OpenQuestion) -> Bytes {
    let question = TalkQuestion {
        id: open.id.to_string(),
        prompt: open.question.prompt.clone(),
        options: open.question.options.clone(),
    };
    TalkEvent { question: Some(question), ..TalkEvent::default() }.to_sse()
}

/// Returns the event of an error.
pub(crate) fn error(error: &ApiError) -> Bytes {
    let (message, code) = (Some(error.message.clone()), Some(error.code));
    let (help, retryable) = (Some(help(error.code)), Some(is_retryable(error.code)));
    let conversation_id = error.session.clone();
    TalkEvent { error: message, code, help, retryable, conversation_id, ..TalkEvent::default() }.to_sse()
}

/// Returns the last event.
pub(crate) fn done(conversation: &ConversationStream, answer: TalkAnswer) -> Bytes {
    TalkEvent {
        content: Some(answer.content),
        conversation_id: Some(conversation.session().id().clone()),
        tool_calls: Some(tool_calls(conversation)),
        finish_reason: answer.finish_reason,
        done: Some(true),
        ..TalkEvent::default()
    }
    .to_sse()
}

/// Maximum number of characters of the arguments of a call in the question for its approval.
const ARGUMENTS_SHOWN: usize = 1_000;

/// Returns a question as text, with its options as a numbered list.
pub(crate) fn render_question(open: &OpenQuestion) -> String {
    let mut text = open.question.prompt.clone();
    // What is to be approved.
    if let Some(arguments) = open.question.details.as_ref().and_then(|details| details.get("arguments")) {
        let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
        text.push('\n');
        text.extend(arguments.chars().take(ARGUMENTS_SHOWN));
    }
    for (name, field) in form_of(&open.question).into_iter().flatten() {
        let label = ["description", "title"].iter().find_map(|key| field[key].as_str()).unwrap_or(name);
        text.push_str(&format!("\n- `{name}`: {label}"));
    }
    for (at, option) in open.question.options.iter().enumerate() {
        let gap = if at == 0 { "\n" } else { "" };
        let option = option.as_str().map_or_else(|| option.to_string(), str::to_owned);
        text.push_str(&format!("{gap}\n{}. {option}", at + 1));
    }
    text
}

/// Returns the fields of an answer that is a form.
fn form_of(question: &Question) -> Option<&Map<String, Value>> {
    let form = question.details.as_ref().and_then(|details| details.get("form"));
    let schema = form.or(question.schema.as_ref())?;
    schema.get("properties")?.as_object()
}

/// Returns a form that is written as JSON, or as the bare value of its only field.
fn parse_form(fields: &Map<String, Value>, text: &str) -> Option<Value> {
    let json = serde_json::from_str::<Value>(text).ok();
    if let Some(form) = json.as_ref().filter(|value| value.is_object()) {
        return Some(form.clone());
    }
    let mut fields = fields.iter();
    let (Some((name, field)), None) = (fields.next(), fields.next()) else { return None };
    let value = match field["type"].as_str() {
        Some("string") | None => text.into(),
        Some(_) => json?,
    };
    Some(serde_json::json!({ name: value }))
}

/// Returns the answer in a text: an option by its text or its number, a form, otherwise the text.
pub(crate) fn parse_answer(open: &OpenQuestion, text: &str) -> Answers {
    let text = text.trim();
    let options = &open.question.options;
    let by_text = || {
        let is_same = |option: &&Value| match option {
            Value::String(option) => option.trim().to_lowercase() == text.to_lowercase(),
            other => serde_json::from_str::<Value>(text).is_ok_and(|value| value == **other),
        };
        options.iter().find(is_same)
    };
    let by_number = || {
        let number: usize = text.trim_end_matches(['.', '번']).parse().ok()?;
        options.get(number.checked_sub(1)?)
    };
    let form = || parse_form(form_of(&open.question)?, text);
    let value = by_text().or_else(by_number).cloned().or_else(form).unwrap_or_else(|| text.into());
    Answers::to(open.id.clone(), value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_is_answered_by_json_or_by_the_value_of_its_only_field() {
        let form = |properties: Value| json!({"type": "object", "properties": properties});
        let one = form(json!({"name": {"type": "string", "description": "Your name"}}));
        let number = form(json!({"age": {"type": "integer"}}));
        let two = form(json!({"a": {"type": "string"}, "b": {"type": "string"}}));
        for (form, text, expected) in [
            (&one, "Bob", Some(json!({"name": "Bob"}))),
            (&one, r#"{"name": "Bob"}"#, Some(json!({"name": "Bob"}))),
            (&number, "7", Some(json!({"age": 7}))),
            (&number, "seven", None),
            (&two, "x", None),
            (&two, r#"{"a": "x", "b": "y"}"#, Some(json!({"a": "x", "b": "y"}))),
        ] {
            let question = Question::choose("?", ["decline", "cancel"]).details(json!({"form": form}));
            let fields = form_of(&question).unwrap();
            assert_eq!(parse_form(fields, text), expected, "{form} {text}");
        }
    }
}
