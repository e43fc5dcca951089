//! Requests for chat completions. Parameters that this server does not know are passed on to a plain model; those that an
//! agent cannot follow are named in a response header.

use std::collections::BTreeMap;

use agent_core::model::{Message, ModelRequest, ResponseFormat, ToolChoice, ToolSpec};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::messages::{CompletionMessage, messages};
use crate::{
    api::json as parse,
    error::{ApiError, Rejection},
    spelling::nearest,
};

/// Maximum number of stop sequences.
const STOPS: usize = 4;
/// Maximum number of tools.
const TOOLS: usize = 128;

/// Maximum number of answers to one request.
const CHOICES: u64 = 8;

/// Request for a completion in OpenAI's format. Further parameters (`top_k`, `min_p`, `verbosity`, `prediction`, …) are
/// passed on to a plain model. Parameters that an agent cannot follow are named in the response header
/// `x-ignored-parameters`.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct CompletionRequest {
    /// A model of `GET /v1/models`.
    #[serde(default)]
    #[schema(required = true, min_length = 1)]
    model: String,
    /// The conversation, oldest message first.
    #[schema(required = true, value_type = Vec<CompletionMessage>, min_items = 1, max_items = 4096)]
    messages: Option<Value>,
    /// Whether the answer is streamed.
    #[schema(required = false)]
    stream: Option<bool>,
    /// Options of a stream: `{include_usage}`. Only with `stream`.
    #[schema(value_type = Option<Object>, required = false)]
    stream_options: Option<Value>,
    /// Maximum number of output tokens.
    #[schema(value_type = Option<u64>, required = false, minimum = 1, maximum = 4_294_967_295_i64)]
    max_completion_tokens: Option<Value>,
    /// The former name of `max_completion_tokens`.
    #[schema(value_type = Option<u64>, required = false, minimum = 1, maximum = 4_294_967_295_i64)]
    max_tokens: Option<Value>,
    /// Sampling temperature.
    #[schema(required = false, minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    /// Nucleus sampling.
    #[schema(required = false, minimum = 0.0, maximum = 1.0)]
    top_p: Option<f64>,
    /// Texts that end the output: one, or a list of at most four.
    #[schema(required = false)]
    stop: Option<Value>,
    /// Reasoning effort.
    #[schema(required = false)]
    reasoning_effort: Option<String>,
    /// Format of the answer: `text`, `json_object` or `json_schema`.
    #[schema(value_type = Option<Object>, required = false)]
    response_format: Option<Value>,
    /// Tools of the caller. Calls of these tools are returned, also by an agent that has other tools.
    #[schema(value_type = Option<Vec<Object>>, required = false, max_items = 128)]
    tools: Option<Value>,
    /// Choice of a tool: `none`, `auto`, `required` or a function. Only with `tools`.
    #[schema(required = false)]
    tool_choice: Option<Value>,
    /// Whether the model may call several tools at once. Only with `tools`.
    #[schema(required = false)]
    parallel_tool_calls: Option<bool>,
    /// Seed of the sampling, which is passed on to the plain model.
    #[schema(value_type = Option<f64>, required = false)]
    seed: Option<Value>,
    /// Passed on to the plain model.
    #[schema(value_type = Option<f64>, required = false)]
    frequency_penalty: Option<Value>,
    /// Passed on to the plain model.
    #[schema(value_type = Option<f64>, required = false)]
    presence_penalty: Option<Value>,
    /// Passed on to the plain model.
    #[schema(value_type = Option<Object>, required = false)]
    logit_bias: Option<Value>,
    /// Number of answers. An agent gives one.
    #[schema(value_type = Option<u64>, required = false, minimum = 1, maximum = 8)]
    n: Option<Value>,
    /// Log probabilities, if the endpoint of the plain model sends them.
    #[schema(value_type = Option<bool>, required = false)]
    logprobs: Option<Value>,
    /// Number of alternatives per token. Only with `logprobs`.
    #[schema(value_type = Option<u64>, required = false, minimum = 0, maximum = 20)]
    top_logprobs: Option<Value>,
    /// Kinds of output; only `["text"]` is supported.
    #[schema(required = false)]
    modalities: Option<Value>,
    /// The former name of `tools`; only an empty list is supported.
    #[schema(value_type = Option<Vec<Object>>, required = false, max_items = 0)]
    functions: Option<Value>,
    /// The former name of `tool_choice`; only `none` is supported.
    #[schema(required = false)]
    function_call: Option<Value>,
    /// Passed on to the plain model.
    #[schema(required = false)]
    user: Option<Value>,
    /// Passed on to the plain model.
    #[schema(required = false)]
    metadata: Option<Value>,
    /// Passed on to the plain model.
    #[schema(required = false)]
    store: Option<Value>,
    /// Passed on to the plain model.
    #[schema(required = false)]
    safety_identifier: Option<Value>,
    /// Passed on to the plain model.
    #[schema(required = false)]
    prompt_cache_key: Option<Value>,
    /// Passed on to the plain model.
    #[schema(required = false)]
    prompt_cache_retention: Option<Value>,
    /// Passed on to the plain model.
    #[schema(required = false)]
    service_tier: Option<Value>,
    /// Passed on to the plain model.
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, Value>)]
    further: BTreeMap<String, Value>,
}

