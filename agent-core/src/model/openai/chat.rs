//! Chat completions: request format and parsing of the answer.

use std::collections::VecDeque;

use serde::de::IgnoredAny;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::stream::{bounded, count, text};
use super::{Dialect, Settings};
use crate::model::http::error_response;
use crate::model::message::new_id;
use crate::model::tool_images::ToolImages;
use crate::model::{
    Content, Delta, FinishReason, Message, ModelError, ModelErrorKind, ModelRequest, Part, ResponseFormat,
    Role, ToolChoice, Usage,
};

/// Request body, serialized directly from the request without copying the conversation.
pub(super) struct Body<'a> {
    pub(super) request: &'a ModelRequest,
    pub(super) settings: &'a Settings,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { request, settings } = self;
        let mut map = serializer.serialize_map(None)?;
        // `extra` overrides: fields that it names are not written twice.
        macro_rules! field {
            ($name:expr, $value:expr) => {
                if let Some(value) = $value
                    && !request.extra.contains_key($name)
                {
                    map.serialize_entry($name, &value)?;
                }
            };
        }
        field!("model", Some(settings.model(request)));
        field!("messages", Some(Conversation(self)));
        field!("stream", Some(true));
        field!("stream_options", settings.usage.then(|| json!({ "include_usage": true })));
        if !request.tools.is_empty() {
            field!("tools", Some(Tools(request)));
            field!("tool_choice", tool_choice(&request.tool_choice));
            field!("parallel_tool_calls", request.parallel_tool_calls);
        }
        field!("response_format", request.response_format.as_ref().map(response_format));
        field!("temperature", settings.temperature(request));
        field!("top_p", request.top_p.or(settings.top_p));
        let limit = match settings.dialect {
            Dialect::OpenAi => "max_completion_tokens",
            Dialect::Compatible => "max_tokens",
        };
        field!(limit, request.max_output_tokens.or(settings.max_output_tokens));
        field!("stop", (!request.stop.is_empty()).then_some(&request.stop));
        field!("reasoning_effort", request.reasoning_effort.as_ref());
        for (name, value) in &request.extra {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!("none")),
        ToolChoice::Required => Some(json!("required")),
        ToolChoice::Tool(name) => Some(json!({ "type": "function", "function": { "name": name } })),
    }
}

fn response_format(format: &ResponseFormat) -> Value {
    match format {
        ResponseFormat::JsonObject => json!({ "type": "json_object" }),
        ResponseFormat::JsonSchema { name, schema, strict } => {
            json!({ "type": "json_schema", "json_schema": { "name": name, "schema": schema, "strict": strict } })
        }
    }
}

struct Tools<'a>(&'a ModelRequest);

impl Serialize for Tools<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Tool<'a> {
            r#type: &'static str,
            function: Function<'a>,
        }
        #[derive(Serialize)]
        struct Function<'a> {
            name: &'a str,
            description: &'a str,
            parameters: &'a Value,
            #[serde(skip_serializing_if = "Option::is_none")]
            strict: Option<bool>,
        }
        serializer.collect_seq(self.0.tools.iter().map(|tool| Tool {
            r#type: "function",
            function: Function {
                name: &tool.name,
                description: &tool.description,
                parameters: &tool.parameters,
                strict: tool.strict.then_some(true),
            },
        }))
    }
}

struct Conversation<'a, 'b>(&'a Body<'b>);

impl Serialize for Conversation<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Body { request, settings } = self.0;
        let mut seq = serializer.serialize_seq(None)?;
        if let Some(prompt) = &request.system {
            seq.serialize_element(&json!({ "role": "system", "content": prompt }))?;
        }
        // Reasoning is required within its turn, and unnecessary after it.
        let turn = request.messages.iter().rposition(|message| message.role == Role::User).unwrap_or(0);
        let mut images = ToolImages::default();
        for (at, message) in request.messages.iter().enumerate() {
            if let Some(images) = images.before(message) {
                seq.serialize_element(&WireMessage { message: &images, thoughts: false })?;
            }
            let thoughts = settings.dialect == Dialect::Compatible && at > turn;
            seq.serialize_element(&WireMessage { message, thoughts })?;
        }
        if let Some(images) = images.end() {
            seq.serialize_element(&WireMessage { message: &images, thoughts: false })?;
        }
        seq.end()
    }
}

struct WireMessage<'a> {
    message: &'a Message,
    thoughts: bool,
}

