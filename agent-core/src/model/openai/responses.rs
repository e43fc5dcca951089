//! Responses API: request format and parsing of the events.

use std::collections::VecDeque;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::chat::arguments;
use super::stream::{bounded, count, text};
use super::{Dialect, Settings};
use crate::model::http::error_response;
use crate::model::message::new_id;
use crate::model::{
    Content, Delta, FinishReason, Message, ModelError, ModelErrorKind, ModelRequest, Part, ResponseFormat,
    Role, ToolChoice, Usage,
};

/// Request body, serialized directly from the request.
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
        field!("instructions", request.system.as_ref());
        field!("input", Some(Input(request)));
        field!("stream", Some(true));
        // The conversation is kept in the journal, so the endpoint does not need to store it. Reasoning is
        // therefore sent encrypted.
        field!("store", Some(false));
        field!("include", (settings.dialect == Dialect::OpenAi).then_some(["reasoning.encrypted_content"]));
        if !request.tools.is_empty() {
            field!("tools", Some(request.tools.iter().map(tool).collect::<Vec<_>>()));
            field!("tool_choice", tool_choice(&request.tool_choice));
            field!("parallel_tool_calls", request.parallel_tool_calls);
        }
        field!("text", request.response_format.as_ref().map(text_format));
        field!("temperature", settings.temperature(request));
        field!("top_p", request.top_p.or(settings.top_p));
        field!("max_output_tokens", request.max_output_tokens.or(settings.max_output_tokens));
        field!("reasoning", request.reasoning_effort.as_ref().map(|effort| json!({ "effort": effort })));
        for (name, value) in &request.extra {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn tool(tool: &crate::model::ToolSpec) -> Value {
    json!({
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        // Strict is the default of this protocol, so both values are written.
        "strict": tool.strict,
    })
}

fn tool_choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!("none")),
        ToolChoice::Required => Some(json!("required")),
        ToolChoice::Tool(name) => Some(json!({ "type": "function", "name": name })),
    }
}

fn text_format(format: &ResponseFormat) -> Value {
    let format = match format {
        ResponseFormat::JsonObject => json!({ "type": "json_object" }),
        ResponseFormat::JsonSchema { name, schema, strict } => {
            json!({ "type": "json_schema", "name": name, "schema": schema, "strict": strict })
        }
    };
    json!({ "format": format })
}

struct Input<'a>(&'a ModelRequest);

impl Serialize for Input<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        for message in &self.0.messages {
            items(message, |item| seq.serialize_element(&item))?;
        }
        seq.end()
    }
}

/// One message becomes several items: reasoning, content, calls.
fn items<E>(message: &Message, mut put: impl FnMut(Value) -> Result<(), E>) -> Result<(), E> {
    if message.role == Role::Tool {
        let call = message.tool_call_id.as_deref().unwrap_or_default();
        let output = match &message.content {
            Content::Text(text) => json!(text),
            Content::Parts(parts) => {
                Value::Array(parts.iter().map(|part| content(part, "input_text")).collect())
            }
        };
        return put(json!({ "type": "function_call_output", "call_id": call, "output": output }));
    }
    for thought in &message.reasoning {
        // Only reasoning encrypted by this endpoint is accepted.
        if let (Some(id), Some(sealed)) = (&thought.id, &thought.sealed) {
            let summary = if thought.text.is_empty() {
                json!([])
            } else {
                json!([{ "type": "summary_text", "text": thought.text }])
            };
            put(json!({ "type": "reasoning", "id": id, "summary": summary, "encrypted_content": sealed }))?;
        }
    }
    if !message.content.is_empty() {
        let kind = if message.role == Role::Assistant { "output_text" } else { "input_text" };
        let parts: Vec<Value> = match &message.content {
            Content::Text(text) => vec![json!({ "type": kind, "text": text })],
            Content::Parts(parts) => parts.iter().map(|part| content(part, kind)).collect(),
        };
        put(json!({ "type": "message", "role": message.role, "content": parts }))?;
    }
    for call in &message.tool_calls {
        put(json!({
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": arguments(&call.arguments),
        }))?;
    }
    Ok(())
}

fn content(part: &Part, kind: &str) -> Value {
    match part {
        Part::Text { text } => json!({ "type": kind, "text": text }),
        Part::Image { url, detail } => {
            json!({ "type": "input_image", "image_url": url, "detail": detail.as_deref().unwrap_or("auto") })
        }
    }
}

/// A call, identified by its item.
struct PartialCall {
    item: String,
    output: Option<u64>,
    number: u32,
    /// Whether a part of the arguments was yielded.
    argued: bool,
}

/// Decoder of the events. Unknown events are ignored; what a server omits is taken from the final response.
#[derive(Default)]
pub(super) struct Decoder {
    model_told: bool,
    spoke: bool,
    slots: Vec<PartialCall>,
    finish: Option<FinishReason>,
}

