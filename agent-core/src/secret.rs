//! Keeps keys and tokens out of logs, events, errors and stored data.

use std::fmt;
use std::sync::Arc;

/// A key, token or password. It can be cloned and compared, but neither printed nor serialised.
///
/// # Examples
///
/// ```
/// use agent_core::secret::Secret;
/// let key = Secret::new("sk-very-private");
/// assert_eq!(format!("{key:?}"), "Secret(***)");
/// assert_eq!(key.expose(), "sk-very-private");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a text that must not be seen.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Reads an environment variable; surrounding white space is cut, an empty value counts as absent.
    #[must_use]
    pub fn from_env(variable: &str) -> Option<Self> {
        let text = std::env::var(variable).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| Self::new(text))
    }

    /// The only way out; grep for it to see every use.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Replaces every occurrence of the secret in `text` by `***`. Secrets shorter than four bytes are
    /// left alone: they would blank out ordinary words.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        if self.0.len() < 4 { text.to_owned() } else { text.replace(&*self.0, "***") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}
