//! Models by name, with retries: what most programs need in one line.

use std::sync::Arc;

#[cfg(feature = "native")]
use super::genai::Native;
use super::{
    ChatModel, Embedder, Fallback, Model, ModelError, ModelErrorKind, RetryModel,
    openai::{OpenAi, OpenAiEmbeddings},
};
use crate::secret::Secret;

/// Model of OpenAI that [`Model::from_env`] uses without `DEFAULT_LLM_MODEL`.
const OPENAI_MODEL: &str = "gpt-5-mini";
#[cfg(feature = "native")]
const ANTHROPIC_MODEL: &str = "claude-sonnet-5";
#[cfg(feature = "native")]
const GEMINI_MODEL: &str = "gemini-3-flash";

impl Model {
    /// Returns a model behind OpenAI's protocol, with retries after transient errors. The key is read from
    /// `OPENAI_API_KEY`, another endpoint from `OPENAI_BASE_URL`. Nothing is sent.
    ///
    /// [`OpenAi::builder`] has all settings.
    ///
    /// # Errors
    ///
    /// Those of [`OpenAi::builder_from_env`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Runtime, model::Model};
    ///
    /// # fn open() -> Result<(), agent_core::model::ModelError> {
    /// let runtime = Runtime::builder().model(Model::openai("gpt-5-mini")?).build();
    /// # drop(runtime); Ok(()) }
    /// ```
    pub fn openai(name: impl Into<String>) -> Result<Self, ModelError> {
        Ok(Self::new(RetryModel::new(OpenAi::builder_from_env()?.model(name).build()?)))
    }

    /// Returns a model of Anthropic, in its own protocol, with retries after transient errors. The key is read from
    /// `ANTHROPIC_API_KEY`. Nothing is sent. Needs the feature `native`.
    ///
    /// # Errors
    ///
    /// [`ModelErrorKind::Auth`] without a key.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Runtime, model::Model};
    ///
    /// # fn open() -> Result<(), agent_core::model::ModelError> {
    /// let runtime = Runtime::builder().model(Model::anthropic("claude-sonnet-5")?).build();
    /// # drop(runtime); Ok(()) }
    /// ```
    #[cfg(feature = "native")]
    pub fn anthropic(name: impl Into<String>) -> Result<Self, ModelError> {
        Ok(Self::new(RetryModel::new(Native::anthropic(name).build()?)))
    }

    /// Returns a model of Google, in its own protocol, with retries after transient errors. The key is read from
    /// `GEMINI_API_KEY`. Nothing is sent. Needs the feature `native`.
    ///
    /// # Errors
    ///
    /// [`ModelErrorKind::Auth`] without a key.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Runtime, model::Model};
    ///
    /// # fn open() -> Result<(), agent_core::model::ModelError> {
    /// let runtime = Runtime::builder().model(Model::gemini("gemini-3-flash")?).build();
    /// # drop(runtime); Ok(()) }
    /// ```
    #[cfg(feature = "native")]
    pub fn gemini(name: impl Into<String>) -> Result<Self, ModelError> {
        Ok(Self::new(RetryModel::new(Native::gemini(name).build()?)))
    }

