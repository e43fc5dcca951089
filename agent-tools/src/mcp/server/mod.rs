//! MCP server: offers a tool registry to other programs, with its own limits and approval rules.

mod http;
mod question;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use agent_core::{
    ids::SessionId,
    interrupt::Question,
    model::ToolCall,
    tool::{
        AnyTool, CallListener, Effect, PreparedCall, StandingApprovals, ToolContext, ToolError, ToolFault,
        ToolOutput, ToolPolicy, ToolRegistry,
    },
};
use futures::future::BoxFuture;
use rmcp::{
    Peer, RoleServer, ServerHandler, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation,
        ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig,
        Tool, ToolAnnotations, ToolsCapability,
    },
    service::RequestContext,
    transport::async_rw::AsyncRwTransport,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, mpsc},
};

pub use self::http::{HttpBody, HttpOptions, HttpService};
use super::{McpError, client::IDEMPOTENCY_KEY, content};

/// Maximum number of concurrent calls of all clients.
const MAX_CALLS: usize = 64;
/// Maximum number of calls that wait for a permit.
const MAX_WAITING: usize = 1_024;
/// Maximum size of a message over a stream in bytes.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// Answer that approves a call.
const APPROVE: &str = "approve";
/// Maximum number of queued progress notifications; further ones are dropped.
const PROGRESS: usize = 64;

/// MCP server that offers the tools of a registry. Cheap to clone.
///
/// Arguments are validated like those of a model, and each call is subject to the tool's policy. For a call that needs an
/// approval, the person at the client is asked (elicitation); a client without that gets an error. The tools run outside of a run: without todos,
/// memory and dependencies of a runtime.
///
/// # Examples
///
/// ```
/// use agent_core::tool::ToolRegistry;
/// use agent_tools::{Calculator, mcp::Server};
///
/// let tools = ToolRegistry::builder().tool(Calculator::default()).build()?;
/// let server = Server::new("calculator", "1.0.0", tools);
/// # drop(server);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Server(Arc<Offer>);

#[derive(Clone)]
struct Offer {
    registry: ToolRegistry,
    name: String,
    version: String,
    instructions: Option<String>,
    unapproved: BTreeSet<String>,
    limits: Arc<CallLimits>,
}

/// State shared by all clients.
struct CallLimits {
    running: Semaphore,
    waiting: Semaphore,
    /// Identifies the calls of this process.
    nonce: SessionId,
    calls: AtomicU64,
}

impl Server {
    /// Creates a server that offers `registry` under a name and a version.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// use agent_tools::mcp::Server;
    ///
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let server = Server::new("demo", "1.0.0", tools);
    /// # drop(server);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(name: impl Into<String>, version: impl Into<String>, registry: ToolRegistry) -> Self {
        let limits = CallLimits {
            running: Semaphore::new(MAX_CALLS),
            waiting: Semaphore::new(MAX_WAITING),
            nonce: SessionId::random(),
            calls: AtomicU64::new(0),
        };
        Self(Arc::new(Offer {
            registry,
            name: name.into(),
            version: version.into(),
            instructions: None,
            unapproved: BTreeSet::new(),
            limits: Arc::new(limits),
        }))
    }

    /// Sets instructions for clients on how to use the tools together. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// use agent_tools::mcp::Server;
    ///
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let server = Server::new("demo", "1.0.0", tools).instructions("Ask for the weather of one city at a time.");
    /// # drop(server);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn instructions(mut self, text: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).instructions = Some(text.into());
        self
    }

    /// Allows tools to run although their policy requires an approval. Every caller of this server can then run
    /// them. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// use agent_tools::mcp::Server;
    ///
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let server = Server::new("demo", "1.0.0", tools).allow_unapproved(["weather"]);
    /// # drop(server);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn allow_unapproved<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Arc::make_mut(&mut self.0).unapproved.extend(names.into_iter().map(Into::into));
        self
    }

    /// Serves one client over stdin and stdout until it disconnects. Nothing else may write to stdout.
    ///
    /// # Errors
    ///
    /// The client does not speak the protocol, or the task failed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use agent_core::{tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// use agent_tools::mcp::Server;
    ///
    /// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// Server::new("demo", "1.0.0", tools).serve_stdio().await?;
    /// # Ok(()) }
    /// ```
    pub async fn serve_stdio(self) -> Result<(), McpError> {
        self.serve(tokio::io::stdin(), tokio::io::stdout()).await
    }

    /// Serves one client over a byte stream until it disconnects.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn serve(tools: agent_core::tool::ToolRegistry) -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_tools::mcp::Server;
    ///
    /// let (stream, _) = tokio::net::TcpListener::bind("127.0.0.1:9000").await?.accept().await?;
    /// let (read, write) = stream.into_split();
    /// Server::new("demo", "1.0.0", tools).serve(read, write).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The client does not speak the protocol, or the task failed.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the session ends and its calls are cancelled.
    pub async fn serve<R, W>(self, read: R, write: W) -> Result<(), McpError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let transport = AsyncRwTransport::new_server(read, write).with_max_line_length(MAX_MESSAGE);
        let running =
            McpHandler(self.0).serve(transport).await.map_err(|error| McpError::Served(error.into()))?;
        running.waiting().await.map(drop).map_err(|error| McpError::Served(error.into()))
    }

    /// Returns the server as an HTTP service, to be mounted at one path.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(tools: agent_core::tool::ToolRegistry) {
    /// use agent_tools::mcp::{HttpOptions, Server};
    ///
    /// let service = Server::new("demo", "1.0.0", tools).http(HttpOptions::default());
    /// # drop(service);
    /// # }
    /// ```
    #[must_use]
    pub fn http(self, options: HttpOptions) -> HttpService {
        HttpService::new(self, options)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.0.name)
            .field("tools", &self.0.registry)
            .finish_non_exhaustive()
    }
}

