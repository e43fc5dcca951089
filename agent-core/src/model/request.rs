//! Requests to a model. Plain data, cheap to clone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Messages;

/// Description of a tool for the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Unique within the request; all endpoints accept `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// When and why to use the tool.
    pub description: String,
    /// JSON Schema of the arguments; an object.
    pub parameters: Value,
    /// Whether the schema is in the strict subset and the endpoint should enforce it.
    #[serde(default)]
    pub strict: bool,
}

/// Choice of the tools that the model may or must call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// No tool.
    None,
    /// At least one tool.
    Required,
    /// This tool.
    Tool(String),
}

/// Format of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Any JSON object.
    JsonObject,
    /// JSON that matches the schema.
    JsonSchema {
        /// Name of the schema; `[A-Za-z0-9_-]{1,64}`.
        name: String,
        /// The JSON Schema.
        schema: Arc<Value>,
        /// Whether the schema is in the strict subset and the endpoint should enforce it.
        strict: bool,
    },
}

/// A request to a model. Settings that are not set have the endpoint's defaults.
///
/// # Examples
///
/// ```
/// use agent_core::model::ModelRequest;
///
/// let request = ModelRequest::new("What is the capital of Korea?")
///     .system("Answer in one word.")
///     .temperature(0.0)
///     .max_output_tokens(10);
/// assert_eq!(request.messages.len(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ModelRequest {
    /// System prompt, sent before `messages`. Separate, so that it can change without changing the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Arc<str>>,
    /// The conversation.
    pub messages: Messages,
    /// Tools that the model may call.
    #[serde(skip_serializing_if = "no_tools")]
    pub tools: Arc<[ToolSpec]>,
    /// Choice of the tools that the model may or must call.
    pub tool_choice: ToolChoice,
    /// Whether one turn may have several tool calls. Default: chosen by the endpoint, usually `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// Format of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// Overrides the model's name for this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Sampling temperature, usually 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Maximum number of output tokens, including reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// Stop sequences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Reasoning effort (`minimal`, `low`, `medium`, `high`) for models that support it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// Additional fields of the request body. They override other fields.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// Additional HTTP headers. Not for keys: requests may be recorded with their headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

fn no_tools(tools: &Arc<[ToolSpec]>) -> bool {
    tools.is_empty()
}

impl ModelRequest {
    /// Creates a request with this conversation. A text becomes one user message.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Message, ModelRequest};
    ///
    /// let request = ModelRequest::new([Message::user("hi"), Message::assistant("hello"), Message::user("and now?")]);
    /// assert_eq!(request.messages.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(messages: impl Into<Messages>) -> Self {
        Self { messages: messages.into(), ..Self::default() }
    }

    /// Sets the system prompt. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::ModelRequest;
    ///
    /// let request = ModelRequest::new("hi").system("Answer in one word.");
    /// assert!(request.system.is_some());
    /// ```
    #[must_use]
    pub fn system(mut self, prompt: impl Into<Arc<str>>) -> Self {
        self.system = Some(prompt.into());
        self
    }

    /// Sets the tools. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # /// The time in a city.
    /// # #[tool]
    /// # async fn time(city: String) -> Result<String, ToolError> { Ok(format!("{city}: noon")) }
    /// use agent_core::model::ModelRequest;
    ///
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let request = ModelRequest::new("hi").tools(tools.specs());
    /// assert_eq!(request.tools[0].name, "weather");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn tools(mut self, tools: impl Into<Arc<[ToolSpec]>>) -> Self {
        self.tools = tools.into();
        self
    }

    /// Sets which tools may or must be called. Default: the model decides.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{ModelRequest, ToolChoice};
    ///
    /// let request = ModelRequest::new("hi").tool_choice(ToolChoice::Required);
    /// assert_eq!(request.tool_choice, ToolChoice::Required);
    /// ```
    #[must_use]
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.tool_choice = choice;
        self
    }

    /// Sets the format of the answer. Default: text.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{ModelRequest, ResponseFormat};
    ///
    /// let request = ModelRequest::new("Give me JSON.").response_format(ResponseFormat::JsonObject);
    /// assert!(request.response_format.is_some());
    /// ```
    #[must_use]
    pub fn response_format(mut self, format: ResponseFormat) -> Self {
        self.response_format = Some(format);
        self
    }

    /// Overrides the model's name. Default: the one of the [`ChatModel`](super::ChatModel).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::ModelRequest;
    ///
    /// let request = ModelRequest::new("hi").model("gpt-5-mini");
    /// assert_eq!(request.model.as_deref(), Some("gpt-5-mini"));
    /// ```
    #[must_use]
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = Some(name.into());
        self
    }

    /// Sets the temperature. Default: the model's.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::ModelRequest;
    ///
    /// let request = ModelRequest::new("hi").temperature(0.0);
    /// assert_eq!(request.temperature, Some(0.0));
    /// ```
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Sets nucleus sampling. Default: the endpoint's.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::ModelRequest;
    ///
    /// let request = ModelRequest::new("hi").top_p(0.9);
    /// assert_eq!(request.top_p, Some(0.9));
    /// ```
    #[must_use]
    pub fn top_p(mut self, top_p: f32) -> Self {
        self.top_p = Some(top_p);
        self
    }

    /// Limits the number of output tokens. Default: chosen by the endpoint.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::ModelRequest;
    ///
    /// let request = ModelRequest::new("hi").max_output_tokens(100);
    /// assert_eq!(request.max_output_tokens, Some(100));
    /// ```
    #[must_use]
    pub fn max_output_tokens(mut self, tokens: u32) -> Self {
        self.max_output_tokens = Some(tokens);
        self
    }

    /// Sets the stop sequences. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::ModelRequest;
    ///
    /// let request = ModelRequest::new("hi").stop(["END"]);
    /// assert_eq!(request.stop, ["END"]);
    /// ```
    #[must_use]
    pub fn stop<T: Into<String>>(mut self, stop: impl IntoIterator<Item = T>) -> Self {
        self.stop = stop.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a field to the request body, for settings of a specific endpoint. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::ModelRequest;
    ///
    /// let request = ModelRequest::new("hi").extra("seed", 7);
    /// assert_eq!(request.extra["seed"], 7);
    /// ```
    #[must_use]
    pub fn extra(mut self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(field.into(), value.into());
        self
    }

    /// Adds an HTTP header. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::ModelRequest;
    ///
    /// let request = ModelRequest::new("hi").header("x-trace", "1");
    /// assert_eq!(request.headers.len(), 1);
    /// ```
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl<M: Into<Messages>> From<M> for ModelRequest {
    fn from(messages: M) -> Self {
        Self::new(messages)
    }
}