/// Parameters with names so long that a similar one is a misspelling, and not a parameter of the endpoint.
const LONG_NAMES: [&str; 7] = [
    "messages",
    "stream",
    "temperature",
    "response_format",
    "tool_choice",
    "stream_options",
    "parallel_tool_calls",
];

/// A checked request for a completion.
#[derive(Debug)]
pub(crate) struct ParsedCompletion {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) stream: bool,
    /// Whether a streamed answer ends with its usage.
    pub(crate) include_usage: bool,
    /// Number of answers.
    pub(crate) choices: u32,
    /// Settings of the model.
    settings: ModelRequest,
    /// Parameters that an agent does not follow.
    plain_only: Vec<String>,
}

impl CompletionRequest {
    /// Parses a request.
    ///
    /// # Errors
    ///
    /// 400 that names the parameter.
    pub(crate) fn parse(body: &[u8]) -> Result<ParsedCompletion, ApiError> {
        parse::message::<Self>(body)?.checked()
    }

    fn checked(self) -> Result<ParsedCompletion, ApiError> {
        let slip = self.further.keys().find_map(|name| Some((name, nearest(name, LONG_NAMES)?)));
        if let Some((name, meant)) = slip {
            return Err(invalid(
                name.as_str(),
                format!("unknown parameter `{name}`; did you mean `{meant}`?"),
            ));
        }
        if self.model.is_empty() {
            return Err(invalid("model", "you must provide a model parameter"));
        }
        let messages = messages(self.messages.as_ref())?;
        let stream = self.stream.unwrap_or(false);
        let include_usage = include_usage(self.stream_options.as_ref(), stream)?;
        let mut request = ModelRequest::default();
        let mut plain_only = Vec::new();
        let max_completion_tokens = tokens("max_completion_tokens", self.max_completion_tokens.as_ref())?;
        let max_tokens = tokens("max_tokens", self.max_tokens.as_ref())?;
        request.max_output_tokens = max_completion_tokens.or(max_tokens);
        request.temperature = number("temperature", self.temperature, 2.0)?;
        request.top_p = number("top_p", self.top_p, 1.0)?;
        request.stop = stops(self.stop.as_ref())?;
        request.reasoning_effort.clone_from(&self.reasoning_effort);
        self.reject_unsupported()?;
        request.response_format = response_format(self.response_format.as_ref())?;
        let tools = tools(self.tools.as_ref())?;
        if !tools.is_empty() {
            request.tool_choice = tool_choice(self.tool_choice.as_ref(), &tools)?;
            request.parallel_tool_calls = self.parallel_tool_calls;
            request.tools = tools.into();
        } else if self.tool_choice.as_ref().is_some_and(|choice| *choice != "none" && *choice != "auto") {
            return Err(invalid("tool_choice", "`tool_choice` is only allowed with `tools`"));
        }
        let choices = choices(self.n.as_ref())?;
        if choices > 1 {
            plain_only.push("n".to_owned());
        }
        let passed_on = [
            ("seed", self.seed),
            ("frequency_penalty", self.frequency_penalty),
            ("presence_penalty", self.presence_penalty),
            ("logit_bias", self.logit_bias),
            // The default is not sent, because not every endpoint knows the parameter.
            ("logprobs", self.logprobs.filter(|value| *value != false)),
            ("top_logprobs", self.top_logprobs.filter(|value| *value != 0)),
            ("user", self.user),
            ("metadata", self.metadata),
            ("store", self.store.filter(|value| *value != false)),
            ("safety_identifier", self.safety_identifier),
            ("prompt_cache_key", self.prompt_cache_key),
            ("prompt_cache_retention", self.prompt_cache_retention),
            ("service_tier", self.service_tier.filter(|value| *value != "auto")),
        ];
        for (name, value) in passed_on {
            let Some(value) = value.filter(|value| !value.is_null()) else { continue };
            let (valid, kind) = match name {
                "logit_bias" => (value.is_object(), "an object"),
                "logprobs" => (value.is_boolean(), "true or false"),
                "top_logprobs" => {
                    let whole = |number: f64| number.fract() == 0.0 && (0.0..=20.0).contains(&number);
                    (value.as_f64().is_some_and(whole), "a whole number from 0 to 20")
                }
                "metadata" => (value.is_object(), "an object"),
                "store" => (value.is_boolean(), "true or false"),
                "user"
                | "safety_identifier"
                | "prompt_cache_key"
                | "prompt_cache_retention"
                | "service_tier" => (value.is_string(), "a text"),
                _ => (value.is_number(), "a number"),
            };
            if !valid {
                return Err(invalid(name, format!("`{name}` must be {kind}")));
            }
            request.extra.insert(name.to_owned(), value);
        }
        request.extra.extend(self.further);
        plain_only.extend(request.extra.keys().cloned());
        Ok(ParsedCompletion {
            model: self.model,
            messages,
            stream,
            include_usage,
            choices,
            settings: request,
            plain_only,
        })
    }

