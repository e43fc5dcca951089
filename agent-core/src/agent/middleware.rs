//! Middleware: code around the model calls and tool calls of an agent, and before and after its work on a message.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{AgentState, AgentStateUpdate};
use crate::{
    engine::Context,
    graph::Result,
    model::{Message, ModelReply, ModelRequest, ToolCall},
};

/// Code around the calls of an agent. Every method does nothing by default; implement those that are needed.
///
/// The first middleware of an agent is the outermost. It sees the calls of the agent's turns; summaries, the reviewer and the
/// conversion of a typed answer are not turns. Sub-agents have their own middleware.
///
/// **Durability.** Middleware is code of the node, around the recorded call: the journal has what reached the model and
/// what it answered, for each call that a middleware made. After a restart the middleware runs again and gets the recorded
/// answers, so it must ask for the same calls again: decide by the request, the state and recorded results, and wrap effects
/// in [`Context::step`]. A text that must not be in the journal has to be removed from the request
/// ([`before_model`](Self::before_model)); what [`after_model`](Self::after_model) removes from an answer is in the journal, and not in
/// the conversation.
///
/// # Examples
///
/// A dynamic prompt, a selection of tools, redaction, and one repetition of a call that failed:
///
/// ```
/// use agent_core::{
///     Agent, Context, Result, Runtime,
///     agent::{Middleware, NextModel},
///     model::{Message, Model, ModelReply, ModelRequest, testing::{Scripted, Turn}},
/// };
///
/// struct House;
///
/// impl Middleware for House {
///     async fn before_model(&self, mut request: ModelRequest, cx: &Context) -> Result<ModelRequest> {
///         request.system = Some(format!("You work for {}.", cx.session()).into());
///         request.tools = request.tools.iter().filter(|tool| tool.name != "pay").cloned().collect();
///         let redacted = request.messages.iter().map(|message| match message.text().contains("4111") {
///             true => Message::user("[a card number]").with_id(&message.id),
///             false => Message::clone(message),
///         });
///         request.messages = redacted.collect();
///         Ok(request)
///     }
///
///     async fn wrap_model(&self, request: ModelRequest, cx: &Context, next: NextModel<'_>) -> Result<ModelReply> {
///         let request = self.before_model(request, cx).await?;
///         match next.call(request.clone()).await {
///             Err(error) if error.is_retryable() => next.call(request).await,
///             reply => reply,
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let script = Scripted::new([Turn::text("Noted.")]);
/// let agent = Agent::builder("clerk").middleware(House).model(Model::new(script.clone())).build()?;
/// let session = Runtime::builder().build().session("acme")?;
/// session.chat(&agent, "My card is 4111 1111 1111 1111").await?;
/// let request = &script.requests()[0];
/// assert_eq!(request.system.as_deref(), Some("You work for acme."));
/// assert_eq!(request.messages[0].text(), "[a card number]");
/// # Ok(()) }
/// ```
pub trait Middleware: Send + Sync + 'static {
    /// Called before the first model call after a message of the user. Returns an update of the agent's state, which that
    /// call does not see, or `None`.
    ///
    /// # Errors
    ///
    /// An error fails the node.
    fn before_agent(
        &self,
        state: &AgentState,
        cx: &Context,
    ) -> impl Future<Output = Result<Option<AgentStateUpdate>>> + Send {
        let _ = (state, cx);
        async { Ok(None) }
    }

    /// Called when the model has answered without calling tools. `state` is the state before the answer. Returns the message
    /// that counts as the answer.
    ///
    /// # Errors
    ///
    /// An error fails the node.
    fn after_agent(
        &self,
        answer: Message,
        state: &AgentState,
        cx: &Context,
    ) -> impl Future<Output = Result<Message>> + Send {
        let _ = (state, cx);
        async { Ok(answer) }
    }

    /// Changes a request before it is sent.
    ///
    /// # Errors
    ///
    /// An error is the result of the call.
    fn before_model(
        &self,
        request: ModelRequest,
        cx: &Context,
    ) -> impl Future<Output = Result<ModelRequest>> + Send {
        let _ = cx;
        async { Ok(request) }
    }

    /// Changes an answer before the agent reads it.
    ///
    /// # Errors
    ///
    /// An error is the result of the call.
    fn after_model(
        &self,
        reply: ModelReply,
        cx: &Context,
    ) -> impl Future<Output = Result<ModelReply>> + Send {
        let _ = cx;
        async { Ok(reply) }
    }

    /// Makes a model call. Default: [`before_model`](Self::before_model), the call, [`after_model`](Self::after_model).
    ///
    /// # Errors
    ///
    /// An error fails the node, except that a conversation that is too long is shortened and asked again.
    fn wrap_model(
        &self,
        request: ModelRequest,
        cx: &Context,
        next: NextModel<'_>,
    ) -> impl Future<Output = Result<ModelReply>> + Send {
        async move {
            let request = self.before_model(request, cx).await?;
            let reply = next.call(request).await?;
            self.after_model(reply, cx).await
        }
    }

    /// Changes a tool call before it is validated and made.
    ///
    /// # Errors
    ///
    /// An error is the result of the call.
    fn before_tool(&self, call: ToolCall, cx: &Context) -> impl Future<Output = Result<ToolCall>> + Send {
        let _ = cx;
        async { Ok(call) }
    }

    /// Changes the result of a tool call before the model reads it.
    ///
    /// # Errors
    ///
    /// An error is the result of the call.
    fn after_tool(&self, result: Message, cx: &Context) -> impl Future<Output = Result<Message>> + Send {
        let _ = cx;
        async { Ok(result) }
    }

    /// Makes a tool call. Default: [`before_tool`](Self::before_tool), the call, [`after_tool`](Self::after_tool). The result must answer
    /// the call that was given: return its id.
    ///
    /// # Errors
    ///
    /// An error fails the node.
    fn wrap_tool(
        &self,
        call: ToolCall,
        cx: &Context,
        next: NextTool<'_>,
    ) -> impl Future<Output = Result<Message>> + Send {
        async move {
            let call = self.before_tool(call, cx).await?;
            let result = next.call(call).await?;
            self.after_tool(result, cx).await
        }
    }
}

