//! A request for a completion: read strictly, so that nobody believes a setting works that is ignored.

use agent_core::model::{
    Content, Message, ModelRequest, Part, ResponseFormat, Role, ToolCall, ToolChoice, ToolSpec,
};
use serde_json::{Map, Value, json};

use super::super::json::{object, whole};
use crate::error::{ApiError, Rejection};

/// The longest conversation, in messages; its size is bounded by that of a body.
const MESSAGES: usize = 4_096;
/// The most texts that end the output.
const STOPS: usize = 4;
/// The most tools of a request.
const TOOLS: usize = 128;

/// What is served, or what only tells the endpoint about the caller and changes no answer.
const WITHOUT_EFFECT: [&str; 7] = [
    "user",
    "metadata",
    "store",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
];
/// What goes to a plain model's endpoint as it is.
const PASSED: [&str; 4] = ["seed", "frequency_penalty", "presence_penalty", "logit_bias"];

/// A request for a completion.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) stream: bool,
    /// A streamed answer ends with what it used up.
    pub(crate) include_usage: bool,
    /// Messages, bounds and sampling as a request to a model.
    settings: ModelRequest,
    /// Parameters that only a plain model takes, in the order they were met.
    plain_only: Vec<&'static str>,
}

impl Completion {
    /// Reads a body.
    ///
    /// # Errors
    ///
    /// 400 that names the parameter.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let fields = object(body)?;
        let mut read = Fields(&fields);
        let model = match read.text("model")? {
            Some(model) if !model.is_empty() => model.to_owned(),
            _ => return Err(wrong("model", "you must provide a model parameter")),
        };
        let messages = messages(fields.get("messages"))?;
        let stream = read.flag("stream")?.unwrap_or(false);
        let include_usage = stream_options(fields.get("stream_options"), stream)?;
        let mut request = ModelRequest::default();
        let mut plain_only = Vec::new();
        request.max_output_tokens = match (read.count("max_completion_tokens")?, read.count("max_tokens")?) {
            (Some(tokens), _) | (None, Some(tokens)) => Some(tokens),
            (None, None) => None,
        };
        request.temperature = read.number("temperature", 0.0, 2.0)?;
        request.top_p = read.number("top_p", 0.0, 1.0)?;
        request.stop = stops(fields.get("stop"))?;
        request.reasoning_effort = read.text("reasoning_effort")?.map(str::to_owned);
        read.refuse()?;
        if let Some(format) = response_format(fields.get("response_format"))? {
            request.response_format = Some(format);
            plain_only.push("response_format");
        }
        let tools = tools(fields.get("tools"))?;
        if !tools.is_empty() {
            request.tool_choice = tool_choice(fields.get("tool_choice"), &tools)?;
            request.parallel_tool_calls = read.flag("parallel_tool_calls")?;
            request.tools = tools.into();
            plain_only.push("tools");
        } else if given(fields.get("tool_choice"))
            .is_some_and(|choice| *choice != "none" && *choice != "auto")
        {
            return Err(wrong("tool_choice", "`tool_choice` is only allowed when `tools` are given"));
        }
        for name in PASSED {
            if let Some(value) = given(fields.get(name)) {
                let legal = if name == "logit_bias" { value.is_object() } else { value.is_number() };
                if !legal {
                    return Err(wrong(name, format!("`{name}` is of the wrong type")));
                }
                request.extra.insert(name.to_owned(), value.clone());
            }
        }
        Ok(Self { model, messages, stream, include_usage, settings: request, plain_only })
    }

    /// The request to a plain model.
    pub(crate) fn for_model(&self) -> ModelRequest {
        let mut request = self.settings.clone();
        request.messages = self.messages.iter().cloned().collect();
        request
    }

    /// Whether the caller asks for other sampling or bounds than the agent's own.
    pub(crate) fn has_settings(&self) -> bool {
        let mut own = self.settings.clone();
        own.extra = Map::new();
        own != ModelRequest::default()
    }

    /// Puts the caller's sampling and bounds on the requests of an agent.
    pub(crate) fn apply_settings(&self, mut request: ModelRequest) -> ModelRequest {
        let own = &self.settings;
        request.max_output_tokens = own.max_output_tokens.or(request.max_output_tokens);
        request.temperature = own.temperature.or(request.temperature);
        request.top_p = own.top_p.or(request.top_p);
        request.reasoning_effort = own.reasoning_effort.clone().or(request.reasoning_effort);
        if !own.stop.is_empty() {
            request.stop.clone_from(&own.stop);
        }
        request
    }

    /// Refuses what only a plain model takes.
    ///
    /// # Errors
    ///
    /// 400 that names the first such parameter.
    pub(crate) fn check_for_agent(&self) -> Result<(), ApiError> {
        let Some(param) = self.plain_only.first() else { return Ok(()) };
        let told = match *param {
            "tools" => {
                format!("`{}` is an agent with tools of its own; it takes none of the caller's", self.model)
            }
            _ => format!("`{}` is an agent; it does not take `{param}`", self.model),
        };
        Err(ApiError::new(Rejection::Unsupported, told).at(*param))
    }
}

