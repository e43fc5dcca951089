//! Retry policy of appends.

use std::time::Duration;

/// Retry policy of appends that fail with a transient error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreRetry {
    /// Maximum number of attempts, including the first one; at least 1. Default: 8.
    pub attempts: u32,
    /// Wait before the second attempt; doubled before each further one. Default: 50 ms.
    pub base: Duration,
    /// Maximum wait between two attempts. Default: 2 s.
    pub max: Duration,
}

impl Default for StoreRetry {
    fn default() -> Self {
        Self { attempts: 8, base: Duration::from_millis(50), max: Duration::from_secs(2) }
    }
}

impl StoreRetry {
    /// Returns a policy without retries.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Runtime;
    /// use agent_core::journal::StoreRetry;
    ///
    /// let runtime = Runtime::builder().options(|options| options.store_retry = StoreRetry::none()).build();
    /// # assert_eq!(runtime.live_runs(), 0);
    /// ```
    #[must_use]
    pub const fn none() -> Self {
        Self { attempts: 1, base: Duration::ZERO, max: Duration::ZERO }
    }

    /// Returns a policy with up to `attempts` attempts and the default waits.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Runtime;
    /// use agent_core::journal::StoreRetry;
    ///
    /// let runtime = Runtime::builder().options(|options| options.store_retry = StoreRetry::attempts(3)).build();
    /// # assert_eq!(runtime.live_runs(), 0);
    /// ```
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts, ..Self::default() }
    }

    /// Returns the wait after attempt number `failed`, counted from 1.
    pub(crate) fn wait(&self, failed: u32) -> Duration {
        self.base.saturating_mul(1 << failed.saturating_sub(1).min(20)).min(self.max)
    }
}
