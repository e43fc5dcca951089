//! The account of one run: what is used, what is set aside for calls on their way, what may still be asked for.

use parking_lot::Mutex;

use super::{Bound, LimitError, Limits, Overrun, Used, more::Gates, more::Granted};

/// The account of one run, shared by its parallel tasks.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    account: Mutex<Account>,
    pub(super) gates: Gates,
    /// Looked at in each superstep, so they are outside the lock.
    supersteps: Option<u64>,
    timed: bool,
    counts_tokens: bool,
    counts_cost: bool,
}

#[derive(Debug, Default)]
struct Account {
    limits: Limits,
    /// A person said no to more of these.
    refused: Vec<Bound>,
    used: Used,
    /// For calls that are on their way.
    reserved: Used,
}

/// A bound that was come to.
#[derive(Debug)]
pub(super) struct Over {
    pub(super) bound: Bound,
    pub(super) error: LimitError,
    /// Whether a person is asked for more.
    pub(super) ask: bool,
}

impl Account {
    fn over(&self, bound: Bound, limit: u64, would: u64) -> Over {
        let ask = self.limits.on_overrun == Overrun::Ask && !self.refused.contains(&bound);
        Over { bound, error: LimitError::new(bound.what(), limit, would), ask }
    }
}

impl Budget {
    pub(crate) fn new(mut limits: Limits, used: Used, granted: &Granted) -> Self {
        let refused = granted.apply(&mut limits);
        Self {
            supersteps: limits.supersteps,
            timed: limits.active.is_some(),
            counts_tokens: limits.tokens.is_some(),
            counts_cost: limits.cost_micros.is_some(),
            account: Mutex::new(Account { limits, refused, used, reserved: Used::default() }),
            gates: Gates::default(),
        }
    }

    /// With what people granted so far.
    pub(crate) fn limits(&self) -> Limits {
        self.account.lock().limits
    }

    pub(crate) const fn supersteps(&self) -> Option<u64> {
        self.supersteps
    }

    pub(crate) const fn is_timed(&self) -> bool {
        self.timed
    }

    /// Whether what a call will read and write is worth estimating.
    pub(crate) const fn estimates(&self) -> bool {
        self.counts_tokens || self.counts_cost
    }

    pub(crate) const fn counts_cost(&self) -> bool {
        self.counts_cost
    }

    pub(crate) fn used(&self) -> Used {
        self.account.lock().used
    }

    /// Sets `wanted` aside, before the call. Settle or [`release`](Budget::release) it afterwards.
    pub(super) fn reserve(&self, wanted: &Used) -> Result<(), Over> {
        let mut account = self.account.lock();
        let mut sum = account.used;
        sum.add(&account.reserved);
        sum.add(wanted);
        let tokens = sum.input_tokens.saturating_add(sum.output_tokens);
        for (bound, wants, would) in [
            (Bound::ModelCalls, wanted.model_calls, sum.model_calls),
            (Bound::ToolCalls, wanted.tool_calls, sum.tool_calls),
            // A model call that is not known to read anything still does.
            (Bound::Tokens, wanted.model_calls, tokens),
            (Bound::Cost, wanted.model_calls, sum.cost_micros),
        ] {
            if wants > 0
                && let Some(limit) = account.limits.of(bound)
                && would > limit
            {
                return Err(account.over(bound, limit, would));
            }
        }
        account.reserved.add(wanted);
        Ok(())
    }

    /// Whether so much time running is allowed.
    pub(super) fn running(&self, active_ms: u64) -> Result<(), Over> {
        let account = self.account.lock();
        match account.limits.of(Bound::Active) {
            Some(limit) if active_ms > limit => Err(account.over(Bound::Active, limit, active_ms)),
            _ => Ok(()),
        }
    }

    /// Whether `error` is still what this bound says.
    pub(super) fn stands(&self, bound: Bound, error: &LimitError) -> bool {
        let account = self.account.lock();
        account.limits.of(bound) == Some(error.limit) && !account.refused.contains(&bound)
    }

    /// What a person said.
    pub(super) fn grant(&self, bound: Bound, limit: Option<u64>) {
        let mut account = self.account.lock();
        match limit {
            Some(limit) => account.limits.set(bound, limit),
            None => account.refused.push(bound),
        }
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
        let budget = Budget::new(Limits::default().model_calls(1), Used::default(), &Granted::default());
        let call = Used { model_calls: 1, ..Used::default() };
        budget.reserve(&call).unwrap();
        assert_eq!(budget.reserve(&call).unwrap_err().error, LimitError::new("model calls", 1, 2));
        budget.release(&call);
        budget.reserve(&call).unwrap();
        budget.settle(&call, &call);
        assert_eq!(budget.used().model_calls, 1);
        assert!(budget.reserve(&call).is_err());
    }
}
