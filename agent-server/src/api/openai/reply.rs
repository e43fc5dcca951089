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
    /// The answers, as many as `n`. The `message` of an agent has its steps in `agent_events`.
    #[schema(value_type = Vec<Object>)]
    choices: Vec<Value>,
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
    /// New parts of the answer; empty in the chunk with the usage. A `delta` of an agent may have a step in `agent_events`.
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

fn choice((index, answer): (usize, Answer)) -> Value {
    let text = match answer.text.is_empty() && !answer.calls.is_empty() {
        true => Value::Null,
        false => json!(answer.text),
    };
    let mut message = json!({"role": "assistant", "content": text, "refusal": null, "annotations": []});
    if !answer.reasoning.is_empty() {
        message["reasoning_content"] = answer.reasoning.into();
    }
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
    if !answer.events.is_empty() {
        message["agent_events"] = answer.events.into();
    }
    let logprobs = logprobs_json(answer.logprobs);
    let reason = finish_reason(answer.finish.as_ref());
    json!({"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason})
}

fn logprobs_json(content: Vec<Value>) -> Value {
    if content.is_empty() { Value::Null } else { json!({"content": content, "refusal": null}) }
}

/// Writes answers, whole or as chunks.
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
    pub(crate) reasoning: String,
    /// Steps, tool calls and questions of an agent.
    pub(crate) events: Vec<Value>,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) logprobs: Vec<Value>,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) usage: Usage,
}

impl CompletionWriter {
    pub(crate) fn new(model: &str, created: i64, include_usage: bool) -> Self {
        let id = agent_core::ids::SessionId::random();
        Self { id: format!("chatcmpl-{id}"), created, model: model.to_owned(), include_usage }
    }

    /// Returns the whole answers.
    pub(crate) fn whole(self, answers: Vec<Answer>) -> Completion {
        // The prompt is counted once.
        let usage = answers.iter().map(|answer| answer.usage).reduce(|first, other| Usage {
            output_tokens: first.output_tokens + other.output_tokens,
            reasoning_tokens: first.reasoning_tokens + other.reasoning_tokens,
            ..first
        });
        Completion {
            id: self.id,
            object: "chat.completion",
            created: self.created,
            model: self.model,
            choices: answers.into_iter().enumerate().map(choice).collect(),
            usage: usage_json(usage.unwrap_or_default()),
        }
    }

    /// Returns the first chunk of an answer, with the role.
    pub(crate) fn begin(&self, index: usize) -> Bytes {
        self.delta(index, &json!({"role": "assistant", "content": "", "refusal": null}), None).into()
    }

    /// Returns a chunk of the text.
    pub(crate) fn text(&self, index: usize, text: &str) -> Bytes {
        self.delta(index, &json!({"content": text}), None).into()
    }

    /// Returns a chunk of the reasoning, with the step of an agent that it describes.
    pub(crate) fn reasoning(&self, index: usize, text: &str, event: Option<&Value>) -> Bytes {
        let mut delta = json!({"reasoning_content": text});
        if let Some(event) = event {
            delta["agent_events"] = json!([event]);
        }
        self.delta(index, &delta, None).into()
    }

    /// Returns a chunk of log probabilities.
    pub(crate) fn logprobs(&self, index: usize, content: Vec<Value>) -> Bytes {
        let logprobs = logprobs_json(content);
        let choice = json!({"index": index, "delta": {}, "logprobs": logprobs, "finish_reason": null});
        sse_data(&self.chunk(json!([choice]), self.include_usage.then_some(Value::Null))).into()
    }

    /// Returns a chunk of a call of one of the caller's tools; `None` if the delta is of another kind.
    pub(crate) fn call(&self, index: usize, delta: &Delta) -> Option<Bytes> {
        let call = match delta {
            Delta::ToolCallStarted { index, id, name } => json!({
                "index": index, "id": id, "type": "function", "function": {"name": name, "arguments": ""},
            }),
            Delta::ToolCallArguments { index, text } => {
                json!({"index": index, "function": {"arguments": text}})
            }
            _ => return None,
        };
        Some(self.delta(index, &json!({"tool_calls": [call]}), None).into())
    }

    /// Returns the last chunk of an answer.
    pub(crate) fn finish(&self, index: usize, finish: Option<&FinishReason>) -> Bytes {
        self.delta(index, &json!({}), Some(finish_reason(finish))).into()
    }

    /// Returns the chunk with the usage, if it was requested, and the end of the stream.
    pub(crate) fn end(&self, usage: Usage) -> Bytes {
        let mut events = Vec::new();
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

    fn delta(&self, index: usize, delta: &Value, finish: Option<&str>) -> Vec<u8> {
        let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish});
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