    /// Rejects parameters that are not supported, unless they have the default value.
    fn reject_unsupported(&self) -> Result<(), ApiError> {
        let unsupported =
            |name: &str, message: String| Err(ApiError::new(Rejection::Unsupported, message).at(name));
        let differs =
            |value: &Option<Value>, default: Value| value.as_ref().is_some_and(|value| *value != default);
        if differs(&self.modalities, json!(["text"])) {
            return unsupported("modalities", "`modalities` is not supported".to_owned());
        }
        for (name, value, default) in
            [("functions", &self.functions, json!([])), ("function_call", &self.function_call, json!("none"))]
        {
            if differs(value, default) {
                return unsupported(name, format!("`{name}` is not supported; use `tools`"));
            }
        }
        Ok(())
    }
}

impl ParsedCompletion {
    /// Returns the request to the plain model.
    pub(crate) fn for_model(&self) -> ModelRequest {
        let mut request = self.settings.clone();
        request.messages = self.messages.iter().cloned().collect();
        request
    }

    /// Returns the tools of the caller.
    pub(crate) fn tools(&self) -> &[ToolSpec] {
        &self.settings.tools
    }

    /// Returns the format of the answer, if it is not text.
    pub(crate) const fn format(&self) -> Option<&ResponseFormat> {
        self.settings.response_format.as_ref()
    }

    /// Applies the settings to a request of an agent.
    pub(crate) fn apply_settings(&self, mut request: ModelRequest) -> ModelRequest {
        let own = &self.settings;
        request.max_output_tokens = own.max_output_tokens.or(request.max_output_tokens);
        request.temperature = own.temperature.or(request.temperature);
        request.top_p = own.top_p.or(request.top_p);
        request.reasoning_effort = own.reasoning_effort.clone().or(request.reasoning_effort);
        request.parallel_tool_calls = own.parallel_tool_calls.or(request.parallel_tool_calls);
        if !own.stop.is_empty() {
            request.stop.clone_from(&own.stop);
        }
        // `none` is only about the tools of the caller, which the agent does not get then.
        if own.tool_choice != ToolChoice::None {
            request.tool_choice.clone_from(&own.tool_choice);
        }
        request
    }

    /// Returns the tools of the caller that an agent may call.
    pub(crate) fn tools_for_agent(&self) -> &[ToolSpec] {
        match self.settings.tool_choice {
            ToolChoice::None => &[],
            _ => self.tools(),
        }
    }

    /// Returns the parameters of the request that an agent does not follow. A graph that is not an assistant follows
    /// fewer.
    pub(crate) fn ignored_by(&self, assistant: bool) -> Vec<&str> {
        let own = &self.settings;
        let settings = [
            ("tools", !own.tools.is_empty()),
            ("tool_choice", own.tool_choice != ToolChoice::Auto),
            ("parallel_tool_calls", own.parallel_tool_calls.is_some()),
            ("max_tokens", own.max_output_tokens.is_some()),
            ("temperature", own.temperature.is_some()),
            ("top_p", own.top_p.is_some()),
            ("stop", !own.stop.is_empty()),
            ("reasoning_effort", own.reasoning_effort.is_some()),
        ];
        let settings = settings.into_iter().filter(|(_, set)| *set && !assistant).map(|(name, _)| name);
        self.plain_only.iter().map(String::as_str).chain(settings).collect()
    }
}

/// A field that is present and not `null`.
pub(super) fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

fn tokens(name: &'static str, value: Option<&Value>) -> Result<Option<u32>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let count = parse::whole(value).filter(|count| *count > 0).and_then(|count| u32::try_from(count).ok());
    count.map(Some).ok_or_else(|| invalid(name, format!("`{name}` must be a whole number of at least 1")))
}

fn choices(value: Option<&Value>) -> Result<u32, ApiError> {
    let Some(value) = value else { return Ok(1) };
    let count = parse::whole(value).filter(|count| (1..=CHOICES).contains(count));
    let count = count.and_then(|count| u32::try_from(count).ok());
    count.ok_or_else(|| invalid("n", format!("`n` must be a whole number from 1 to {CHOICES}")))
}

