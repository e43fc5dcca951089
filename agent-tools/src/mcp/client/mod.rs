//! MCP client: tools of a server, over one session that all calls share and that reconnects when it is lost.

mod call;
mod list;
mod connect;
mod process;
mod question;
mod session;

use std::{fmt, io, sync::Arc, time::Duration};

use agent_core::{
    retry::RetryPolicy,
    secret::Secret,
    tool::{AnyTool, RegistryError, ToolPolicy, ToolRegistry},
};
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

pub(super) use self::call::IDEMPOTENCY_KEY;
use self::{connect::Endpoint, session::Shared};
pub use self::{list::RemoteTool, process::Program};
use super::McpError;

/// Connection to one MCP server. Cheap to clone; dropping the last clone and the last tool ends the session and
/// kills the server's process group.
///
/// All calls share one session. When it is lost, calls in progress end with a
/// [`ToolFault::OutcomeUnknown`](agent_core::tool::ToolFault::OutcomeUnknown) that the model can read. They are
/// repeated automatically only if the server declares the tool as read-only or idempotent. The next call opens a
/// new session, with growing waits between failed attempts. A call that is dropped, stopped or times out is
/// cancelled on the server.
///
/// # Examples
///
/// ```no_run
/// use agent_core::Agent;
/// use agent_tools::mcp::{Client, Program};
///
/// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
/// let files = Client::program("files", Program::new("mcp-files").arg("/srv/docs")).connect().await?;
/// let agent = Agent::builder("librarian").tools(files.registry().await?);
/// # drop(agent); Ok(()) }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

impl Client {
    /// Creates a client for a server that runs as a child process and speaks over stdin and stdout.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_tools::mcp::{Client, Program};
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::program("files", Program::new("mcp-files").arg("/srv/docs")).connect().await?;
    /// println!("{:?}", client.registry().await?);
    /// # Ok(()) }
    /// ```
    pub fn program(name: impl Into<String>, program: Program) -> ClientBuilder {
        ClientBuilder::new(name, Endpoint::Program(program))
    }

    /// Creates a client for a server over streamable HTTP. Redirects are not followed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_tools::mcp::Client;
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::http("shop", "https://shop.example/mcp").connect().await?;
    /// println!("{:?}", client.registry().await?);
    /// # Ok(()) }
    /// ```
    pub fn http(name: impl Into<String>, address: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(
            name,
            Endpoint::Http { address: address.into(), bearer: None, headers: Vec::new() },
        )
    }

