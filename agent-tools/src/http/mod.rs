//! Web tools: pages as Markdown and search engines, through a client that does not reach private networks.

mod fetch;
mod ssrf;
mod webhook_client;
mod search;

use std::{error::Error, sync::Arc, time::Duration};

use agent_core::tool::ToolError;
use bytes::BytesMut;
use futures::StreamExt;
use reqwest::{Client, Response, redirect::Policy};
use rustls_platform_verifier::BuilderVerifierExt;

pub use fetch::{Fetch, FetchArgs};
pub use search::{Engine, SearchResult, WebSearch, WebSearchArgs};
pub use ssrf::AddressPolicy;
pub use webhook_client::{PostError, SsrfSafeClient};

/// The client cannot be created because TLS cannot be set up on this machine.
#[derive(Debug)]
pub struct NoClient(Box<dyn Error + Send + Sync>);

impl std::fmt::Display for NoClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot make an HTTP client")
    }
}

impl Error for NoClient {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// Creates a client that follows no redirects, uses no proxy (which would resolve names itself) and connects only
/// to addresses that `reach` allows.
fn client(reach: &AddressPolicy) -> Result<Client, NoClient> {
    let tls = tls().map_err(|error| NoClient(error.into()))?;
    Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Arc::new(ssrf::Resolver(reach.clone())))
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(Duration::from_secs(10))
        .user_agent(concat!("agent-tools/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| NoClient(error.into()))
}

fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
    };
    // A minimal container has no certificates; the verifier then fails even for plain HTTP.
    if let Ok(builder) = builder()?.with_platform_verifier() {
        return Ok(builder.with_no_client_auth());
    }
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

/// Returns the body, up to `limit` bytes, and whether it was longer.
async fn body(response: Response, limit: usize) -> Result<(BytesMut, bool), ToolError> {
    let mut body = BytesMut::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            ToolError::unavailable("the connection broke while the response was received").with_cause(error)
        })?;
        let room = limit - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body, true));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, false))
}

/// Error for a missing response, without details about networks that the model may not access.
fn no_answer(error: reqwest::Error) -> ToolError {
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(cause) = source {
        if cause.is::<ssrf::Forbidden>() {
            return ToolError::refused(
                "this address is not on the public internet and therefore not allowed",
            );
        }
        source = cause.source();
    }
    let message =
        if error.is_timeout() { "the server did not answer in time" } else { "the server cannot be reached" };
    ToolError::unavailable(message).with_cause(error)
}
