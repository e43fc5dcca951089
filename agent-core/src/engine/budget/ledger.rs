//! Budget ledger of a run: usage, reservations and refused extensions.

use parking_lot::Mutex;

use super::extension::ExtensionRequests;
use crate::run::{BudgetGrants, BudgetUsage, LimitError, LimitKind, Limits, OverrunPolicy};

/// Budget of a run, shared by its parallel tasks.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    ledger: Mutex<Ledger>,
    pub(super) gates: ExtensionRequests,
    /// Checked in each superstep, so they are outside of the lock.
    supersteps: Option<u64>,
    timed: bool,
    counts_tokens: bool,
    counts_cost: bool,
}

#[derive(Debug, Default)]
struct Ledger {
    limits: Limits,
    /// Limits with a refused extension.
    refused: Vec<LimitKind>,
    used: BudgetUsage,
    /// Reserved for running calls.
    reserved: BudgetUsage,
}

/// A kind that was come to.
#[derive(Debug)]
pub(super) struct Exceeded {
    pub(super) error: LimitError,
    /// Whether an extension is requested.
    pub(super) ask: bool,
}

impl Ledger {
    fn over(&self, kind: LimitKind, limit: u64, would: u64) -> Exceeded {
        let ask = self.limits.on_overrun == OverrunPolicy::Ask && !self.refused.contains(&kind);
        Exceeded { error: LimitError::new(kind, limit, would), ask }
    }
}

impl Budget {
    pub(crate) fn new(mut limits: Limits, used: BudgetUsage, granted: &BudgetGrants) -> Self {
        let refused = granted.apply(&mut limits);
        Self {
            supersteps: limits.supersteps,
            timed: limits.active.is_some(),
            counts_tokens: limits.tokens.is_some(),
            counts_cost: limits.cost_micros.is_some(),
            ledger: Mutex::new(Ledger { limits, refused, used, reserved: BudgetUsage::default() }),
            gates: ExtensionRequests::default(),
        }
    }

    /// Returns the limits with the extensions granted so far.
    pub(crate) fn limits(&self) -> Limits {
        self.ledger.lock().limits
    }

    pub(crate) const fn supersteps(&self) -> Option<u64> {
        self.supersteps
    }

    pub(crate) const fn is_timed(&self) -> bool {
        self.timed
    }

    /// Returns whether the tokens of a call must be estimated.
    pub(crate) const fn estimates(&self) -> bool {
        self.counts_tokens || self.counts_cost
    }

    pub(crate) const fn counts_cost(&self) -> bool {
        self.counts_cost
    }

    pub(crate) fn used(&self) -> BudgetUsage {
        self.ledger.lock().used
    }

    /// Reserves `wanted` before a call. [Settle](Budget::settle) or [release](Budget::release) it afterwards.
    pub(super) fn reserve(&self, wanted: &BudgetUsage) -> Result<(), Exceeded> {
        let mut ledger = self.ledger.lock();
        let mut sum = ledger.used;
        sum.add(&ledger.reserved);
        sum.add(wanted);
        let tokens = sum.input_tokens.saturating_add(sum.output_tokens);
        for (kind, wants, would) in [
            (LimitKind::ModelCalls, wanted.model_calls, sum.model_calls),
            (LimitKind::ToolCalls, wanted.tool_calls, sum.tool_calls),
            // A model call that is not known to read anything still does.
            (LimitKind::Tokens, wanted.model_calls, tokens),
            (LimitKind::Cost, wanted.model_calls, sum.cost_micros),
        ] {
            if wants > 0
                && let Some(limit) = ledger.limits.get(kind)
                && would > limit
            {
                return Err(ledger.over(kind, limit, would));
            }
        }
        ledger.reserved.add(wanted);
        Ok(())
    }

    /// Checks the limit of active time.
    pub(super) fn running(&self, active_ms: u64) -> Result<(), Exceeded> {
        let ledger = self.ledger.lock();
        match ledger.limits.get(LimitKind::Active) {
            Some(limit) if active_ms > limit => Err(ledger.over(LimitKind::Active, limit, active_ms)),
            _ => Ok(()),
        }
    }

    /// Returns whether the limit of `error` is unchanged.
    pub(super) fn still_exceeded(&self, error: &LimitError) -> bool {
        let ledger = self.ledger.lock();
        ledger.limits.get(error.kind) == Some(error.limit) && !ledger.refused.contains(&error.kind)
    }

    /// Applies the answer to an extension request; `None`: refused.
    pub(super) fn grant(&self, kind: LimitKind, limit: Option<u64>) {
        let mut ledger = self.ledger.lock();
        match limit {
            Some(limit) => ledger.limits.set(kind, limit),
            None => ledger.refused.push(kind),
        }
    }

    /// Replaces a reservation by the actual usage.
    pub(crate) fn settle(&self, reserved: &BudgetUsage, used: &BudgetUsage) {
        let mut ledger = self.ledger.lock();
        ledger.reserved.subtract(reserved);
        ledger.used.add(used);
    }

    /// Releases a reservation.
    pub(crate) fn release(&self, reserved: &BudgetUsage) {
        self.ledger.lock().reserved.subtract(reserved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_calls_cannot_reserve_the_same_room_twice() {
        let budget =
            Budget::new(Limits::default().model_calls(1), BudgetUsage::default(), &BudgetGrants::default());
        let call = BudgetUsage { model_calls: 1, ..BudgetUsage::default() };
        budget.reserve(&call).unwrap();
        assert_eq!(budget.reserve(&call).unwrap_err().error, LimitError::new(LimitKind::ModelCalls, 1, 2));
        budget.release(&call);
        budget.reserve(&call).unwrap();
        budget.settle(&call, &call);
        assert_eq!(budget.used().model_calls, 1);
        assert!(budget.reserve(&call).is_err());
    }
}