    /// Creates a client for a server behind a byte stream (socket, pipe) that `open` creates once per session.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_tools::mcp::Client;
    /// use tokio::net::TcpStream;
    ///
    /// let client = Client::stream("shop", async || Ok(TcpStream::connect("127.0.0.1:9000").await?.into_split()));
    /// println!("{:?}", client.connect().await?.registry().await?);
    /// # Ok(()) }
    /// ```
    pub fn stream<F, Fut, R, W>(name: impl Into<String>, open: F) -> ClientBuilder
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<(R, W)>> + Send + 'static,
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let open = move || -> BoxFuture<'static, io::Result<connect::Pipes>> {
            let opening = open();
            Box::pin(async move {
                let (read, write) = opening.await?;
                Ok((Box::new(read) as connect::Reader, Box::new(write) as connect::Writer))
            })
        };
        ClientBuilder::new(name, Endpoint::Stream(Arc::new(open)))
    }

    /// Returns the name of the server in this process.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn of(client: agent_tools::mcp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{}", client.name());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Returns the current tools of the server under their names in this process. They are listed again if the
    /// server has announced a change, or after a reconnect.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn of(client: agent_tools::mcp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{} tools", client.tools().await?.len());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// There is no session and a new one cannot be opened, or the server does not list its tools in time.
    pub async fn tools(&self) -> Result<Vec<AnyTool>, McpError> {
        let listed = Shared::listed(&self.0).await?;
        Ok(listed.iter().map(|tool| list::tool(&self.0, tool)).collect())
    }

    /// Returns the tools as a registry; [`join`](ToolRegistry::join) combines several.
    ///
    /// # Errors
    ///
    /// As [`tools`](Self::tools).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_tools::mcp::Client;
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::http("shop", "https://shop.example/mcp").connect().await?;
    /// println!("{:?}", client.registry().await?);
    /// # Ok(()) }
    /// ```
    pub async fn registry(&self) -> Result<ToolRegistry, McpError> {
        let tools = self.tools().await?;
        let made = tools.into_iter().fold(ToolRegistry::builder(), |made, tool| made.any(tool)).build();
        made.map_err(|error: RegistryError| McpError::Unusable {
            server: self.name().to_owned(),
            source: error.into(),
        })
    }

    /// Returns a counter of announced tool changes, including new sessions.
    ///
    /// The results of earlier calls of [`tools`](Self::tools) do not change: a run keeps the tools with which it
    /// began.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn of(client: agent_tools::mcp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut changes = client.changes();
    /// changes.changed().await?;
    /// println!("{} tools now", client.tools().await?.len());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes()
    }

    /// Returns `true` if there is a session that is not lost.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn of(client: agent_tools::mcp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{}", client.is_connected().await);
    /// # Ok(()) }
    /// ```
    pub async fn is_connected(&self) -> bool {
        self.0.is_connected().await
    }

    /// Closes the session: the server's input is closed, and after two seconds its process group is killed. Later
    /// calls of its tools fail.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn of(client: agent_tools::mcp::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.close().await;
    /// # Ok(()) }
    /// ```
    pub async fn close(&self) {
        self.0.close().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Whether a server may ask questions (elicitation in the protocol).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Questions {
    /// No. The capability is not announced.
    #[default]
    Refused,
    /// Yes. A question during a call becomes a question of the run that makes the call, and pauses it. The answer
    /// must match the server's schema, or be `"decline"` or `"cancel"`.
    ///
    /// Over stdio, the protocol does not identify the call of a question. A call that is made while another is in
    /// progress therefore gets its own session (up to 8), which means another server process. Over HTTP this is not
    /// necessary.
    Asked,
}

/// Limits for data from a server.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ClientLimits {
    /// Number of tools; further ones are left out. Default: 256.
    pub tools: usize,
    /// Bytes of a tool's schema; tools with longer ones are left out. Default: 64 KiB.
    pub schema: usize,
    /// Bytes of a message; longer ones are dropped. Default: 8 MiB.
    pub message: usize,
    /// Bytes kept of a result. The policy limits how many of them a model reads. Default: 1 MiB.
    pub result: usize,
    /// Timeout of the handshake and of listing the tools, each. Default: 30 s.
    pub connect: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            tools: 256,
            schema: 64 * 1024,
            message: 8 * 1024 * 1024,
            result: 1024 * 1024,
            connect: Duration::from_secs(30),
        }
    }
}

type PolicyRule = dyn Fn(&RemoteTool, ToolPolicy) -> ToolPolicy + Send + Sync;

/// Builder of a client; [`connect`](Self::connect) builds it.
///
/// # Examples
///
/// ```no_run
/// use agent_tools::mcp::{Client, Questions};
/// use std::time::Duration;
///
/// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
/// let builder = Client::http("shop", "https://shop.example/mcp").questions(Questions::Asked);
/// let client = builder.timeout(Duration::from_secs(20)).connect().await?;
/// # drop(client); Ok(()) }
/// ```
#[must_use = "a builder does nothing until `connect`"]
pub struct ClientBuilder {
    name: String,
    endpoint: Endpoint,
    prefix: Option<String>,
    timeout: Duration,
    retry: RetryPolicy,
    questions: Questions,
    limits: ClientLimits,
    policy: Option<Arc<PolicyRule>>,
}

