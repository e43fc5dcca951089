//! Content of spans, and of model requests in journals: messages, arguments and results. Off unless a program asks for it.

use std::sync::OnceLock;

use serde_json::{Value, json};
use tracing::Span;

use crate::model::{Message, ModelRequest, Role};

/// Maximum length of an attribute, in bytes. Collectors refuse very large spans.
const MAX_BYTES: usize = 64 * 1024;

type Redact = Box<dyn Fn(&str) -> String + Send + Sync>;

/// Set once per process, before the first run.
static REDACT: OnceLock<Redact> = OnceLock::new();
static REDACT_JOURNAL: OnceLock<Redact> = OnceLock::new();

/// Maximum length of a request in a journal, in bytes. Older messages of a longer one are left out.
const MAX_REQUEST: usize = 192 * 1024;

/// Adds message content to the spans of this process. Returns `false` if it was added already.
///
/// `redact` gets every attribute as JSON text or plain text, and returns what is recorded. Content may be personal or secret:
/// everyone with access to the traces can read it.
///
/// # Examples
///
/// ```
/// use agent_core::telemetry::capture_content;
///
/// assert!(capture_content(|text| text.replace("010-1234-5678", "[phone]")));
/// assert!(!capture_content(str::to_owned));
/// ```
pub fn capture_content(redact: impl Fn(&str) -> String + Send + Sync + 'static) -> bool {
    REDACT.set(Box::new(redact)).is_ok()
}

/// Adds the request of each model call to the journal of its session, as an event `model_request`. Returns `false` if it was
/// added already. Journals have only the replies otherwise.
///
/// `redact` gets the request as JSON text, and returns what is stored.
///
/// # Examples
///
/// ```
/// use agent_core::telemetry::journal_requests;
///
/// assert!(journal_requests(|text| text.replace("010-1234-5678", "[phone]")));
/// ```
pub fn journal_requests(redact: impl Fn(&str) -> String + Send + Sync + 'static) -> bool {
    REDACT_JOURNAL.set(Box::new(redact)).is_ok()
}

/// Returns a request as it is journalled, if requests are.
pub(crate) fn journalled_request(request: &ModelRequest) -> Option<Value> {
    let redact = REDACT_JOURNAL.get()?;
    let mut messages: Vec<Value> = request.messages.iter().map(|message| described(message)).collect();
    let mut bytes: usize = messages.iter().map(|message| message.to_string().len()).sum();
    let mut left_out = 0;
    while bytes > MAX_REQUEST && !messages.is_empty() {
        bytes -= messages.remove(0).to_string().len();
        left_out += 1;
    }
    let tools: Vec<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    let shown = json!({
        "model": request.model, "system": request.system.as_deref(), "messages": messages,
        "messages_left_out": left_out, "tools": tools, "temperature": request.temperature,
        "max_output_tokens": request.max_output_tokens,
    });
    let text = redact(&shown.to_string());
    Some(serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

pub(super) fn is_captured() -> bool {
    REDACT.get().is_some()
}

/// Records a text under several names.
pub(super) fn record<const N: usize>(span: &Span, names: [&'static str; N], text: impl FnOnce() -> String) {
    let Some(redact) = REDACT.get().filter(|_| !span.is_disabled()) else { return };
    let mut text = redact(&text());
    if text.len() > MAX_BYTES {
        text.truncate(text.floor_char_boundary(MAX_BYTES));
        text.push('…');
    }
    for name in names {
        span.record(name, &*text);
    }
}

/// Records the messages that a model reads.
pub(super) fn record_request(span: &Span, request: &ModelRequest) {
    if !is_captured() {
        return;
    }
    if let Some(system) = &request.system {
        let parts = json!([{"type": "text", "content": &**system}]);
        record(span, ["gen_ai.system_instructions"], || parts.to_string());
    }
    let messages: Vec<Value> = request.messages.iter().map(|message| described(message)).collect();
    record(span, ["gen_ai.input.messages", "input.value"], || Value::Array(messages).to_string());
}

/// Records the answer of a model.
pub(super) fn record_reply(span: &Span, message: &Message, reason: &str) {
    let mut described = described(message);
    described["finish_reason"] = reason.into();
    let text = message.text();
    record(span, ["gen_ai.output.messages"], || json!([described]).to_string());
    record(span, ["output.value"], || match message.tool_calls.is_empty() {
        true => text.into_owned(),
        false => json!([described]).to_string(),
    });
}

/// Returns a message in the form of the conventions.
fn described(message: &Message) -> Value {
    let mut parts = Vec::new();
    let text = message.text();
    if message.role == Role::Tool {
        parts.push(json!({"type": "tool_call_response", "id": message.tool_call_id, "response": text}));
    } else if !text.is_empty() {
        parts.push(json!({"type": "text", "content": text}));
    }
    for call in &message.tool_calls {
        let arguments = call.parse_arguments().unwrap_or_else(|_| call.arguments.clone().into());
        parts.push(json!({"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments}));
    }
    json!({"role": message.role, "parts": parts})
}
