//! Clients for Anthropic and Gemini in their own protocols, through the crate `genai`.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::StreamExt;
use genai::adapter::AdapterKind;
use genai::chat::{
    CacheControl, ChatMessage, ChatOptions, ChatRequest, ChatResponseFormat, ChatRole, ChatStream,
    ChatStreamEvent, ContentPart, JsonSpec, MessageContent, StopReason, Tool, ToolResponse,
};
use genai::resolver::{AuthData, Endpoint};
use genai::{ModelIden, ServiceTarget};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::{HttpOptions, client_builder, error_response, transport_error};
use super::message::new_id;
use super::tool_images::ToolImages;
use super::{
    ChatModel, Content, Delta, FinishReason, Message, ModelCapabilities, ModelError, ModelErrorKind,
    ModelRequest, ModelStream, Part, ResponseFormat, Role, TimeoutPhase, ToolChoice, Usage,
};
use crate::secret::Secret;

/// A model of Anthropic or Google, called in the endpoint's own protocol.
///
/// Makes one attempt per call; wrap it in [`RetryModel`](super::RetryModel) for more. The library logs error responses
/// including their bodies: set the log target `genai` to `off` where that matters.
#[derive(Debug)]
pub struct Native {
    settings: Settings,
    client: genai::Client,
}

/// Builder of a [`Native`] model.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct NativeBuilder(Settings);

#[derive(Clone, Debug)]
struct Settings {
    kind: AdapterKind,
    model: String,
    key: Option<Secret>,
    base_url: Option<String>,
    temperature: Option<f32>,
    max_output_tokens: Option<u32>,
    caches: bool,
    http: HttpOptions,
    first_token: Duration,
    idle: Duration,
}

impl Native {
    /// Starts building a model of Anthropic.
    pub fn anthropic(model: impl Into<String>) -> NativeBuilder {
        NativeBuilder::new(AdapterKind::Anthropic, model.into())
    }

    /// Starts building a model of Google.
    pub fn gemini(model: impl Into<String>) -> NativeBuilder {
        NativeBuilder::new(AdapterKind::Gemini, model.into())
    }
}

impl NativeBuilder {
    fn new(kind: AdapterKind, model: String) -> Self {
        Self(Settings {
            kind,
            model,
            key: None,
            base_url: None,
            temperature: None,
            max_output_tokens: None,
            caches: false,
            http: HttpOptions::default(),
            first_token: Duration::from_secs(120),
            idle: Duration::from_secs(60),
        })
    }

    /// Sets the API key. Default: the environment variable `ANTHROPIC_API_KEY` or `GEMINI_API_KEY`.
    pub fn key(mut self, key: impl Into<Secret>) -> Self {
        self.0.key = Some(key.into());
        self
    }

    /// Sets the base URL, without `messages` or `models`. Default: that of the provider.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.0.base_url = Some(url.into());
        self
    }

    /// Sets the temperature of requests without one. Default: chosen by the endpoint.
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.0.temperature = Some(temperature);
        self
    }

    /// Limits the number of output tokens of requests without a limit. Default: chosen by the endpoint.
    pub fn max_output_tokens(mut self, tokens: u32) -> Self {
        self.0.max_output_tokens = Some(tokens);
        self
    }

    /// Lets Anthropic cache the prompt, for about five minutes: tools with the system prompt, and the conversation up to the
    /// last message. A call that begins like an earlier one reads that part at a lower price
    /// ([`Usage::cached_tokens`](crate::model::Usage::cached_tokens)); writing it costs more than not caching. For agents, which send a
    /// growing conversation. Gemini caches without it. Default: off.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::genai::Native;
    ///
    /// let model = Native::anthropic("claude-sonnet-5").key("sk-…").cache_prompts().build()?;
    /// # drop(model);
    /// # Ok::<(), agent_core::model::ModelError>(())
    /// ```
    pub const fn cache_prompts(mut self) -> Self {
        self.0.caches = true;
        self
    }

    /// Sets proxy and connect timeout. Default: see [`HttpOptions`].
    pub fn http(mut self, options: HttpOptions) -> Self {
        self.0.http = options;
        self
    }

    /// Sets the timeout from the request to the first output. Default: 120 s.
    pub fn first_token_timeout(mut self, timeout: Duration) -> Self {
        self.0.first_token = timeout;
        self
    }

    /// Sets the timeout between two parts of the answer. Default: 60 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.0.idle = timeout;
        self
    }

    /// Builds the model. Does not send anything.
    ///
    /// # Errors
    ///
    /// [`ModelErrorKind::Auth`] without a key; the errors of [`client_builder`].
    pub fn build(mut self) -> Result<Native, ModelError> {
        let variable =
            if self.0.kind == AdapterKind::Anthropic { "ANTHROPIC_API_KEY" } else { "GEMINI_API_KEY" };
        self.0.key = self.0.key.or_else(|| Secret::from_env(variable));
        if self.0.key.is_none() {
            return Err(ModelError::new(ModelErrorKind::Auth).with_detail(format!("set {variable}")));
        }
        let http = client_builder(&self.0.http)?.build().map_err(|error| transport_error(&error))?;
        let client = genai::Client::builder().with_reqwest(http).build().map_err(|error| read(&error))?;
        Ok(Native { settings: self.0, client })
    }
}

