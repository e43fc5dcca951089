//! `RetryPolicy`: number of attempts and waits between them, for nodes, model calls and tool calls.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Number of attempts and the waits between them: exponential backoff with jitter.
///
/// The wait grows by `factor` from `first_wait` up to `longest_wait`. Each wait is shortened at random by up to half,
/// so that many clients do not retry at the same time. Nodes ([`NodeExt::retry`](crate::graph::NodeExt::retry)),
/// models ([`RetryModel`](crate::model::RetryModel)) and tools
/// ([`ToolPolicy::retry`](crate::tool::ToolPolicy::retry)) use the same policy; which errors are retried is decided by each
/// of them.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use agent_core::retry::RetryPolicy;
///
/// let policy = RetryPolicy::attempts(3).first_wait(Duration::from_millis(200));
/// assert_eq!(policy.wait(1, None, 0.0), Some(Duration::from_millis(200)));
/// assert_eq!(policy.wait(2, None, 1.0), Some(Duration::from_millis(200)));
/// // An endpoint that asks for a wait is obeyed.
/// assert_eq!(policy.wait(1, Some(Duration::from_secs(7)), 0.0), Some(Duration::from_secs(7)));
/// assert_eq!(policy.wait(3, None, 0.0), None, "three attempts, two waits");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Number of attempts, including the first one; 0 counts as 1. Default: 3.
    pub attempts: u32,
    /// Wait before the second attempt. Default: 500 ms.
    pub first_wait: Duration,
    /// Maximum wait. Default: 30 s.
    pub longest_wait: Duration,
    /// Factor by which the wait grows with each attempt. Default: 2.
    pub factor: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
            factor: 2.0,
        }
    }
}

impl RetryPolicy {
    /// Creates a policy with this number of attempts, including the first one, and the default waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::retry::RetryPolicy;
    ///
    /// assert_eq!(RetryPolicy::attempts(5).attempts, 5);
    /// ```
    #[must_use]
    pub fn attempts(attempts: u32) -> Self {
        Self { attempts: attempts.max(1), ..Self::default() }
    }

    /// Creates a policy with a single attempt.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::retry::RetryPolicy;
    ///
    /// assert_eq!(RetryPolicy::never().wait(1, None, 0.0), None);
    /// ```
    #[must_use]
    pub fn never() -> Self {
        Self::attempts(1)
    }

    /// Sets the wait before the second attempt. Default: 500 ms.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use agent_core::retry::RetryPolicy;
    ///
    /// let policy = RetryPolicy::attempts(3).first_wait(Duration::from_secs(1)).longest_wait(Duration::from_secs(2));
    /// assert_eq!(policy.wait(2, None, 0.0), Some(Duration::from_secs(2)));
    /// ```
    #[must_use]
    pub const fn first_wait(mut self, wait: Duration) -> Self {
        self.first_wait = wait;
        self
    }

    /// Sets the maximum wait. Default: 30 s.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::retry::RetryPolicy;
    /// # use std::time::Duration;
    /// let policy = RetryPolicy::attempts(5).longest_wait(Duration::from_secs(2));
    /// assert_eq!(policy.wait(1, Some(Duration::from_secs(3)), 0.0), None);
    /// ```
    #[must_use]
    pub const fn longest_wait(mut self, wait: Duration) -> Self {
        self.longest_wait = wait;
        self
    }

    /// Returns the wait after failure number `failures` (from 1), or `None` if there is no further attempt.
    ///
    /// `asked` is a wait that the peer asked for: it is used as it is; if it exceeds `longest_wait`, there is no
    /// further attempt, because an earlier one would be rejected again. `random` is between 0 and 1.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::retry::RetryPolicy;
    /// # use std::time::Duration;
    /// let policy = RetryPolicy::attempts(2);
    /// // The peer asked for one second.
    /// assert_eq!(policy.wait(1, Some(Duration::from_secs(1)), 0.5), Some(Duration::from_secs(1)));
    /// assert_eq!(policy.wait(2, None, 0.5), None);
    /// ```
    #[must_use]
    pub fn wait(&self, failures: u32, asked: Option<Duration>, random: f64) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        match asked {
            Some(asked) => (asked <= self.longest_wait).then_some(asked),
            None => Some(self.backoff(failures, random)),
        }
    }

    /// The wait after failure number `failures`, without regard to the number of attempts.
    pub(crate) fn backoff(&self, failures: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let longest = self.longest_wait.as_secs_f64();
        let bound = (self.first_wait.as_secs_f64() * self.factor.powi(exponent)).clamp(0.0, longest);
        // The conversion fails for values that are not finite, which a caller can cause with `factor`.
        let bound = Duration::try_from_secs_f64(bound).unwrap_or(self.longest_wait);
        bound.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }
}

impl From<u32> for RetryPolicy {
    /// A policy with this number of attempts.
    fn from(attempts: u32) -> Self {
        Self::attempts(attempts)
    }
}
