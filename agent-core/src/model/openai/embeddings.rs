//! Embeddings from any endpoint with OpenAI's `/embeddings`: batched, bounded, with model errors.

use std::{fmt, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture};
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::{Deserialize, Serialize};

use super::{header, unusable};
use crate::{
    model::{
        EmbedError, Embedder, ModelError, ModelErrorKind, TimeoutPhase,
        http::{HttpOptions, Transport, error_response::refused},
    },
    retry::RetryPolicy,
    secret::Secret,
};

/// Maximum number of bytes of a response per number of a vector.
const NUMBER_BYTES: usize = 32;
const AROUND_BYTES: usize = 256 * 1024;
/// Maximum number of dimensions.
const DIMENSIONS: usize = 16_384;
/// Maximum number of bytes of text per request.
const BATCH_BYTES: usize = 1024 * 1024;

/// An embedding model at an endpoint with OpenAI's protocol.
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
/// use agent_core::{memory::InMemoryStore, model::openai::OpenAiEmbeddings};
/// # fn make() -> Result<(), agent_core::model::ModelError> {
/// let embedder = OpenAiEmbeddings::builder().key("sk-…").model("text-embedding-3-small").shorten(512).build()?;
/// let memory = InMemoryStore::new().with_embedder(Arc::new(embedder));
/// # Ok(()) }
/// ```
pub struct OpenAiEmbeddings {
    model: String,
    url: Url,
    headers: HeaderMap,
    key: Option<Secret>,
    transport: Transport,
    dimensions: usize,
    shorten: bool,
    batch: usize,
    timeout: Duration,
    retry: RetryPolicy,
}

/// Builder of [`OpenAiEmbeddings`].
///
/// # Examples
///
/// ```
/// use agent_core::model::openai::OpenAiEmbeddings;
/// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
///
/// let embedder = OpenAiEmbeddings::builder().key("sk-…").model("text-embedding-3-small").build()?;
/// # Ok(embedder) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct OpenAiEmbeddingsBuilder {
    model: String,
    key: Option<Secret>,
    base_url: String,
    headers: Vec<(String, Secret)>,
    http: HttpOptions,
    transport: Option<Transport>,
    dimensions: usize,
    shorten: bool,
    batch: usize,
    timeout: Duration,
    retry: RetryPolicy,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [&'a str],
    encoding_format: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    index: usize,
    embedding: Vec<f32>,
}

impl OpenAiEmbeddings {
    /// Starts building an embedder for OpenAI's base URL and `text-embedding-3-small` (1,536 dimensions), without a
    /// key.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAiEmbeddings;
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let embedder = OpenAiEmbeddings::builder().key("sk-…").model("text-embedding-3-small").build()?;
    /// # Ok(embedder) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> OpenAiEmbeddingsBuilder {
        OpenAiEmbeddingsBuilder {
            model: "text-embedding-3-small".to_owned(),
            key: None,
            base_url: super::OPENAI.to_owned(),
            headers: Vec::new(),
            http: HttpOptions::default(),
            transport: None,
            dimensions: 1_536,
            shorten: false,
            batch: 128,
            timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
        }
    }

    /// Requests the vectors of non-empty texts, in their order.
    async fn ask(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let mut failures = 0;
        loop {
            let once = tokio::time::timeout(self.timeout, self.once(texts)).await;
            let late = || Err(ModelError::new(ModelErrorKind::TimedOut { waited: TimeoutPhase::FirstToken }));
            let error = match once.unwrap_or_else(|_| late()) {
                Ok(vectors) => return Ok(vectors),
                Err(error) => error,
            };
            failures += 1;
            let wait = self.retry.wait(failures, error.retry_after(), fastrand::f64());
            let Some(wait) = wait.filter(|_| error.is_retryable()) else {
                return Err(self.named(error).with_attempts(failures));
            };
            tracing::debug!(code = error.code(), failures, ?wait, "retrying an embeddings request");
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let malformed = |detail: String| ModelError::new(ModelErrorKind::Malformed).with_detail(detail);
        let dimensions = self.shorten.then_some(self.dimensions);
        let body = Body { model: &self.model, input: texts, encoding_format: "float", dimensions };
        let body = serde_json::to_vec(&body).map_err(|_| {
            ModelError::new(ModelErrorKind::BadRequest).with_detail("the request cannot be serialized")
        })?;
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(body.into());
        let response = self.transport.send(request).await?;
        if response.status().is_redirection() {
            let error = ModelError::new(ModelErrorKind::UnknownModel).with_status(response.status().as_u16());
            return Err(
                error.with_detail("the base URL redirects to another address; configure the final address")
            );
        }
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        let most = AROUND_BYTES + texts.len() * self.dimensions * NUMBER_BYTES;
        let mut page = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| crate::model::http::transport_error(&error))?;
            if page.len() + chunk.len() > most {
                return Err(malformed(format!("the response exceeds {most} bytes")));
            }
            page.extend_from_slice(&chunk);
        }
        let answer: Answer = serde_json::from_slice(&page)
            .map_err(|error| malformed(format!("the response is not a list of embeddings: {error}")))?;
        let mut vectors: Vec<Option<Vec<f32>>> = texts.iter().map(|_| None).collect();
        for Vector { index, embedding } in answer.data {
            let length = embedding.len();
            if length != self.dimensions {
                let wanted = self.dimensions;
                return Err(malformed(format!(
                    "a vector has {length} dimensions, expected {wanted}; set `length`"
                )));
            }
            match vectors.get_mut(index) {
                Some(place @ None) => *place = Some(embedding),
                _ => return Err(malformed("the indexes of the vectors do not match the texts".to_owned())),
            }
        }
        let all: Option<Vec<Vec<f32>>> = vectors.into_iter().collect();
        all.ok_or_else(|| malformed("the response has no vector for a text".to_owned()))
    }

    fn named(&self, error: ModelError) -> ModelError {
        let error = match (&self.key, error.detail()) {
            (Some(key), Some(detail)) => {
                let detail = key.scrub(detail);
                error.with_detail(detail)
            }
            _ => error,
        };
        error.with_model(self.model.as_str())
    }
}

