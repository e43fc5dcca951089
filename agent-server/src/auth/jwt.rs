//! JSON Web Tokens: keys, algorithms and required claims.

use agent_core::secret::Secret;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde::Deserialize;

use super::{AuthError, Subject, SubjectKind, crypto};

/// Allowed clock difference, in seconds.
const LEEWAY: u64 = 30;
/// Limits of a key set.
const KEYS: usize = 100;

/// Validation of tokens: a signature by one of the keys with the algorithm of that key, the claims `exp` and `sub`, `exp`
/// and `nbf` within 30 s of leeway, and `iss` and `aud` if configured.
///
/// # Examples
///
/// ```
/// use agent_core::secret::Secret;
/// use agent_server::auth::Jwt;
///
/// let secret = Secret::new("thirty-two random bytes, at least");
/// let tokens = Jwt::hs256(&secret).issuer("https://login.example").audience("agents");
/// # drop(tokens);
/// ```
#[derive(Clone)]
pub struct Jwt {
    keys: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    /// Determined by the key, never by the token.
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

impl Jwt {
    /// Accepts tokens signed with a secret by HMAC-SHA256. Use at least 32 random bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    /// use agent_server::auth::Jwt;
    ///
    /// let tokens = Jwt::hs256(&Secret::new("thirty-two random bytes, at least"));
    /// # drop(tokens);
    /// ```
    #[must_use]
    pub fn hs256(secret: &Secret) -> Self {
        Self::of(vec![Key {
            id: None,
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret.expose().as_bytes()),
        }])
    }

    /// Accepts tokens signed with an RSA key (2,048 to 8,192 bits) by RS256. `pem` contains the public key
    /// (`BEGIN PUBLIC KEY`).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::auth::Jwt;
    ///
    /// let pem = std::fs::read("login.example.pem").unwrap_or_default();
    /// match Jwt::rs256(&pem) {
    ///     Ok(tokens) => drop(tokens.issuer("https://login.example")),
    ///     Err(error) => eprintln!("login.example.pem: {error}"),
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `pem` contains no such key.
    pub fn rs256(pem: &[u8]) -> Result<Self, AuthError> {
        let wrong = || AuthError("the public key must be an RSA key in PEM, `BEGIN PUBLIC KEY`".to_owned());
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| wrong())?;
        let (n, e) = rsa_of(&info).ok_or_else(wrong)?;
        let key = DecodingKey::from_rsa_raw_components(n, e);
        Ok(Self::of(vec![Key { id: None, algorithm: Algorithm::RS256, key }]))
    }

    /// Accepts tokens signed with a key of a JSON Web Key Set: RS256, ES256 and HS256. The token names the key (`kid`) unless
    /// there is only one. Other kinds of keys, and encryption keys, are ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::auth::Jwt;
    ///
    /// let keys = r#"{"keys": [{"kty": "oct", "k": "dGhpcnR5LXR3byByYW5kb20gYnl0ZXMgYXQgbGVhc3Q", "alg": "HS256", "kid": "1"}]}"#;
    /// assert!(Jwt::jwks(keys.as_bytes()).is_ok());
    /// assert!(Jwt::jwks(b"{}").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// The set is invalid, contains no supported key, or more than 100 keys.
    pub fn jwks(json: &[u8]) -> Result<Self, AuthError> {
        let set: JwkSet = serde_json::from_slice(json)
            .map_err(|_| AuthError("the key set is not a valid JSON Web Key Set".to_owned()))?;
        let keys: Vec<Key> = set.keys.iter().filter_map(Key::of).collect();
        match keys.len() {
            0 => Err(AuthError("the key set has no key for RS256, ES256 or HS256".to_owned())),
            1..=KEYS => Ok(Self::of(keys)),
            _ => Err(AuthError(format!("the key set has more than {KEYS} keys"))),
        }
    }

    fn of(keys: Vec<Key>) -> Self {
        crypto::install();
        Self { keys, issuer: None, audience: None }
    }

    /// Requires a value of `iss`. Default: not checked.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::secret::Secret;
    /// # use agent_server::auth::Jwt;
    /// let tokens = Jwt::hs256(&Secret::new("thirty-two random bytes, at least")).issuer("https://login.example");
    /// # drop(tokens);
    /// ```
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Requires a value of `aud`, or in it. Default: not checked.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::secret::Secret;
    /// # use agent_server::auth::Jwt;
    /// let tokens = Jwt::hs256(&Secret::new("thirty-two random bytes, at least")).audience("agents");
    /// # drop(tokens);
    /// ```
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Returns the subject of a valid token. The reason for a rejection is only logged.
    pub(super) fn check(&self, token: &str) -> Option<Subject> {
        let header = decode_header(token).ok()?;
        let key = match &header.kid {
            Some(id) => self.keys.iter().find(|key| key.id.as_ref().is_none_or(|known| known == id))?,
            None if self.keys.len() == 1 => self.keys.first()?,
            None => return None,
        };
        // Critical extensions, of which none is supported.
        if header.crit.is_some() {
            return None;
        }
        match decode::<Claims>(token, &key.key, &self.wanted(key.algorithm)) {
            Ok(token) => Subject::new(SubjectKind::Token, &token.claims.sub),
            Err(error) => {
                tracing::debug!(%error, "a token is not accepted");
                None
            }
        }
    }

    fn wanted(&self, algorithm: Algorithm) -> Validation {
        let mut wanted = Validation::new(algorithm);
        wanted.leeway = LEEWAY;
        wanted.validate_nbf = true;
        let mut claims = vec!["exp", "sub"];
        if let Some(issuer) = &self.issuer {
            wanted.set_issuer(&[issuer]);
            claims.push("iss");
        }
        wanted.validate_aud = self.audience.is_some();
        if let Some(audience) = &self.audience {
            wanted.set_audience(&[audience]);
            claims.push("aud");
        }
        wanted.set_required_spec_claims(&claims);
        wanted
    }
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwt")
            .field("keys", &self.keys.len())
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish()
    }
}

impl Key {
    fn of(jwk: &Jwk) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|wanted| *wanted != PublicKeyUse::Signature) {
            return None;
        }
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            _ => return None,
        };
        let declared = jwk.common.key_algorithm.map(|declared| declared.to_string());
        if declared.is_some_and(|declared| declared != format!("{algorithm:?}")) {
            return None;
        }
        Some(Self { id: jwk.common.key_id.clone(), algorithm, key: DecodingKey::from_jwk(jwk).ok()? })
    }
}

/// Returns modulus and exponent from the `SubjectPublicKeyInfo` of an RSA key.
fn rsa_of(info: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    /// `rsaEncryption`.
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let (info, _) = part(info, SEQUENCE)?;
    let (algorithm, rest) = part(info, SEQUENCE)?;
    let (bits, _) = part(rest, 0x03)?;
    let (key, _) = part(bits.strip_prefix(&[0])?, SEQUENCE)?;
    let (n, rest) = part(key, 0x02)?;
    let (e, _) = part(rest, 0x02)?;
    let bare = |number: &'_ [u8]| number.len() - number.iter().take_while(|byte| **byte == 0).count();
    algorithm.starts_with(RSA).then(|| (&n[n.len() - bare(n)..], &e[e.len() - bare(e)..]))
}

/// Returns the content of the first DER element, and the rest.
fn part(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, short], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81 | 0x82 => {
            let (length, rest) = rest.split_at_checked(usize::from(short & 3))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}
