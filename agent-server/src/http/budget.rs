//! Memory budget for the input of all callers: bodies that are read and parsed, and incomplete WebSocket messages.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A number of bytes that callers share.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    most: usize,
    used: AtomicUsize,
}

impl Budget {
    /// Creates a budget of `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Account { most, used: AtomicUsize::new(0) }))
    }

    /// Returns the number of reserved bytes.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Returns an empty share.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// Application state with a budget for the input of callers.
pub(crate) trait InputBudget {
    /// Returns the budget.
    fn input_budget(&self) -> &Budget;
}

/// Bytes reserved for one caller. Dropping it releases them.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Reserves more bytes. Returns `false`, and reserves nothing, if the budget is too small.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let account = &self.budget.0;
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= account.most);
        let grown = account.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Sets the number of reserved bytes. Returns `false`, and changes nothing, if the budget is too small.
    #[must_use]
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        if bytes > self.bytes {
            return self.grow(bytes - self.bytes);
        }
        self.budget.0.used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        self.bytes = bytes;
        true
    }

    /// Releases all bytes.
    pub(crate) fn clear(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_never_exceed_the_budget_and_come_back() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.share(), budget.share());
        assert!(a.grow(60) && !b.grow(41) && b.grow(40));
        assert!(a.set(10) && b.set(90) && !a.set(11) && !b.grow(usize::MAX));
        assert_eq!(budget.used(), 100);
        drop(a);
        b.clear();
        assert_eq!(budget.used(), 0);
    }
}
