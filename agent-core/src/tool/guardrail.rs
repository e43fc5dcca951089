//! Guardrails: what looks at a call before it runs and at its result before anyone reads it.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;

use super::{ToolError, ToolOutput};

/// What a guardrail says.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict<T> {
    /// Go on.
    Allow,
    /// Go on with this instead. Arguments are validated again.
    Replace(T),
    /// Stop; the reason is told to the model.
    Refuse(String),
}

/// Looks at calls and results of a tool. A guardrail that panics has refused.
pub trait Guardrail: Send + Sync + 'static {
    /// Looks at valid arguments of `tool` before it runs. Default: allows all.
    fn before(&self, tool: &str, args: &Value) -> impl Future<Output = Verdict<Value>> + Send {
        let _: (&str, &Value) = (tool, args);
        async { Verdict::Allow }
    }

    /// Looks at the result of `tool`. Default: allows all.
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
    /// Erases `guard`.
    pub fn new(guard: impl Guardrail) -> Self {
        Self(Arc::new(guard))
    }

    /// The arguments to go on with.
    pub(super) async fn before(&self, tool: &str, args: &Value) -> Result<Option<Value>, ToolError> {
        settle(self.0.before(tool, args)).await
    }

    /// The output to go on with.
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
