//! HTTP client for model endpoints: TLS with *ring*, proxies, and the transport of all requests.

pub(crate) mod sse_guard;
pub(crate) mod error_response;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::BoxFuture;

use super::error::{ModelError, ModelErrorKind};

/// Settings of the HTTP client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Timeout for connecting, including TLS. Default: 10 s.
    pub connect_timeout: Duration,
    /// Proxy for all requests, for example `http://user:word@proxy:3128`. Never printed. Default: the variables
    /// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    pub proxy: Option<crate::secret::Secret>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(10), proxy: None }
    }
}

/// Returns a builder for HTTP clients with this project's settings: rustls with *ring*, the machine's trusted roots
/// or, if there are none, Mozilla's; no redirects, no cookies, no total timeout.
///
/// # Errors
///
/// The URL of the proxy is malformed, or TLS cannot be set up.
pub fn client_builder(options: &HttpOptions) -> Result<reqwest::ClientBuilder, ModelError> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls()?)
        .connect_timeout(options.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("agent-core/", env!("CARGO_PKG_VERSION")));
    if let Some(proxy) = proxy(options)? {
        builder = builder.proxy(proxy);
    }
    Ok(builder)
}

fn proxy(options: &HttpOptions) -> Result<Option<reqwest::Proxy>, ModelError> {
    let parse = |url: &crate::secret::Secret| {
        reqwest::Proxy::all(url.expose()).map_err(|_| unusable("the proxy URL is malformed"))
    };
    options.proxy.as_ref().map(parse).transpose()
}

/// HTTP client that is built for its first request, because loading the machine's trusted roots takes milliseconds and 100 kB.
#[derive(Debug)]
pub(crate) struct LazyClient {
    options: HttpOptions,
    client: OnceLock<reqwest::Client>,
}

impl LazyClient {
    /// # Errors
    ///
    /// The URL of the proxy is malformed.
    pub(crate) fn new(options: HttpOptions) -> Result<Self, ModelError> {
        proxy(&options)?;
        Ok(Self { options, client: OnceLock::new() })
    }

    pub(crate) fn get(&self) -> Result<&reqwest::Client, ModelError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = client_builder(&self.options)?
            .build()
            .map_err(|_| unusable("the HTTP client cannot be set up"))?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// Returns the TLS settings of all clients.
pub(crate) fn tls() -> Result<rustls::ClientConfig, ModelError> {
    use rustls_platform_verifier::BuilderVerifierExt;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|_| unusable("TLS cannot be set up"))
    };
    // A minimal container has no certificates; the verifier then fails even for plain HTTP.
    if let Ok(builder) = builder()?.with_platform_verifier() {
        return Ok(builder.with_no_client_auth());
    }
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

fn unusable(detail: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Unsupported).with_detail(detail)
}

/// Transport of requests to an endpoint: the network, or a cassette.
pub trait SendRequest: Send + Sync + 'static {
    /// Sends one request.
    ///
    /// # Errors
    ///
    /// No response was received. A response with an error status is not an error.
    fn send(&self, request: reqwest::Request) -> BoxFuture<'static, Result<reqwest::Response, ModelError>>;
}

/// Handle to a [`SendRequest`] implementation. Cheap to clone; clones share its connections.
#[derive(Clone)]
pub struct Transport(Arc<dyn SendRequest>);

impl Transport {
    /// Wraps an implementation.
    pub fn new(sender: impl SendRequest) -> Self {
        Self(Arc::new(sender))
    }

    /// Creates a transport over the network. TLS is set up for the first request.
    ///
    /// # Errors
    ///
    /// The URL of the proxy is malformed.
    pub fn network(options: &HttpOptions) -> Result<Self, ModelError> {
        Ok(Self::client(Arc::new(LazyClient::new(options.clone())?)))
    }

    pub(crate) fn client(client: Arc<LazyClient>) -> Self {
        Self::new(Network(client))
    }

    pub(crate) fn send(
        &self,
        request: reqwest::Request,
    ) -> BoxFuture<'static, Result<reqwest::Response, ModelError>> {
        self.0.send(request)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

struct Network(Arc<LazyClient>);

impl SendRequest for Network {
    fn send(&self, request: reqwest::Request) -> BoxFuture<'static, Result<reqwest::Response, ModelError>> {
        let client = self.0.get().cloned();
        Box::pin(async move { client?.execute(request).await.map_err(|error| transport_error(&error)) })
    }
}

/// Converts a transport error, without the URL, which may contain a key in its query.
pub(crate) fn transport_error(error: &reqwest::Error) -> ModelError {
    let what = if error.is_connect() {
        "no connection"
    } else if error.is_timeout() {
        "connection timed out"
    } else if error.is_body() || error.is_decode() {
        "connection broke while the answer was received"
    } else {
        "connection failed"
    };
    // The innermost cause is the message of the operating system or of TLS ("connection refused").
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let cause = cause.to_string();
    let detail = if cause.contains("://") { what.to_owned() } else { format!("{what}: {cause}") };
    ModelError::new(ModelErrorKind::Transport).with_detail(detail)
}
