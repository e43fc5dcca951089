//! Messages of the AI SDK's chat (`useChat`): its requests, and the chunks of its UI message stream.
//!
//! Chunks have only fields that all versions of the protocol know.

use agent_core::{
    ids::{QuestionId, SessionId},
    interrupt::{Answers, OpenQuestion},
    model::{Content, Message, Part, ToolCall, Usage},
    todo::Todo,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{chat::sse_data, json as parse};
use crate::{
    conversation::ToolCallRecord,
    error::{ApiError, Rejection},
};

/// Maximum number of messages. Their size is limited by that of a body.
const MESSAGES: usize = 4_096;

/// Request of the AI SDK's chat transport. Further fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct UiRequest {
    /// Id of the chat, which is the session.
    #[serde(default)]
    #[schema(required = true, pattern = "^[A-Za-z0-9._:-]{1,128}$")]
    id: String,
    /// The chat, oldest message first. The session has the messages before the last one, if it exists.
    #[serde(default)]
    #[schema(required = true, value_type = Vec<Object>, min_items = 1, max_items = 4096)]
    messages: Vec<UiMessage>,
    /// `submit-message`, or `regenerate-message`: the session continues from these messages.
    #[schema(required = false)]
    trigger: Option<String>,
    /// Name of the agent. Default: the assistant, or the first agent.
    #[schema(required = false)]
    pub(crate) agent: Option<String>,
}

/// A message of the chat.
#[derive(Debug, Deserialize)]
struct UiMessage {
    role: String,
    #[serde(default)]
    parts: Vec<Map<String, Value>>,
}

/// Kind of the request.
#[derive(Debug)]
pub(crate) enum UiTurn {
    /// The user says something.
    Says(Content),
    /// The user decided on tool calls: ids of questions, with decisions.
    Decides(Vec<(String, Value)>),
}

impl UiRequest {
    /// Parses a request.
    ///
    /// # Errors
    ///
    /// 400 that names the invalid field.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let request: Self = parse::message(body)?;
        if request.messages.len() > MESSAGES {
            return Err(invalid("messages", format!("`messages` may have {MESSAGES} messages")));
        }
        Ok(request)
    }

    /// Returns the session.
    ///
    /// # Errors
    ///
    /// 400 for an invalid id.
    pub(crate) fn session(&self) -> Result<SessionId, ApiError> {
        parse::session_id(&self.id)
    }

    /// Returns whether the messages replace those of the session.
    pub(crate) fn replaces(&self) -> bool {
        self.trigger.as_deref() == Some("regenerate-message")
    }

    /// Returns what the user said or decided.
    ///
    /// # Errors
    ///
    /// 400 without a message of the user.
    pub(crate) fn turn(&self) -> Result<UiTurn, ApiError> {
        let decisions = self.messages.last().filter(|message| message.role == "assistant").map(decisions);
        if let Some(decisions) = decisions.filter(|decisions| !decisions.is_empty()) {
            return Ok(UiTurn::Decides(decisions));
        }
        let last = self.messages.iter().rfind(|message| message.role == "user");
        let content = last.map(content_of).filter(|content| !content.is_empty());
        content
            .map(UiTurn::Says)
            .ok_or_else(|| invalid("messages", "there is no message of the user with text"))
    }

    /// Returns the whole chat up to the last message of the user, for a session that does not have it.
    pub(crate) fn conversation(&self) -> Vec<Message> {
        let end = self.messages.iter().rposition(|message| message.role == "user").map_or(0, |at| at + 1);
        self.messages[..end].iter().flat_map(UiMessage::read).collect()
    }
}

impl UiMessage {
    fn read(&self) -> Vec<Message> {
        match self.role.as_str() {
            "user" => vec![Message::user(content_of(self))],
            "system" => vec![Message::system(content_of(self))],
            _ => self.read_answer(),
        }
    }

    /// Reads an answer with tool calls as messages of the model and of the tools, in their order.
    fn read_answer(&self) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        let (mut text, mut calls, mut results) = (String::new(), Vec::new(), Vec::new());
        let mut put = |text: &mut String, calls: &mut Vec<ToolCall>, results: &mut Vec<Message>| {
            if !text.is_empty() || !calls.is_empty() {
                let reply = Message::assistant(std::mem::take(text)).with_tool_calls(std::mem::take(calls));
                messages.push(reply);
                messages.append(results);
            }
        };
        for part in &self.parts {
            match field(part, "type") {
                Some("step-start") => put(&mut text, &mut calls, &mut results),
                Some("text") => {
                    if !calls.is_empty() {
                        put(&mut text, &mut calls, &mut results);
                    }
                    text.push_str(field(part, "text").unwrap_or_default());
                }
                Some(kind) if kind == "dynamic-tool" || kind.starts_with("tool-") => {
                    let name = field(part, "toolName").unwrap_or_else(|| kind.trim_start_matches("tool-"));
                    let id = field(part, "toolCallId").unwrap_or_default();
                    let result = match (part.get("output"), field(part, "errorText")) {
                        (Some(output), _) => {
                            output.as_str().map_or_else(|| output.to_string(), str::to_owned)
                        }
                        (None, Some(error)) => format!("Error: {error}"),
                        // A call without a result would make the history invalid.
                        (None, None) => continue,
                    };
                    let mut call = ToolCall::new(name, part.get("input").unwrap_or(&Value::Null));
                    id.clone_into(&mut call.id);
                    calls.push(call);
                    results.push(Message::tool_result(id, result).with_name(name));
                }
                _ => {}
            }
        }
        put(&mut text, &mut calls, &mut results);
        messages
    }
}

