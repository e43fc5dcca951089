//! Budget extension requests: one question per limit that is reached, shared by all tasks that wait for it.
//!
//! The question belongs to no task of the graph, so a replayed task need not repeat it. Grants are folded from the
//! journal, as usage is.

use std::{
    sync::{Arc, Weak},
    task::Poll,
};

use parking_lot::Mutex;
use serde_json::json;

use super::ledger::Exceeded;
use crate::{
    engine::{RunContext, RunError},
    graph::NodeError,
    ids::{QuestionId, TaskId},
    interrupt::{AnswerWaiter, OpenQuestion, Question, QuestionFingerprint},
    journal::entry::{Fact, Withdrawn},
    run::{BUDGET_PREFIX, BudgetUsage, LimitError, read_grant},
};

/// Maximum that one answer can add.
const MOST: u64 = 1 << 53;

/// Waits for a budget extension and counts as suspended in the meantime.
pub(crate) trait BudgetWaiter: Send + Sync {
    fn set_waiting(&self, waits: bool);
}

/// Waiters for the answer to one budget question.
#[derive(Default)]
pub(super) struct ExtensionRequest {
    /// Held while the question is asked and while its answer is applied, so that it is not asked again in between.
    turn: Mutex<()>,
    waiters: Mutex<Vec<Waiter>>,
}

struct Waiter {
    id: u64,
    who: Arc<dyn BudgetWaiter>,
    waits: bool,
}

#[derive(Debug, Default)]
pub(super) struct ExtensionRequests(Mutex<Vec<(QuestionId, Weak<ExtensionRequest>)>>);

impl std::fmt::Debug for ExtensionRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtensionRequest").finish_non_exhaustive()
    }
}

impl ExtensionRequests {
    fn get(&self, id: &QuestionId) -> Arc<ExtensionRequest> {
        let mut gates = self.0.lock();
        gates.retain(|(_, gate)| gate.strong_count() > 0);
        if let Some(gate) = gates.iter().find(|(known, _)| known == id).and_then(|(_, gate)| gate.upgrade()) {
            return gate;
        }
        let gate = Arc::new(ExtensionRequest::default());
        gates.push((id.clone(), Arc::downgrade(&gate)));
        gate
    }
}

impl ExtensionRequest {
    fn enter(&self, who: Arc<dyn BudgetWaiter>) -> u64 {
        let mut waiters = self.waiters.lock();
        let id = waiters.last().map_or(0, |last| last.id + 1);
        who.set_waiting(true);
        waiters.push(Waiter { id, who, waits: true });
        id
    }

    /// Removes a waiter. Returns `true` if it was the last one.
    fn leave(&self, id: u64) -> bool {
        let mut waiters = self.waiters.lock();
        if let Some(at) = waiters.iter().position(|waiter| waiter.id == id) {
            let waiter = waiters.remove(at);
            if waiter.waits {
                waiter.who.set_waiting(false);
            }
        }
        waiters.is_empty()
    }
}

impl AnswerWaiter for ExtensionRequest {
    fn answered(&self) {
        for waiter in self.waiters.lock().iter_mut() {
            if std::mem::take(&mut waiter.waits) {
                waiter.who.set_waiting(false);
            }
        }
    }
}

fn question(over: &Exceeded) -> (Arc<TaskId>, QuestionId, Question) {
    let (name, LimitError { kind, limit, used }) = (over.error.kind.id(), &over.error);
    // No task of a graph has this number.
    let task = TaskId::root(format!("{BUDGET_PREFIX}{name}.{limit})").into(), 0);
    let number = json!({ "type": "integer", "minimum": 1, "maximum": MOST });
    let schema = json!({ "anyOf": [
        { "const": "stop" },
        number,
        { "type": "object", "properties": { "more": number }, "required": ["more"], "additionalProperties": false },
    ] });
    let question = Question::choose(
        format!("The run may use {limit} {kind} and needs {used}. How many more may it use? Or `stop`."),
        ["stop"],
    )
    .or_anything()
    .key("more")
    .schema(schema)
    .details(json!({ "budget": name, "limit": limit, "needed": used }));
    let id = QuestionId::new(&task, "more");
    (Arc::new(task), id, question)
}

