//! MCP server over streamable HTTP: a service to mount, and a listener.

use std::{
    convert::Infallible,
    fmt, io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use agent_core::task_group::TaskGroup;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::{
    StreamableHttpServerConfig, StreamableHttpService,
    streamable_http_server::session::local::LocalSessionManager,
};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use super::{McpHandler, Server};

/// Body type of responses.
pub type HttpBody = BoxBody<Bytes, Infallible>;

/// Maximum number of connections of the listener; further ones wait.
const MAX_CONNECTIONS: usize = 512;
/// Timeout for reading request headers.
const HEAD: Duration = Duration::from_secs(30);
/// Wait after a failed accept, because too many open files do not become fewer immediately.
const PAUSE: Duration = Duration::from_millis(50);
/// Timeout for responses in progress when the listener is stopped.
const GRACE: Duration = Duration::from_secs(5);

/// Access rules and limits of the HTTP server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Accepted values of `Host`, with or without a port. Other values may be names that a hostile page has pointed
    /// at this address (DNS rebinding). Empty: all, for an embedding server that checks them itself. Default: `localhost`,
    /// `127.0.0.1`, `::1`.
    pub hosts: Vec<String>,
    /// Accepted values of `Origin`, with scheme (`https://app.example:443`, or `:*` for any port). Requests without
    /// `Origin` do not come from a web page and are accepted. Default: none.
    pub origins: Vec<String>,
    /// Whether `Origin` is checked. Default: yes; an embedding server may check it itself.
    pub check_origins: bool,
    /// Maximum size of a request body in bytes. Default: 4 MiB.
    pub body: usize,
    /// Maximum number of sessions; beyond it, new ones get 503. Idle sessions end after five minutes. Default: 256.
    pub sessions: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            hosts: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into(),
            origins: Vec::new(),
            check_origins: true,
            body: 4 * 1024 * 1024,
            sessions: 256,
        }
    }
}

/// HTTP service for MCP clients. Mount it at one path, usually `/mcp`; authentication is the responsibility of the
/// embedding server. Cheap to clone; clones share the sessions.
///
/// # Examples
///
/// ```
/// use agent_core::tool::ToolRegistry;
/// use agent_tools::mcp::{HttpOptions, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tools = ToolRegistry::builder().build()?;
/// let service = Server::new("demo", "1.0.0", tools).http(HttpOptions::default());
/// # drop(service); Ok(()) }
/// ```
#[derive(Clone)]
pub struct HttpService {
    inner: StreamableHttpService<McpHandler, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    max_sessions: usize,
    stop: CancellationToken,
}

impl HttpService {
    pub(super) fn new(server: Server, options: HttpOptions) -> Self {
        let stop = CancellationToken::new();
        let sessions = Arc::new(LocalSessionManager::default());
        let config = StreamableHttpServerConfig::default()
            .with_allowed_hosts(options.hosts)
            .with_allowed_origins(options.origins)
            .with_max_request_body_bytes(options.body)
            .with_cancellation_token(stop.clone());
        let config = if options.check_origins { config.enforce_origin_validation() } else { config };
        let offer = server.0;
        let handler = move || Ok::<_, io::Error>(McpHandler(Arc::clone(&offer)));
        let inner = StreamableHttpService::new(handler, Arc::clone(&sessions), config);
        Self { inner, sessions, max_sessions: options.sessions, stop }
    }

    /// Handles one request. The response body may be a stream that ends with the session.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn answer(service: agent_tools::mcp::HttpService, request: hyper::Request<hyper::body::Incoming>) {
    /// let response = service.handle(request).await;
    /// println!("{}", response.status());
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the request gets no response; a call that it started continues.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<HttpBody>
    where
        B: hyper::body::Body + Send + 'static,
        B::Error: fmt::Display,
    {
        let begins = request.method() == Method::POST && !request.headers().contains_key("mcp-session-id");
        if begins && self.sessions.sessions.read().await.len() >= self.max_sessions {
            let mut full = Response::new(Full::new(Bytes::from_static(b"too many sessions")).boxed());
            *full.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return full;
        }
        self.inner.handle(request).await
    }

    /// Ends all sessions and cancels their calls. New sessions are rejected.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(service: agent_tools::mcp::HttpService) {
    /// service.stop();
    /// # }
    /// ```
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Serves every path of a listener until `stop` is cancelled, then ends the sessions.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn of(service: agent_tools::mcp::HttpService) -> std::io::Result<()> {
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:9000").await?;
    /// service.listen(listener, CancellationToken::new()).await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The listener failed.
    pub async fn listen(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let tasks = TaskGroup::default();
        let limits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let accepted = loop {
            let place = Arc::clone(&limits).acquire_owned().await.map_err(io::Error::other)?;
            let stream = tokio::select! {
                biased; // a stop wins over a client of the same poll
                () = stop.cancelled() => break Ok(()),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    // Neither a lost client nor too many open files end the server.
                    Err(error) if passes(&error) => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    Err(error) => break Err(error),
                },
            };
            let service = self.clone();
            tasks.spawn(async move {
                let answer = hyper::service::service_fn(move |request| {
                    let service = service.clone();
                    async move { Ok::<_, Infallible>(service.handle(request).await) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection to the MCP server ended");
                }
                drop(place);
            });
        };
        self.stop();
        // Responses that take longer are dropped.
        tokio::time::timeout(GRACE, tasks.wait_idle()).await.ok();
        tasks.stop();
        tasks.wait_idle().await;
        accepted
    }
}

fn passes(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let client = matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted);
    // EMFILE, ENFILE
    client || matches!(error.raw_os_error(), Some(23 | 24))
}

impl<B> tower_service::Service<Request<B>> for HttpService
where
    B: hyper::body::Body + Send + 'static,
    B::Error: fmt::Display,
    B::Data: Send + 'static,
{
    type Response = Response<HttpBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}

impl fmt::Debug for HttpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService").field("max_sessions", &self.max_sessions).finish_non_exhaustive()
    }
}