fn field<'a>(part: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    part.get(name).and_then(Value::as_str)
}

/// Returns the texts and images of a message.
fn content_of(message: &UiMessage) -> Content {
    let part = |part: &Map<String, Value>| match field(part, "type") {
        Some("text") => field(part, "text").map(Part::text),
        Some("file") if field(part, "mediaType").is_some_and(|kind| kind.starts_with("image/")) => {
            field(part, "url").map(|url| Part::Image { url: url.to_owned(), detail: None })
        }
        _ => None,
    };
    let parts: Vec<Part> = message.parts.iter().filter_map(part).collect();
    if parts.iter().all(|part| matches!(part, Part::Text { .. })) {
        return Message::user(parts).text().trim().into();
    }
    parts.into()
}

/// Returns the decisions of the user on tool calls.
fn decisions(message: &UiMessage) -> Vec<(String, Value)> {
    let answered = message.parts.iter().filter(|part| field(part, "state") == Some("approval-responded"));
    let decision = |part: &Map<String, Value>| {
        let approval = part.get("approval")?;
        let id = approval.get("id")?.as_str()?.to_owned();
        let reason = approval.get("reason").and_then(Value::as_str).unwrap_or_default();
        let decision = match approval.get("approved")?.as_bool()? {
            true => json!({"decision": "approve"}),
            false => json!({"decision": "reject", "reason": reason}),
        };
        Some((id, decision))
    };
    answered.filter_map(decision).collect()
}

/// Returns the answers to those questions that are still open.
pub(crate) fn answers(open: &[OpenQuestion], decisions: Vec<(String, Value)>) -> Option<Answers> {
    let is_open = |(id, _): &(String, Value)| open.iter().any(|open| *open.id.0 == **id);
    let answers: Vec<(String, Value)> = decisions.into_iter().filter(is_open).collect();
    let named = answers.into_iter().map(|(id, value)| (QuestionId::from(id.as_str()), value));
    let named: Vec<(QuestionId, Value)> = named.collect();
    (!named.is_empty()).then(|| Answers::each(named))
}

fn invalid(param: &'static str, message: impl Into<String>) -> ApiError {
    ApiError::new(Rejection::InvalidRequest, message).at(param)
}

/// Returns the event of a chunk.
fn chunk(value: Value) -> Bytes {
    sse_data(&value).into()
}

/// Begins a message. A continued message keeps its id.
pub(crate) fn start(message: Option<&str>) -> Bytes {
    match message {
        Some(id) => chunk(json!({"type": "start", "messageId": id})),
        None => chunk(json!({"type": "start"})),
    }
}

/// Begins or ends a step: a turn of the model and its tool calls.
pub(crate) fn step(kind: &'static str) -> Bytes {
    chunk(json!({"type": kind}))
}

/// Begins or ends a part: `text-start`, `reasoning-end`, …
pub(crate) fn part(kind: &str, edge: &str, id: &str) -> Bytes {
    chunk(json!({"type": format!("{kind}-{edge}"), "id": id}))
}

/// Returns a piece of a part.
pub(crate) fn delta(kind: &str, id: &str, text: &str) -> Bytes {
    chunk(json!({"type": format!("{kind}-delta"), "id": id, "delta": text}))
}

/// Returns the chunks of a tool call. It is executed here, and its tool is not known to the page.
pub(crate) fn tool_call(call: &ToolCallRecord) -> [Bytes; 2] {
    let begun = json!({
        "type": "tool-input-start", "toolCallId": call.id, "toolName": call.name, "providerExecuted": true,
        "dynamic": true,
    });
    let whole = json!({
        "type": "tool-input-available", "toolCallId": call.id, "toolName": call.name, "input": call.arguments,
        "providerExecuted": true, "dynamic": true,
    });
    [chunk(begun), chunk(whole)]
}