/// The rest of the chain around a model call; see [`Middleware::wrap_model`].
///
/// # Examples
///
/// ```
/// use agent_core::{Context, Result, agent::{Middleware, NextModel}, model::{ModelReply, ModelRequest}};
///
/// struct LogErrors;
///
/// impl Middleware for LogErrors {
///     async fn wrap_model(&self, request: ModelRequest, cx: &Context, next: NextModel<'_>) -> Result<ModelReply> {
///         let reply = next.call(request).await;
///         reply.inspect_err(|error| eprintln!("{}: {error}", cx.session()))
///     }
/// }
/// ```
#[derive(Clone, Copy)]
pub struct NextModel<'a> {
    rest: &'a [Arc<dyn DynMiddleware>],
    cx: &'a Context,
    call: &'a (dyn Fn(ModelRequest) -> BoxFuture<'a, Result<ModelReply>> + Send + Sync),
}

impl<'a> NextModel<'a> {
    /// Makes the call. Each call of the model is recorded separately.
    ///
    /// # Errors
    ///
    /// As [`RecordedModel::complete`](crate::engine::RecordedModel::complete), and those of inner middleware.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Context, Result, agent::{Middleware, NextModel}, model::{ModelReply, ModelRequest}};
    ///
    /// struct RetryOnce;
    ///
    /// impl Middleware for RetryOnce {
    ///     async fn wrap_model(&self, request: ModelRequest, _: &Context, next: NextModel<'_>) -> Result<ModelReply> {
    ///         match next.call(request.clone()).await {
    ///             Err(error) if error.is_retryable() => next.call(request).await,
    ///             reply => reply,
    ///         }
    ///     }
    /// }
    /// ```
    pub fn call(&self, request: ModelRequest) -> BoxFuture<'a, Result<ModelReply>> {
        match self.rest.split_first() {
            Some((first, rest)) => first.wrap_model(request, self.cx, Self { rest, ..*self }),
            None => (self.call)(request),
        }
    }
}

/// The rest of the chain around a tool call; see [`Middleware::wrap_tool`].
///
/// # Examples
///
/// ```
/// use agent_core::{Context, Result, agent::{Middleware, NextTool}, model::{Message, ToolCall}};
///
/// struct LogCalls;
///
/// impl Middleware for LogCalls {
///     async fn wrap_tool(&self, call: ToolCall, cx: &Context, next: NextTool<'_>) -> Result<Message> {
///         println!("{}: {}", cx.session(), call.name);
///         next.call(call).await
///     }
/// }
/// ```
#[derive(Clone, Copy)]
pub struct NextTool<'a> {
    rest: &'a [Arc<dyn DynMiddleware>],
    cx: &'a Context,
    call: &'a (dyn Fn(ToolCall) -> BoxFuture<'a, Result<Message>> + Send + Sync),
}

