//! A server's tools as ours: one live session, shared by all calls of the process and made anew when it drops.

mod call;
mod list;
mod open;
mod process;
mod question;
mod session;

use std::{fmt, io, sync::Arc, time::Duration};

use agent_core::{
    secret::Secret,
    tool::{AnyTool, RegistryError, Retry, ToolPolicy, ToolRegistry},
};
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

pub(super) use self::call::IDEMPOTENCY_KEY;
pub use self::{list::RemoteTool, process::Program};
use self::{open::Endpoint, session::Shared};
use super::McpError;

/// A connection to one MCP server. Cheap to clone; the last clone, its tools included, ends the session and kills the
/// server's process group.
///
/// There is one session, shared by all calls. When it drops, the calls under way end with a
/// [`ToolFault::OutcomeUnknown`](agent_core::tool::ToolFault::OutcomeUnknown) that the model can read, repeated by itself only where the
/// server says that a tool reads or that twice is the same as once; the next call makes a new session, with growing
/// waits while that fails. A call that is dropped, stopped or too slow is cancelled at the server.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

impl Client {
    /// A server that is a program of its own and speaks over stdin and stdout.
    pub fn program(name: impl Into<String>, program: Program) -> ClientBuilder {
        ClientBuilder::new(name, Endpoint::Program(program))
    }

    /// A server at an address, over streamable HTTP. Redirects are not followed.
    pub fn http(name: impl Into<String>, address: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(
            name,
            Endpoint::Http { address: address.into(), bearer: None, headers: Vec::new() },
        )
    }

    /// A server behind a stream of bytes that `open` makes, once for each session: a socket, a pipe.
    pub fn stream<F, Fut, R, W>(name: impl Into<String>, open: F) -> ClientBuilder
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<(R, W)>> + Send + 'static,
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let open = move || -> BoxFuture<'static, io::Result<open::Pipes>> {
            let opening = open();
            Box::pin(async move {
                let (read, write) = opening.await?;
                Ok((Box::new(read) as open::Reader, Box::new(write) as open::Writer))
            })
        };
        ClientBuilder::new(name, Endpoint::Stream(Arc::new(open)))
    }

    /// The name it was given here.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The server's tools as they are now, under their names here; listed anew when the server said that they
    /// changed, or when there is a new session.
    ///
    /// # Errors
    ///
    /// There is no session and none can be made, or the server does not list its tools in time.
    pub async fn tools(&self) -> Result<Vec<AnyTool>, McpError> {
        let listed = Shared::listed(&self.0).await?;
        Ok(listed.iter().map(|tool| list::tool(&self.0, tool)).collect())
    }

    /// The tools as a registry; [`join`](ToolRegistry::join) makes one of several.
    ///
    /// # Errors
    ///
    /// As [`tools`](Self::tools).
    pub async fn registry(&self) -> Result<ToolRegistry, McpError> {
        let tools = self.tools().await?;
        let made = tools.into_iter().fold(ToolRegistry::builder(), |made, tool| made.any(tool)).build();
        made.map_err(|error: RegistryError| McpError::Unusable {
            server: self.name().to_owned(),
            source: error.into(),
        })
    }

    /// Counts how often the server said that its tools changed, new sessions included. What was taken from
    /// [`tools`](Self::tools) before stays as it was: a run keeps the tools it began with.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes()
    }

    /// Whether there is a session that has not dropped.
    pub async fn is_connected(&self) -> bool {
        self.0.is_connected().await
    }

    /// Ends the session: the server sees its input end, has two seconds, and is then killed with all that it started.
    /// Calls of its tools are refused from now on.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// Whether a server may ask people (the protocol calls it elicitation).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Questions {
    /// No; the server is told so.
    #[default]
    Refused,
    /// Yes: what it asks during a call is a question of the run that makes the call, and pauses it. An answer fits
    /// the server's schema, or is `"decline"` or `"cancel"`.
    ///
    /// Over stdio the protocol does not say to which call a question belongs. A call that is made while another is under
    /// way therefore gets a session of its own there (up to 8), and the server a further process. Over HTTP it does.
    Asked,
}

/// What is taken of a server, whatever it sends.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Tools; those behind are left out. Default: 256.
    pub tools: usize,
    /// Bytes of one tool's schema; a tool with a longer one is left out. Default: 64 KiB.
    pub schema: usize,
    /// Bytes of one message; a longer one is dropped. Default: 8 MiB.
    pub message: usize,
    /// Bytes kept of one result. (How many of them a model reads, the policy says.) Default: 1 MiB.
    pub result: usize,
    /// How long the handshake and listing the tools may take, each. Default: 30 s.
    pub connect: Duration,
}

impl Default for Limits {
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

/// Settings of a client; [`connect`](Self::connect) makes it.
#[must_use = "a builder does nothing until `connect`"]
pub struct ClientBuilder {
    name: String,
    endpoint: Endpoint,
    prefix: Option<String>,
    timeout: Duration,
    retry: Retry,
    questions: Questions,
    limits: Limits,
    policy: Option<Arc<PolicyRule>>,
}

impl ClientBuilder {
    fn new(name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            name: name.into(),
            endpoint,
            prefix: None,
            timeout: Duration::from_secs(60),
            retry: Retry::attempts(3),
            questions: Questions::default(),
            limits: Limits::default(),
            policy: None,
        }
    }

    /// Sends `Authorization: Bearer ..`. Only for HTTP. Default: none.
    pub fn bearer(mut self, token: Secret) -> Self {
        if let Endpoint::Http { bearer, .. } = &mut self.endpoint {
            *bearer = Some(token);
        }
        self
    }

    /// Sends a header with each request. Only for HTTP. Default: none.
    pub fn header(mut self, name: impl Into<String>, value: Secret) -> Self {
        if let Endpoint::Http { headers, .. } = &mut self.endpoint {
            headers.push((name.into(), value));
        }
        self
    }

    /// Sets what stands before the name of each tool, so that two servers do not clash. Default: the client's name
    /// and `_`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets the longest time of one attempt of a call; waiting for a person does not count. Default: 60 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the retries of calls that did not happen, or that may be repeated. Default: three attempts.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets whether the server may ask people. Default: refused.
    pub fn questions(mut self, questions: Questions) -> Self {
        self.questions = questions;
        self
    }

    /// Sets what is taken of the server. Default: [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the rules of each tool: approval, guards, limits. It is given the rules that the tool would have. What
    /// the server says of a tool's effect is its own word: do not make less of a rule because of it.
    pub fn policy(
        mut self,
        rule: impl Fn(&RemoteTool, ToolPolicy) -> ToolPolicy + Send + Sync + 'static,
    ) -> Self {
        self.policy = Some(Arc::new(rule));
        self
    }

    /// Makes the first session and lists the tools.
    ///
    /// # Errors
    ///
    /// The server cannot be started or reached, does not speak the protocol, or is too slow.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, what was started is killed.
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
