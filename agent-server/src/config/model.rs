//! The configured model and its endpoint.

use agent_core::{
    model::{
        Model, ModelError,
        openai::{OpenAi, OpenAiBuilder},
    },
    secret::Secret,
};

use super::Config;

const ANTHROPIC: &str = "https://api.anthropic.com/v1";
const GEMINI: &str = "https://generativelanguage.googleapis.com/v1beta/openai";

/// A model at an OpenAI-compatible endpoint.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Endpoint {
    /// URL; `None`: OpenAI.
    pub url: Option<String>,
    /// API key.
    pub key: Option<Secret>,
    /// Name of the model.
    pub model: String,
    /// Sampling temperature, from 0 to 2.
    pub temperature: f32,
}

impl Endpoint {
    /// Returns a builder of a client for the endpoint.
    pub fn builder(&self) -> OpenAiBuilder {
        let mut builder = OpenAi::builder().model(&*self.model).temperature(self.temperature);
        if let Some(url) = &self.url {
            builder = builder.base_url(&**url);
        }
        match &self.key {
            Some(key) => builder.key(key.clone()),
            None => builder,
        }
    }

    /// Creates the model.
    ///
    /// # Errors
    ///
    /// The key or URL is invalid.
    pub fn open(&self) -> Result<Model, ModelError> {
        Ok(Model::new(self.builder().build()?))
    }
}

impl Config {
    /// Returns the main model. `None`: no key or URL is set, or `USE_MOCK_DATA` is.
    #[must_use]
    pub fn model(&self) -> Option<Endpoint> {
        if self.mock_data {
            return None;
        }
        let at = |url: Option<&str>, key: Option<&Secret>| {
            let (url, key) = (url.map(str::to_owned), key.cloned());
            Some(Endpoint { url, key, model: self.model_name.clone(), temperature: self.temperature })
        };
        if let Some(url) = &self.openai_url {
            return at(Some(url), self.openai_key.as_ref());
        }
        match (&self.anthropic_key, &self.gemini_key) {
            (Some(key), _) if self.model_name.starts_with("claude") => return at(Some(ANTHROPIC), Some(key)),
            (_, Some(key)) if self.model_name.starts_with("gemini") => return at(Some(GEMINI), Some(key)),
            _ => {}
        }
        self.openai_key.as_ref().and_then(|key| at(None, Some(key)))
    }

    /// Returns the model at the vLLM server. `None`: `VLLM_BASE_URL` is not set, or `USE_MOCK_DATA` is.
    #[must_use]
    pub fn vllm(&self) -> Option<Endpoint> {
        (!self.mock_data && self.is_set("VLLM_BASE_URL")).then(|| self.vllm_endpoint())
    }

    /// Returns the model at `VLLM_BASE_URL`, set or default.
    pub(crate) fn vllm_endpoint(&self) -> Endpoint {
        let url = match self.vllm_url.strip_suffix("/v1") {
            Some(_) => self.vllm_url.clone(),
            None => format!("{}/v1", self.vllm_url),
        };
        let (model, temperature) = (self.vllm_model.clone(), self.temperature);
        Endpoint { url: Some(url), key: None, model, temperature }
    }

    /// Returns a warning about a key that no model uses.
    pub(super) fn unused_key(&self) -> Option<String> {
        if self.mock_data || self.model().is_some() {
            return None;
        }
        let (key, like) = match (&self.anthropic_key, &self.gemini_key) {
            (Some(_), _) => ("ANTHROPIC_API_KEY", "claude"),
            (_, Some(_)) => ("GEMINI_API_KEY", "gemini"),
            _ => return None,
        };
        let model = &self.model_name;
        Some(format!(
            "{key} is set but unused: DEFAULT_LLM_MODEL is {model}. Choose a `{like}…` model to use this key"
        ))
    }
}
