//! Model calls: one streaming call, typed answers and errors, and wrappers such as retry and fallback.
//!
//! Read in this order: [`Message`] (content), [`ModelRequest`] (the request), [`Delta`] (parts of the answer),
//! [`ChatModel`] (the trait), [`ModelError`]. Wrappers: [`RetryModel`], [`Fallback`], [`extract`](Model::extract) for
//! answers as Rust types, [`TextTools`] for models that write tool calls as text. `openai` is a client for every
//! endpoint with OpenAI's protocols; [`testing`] contains a scripted model.

mod delta;
mod embed;
mod error;
mod failover;
mod fallback;
#[cfg(feature = "native")]
pub mod genai;
#[cfg(feature = "openai")]
pub mod http;
mod message;
mod messages;
#[cfg(feature = "openai")]
mod named;
#[cfg(feature = "openai")]
pub mod openai;
#[cfg(feature = "realtime")]
pub mod realtime;
mod request;
mod retry;
pub mod schema;
#[cfg(feature = "static-embeddings")]
mod static_embeddings;
mod structured;
pub mod testing;
mod text_tool_calls;
pub mod tokens;
mod tool_images;
mod usage;
mod word_embeddings;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{Stream, StreamExt};

#[cfg(feature = "openai")]
pub use self::named::embedder_from_env_or;
#[cfg(feature = "static-embeddings")]
pub use self::static_embeddings::StaticEmbeddings;
pub use self::{
    delta::{Assembler, Delta, FinishReason, ModelReply},
    embed::{EmbedError, Embedder},
    error::{ModelError, ModelErrorKind, TimeoutPhase},
    fallback::Fallback,
    message::{Content, Message, Part, Reasoning, Role, ToolCall},
    messages::Messages,
    request::{ModelRequest, ResponseFormat, ToolChoice, ToolSpec},
    retry::RetryModel,
    structured::{Extracted, Extraction, Extractor},
    text_tool_calls::{TextCalls, TextPiece, TextTools},
    usage::{Micros, Price, PriceTable, Usage},
    word_embeddings::WordEmbeddings,
};

/// Native capabilities of a model's endpoint. What an endpoint lacks is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelCapabilities {
    /// Supports a JSON schema in `response_format`.
    pub json_schema: bool,
    /// Supports tool calls.
    pub tools: bool,
}

impl Default for ModelCapabilities {
    fn default() -> Self {
        Self { json_schema: true, tools: true }
    }
}

/// A chat model, also called an LLM or provider.
///
/// Implement the streaming call; callers use a [`Model`], which can also collect the answer.
///
/// # Examples
///
/// ```
/// use agent_core::model::{ChatModel, Delta, FinishReason, Model, ModelError, ModelRequest, ModelStream};
/// use futures::stream;
///
/// /// Repeats what it reads.
/// struct Echo;
///
/// impl ChatModel for Echo {
///     fn name(&self) -> &str {
///         "echo"
///     }
///
///     async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
///         let text = request.messages.last().map(|message| message.text().into_owned()).unwrap_or_default();
///         let end = Delta::Finished { reason: FinishReason::Stop };
///         Ok(ModelStream::new(stream::iter([Ok(Delta::text(text)), Ok(end)])))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let reply = Model::new(Echo).complete("hello").await?;
/// assert_eq!(reply.message.text(), "hello");
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a chat model",
    note = "implement `ChatModel`, or use `OpenAi`, `Scripted` or another model of `agent_core::model`"
)]
pub trait ChatModel: Send + Sync + 'static {
    /// Returns the model's name, for events, prices and errors.
    fn name(&self) -> &str;

    /// Returns the provider in the terms of OpenTelemetry's `gen_ai.provider.name`: `openai` (also for compatible
    /// endpoints), `anthropic`, `gcp.gemini`, or another name. Default: `custom`.
    fn provider(&self) -> &str {
        "custom"
    }

    /// Returns the native capabilities of the endpoint. Default: all.
    fn capabilities(&self) -> ModelCapabilities {
        ModelCapabilities::default()
    }

    /// Sends a request. Resolves when the endpoint has accepted it; the stream yields the answer.
    ///
    /// # Errors
    ///
    /// Errors before the answer begins. Later errors are the last item of the stream.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future or the stream aborts the call and closes its connection.
    fn stream(&self, request: ModelRequest) -> impl Future<Output = Result<ModelStream, ModelError>> + Send;
}

trait DynModel: Send + Sync {
    fn name(&self) -> &str;
    fn provider(&self) -> &str;
    fn capabilities(&self) -> ModelCapabilities;
    fn stream(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelStream, ModelError>>;
}

impl<T: ChatModel> DynModel for T {
    fn name(&self) -> &str {
        ChatModel::name(self)
    }
    fn provider(&self) -> &str {
        ChatModel::provider(self)
    }
    fn capabilities(&self) -> ModelCapabilities {
        ChatModel::capabilities(self)
    }
    fn stream(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelStream, ModelError>> {
        Box::pin(ChatModel::stream(self, request))
    }
}

/// Handle to a [`ChatModel`]. Cheap to clone; clones share the model.
///
/// # Examples
///
/// ```
/// use agent_core::model::{Model, testing::{Scripted, Turn}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), agent_core::model::ModelError> {
/// let model = Model::new(Scripted::new([Turn::text("hello")]));
/// let reply = model.complete("hi").await?;
/// assert_eq!(reply.message.text(), "hello");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Model(Arc<dyn DynModel>);

impl Model {
    /// Wraps a model.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// let model = Model::new(Scripted::new([Turn::text("hello")]));
    /// assert_eq!(model.name(), "scripted");
    /// ```
    pub fn new(model: impl ChatModel) -> Self {
        Self(Arc::new(model))
    }

