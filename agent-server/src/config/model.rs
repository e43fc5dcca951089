//! Which model the settings mean, and where it is asked.

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

/// A model at an endpoint that speaks OpenAI's protocol.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Its address; `None`: OpenAI.
    pub url: Option<String>,
    /// Its key.
    pub key: Option<Secret>,
    /// The model.
    pub model: String,
    /// How freely it writes, from 0 to 2.
    pub temperature: f32,
}

impl Endpoint {
    /// A client of it, to be told more before it is built.
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

    /// The model.
    ///
    /// # Errors
    ///
    /// What the client refuses: a key or address that fits in no header.
    pub fn open(&self) -> Result<Model, ModelError> {
        Ok(Model::new(self.builder().build()?))
    }
}

impl Config {
    /// The model that plans and writes. `None`: no key or address is said, or `USE_MOCK_DATA` is.
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

    /// The model at the vLLM server. `None`: `VLLM_BASE_URL` is not said, or `USE_MOCK_DATA` is; then
    /// [`model`](Self::model) may serve.
    #[must_use]
    pub fn vllm(&self) -> Option<Endpoint> {
        (!self.mock_data && self.is_said("VLLM_BASE_URL")).then(|| self.vllm_endpoint())
    }

    /// The model at `VLLM_BASE_URL`, whether it was set or is the default.
    pub(crate) fn vllm_endpoint(&self) -> Endpoint {
        let url = match self.vllm_url.strip_suffix("/v1") {
            Some(_) => self.vllm_url.clone(),
            None => format!("{}/v1", self.vllm_url),
        };
        let (model, temperature) = (self.vllm_model.clone(), self.temperature);
        Endpoint { url: Some(url), key: None, model, temperature }
    }

    /// A key that no model will use.
    pub(super) fn idle_key(&self) -> Option<String> {
        if self.mock_data || self.model().is_some() {
            return None;
        }
        let (key, like) = match (&self.anthropic_key, &self.gemini_key) {
            (Some(_), _) => ("ANTHROPIC_API_KEY", "claude"),
            (_, Some(_)) => ("GEMINI_API_KEY", "gemini"),
            _ => return None,
        };
        let model = &self.model_name;
        Some(format!("{key} is said, but DEFAULT_LLM_MODEL is {model}; name a `{like}…` model to use it"))
    }
}
