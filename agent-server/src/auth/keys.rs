//! API keys: stored as hashes, compared in constant time.

use agent_core::secret::Secret;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::{AuthError, Subject};

/// Minimum length of a key, in bytes.
const SHORTEST: usize = 16;

#[derive(Clone, Default)]
pub(super) struct Keys(Vec<([u8; 32], Subject)>);

impl Keys {
    pub(super) fn add(&mut self, subject: Subject, key: &Secret) -> Result<(), AuthError> {
        let text = key.expose();
        if text.len() < SHORTEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AuthError(format!(
                "the key of `{}` must have {SHORTEST} or more printable ASCII characters",
                subject.name()
            )));
        }
        if self.find(text).is_some() {
            return Err(AuthError(format!("the key of `{}` belongs to another subject", subject.name())));
        }
        self.0.push((Sha256::digest(text).into(), subject));
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the subject of a key. Compares all keys, so that the time does not depend on the match.
    pub(super) fn find(&self, shown: &str) -> Option<Subject> {
        let hash: [u8; 32] = Sha256::digest(shown).into();
        let mut found = u64::MAX;
        for (at, (known, _)) in self.0.iter().enumerate() {
            found.conditional_assign(&(at as u64), known.ct_eq(&hash));
        }
        let at = usize::try_from(found).ok()?;
        self.0.get(at).map(|(_, subject)| subject.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_a_strange_and_a_shared_key_are_refused_without_being_repeated() {
        let mut keys = Keys::default();
        let subject = || "key:bob".parse::<Subject>().unwrap();
        for key in ["short-secret", "열쇠열쇠열쇠열쇠열쇠", "sixteen with spaces"] {
            let reported = keys.add(subject(), &key.into()).unwrap_err().to_string();
            assert!(reported.contains("bob") && !reported.contains(key), "{reported}");
        }
        keys.add(subject(), &"0123456789abcdef".into()).unwrap();
        assert!(keys.add("key:eve".parse().unwrap(), &"0123456789abcdef".into()).is_err());
        assert!(keys.find("0123456789abcdee").is_none());
    }
}