impl super::stream::Decoder for Decoder {
    fn event(&mut self, event: &Value, out: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        let response = event.get("response").unwrap_or(&Value::Null);
        if let Some(name) = text(response, "model").filter(|_| !self.model_told) {
            self.model_told = true;
            out.push_back(Delta::Model { name: name.to_owned() });
        }
        let delta = || text(event, "delta").map(str::to_owned);
        match text(event, "type").unwrap_or_default() {
            "response.output_text.delta" | "response.refusal.delta" => {
                if let Some(text) = delta() {
                    self.spoke = true;
                    out.push_back(Delta::Text { text });
                }
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                if let Some(text) = delta() {
                    out.push_back(Delta::Reasoning { text });
                }
            }
            "response.output_item.added" => self.added(event, out)?,
            "response.function_call_arguments.delta" => {
                if let (Some(text), Some(slot)) = (delta(), self.slot(event)) {
                    slot.argued = true;
                    out.push_back(Delta::ToolCallArguments { index: slot.number, text });
                }
            }
            "response.function_call_arguments.done" => {
                if let (Some(text), Some(slot)) = (text(event, "arguments"), self.slot(event)) {
                    whole(slot, text, out);
                }
            }
            "response.output_item.done" => {
                self.item(event.get("item").unwrap_or(&Value::Null), event, out)?
            }
            "response.completed" | "response.incomplete" => self.completed(response, out)?,
            "response.failed" => return Err(error_response::inside(response)),
            "error" => return Err(error_response::inside(event)),
            // A server that cannot stream sends the response itself.
            "" if event.get("output").is_some() => self.completed(event, out)?,
            "" if event.get("error").is_some_and(|error| !error.is_null()) => {
                return Err(error_response::inside(event));
            }
            _ => {}
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    fn end(&mut self, _done: bool, out: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        // This protocol always sends an end event; without it the answer is incomplete.
        let reason = self.finish.take().ok_or_else(|| ModelError::new(ModelErrorKind::Cut))?;
        out.push_back(Delta::Finished { reason });
        Ok(())
    }
}

impl Decoder {
    fn slot(&mut self, event: &Value) -> Option<&mut PartialCall> {
        let item = text(event, "item_id");
        let output = count(event, "output_index");
        self.slots.iter_mut().rev().find(|slot| match (item, output) {
            (Some(item), _) if !slot.item.is_empty() => slot.item == item,
            (_, Some(output)) => slot.output == Some(output),
            _ => false,
        })
    }

    /// Begins a call. A call without a name is named by its later events.
    fn added(&mut self, event: &Value, out: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        let item = event.get("item").unwrap_or(&Value::Null);
        if text(item, "type") != Some("function_call") {
            return Ok(());
        }
        let Some(name) = text(item, "name") else { return Ok(()) };
        if self.slots.len() >= 1_024 {
            return Err(ModelError::new(ModelErrorKind::Malformed).with_detail("too many tool calls"));
        }
        let number = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let id =
            text(item, "call_id").or_else(|| text(item, "id")).map_or_else(|| new_id("call_"), str::to_owned);
        out.push_back(Delta::ToolCallStarted { index: number, id, name: name.to_owned() });
        self.slots.push(PartialCall {
            item: text(item, "id").unwrap_or_default().to_owned(),
            output: count(event, "output_index"),
            number,
            argued: false,
        });
        Ok(())
    }

    /// Handles a complete item, of which some or all parts may have been streamed.
    fn item(&mut self, item: &Value, event: &Value, out: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        match text(item, "type") {
            Some("function_call") => {
                let place = json!({ "item_id": item.get("id"), "output_index": event.get("output_index") });
                if self.slot(&place).is_none() {
                    self.added(&json!({ "item": item, "output_index": event.get("output_index") }), out)?;
                }
                if let (Some(arguments), Some(slot)) = (text(item, "arguments"), self.slot(&place)) {
                    whole(slot, arguments, out);
                }
            }
            Some("reasoning") => {
                let own = |key| text(item, key).map(str::to_owned);
                out.push_back(Delta::ReasoningSealed { id: own("id"), sealed: own("encrypted_content") });
            }
            _ => {}
        }
        Ok(())
    }

    fn completed(&mut self, response: &Value, out: &mut VecDeque<Delta>) -> Result<(), ModelError> {
        let items = response.get("output").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if !self.spoke {
            let parts = items.iter().filter_map(|item| item.get("content")?.as_array()).flatten();
            for text in parts
                .filter(|part| text(part, "type") != Some("reasoning_text"))
                .filter_map(|part| text(part, "text"))
            {
                self.spoke = true;
                out.push_back(Delta::text(text));
            }
        }
        if self.slots.is_empty() {
            for (at, item) in
                items.iter().enumerate().filter(|(_, item)| text(item, "type") == Some("function_call"))
            {
                self.item(item, &json!({ "output_index": at }), out)?;
            }
        }
        if let Some(usage) = response.get("usage").filter(|usage| usage.is_object()) {
            let inside =
                |outer: &str, inner: &str| usage.get(outer).and_then(|details| count(details, inner));
            out.push_back(Delta::Usage {
                usage: Usage {
                    input_tokens: count(usage, "input_tokens").unwrap_or(0),
                    output_tokens: count(usage, "output_tokens").unwrap_or(0),
                    cached_tokens: inside("input_tokens_details", "cached_tokens").unwrap_or(0),
                    reasoning_tokens: inside("output_tokens_details", "reasoning_tokens").unwrap_or(0),
                },
            });
        }
        let why = response.get("incomplete_details").and_then(|details| text(details, "reason"));
        self.finish = Some(match why {
            Some("max_output_tokens" | "max_tokens") => FinishReason::Length,
            Some("content_filter") => FinishReason::Filtered,
            Some(other) => FinishReason::Other(bounded(other)),
            None if !self.slots.is_empty() => FinishReason::ToolCalls,
            None => FinishReason::Stop,
        });
        Ok(())
    }
}

/// Yields the arguments at once, unless they were streamed.
fn whole(slot: &mut PartialCall, arguments: &str, out: &mut VecDeque<Delta>) {
    if !std::mem::replace(&mut slot.argued, true) {
        out.push_back(Delta::ToolCallArguments { index: slot.number, text: arguments.to_owned() });
    }
}