/// Texts of one request, and their indexes among all texts.
struct Batch<'a> {
    places: Vec<usize>,
    texts: Vec<&'a str>,
}

impl OpenAiEmbeddings {
    /// Empty texts have no embedding, and endpoints reject them: they are in none of the batches.
    fn batches<'a>(&self, texts: &'a [String]) -> Vec<Batch<'a>> {
        let (mut batches, mut bytes) = (Vec::<Batch<'a>>::new(), 0);
        for (place, text) in texts.iter().enumerate() {
            if text.trim().is_empty() {
                continue;
            }
            bytes += text.len();
            match batches.last_mut() {
                Some(batch) if batch.texts.len() < self.batch && bytes <= BATCH_BYTES => {
                    batch.places.push(place);
                    batch.texts.push(text);
                }
                _ => {
                    bytes = text.len();
                    batches.push(Batch { places: vec![place], texts: vec![text] });
                }
            }
        }
        batches
    }
}

impl Embedder for OpenAiEmbeddings {
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, EmbedError>> {
        let batches = self.batches(texts);
        Box::pin(async move {
            let mut vectors: Vec<Vec<f32>> = texts.iter().map(|_| Vec::new()).collect();
            for Batch { places, texts } in batches {
                for (place, vector) in places.into_iter().zip(self.ask(&texts).await?) {
                    vectors[place] = vector;
                }
            }
            for vector in vectors.iter_mut().filter(|vector| vector.is_empty()) {
                vector.resize(self.dimensions, 0.0);
            }
            Ok(vectors)
        })
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }
}

impl OpenAiEmbeddingsBuilder {
    /// Sets the model. Default: `text-embedding-3-small`. For another model, also set [`length`](Self::length).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAiEmbeddings;
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let embedder = OpenAiEmbeddings::builder().key("sk-…").model("text-embedding-3-large").length(3_072).build()?;
    /// # Ok(embedder) }
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
    /// use agent_core::{model::openai::OpenAiEmbeddings, secret::Secret};
    /// # fn open() -> Result<OpenAiEmbeddings, Box<dyn std::error::Error>> {
    ///
    /// let key = Secret::from_env("OPENAI_API_KEY").ok_or("set OPENAI_API_KEY")?;
    /// let embedder = OpenAiEmbeddings::builder().key(key).build()?;
    /// # Ok(embedder) }
    /// ```
    pub fn key(mut self, key: impl Into<Secret>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the base URL, without `/embeddings`. Default: `https://api.openai.com/v1`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAiEmbeddings;
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let embedder = OpenAiEmbeddings::builder().key("sk-…").base_url("http://localhost:11434/v1").length(768).build()?;
    /// # Ok(embedder) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Sets the native number of dimensions of the model. Default: 1,536.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAiEmbeddings;
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let builder = OpenAiEmbeddings::builder().base_url("http://localhost:11434/v1").model("bge-m3").length(1_024);
    /// let embedder = builder.build()?;
    /// # Ok(embedder) }
    /// ```
    pub fn length(mut self, numbers: usize) -> Self {
        (self.dimensions, self.shorten) = (numbers, false);
        self
    }

    /// Requests shortened vectors, for models that support it. Default: not shortened.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAiEmbeddings;
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let embedder = OpenAiEmbeddings::builder().key("sk-…").shorten(512).build()?;
    /// # Ok(embedder) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shorten(mut self, numbers: usize) -> Self {
        (self.dimensions, self.shorten) = (numbers, true);
        self
    }

