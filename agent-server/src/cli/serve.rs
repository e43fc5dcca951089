//! `serve`: the server, until it is told to end.

use std::net::SocketAddr;

use tokio::signal::unix::{SignalKind, signal};

use super::{failure::Failure, open};
use crate::{Config, Server, config::Guard, trend::agent::TrendAgent};

/// Settings that this program reads but does not heed yet. To start with one of them said would promise what is not kept.
const NOT_YET: [&str; 11] = [
    "TLS_CERT_FILE",
    "TLS_KEY_FILE",
    "RATE_LIMIT_PER_MINUTE",
    "MAX_SESSIONS_PER_SUBJECT",
    "API_KEYS",
    "JWT_SECRET_KEY",
    "JWT_PUBLIC_KEY_FILE",
    "JWT_JWKS_FILE",
    "AUTH",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "WEBHOOK_SECRET",
];

pub(super) async fn run(config: &Config) -> Result<(), Failure> {
    let refused: Vec<&str> = NOT_YET
        .into_iter()
        .filter(|name| config.is_said(name) && !(*name == "AUTH" && config.guard() == Guard::Open))
        .collect();
    if !refused.is_empty() {
        let told = format!("this version does not know how to keep {}", refused.join(", "));
        return Err(Failure::usage(told).hint("leave it out, and guard the server by other means"));
    }
    let runtime = open::runtime(config)?;
    let address = SocketAddr::new(config.host, config.port);
    let mut server = Server::builder(runtime)
        .agent(TrendAgent)
        .passing(open::passing(config)?)
        .options(|options| config.apply(options));
    if let Some(chat) = open::chat(config)? {
        server = server.chat(chat);
    }
    if let Some(assistant) = open::assistant(config)? {
        server = server.assistant(assistant);
    }
    let server = server.bind(address).await.map_err(|error| {
        Failure::new(format!("{address} cannot be listened on: {error}"))
            .hint("API_HOST and API_PORT (--api-host, --api-port) choose another")
    })?;
    if !config.host.to_canonical().is_loopback() {
        tracing::warn!(
            "there is no authentication yet: whoever reaches {} can use the server",
            server.address()
        );
    }
    let analyst = if config.model().is_some() { "a model" } else { "the built-in offline analyst" };
    tracing::info!("listening on http://{}, reports by {analyst}", server.address());

    let told = Failure::from_io;
    let mut term = signal(SignalKind::terminate()).map_err(told("signals cannot be heard"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(told("signals cannot be heard"))?;
    server
        .serve(async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tracing::info!("ending");
        })
        .await;
    Ok(())
}
