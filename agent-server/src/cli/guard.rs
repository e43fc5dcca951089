//! What guards a server, as the settings say: keys, tokens, TLS, webhooks.

use std::{fs, path::Path};

use agent_tools::http::Reach;

use super::failure::Failure;
use crate::{
    Auth, Config, Tls, Webhooks,
    auth::{AuthError, Jwt},
    config::Guard,
};

/// Who may come in.
pub(super) fn auth(config: &Config) -> Result<Auth, Failure> {
    let mut auth = match config.guard() {
        Guard::Open => return Ok(Auth::off()),
        Guard::OthersRefused => return Ok(Auth::local()),
        Guard::Everybody => Auth::asked(),
    };
    for key in config.api_keys.iter().flatten() {
        auth = auth.key(&key.name, key.key.clone()).map_err(wrong("API_KEYS"))?;
    }
    let agreed = |mut jwt: Jwt| {
        if let Some(issuer) = &config.jwt_issuer {
            jwt = jwt.issuer(issuer);
        }
        if let Some(audience) = &config.jwt_audience {
            jwt = jwt.audience(audience);
        }
        jwt
    };
    if let Some(secret) = &config.jwt_secret {
        auth = auth.tokens(agreed(Jwt::hs256(secret)));
    }
    if let Some(path) = &config.jwt_public_key {
        let pem = read("JWT_PUBLIC_KEY_FILE", path)?;
        auth = auth.tokens(agreed(Jwt::rs256(&pem).map_err(wrong("JWT_PUBLIC_KEY_FILE"))?));
    }
    if let Some(path) = &config.jwt_jwks {
        let set = read("JWT_JWKS_FILE", path)?;
        auth = auth.tokens(agreed(Jwt::jwks(&set).map_err(wrong("JWT_JWKS_FILE"))?));
    }
    Ok(config.admins.iter().flatten().cloned().fold(auth, Auth::admin))
}

/// The certificate, if there is one.
pub(super) fn tls(config: &Config) -> Result<Option<Tls>, Failure> {
    let (Some(certificate), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let tls = Tls::from_files(certificate, key);
    tls.map(Some).map_err(|error| Failure::usage(format!("TLS_CERT_FILE, TLS_KEY_FILE: {error}")))
}

/// Webhooks, if there is a secret to sign them with.
pub(super) fn webhooks(config: &Config) -> Result<Option<Webhooks>, Failure> {
    let Some(secret) = &config.webhook_secret else { return Ok(None) };
    let hosts = config.webhook_hosts.iter().flatten();
    let reach = hosts.fold(Reach::default(), |reach, host| reach.and_host(host));
    let webhooks = Webhooks::signed(secret, &reach);
    webhooks.map(Some).map_err(|error| Failure::usage(format!("WEBHOOK_SECRET: {error}")))
}

fn wrong(name: &'static str) -> impl Fn(AuthError) -> Failure {
    move |error| Failure::usage(format!("{name}: {error}"))
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::usage(format!("{name}: `{}`: {error}", path.display())))
}