/// Reserves `wanted` before a call. If the limit is reached and the policy allows it, requests an extension first.
///
/// `who` creates the waiter that counts as suspended in the meantime.
pub(crate) async fn reserve(
    env: &RunContext,
    wanted: &BudgetUsage,
    who: impl FnOnce() -> Arc<dyn BudgetWaiter>,
) -> Result<(), NodeError> {
    let Err(over) = env.budget.reserve(wanted) else { return Ok(()) };
    let refused = |over: Exceeded| NodeError::permanent(over.error);
    if !over.ask {
        return Err(refused(over));
    }
    let (mut over, who) = (over, who());
    loop {
        Box::pin(more(env, &over, &who)).await?;
        match env.budget.reserve(wanted) {
            Ok(()) => return Ok(()),
            Err(still) if !still.ask => return Err(refused(still)),
            Err(still) => over = still,
        }
    }
}

/// Checks the limit of active time. If it is reached and the policy allows it, requests an extension.
pub(crate) async fn check_active(
    env: &RunContext,
    who: impl FnOnce() -> Arc<dyn BudgetWaiter>,
) -> Result<(), RunError> {
    let Err(mut over) = env.budget.running(env.control.active_ms()) else { return Ok(()) };
    if !over.ask {
        return Err(over.error.into());
    }
    let who = who();
    loop {
        Box::pin(more(env, &over, &who)).await?;
        match env.budget.running(env.control.active_ms()) {
            Ok(()) => return Ok(()),
            Err(still) if !still.ask => return Err(still.error.into()),
            Err(still) => over = still,
        }
    }
}

/// Waits until the extension request for a limit is answered.
async fn more(env: &RunContext, over: &Exceeded, who: &Arc<dyn BudgetWaiter>) -> Result<(), RunError> {
    let (task, id, question) = question(over);
    let gate = env.budget.gates.get(&id);
    let waiter: Arc<dyn AnswerWaiter> = Arc::clone(&gate) as _;
    let open = OpenQuestion {
        id: id.clone(),
        task: Arc::clone(&task),
        fingerprint: QuestionFingerprint::of(&question, true).fingerprint().to_owned(),
        question,
        asked_at: env.clock.now_ms(),
        step: None,
    };
    let waiter_index = {
        let _turn = gate.turn.lock();
        if !env.budget.still_exceeded(&over.error) {
            return Ok(());
        }
        let mut waiter_index = 0;
        let begins = || {
            waiter_index = gate.enter(Arc::clone(who));
            Ok::<_, RunError>(())
        };
        let _asking = env.control.asking();
        let new = env.pending_questions.add(open.clone(), &waiter, begins)?;
        if new && let Err(error) = env.append([Fact::QuestionAsked(Box::new(open.clone()))]) {
            env.pending_questions.withdraw(&id);
            gate.leave(waiter_index);
            return Err(error);
        }
        waiter_index
    };
    let _guard = WaiterGuard { env, gate: &gate, waiter_index, id: &id, task: &task };
    std::future::poll_fn(|cx| {
        let _turn = gate.turn.lock();
        match env.pending_questions.poll_answer(&id, &task, &waiter, cx.waker()) {
            Poll::Ready(answer) => {
                // `None`: another task received the answer and applied it.
                if let Some((kind, limit)) = answer.and_then(|value| read_grant(&open, &value)) {
                    env.budget.grant(kind, limit);
                }
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    Ok(())
}

/// Registration of a waiter. The last one that is dropped before the answer withdraws the question.
struct WaiterGuard<'a> {
    env: &'a RunContext,
    gate: &'a Arc<ExtensionRequest>,
    waiter_index: u64,
    id: &'a QuestionId,
    task: &'a Arc<TaskId>,
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        let _turn = self.gate.turn.lock();
        let last = self.gate.leave(self.waiter_index);
        let control = &self.env.control;
        let keeps = control.is_evicting() || control.stop.is_cancelled();
        if !last || keeps || !self.env.pending_questions.withdraw(self.id) {
            return;
        }
        let fact = Withdrawn { id: self.id.clone(), task: Arc::clone(self.task), own: None };
        if let Err(error) = self.env.append([Fact::QuestionWithdrawn(fact)]) {
            tracing::debug!(question = %self.id, %error, "a withdrawn question could not be noted");
        }
    }
}
