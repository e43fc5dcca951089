//! Asking a model: one streaming call, typed answers and errors, and what can be put around it.
//!
//! Read in this order: [`Message`] what is said, [`ModelRequest`] what is asked, [`Delta`] what arrives,
//! [`ChatModel`] who answers, [`ModelError`] why not. Around a model: [`Retry`], [`Fallback`],
//! [`extract`](Model::extract) for answers as Rust types, [`TextTools`] for models that write tool calls as text.
//! `openai` talks to every endpoint that speaks OpenAI's protocols; [`testing`] has a model that follows a script.

mod chain;
mod delta;
mod error;
mod fallback;
#[cfg(feature = "openai")]
pub mod http;
mod message;
#[cfg(feature = "native")]
pub mod native;
#[cfg(feature = "openai")]
pub mod openai;
mod request;
mod retry;
pub mod schema;
mod structured;
pub mod testing;
mod text_calls;
pub mod tokens;
mod usage;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{Stream, StreamExt};

pub use self::{
    delta::{Assembler, Delta, FinishReason, ModelReply},
    error::{ModelError, ModelFault, Waited},
    fallback::Fallback,
    message::{Content, Message, Messages, Part, Reasoning, Role, ToolCall},
    request::{ModelRequest, ResponseFormat, ToolChoice, ToolSpec},
    retry::{Retry, RetryPolicy},
    structured::{Extracted, Extraction, Extractor},
    text_calls::{TextCalls, TextPiece, TextTools},
    usage::{Micros, Price, PriceTable, Usage},
};

/// What a model's endpoint is known to do by itself; what it does not, is done around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Abilities {
    /// Holds answers to a JSON schema in `response_format`.
    pub json_schema: bool,
    /// Takes tools natively.
    pub tools: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Self { json_schema: true, tools: true }
    }
}

/// Something that answers messages. Also called an LLM or a provider.
///
/// Implement the one call that streams; users hold a [`Model`], which also collects.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a chat model",
    note = "implement `ChatModel`, or use `OpenAi`, `Scripted` or another model of `agent_core::model`"
)]
pub trait ChatModel: Send + Sync + 'static {
    /// The model's name, for events, prices and errors.
    fn name(&self) -> &str;

    /// Who serves it, in the words of OpenTelemetry's `gen_ai.provider.name`: `openai` (also for endpoints that speak
    /// its protocol), `anthropic`, `gcp.gemini`, or a name of your own. Default: `custom`.
    fn provider(&self) -> &str {
        "custom"
    }

    /// What the endpoint does by itself. Default: all of it.
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    /// Asks. Resolves when the endpoint has accepted the request; the answer is the stream.
    ///
    /// # Errors
    ///
    /// What went wrong before the answer began; what goes wrong later is the stream's last item.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future or the stream abandons the call and its connection.
    fn stream(&self, request: ModelRequest) -> impl Future<Output = Result<ModelStream, ModelError>> + Send;
}

trait DynModel: Send + Sync {
    fn name(&self) -> &str;
    fn provider(&self) -> &str;
    fn abilities(&self) -> Abilities;
    fn stream(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelStream, ModelError>>;
}

impl<T: ChatModel> DynModel for T {
    fn name(&self) -> &str {
        ChatModel::name(self)
    }
    fn provider(&self) -> &str {
        ChatModel::provider(self)
    }
    fn abilities(&self) -> Abilities {
        ChatModel::abilities(self)
    }
    fn stream(&self, request: ModelRequest) -> BoxFuture<'_, Result<ModelStream, ModelError>> {
        Box::pin(ChatModel::stream(self, request))
    }
}

/// A handle to any [`ChatModel`]; a clone shares it.
#[derive(Clone)]
pub struct Model(Arc<dyn DynModel>);

impl Model {
    /// Wraps a model.
    pub fn new(model: impl ChatModel) -> Self {
        Self(Arc::new(model))
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Who serves it; see [`ChatModel::provider`].
    #[must_use]
    pub fn provider(&self) -> &str {
        self.0.provider()
    }

    /// What the endpoint does by itself.
    #[must_use]
    pub fn abilities(&self) -> Abilities {
        self.0.abilities()
    }

    /// Asks and streams the answer.
    ///
    /// # Errors
    ///
    /// See [`ChatModel::stream`].
    pub async fn stream(&self, request: impl Into<ModelRequest>) -> Result<ModelStream, ModelError> {
        self.0.stream(request.into()).await
    }

    /// Asks and collects the answer: exactly the stream, put together.
    ///
    /// # Errors
    ///
    /// Whatever [`stream`](Self::stream) or its last item fails with, or [`ModelFault::Cut`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the call.
    pub async fn complete(&self, request: impl Into<ModelRequest>) -> Result<ModelReply, ModelError> {
        self.0.stream(request.into()).await?.collect_reply().await
    }
}

// So that a handle can be given wherever a model is taken (retry, fallback).
impl ChatModel for Model {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn provider(&self) -> &str {
        self.0.provider()
    }
    fn abilities(&self) -> Abilities {
        self.0.abilities()
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

/// The answer while it arrives. Ends after [`Delta::Finished`] or the first error; a stream that ends
/// without either yields [`ModelFault::Cut`] as its last item.
pub struct ModelStream {
    inner: Pin<Box<dyn Stream<Item = Result<Delta, ModelError>> + Send>>,
    ended: bool,
}

impl ModelStream {
    /// Wraps a stream of pieces.
    pub fn new(stream: impl Stream<Item = Result<Delta, ModelError>> + Send + 'static) -> Self {
        Self { inner: Box::pin(stream), ended: false }
    }

    /// The rest of the answer, put together.
    ///
    /// # Errors
    ///
    /// The stream's own error, or [`ModelFault::Cut`].
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
        Poll::Ready(Some(item.unwrap_or_else(|| Err(ModelError::new(ModelFault::Cut)))))
    }
}

impl fmt::Debug for ModelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelStream").field("ended", &self.ended).finish_non_exhaustive()
    }
}

// Models and their answers move between threads. Losing that must fail here, not in a user's crate.
const _: () = {
    const fn send<T: Send + 'static>() {}
    const fn send_sync<T: Send + Sync + 'static>() {}
    send::<ModelStream>();
    send_sync::<Model>();
    send_sync::<ModelError>();
    send_sync::<ModelRequest>();
};
