//! Retry policy of appends.

use std::time::Duration;

/// How often an append is tried, and with which waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreRetry {
    /// Tries of one append, the first included; at least 1. Default: 8.
    pub attempts: u32,
    /// Wait before the second try; doubled before each further one. Default: 50 ms.
    pub base: Duration,
    /// Longest wait between two tries. Default: 2 s.
    pub max: Duration,
}

impl Default for StoreRetry {
    fn default() -> Self {
        Self { attempts: 8, base: Duration::from_millis(50), max: Duration::from_secs(2) }
    }
}

impl StoreRetry {
    /// One try: the first error is reported.
    #[must_use]
    pub const fn none() -> Self {
        Self { attempts: 1, base: Duration::ZERO, max: Duration::ZERO }
    }

    /// Up to `attempts` tries, with the waits of the default.
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts, ..Self::default() }
    }

    /// The wait behind the try number `failed`, counted from 1.
    pub(crate) fn wait(&self, failed: u32) -> Duration {
        self.base.saturating_mul(1 << failed.saturating_sub(1).min(20)).min(self.max)
    }
}
