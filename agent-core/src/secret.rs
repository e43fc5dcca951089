//! Secrets: keys and tokens that must not appear in logs, events, errors or stored data.

use std::fmt;
use std::sync::Arc;

/// A key, token or password. Can be cloned and compared, but neither printed nor serialized.
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
    /// Wraps a text that must not be printed.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    ///
    /// let key = Secret::new("sk-abcdefgh");
    /// assert_eq!(format!("{key:?}"), "Secret(***)");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Reads an environment variable. Surrounding white space is removed; an empty value counts as absent.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    ///
    /// assert!(Secret::from_env("NO_SUCH_VARIABLE").is_none());
    /// ```
    #[must_use]
    pub fn from_env(variable: &str) -> Option<Self> {
        let text = std::env::var(variable).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| Self::new(text))
    }

    /// Returns the secret. This is the only accessor: search for it to find every use.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    ///
    /// assert_eq!(Secret::new("sk-abcdefgh").expose(), "sk-abcdefgh");
    /// ```
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Replaces every occurrence of the secret in `text` by `***`. Secrets shorter than four bytes are not
    /// replaced, because they would occur in ordinary words.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    ///
    /// let key = Secret::new("sk-abcdefghijklmnop");
    /// assert!(!key.scrub("invalid key sk-abcdefghijklmnop").contains("abcdefgh"));
    /// ```
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
