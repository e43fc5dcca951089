//! TLS with a certificate and key from files, which can be reloaded while the server runs.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::{TlsAcceptor, rustls};

/// A certificate and its key. Clones share them, so that [`reload`](Tls::reload) affects all clones.
///
/// # Examples
///
/// ```no_run
/// use agent_server::{ServerBuilder, Tls, tls::TlsError};
///
/// # fn of(builder: ServerBuilder) -> Result<ServerBuilder, TlsError> {
/// let tls = Tls::from_files("agents.example.crt", "agents.example.key")?;
/// # Ok(
/// builder.tls(tls)
/// # ) }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<Files>);

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    now: RwLock<Arc<rustls::ServerConfig>>,
}

/// Error of a certificate or key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or does not contain the expected PEM data.
    #[error("`{path}` contains no {what} in PEM format")]
    File {
        /// Path of the file.
        path: PathBuf,
        /// Expected content.
        what: &'static str,
        /// Cause.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate and key do not match, or are not supported.
    #[error("the certificate and the key do not match or are not supported")]
    Unfit(#[from] rustls::Error),
}

impl Tls {
    /// Reads a certificate chain and the key of the certificate from PEM files.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::Tls;
    ///
    /// match Tls::from_files("agents.example.crt", "agents.example.key") {
    ///     Ok(tls) => drop(tls), // `ServerBuilder::tls`
    ///     Err(error) => eprintln!("{error}"), // names the file
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let now = RwLock::new(read(&certificate, &key)?);
        Ok(Self(Arc::new(Files { certificate, key, now })))
    }

    /// Reads the files again. New connections use the new certificate; open connections are not affected.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn of(tls: agent_server::Tls) {
    /// // After the certificate was renewed.
    /// if let Err(error) = tls.reload() {
    ///     eprintln!("the previous certificate stays in use: {error}");
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TlsError`]; the previous certificate stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = read(&self.0.certificate, &self.0.key)?;
        *self.0.now.write() = new;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.now.read()))
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let at = |path: &Path, what| {
        let path = path.to_owned();
        move |source| TlsError::File { path, what, source }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(at(certificate, "certificate"))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(at(key, "private key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.0.certificate).finish_non_exhaustive()
    }
}

/// Logs a failed TLS handshake.
pub(crate) fn log_failed_handshake(error: &io::Error) {
    tracing::debug!(%error, "a TLS handshake failed");
}