fn number(name: &'static str, value: Option<f64>, maximum: f64) -> Result<Option<f32>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    if !(0.0..=maximum).contains(&value) {
        return Err(invalid(name, format!("`{name}` must be a number from 0 to {maximum}")));
    }
    #[expect(clippy::cast_possible_truncation, reason = "a number from 0 to 2")]
    Ok(Some(value as f32))
}

pub(super) fn invalid(param: impl Into<Box<str>>, message: impl Into<String>) -> ApiError {
    ApiError::new(Rejection::InvalidRequest, message).at(param)
}

fn include_usage(value: Option<&Value>, stream: bool) -> Result<bool, ApiError> {
    let Some(value) = present(value) else { return Ok(false) };
    if !stream {
        return Err(invalid("stream_options", "`stream_options` is only allowed with `stream`"));
    }
    let include = match value {
        Value::Object(options) => present(options.get("include_usage")).map_or(Some(false), Value::as_bool),
        _ => None,
    };
    include
        .ok_or_else(|| invalid("stream_options", "`stream_options` must be `{include_usage: true or false}`"))
}

fn stops(value: Option<&Value>) -> Result<Vec<String>, ApiError> {
    let error = || invalid("stop", format!("`stop` must be a text or a list of at most {STOPS}"));
    match present(value) {
        None => Ok(Vec::new()),
        Some(Value::String(stop)) => Ok(vec![stop.clone()]),
        Some(Value::Array(stops)) if stops.len() <= STOPS => {
            stops.iter().map(|stop| stop.as_str().map(str::to_owned).ok_or_else(error)).collect()
        }
        Some(_) => Err(error()),
    }
}

fn response_format(value: Option<&Value>) -> Result<Option<ResponseFormat>, ApiError> {
    let Some(value) = present(value) else { return Ok(None) };
    let error = |message: &str| invalid("response_format", message);
    match value.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(ResponseFormat::JsonObject)),
        Some("json_schema") => {
            let schema = value.get("json_schema");
            let field = |name: &str| schema.and_then(|schema| schema.get(name));
            let (Some(name), Some(schema @ Value::Object(_))) =
                (field("name").and_then(Value::as_str), field("schema"))
            else {
                return Err(error("`response_format.json_schema` must have `name` and `schema`"));
            };
            let strict = field("strict").and_then(Value::as_bool).unwrap_or(false);
            Ok(Some(ResponseFormat::JsonSchema {
                name: name.to_owned(),
                schema: schema.clone().into(),
                strict,
            }))
        }
        _ => Err(error("`response_format.type` must be `text`, `json_object` or `json_schema`")),
    }
}

fn tools(value: Option<&Value>) -> Result<Vec<ToolSpec>, ApiError> {
    let error = |at: usize| {
        invalid(format!("tools[{at}]"), "a tool must be `{type: \"function\", function: {name, ..}}`")
    };
    let list = match present(value) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= TOOLS => list,
        Some(_) => return Err(invalid("tools", format!("`tools` must be a list of at most {TOOLS}"))),
    };
    let read = |(at, tool): (usize, &Value)| {
        let function =
            tool.get("function").filter(|_| tool.get("type").is_none_or(|kind| kind == "function"));
        let name = function.and_then(|function| function.get("name")).and_then(Value::as_str);
        let (Some(function), Some(name)) = (function, name) else { return Err(error(at)) };
        let parameters = match present(function.get("parameters")) {
            None => json!({"type": "object", "properties": {}}),
            Some(schema @ Value::Object(_)) => schema.clone(),
            Some(_) => return Err(error(at)),
        };
        let description = function.get("description").and_then(Value::as_str).unwrap_or_default();
        let strict = function.get("strict").and_then(Value::as_bool).unwrap_or(false);
        Ok(ToolSpec { name: name.to_owned(), description: description.to_owned(), parameters, strict })
    };
    list.iter().enumerate().map(read).collect()
}

fn tool_choice(value: Option<&Value>, tools: &[ToolSpec]) -> Result<ToolChoice, ApiError> {
    let named = |choice: &Value| choice.pointer("/function/name").and_then(Value::as_str).map(str::to_owned);
    match present(value) {
        None => Ok(ToolChoice::Auto),
        Some(choice) if choice == "auto" => Ok(ToolChoice::Auto),
        Some(choice) if choice == "none" => Ok(ToolChoice::None),
        Some(choice) if choice == "required" => Ok(ToolChoice::Required),
        Some(choice) => match named(choice) {
            Some(name) if tools.iter().any(|tool| tool.name == name) => Ok(ToolChoice::Tool(name)),
            Some(_) => Err(invalid("tool_choice", "`tool_choice` names none of the `tools`")),
            None => {
                Err(invalid("tool_choice", "`tool_choice` must be `none`, `auto`, `required` or a function"))
            }
        },
    }
}
