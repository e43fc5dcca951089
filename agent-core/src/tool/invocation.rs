//! `PreparedCall`: a validated call, and its execution with guardrails, concurrency limit, attempts and timeout.

use std::{borrow::Cow, panic::AssertUnwindSafe, sync::Arc, task::ready, time::Duration};

use futures::FutureExt;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    ApprovalRequest, Decision, DecisionOutcome, StandingApprovals, ToolCall, ToolContext, ToolError,
    ToolFault, ToolOutput, ToolPolicy, ToolReply, approval, call_permit::CallPermit, registry::Entry,
};

/// A validated call: the tool exists and the arguments match its schema. Created by
/// [`ToolRegistry::prepare`](super::ToolRegistry::prepare).
#[derive(Debug, Clone)]
pub struct PreparedCall {
    call: ToolCall,
    entry: Arc<Entry>,
    args: Value,
}

impl PreparedCall {
    pub(super) fn new(call: ToolCall, entry: Arc<Entry>, args: Value) -> Self {
        Self { call, entry, args }
    }

    /// Returns the id of the call.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolCall, ToolError, ToolRegistry}};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let call = ToolCall::new("weather", &json!({ "city": "Seoul" }));
    /// let id = call.id.clone();
    /// assert_eq!(tools.prepare(call)?.id(), id);
    /// # Ok::<(), agent_core::tool::ToolError>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> &str {
        &self.call.id
    }

    /// Returns the name of the tool.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolCall, ToolError, ToolRegistry}};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let call = tools.prepare(ToolCall::new("weather", &json!({ "city": "Seoul" })))?;
    /// assert_eq!(call.name(), "weather");
    /// # Ok::<(), agent_core::tool::ToolError>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.entry.tool.name()
    }

    /// Returns the arguments.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolCall, ToolError, ToolRegistry}};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let call = tools.prepare(ToolCall::new("weather", &json!({ "city": "Seoul" })))?;
    /// assert_eq!(call.args()["city"], "Seoul");
    /// # Ok::<(), agent_core::tool::ToolError>(())
    /// ```
    #[must_use]
    pub fn args(&self) -> &Value {
        &self.args
    }

    /// Returns the policy of the tool.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{Effect, ToolCall, ToolError, ToolPolicy, ToolRegistry}};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// let tools = ToolRegistry::builder().tool_with(weather, ToolPolicy::read_only()).build()?;
    /// let call = tools.prepare(ToolCall::new("weather", &json!({ "city": "Seoul" })))?;
    /// assert_eq!(call.policy().effect, Effect::ReadOnly);
    /// # Ok::<(), agent_core::tool::ToolError>(())
    /// ```
    #[must_use]
    pub fn policy(&self) -> &ToolPolicy {
        &self.entry.policy
    }

    /// Returns the approval request for this call; `None` if the policy requires no approval or a standing approval covers
    /// the call.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool;
    /// # use agent_core::tool::{Approval, StandingApprovals, ToolCall, ToolError, ToolPolicy, ToolRegistry};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// let policy = ToolPolicy::default().approval(Approval::Always);
    /// let tools = ToolRegistry::builder().tool_with(weather, policy).build()?;
    /// let call = tools.prepare(ToolCall::new("weather", &json!({ "city": "Seoul" })))?;
    /// let shown = call.approval_for(&StandingApprovals::default()).expect("the policy asks");
    /// assert_eq!(shown.arguments["city"], "Seoul");
    /// # Ok::<(), agent_core::tool::ToolError>(())
    /// ```
    #[must_use]
    pub fn approval_for(&self, remembered: &StandingApprovals) -> Option<ApprovalRequest> {
        let asks = self.policy().approval.asks(&self.args) && !remembered.covers(self);
        asks.then(|| approval::request(self))
    }

    /// Applies a decision about `shown`.
    ///
    /// # Errors
    ///
    /// `shown` belongs to another call, or the edited arguments do not match the schema.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::tool;
    /// # use agent_core::tool::{Approval, Decision, DecisionOutcome, StandingApprovals};
    /// # use agent_core::tool::{ToolCall, ToolError, ToolPolicy, ToolRegistry};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # let policy = ToolPolicy::default().approval(Approval::Always);
    /// # let tools = ToolRegistry::builder().tool_with(weather, policy).build()?;
    /// let call = tools.prepare(ToolCall::new("weather", &json!({ "city": "Seoul" })))?;
    /// let shown = call.approval_for(&StandingApprovals::default()).expect("the policy asks");
    /// let decision = Decision::Edit { arguments: json!({ "city": "Busan" }) };
    /// let DecisionOutcome::Run(call) = call.decide(&shown, decision)? else { panic!("an edit is an approval") };
    /// assert_eq!(call.args()["city"], "Busan");
    /// # Ok::<(), agent_core::tool::ToolError>(())
    /// ```
    pub fn decide(self, shown: &ApprovalRequest, decision: Decision) -> Result<DecisionOutcome, ToolError> {
        if shown.call_id != self.call.id || shown.fingerprint != approval::fingerprint(&self) {
            return Err(ToolError::refused("the decision is about another call than this one"));
        }
        Ok(match decision {
            Decision::Approve {} => DecisionOutcome::Run(self),
            Decision::Edit { arguments } => DecisionOutcome::Run(self.with_args(arguments)?),
            Decision::Reject { reason } if reason.trim().is_empty() => {
                DecisionOutcome::Answer(Err(ToolError::refused("the user rejected this call")))
            }
            Decision::Reject { reason } => DecisionOutcome::Answer(Err(ToolError::refused(format!(
                "the user rejected this call: {reason}"
            )))),
            Decision::Respond { output } => DecisionOutcome::Answer(ToolOutput::of(output)),
        })
    }

    fn with_args(mut self, args: Value) -> Result<Self, ToolError> {
        self.args = self.entry.checker.check(self.entry.tool.name(), args)?;
        Ok(self)
    }

    /// Executes the call. Does not check approval, which is up to the caller.
    ///
    /// # Errors
    ///
    /// The error of the tool, a refusal by a guardrail, a timeout, a stop, or a panic of the tool.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, or cancelling `cx`, drops the future of the tool.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolCall, ToolContext, ToolError, ToolRegistry}};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), agent_core::tool::ToolError> {
    /// # let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let call = tools.prepare(ToolCall::new("weather", &json!({ "city": "Seoul" })))?;
    /// let output = call.run(&ToolContext::detached()).await?;
    /// assert_eq!(output.to_text(), "Seoul: sunny");
    /// # Ok(()) }
    /// ```
    pub async fn run(&self, cx: &ToolContext) -> Result<ToolOutput, ToolError> {
        let work = self.guarded(cx);
        tokio::select! {
            biased; // a stop wins over a result of the same poll
            () = cx.cancelled.cancelled() => Err(ToolError::cancelled()),
            result = work => result,
        }
    }

    /// Returns the reply to the model for `result`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{tool, tool::{ToolCall, ToolContext, ToolError, ToolRegistry}};
    /// # use serde_json::json;
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), agent_core::tool::ToolError> {
    /// # let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let call = tools.prepare(ToolCall::new("weather", &json!({ "city": "Seoul" })))?;
    /// let result = call.run(&ToolContext::detached()).await;
    /// assert_eq!(call.reply(&result).text, "Seoul: sunny");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn reply(&self, result: &Result<ToolOutput, ToolError>) -> ToolReply {
        ToolReply::new(&self.call, result, self.policy().result_limit)
    }

    async fn guarded(&self, cx: &ToolContext) -> Result<ToolOutput, ToolError> {
        let name = self.name();
        let mut args = Cow::Borrowed(&self.args);
        for guard in &self.policy().guards {
            if let Some(replaced) = guard.before(name, &args).await? {
                args = Cow::Owned(self.entry.checker.check(name, replaced)?);
            }
        }
        let permit = self.entry.permits.as_ref().map(|permits| CallPermit::new(Arc::clone(permits)));
        if let Some(permit) = &permit {
            std::future::poll_fn(|cx| permit.poll_taken(cx)).await;
        }
        let mut output = self.attempts(&args, cx.clone().with_permit(permit)).await?;
        for guard in &self.policy().guards {
            if let Some(replaced) = guard.after(name, &output).await? {
                output = replaced;
            }
        }
        Ok(output)
    }

    async fn attempts(&self, args: &Value, mut cx: ToolContext) -> Result<ToolOutput, ToolError> {
        let ToolPolicy { retry, effect, .. } = self.policy();
        let mut attempt = 1;
        loop {
            cx.attempt = attempt;
            let error = match self.once(args.clone(), &cx).await {
                Ok(output) => return Ok(output),
                Err(error) => error,
            };
            let again = match error.fault() {
                ToolFault::Unavailable => true,
                ToolFault::TimedOut | ToolFault::OutcomeUnknown => effect.repeatable(),
                _ => false,
            };
            if !again || attempt >= retry.attempts {
                return Err(error);
            }
            let wait = error.wait().unwrap_or_else(|| retry.backoff(attempt, fastrand::f64()));
            tokio::time::sleep(wait.min(retry.longest_wait)).await;
            attempt += 1;
        }
    }

    async fn once(&self, args: Value, cx: &ToolContext) -> Result<ToolOutput, ToolError> {
        let limit = self.policy().timeout;
        // The call itself may panic before its future exists.
        let call = AssertUnwindSafe(async { self.entry.tool.0.call(args, cx).await }).catch_unwind();
        let mut call = std::pin::pin!(call);
        // A call that took its question back has no place either.
        let call = std::future::poll_fn(|context| {
            if let Some(permit) = cx.permit() {
                ready!(permit.poll_taken(context));
            }
            call.as_mut().poll(context)
        });
        match within(limit, cx, call).await {
            Some(Ok(result)) => result,
            Some(Err(panic)) => {
                let text = panic
                    .downcast_ref::<&'static str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "(no message)".to_owned());
                Err(ToolError::new(ToolFault::Panicked, "the tool failed").with_cause(text))
            }
            None => Err(ToolError::new(
                ToolFault::TimedOut,
                format!("`{}` did not finish within {limit:?}", self.name()),
            )),
        }
    }
}

/// Awaits `call` with the timeout `limit`. Time in which the call waits for a person does not count.
async fn within<T>(limit: Duration, cx: &ToolContext, call: impl Future<Output = T>) -> Option<T> {
    /// Interval at which the clock is read while the call waits for a person.
    const LOOK: Duration = Duration::from_millis(250);
    let mut call = std::pin::pin!(call);
    let began = Instant::now();
    let before = cx.waited().1;
    let mut left = limit;
    loop {
        if let Ok(result) = tokio::time::timeout(left, &mut call).await {
            return Some(result);
        }
        let (waits, waited) = cx.waited();
        left = (limit + waited.saturating_sub(before)).saturating_sub(began.elapsed());
        if waits {
            left = left.max(LOOK);
        } else if left.is_zero() {
            return None;
        }
    }
}
