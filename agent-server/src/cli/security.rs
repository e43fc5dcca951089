//! Creates keys, tokens, TLS and webhooks from settings.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use agent_core::secret::Secret;
use agent_tools::http::AddressPolicy;
use ring::rand::{SecureRandom, SystemRandom};

use super::error::CliError;
use crate::{
    Auth, Config, Tls, Webhooks,
    auth::{AuthError, Jwt},
    config::{AccessMode, Database},
};

/// Returns the authentication.
pub(super) fn auth(config: &Config) -> Result<Auth, CliError> {
    let mut auth = match config.access_mode() {
        AccessMode::Open => return Ok(Auth::off()),
        AccessMode::RemoteRejected => return Ok(Auth::local()),
        AccessMode::All => Auth::required(),
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

/// Returns the certificate, if one is configured.
pub(super) fn tls(config: &Config) -> Result<Option<Tls>, CliError> {
    let (Some(certificate), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let tls = Tls::from_files(certificate, key);
    tls.map(Some).map_err(|error| CliError::usage(format!("TLS_CERT_FILE, TLS_KEY_FILE: {error}")))
}

/// Returns the secret of the server: the configured one, or one that is created once and stored next to the database or in
/// it, for all processes on it. `None`: journals are in memory.
pub(super) async fn secret(config: &Config) -> Result<Option<Secret>, CliError> {
    if let Some(secret) = &config.server_secret {
        return Ok(Some(secret.clone()));
    }
    let database = match config.store() {
        Database::File(database) => database,
        Database::Memory => return Ok(None),
        #[cfg(feature = "postgres")]
        Database::Postgres { journals, .. } => {
            let store = super::setup::postgres::connect(config, &journals).await?;
            let fresh = random_secret().map_err(CliError::from_io("no secret"))?;
            let known = store.setting("server_secret", &fresh);
            return known.await.map(Secret::new).map(Some).map_err(|error| CliError::new(error.to_string()));
        }
        #[cfg(not(feature = "postgres"))]
        Database::Postgres { .. } => return Ok(None),
    };
    let mut name = database.into_os_string();
    name.push(".secret");
    let path = PathBuf::from(name);
    stored_secret(&path).map(Some).map_err(|error| {
        CliError::new(format!("{}: {error}", path.display())).hint("set SERVER_SECRET, which needs no file")
    })
}

/// Reads the secret from a file, which is created if it does not exist.
fn stored_secret(path: &Path) -> io::Result<Secret> {
    if !path.exists() {
        let text = random_secret()?;
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}", std::process::id()));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // Unlike a rename, a link does not replace the file of a concurrent process.
        let linked = fs::hard_link(&draft, path);
        fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    let text = fs::read_to_string(path)?;
    match text.trim() {
        short if short.len() < 32 => Err(io::Error::other("the secret in it is shorter than 32 bytes")),
        text => Ok(Secret::new(text)),
    }
}

fn random_secret() -> io::Result<String> {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| io::Error::other("the machine has no random numbers"))?;
    Ok(hex::encode(key))
}

/// Returns webhooks, if a secret is configured.
pub(super) fn webhooks(config: &Config) -> Result<Option<Webhooks>, CliError> {
    let Some(secret) = &config.webhook_secret else { return Ok(None) };
    let hosts = config.webhook_hosts.iter().flatten();
    let reach = hosts.fold(AddressPolicy::default(), |reach, host| reach.and_host(host));
    let webhooks = Webhooks::signed(secret, &reach);
    webhooks.map(Some).map_err(|error| CliError::usage(format!("WEBHOOK_SECRET: {error}")))
}

fn wrong(name: &'static str) -> impl Fn(AuthError) -> CliError {
    move |error| CliError::usage(format!("{name}: {error}"))
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, CliError> {
    fs::read(path).map_err(|error| CliError::usage(format!("{name}: `{}`: {error}", path.display())))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_created_once_and_readable_by_its_owner_only() {
        let home = tempfile::TempDir::new().unwrap();
        let path = home.path().join("agent.db.secret");
        let first = stored_secret(&path).unwrap();
        assert_eq!(stored_secret(&path).unwrap().expose(), first.expose());
        assert_eq!(
            (first.expose().len(), fs::metadata(&path).unwrap().permissions().mode() & 0o777),
            (64, 0o600)
        );
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no draft is left");
        fs::write(&path, "short").unwrap();
        assert!(stored_secret(&path).is_err());
    }
}