impl ChatModel for Native {
    fn name(&self) -> &str {
        &self.settings.model
    }

    fn provider(&self) -> &str {
        if self.settings.kind == AdapterKind::Anthropic { "anthropic" } else { "gcp.gemini" }
    }

    fn capabilities(&self) -> ModelCapabilities {
        // Anthropic has no response schema in a form that every model supports.
        ModelCapabilities {
            json_schema: self.settings.kind == AdapterKind::Gemini,
            ..ModelCapabilities::default()
        }
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        let first_token = Instant::now() + crate::util::bounded(self.settings.first_token);
        let name = request.model.clone().unwrap_or_else(|| self.settings.model.clone());
        let key = self.settings.key.clone().unwrap_or_else(|| Secret::new(""));
        let named = Named { name: name.clone(), key: key.clone() };
        let model = ModelIden::new(self.settings.kind, name);
        let target = match &self.settings.base_url {
            Some(url) => {
                let url = format!("{}/", url.trim_end_matches('/'));
                ServiceTarget {
                    endpoint: Endpoint::from_owned(url),
                    auth: AuthData::from_single(key.expose()),
                    model,
                }
            }
            None => {
                let mut target = self
                    .client
                    .resolve_service_target(model)
                    .await
                    .map_err(|error| named.error(read(&error)))?;
                target.auth = AuthData::from_single(key.expose());
                target
            }
        };
        let options = self.options(&request);
        let sent =
            self.client.exec_chat_stream(target, conversation(&request, self.caches()), Some(&options));
        let stream = match tokio::time::timeout_at(first_token, sent).await {
            Ok(Ok(response)) => response.stream,
            Ok(Err(error)) => return Err(named.error(read(&error))),
            Err(_) => return Err(named.error(late(TimeoutPhase::FirstToken))),
        };
        let mut reading = ReplyStream {
            stream,
            named,
            first_token,
            idle: self.settings.idle,
            has_output: false,
            over: false,
            ready: VecDeque::new(),
            calls: HashMap::new(),
            sealed: String::new(),
            failed: None,
        };
        // The library connects on the first poll. A rejection must be the error of this call, not of the stream.
        let first = reading.next().await;
        if let Some(Err(error)) = first {
            return Err(error);
        }
        let rest = futures::stream::unfold(reading, |mut reading| async move {
            let item = reading.next().await?;
            Some((item, reading))
        });
        Ok(ModelStream::new(futures::stream::iter(first).chain(rest)))
    }
}

impl Native {
    fn caches(&self) -> bool {
        self.settings.caches && self.settings.kind == AdapterKind::Anthropic
    }

