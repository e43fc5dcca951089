//! Responses in OpenAI's format: whole completions, chunks, models.

use agent_core::model::{
    Delta, FinishReason, Message, ToolCall, Usage,
    tokens::{CountTokens, Estimate},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    api::chat::sse_data,
    error::{ApiError, Contract, body::OpenAiErrorDetails},
};

/// Owner of the models.
const OWNER: &str = "agent-server";

/// List of models.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    #[schema(value_type = String, pattern = "^list$")]
    object: &'static str,
    /// The models.
    data: Vec<ModelInfo>,
}

impl ModelList {
    pub(crate) fn new<'a>(ids: impl Iterator<Item = &'a str>, created: i64) -> Self {
        Self { object: "list", data: ids.map(|id| ModelInfo::new(id, created)).collect() }
    }
}

/// A model: an agent of this server, or its plain model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelInfo {
    /// Name of the model.
    id: String,
    /// Always `model`.
    #[schema(value_type = String, pattern = "^model$")]
    object: &'static str,
    /// Time of creation, in seconds since 1970.
    created: i64,
    /// Owner of the model.
    #[schema(value_type = String)]
    owned_by: &'static str,
}

impl ModelInfo {
    pub(crate) fn new(id: &str, created: i64) -> Self {
        Self { id: id.to_owned(), object: "model", created, owned_by: OWNER }
    }
}

/// A completion in OpenAI's format.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Completion {
    /// Id of the completion.
    id: String,
    /// Always `chat.completion`.
    #[schema(value_type = String, pattern = "^chat.completion$")]
    object: &'static str,
    /// Time of creation, in seconds since 1970.
    created: i64,
    /// The requested model.
    model: String,
    /// The answer; always one.
    #[schema(value_type = Vec<Object>)]
    choices: [Value; 1],
    /// Token usage.
    #[schema(value_type = Object)]
    usage: Value,
}

/// A chunk of a completion in OpenAI's format, or the `error` that ends the stream.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct CompletionChunk<'a> {
    /// Id of the completion, the same for all chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    id: Option<&'a str>,
    /// Always `chat.completion.chunk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^chat.completion.chunk$", required = false, nullable = false)]
    object: Option<&'static str>,
    /// Time of creation, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    created: Option<i64>,
    /// The requested model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    model: Option<&'a str>,
    /// New parts of the answer; empty in the chunk with the usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>, required = false, nullable = false)]
    choices: Option<Value>,
    /// Token usage: in the last chunk if `stream_options.include_usage` is set; `null` before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, required = false)]
    usage: Option<Value>,
    /// Error that ended the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<OpenAiErrorDetails>, required = false, nullable = false)]
    error: Option<Value>,
}

/// Returns an estimate of the usage, for endpoints that do not report it.
pub(crate) fn estimate(messages: &[Message], answer: &str) -> Usage {
    let input_tokens = messages.iter().map(|message| Estimate.message(message)).sum();
    Usage { input_tokens, output_tokens: Estimate.text(answer), ..Usage::default() }
}

fn usage_json(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total(),
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

fn finish_reason(reason: Option<&FinishReason>) -> &'static str {
    match reason {
        Some(FinishReason::ToolCalls) => "tool_calls",
        Some(FinishReason::Length) => "length",
        Some(FinishReason::Filtered) => "content_filter",
        _ => "stop",
    }
}

/// Writes one answer, whole or as chunks.
#[derive(Debug, Clone)]
pub(crate) struct CompletionWriter {
    id: String,
    created: i64,
    model: String,
    /// Whether chunks have a `usage`, which is `null` except in the last one.
    include_usage: bool,
}

/// A whole answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) usage: Usage,
}

impl CompletionWriter {
    pub(crate) fn new(model: &str, created: i64, include_usage: bool) -> Self {
        let id = agent_core::ids::SessionId::random();
        Self { id: format!("chatcmpl-{id}"), created, model: model.to_owned(), include_usage }
    }

    /// Returns the whole answer.
    pub(crate) fn whole(self, answer: Answer) -> Completion {
        let text = match answer.text.is_empty() && !answer.calls.is_empty() {
            true => Value::Null,
            false => json!(answer.text),
        };
        let mut message = json!({"role": "assistant", "content": text, "refusal": null, "annotations": []});
        if !answer.calls.is_empty() {
            let calls = answer.calls.iter().map(|call| {
                json!({
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                })
            });
            message["tool_calls"] = calls.collect();
        }
        let reason = finish_reason(answer.finish.as_ref());
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": reason});
        Completion {
            id: self.id,
            object: "chat.completion",
            created: self.created,
            model: self.model,
            choices: [choice],
            usage: usage_json(answer.usage),
        }
    }

    /// Returns the first chunk, with the role.
    pub(crate) fn begin(&self) -> Bytes {
        self.delta(&json!({"role": "assistant", "content": "", "refusal": null}), None).into()
    }

    /// Returns a chunk of the text.
    pub(crate) fn text(&self, text: &str) -> Bytes {
        self.delta(&json!({"content": text}), None).into()
    }

    /// Returns a chunk of a call of one of the caller's tools; `None` if the delta is of another kind.
    pub(crate) fn call(&self, delta: &Delta) -> Option<Bytes> {
        let call = match delta {
            Delta::ToolCallStarted { index, id, name } => json!({
                "index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""},
            }),
            Delta::ToolCallArguments { index, text } => {
                json!({"index": index, "function": {"arguments": text}})
            }
            _ => return None,
        };
        Some(self.delta(&json!({"tool_calls": [call]}), None).into())
    }

    /// Returns the last chunk, the one with the usage if it was requested, and the end of the stream.
    pub(crate) fn end(&self, finish: Option<&FinishReason>, usage: Usage) -> Bytes {
        let mut events = self.delta(&json!({}), Some(finish_reason(finish)));
        if self.include_usage {
            events.extend(sse_data(&self.chunk(json!([]), Some(usage_json(usage)))));
        }
        events.extend_from_slice(b"data: [DONE]\n\n");
        events.into()
    }

    /// Returns the event of an error. Client libraries raise it.
    pub(crate) fn error(error: &ApiError) -> Bytes {
        let error = error.body(Contract::OpenAi)["error"].take();
        sse_data(&CompletionChunk { error: Some(error), ..CompletionChunk::default() }).into()
    }

    fn delta(&self, delta: &Value, finish: Option<&str>) -> Vec<u8> {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        sse_data(&self.chunk(json!([choice]), self.include_usage.then_some(Value::Null)))
    }

    fn chunk(&self, choices: Value, usage: Option<Value>) -> CompletionChunk<'_> {
        CompletionChunk {
            id: Some(&self.id),
            object: Some("chat.completion.chunk"),
            created: Some(self.created),
            model: Some(&self.model),
            choices: Some(choices),
            usage,
            error: None,
        }
    }
}