impl<'a> NextTool<'a> {
    /// Makes the call. Each call of a tool is recorded separately.
    ///
    /// # Errors
    ///
    /// As [`RecordedTools::call`](crate::engine::RecordedTools::call), and those of inner middleware.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Context, Result, agent::{Middleware, NextTool}, model::{Message, ToolCall}};
    /// use std::time::Instant;
    ///
    /// struct MeasureCalls;
    ///
    /// impl Middleware for MeasureCalls {
    ///     async fn wrap_tool(&self, call: ToolCall, _: &Context, next: NextTool<'_>) -> Result<Message> {
    ///         let (name, start) = (call.name.clone(), Instant::now());
    ///         let result = next.call(call).await;
    ///         println!("{name}: {:?}", start.elapsed());
    ///         result
    ///     }
    /// }
    /// ```
    pub fn call(&self, call: ToolCall) -> BoxFuture<'a, Result<Message>> {
        match self.rest.split_first() {
            Some((first, rest)) => first.wrap_tool(call, self.cx, Self { rest, ..*self }),
            None => (self.call)(call),
        }
    }
}

macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("inner", &self.rest.len()).finish_non_exhaustive()
            }
        }
    )*};
}
opaque!(NextModel, NextTool);

/// [`Middleware`], erased.
pub(super) trait DynMiddleware: Send + Sync {
    fn before_agent<'a>(
        &'a self,
        state: &'a AgentState,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<Option<AgentStateUpdate>>>;
    fn after_agent<'a>(
        &'a self,
        answer: Message,
        state: &'a AgentState,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<Message>>;
    fn wrap_model<'a>(
        &'a self,
        request: ModelRequest,
        cx: &'a Context,
        next: NextModel<'a>,
    ) -> BoxFuture<'a, Result<ModelReply>>;
    fn wrap_tool<'a>(
        &'a self,
        call: ToolCall,
        cx: &'a Context,
        next: NextTool<'a>,
    ) -> BoxFuture<'a, Result<Message>>;
}

impl<M: Middleware> DynMiddleware for M {
    fn before_agent<'a>(
        &'a self,
        state: &'a AgentState,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<Option<AgentStateUpdate>>> {
        Box::pin(Middleware::before_agent(self, state, cx))
    }

    fn after_agent<'a>(
        &'a self,
        answer: Message,
        state: &'a AgentState,
        cx: &'a Context,
    ) -> BoxFuture<'a, Result<Message>> {
        Box::pin(Middleware::after_agent(self, answer, state, cx))
    }

    fn wrap_model<'a>(
        &'a self,
        request: ModelRequest,
        cx: &'a Context,
        next: NextModel<'a>,
    ) -> BoxFuture<'a, Result<ModelReply>> {
        Box::pin(Middleware::wrap_model(self, request, cx, next))
    }

    fn wrap_tool<'a>(
        &'a self,
        call: ToolCall,
        cx: &'a Context,
        next: NextTool<'a>,
    ) -> BoxFuture<'a, Result<Message>> {
        Box::pin(Middleware::wrap_tool(self, call, cx, next))
    }
}

/// Makes a model call through a chain.
pub(super) async fn call_model<'a>(
    chain: &'a [Arc<dyn DynMiddleware>],
    cx: &'a Context,
    request: ModelRequest,
    call: &'a (dyn Fn(ModelRequest) -> BoxFuture<'a, Result<ModelReply>> + Send + Sync),
) -> Result<ModelReply> {
    NextModel { rest: chain, cx, call }.call(request).await
}

/// Makes a tool call through a chain.
pub(super) async fn call_tool<'a>(
    chain: &'a [Arc<dyn DynMiddleware>],
    cx: &'a Context,
    tool_call: ToolCall,
    call: &'a (dyn Fn(ToolCall) -> BoxFuture<'a, Result<Message>> + Send + Sync),
) -> Result<Message> {
    NextTool { rest: chain, cx, call }.call(tool_call).await
}