impl Serialize for WireMessage<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let message = self.message;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("role", &message.role)?;
        match &message.content {
            Content::Text(text) if text.is_empty() && !message.tool_calls.is_empty() => {
                map.serialize_entry("content", &())?;
            }
            Content::Text(text) => map.serialize_entry("content", text)?,
            // Only user messages may contain images here.
            Content::Parts(parts) if message.role == Role::User => {
                map.serialize_entry("content", &Parts(parts))?
            }
            Content::Parts(_) => map.serialize_entry("content", &message.text())?,
        }
        if let Some(call) = &message.tool_call_id {
            map.serialize_entry("tool_call_id", call)?;
        }
        if let Some(name) = message.name.as_ref().filter(|_| message.role != Role::Tool) {
            map.serialize_entry("name", name)?;
        }
        if self.thoughts && message.reasoning.iter().any(|thought| !thought.text.is_empty()) {
            let text: String = message.reasoning.iter().map(|thought| thought.text.as_str()).collect();
            map.serialize_entry("reasoning_content", &text)?;
        }
        if !message.tool_calls.is_empty() {
            let calls: Vec<Value> = message
                .tool_calls
                .iter()
                .map(|call| {
                    let mut value = json!({
                        "id": call.id,
                        "type": "function",
                        "function": { "name": call.name, "arguments": arguments(&call.arguments) },
                    });
                    if let (Some(provider), Some(value)) = (&call.provider, value.as_object_mut()) {
                        value.insert("extra_content".to_owned(), provider.clone());
                    }
                    value
                })
                .collect();
            map.serialize_entry("tool_calls", &calls)?;
        }
        map.end()
    }
}

/// Returns arguments that every server can parse. Several servers parse them for their prompt template, and fail
/// the whole request if the model once wrote invalid JSON.
pub(super) fn arguments(text: &str) -> std::borrow::Cow<'_, str> {
    if text.trim().is_empty() {
        "{}".into()
    } else if serde_json::from_str::<IgnoredAny>(text).is_ok() {
        text.into()
    } else {
        json!({ "malformed_arguments": text }).to_string().into()
    }
}

struct Parts<'a>(&'a [Part]);

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|part| match part {
            Part::Text { text } => json!({ "type": "text", "text": text }),
            Part::Image { url, detail: None } => json!({ "type": "image_url", "image_url": { "url": url } }),
            Part::Image { url, detail } => {
                json!({ "type": "image_url", "image_url": { "url": url, "detail": detail } })
            }
        }))
    }
}

/// A tool call that is being received.
struct PartialCall {
    /// Index sent by the endpoint, if any.
    index: Option<u64>,
    id: String,
    /// Arguments that arrived before the name.
    early: String,
    /// Number under which the call was yielded.
    number: Option<u32>,
}

/// Decoder of the events of an answer. Lenient: missing, null and unexpected values are ignored.
#[derive(Default)]
pub(super) struct Decoder {
    model_told: bool,
    output: bool,
    slots: Vec<PartialCall>,
    calls: u32,
    finish: Option<FinishReason>,
}

impl super::stream::Decoder for Decoder {
    fn event(&mut self, event: &Value, out: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        if event.get("error").is_some_and(|error| !error.is_null()) || text(event, "object") == Some("error")
        {
            return Err(error_response::inside(event));
        }
        if let Some(name) = text(event, "model").filter(|_| !self.model_told) {
            self.model_told = true;
            out.push_back(Delta::Model { name: name.to_owned() });
        }
        if let Some(choice) = event.get("choices").and_then(|choices| choices.get(0)) {
            // A server that cannot stream sends the whole `message` at once.
            if let Some(delta) = ["delta", "message"].iter().find_map(|key| choice.get(key)) {
                self.delta(delta, out)?;
            }
            if let Some(Value::Array(content)) = choice.pointer("/logprobs/content")
                && !content.is_empty()
            {
                out.push_back(Delta::Logprobs { content: content.clone() });
            }
            if let Some(reason) = text(choice, "finish_reason") {
                self.finish = Some(finish_reason(reason));
            }
        }
        if let Some(usage) = event.get("usage").and_then(usage) {
            out.push_back(Delta::Usage { usage });
        }
        self.output |= out.iter().any(Delta::is_output);
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    fn end(&mut self, done: bool, out: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        let reason = match self.finish.take() {
            // Many servers send `stop` in any case.
            Some(FinishReason::Stop) if self.calls > 0 => FinishReason::ToolCalls,
            Some(reason) => reason,
            None if done && self.calls > 0 => FinishReason::ToolCalls,
            None if done && self.output => FinishReason::Stop,
            None => return Err(ModelError::new(ModelErrorKind::Cut)),
        };
        if self.slots.iter().any(|slot| slot.number.is_none()) {
            return Err(ModelError::new(ModelErrorKind::Malformed).with_detail("a tool call without a name"));
        }
        out.push_back(Delta::Finished { reason });
        Ok(())
    }
}

impl Decoder {
    fn delta(&mut self, delta: &Value, out: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        if let Some(text) = text(delta, "reasoning_content").or_else(|| text(delta, "reasoning")) {
            out.push_back(Delta::Reasoning { text: text.to_owned() });
        }
        match delta.get("content") {
            Some(Value::String(text)) if !text.is_empty() => out.push_back(Delta::text(text)),
            Some(Value::Array(parts)) => {
                for text in parts.iter().filter_map(|part| text(part, "text")) {
                    out.push_back(Delta::text(text));
                }
            }
            _ => {}
        }
        if let Some(text) = text(delta, "refusal") {
            out.push_back(Delta::text(text));
        }
        if let Some(calls) = delta.get("tool_calls").and_then(Value::as_array) {
            for call in calls {
                self.call(call, out)?;
            }
        }
        Ok(())
    }

