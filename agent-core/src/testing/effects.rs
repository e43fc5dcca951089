//! Effects on the outside world, counted across restarts.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

/// Counts effects on the outside world by name: payments, mails, calls of a paid model. Clones share the counts.
///
/// # Examples
///
/// ```
/// use agent_core::testing::Effects;
///
/// let effects = Effects::default();
/// effects.record("charge");
/// assert_eq!((effects.count("charge"), effects.count("mail")), (1, 0));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Effects(Arc<Mutex<BTreeMap<String, u32>>>);

impl Effects {
    /// Counts an effect. Returns how often it has happened, including this time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::testing::Effects;
    /// assert_eq!(Effects::default().record("charge"), 1);
    /// ```
    pub fn record(&self, name: impl Into<String>) -> u32 {
        let mut all = self.0.lock();
        let count = all.entry(name.into()).or_default();
        *count += 1;
        *count
    }

    /// Returns how often an effect has happened.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::testing::Effects;
    /// assert_eq!(Effects::default().count("charge"), 0);
    /// ```
    #[must_use]
    pub fn count(&self, name: &str) -> u32 {
        self.0.lock().get(name).copied().unwrap_or(0)
    }

    /// Returns all effects with their counts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::testing::Effects;
    /// assert!(Effects::default().all().is_empty());
    /// ```
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, u32> {
        self.0.lock().clone()
    }
}