impl Offer {
    fn tools(&self) -> Vec<Tool> {
        let tool = |name| Some((self.registry.tool(name)?, self.registry.policy(name)?));
        self.registry.names().filter_map(tool).map(described).collect()
    }

    /// Checks that the policy allows the call, or that the person at the client approves it.
    async fn permitted(&self, call: &PreparedCall, cx: &RequestContext<RoleServer>) -> Result<(), ToolError> {
        if self.unapproved.contains(call.name()) || call.approval_for(&StandingApprovals::default()).is_none()
        {
            return Ok(());
        }
        let prompt = format!("May `{}` run with {}?", call.name(), call.args());
        let asked = question::ask(cx.peer.clone(), Question::choose(prompt, [APPROVE, "reject"]));
        let answer = tokio::select! {
            answer = asked => answer,
            () = cx.ct.cancelled() => return Err(ToolError::cancelled()),
        };
        match answer {
            Ok(answer) if answer == APPROVE => Ok(()),
            Ok(_) => Err(ToolError::refused("the call was not approved; it was not made")),
            Err(error) => Err(ToolError::refused(
                "this call needs an approval, and the client cannot ask for one; it was not made",
            )
            .with_cause(error.for_model().to_owned())),
        }
    }

    async fn run(
        &self,
        prepared: &PreparedCall,
        cx: &RequestContext<RoleServer>,
    ) -> Result<ToolOutput, ToolError> {
        self.permitted(prepared, cx).await?;
        let busy = || ToolError::unavailable("too many queued calls; try again later");
        let CallLimits { running, waiting, nonce, calls } = &*self.limits;
        let waits = waiting.try_acquire().map_err(|_| busy())?;
        let _place = tokio::select! {
            place = running.acquire() => place.map_err(|_| busy())?,
            () = cx.ct.cancelled() => return Err(ToolError::cancelled()),
        };
        drop(waits);
        let number = calls.fetch_add(1, Ordering::Relaxed);
        let id = format!("mcp-{number}");
        // The caller's own idempotency key, if it is one of ours; otherwise each call has a new one.
        let given = cx.meta.get(IDEMPOTENCY_KEY).and_then(Value::as_str).filter(|key| key.len() <= 128);
        let key = given.map_or_else(|| format!("{}-{number}", nonce.as_str()), str::to_owned);
        let (notes, mut progress) = mpsc::channel(PROGRESS);
        let context = ToolContext::new(id, key, cx.ct.clone())
            .with_listener(ProgressForwarder { notes, client: cx.peer.clone() });
        let run = prepared.run(&context);
        tokio::pin!(run);
        let mut shown = ProgressState::default();
        loop {
            tokio::select! {
                biased; // what was shown before the result is sent before it
                Some(value) = progress.recv() => shown.send(&value, cx).await,
                result = &mut run => {
                    while let Ok(value) = progress.try_recv() {
                        shown.send(&value, cx).await;
                    }
                    return result;
                }
            }
        }
    }
}