    /// Returns the model's name.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::Scripted};
    /// assert_eq!(Model::new(Scripted::new([])).name(), "scripted");
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Returns the provider; see [`ChatModel::provider`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::Scripted};
    /// let model = Model::new(Scripted::new([]));
    /// println!("{} of {}", model.name(), model.provider());
    /// ```
    #[must_use]
    pub fn provider(&self) -> &str {
        self.0.provider()
    }

    /// Returns the native capabilities of the endpoint.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::Scripted};
    /// assert!(Model::new(Scripted::new([])).capabilities().tools);
    /// ```
    #[must_use]
    pub fn capabilities(&self) -> ModelCapabilities {
        self.0.capabilities()
    }

    /// Sends a request and streams the answer.
    ///
    /// # Errors
    ///
    /// See [`ChatModel::stream`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Delta, Model, testing::{Chunking, Scripted, Turn}};
    /// use futures::StreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), agent_core::model::ModelError> {
    /// let model = Model::new(Scripted::new([Turn::text("hello").chunked(Chunking::Chars(2))]));
    /// let (mut stream, mut text) = (model.stream("hi").await?, String::new());
    /// while let Some(delta) = stream.next().await {
    ///     if let Delta::Text { text: more } = delta? {
    ///         text.push_str(&more);
    ///     }
    /// }
    /// assert_eq!(text, "hello");
    /// # Ok(()) }
    /// ```
    pub async fn stream(&self, request: impl Into<ModelRequest>) -> Result<ModelStream, ModelError> {
        self.0.stream(request.into()).await
    }

    /// Sends a request and collects the streamed answer.
    ///
    /// # Errors
    ///
    /// The errors of [`stream`](Self::stream) and of the stream itself, and [`ModelErrorKind::Cut`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future aborts the call.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Model, ModelRequest, testing::{Scripted, Turn}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let model = Model::new(Scripted::new([Turn::text("Seoul")]));
    /// let reply = model.complete(ModelRequest::new("The capital of Korea?").system("One word.")).await?;
    /// assert_eq!(reply.message.text(), "Seoul");
    /// # Ok(()) }
    /// ```
    pub async fn complete(&self, request: impl Into<ModelRequest>) -> Result<ModelReply, ModelError> {
        self.0.stream(request.into()).await?.collect_reply().await
    }
}

// Allows a handle wherever a model is expected (retry, fallback).
impl ChatModel for Model {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn provider(&self) -> &str {
        self.0.provider()
    }
    fn capabilities(&self) -> ModelCapabilities {
        self.0.capabilities()
    }
    fn stream(&self, request: ModelRequest) -> impl Future<Output = Result<ModelStream, ModelError>> + Send {
        self.0.stream(request)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Model").field(&self.name()).finish()
    }
}

/// Stream of an answer. Ends after [`Delta::Finished`] or the first error. A stream that ends without either yields
/// [`ModelErrorKind::Cut`] as its last item.
pub struct ModelStream {
    inner: Pin<Box<dyn Stream<Item = Result<Delta, ModelError>> + Send>>,
    ended: bool,
}

impl ModelStream {
    /// Wraps a stream of deltas.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::model::{Delta, FinishReason, ModelStream};
    ///
    /// let deltas = [Delta::text("hello"), Delta::Finished { reason: FinishReason::Stop }];
    /// let stream = ModelStream::new(futures::stream::iter(deltas.map(Ok)));
    /// assert_eq!(stream.collect_reply().await?.message.text(), "hello");
    /// # Ok(()) }
    /// ```
    pub fn new(stream: impl Stream<Item = Result<Delta, ModelError>> + Send + 'static) -> Self {
        Self { inner: Box::pin(stream), ended: false }
    }

    /// Collects the rest of the answer.
    ///
    /// # Errors
    ///
    /// The error of the stream, or [`ModelErrorKind::Cut`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Model, testing::{Scripted, Turn}};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let model = Model::new(Scripted::new([Turn::text("hello")]));
    /// let reply = model.stream("hi").await?.collect_reply().await?;
    /// assert_eq!(reply.message.text(), "hello");
    /// # Ok(()) }
    /// ```
    pub async fn collect_reply(mut self) -> Result<ModelReply, ModelError> {
        let mut assembler = Assembler::new();
        while let Some(delta) = self.next().await {
            assembler.push(&delta?)?;
        }
        assembler.finish()
    }
}

impl Stream for ModelStream {
    type Item = Result<Delta, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(self.inner.as_mut().poll_next(cx));
        self.ended = !matches!(&item, Some(Ok(delta)) if !matches!(delta, Delta::Finished { .. }));
        Poll::Ready(Some(item.unwrap_or_else(|| Err(ModelError::new(ModelErrorKind::Cut)))))
    }
}

impl fmt::Debug for ModelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

// Models and their streams move between threads. A change that prevents this must fail to compile here.
const _: () = {
    const fn send<T: Send + 'static>() {}
    const fn send_sync<T: Send + Sync + 'static>() {}
    send::<ModelStream>();
    send_sync::<Model>();
    send_sync::<ModelError>();
    send_sync::<ModelRequest>();
};
