//! Fallback: calls the next model of a list when one fails.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::failover::{self, Attempt, Next};
use super::{ChatModel, Model, ModelCapabilities, ModelError, ModelErrorKind, ModelRequest, ModelStream};

/// Models in order of preference. The answer is that of the first one that does not fail.
///
/// The next model is called after every error that another endpoint may not have, but not after
/// [`BadRequest`](ModelErrorKind::BadRequest) and [`Filtered`](ModelErrorKind::Filtered), which are caused by the request.
/// Output that was shown is voided by [`Delta::Restarted`](super::Delta::Restarted). A model name in the request
/// applies only to the first model. The error is that of the last model.
///
/// # Examples
///
/// ```
/// use agent_core::model::{
///     Fallback, Model, ModelError, ModelErrorKind,
///     testing::{Scripted, Turn},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ModelError> {
/// let overloaded = ModelError::new(ModelErrorKind::Overloaded { retry_after: None });
/// let first = Scripted::new([Turn::error(overloaded)]);
/// let second = Scripted::new([Turn::text("hello")]);
/// let model = Model::new(Fallback::new(first).or(second));
/// assert_eq!(model.complete("hi").await?.message.text(), "hello");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Fallback {
    models: Arc<[Model]>,
}

impl Fallback {
    /// Creates a list with the preferred model.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::model::{Fallback, Model, testing::{Scripted, Turn}};
    ///
    /// let first = Scripted::new([Turn::text("hello")]);
    /// let second = Scripted::new([Turn::text("hello from the second")]);
    /// let model = Model::new(Fallback::new(first).or(second));
    /// # drop(model);
    /// ```
    pub fn new(model: impl ChatModel) -> Self {
        Self { models: [Model::new(model)].into() }
    }

    /// Adds a model that is called if those before it fail.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::model::{Model, ModelError, ModelErrorKind, testing::{Scripted, Turn}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::model::Fallback;
    ///
    /// let down = Scripted::new([Turn::error(ModelError::new(ModelErrorKind::Transport))]);
    /// let model = Model::new(Fallback::new(down).or(Scripted::new([Turn::text("hello")])));
    /// assert_eq!(model.complete("hi").await?.message.text(), "hello");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn or(self, model: impl ChatModel) -> Self {
        let models = self.models.iter().cloned().chain([Model::new(model)]).collect();
        Self { models }
    }

    fn may_differ_elsewhere(fault: ModelErrorKind) -> bool {
        !matches!(fault, ModelErrorKind::BadRequest | ModelErrorKind::Filtered)
    }
}

impl ChatModel for Fallback {
    fn name(&self) -> &str {
        self.models[0].name()
    }

    fn provider(&self) -> &str {
        self.models[0].provider()
    }

    /// The capabilities that all models have: it is not known in advance which one answers.
    fn capabilities(&self) -> ModelCapabilities {
        self.models.iter().map(Model::capabilities).fold(ModelCapabilities::default(), |all, one| {
            ModelCapabilities {
                json_schema: all.json_schema && one.json_schema,
                tools: all.tools && one.tools,
            }
        })
    }

    async fn stream(&self, request: ModelRequest) -> Result<ModelStream, ModelError> {
        let mut rest: VecDeque<Model> = self.models.iter().skip(1).cloned().collect();
        let mut again = request.clone();
        again.model = None;
        let mut failures = 0;
        let decide = Box::new(move |error: ModelError| {
            failures += error.attempts();
            match rest.pop_front().filter(|_| Self::may_differ_elsewhere(error.kind())) {
                Some(model) => {
                    tracing::debug!(code = error.code(), next = model.name(), "model call falls back");
                    Next::Try(Box::new(Attempt { model, request: again.clone(), wait: Duration::ZERO }))
                }
                None => Next::Fail(error.with_attempts(failures)),
            }
        });
        failover::run(self.models[0].clone(), request, decide).await
    }
}
