//! Client for models with OpenAI's two protocols, at OpenAI or at a compatible endpoint.
//!
//! async-openai sends the requests and splits the stream. Requests and events use lenient types of this module, and
//! the library's retry, error handling and logging of bodies are replaced (see `call`).

mod service;
mod chat;
mod embeddings;
mod stream;
mod responses;

use std::pin::Pin;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use futures::Stream;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

pub use self::embeddings::{OpenAiEmbeddings, OpenAiEmbeddingsBuilder};
use self::service::Call;
use self::stream::Reader;
use super::http::sse_guard::SharedStreamStatus;
use super::http::{HttpOptions, LazyClient, Transport};
use super::{
    ChatModel, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest, ModelStream, TimeoutPhase,
    tool_images,
};
use crate::secret::Secret;

const OPENAI: &str = "https://api.openai.com/v1";
const DEFAULT_MODEL: &str = "gpt-4o-mini";
const DEFAULT_TEMPERATURE: f32 = 0.7;

/// Protocol of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// `/chat/completions`, which every compatible server has.
    #[default]
    Chat,
    /// `/responses`, which keeps the reasoning of models between turns.
    Responses,
}

/// Dialect of an endpoint, where implementations of the protocol differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI: `max_completion_tokens`; unknown fields are rejected.
    OpenAi,
    /// vLLM, Ollama, llama.cpp, Gemini and others: `max_tokens`; reasoning is sent back as `reasoning_content`.
    Compatible,
}

/// Events of an answer.
type Events = Pin<Box<dyn Stream<Item = Result<Value, OpenAIError>> + Send>>;

/// Settings of the model, as opposed to those of a request.
#[derive(Clone, Debug)]
struct Settings {
    name: String,
    dialect: Dialect,
    temperature: Option<f32>,
    top_p: Option<f32>,
    max_output_tokens: Option<u32>,
    usage: bool,
}

/// A model at an endpoint with one of OpenAI's protocols.
///
/// Makes one attempt per call; wrap it in a retry for more. Images of tool results are sent as images; if the endpoint rejects
/// a request with them, the request is sent once more with a text that says that they are left out, and so is each later one.
///
/// # Examples
///
/// ```no_run
/// use agent_core::model::{Model, openai::OpenAi};
/// # async fn hello() -> Result<(), agent_core::model::ModelError> {
/// let model = Model::new(OpenAi::builder().base_url("http://localhost:8000/v1").model("Qwen/Qwen2.5-7B-Instruct").build()?);
/// println!("{}", model.complete("안녕하세요").await?.message.text());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct OpenAi {
    settings: Settings,
    protocol: Protocol,
    capabilities: ModelCapabilities,
    config: OpenAIConfig,
    /// Builds requests only; they are sent through `transport`.
    client: Arc<LazyClient>,
    transport: Transport,
    headers: HeaderMap,
    key: Option<Secret>,
    first_token: Duration,
    idle: Duration,
    /// The endpoint has rejected images of tool results.
    refuses_images: AtomicBool,
}

/// Builder of an [`OpenAi`] model.
///
/// # Examples
///
/// ```
/// use agent_core::model::openai::OpenAi;
/// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
///
/// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").temperature(0.2).build()?;
/// # Ok(model) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct OpenAiBuilder {
    model: String,
    key: Option<Secret>,
    base_url: String,
    protocol: Protocol,
    dialect: Option<Dialect>,
    capabilities: ModelCapabilities,
    temperature: Option<f32>,
    top_p: Option<f32>,
    max_output_tokens: Option<u32>,
    headers: Vec<(String, Secret)>,
    http: HttpOptions,
    transport: Option<Transport>,
    first_token: Duration,
    idle: Duration,
    usage: bool,
}

