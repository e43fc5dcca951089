//! Verification of token signatures by ring: HS256, RS256, ES256.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{ErrorKind, Result},
};
use ring::{hmac, signature};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_: &Algorithm, _: &EncodingKey| -> Result<Box<dyn JwtSigner>> {
        Err(ErrorKind::InvalidAlgorithm.into())
    },
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Installs ring as the provider, unless the process has installed another one.
pub(super) fn install() {
    if PROVIDER.install_default().is_err() {
        tracing::debug!("tokens are checked by what the process chose before");
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let check = match (algorithm, key.kind()) {
        (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) => {
            Check::Shared(hmac::Key::new(hmac::HMAC_SHA256, secret))
        }
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
            Check::Rsa(signature::RsaPublicKeyComponents { n: n.clone(), e: e.clone() })
        }
        // The uncompressed point, as in a key set.
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => Check::Curve(point.clone()),
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    Ok(Box::new(Verifier { algorithm: *algorithm, check }))
}

struct Verifier {
    algorithm: Algorithm,
    check: Check,
}

enum Check {
    Shared(hmac::Key),
    Rsa(signature::RsaPublicKeyComponents<Vec<u8>>),
    Curve(Vec<u8>),
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl ::signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], given: &Vec<u8>) -> std::result::Result<(), ::signature::Error> {
        let checked = match &self.check {
            Check::Shared(key) => hmac::verify(key, message, given),
            Check::Rsa(key) => key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, given),
            Check::Curve(point) => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, given)
            }
        };
        checked.map_err(|_| ::signature::Error::new())
    }
}