/// Describes a tool for other programs, with its original schema.
fn described((tool, policy): (&AnyTool, &ToolPolicy)) -> Tool {
    let parameters = match tool.parameters() {
        Value::Object(mut parameters) => {
            parameters.entry("type").or_insert_with(|| json!("object"));
            parameters
        }
        _ => serde_json::Map::from_iter([("type".to_owned(), json!("object"))]),
    };
    let reads = policy.effect == Effect::ReadOnly;
    let hints = ToolAnnotations::new()
        .read_only(reads)
        .destructive(policy.effect == Effect::Destructive)
        .idempotent(policy.effect.repeatable());
    let described =
        Tool::new(tool.name().to_owned(), tool.description().to_owned(), parameters).with_annotations(hints);
    match tool.output_schema() {
        Some(Value::Object(schema)) => described.with_raw_output_schema(Arc::new(schema)),
        _ => described,
    }
}

/// View of the server for one client.
struct McpHandler(Arc<Offer>);

impl ServerHandler for McpHandler {
    fn get_info(&self) -> ServerConfig {
        let mut capabilities = ServerCapabilities::default();
        capabilities.tools = Some(ToolsCapability::default());
        let mut info = ServerConfig::new(capabilities);
        info.server_info = Implementation::new(self.0.name.clone(), self.0.version.clone());
        info.instructions.clone_from(&self.0.instructions);
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.0.tools()))
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(params.arguments.unwrap_or_default());
        let prepared = match self.0.registry.prepare(ToolCall::new(params.name.as_ref(), &arguments)) {
            Ok(prepared) => prepared,
            Err(error) if error.fault() == ToolFault::Unknown => {
                return Err(ErrorData::invalid_params(error.for_model().to_owned(), None));
            }
            Err(error) => return Ok(failed(&error).into()),
        };
        let result = self.0.run(&prepared, &cx).await;
        if let Err(error) = &result {
            tracing::debug!(tool = prepared.name(), fault = error.fault().code(), cause = ?error.cause(), "tool call failed");
        }
        let reply = prepared.reply(&result);
        Ok(match result {
            Err(error) => failed(&error),
            Ok(ToolOutput::Json(value @ Value::Object(_))) if reply.cut.is_none() => {
                CallToolResult::structured(value)
            }
            Ok(ToolOutput::Blocks { blocks, .. }) if reply.cut.is_none() => {
                let mut result = CallToolResult::success(content::blocks(blocks));
                // A tool with a schema of its result has to return structured content.
                let tool = self.0.registry.tool(prepared.name());
                if tool.is_some_and(|tool| tool.output_schema().is_some()) {
                    let json = serde_json::from_str(&reply.text).ok();
                    result.structured_content = json.filter(Value::is_object);
                }
                result
            }
            Ok(_) => CallToolResult::success(vec![ContentBlock::text(reply.text)]),
        }
        .into())
    }
}

fn failed(error: &ToolError) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(error.for_model())])
}

/// Receives the output of a call for the client that made it.
struct ProgressForwarder {
    notes: mpsc::Sender<Value>,
    client: Peer<RoleServer>,
}

impl CallListener for ProgressForwarder {
    fn progress(&self, value: Value) {
        // Progress is dropped if the queue is full.
        self.notes.try_send(value).ok();
    }

    fn ask(&self, question: Question) -> BoxFuture<'static, Result<Value, ToolError>> {
        Box::pin(question::ask(self.client.clone(), question))
    }
}

/// Progress in the form of the protocol: a growing number, an optional total and an optional text.
#[derive(Default)]
struct ProgressState {
    last: Option<f64>,
}

impl ProgressState {
    async fn send(&mut self, value: &Value, cx: &RequestContext<RoleServer>) {
        let Some(token) = cx.meta.get_progress_token() else { return };
        let number = |name: &str| value.get(name).and_then(Value::as_f64);
        let text = |text: &str| text.chars().take(500).collect::<String>();
        let (at, total, message) = match number("progress") {
            Some(at) => (at, number("total"), value.get("message").and_then(Value::as_str).map(text)),
            None => {
                let said = value.as_str().map_or_else(|| text(&value.to_string()), text);
                (self.last.map_or(1.0, |last| last + 1.0), None, Some(said))
            }
        };
        if self.last.is_some_and(|last| at <= last) {
            return;
        }
        self.last = Some(at);
        let mut note = ProgressNotificationParam::new(token, at);
        note.total = total;
        note.message = message;
        if let Err(error) = cx.peer.notify_progress(note).await {
            tracing::debug!(%error, "progress could not be sent");
        }
    }
}
