//! What a run may use up, and what it has used: reserved before a call, exact over pauses and restarts.

use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::Code;

/// What a run may use. `None`: no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
#[non_exhaustive]
pub struct Limits {
    /// Supersteps of the outermost graph. Default: that of the graph (100).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersteps: Option<u64>,
    /// Model calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_calls: Option<u64>,
    /// Tool calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<u64>,
    /// Input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Cost in millionths of the price table's currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
    /// Time spent running, pauses left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Duration>,
}

impl Limits {
    /// At most this many supersteps.
    #[must_use]
    pub const fn supersteps(mut self, limit: u64) -> Self {
        self.supersteps = Some(limit);
        self
    }

    /// At most this many model calls.
    #[must_use]
    pub const fn model_calls(mut self, limit: u64) -> Self {
        self.model_calls = Some(limit);
        self
    }

    /// At most this many tool calls.
    #[must_use]
    pub const fn tool_calls(mut self, limit: u64) -> Self {
        self.tool_calls = Some(limit);
        self
    }

    /// At most this many tokens.
    #[must_use]
    pub const fn tokens(mut self, limit: u64) -> Self {
        self.tokens = Some(limit);
        self
    }

    /// At most this much time running.
    #[must_use]
    pub const fn active(mut self, limit: Duration) -> Self {
        self.active = Some(limit);
        self
    }
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
#[non_exhaustive]
pub struct Used {
    /// Model calls.
    #[serde(skip_serializing_if = "is_zero")]
    pub model_calls: u64,
    /// Tool calls.
    #[serde(skip_serializing_if = "is_zero")]
    pub tool_calls: u64,
    /// Tokens read by models.
    #[serde(skip_serializing_if = "is_zero")]
    pub input_tokens: u64,
    /// Tokens written by models.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_tokens: u64,
    /// Cost in millionths of the price table's currency.
    #[serde(skip_serializing_if = "is_zero")]
    pub cost_micros: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Used {
    /// Adds what was used elsewhere; stays at the largest number rather than overflow.
    pub fn add(&mut self, more: &Self) {
        self.model_calls = self.model_calls.saturating_add(more.model_calls);
        self.tool_calls = self.tool_calls.saturating_add(more.tool_calls);
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.cost_micros = self.cost_micros.saturating_add(more.cost_micros);
    }

    const fn minus(&mut self, less: &Self) {
        self.model_calls = self.model_calls.saturating_sub(less.model_calls);
        self.tool_calls = self.tool_calls.saturating_sub(less.tool_calls);
        self.input_tokens = self.input_tokens.saturating_sub(less.input_tokens);
        self.output_tokens = self.output_tokens.saturating_sub(less.output_tokens);
        self.cost_micros = self.cost_micros.saturating_sub(less.cost_micros);
    }
}

/// A bound that a run came to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the run may use {limit} {what} and has used {used}; raise the limit and resume")]
#[non_exhaustive]
pub struct LimitError {
    /// What is bounded: `supersteps`, `model calls`, `tool calls`, `tokens`, `millionths of cost`, `ms of running`.
    pub what: &'static str,
    /// The bound.
    pub limit: u64,
    /// What was used or reserved.
    pub used: u64,
}

impl LimitError {
    pub(crate) const fn new(what: &'static str, limit: u64, used: u64) -> Self {
        Self { what, limit, used }
    }

    pub(crate) fn code(&self) -> Code {
        if self.what == "supersteps" { Code::SuperstepLimit } else { Code::BudgetExceeded }
    }
}

/// The account of one run, shared by its parallel tasks.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    limits: Limits,
    account: Mutex<Account>,
}

#[derive(Debug, Default)]
struct Account {
    used: Used,
    /// For calls that are on their way.
    reserved: Used,
}

impl Budget {
    pub(crate) fn new(limits: Limits, used: Used) -> Self {
        Self { limits, account: Mutex::new(Account { used, reserved: Used::default() }) }
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn used(&self) -> Used {
        self.account.lock().used
    }

    /// Sets `wanted` aside, before the call. Settle or [`release`](Budget::release) it afterwards.
    pub(crate) fn reserve(&self, wanted: &Used) -> Result<(), LimitError> {
        let mut account = self.account.lock();
        let mut sum = account.used;
        sum.add(&account.reserved);
        sum.add(wanted);
        let tokens = sum.input_tokens.saturating_add(sum.output_tokens);
        for (what, limit, would) in [
            ("model calls", self.limits.model_calls, sum.model_calls),
            ("tool calls", self.limits.tool_calls, sum.tool_calls),
            ("tokens", self.limits.tokens, tokens),
            ("millionths of cost", self.limits.cost_micros, sum.cost_micros),
        ] {
            if let Some(limit) = limit
                && would > limit
            {
                return Err(LimitError::new(what, limit, would));
            }
        }
        account.reserved.add(wanted);
        Ok(())
    }

    /// Replaces what was set aside by what was used.
    pub(crate) fn settle(&self, reserved: &Used, used: &Used) {
        let mut account = self.account.lock();
        account.reserved.minus(reserved);
        account.used.add(used);
    }

    /// Gives back what was set aside.
    pub(crate) fn release(&self, reserved: &Used) {
        self.account.lock().reserved.minus(reserved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_calls_cannot_reserve_the_same_room_twice() {
        let budget = Budget::new(Limits::default().model_calls(1), Used::default());
        let call = Used { model_calls: 1, ..Used::default() };
        budget.reserve(&call).unwrap();
        assert_eq!(budget.reserve(&call), Err(LimitError::new("model calls", 1, 2)));
        budget.release(&call);
        budget.reserve(&call).unwrap();
        budget.settle(&call, &call);
        assert_eq!(budget.used().model_calls, 1);
        assert!(budget.reserve(&call).is_err());
    }
}