impl ClientBuilder {
    fn new(name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            name: name.into(),
            endpoint,
            prefix: None,
            timeout: Duration::from_secs(60),
            retry: RetryPolicy::attempts(3),
            questions: Questions::default(),
            limits: ClientLimits::default(),
            policy: None,
        }
    }

    /// Sends `Authorization: Bearer ..`. Only for HTTP. Default: none.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::secret::Secret;
    /// use agent_tools::mcp::Client;
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::http("shop", "https://shop.example/mcp").bearer(Secret::new("…")).connect().await?;
    /// println!("{:?}", client.registry().await?);
    /// # Ok(()) }
    /// ```
    pub fn bearer(mut self, token: Secret) -> Self {
        if let Endpoint::Http { bearer, .. } = &mut self.endpoint {
            *bearer = Some(token);
        }
        self
    }

    /// Sends a header with each request. Only for HTTP. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::secret::Secret;
    /// use agent_tools::mcp::Client;
    ///
    /// let client = Client::http("shop", "https://shop.example/mcp").header("x-api-key", Secret::new("…")).connect().await?;
    /// # drop(client); Ok(()) }
    /// ```
    pub fn header(mut self, name: impl Into<String>, value: Secret) -> Self {
        if let Endpoint::Http { headers, .. } = &mut self.endpoint {
            headers.push((name.into(), value));
        }
        self
    }

    /// Sets the prefix of the tools' names, which keeps the names of several servers unique. Default: the client's
    /// name and `_`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_tools::mcp::Client;
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::http("shop", "https://shop.example/mcp").prefix("shop_").connect().await?;
    /// println!("{:?}", client.registry().await?);
    /// # Ok(()) }
    /// ```
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets the timeout of one attempt of a call, without the time spent waiting for answers. Default: 60 s.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_tools::mcp::Client;
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::http("shop", "https://shop.example/mcp").timeout(std::time::Duration::from_secs(20)).connect().await?;
    /// println!("{:?}", client.registry().await?);
    /// # Ok(()) }
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the retries of calls that were not made, or that may be repeated. Default: three attempts.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_tools::mcp::Client;
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::http("shop", "https://shop.example/mcp").retry(5).connect().await?;
    /// println!("{:?}", client.registry().await?);
    /// # Ok(()) }
    /// ```
    pub fn retry(mut self, policy: impl Into<RetryPolicy>) -> Self {
        self.retry = policy.into();
        self
    }

    /// Sets whether the server may ask questions. Default: refused.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_tools::mcp::{Client, Questions};
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::http("shop", "https://shop.example/mcp").questions(Questions::Asked).connect().await?;
    /// println!("{:?}", client.registry().await?);
    /// # Ok(()) }
    /// ```
    pub fn questions(mut self, questions: Questions) -> Self {
        self.questions = questions;
        self
    }

    /// Sets the limits for data from the server. Default: [`ClientLimits::default`].
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_tools::mcp::{Client, ClientLimits};
    ///
    /// let client = Client::http("shop", "https://shop.example/mcp").limits(ClientLimits::default()).connect().await?;
    /// # drop(client); Ok(()) }
    /// ```
    pub fn limits(mut self, limits: ClientLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the policy of each tool: approval, guards, limits. The closure receives the default policy of the tool.
    /// The effect declared by the server is not verified: do not relax a policy because of it.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::tool::Approval;
    /// use agent_tools::mcp::Client;
    ///
    /// let client = Client::http("shop", "https://shop.example/mcp")
    ///     .policy(|_, policy| policy.approval(Approval::Always))
    ///     .connect()
    ///     .await?;
    /// # drop(client); Ok(()) }
    /// ```
    pub fn policy(
        mut self,
        rule: impl Fn(&RemoteTool, ToolPolicy) -> ToolPolicy + Send + Sync + 'static,
    ) -> Self {
        self.policy = Some(Arc::new(rule));
        self
    }

    /// Opens the first session and lists the tools.
    ///
    /// # Errors
    ///
    /// The server cannot be started or reached, does not speak the protocol, or is too slow.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a started process is killed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_tools::mcp::Client;
    ///
    /// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::http("shop", "https://shop.example/mcp").connect().await?;
    /// println!("{:?}", client.registry().await?);
    /// # Ok(()) }
    /// ```
    pub async fn connect(self) -> Result<Client, McpError> {
        let shared = Shared::new(self);
        Shared::listed(&shared).await?;
        Ok(Client(shared))
    }

    fn prefix_of(&self) -> String {
        self.prefix.clone().unwrap_or_else(|| format!("{}_", self.name))
    }

    fn policy_of(&self, tool: &RemoteTool) -> ToolPolicy {
        let policy = ToolPolicy::default().effect(tool.effect).timeout(self.timeout).retry(self.retry);
        match &self.policy {
            Some(rule) => rule(tool, policy),
            None => policy,
        }
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