/// Returns the chunk of a tool result.
pub(crate) fn tool_result(call: &ToolCallRecord) -> Bytes {
    let id = &call.id;
    chunk(match &call.error {
        Some(error) => json!({
            "type": "tool-output-error", "toolCallId": id, "errorText": error, "providerExecuted": true, "dynamic": true,
        }),
        None => json!({
            "type": "tool-output-available", "toolCallId": id, "output": call.result, "providerExecuted": true,
            "dynamic": true,
        }),
    })
}

/// Returns the chunk of a question about a tool call; `None` for another question.
pub(crate) fn approval(open: &OpenQuestion, calls: &[ToolCallRecord]) -> Option<Bytes> {
    let details = open.question.details.as_ref()?;
    let call = details.get("call_id")?.as_str()?;
    details.get("tool")?;
    let known = calls.iter().any(|known| known.id == call);
    known.then(|| chunk(json!({"type": "tool-approval-request", "approvalId": open.id, "toolCallId": call})))
}

/// Returns the chunk of a question, beside its text.
pub(crate) fn question(open: &OpenQuestion) -> Bytes {
    let data = json!({"id": open.id, "prompt": open.question.prompt, "options": open.question.options});
    chunk(json!({"type": "data-question", "id": open.id, "data": data}))
}

/// Returns the chunk of a todo. Later ones with its id replace it.
pub(crate) fn todo(todo: &Todo) -> Bytes {
    let data = json!({
        "title": todo.title, "parent": todo.parent, "status": todo.status, "progress": todo.progress,
        "message": todo.message,
    });
    chunk(json!({"type": "data-todo", "id": todo.id, "data": data}))
}

/// Returns the chunk of a failure.
pub(crate) fn error(error: &ApiError) -> Bytes {
    chunk(json!({"type": "error", "errorText": error.message}))
}

/// Returns the chunk of a stopped run.
pub(crate) fn abort() -> Bytes {
    chunk(json!({"type": "abort"}))
}

/// Returns the last chunk of a message.
pub(crate) fn finish(reason: &str, usage: Usage) -> Bytes {
    let metadata = json!({
        "finishReason": reason, "inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens,
    });
    chunk(json!({"type": "finish", "messageMetadata": metadata}))
}

/// Returns the end of the stream.
pub(crate) fn done() -> Bytes {
    Bytes::from_static(b"data: [DONE]\n\n")
}

#[cfg(test)]
mod tests {
    use agent_core::model::Role;

    use super::*;

    #[test]
    fn a_chat_is_read_with_its_tool_calls_and_images() {
        let body = json!({
            "id": "c1", "trigger": "submit-message",
            "messages": [
                {"id": "1", "role": "user", "parts": [{"type": "text", "text": "6*7?"}]},
                {"id": "2", "role": "assistant", "parts": [
                    {"type": "step-start"}, {"type": "reasoning", "text": "음"},
                    {"type": "dynamic-tool", "toolName": "calculator", "toolCallId": "t1", "state": "output-available", "input": {"b": 1, "a": 2}, "output": 42},
                    {"type": "tool-lost", "toolCallId": "t2", "state": "input-available", "input": {}},
                    {"type": "step-start"}, {"type": "text", "text": "42"},
                ]},
                {"id": "3", "role": "user", "parts": [
                    {"type": "text", "text": " 이건? "}, {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="},
                ]},
            ],
        });
        let request = UiRequest::parse(body.to_string().as_bytes()).unwrap();
        let read: Vec<(Role, String)> = request
            .conversation()
            .iter()
            .map(|message| (message.role, message.text().into_owned()))
            .collect();
        let expected = [
            (Role::User, "6*7?"),
            (Role::Assistant, ""),
            (Role::Tool, "42"),
            (Role::Assistant, "42"),
            (Role::User, " 이건? "),
        ];
        assert_eq!(read, expected.map(|(role, text)| (role, text.to_owned())));
        assert_eq!(request.conversation()[1].tool_calls[0].arguments, r#"{"b":1,"a":2}"#);
        assert!(matches!(request.turn().unwrap(), UiTurn::Says(Content::Parts(parts)) if parts.len() == 2));
        let decided = json!({"id": "c1", "messages": [{"role": "assistant", "parts": [
            {"type": "dynamic-tool", "toolCallId": "t1", "state": "approval-responded", "approval": {"id": "q1", "approved": false, "reason": "아니요"}},
        ]}]});
        let request = UiRequest::parse(decided.to_string().as_bytes()).unwrap();
        let UiTurn::Decides(decisions) = request.turn().unwrap() else { panic!("{request:?}") };
        assert_eq!(decisions, [("q1".to_owned(), json!({"decision": "reject", "reason": "아니요"}))]);
        let empty = UiRequest::parse(br#"{"id": "c1", "messages": []}"#).unwrap();
        assert_eq!(empty.turn().unwrap_err().param.as_deref(), Some("messages"));
    }
}
