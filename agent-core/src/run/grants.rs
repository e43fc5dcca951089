//! Budget extensions that people granted in a run.

use serde_json::Value;

use super::{LimitKind, Limits};
use crate::interrupt::OpenQuestion;

/// Prefix of the node name in the task id of a budget question. No node of a graph has such a name.
pub(crate) const BUDGET_PREFIX: &str = "(budget.";

/// Budget extensions granted or refused in a run, as folded from the journal.
#[derive(Debug, Clone, Default)]
pub(crate) struct BudgetGrants(Vec<(LimitKind, Option<u64>)>);

impl BudgetGrants {
    /// Records an answer if its question asked for a budget extension.
    pub(crate) fn record(&mut self, open: &OpenQuestion, value: &Value) {
        self.0.extend(read_grant(open, value));
    }

    /// Removes refusals: a run that failed and is resumed asks again.
    pub(crate) fn reset(&mut self) {
        self.0.retain(|(_, limit)| limit.is_some());
    }

    /// Applies the granted limits and returns the kinds that were refused.
    pub(crate) fn apply(&self, limits: &mut Limits) -> Vec<LimitKind> {
        let mut refused = Vec::new();
        for (kind, limit) in &self.0 {
            match limit {
                Some(limit) => limits.set(*kind, *limit),
                None => refused.push(*kind),
            }
        }
        refused
    }
}

/// Reads the limit and its new value from an answer to a budget question. `None` as the value: the extension is
/// refused.
pub(crate) fn read_grant(open: &OpenQuestion, value: &Value) -> Option<(LimitKind, Option<u64>)> {
    let name = open.task.node().strip_prefix(BUDGET_PREFIX).filter(|_| open.task.number() == 0)?;
    let kind = LimitKind::ALL.into_iter().find(|kind| name.split('.').next() == Some(kind.id()))?;
    let limit = open.question.details.as_ref()?.get("limit")?.as_u64()?;
    let more = value.as_u64().or_else(|| value.get("more")?.as_u64());
    Some((kind, more.map(|more| limit.saturating_add(more))))
}
