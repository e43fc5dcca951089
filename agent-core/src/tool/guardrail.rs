//! Guardrails: checks of a call before it runs and of its result before the model reads it.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;

use super::{ToolError, ToolOutput};

/// Decision of a guardrail.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict<T> {
    /// Continue.
    Allow,
    /// Continue with this value. Arguments are validated again.
    Replace(T),
    /// Refuse; the model reads the reason.
    Refuse(String),
}

/// Check of the calls and results of a tool. A panic counts as a refusal.
///
/// # Examples
///
/// ```
/// use agent_core::tool::{Guardrail, ToolPolicy, Verdict};
/// use serde_json::Value;
///
/// /// Refuses calls that name a secret.
/// struct NoSecrets;
///
/// impl Guardrail for NoSecrets {
///     async fn before(&self, _: &str, args: &Value) -> Verdict<Value> {
///         if args.to_string().contains("secret") {
///             Verdict::Refuse("secrets are not available".to_owned())
///         } else {
///             Verdict::Allow
///         }
///     }
/// }
///
/// let policy = ToolPolicy::default().guard(NoSecrets);
/// # drop(policy);
/// ```
pub trait Guardrail: Send + Sync + 'static {
    /// Checks the arguments of `tool` before it runs. They match the schema. Default: allows all.
    fn before(&self, tool: &str, args: &Value) -> impl Future<Output = Verdict<Value>> + Send {
        let _: (&str, &Value) = (tool, args);
        async { Verdict::Allow }
    }

    /// Checks the result of `tool`. Default: allows all.
    fn after(&self, tool: &str, output: &ToolOutput) -> impl Future<Output = Verdict<ToolOutput>> + Send {
        let _: (&str, &ToolOutput) = (tool, output);
        async { Verdict::Allow }
    }
}

trait DynGuardrail: Send + Sync {
    fn before<'a>(&'a self, tool: &'a str, args: &'a Value) -> BoxFuture<'a, Verdict<Value>>;
    fn after<'a>(&'a self, tool: &'a str, output: &'a ToolOutput) -> BoxFuture<'a, Verdict<ToolOutput>>;
}

impl<G: Guardrail> DynGuardrail for G {
    fn before<'a>(&'a self, tool: &'a str, args: &'a Value) -> BoxFuture<'a, Verdict<Value>> {
        Box::pin(Guardrail::before(self, tool, args))
    }

    fn after<'a>(&'a self, tool: &'a str, output: &'a ToolOutput) -> BoxFuture<'a, Verdict<ToolOutput>> {
        Box::pin(Guardrail::after(self, tool, output))
    }
}

/// A guardrail with its concrete type erased.
#[derive(Clone)]
pub struct AnyGuardrail(Arc<dyn DynGuardrail>);

impl AnyGuardrail {
    /// Erases the type of `guard`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool::{AnyGuardrail, Guardrail};
    /// struct NoSecrets;
    ///
    /// impl Guardrail for NoSecrets {}
    ///
    /// let guard = AnyGuardrail::new(NoSecrets);
    /// # let _ = guard;
    /// ```
    pub fn new(guard: impl Guardrail) -> Self {
        Self(Arc::new(guard))
    }

    /// Returns the arguments to continue with.
    pub(super) async fn before(&self, tool: &str, args: &Value) -> Result<Option<Value>, ToolError> {
        settle(self.0.before(tool, args)).await
    }

    /// Returns the output to continue with.
    pub(super) async fn after(
        &self,
        tool: &str,
        output: &ToolOutput,
    ) -> Result<Option<ToolOutput>, ToolError> {
        settle(self.0.after(tool, output)).await
    }
}

async fn settle<T>(verdict: BoxFuture<'_, Verdict<T>>) -> Result<Option<T>, ToolError> {
    match AssertUnwindSafe(verdict).catch_unwind().await {
        Ok(Verdict::Allow) => Ok(None),
        Ok(Verdict::Replace(with)) => Ok(Some(with)),
        Ok(Verdict::Refuse(reason)) => Err(ToolError::refused(reason)),
        // Fails closed.
        Err(_) => Err(ToolError::refused("a check of this call failed, so it was not allowed")),
    }
}

impl fmt::Debug for AnyGuardrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyGuardrail")
    }
}
