//! `serve`: the server, until it is told to end.

use std::{fs, net::SocketAddr, path::Path};

use tokio::signal::unix::{SignalKind, signal};

use super::{failure::Failure, open};
use crate::{
    Auth, Config, Server, Tls,
    auth::{AuthError, Jwt},
    config::Guard,
    trend::agent::TrendAgent,
};

/// Settings that this program reads but does not heed yet. To start with one of them said would promise what is not kept.
const NOT_YET: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "WEBHOOK_SECRET"];

pub(super) async fn run(config: &Config) -> Result<(), Failure> {
    let refused: Vec<&str> = NOT_YET.into_iter().filter(|name| config.is_said(name)).collect();
    if !refused.is_empty() {
        let told = format!("this version does not know how to keep {}", refused.join(", "));
        return Err(Failure::usage(told).hint("leave it out"));
    }
    let runtime = open::runtime(config)?;
    let address = SocketAddr::new(config.host, config.port);
    let mut server = Server::builder(runtime)
        .agent(TrendAgent)
        .passing(open::passing(config)?)
        .auth(auth(config)?)
        .options(|options| config.apply(options));
    if let Some(chat) = open::chat(config)? {
        server = server.chat(chat);
    }
    if let Some(assistant) = open::assistant(config)? {
        server = server.assistant(assistant);
    }
    let tls = tls(config)?;
    if let Some(tls) = &tls {
        server = server.tls(tls.clone());
    }
    let server = server.bind(address).await.map_err(|error| {
        Failure::new(format!("{address} cannot be listened on: {error}"))
            .hint("API_HOST and API_PORT (--api-host, --api-port) choose another")
    })?;
    if let Some(told) = config.guard_warning() {
        tracing::warn!("{told}");
    }
    let analyst = if config.model().is_some() { "a model" } else { "the built-in offline analyst" };
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{}, reports by {analyst}", server.address());

    let told = Failure::from_io;
    let mut term = signal(SignalKind::terminate()).map_err(told("signals cannot be heard"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(told("signals cannot be heard"))?;
    let mut hup = signal(SignalKind::hangup()).map_err(told("signals cannot be heard"))?;
    server
        .serve(async {
            loop {
                tokio::select! {
                    _ = term.recv() => break,
                    _ = int.recv() => break,
                    _ = hup.recv() => reload(tls.as_ref()),
                }
            }
            tracing::info!("ending");
        })
        .await;
    Ok(())
}

/// Who may use the server; see [`Config::guard`].
fn auth(config: &Config) -> Result<Auth, Failure> {
    let mut auth = match config.guard() {
        Guard::Open => return Ok(Auth::off()),
        Guard::OthersRefused => return Ok(Auth::local()),
        Guard::Everybody => Auth::asked(),
    };
    let wrong = |name: &'static str| move |error: AuthError| Failure::usage(format!("{name}: {error}"));
    for known in config.api_keys.iter().flatten() {
        auth = auth.key(&known.name, known.key.clone()).map_err(wrong("API_KEYS"))?;
    }
    let mut tokens: Vec<Jwt> = config.jwt_secret.iter().map(Jwt::hs256).collect();
    if let Some(path) = &config.jwt_public_key {
        tokens.push(Jwt::rs256(&read(path)?).map_err(wrong("JWT_PUBLIC_KEY_FILE"))?);
    }
    if let Some(path) = &config.jwt_jwks {
        tokens.push(Jwt::jwks(&read(path)?).map_err(wrong("JWT_JWKS_FILE"))?);
    }
    for mut token in tokens {
        if let Some(issuer) = &config.jwt_issuer {
            token = token.issuer(issuer.as_str());
        }
        if let Some(audience) = &config.jwt_audience {
            token = token.audience(audience.as_str());
        }
        auth = auth.tokens(token);
    }
    Ok(auth)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))
}

fn tls(config: &Config) -> Result<Option<Tls>, Failure> {
    let (Some(certificate), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let tls = Tls::from_files(certificate, key);
    tls.map(Some).map_err(|error| Failure::usage(format!("TLS_CERT_FILE, TLS_KEY_FILE: {error}")))
}

/// A certificate that was renewed is taken up without an end.
fn reload(tls: Option<&Tls>) {
    match tls.map(Tls::reload) {
        None => {}
        Some(Ok(())) => tracing::info!("the certificate was read again"),
        Some(Err(error)) => tracing::error!(%error, "the certificate stays as it was"),
    }
}
