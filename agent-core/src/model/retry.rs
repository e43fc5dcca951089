//! Tries again when an endpoint fails in a way that passes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::chain::{self, Attempt, Next};
use super::{Abilities, ChatModel, Model, ModelError, ModelRequest, ModelStream};

/// How often, and after which waits.
///
/// The wait doubles from `first_wait` up to `longest_wait`, each shortened at random by up to half so that
/// many clients do not return at once. A wait the endpoint asks for is kept exactly; one that is longer
/// than `longest_wait` ends the attempts, because a shorter one would only be refused again.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use agent_core::model::RetryPolicy;
/// let policy = RetryPolicy::default();
/// assert_eq!(policy.wait(1, None, 0.0), Some(Duration::from_millis(500)));
/// assert_eq!(policy.wait(2, None, 1.0), Some(Duration::from_millis(500)));
/// assert_eq!(policy.wait(1, Some(Duration::from_secs(7)), 0.0), Some(Duration::from_secs(7)));
/// assert_eq!(policy.wait(3, None, 0.0), None, "three attempts, two waits");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; 0 counts as 1. Default: 3.
    pub attempts: u32,
    /// The wait after the first failure. Default: 500 ms.
    pub first_wait: Duration,
    /// The longest wait. Default: 30 s.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 3, first_wait: Duration::from_millis(500), longest_wait: Duration::from_secs(30) }
    }
}

impl RetryPolicy {
    /// The wait after failure number `failures` (from 1), or `None` for no further attempt. `random` is from 0 to 1.
    #[must_use]
    pub fn wait(&self, failures: u32, asked: Option<Duration>, random: f64) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        match asked {
            Some(asked) => (asked <= self.longest_wait).then_some(asked),
            None => {
                let doubled = self.first_wait.saturating_mul(1 << failures.saturating_sub(1).min(20));
                Some(doubled.min(self.longest_wait).mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0))
            }
        }
    }
}

/// A model that is asked again when it fails in a way that passes ([`ModelError::is_retryable`]).
///
/// When output of the failed attempt was already shown, [`Delta::Restarted`](super::Delta::Restarted) tells
/// the subscriber before anything of the next attempt arrives.
#[derive(Clone, Debug)]
pub struct Retry {
    model: Model,
    policy: RetryPolicy,
}

impl Retry {
    /// Puts the default policy around a model.
    pub fn new(model: impl ChatModel) -> Self {
        Self { model: Model::new(model), policy: RetryPolicy::default() }
    }

    /// Sets the policy. Default: see [`RetryPolicy`].
    #[must_use]
    pub fn policy(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }
}

impl ChatModel for Retry {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn provider(&self) -> &str {
        self.model.provider()
    }

    fn abilities(&self) -> Abilities {
        self.model.abilities()
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        let (model, policy, again) = (self.model.clone(), self.policy, request.clone());
        let mut failures = 0;
        let decide = Box::new(move |error: ModelError| {
            failures += 1;
            let wait = policy.wait(failures, error.retry_after(), fastrand::f64());
            match wait.filter(|_| error.is_retryable()) {
                Some(wait) => {
                    tracing::debug!(code = error.code(), failures, ?wait, "model call is tried again");
                    Next::Try(Box::new(Attempt { model: model.clone(), request: again.clone(), wait }))
                }
                None => Next::Fail(error.with_attempts(failures)),
            }
        });
        chain::run(self.model.clone(), request, decide).await
    }
}
