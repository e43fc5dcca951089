//! One call that is known to be legal, and how it is carried out: guardrails, queue, attempts, time limit.

use std::{borrow::Cow, panic::AssertUnwindSafe, sync::Arc, task::ready, time::Duration};

use futures::FutureExt;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    ApprovalRequest, Decision, DecisionOutcome, StandingApprovals, ToolCall, ToolContext, ToolError,
    ToolFault, ToolOutput, ToolPolicy, ToolReply, approval, registry::Entry, seat::Seat,
};

/// A call of a tool that exists, with arguments that fit. Made by [`ToolRegistry::prepare`](super::ToolRegistry::prepare).
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

    /// The id of the call.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.call.id
    }

    /// The tool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.entry.tool.name()
    }

    /// The arguments.
    #[must_use]
    pub fn args(&self) -> &Value {
        &self.args
    }

    /// The rules it runs under.
    #[must_use]
    pub fn policy(&self) -> &ToolPolicy {
        &self.entry.policy
    }

    /// What a person must be shown first, unless the policy or an earlier approval makes that needless.
    #[must_use]
    pub fn approval_for(&self, remembered: &StandingApprovals) -> Option<ApprovalRequest> {
        let asks = self.policy().approval.asks(&self.args) && !remembered.covers(self);
        asks.then(|| approval::request(self))
    }

    /// What follows from a decision about `shown`.
    ///
    /// # Errors
    ///
    /// `shown` is not this call, or the edited arguments do not fit the schema; the question stays open then.
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

    /// Carries the call out. Approval is the caller's business.
    ///
    /// # Errors
    ///
    /// The tool's own, a guardrail's, a time limit, a stop, or a panic of the tool.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the tool's; so does cancelling `cx`.
    pub async fn run(&self, cx: &ToolContext) -> Result<ToolOutput, ToolError> {
        let work = self.guarded(cx);
        tokio::select! {
            biased; // a stop wins over a result of the same poll
            () = cx.cancelled.cancelled() => Err(ToolError::cancelled()),
            result = work => result,
        }
    }

    /// What the model reads of `result`.
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
        let seat = self.entry.permits.as_ref().map(|permits| Seat::new(Arc::clone(permits)));
        if let Some(seat) = &seat {
            std::future::poll_fn(|cx| seat.poll_taken(cx)).await;
        }
        let mut output = self.attempts(&args, cx.clone().seated(seat)).await?;
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
            if let Some(seat) = cx.seat() {
                ready!(seat.poll_taken(context));
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

/// What `call` gives, unless it takes longer than `limit`; the time in which a person was asked does not count.
async fn within<T>(limit: Duration, cx: &ToolContext, call: impl Future<Output = T>) -> Option<T> {
    /// How often the clock is looked at while a person thinks.
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