/// Who said what, for agents that take one message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turn<'a> {
    /// What the run is about.
    pub(crate) task: &'a str,
    /// What the agent asked since, and what the user said to it.
    pub(crate) answers: Vec<(&'a str, &'a str)>,
}

/// The task of a conversation: the last message of the user that answers no question. Questions are known by `hint`,
/// with which they end.
///
/// # Errors
///
/// 400 when the user says nothing, or did not speak last.
pub(crate) fn task_of<'a>(texts: &'a [(Role, String)], hint: &str) -> Result<Turn<'a>, ApiError> {
    let spoken: Vec<&(Role, String)> =
        texts.iter().filter(|(role, _)| matches!(role, Role::User | Role::Assistant)).collect();
    let mut answers = Vec::new();
    let mut rest = spoken.as_slice();
    loop {
        match rest {
            [before @ .., (Role::Assistant, question), (Role::User, reply)]
                if question.trim_end().ends_with(hint) && !before.is_empty() =>
            {
                answers.push((question.as_str(), reply.as_str()));
                rest = before;
            }
            [.., (Role::User, task)] if !task.trim().is_empty() => {
                answers.reverse();
                return Ok(Turn { task, answers });
            }
            _ => return Err(wrong("messages", "the last message must be the user's, and say something")),
        }
    }
}

/// A field that is there and not `null`.
fn given(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        given(self.0.get(name))
    }

    fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| wrong(name, format!("`{name}` must be text")))
    }

    fn flag(&mut self, name: &'static str) -> Result<Option<bool>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| wrong(name, format!("`{name}` must be true or false")))
    }

    fn count(&mut self, name: &'static str) -> Result<Option<u32>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let count = whole(value).filter(|count| *count > 0).and_then(|count| u32::try_from(count).ok());
        count.map(Some).ok_or_else(|| wrong(name, format!("`{name}` must be a whole number of at least 1")))
    }

    fn number(&mut self, name: &'static str, least: f64, most: f64) -> Result<Option<f32>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().filter(|number| (least..=most).contains(number));
        #[expect(clippy::cast_possible_truncation, reason = "a number from 0 to 2")]
        number
            .map(|number| Some(number as f32))
            .ok_or_else(|| wrong(name, format!("`{name}` must be a number from {least} to {most}")))
    }

    /// Everything that is not served, unless it is set to what happens anyway.
    fn refuse(&self) -> Result<(), ApiError> {
        for (name, value) in self.0 {
            let unset = match name.as_str() {
                "model"
                | "messages"
                | "stream"
                | "stream_options"
                | "max_tokens"
                | "max_completion_tokens"
                | "temperature"
                | "top_p"
                | "stop"
                | "reasoning_effort"
                | "response_format"
                | "tools"
                | "tool_choice"
                | "parallel_tool_calls" => true,
                name if WITHOUT_EFFECT.contains(&name) || PASSED.contains(&name) => true,
                "n" => *value == 1,
                "logprobs" => *value == false,
                "top_logprobs" => *value == 0,
                "modalities" => *value == json!(["text"]),
                "functions" => value.as_array().is_some_and(Vec::is_empty),
                "function_call" => *value == "none",
                _ => false,
            };
            if !unset && !value.is_null() {
                let known = [
                    "n",
                    "logprobs",
                    "top_logprobs",
                    "modalities",
                    "functions",
                    "function_call",
                    "audio",
                    "prediction",
                    "verbosity",
                    "web_search_options",
                ];
                let told = match name.as_str() {
                    "n" => "only one choice is made at a time: `n` must be 1".to_owned(),
                    "functions" | "function_call" => format!("`{name}` is not served; use `tools`"),
                    name if known.contains(&name) => format!("`{name}` is not served"),
                    name => format!("Unrecognized request argument supplied: {}", shortened(name)),
                };
                return Err(ApiError::new(Rejection::Unsupported, told).at(shortened(name)));
            }
        }
        Ok(())
    }
}

fn shortened(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}

