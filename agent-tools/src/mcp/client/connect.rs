//! Connection to a server (child process, byte stream or HTTP), the handshake, and detection of its end.

use std::{
    collections::HashMap,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use agent_core::{
    model::http::{HttpOptions, client_builder},
    secret::Secret,
};
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use reqwest::Url;
use rmcp::{
    RoleClient, ServiceExt,
    service::RunningService,
    transport::{
        StreamableHttpClientTransport, async_rw::AsyncRwTransport,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::{
    super::McpError,
    ClientLimits,
    process::{Process, Program},
    session::Handler,
};

pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;
pub(super) type Pipes = (Reader, Writer);

pub(super) enum Endpoint {
    Program(Program),
    Http { address: String, bearer: Option<Secret>, headers: Vec<(String, Secret)> },
    Stream(Arc<dyn Fn() -> BoxFuture<'static, io::Result<Pipes>> + Send + Sync>),
}

/// Parts of an open session.
pub(super) struct OpenSession {
    pub(super) running: RunningService<RoleClient, Handler>,
    pub(super) process: Option<Process>,
    /// Cancelled when the server's output has ended.
    pub(super) gone: CancellationToken,
}

impl Endpoint {
    /// Returns whether questions of the server identify their call.
    pub(super) const fn tells_calls_apart(&self) -> bool {
        matches!(self, Self::Http { .. })
    }

    pub(super) async fn open(
        &self,
        server: &str,
        limits: &ClientLimits,
        handler: Handler,
    ) -> Result<OpenSession, McpError> {
        let unusable = |source| McpError::Unusable { server: server.to_owned(), source };
        let gone = CancellationToken::new();
        let (process, (read, write)) = match self {
            Self::Program(program) => {
                let started = program.start(server).map_err(|source| McpError::Start {
                    server: server.to_owned(),
                    program: program.shown(),
                    source,
                });
                let (process, stdout, stdin) = started?;
                (Some(process), (Box::new(stdout) as Reader, Box::new(stdin) as Writer))
            }
            Self::Stream(open) => (None, open().await.map_err(|error| unusable(error.into()))?),
            Self::Http { address, bearer, headers } => {
                let transport = http(server, limits, address, bearer.as_ref(), headers)?;
                let running = handler.serve(transport).await.map_err(|error| unusable(error.into()))?;
                return Ok(OpenSession { running, process: None, gone });
            }
        };
        let read = EofSignalReader { inner: read, gone: gone.clone() };
        let transport = AsyncRwTransport::new_client(read, write).with_max_line_length(limits.message);
        let running = handler.serve(transport).await.map_err(|error| unusable(error.into()))?;
        Ok(OpenSession { running, process, gone })
    }
}

fn http(
    server: &str,
    limits: &ClientLimits,
    address: &str,
    bearer: Option<&Secret>,
    headers: &[(String, Secret)],
) -> Result<StreamableHttpClientTransport<reqwest::Client>, McpError> {
    let illegal = |reason| McpError::Illegal { server: server.to_owned(), reason };
    let url = Url::parse(address).map_err(|_| illegal("the URL is invalid"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(illegal("the URL begins neither with `http://` nor with `https://`"));
    }
    let client = client_builder(&HttpOptions::default()).map_err(|_| illegal("TLS cannot be set up"))?;
    let here = url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    });
    // A proxy cannot reach servers that listen only on this machine.
    let client = if here { client.no_proxy() } else { client };
    let client = client.build().map_err(|_| illegal("the HTTP client cannot be created"))?;
    let mut custom = HashMap::new();
    for (name, value) in headers {
        let name = name.parse::<HeaderName>().map_err(|_| illegal("a header has an invalid name"))?;
        let mut value =
            HeaderValue::from_str(value.expose()).map_err(|_| illegal("a header has an invalid value"))?;
        value.set_sensitive(true);
        custom.insert(name, value);
    }
    let mut config = StreamableHttpClientTransportConfig::with_uri(address)
        .custom_headers(custom)
        .max_sse_event_size(limits.message);
    if let Some(bearer) = bearer {
        // The error for an invalid header value would contain the whole value.
        HeaderValue::from_str(bearer.expose())
            .map_err(|_| illegal("the bearer token contains illegal characters"))?;
        config = config.auth_header(bearer.expose());
    }
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(program) => program.fmt(f),
            // The URL may contain a key in its query.
            Self::Http { .. } => f.write_str("Http(..)"),
            Self::Stream(_) => f.write_str("Stream(..)"),
        }
    }
}

/// Reader that signals the end of its input.
struct EofSignalReader {
    inner: Reader,
    gone: CancellationToken,
}

impl AsyncRead for EofSignalReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let ended = match &polled {
            Poll::Ready(Ok(())) => buf.filled().len() == before && buf.remaining() > 0,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended {
            self.gone.cancel();
        }
        polled
    }
}

impl Drop for EofSignalReader {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}
