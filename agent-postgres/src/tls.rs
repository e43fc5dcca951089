//! TLS of connections: certificates are verified against the system's roots or a given file.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::ConnectError;

/// Creates the TLS connector. `root`: a PEM file that replaces the roots of the system.
pub(crate) fn connector(root: Option<&Path>) -> Result<MakeRustlsConnect, ConnectError> {
    let provider = Arc::new(ring::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| ConnectError::Tls(error.to_string()))
    };
    let config = match root {
        Some(path) => builder()?.with_root_certificates(roots(path)?).with_no_client_auth(),
        // A minimal container has no certificates.
        None => match builder()?.with_platform_verifier() {
            Ok(builder) => builder.with_no_client_auth(),
            Err(_) => {
                let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
                builder()?.with_root_certificates(roots).with_no_client_auth()
            }
        },
    };
    Ok(MakeRustlsConnect::new(config))
}

fn roots(path: &Path) -> Result<RootCertStore, ConnectError> {
    let unusable = |reason: String| ConnectError::Root { path: path.display().to_string(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it contains no certificate".to_owned()));
    }
    Ok(roots)
}
