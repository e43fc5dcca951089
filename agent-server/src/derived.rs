//! Ids derived from request data and a secret: deterministic, but unpredictable for callers, so that no caller can create
//! the session of another one in advance.

use std::fmt;

use agent_core::secret::Secret;
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

/// Derives ids with a key.
#[derive(Clone)]
pub(crate) struct Derived(hmac::Key);

impl Derived {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// Creates a random key.
    pub(crate) fn random() -> Self {
        let mut key = [0; 32];
        // Fails only if the machine has no source of random numbers, without which TLS would not work either.
        SystemRandom::new().fill(&mut key).expect("the machine has random numbers");
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    /// Returns 32 hexadecimal digits for `parts` and a purpose.
    pub(crate) fn id(&self, purpose: &str, parts: &[&str]) -> String {
        let mut signed = hmac::Context::with_key(&self.0);
        for part in [purpose].iter().chain(parts) {
            // Length-prefixed, so that different lists of parts have different texts.
            signed.update(&(part.len() as u64).to_be_bytes());
            signed.update(part.as_bytes());
        }
        hex::encode(&signed.sign().as_ref()[..16])
    }
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derived").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_the_secret_the_purpose_and_each_part() {
        let a = Derived::new(&Secret::new("one"));
        let id = a.id("key", &["alice", "order"]);
        assert_eq!((id.len(), &id), (32, &a.id("key", &["alice", "order"])));
        for other in [
            Derived::new(&Secret::new("two")).id("key", &["alice", "order"]),
            Derived::random().id("key", &["alice", "order"]),
            a.id("webhook", &["alice", "order"]),
            a.id("key", &["aliceorder"]),
            a.id("key", &["alic", "eorder"]),
        ] {
            assert_ne!(other, id);
        }
    }
}
