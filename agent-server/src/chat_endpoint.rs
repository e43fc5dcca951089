//! The plain model behind the streaming chat, and the limits of its answers.

use std::sync::Arc;

use agent_core::model::{Model, ModelRequest};

use crate::metrics::{MeteredModel, Metrics};

/// A plain model behind `/api/chat/stream` and, under its name, `/v1/chat/completions`.
///
/// It stores nothing; the request contains the conversation.
///
/// # Examples
///
/// ```no_run
/// use agent_core::model::{Model, openai::OpenAi};
/// use agent_server::Chat;
/// # fn chat() -> Result<Chat, agent_core::model::ModelError> {
/// let model = Model::new(OpenAi::builder().base_url("http://localhost:11434/v1").model("qwen2.5").build()?);
/// Ok(Chat::new(model).system("Answer in one sentence."))
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "give it to `ServerBuilder::chat`"]
pub struct Chat {
    name: String,
    model: Model,
    system: Option<Arc<str>>,
    max_output_tokens: u32,
    temperature: f32,
    /// Why requests are refused, if the model cannot be called.
    refusal: Option<Arc<str>>,
}

impl Chat {
    /// Creates a chat with a model: named `chat`, at most 1,000 output tokens, temperature 0.7, no system prompt.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(model: agent_core::model::Model) -> agent_server::Chat {
    /// use agent_server::Chat;
    ///
    /// Chat::new(model)
    /// # }
    /// ```
    pub fn new(model: Model) -> Self {
        Self {
            name: "chat".to_owned(),
            model,
            system: None,
            max_output_tokens: 1_000,
            temperature: 0.7,
            refusal: None,
        }
    }

    /// Sets the name as a model of `/v1/models`. Default: `chat`.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(model: agent_core::model::Model) -> agent_server::Chat {
    /// use agent_server::Chat;
    ///
    /// Chat::new(model).name("support")
    /// # }
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the system prompt. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(model: agent_core::model::Model) -> agent_server::Chat {
    /// use agent_server::Chat;
    ///
    /// Chat::new(model).system("You answer in Korean.")
    /// # }
    /// ```
    pub fn system(mut self, prompt: impl Into<Arc<str>>) -> Self {
        self.system = Some(prompt.into());
        self
    }

    /// Sets the maximum length of an answer at `/api/chat/stream`, in tokens. Default: 1,000.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(model: agent_core::model::Model) -> agent_server::Chat {
    /// use agent_server::Chat;
    ///
    /// Chat::new(model).max_output_tokens(4_000)
    /// # }
    /// ```
    pub const fn max_output_tokens(mut self, tokens: u32) -> Self {
        self.max_output_tokens = tokens;
        self
    }

    /// Sets the temperature at `/api/chat/stream`. Default: 0.7.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(model: agent_core::model::Model) -> agent_server::Chat {
    /// use agent_server::Chat;
    ///
    /// Chat::new(model).temperature(0.0)
    /// # }
    /// ```
    pub const fn temperature(mut self, temperature: f32) -> Self {
        self.temperature = temperature;
        self
    }

    /// Refuses all requests, because the endpoint of the model is this server.
    #[cfg(feature = "cli")]
    pub(crate) fn refuse(mut self, reason: Option<&str>) -> Self {
        self.refusal = reason.map(Arc::from);
        self
    }

    /// Returns why requests are refused.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Counts the calls of the model.
    pub(crate) fn metered(mut self, metrics: &Arc<Metrics>) -> Self {
        self.model = Model::new(MeteredModel::new(self.model, Arc::clone(metrics)));
        self
    }

    pub(crate) fn id(&self) -> &str {
        &self.name
    }

    pub(crate) const fn model(&self) -> &Model {
        &self.model
    }

    /// Adds the system prompt to a request.
    pub(crate) fn with_prompt(&self, mut request: ModelRequest) -> ModelRequest {
        request.system.clone_from(&self.system);
        request
    }

    /// Adds the system prompt and the limits of `/api/chat/stream` to a request.
    pub(crate) fn with_limits(&self, request: ModelRequest) -> ModelRequest {
        self.with_prompt(request).max_output_tokens(self.max_output_tokens).temperature(self.temperature)
    }
}
