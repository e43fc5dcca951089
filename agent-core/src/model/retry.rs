//! Retries model calls after transient errors.

use super::failover::{self, Attempt, Next};
use super::{ChatModel, Model, ModelCapabilities, ModelError, ModelRequest, ModelStream};
use crate::retry::RetryPolicy;

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
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::model::RetryModel;
    ///
    /// let model = Model::new(RetryModel::new(Scripted::new([Turn::text("hello")])));
    /// assert_eq!(model.complete("hi").await?.message.text(), "hello");
    /// # Ok(()) }
    /// ```
    pub fn new(model: impl ChatModel) -> Self {
        Self { model: Model::new(model), policy: RetryPolicy::default() }
    }

    /// Sets the policy: a number of attempts, or a [`RetryPolicy`]. Default: [`RetryPolicy::default`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Model, RetryModel, testing::{Scripted, Turn}};
    ///
    /// let model = Model::new(RetryModel::new(Scripted::new([Turn::text("hello")])).policy(5));
    /// # drop(model);
    /// ```
    #[must_use]
    pub fn policy(mut self, policy: impl Into<RetryPolicy>) -> Self {
        self.policy = policy.into();
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