    fn options(&self, request: &ModelRequest) -> ChatOptions {
        let mut options = ChatOptions {
            temperature: request.temperature.or(self.settings.temperature).map(f64::from),
            top_p: request.top_p.map(f64::from),
            max_tokens: request.max_output_tokens.or(self.settings.max_output_tokens),
            stop_sequences: request.stop.clone(),
            capture_usage: Some(true),
            capture_reasoning_content: Some(true),
            reasoning_effort: request.reasoning_effort.as_deref().and_then(|effort| effort.parse().ok()),
            ..ChatOptions::default()
        };
        options.response_format = request.response_format.as_ref().map(|format| match format {
            ResponseFormat::JsonObject => ChatResponseFormat::JsonMode,
            ResponseFormat::JsonSchema { name, schema, .. } => {
                ChatResponseFormat::JsonSpec(JsonSpec::new(name.as_str(), Value::clone(schema)))
            }
        });
        options.tool_choice = match &request.tool_choice {
            ToolChoice::Auto => None,
            ToolChoice::None => Some(genai::chat::ToolChoice::None),
            ToolChoice::Required => Some(genai::chat::ToolChoice::Required),
            ToolChoice::Tool(name) => Some(genai::chat::ToolChoice::tool(name.as_str())),
        };
        options.extra_headers = (!request.headers.is_empty()).then(|| request.headers.clone().into());
        options.extra_body = (!request.extra.is_empty()).then(|| Value::Object(request.extra.clone()));
        options
    }
}

fn conversation(request: &ModelRequest, caches: bool) -> ChatRequest {
    let tools = request.tools.iter().map(|tool| {
        Tool::new(tool.name.as_str())
            .with_description(tool.description.as_str())
            .with_schema(tool.parameters.clone())
            .with_strict(tool.strict)
    });
    // Gemini matches results by the name of the tool.
    let names: HashMap<&str, &str> = request
        .messages
        .iter()
        .flat_map(|message| &message.tool_calls)
        .map(|call| (call.id.as_str(), call.name.as_str()))
        .collect();
    let mut messages = Vec::with_capacity(request.messages.len());
    let mut images = ToolImages::default();
    for message in request.messages.iter() {
        messages.extend(images.before(message).map(|images| to_chat_message(&images, &names)));
        messages.push(to_chat_message(message, &names));
    }
    messages.extend(images.end().map(|images| to_chat_message(&images, &names)));
    let mut conversation = ChatRequest::new(messages);
    let system = request.system.as_deref().map(str::to_owned);
    if caches {
        // Two places up to which the endpoint caches: what all conversations of an agent share, and this one so far.
        if let Some(last) = conversation.messages.pop() {
            conversation.messages.push(last.with_options(CacheControl::Ephemeral));
        }
        let system = system.map(|text| ChatMessage::system(text).with_options(CacheControl::Ephemeral));
        conversation.messages.splice(0..0, system);
    } else {
        conversation.system = system;
    }
    conversation.tools = (!request.tools.is_empty()).then(|| tools.collect());
    conversation
}

fn to_chat_message(message: &Message, names: &HashMap<&str, &str>) -> ChatMessage {
    let mut parts = Vec::new();
    for thought in &message.reasoning {
        // Reasoning with an id was sealed by another endpoint.
        if let (None, Some(sealed)) = (&thought.id, &thought.sealed) {
            parts.push(ContentPart::ThoughtSignature(sealed.clone()));
            parts.push(ContentPart::ReasoningContent(thought.text.clone()));
        }
    }
    let role = match message.role {
        Role::System => ChatRole::System,
        Role::User => ChatRole::User,
        Role::Assistant => ChatRole::Assistant,
        Role::Tool => {
            let id = message.tool_call_id.as_deref().unwrap_or_default();
            let mut result = ToolResponse::new(id, message.text());
            if let Some(name) = message.name.as_deref().or_else(|| names.get(id).copied()) {
                result = result.with_fn_name(name);
            }
            return ChatMessage::new(ChatRole::Tool, MessageContent::from_tool_responses(vec![result]));
        }
    };
    match &message.content {
        Content::Text(text) if text.is_empty() => {}
        Content::Text(text) => parts.push(ContentPart::from_text(text.as_str())),
        Content::Parts(own) => parts.extend(own.iter().map(part)),
    }
    for call in &message.tool_calls {
        let signatures = call.provider.as_ref().and_then(|data| data.get("thought_signatures"));
        parts.push(ContentPart::ToolCall(genai::chat::ToolCall {
            call_id: call.id.clone(),
            fn_name: call.name.clone(),
            fn_arguments: call
                .parse_arguments()
                .ok()
                .filter(Value::is_object)
                .unwrap_or_else(|| json!({ "malformed_arguments": call.arguments })),
            thought_signatures: signatures.and_then(|list| serde_json::from_value(list.clone()).ok()),
        }));
    }
    ChatMessage::new(role, MessageContent::from_parts(parts))
}

