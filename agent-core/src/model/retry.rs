//! Retries model calls after transient errors.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failover::{self, Attempt, Next};
use super::{ChatModel, Model, ModelCapabilities, ModelError, ModelRequest, ModelStream};

/// Number of attempts and the waits between them.
///
/// The wait doubles from `first_wait` up to `longest_wait`. Each wait is shortened at random by up to half, so that
/// many clients do not retry at once. A wait requested by the endpoint is used exactly. If it exceeds
/// `longest_wait`, there is no further attempt, because an earlier one would be rejected again.
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
    /// Number of attempts, including the first one; 0 counts as 1. Default: 3.
    pub attempts: u32,
    /// Wait after the first error. Default: 500 ms.
    pub first_wait: Duration,
    /// Maximum wait. Default: 30 s.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 3, first_wait: Duration::from_millis(500), longest_wait: Duration::from_secs(30) }
    }
}

impl RetryPolicy {
    /// Returns the wait after error number `failures` (from 1), or `None` for no further attempt. `random` is
    /// between 0 and 1.
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

/// A model with retries after transient errors ([`ModelError::is_retryable`]).
///
/// If output of the failed attempt was already shown, [`Delta::Restarted`](super::Delta::Restarted) is yielded
/// before any output of the next attempt.
///
/// # Examples
///
/// ```
/// use agent_core::model::{
///     Model, ModelError, ModelErrorKind, RetryModel,
///     testing::{Scripted, Turn},
/// };
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), ModelError> {
/// let script = Scripted::new([Turn::error(ModelError::new(ModelErrorKind::Transport)), Turn::text("hello")]);
/// let reply = Model::new(RetryModel::new(script.clone())).complete("hi").await?;
/// assert_eq!((reply.message.text().as_ref(), script.calls()), ("hello", 2));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct RetryModel {
    model: Model,
    policy: RetryPolicy,
}

impl RetryModel {
    /// Wraps a model with the default policy.
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

impl ChatModel for RetryModel {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn provider(&self) -> &str {
        self.model.provider()
    }

    fn capabilities(&self) -> ModelCapabilities {
        self.model.capabilities()
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        let (model, policy, again) = (self.model.clone(), self.policy, request.clone());
        let mut failures = 0;
        let decide = Box::new(move |error: ModelError| {
            failures += 1;
            let wait = policy.wait(failures, error.retry_after(), fastrand::f64());
            match wait.filter(|_| error.is_retryable()) {
                Some(wait) => {
                    tracing::debug!(code = error.code(), failures, ?wait, "retrying a model call");
                    Next::Try(Box::new(Attempt { model: model.clone(), request: again.clone(), wait }))
                }
                None => Next::Fail(error.with_attempts(failures)),
            }
        });
        failover::run(self.model.clone(), request, decide).await
    }
}
