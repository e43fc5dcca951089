//! An answer as a completion: whole, or as chunks while it comes.

use agent_core::model::{
    Delta, FinishReason, Message, ToolCall, Usage,
    tokens::{CountTokens, Estimate},
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::error::{ApiError, Contract};

/// Who owns the models, as the list says.
const OWNER: &str = "agent-server";

/// A model of the list.
pub(crate) fn model(id: &str, created: i64) -> Value {
    json!({"id": id, "object": "model", "created": created, "owned_by": OWNER})
}

/// The list.
pub(crate) fn models<'a>(ids: impl Iterator<Item = &'a str>, created: i64) -> Value {
    let data: Vec<Value> = ids.map(|id| model(id, created)).collect();
    json!({"object": "list", "data": data})
}

/// What an endpoint that does not count is estimated to have used.
pub(crate) fn estimate(asked: &[Message], said: &str) -> Usage {
    let input_tokens = asked.iter().map(|message| Estimate.message(message)).sum();
    Usage { input_tokens, output_tokens: Estimate.text(said), ..Usage::default() }
}

fn used(usage: Usage) -> Value {
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

fn finished(reason: Option<&FinishReason>) -> &'static str {
    match reason {
        Some(FinishReason::ToolCalls) => "tool_calls",
        Some(FinishReason::Length) => "length",
        Some(FinishReason::Filtered) => "content_filter",
        _ => "stop",
    }
}

/// The head of every object of one answer.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    id: String,
    created: i64,
    model: String,
    /// Chunks have a `usage`, `null` but for the last.
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

impl Writer {
    pub(crate) fn new(model: &str, created: i64, include_usage: bool) -> Self {
        let id = agent_core::ids::SessionId::random();
        Self { id: format!("chatcmpl-{id}"), created, model: model.to_owned(), include_usage }
    }

    /// The whole answer as one object.
    pub(crate) fn whole(&self, answer: &Answer) -> Value {
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
        let finish = finished(answer.finish.as_ref());
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish});
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [choice],
            "usage": used(answer.usage),
        })
    }

    /// The first chunk: who speaks.
    pub(crate) fn begin(&self) -> Bytes {
        self.delta(&json!({"role": "assistant", "content": "", "refusal": null}), None)
    }

    /// A piece of the text.
    pub(crate) fn text(&self, text: &str) -> Bytes {
        self.delta(&json!({"content": text}), None)
    }

    /// A piece of a call of one of the caller's tools; none when the delta is of something else.
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
        Some(self.delta(&json!({"tool_calls": [call]}), None))
    }

    /// The last chunk, the one with what was used if it was asked for, and the end.
    pub(crate) fn end(&self, finish: Option<&FinishReason>, usage: Usage) -> Bytes {
        let mut events = Vec::from(self.delta(&json!({}), Some(finished(finish))));
        if self.include_usage {
            let mut last = self.chunk(json!([]));
            last["usage"] = used(usage);
            events.extend_from_slice(format!("data: {last}\n\n").as_bytes());
        }
        events.extend_from_slice(b"data: [DONE]\n\n");
        events.into()
    }

    /// What went wrong; the libraries raise it as an error.
    pub(crate) fn failed(error: &ApiError) -> Bytes {
        format!("data: {}\n\n", error.body(Contract::OpenAi)).into()
    }

    fn delta(&self, delta: &Value, finish: Option<&str>) -> Bytes {
        let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
        format!("data: {}\n\n", self.chunk(json!([choice]))).into()
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        });
        chunk["choices"] = choices;
        if self.include_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}