    /// Returns the model that the environment describes, with retries after transient errors.
    ///
    /// Every provider with a key is used, in this order; the next one is called when one fails:
    ///
    /// | Variable | Model |
    /// |---|---|
    /// | `OPENAI_API_KEY`, or `OPENAI_BASE_URL` for another endpoint | `DEFAULT_LLM_MODEL`, default `gpt-5-mini` |
    /// | `ANTHROPIC_API_KEY` (feature `native`) | `ANTHROPIC_MODEL`, default `claude-sonnet-5` |
    /// | `GEMINI_API_KEY` (feature `native`) | `GEMINI_MODEL`, default `gemini-3-flash` |
    ///
    /// # Errors
    ///
    /// [`ModelErrorKind::Auth`] if none is set; those of [`OpenAi::builder_from_env`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Model, testing::{Scripted, Turn}};
    ///
    /// # fn open() -> Result<(), agent_core::model::ModelError> {
    /// // A real model where one is configured, else a scripted one.
    /// let model = Model::from_env_or(Scripted::new([Turn::text("hello")]))?;
    /// # drop((model, Model::from_env()?)); Ok(()) }
    /// ```
    pub fn from_env() -> Result<Self, ModelError> {
        let mut models = Vec::new();
        if Secret::from_env("OPENAI_API_KEY").is_some() || variable("OPENAI_BASE_URL").is_some() {
            let mut builder = OpenAi::builder_from_env()?;
            if variable("DEFAULT_LLM_MODEL").is_none() {
                builder = builder.model(OPENAI_MODEL);
            }
            models.push(Self::new(RetryModel::new(builder.build()?)));
        }
        #[cfg(feature = "native")]
        if Secret::from_env("ANTHROPIC_API_KEY").is_some() {
            models.push(Self::anthropic(
                variable("ANTHROPIC_MODEL").unwrap_or_else(|| ANTHROPIC_MODEL.to_owned()),
            )?);
        }
        #[cfg(feature = "native")]
        if Secret::from_env("GEMINI_API_KEY").is_some() {
            models.push(Self::gemini(variable("GEMINI_MODEL").unwrap_or_else(|| GEMINI_MODEL.to_owned()))?);
        }
        let mut models = models.into_iter();
        let Some(first) = models.next() else {
            let hint = if cfg!(feature = "native") {
                "set OPENAI_API_KEY, OPENAI_BASE_URL, ANTHROPIC_API_KEY or GEMINI_API_KEY"
            } else {
                "set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint without a key"
            };
            return Err(ModelError::new(ModelErrorKind::Auth).with_detail(hint));
        };
        let rest: Vec<Self> = models.collect();
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Self::new(rest.into_iter().fold(Fallback::new(first), Fallback::or)))
    }

    /// Returns the model that the environment describes, or `other` if it describes none, with a warning in the log. For
    /// examples and tests; [`Offline`](super::testing::Offline) says in its answers that there is no model.
    ///
    /// # Errors
    ///
    /// Those of [`from_env`](Self::from_env), except that no model is configured.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Agent, model::{Model, testing::Offline}};
    ///
    /// # fn open() -> Result<(), Box<dyn std::error::Error>> {
    /// // Without a model, the agent answers that there is none.
    /// let agent = Agent::builder("helper").model(Model::from_env_or(Offline::default())?).build()?;
    /// # drop(agent); Ok(()) }
    /// ```
    pub fn from_env_or(other: impl ChatModel) -> Result<Self, ModelError> {
        match Self::from_env() {
            Err(error) if is_none_configured(&error) => {
                tracing::warn!(model = other.name(), "no model is configured; another one answers instead");
                Ok(Self::new(other))
            }
            result => result,
        }
    }
}

/// Returns the embedder that the environment describes, or `other` if it describes none, with a warning in the log.
///
/// `EMBEDDING_MODEL` names a model behind `OPENAI_BASE_URL` (default: OpenAI), `EMBEDDING_LENGTH` the length of its vectors
/// (default: 1,536). With `OPENAI_API_KEY` alone it is `text-embedding-3-small` of OpenAI.
///
/// # Errors
///
/// `EMBEDDING_LENGTH` is not a number; those of [`OpenAiEmbeddingsBuilder::build`](super::openai::OpenAiEmbeddingsBuilder::build).
///
/// # Examples
///
/// ```
/// use agent_core::{memory::InMemoryStore, model::{WordEmbeddings, embedder_from_env_or}};
///
/// # fn open() -> Result<(), agent_core::model::ModelError> {
/// let memory = InMemoryStore::new().with_embedder(embedder_from_env_or(WordEmbeddings)?);
/// # drop(memory); Ok(()) }
/// ```
pub fn embedder_from_env_or(other: impl Embedder) -> Result<Arc<dyn Embedder>, ModelError> {
    let (key, url) = (Secret::from_env("OPENAI_API_KEY"), variable("OPENAI_BASE_URL"));
    let model = variable("EMBEDDING_MODEL");
    if model.is_none() && (key.is_none() || url.is_some()) {
        tracing::warn!(embedder = ?other, "no embedding model is configured; another one is used instead");
        return Ok(Arc::new(other));
    }
    let mut builder = OpenAiEmbeddings::builder();
    if let Some(key) = key {
        builder = builder.key(key);
    }
    if let Some(url) = url {
        builder = builder.base_url(url);
    }
    if let Some(model) = model {
        builder = builder.model(model);
    }
    if let Some(length) = variable("EMBEDDING_LENGTH") {
        let length = length.parse().map_err(|_| {
            ModelError::new(ModelErrorKind::BadRequest).with_detail("EMBEDDING_LENGTH is not a number")
        })?;
        builder = builder.length(length);
    }
    Ok(builder.build()?.into())
}

fn is_none_configured(error: &ModelError) -> bool {
    matches!(error.kind(), ModelErrorKind::Auth)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}