    /// Sets the number of texts per request, 1 to 2,048. Default: 128. A request has at most 1 MiB of text.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAiEmbeddings;
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let embedder = OpenAiEmbeddings::builder().key("sk-…").batch(64).build()?;
    /// # Ok(embedder) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn batch(mut self, texts: usize) -> Self {
        self.batch = texts.clamp(1, 2_048);
        self
    }

    /// Sets the timeout of one request. Default: 60 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAiEmbeddings;
    /// use std::time::Duration;
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let embedder = OpenAiEmbeddings::builder().key("sk-…").timeout(Duration::from_secs(10)).build()?;
    /// # Ok(embedder) }
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the retries after transient errors: a number of attempts, or a [`RetryPolicy`]. Default: [`RetryPolicy::default`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAiEmbeddings;
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let embedder = OpenAiEmbeddings::builder().key("sk-…").retry(5).build()?;
    /// # Ok(embedder) }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retry(mut self, policy: impl Into<RetryPolicy>) -> Self {
        self.retry = policy.into();
        self
    }

    /// Adds a header to every request. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAiEmbeddings;
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let embedder = OpenAiEmbeddings::builder().key("sk-…").header("x-team", "reports").build()?;
    /// # Ok(embedder) }
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
    /// use agent_core::model::{http::HttpOptions, openai::OpenAiEmbeddings};
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let embedder = OpenAiEmbeddings::builder().key("sk-…").http(HttpOptions::default()).build()?;
    /// # Ok(embedder) }
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
    /// use agent_core::model::{http::{HttpOptions, Transport}, openai::OpenAiEmbeddings};
    /// # fn open() -> Result<OpenAiEmbeddings, agent_core::model::ModelError> {
    ///
    /// let network = Transport::network(&HttpOptions::default())?;
    /// let embedder = OpenAiEmbeddings::builder().key("sk-…").transport(network).build()?;
    /// # Ok(embedder) }
    /// ```
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Validates the settings and builds the embedder. Does not send anything.
    ///
    /// # Errors
    ///
    /// The base URL is not an `http` or `https` URL, the key or a header contains illegal characters, the number of
    /// dimensions is not 1 to 16,384, or the proxy URL is malformed.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::openai::OpenAiEmbeddings;
    ///
    /// assert!(OpenAiEmbeddings::builder().base_url("localhost").build().is_err());
    /// ```
    pub fn build(self) -> Result<OpenAiEmbeddings, ModelError> {
        let url = super::endpoint(&self.base_url)?;
        let url = Url::parse(&format!("{}/embeddings", url.as_str().trim_end_matches('/')))
            .map_err(|_| unusable("the base URL is not an http or https URL"))?;
        if !(1..=DIMENSIONS).contains(&self.dimensions) {
            return Err(unusable("`length` must be 1 to 16,384"));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.key {
            let (_, value) = header("authorization", &format!("Bearer {}", key.expose()))?;
            headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in &self.headers {
            let (name, value) = header(name, value.expose())?;
            headers.insert(name, value);
        }
        let transport = match self.transport {
            Some(transport) => transport,
            None => Transport::network(&self.http)?,
        };
        Ok(OpenAiEmbeddings {
            model: self.model,
            url,
            headers,
            key: self.key,
            transport,
            dimensions: self.dimensions,
            shorten: self.shorten,
            batch: self.batch,
            timeout: self.timeout,
            retry: self.retry,
        })
    }
}

impl fmt::Debug for OpenAiEmbeddings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiEmbeddings")
            .field("model", &self.model)
            .field("dimensions", &self.dimensions)
            .finish_non_exhaustive()
    }
}

const _: () = {
    const fn embedder<T: Embedder>() {}
    embedder::<OpenAiEmbeddings>();
};

impl From<OpenAiEmbeddings> for Arc<dyn Embedder> {
    fn from(embedder: OpenAiEmbeddings) -> Self {
        Arc::new(embedder)
    }
}
