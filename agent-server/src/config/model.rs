//! The configured model and its endpoint.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

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
    /// Setting with the URL; empty if the URL is built in.
    pub setting: &'static str,
    /// URL; `None`: OpenAI.
    pub url: Option<String>,
    /// API key.
    pub key: Option<Secret>,
    /// Name of the model.
    pub model: String,
    /// Sampling temperature, from 0 to 2.
    pub temperature: f32,
    /// Timeout for the first piece of an answer.
    pub first_token: Duration,
}

impl Endpoint {
    /// Returns a builder of a client for the endpoint.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(endpoint: agent_server::config::Endpoint) -> Result<agent_core::model::Model, agent_core::model::ModelError> {
    /// use agent_core::model::Model;
    ///
    /// Ok(Model::new(endpoint.builder().temperature(0.0).build()?))
    /// # }
    /// ```
    pub fn builder(&self) -> OpenAiBuilder {
        let mut builder = OpenAi::builder()
            .model(&*self.model)
            .temperature(self.temperature)
            .first_token_timeout(self.first_token);
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
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().flag("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1");
    /// let config = Config::read(&sources)?;
    /// assert!(config.model().unwrap().open().is_ok());
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The key or URL is invalid.
    pub fn open(&self) -> Result<Model, ModelError> {
        Ok(Model::new(self.builder().build()?))
    }
}

/// Returns whether connections to `address` reach a server of this machine that listens on `own`.
fn is_own(address: IpAddr, own: IpAddr) -> bool {
    let (address, own) = (address.to_canonical(), own.to_canonical());
    if !own.is_unspecified() {
        return address == own || (address.is_unspecified() && own.is_loopback());
    }
    // Only addresses of this machine can be bound.
    address.is_loopback() || address.is_unspecified() || UdpSocket::bind((address, 0)).is_ok()
}

impl Config {
    /// Returns the model of the sample agent. `None`: no key or URL is set, or `USE_MOCK_DATA` is. The chats use a configured
    /// model also then.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().flag("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1");
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.model().unwrap().model, "gpt-4o-mini");
    /// assert!(Config::read(&Sources::none())?.model().is_none());
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn model(&self) -> Option<Endpoint> {
        if self.mock_data { None } else { self.main_endpoint() }
    }

    /// Returns the model of the keys and `OPENAI_BASE_URL`.
    fn main_endpoint(&self) -> Option<Endpoint> {
        let at = |url: Option<&str>, key: Option<&Secret>| {
            let (url, key) = (url.map(str::to_owned), key.cloned());
            let (model, temperature, first_token) =
                (self.model_name.clone(), self.temperature, self.first_token);
            Some(Endpoint { setting: "", url, key, model, temperature, first_token })
        };
        if let Some(url) = &self.openai_url {
            let endpoint = at(Some(url), self.openai_key.as_ref());
            return endpoint.map(|endpoint| Endpoint { setting: "OPENAI_BASE_URL", ..endpoint });
        }
        match (&self.anthropic_key, &self.gemini_key) {
            (Some(key), _) if self.model_name.starts_with("claude") => return at(Some(ANTHROPIC), Some(key)),
            (_, Some(key)) if self.model_name.starts_with("gemini") => return at(Some(GEMINI), Some(key)),
            _ => {}
        }
        self.openai_key.as_ref().and_then(|key| at(None, Some(key)))
    }

    /// Returns the model at the vLLM server. `None`: `VLLM_BASE_URL` is not set.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::config::{Config, Sources};
    ///
    /// let sources = Sources::none().flag("VLLM_BASE_URL", "http://gpu:8000");
    /// let config = Config::read(&sources)?;
    /// assert_eq!(config.vllm().unwrap().url.as_deref(), Some("http://gpu:8000/v1"));
    /// # Ok::<(), agent_server::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn vllm(&self) -> Option<Endpoint> {
        self.is_set("VLLM_BASE_URL").then(|| self.vllm_endpoint())
    }

    /// Returns the model at `VLLM_BASE_URL`, set or default.
    pub(crate) fn vllm_endpoint(&self) -> Endpoint {
        let url = match self.vllm_url.strip_suffix("/v1") {
            Some(_) => self.vllm_url.clone(),
            None => format!("{}/v1", self.vllm_url),
        };
        let (model, temperature, first_token) = (self.vllm_model.clone(), self.temperature, self.first_token);
        Endpoint { setting: "VLLM_BASE_URL", url: Some(url), key: None, model, temperature, first_token }
    }

    /// Returns whether the agent with tools is served: mock mode does not look for a vLLM server at its default URL.
    pub(crate) fn has_assistant(&self) -> bool {
        !self.mock_data || self.chat_endpoint().is_some()
    }

    /// Returns the model of the agent with tools.
    pub(crate) fn assistant_endpoint(&self) -> Endpoint {
        self.vllm().or_else(|| self.main_endpoint()).unwrap_or_else(|| self.vllm_endpoint())
    }

    /// Returns the model of the streaming chat.
    pub(crate) fn chat_endpoint(&self) -> Option<Endpoint> {
        self.main_endpoint().or_else(|| self.vllm())
    }

    /// Returns why an endpoint cannot be called, if it is a server that listens on `own`.
    pub(crate) fn own_endpoint(&self, endpoint: &Endpoint, own: SocketAddr) -> Option<String> {
        let url = endpoint.url.as_deref()?;
        let (tls, rest) = match url.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, url.strip_prefix("http://")?),
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let has_port = authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok());
        let authority = match (has_port, tls) {
            (true, _) => authority.to_owned(),
            (false, true) => format!("{authority}:443"),
            (false, false) => format!("{authority}:80"),
        };
        let port: u16 = authority.rsplit(':').next()?.parse().ok()?;
        if port != own.port() {
            return None;
        }
        // Names are only looked up if the port is the same.
        let mut addresses = authority.to_socket_addrs().ok()?;
        addresses.any(|address| is_own(address.ip(), own.ip())).then(|| {
            let setting = endpoint.setting;
            format!(
                "the model endpoint in {setting} ({url}) is this server itself; set {setting} to the address of the model, \
                 or move this server to another port with API_PORT (now {port}); a retry fails again"
            )
        })
    }

    /// Returns a warning about a key that no model uses.
    pub(super) fn unused_key(&self) -> Option<String> {
        if self.main_endpoint().is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn an_endpoint_at_the_address_of_this_server_is_recognized() {
        let own = |url: &str, address: &str| {
            let config = Config::read(&Sources::none().flag("VLLM_BASE_URL", url)).unwrap();
            config.own_endpoint(&config.vllm_endpoint(), address.parse().unwrap())
        };
        for url in
            ["http://localhost:8000", "http://127.0.0.1:8000/v1", "http://[::1]:8000", "http://0.0.0.0:8000/"]
        {
            let reason = own(url, "0.0.0.0:8000").unwrap_or_else(|| panic!("{url}"));
            assert!(reason.contains("VLLM_BASE_URL") && reason.contains("API_PORT"), "{reason}");
            assert_eq!(own(url, "0.0.0.0:8080"), None, "{url}");
        }
        assert!(own("http://127.0.0.1:8000", "127.0.0.1:8000").is_some());
        assert!(own("http://127.0.0.1", "127.0.0.1:80").is_some());
        for other in ["http://192.0.2.7:8000", "https://[2001:db8::7]:8000"] {
            assert_eq!(own(other, "0.0.0.0:8000"), None, "{other}");
        }
    }
}