fn part(part: &Part) -> ContentPart {
    match part {
        Part::Text { text } => ContentPart::from_text(text.as_str()),
        Part::Image { url, .. } => {
            let inline = url.strip_prefix("data:").and_then(|data| data.split_once(";base64,"));
            match inline {
                Some((mime, data)) => ContentPart::from_binary_base64(mime, data, None),
                None => ContentPart::from_binary_url("image/*", url.as_str(), None),
            }
        }
    }
}

struct Named {
    name: String,
    key: Secret,
}

impl Named {
    fn error(&self, error: ModelError) -> ModelError {
        let detail = error.detail().map(|detail| self.key.scrub(detail));
        let error = error.with_model(self.name.as_str());
        match detail {
            Some(detail) => error.with_detail(detail),
            None => error,
        }
    }
}

struct ReplyStream {
    stream: ChatStream,
    named: Named,
    first_token: Instant,
    idle: Duration,
    has_output: bool,
    over: bool,
    ready: VecDeque<Delta>,
    /// By call id: its number, and the length of the arguments already yielded.
    calls: HashMap<String, (u32, usize)>,
    sealed: String,
    failed: Option<ModelError>,
}

impl ReplyStream {
    async fn next(&mut self) -> Option<Result<Delta, ModelError>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                self.has_output |= delta.is_output();
                return Some(Ok(delta));
            }
            if let Some(error) = self.failed.take() {
                self.over = true;
                return Some(Err(self.named.error(error)));
            }
            if self.over {
                return None;
            }
            let (until, waited) = if self.has_output {
                (Instant::now() + crate::util::bounded(self.idle), TimeoutPhase::Idle)
            } else {
                (self.first_token, TimeoutPhase::FirstToken)
            };
            match tokio::time::timeout_at(until, self.stream.next()).await {
                Ok(Some(Ok(event))) => self.event(event),
                Ok(Some(Err(error))) => self.failed = Some(read(&error)),
                // Without the library's end event, the answer was cut off.
                Ok(None) => self.failed = Some(ModelError::new(ModelErrorKind::Cut)),
                Err(_) => self.failed = Some(late(waited)),
            }
        }
    }

    fn event(&mut self, event: ChatStreamEvent) {
        if !self.sealed.is_empty() && !matches!(event, ChatStreamEvent::ThoughtSignatureChunk(_)) {
            let sealed = Some(std::mem::take(&mut self.sealed));
            self.ready.push_back(Delta::ReasoningSealed { id: None, sealed });
        }
        match event {
            ChatStreamEvent::Start | ChatStreamEvent::Heartbeat => {}
            ChatStreamEvent::Chunk(chunk) => self.ready.push_back(Delta::Text { text: chunk.content }),
            ChatStreamEvent::ReasoningChunk(chunk) => {
                self.ready.push_back(Delta::Reasoning { text: chunk.content });
            }
            ChatStreamEvent::ThoughtSignatureChunk(chunk) => self.sealed.push_str(&chunk.content),
            ChatStreamEvent::ToolCallChunk(chunk) => self.call(chunk.tool_call),
            ChatStreamEvent::End(end) => {
                if let Some(usage) = end.captured_usage {
                    self.ready.push_back(Delta::Usage { usage: count(&usage) });
                }
                let reason = match end.captured_stop_reason {
                    Some(StopReason::MaxTokens(_)) => FinishReason::Length,
                    Some(StopReason::ContentFilter(_)) => FinishReason::Filtered,
                    Some(StopReason::ToolCall(_)) => FinishReason::ToolCalls,
                    _ if !self.calls.is_empty() => FinishReason::ToolCalls,
                    Some(StopReason::Other(reason)) => FinishReason::Other(reason.chars().take(64).collect()),
                    Some(StopReason::Completed(_) | StopReason::StopSequence(_)) => FinishReason::Stop,
                    None => {
                        self.failed = Some(ModelError::new(ModelErrorKind::Cut));
                        return;
                    }
                };
                self.ready.push_back(Delta::Finished { reason });
                self.over = true;
            }
        }
    }

    /// The library repeats all arguments so far (a text) or sends them at once (a value).
    fn call(&mut self, call: genai::chat::ToolCall) {
        let arguments = match call.fn_arguments {
            Value::String(text) => text,
            Value::Null => String::new(),
            value => value.to_string(),
        };
        let next = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        let (index, shown) = self.calls.entry(call.call_id.clone()).or_insert_with(|| {
            // Gemini sends no ids, and the library counts within one answer. Ids must be unique in a conversation.
            let id = if call.call_id.starts_with("call#") { new_id("call_") } else { call.call_id };
            self.ready.push_back(Delta::ToolCallStarted { index: next, id, name: call.fn_name });
            (next, 0)
        });
        if let Some(more) = arguments.get(*shown..).filter(|more| !more.is_empty()) {
            self.ready.push_back(Delta::ToolCallArguments { index: *index, text: more.to_owned() });
            *shown = arguments.len();
        }
        if let Some(signatures) = call.thought_signatures {
            let data = json!({ "thought_signatures": signatures });
            self.ready.push_back(Delta::ToolCallProvider { index: *index, data });
        }
    }
}