fn wrong(param: impl Into<Box<str>>, told: impl Into<String>) -> ApiError {
    ApiError::new(Rejection::InvalidRequest, told).at(param)
}

fn stream_options(value: Option<&Value>, stream: bool) -> Result<bool, ApiError> {
    let Some(value) = given(value) else { return Ok(false) };
    if !stream {
        let told = "`stream_options` is only allowed when `stream` is true";
        return Err(wrong("stream_options", told));
    }
    let include = match value {
        Value::Object(options) => given(options.get("include_usage")).map_or(Some(false), Value::as_bool),
        _ => None,
    };
    include
        .ok_or_else(|| wrong("stream_options", "`stream_options` must be `{include_usage: true or false}`"))
}

fn stops(value: Option<&Value>) -> Result<Vec<String>, ApiError> {
    let told = || wrong("stop", format!("`stop` must be a text or a list of at most {STOPS}"));
    match given(value) {
        None => Ok(Vec::new()),
        Some(Value::String(stop)) => Ok(vec![stop.clone()]),
        Some(Value::Array(stops)) if stops.len() <= STOPS => {
            stops.iter().map(|stop| stop.as_str().map(str::to_owned).ok_or_else(told)).collect()
        }
        Some(_) => Err(told()),
    }
}

fn response_format(value: Option<&Value>) -> Result<Option<ResponseFormat>, ApiError> {
    let Some(value) = given(value) else { return Ok(None) };
    let told = |told: &str| wrong("response_format", told);
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(ResponseFormat::JsonObject)),
        Some("json_schema") => {
            let given = value.get("json_schema");
            let field = |name: &str| given.and_then(|schema| schema.get(name));
            let (Some(name), Some(schema @ Value::Object(_))) =
                (field("name").and_then(Value::as_str), field("schema"))
            else {
                return Err(told("`response_format.json_schema` must have `name` and `schema`"));
            };
            let strict = field("strict").and_then(Value::as_bool).unwrap_or(false);
            Ok(Some(ResponseFormat::JsonSchema {
                name: name.to_owned(),
                schema: schema.clone().into(),
                strict,
            }))
        }
        _ => Err(told("`response_format.type` must be `text`, `json_object` or `json_schema`")),
    }
}

fn tools(value: Option<&Value>) -> Result<Vec<ToolSpec>, ApiError> {
    let told = |at: usize| {
        wrong(format!("tools[{at}]"), "a tool must be `{type: \"function\", function: {name, ..}}`")
    };
    let list = match given(value) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= TOOLS => list,
        Some(_) => return Err(wrong("tools", format!("`tools` must be a list of at most {TOOLS}"))),
    };
    let read = |(at, tool): (usize, &Value)| {
        let function =
            tool.get("function").filter(|_| tool.get("type").is_none_or(|kind| kind == "function"));
        let name = function.and_then(|function| function.get("name")).and_then(Value::as_str);
        let (Some(function), Some(name)) = (function, name) else { return Err(told(at)) };
        let parameters = match given(function.get("parameters")) {
            None => json!({"type": "object", "properties": {}}),
            Some(schema @ Value::Object(_)) => schema.clone(),
            Some(_) => return Err(told(at)),
        };
        let description = function.get("description").and_then(Value::as_str).unwrap_or_default();
        let strict = function.get("strict").and_then(Value::as_bool).unwrap_or(false);
        Ok(ToolSpec { name: name.to_owned(), description: description.to_owned(), parameters, strict })
    };
    list.iter().enumerate().map(read).collect()
}

fn tool_choice(value: Option<&Value>, tools: &[ToolSpec]) -> Result<ToolChoice, ApiError> {
    let named = |choice: &Value| choice.pointer("/function/name").and_then(Value::as_str).map(str::to_owned);
    match given(value) {
        None => Ok(ToolChoice::Auto),
        Some(choice) if choice == "auto" => Ok(ToolChoice::Auto),
        Some(choice) if choice == "none" => Ok(ToolChoice::None),
        Some(choice) if choice == "required" => Ok(ToolChoice::Required),
        Some(choice) => match named(choice) {
            Some(name) if tools.iter().any(|tool| tool.name == name) => Ok(ToolChoice::Tool(name)),
            Some(_) => Err(wrong("tool_choice", "`tool_choice` names none of the `tools`")),
            None => {
                Err(wrong("tool_choice", "`tool_choice` must be `none`, `auto`, `required` or a function"))
            }
        },
    }
}