    fn call(&mut self, call: &Value, out: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        let function = call.get("function").unwrap_or(call);
        let name = text(function, "name");
        let at = self.slot(call, name.is_some())?;
        let slot = &mut self.slots[at];
        if slot.number.is_none()
            && let Some(name) = name
        {
            let number = self.calls;
            self.calls += 1;
            slot.number = Some(number);
            out.push_back(Delta::ToolCallStarted {
                index: number,
                id: slot.id.clone(),
                name: name.to_owned(),
            });
            if !slot.early.is_empty() {
                out.push_back(Delta::ToolCallArguments {
                    index: number,
                    text: std::mem::take(&mut slot.early),
                });
            }
        }
        let arguments = match function.get("arguments") {
            Some(Value::String(text)) => text.clone(),
            // Written as JSON rather than as text.
            Some(value @ Value::Object(_)) => value.to_string(),
            _ => String::new(),
        };
        match slot.number {
            Some(index) => {
                if !arguments.is_empty() {
                    out.push_back(Delta::ToolCallArguments { index, text: arguments });
                }
                if let Some(data) = call.get("extra_content").filter(|data| !data.is_null()) {
                    out.push_back(Delta::ToolCallProvider { index, data: data.clone() });
                }
            }
            None => slot.early.push_str(&arguments),
        }
        Ok(())
    }

    /// Finds the call that a part belongs to. The protocol uses `index`; servers omit it, repeat 0 for each call
    /// (Gemini), omit the id, or repeat the id in every part.
    fn slot(&mut self, call: &Value, has_name: bool) -> Result<usize, ModelError> {
        let index = count(call, "index");
        let id = text(call, "id");
        let known = match (index, id) {
            (Some(_), _) => self.slots.iter().rposition(|slot| slot.index == index),
            (None, Some(id)) => self.slots.iter().rposition(|slot| slot.id == id),
            // Neither: a name begins a call, anything else continues the last one.
            (None, None) if has_name => None,
            (None, None) => self.slots.len().checked_sub(1),
        };
        // The same index with a new id and a name is another call.
        let known = known.filter(|at| {
            let slot = &self.slots[*at];
            !(has_name && slot.number.is_some() && id.is_some_and(|id| id != slot.id))
        });
        if let Some(at) = known {
            return Ok(at);
        }
        if self.slots.len() >= 1_024 {
            return Err(ModelError::new(ModelErrorKind::Malformed).with_detail("too many tool calls"));
        }
        let id = id.map_or_else(|| new_id("call_"), str::to_owned);
        self.slots.push(PartialCall { index, id, early: String::new(), number: None });
        Ok(self.slots.len() - 1)
    }
}

fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" => FinishReason::Stop,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "length" | "max_tokens" | "model_length" => FinishReason::Length,
        "content_filter" | "safety" | "refusal" => FinishReason::Filtered,
        other => FinishReason::Other(bounded(other)),
    }
}

fn usage(value: &Value) -> Option<Usage> {
    let inside = |outer: &str, inner: &str| value.get(outer).and_then(|details| count(details, inner));
    if !value.is_object() {
        return None;
    }
    Some(Usage {
        input_tokens: count(value, "prompt_tokens").unwrap_or(0),
        output_tokens: count(value, "completion_tokens").unwrap_or(0),
        cached_tokens: inside("prompt_tokens_details", "cached_tokens")
            .or_else(|| count(value, "prompt_cache_hit_tokens"))
            .unwrap_or(0),
        reasoning_tokens: inside("completion_tokens_details", "reasoning_tokens").unwrap_or(0),
    })
}
