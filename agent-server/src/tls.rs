//! TLS by a certificate and its key from files, which can be read again while the server runs.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::{TlsAcceptor, rustls};

/// A certificate and its key. Clones are one: [`reload`](Tls::reload) one and all have it.
#[derive(Clone)]
pub struct Tls(Arc<Files>);

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    now: RwLock<Arc<rustls::ServerConfig>>,
}

/// What is wrong with a certificate or its key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or is no PEM of the kind.
    #[error("`{path}` holds no {what} in PEM")]
    File {
        /// Which.
        path: PathBuf,
        /// What was looked for in it.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// They do not fit together, or cannot be used.
    #[error("the certificate and its key cannot be used")]
    Unfit(#[from] rustls::Error),
}

impl Tls {
    /// Reads a certificate with its chain, and the certificate's key, from PEM files.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn from_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let now = RwLock::new(read(&certificate, &key)?);
        Ok(Self(Arc::new(Files { certificate, key, now })))
    }

    /// Reads the files again. Connections from now on get the new certificate; those that are open keep theirs.
    ///
    /// # Errors
    ///
    /// [`TlsError`]; the old certificate stays then.
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

/// A peer that speaks no TLS, or not as it should.
pub(crate) fn refused(error: &io::Error) {
    tracing::debug!(%error, "a TLS handshake failed");
}