fn count(usage: &genai::chat::Usage) -> Usage {
    let number = |count: Option<i32>| u64::try_from(count.unwrap_or(0)).unwrap_or(0);
    Usage {
        input_tokens: number(usage.prompt_tokens),
        output_tokens: number(usage.completion_tokens),
        cached_tokens: number(usage.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens)),
        reasoning_tokens: number(
            usage.completion_tokens_details.as_ref().and_then(|details| details.reasoning_tokens),
        ),
    }
}

fn late(waited: TimeoutPhase) -> ModelError {
    ModelError::new(ModelErrorKind::TimedOut { waited })
}

/// The library's errors contain whole bodies and requests; only their kind and the endpoint's message are used.
fn read(error: &genai::Error) -> ModelError {
    use genai::Error;
    match error {
        Error::HttpError { status, body, headers, .. } => error_response::of(status.as_u16(), headers, body),
        Error::WebModelCall { webc_error, .. } | Error::WebAdapterCall { webc_error, .. } => match webc_error
        {
            genai::webc::Error::ResponseFailedStatus { status, body, headers } => {
                error_response::of(status.as_u16(), headers, body)
            }
            genai::webc::Error::Reqwest(error) => transport_error(error),
            _ => ModelError::new(ModelErrorKind::Malformed),
        },
        Error::WebStream { error, .. } => match error.downcast_ref::<Error>() {
            Some(inner) => read(inner),
            None => match error.downcast_ref::<reqwest::Error>() {
                Some(error) => transport_error(error),
                None => ModelError::new(ModelErrorKind::Transport),
            },
        },
        Error::ChatResponse { body, .. } => error_response::inside(body),
        Error::StreamParse { .. }
        | Error::InvalidJsonResponseElement { .. }
        | Error::NoChatResponse { .. } => ModelError::new(ModelErrorKind::Malformed),
        Error::JsonValueExt(_) | Error::SerdeJson(_) | Error::ChatResponseGeneration { .. } => {
            ModelError::new(ModelErrorKind::Malformed)
        }
        Error::RequiresApiKey { .. } | Error::NoAuthData { .. } | Error::NoAuthResolver { .. } => {
            ModelError::new(ModelErrorKind::Auth)
        }
        _ => ModelError::new(ModelErrorKind::Unsupported),
    }
}
