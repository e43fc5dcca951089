//! Budget of a run: reserved before each call, settled afterwards, exact across pauses and restarts.

mod extension;
mod ledger;

pub(crate) use extension::{BudgetWaiter, check_active, reserve};
pub(crate) use ledger::Budget;
