//! Recorded steps: [`Context::step`].

use super::Context;
use super::{
    budget,
    scope::InScope,
    task::{AttemptHandle, BudgetCall, StepStart},
};
use crate::{
    event::EventKind,
    graph::{NodeError, Result},
    journal::{
        entry::{Cause, Recorded},
        keys,
        projection::{StepFailure, StepRecord},
    },
    json::{self, Stored, ValueError},
    model::ModelError,
    run::BudgetUsage,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{future::Future, sync::Arc, task::Poll};
use tokio::time::Instant;

/// Longest key of a step, in bytes.
const MAX_KEY: usize = 512;

impl Context {
    /// Runs `future` once for this task and key, and records its result. A node that is entered again (after a crash, an
    /// eviction or a failed attempt) gets the recorded result, and the future is not polled.
    ///
    /// The result is stored before this returns (see [`Durability`](crate::run::Durability)). An error is recorded for
    /// the present attempt only: the next attempt runs the step again. Pass the
    /// [`idempotency_key`](Context::idempotency_key) to external systems, for a crash between the effect and its record.
    ///
    /// A step may [`ask`](Context::ask) and may contain other steps. They are part of it: once the step has a record, they
    /// are not replayed. A step without a record runs again after a restart and finds what was answered and recorded inside
    /// it; it may also take another path. Questions, model calls and tool calls without a key are numbered within the step.
    ///
    /// # Errors
    ///
    /// Returns the error of the future; a permanent error if a step with the same key is running in this task, if the
    /// result cannot be stored ([`ValueError`]), or if the recorded result cannot be decoded as `T`;
    /// [`NodeEnded`](super::NodeEnded) if the node has ended (nothing is recorded then).
    ///
    /// # Cancel safety
    ///
    /// Dropped before the future is done, the effect may have happened without being recorded. Dropped after that,
    /// the result counts.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, Result};
    /// # async fn charge(amount: u32, key: &str) -> std::io::Result<String> { Ok(key.into()) }
    /// # async fn node(cx: &Context) -> Result<()> {
    /// let key = cx.idempotency_key("charge");
    /// let receipt: String = cx.step("charge", charge(100, &key)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn step<T, E, F>(&self, key: impl Into<String>, future: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        E: Into<NodeError>,
        F: Future<Output = std::result::Result<T, E>>,
    {
        let key = author_key(key.into())?;
        self.step_as("step", key, None, async { (future.await.map_err(Into::into), None) }).await
    }

    /// Runs a step and reserves budget for it; the future returns the actual usage. The key is in its stored form.
    pub(crate) async fn step_as<T, F>(
        &self,
        kind: &'static str,
        key: String,
        reserve: Option<BudgetUsage>,
        future: F,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = (Result<T>, Option<BudgetUsage>)>,
    {
        let key: Arc<str> = key.into();
        let of = self.attempt_handle();
        let begun = std::future::poll_fn(|cx| match of.begin_step(&key, cx.waker()) {
            StepStart::Held => Poll::Pending,
            begun => Poll::Ready(begun),
        })
        .await;
        let scope = match begun {
            StepStart::Replayed(step) => {
                // Its record may not be stored yet.
                self.scope.env.wait_recorded(step.seq).await?;
                return recorded(&key, step);
            }
            StepStart::Duplicate => {
                return Err(NodeError::permanent(format!(
                    "step `{key}` is already running in this activation; give each its own key"
                )));
            }
            StepStart::Run(scope) => scope,
            StepStart::Unrecorded => {
                return Err(NodeError::permanent(format!("`{key}` is not in the recording")));
            }
            StepStart::Ended(ended) => return Err(ended.into()),
            StepStart::Held => unreachable!("a held step stays pending"),
        };
        let mut running = Running { of: of.clone(), key, scope, reserved: None };
        if let Some(reserve) = reserve {
            let call = || Arc::new(BudgetCall { of: of.clone(), scope }) as _;
            budget::reserve(&self.scope.env, &reserve, call).await?;
            running.reserved = Some(reserve);
            std::future::poll_fn(|cx| of.poll_slot(cx.waker())).await;
        }
        let began = Instant::now();
        let (result, used) = InScope { future: Box::pin(future), of: of.clone(), scope }.await;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        of.check_live()?;
        if let Some(reserved) = running.reserved.take() {
            self.scope.env.budget.settle(&reserved, &used.unwrap_or_default());
        }
        // A result that cannot be stored is a failure of the step, recorded as any other.
        let result = result.and_then(|value| match Stored::new(&value, json::NEW) {
            Ok(stored) => Ok((value, stored)),
            Err(error) => {
                Err(NodeError::permanent(error.of(format!("the result of step `{}`", running.key))))
            }
        });
        let (result, kept) = match result {
            Ok((value, stored)) => (Ok(value), Ok(stored)),
            Err(error) => {
                let text = crate::util::shorten(&error.to_string(), 2_000);
                let model = error.downcast_ref::<ModelError>().cloned();
                let value = error.downcast_ref::<ValueError>().cloned();
                let cause = Cause { permanent: !error.is_retryable(), model, value };
                (Err(error), Err(StepFailure { text, cause: Some(cause) }))
            }
        };
        let fact =
            self.scope.env.writer.wants_of(EventKind::StepRecorded, self.scope.parent.is_some()).then(|| {
                let (stored, error, cause) = match &kept {
                    Ok(stored) => (Some(stored.clone()), None, None),
                    Err(failure) => (None, Some(failure.text.clone()), failure.cause.clone()),
                };
                let (value, form) = stored.map(|stored| (stored.json, stored.form)).unzip();
                Recorded {
                    task: Arc::clone(&of.task),
                    key: running.key.to_string(),
                    kind: kind.to_owned(),
                    value,
                    form: form.unwrap_or_default(),
                    error,
                    cause,
                    ms,
                    usage: used,
                    step: None,
                }
            });
        if fact.is_none() && kind == "model" {
            self.scope.env.writer.end_partial(&of.task, Some(&running.key));
        }
        let seq = of.record_step(&running.key, scope, kept, fact)?;
        self.scope.env.wait_recorded(seq).await?;
        drop(running);
        result
    }
}

fn recorded<T: Serialize + DeserializeOwned>(key: &str, step: StepRecord) -> Result<T> {
    let stored = step.result.map_err(|failure| match failure.cause {
        Some(Cause { model: Some(error), .. }) => error.into(),
        Some(Cause { value: Some(error), .. }) => NodeError::permanent(error),
        Some(Cause { permanent: true, .. }) => NodeError::permanent(failure.text),
        _ => NodeError::msg(failure.text),
    })?;
    stored.read().map_err(|error| {
        NodeError::permanent(format!("the recorded result of step `{key}` is not of this type: {error}"))
    })
}

/// The stored form of the key that an author gives a step.
pub(super) fn author_key(key: String) -> Result<String> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(NodeError::permanent(format!("the key of a step has 1 to {MAX_KEY} bytes")));
    }
    Ok(keys::step(key))
}

/// Guard of a running step. Dropping it ends the step, so that it no longer counts as runnable.
struct Running {
    of: AttemptHandle,
    key: Arc<str>,
    scope: usize,
    reserved: Option<BudgetUsage>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.of.env.budget.release(&reserved);
        }
        self.of.end_step(&self.key, self.scope);
    }
}