fn messages(value: Option<&Value>) -> Result<Vec<Message>, ApiError> {
    match given(value) {
        None => Err(wrong("messages", "you must provide a messages parameter")),
        Some(Value::Array(list)) if list.is_empty() => Err(wrong("messages", "`messages` must not be empty")),
        Some(Value::Array(list)) if list.len() > MESSAGES => {
            Err(wrong("messages", format!("`messages` may have {MESSAGES} messages")))
        }
        Some(Value::Array(list)) => list.iter().enumerate().map(|(at, said)| message(at, said)).collect(),
        Some(_) => Err(wrong("messages", "`messages` must be a list")),
    }
}

fn message(at: usize, said: &Value) -> Result<Message, ApiError> {
    let place = |field: &str| format!("messages[{at}]{field}");
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    let Some(role) = text("role") else { return Err(wrong(place(".role"), "a message needs a `role`")) };
    let calls = calls(at, said)?;
    let content = match content(said.get("content"), &place(".content"))? {
        Some(content) => content,
        None if role == "assistant" => Content::default(),
        None => return Err(wrong(place(".content"), "a message needs `content`")),
    };
    let mut message = match role {
        // Since reasoning models, the same under another name.
        "system" | "developer" => Message::system(content),
        "user" => Message::user(content),
        "assistant" => Message::assistant(content).with_tool_calls(calls),
        "tool" => match text("tool_call_id") {
            Some(id) => Message::tool_result(id, content),
            None => return Err(wrong(place(".tool_call_id"), "a tool's message needs a `tool_call_id`")),
        },
        _ => {
            let told = "`role` must be `system`, `developer`, `user`, `assistant` or `tool`";
            return Err(wrong(place(".role"), told));
        }
    };
    message.name = text("name").map(str::to_owned);
    Ok(message)
}

fn content(value: Option<&Value>, place: &str) -> Result<Option<Content>, ApiError> {
    let parts = match given(value) {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.as_str().into())),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(wrong(place, "`content` must be text or a list of parts")),
    };
    let read = |(at, part): (usize, &Value)| {
        let text = |name: &str| part.get(name).and_then(Value::as_str);
        match text("type") {
            Some("text") => text("text").map(Part::text),
            Some("refusal") => text("refusal").map(Part::text),
            Some("image_url") => {
                let url = part.pointer("/image_url/url").and_then(Value::as_str);
                let detail = part.pointer("/image_url/detail").and_then(Value::as_str);
                url.map(|url| Part::Image { url: url.to_owned(), detail: detail.map(str::to_owned) })
            }
            _ => None,
        }
        .ok_or_else(|| wrong(format!("{place}[{at}]"), "a part must be `text` or `image_url`"))
    };
    let parts: Vec<Part> = parts.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    // Texts alone are one text: not every endpoint takes parts.
    if parts.iter().all(|part| matches!(part, Part::Text { .. })) {
        return Ok(Some(Message::user(parts).text().into_owned().into()));
    }
    Ok(Some(parts.into()))
}

fn calls(at: usize, said: &Value) -> Result<Vec<ToolCall>, ApiError> {
    let Some(calls) = given(said.get("tool_calls")) else { return Ok(Vec::new()) };
    let told =
        || wrong(format!("messages[{at}].tool_calls"), "a call must be `{id, function: {name, arguments}}`");
    let Value::Array(calls) = calls else { return Err(told()) };
    let read = |call: &Value| {
        let text = |at: &str| call.pointer(at).and_then(Value::as_str).map(str::to_owned).ok_or_else(told);
        let mut read = ToolCall::new(text("/function/name")?, &Value::Null);
        (read.id, read.arguments) = (text("/id")?, text("/function/arguments")?);
        Ok(read)
    };
    calls.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: &str = "(answer)";

    #[test]
    fn what_follows_a_question_is_its_answer_and_the_rest_is_the_task() {
        let said = |texts: &[(Role, &str)]| -> Vec<(Role, String)> {
            texts.iter().map(|(role, text)| (*role, (*text).to_owned())).collect()
        };
        let texts = said(&[
            (Role::System, "be kind"),
            (Role::User, "old"),
            (Role::Assistant, "done"),
            (Role::User, "report"),
            (Role::Assistant, "for whom? (answer)\n"),
            (Role::User, "buyers"),
        ]);
        let turn = task_of(&texts, HINT).unwrap();
        assert_eq!(turn, Turn { task: "report", answers: vec![("for whom? (answer)\n", "buyers")] });
        assert!(task_of(&texts[..5], HINT).is_err(), "the assistant spoke last");
        assert!(task_of(&texts[..1], HINT).is_err());
    }
}