impl OpenAi {
    /// Starts building a model with OpenAI's base URL, `gpt-4o-mini`, temperature 0.7 and no key.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> OpenAiBuilder {
        OpenAiBuilder {
            model: DEFAULT_MODEL.to_owned(),
            key: None,
            base_url: OPENAI.to_owned(),
            protocol: Protocol::default(),
            dialect: None,
            capabilities: ModelCapabilities::default(),
            temperature: Some(DEFAULT_TEMPERATURE),
            top_p: None,
            max_output_tokens: None,
            headers: Vec::new(),
            http: HttpOptions::default(),
            transport: None,
            first_token: Duration::from_secs(120),
            idle: Duration::from_secs(60),
            usage: true,
        }
    }

    /// Starts building a model from `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `DEFAULT_LLM_MODEL` and `LLM_TEMPERATURE`.
    ///
    /// # Errors
    ///
    /// [`ModelErrorKind::Auth`] without a key and without the base URL of another endpoint; [`ModelErrorKind::Unsupported`]
    /// if the temperature is not a number from 0 to 2.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder_from_env()?.max_output_tokens(500).build()?;
    /// # Ok(model) }
    /// ```
    pub fn builder_from_env() -> Result<OpenAiBuilder, ModelError> {
        let text = |name: &str| {
            std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let mut builder = Self::builder();
        builder.key = Secret::from_env("OPENAI_API_KEY");
        match text("OPENAI_BASE_URL") {
            Some(url) => builder.base_url = url,
            None if builder.key.is_none() => {
                return Err(ModelError::new(ModelErrorKind::Auth)
                    .with_detail("set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint without a key"));
            }
            None => {}
        }
        if let Some(model) = text("DEFAULT_LLM_MODEL") {
            builder.model = model;
        }
        if let Some(temperature) = text("LLM_TEMPERATURE") {
            let temperature = temperature.parse().ok().filter(|value| (0.0..=2.0).contains(value));
            builder.temperature =
                Some(temperature.ok_or_else(|| unusable("LLM_TEMPERATURE is not a number from 0 to 2"))?);
        }
        Ok(builder)
    }

    /// Builds a model from environment variables; see [`builder_from_env`](Self::builder_from_env).
    ///
    /// # Errors
    ///
    /// The errors of [`builder_from_env`](Self::builder_from_env) and [`OpenAiBuilder::build`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::from_env()?;
    /// # Ok(model) }
    /// ```
    pub fn from_env() -> Result<Self, ModelError> {
        Self::builder_from_env()?.build()
    }

    /// Adds the model's name to an error and removes the key.
    fn named(&self, error: ModelError, request: &ModelRequest) -> ModelError {
        let error = match (&self.key, error.detail()) {
            (Some(key), Some(detail)) => {
                let detail = key.scrub(detail);
                error.with_detail(detail)
            }
            _ => error,
        };
        error.with_model(request.model.as_deref().unwrap_or(&self.settings.name))
    }

    /// Sends the request. Returns its events when the endpoint has accepted it.
    async fn send(
        &self,
        request: &ModelRequest,
        headers: &HeaderMap,
        status: &SharedStreamStatus,
    ) -> Result<Events, ModelError> {
        let call = Call {
            transport: self.transport.clone(),
            headers: headers.clone(),
            status: SharedStreamStatus::clone(status),
        };
        // Cheap, because the content is shared. One client per call, so that the state of the call travels with it.
        let client = Client::build(self.client.get()?.clone(), self.config.clone()).with_http_service(call);
        let sent = match self.protocol {
            Protocol::Chat => {
                let body = chat::Body { request, settings: &self.settings };
                client.chat().create_stream_byot::<_, Value>(body).await
            }
            Protocol::Responses => {
                let body = responses::Body { request, settings: &self.settings };
                client.responses().create_stream_byot::<_, Value>(body).await
            }
        };
        sent.map_err(service::fault)
    }

    fn headers(&self, request: &ModelRequest) -> Result<HeaderMap, ModelError> {
        let mut headers = self.headers.clone();
        for (name, value) in &request.headers {
            let (name, value) = header(name, value)?;
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

impl ChatModel for OpenAi {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn provider(&self) -> &str {
        "openai"
    }

    fn capabilities(&self) -> ModelCapabilities {
        self.capabilities
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        let started = tokio::time::Instant::now();
        let first = match self.refuses_images.load(Ordering::Relaxed) {
            true => tool_images::without(&request),
            false => None,
        };
        let request = first.unwrap_or(request);
        let status = SharedStreamStatus::default();
        let headers = self.headers(&request).map_err(|error| self.named(error, &request))?;
        let sent = async {
            let error = match self.send(&request, &headers, &status).await {
                Ok(events) => return Ok(events),
                Err(error) => error,
            };
            if error.kind() != ModelErrorKind::BadRequest {
                return Err(error);
            }
            let Some(plain) = tool_images::without(&request) else { return Err(error) };
            let events = self.send(&plain, &headers, &status).await.map_err(|_| error)?;
            self.refuses_images.store(true, Ordering::Relaxed);
            Ok(events)
        };
        let events = match tokio::time::timeout(self.first_token, sent).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return Err(self.named(error, &request)),
            Err(_) => {
                let late = ModelError::new(ModelErrorKind::TimedOut { waited: TimeoutPhase::FirstToken });
                return Err(self.named(late, &request));
            }
        };
        let decoder: Box<dyn stream::Decoder> = match self.protocol {
            Protocol::Chat => Box::<chat::Decoder>::default(),
            Protocol::Responses => Box::<responses::Decoder>::default(),
        };
        let name = request.model.clone().unwrap_or_else(|| self.settings.name.clone());
        Ok(Reader {
            events,
            decoder,
            status,
            first_token: started + self.first_token,
            idle: self.idle,
            name,
            key: self.key.clone(),
        }
        .into_stream())
    }
}

impl OpenAiBuilder {
    /// Sets the model. Default: `gpt-4o-mini`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").build()?;
    /// # Ok(model) }
    /// ```
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.model = name.into();
        self
    }

    /// Sets the API key, sent as a bearer token. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{model::openai::OpenAi, secret::Secret};
    /// # fn open() -> Result<OpenAi, Box<dyn std::error::Error>> {
    ///
    /// let key = Secret::from_env("TEAM_KEY").ok_or("set TEAM_KEY")?;
    /// let model = OpenAi::builder().key(key).build()?;
    /// # Ok(model) }
    /// ```
    pub fn key(mut self, key: impl Into<Secret>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the base URL, without `/chat/completions`. Default: `https://api.openai.com/v1`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").base_url("http://localhost:11434/v1").build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Sets the protocol. Default: chat completions.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::{OpenAi, Protocol};
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").protocol(Protocol::Responses).build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets the dialect. Default: OpenAI's at `*.openai.com` and `*.azure.com`, otherwise compatible.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::{Dialect, OpenAi};
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// // A gateway in front of OpenAI.
    /// let model = OpenAi::builder().base_url("https://llm.internal/v1").dialect(Dialect::OpenAi).build()?;
    /// # Ok(model) }
    /// ```
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// Declares that the endpoint does not enforce response schemas. Answers are then validated and, if invalid,
    /// requested again. Default: it does.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").without_json_schema().build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn without_json_schema(mut self) -> Self {
        self.capabilities.json_schema = false;
        self
    }

    /// Declares that the endpoint does not support tools. Default: it does.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").without_tools().build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn without_tools(mut self) -> Self {
        self.capabilities.tools = false;
        self
    }

    /// Sets the temperature of requests without one; `None`: chosen by the endpoint. Default: 0.7, except for
    /// models that reject it (o1, o3, o4, gpt-5).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").temperature(0.2).build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn temperature(mut self, temperature: impl Into<Option<f32>>) -> Self {
        self.temperature = temperature.into();
        self
    }

    /// Sets nucleus sampling of requests without it. Default: chosen by the endpoint.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").temperature(None).top_p(0.9).build()?;
    /// # Ok(model) }
    /// ```
    pub fn top_p(mut self, top_p: f32) -> Self {
        self.top_p = Some(top_p);
        self
    }

    /// Limits the number of output tokens of requests without a limit. Default: chosen by the endpoint.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").max_output_tokens(500).build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn max_output_tokens(mut self, tokens: u32) -> Self {
        self.max_output_tokens = Some(tokens);
        self
    }

    /// Adds a header to every request, overriding generated headers. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").header("x-team", "reports").build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets proxy and connect timeout. Default: see [`HttpOptions`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{http::HttpOptions, openai::OpenAi};
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").http(HttpOptions::default()).build()?;
    /// # Ok(model) }
    /// ```
    pub fn http(mut self, options: HttpOptions) -> Self {
        self.http = options;
        self
    }

    /// Sets the transport. Default: the network.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{http::{HttpOptions, Transport}, openai::OpenAi};
    /// # fn open() -> Result<[OpenAi; 2], agent_core::model::ModelError> {
    ///
    /// // Two models over one pool of connections.
    /// let network = Transport::network(&HttpOptions::default())?;
    /// let model = |name| OpenAi::builder().key("sk-…").model(name).transport(network.clone()).build();
    /// Ok([model("gpt-5-mini")?, model("gpt-5")?])
    /// # }
    /// ```
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Sets the timeout from the request to the first output. Default: 120 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").first_token_timeout(std::time::Duration::from_secs(30)).build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn first_token_timeout(mut self, timeout: Duration) -> Self {
        self.first_token = timeout;
        self
    }

    /// Sets the timeout between two parts of the answer. Default: 60 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").idle_timeout(std::time::Duration::from_secs(20)).build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle = timeout;
        self
    }

    /// Does not request usage in the stream, for servers that reject `stream_options`. Default: requests it.
    pub fn without_stream_usage(mut self) -> Self {
        self.usage = false;
        self
    }

    /// Validates the settings and builds the model. Does not send anything.
    ///
    /// # Errors
    ///
    /// The base URL is not an `http` or `https` URL, the key or a header contains illegal characters, or the proxy URL
    /// is malformed. TLS is set up for the first request.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAi;
    /// # fn open() -> Result<OpenAi, agent_core::model::ModelError> {
    ///
    /// let model = OpenAi::builder().key("sk-…").model("gpt-5-mini").build()?;
    /// # Ok(model) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build(self) -> Result<OpenAi, ModelError> {
        let base = self.base_url.trim().trim_end_matches('/');
        let url = endpoint(base)?;
        let host = url.host_str().unwrap_or_default();
        let own = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
        let dialect = self.dialect.unwrap_or(if own("openai.com") || own("azure.com") {
            Dialect::OpenAi
        } else {
            Dialect::Compatible
        });

        let mut headers = HeaderMap::new();
        if let Some(key) = &self.key {
            let (_, value) = header("authorization", &format!("Bearer {}", key.expose()))?;
            headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in &self.headers {
            let (name, value) = header(name, value.expose())?;
            headers.insert(name, value);
        }

        let client = Arc::new(LazyClient::new(self.http)?);
        let transport = self.transport.unwrap_or_else(|| Transport::client(Arc::clone(&client)));
        // The key is added to the request immediately before it is sent; async-openai never has it.
        let config =
            OpenAIConfig::new().with_api_base(base).with_api_key("").with_org_id("").with_project_id("");
        Ok(OpenAi {
            settings: Settings {
                name: self.model,
                dialect,
                temperature: self.temperature,
                top_p: self.top_p,
                max_output_tokens: self.max_output_tokens,
                usage: self.usage,
            },
            protocol: self.protocol,
            capabilities: self.capabilities,
            config,
            client,
            transport,
            headers,
            key: self.key,
            first_token: self.first_token,
            idle: self.idle,
            refuses_images: AtomicBool::new(false),
        })
    }
}

impl Settings {
    fn model<'a>(&'a self, request: &'a ModelRequest) -> &'a str {
        request.model.as_deref().unwrap_or(&self.name)
    }

    /// Reasoning models reject any temperature. One that a request sets explicitly is sent nevertheless.
    fn temperature(&self, request: &ModelRequest) -> Option<f32> {
        let name = self.model(request);
        let name = name.rsplit('/').next().unwrap_or(name);
        let reasons = ["o1", "o3", "o4", "gpt-5"].iter().any(|start| name.starts_with(start));
        request.temperature.or(self.temperature.filter(|_| !reasons))
    }
}

/// Parses the base URL of an endpoint.
fn endpoint(base: &str) -> Result<reqwest::Url, ModelError> {
    reqwest::Url::parse(base.trim().trim_end_matches('/'))
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none())
        .ok_or_else(|| unusable("the base URL is not an http or https URL"))
}

/// Creates a header with a value that is treated as a secret.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ModelError> {
    let name = HeaderName::try_from(name).map_err(|_| unusable("a header has an invalid name"))?;
    let mut value =
        HeaderValue::try_from(value).map_err(|_| unusable("a key or header contains illegal characters"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn unusable(detail: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Unsupported).with_detail(detail)
}
