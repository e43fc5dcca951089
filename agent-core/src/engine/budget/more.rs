//! Asking a person for more: one question for each bound that is reached, shared by every task that needs more of it.
//!
//! The question belongs to no task of the graph, so a task that is entered again need not repeat it; what was granted
//! is a fold of the journal, as what was used is.

use std::{
    sync::{Arc, Weak},
    task::Poll,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Bound, LimitError, Limits, Used, account::Over};
use crate::{
    engine::{RunEnv, RunError},
    graph::NodeError,
    ids::{QuestionId, TaskId},
    interrupt::{AnswerWaiter, OpenQuestion, Question, Shown},
    journal::entry::{Fact, Withdrawn},
};

/// Most that one answer can add.
const MOST: u64 = 1 << 53;
const PREFIX: &str = "(budget.";

/// Something that waits for a person to allow more: counted as waiting meanwhile.
pub(crate) trait Gated: Send + Sync {
    fn waits(&self, waits: bool);
}

/// Those who wait for the answer to one question.
#[derive(Default)]
pub(super) struct Gate {
    /// Held while the question is asked, and while its answer is taken and applied: nobody asks again in between.
    turn: Mutex<()>,
    waiters: Mutex<Vec<Waiter>>,
}

struct Waiter {
    id: u64,
    who: Arc<dyn Gated>,
    waits: bool,
}

#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<Vec<(QuestionId, Weak<Gate>)>>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gates {
    fn get(&self, id: &QuestionId) -> Arc<Gate> {
        let mut gates = self.0.lock();
        gates.retain(|(_, gate)| gate.strong_count() > 0);
        if let Some(gate) = gates.iter().find(|(known, _)| known == id).and_then(|(_, gate)| gate.upgrade()) {
            return gate;
        }
        let gate = Arc::new(Gate::default());
        gates.push((id.clone(), Arc::downgrade(&gate)));
        gate
    }
}

impl Gate {
    fn enter(&self, who: Arc<dyn Gated>) -> u64 {
        let mut waiters = self.waiters.lock();
        let id = waiters.last().map_or(0, |last| last.id + 1);
        who.waits(true);
        waiters.push(Waiter { id, who, waits: true });
        id
    }

    /// Whether nobody is left.
    fn leave(&self, id: u64) -> bool {
        let mut waiters = self.waiters.lock();
        if let Some(at) = waiters.iter().position(|waiter| waiter.id == id) {
            let waiter = waiters.remove(at);
            if waiter.waits {
                waiter.who.waits(false);
            }
        }
        waiters.is_empty()
    }
}

impl AnswerWaiter for Gate {
    fn answered(&self) {
        for waiter in self.waiters.lock().iter_mut() {
            if std::mem::take(&mut waiter.waits) {
                waiter.who.waits(false);
            }
        }
    }
}

/// What people granted in a run, as the journal says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Granted(Vec<(Bound, Option<u64>)>);

impl Granted {
    /// Takes an answer, if it is one to a question for more.
    pub(crate) fn take(&mut self, open: &OpenQuestion, value: &Value) {
        if let Some(granted) = read(open, value) {
            self.0.push(granted);
        }
    }

    /// A run that failed and is resumed asks again.
    pub(crate) fn forgive(&mut self) {
        self.0.retain(|(_, limit)| limit.is_some());
    }

    /// Puts it into `limits`; what was refused is left over.
    pub(super) fn apply(&self, limits: &mut Limits) -> Vec<Bound> {
        let mut refused = Vec::new();
        for (bound, limit) in &self.0 {
            match limit {
                Some(limit) => limits.set(*bound, *limit),
                None => refused.push(*bound),
            }
        }
        refused
    }
}

/// The bound that an answer is about, and its new limit; none: no more.
fn read(open: &OpenQuestion, value: &Value) -> Option<(Bound, Option<u64>)> {
    let name = open.task.node().strip_prefix(PREFIX).filter(|_| open.task.number() == 0)?;
    let bound = Bound::ALL.into_iter().find(|bound| name.split('.').next() == Some(bound.name()))?;
    let limit = open.question.details.as_ref()?.get("limit")?.as_u64()?;
    let more = value.as_u64().or_else(|| value.get("more")?.as_u64());
    Some((bound, more.map(|more| limit.saturating_add(more))))
}

fn question(over: &Over) -> (Arc<TaskId>, QuestionId, Question) {
    let (name, LimitError { what, limit, used }) = (over.bound.name(), &over.error);
    // No task of a graph has this number.
    let task = TaskId::root(format!("{PREFIX}{name}.{limit})").into(), 0);
    let number = json!({ "type": "integer", "minimum": 1, "maximum": MOST });
    let schema = json!({ "anyOf": [
        { "const": "stop" },
        number,
        { "type": "object", "properties": { "more": number }, "required": ["more"], "additionalProperties": false },
    ] });
    let question = Question::choose(
        format!("The run may use {limit} {what} and needs {used}. How many more may it use? Or `stop`."),
        ["stop"],
    )
    .or_anything()
    .key("more")
    .schema(schema)
    .details(json!({ "budget": name, "limit": limit, "needed": used }));
    let id = QuestionId::new(&task, "more");
    (Arc::new(task), id, question)
}

/// Sets `wanted` aside, before a call; where the policy says so, a person is asked for more first.
///
/// `who` is what waits meanwhile.
pub(crate) async fn reserve(
    env: &RunEnv,
    wanted: &Used,
    who: impl FnOnce() -> Arc<dyn Gated>,
) -> Result<(), NodeError> {
    let Err(over) = env.budget.reserve(wanted) else { return Ok(()) };
    let refused = |over: Over| NodeError::permanent(over.error);
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

/// Whether the run may go on running; where the policy says so, a person is asked for more time.
pub(crate) async fn check_active(env: &RunEnv, who: impl FnOnce() -> Arc<dyn Gated>) -> Result<(), RunError> {
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

/// Waits until a person said something about the bound, whoever was asked first.
async fn more(env: &RunEnv, over: &Over, who: &Arc<dyn Gated>) -> Result<(), RunError> {
    let (task, id, question) = question(over);
    let gate = env.budget.gates.get(&id);
    let waiter: Arc<dyn AnswerWaiter> = Arc::clone(&gate) as _;
    let open = OpenQuestion {
        id: id.clone(),
        task: Arc::clone(&task),
        fingerprint: Shown::of(&question, true).fingerprint().to_owned(),
        question,
        asked_at: env.clock.now_ms(),
        step: None,
    };
    let place = {
        let _turn = gate.turn.lock();
        if !env.budget.stands(over.bound, &over.error) {
            return Ok(());
        }
        let mut place = 0;
        let begins = || {
            place = gate.enter(Arc::clone(who));
            Ok::<_, RunError>(())
        };
        let new = env.board.ask(open.clone(), &waiter, begins)?;
        if new && let Err(error) = env.note([Fact::QuestionAsked(open.clone())]) {
            env.board.withdraw(&id);
            gate.leave(place);
            return Err(error);
        }
        place
    };
    let _place = Place { env, gate: &gate, place, id: &id, task: &task };
    std::future::poll_fn(|cx| {
        let _turn = gate.turn.lock();
        match env.board.poll_answer(&id, &task, &waiter, cx.waker()) {
            Poll::Ready(answer) => {
                // Without one: another task took it, and applied it.
                if let Some((bound, limit)) = answer.and_then(|value| read(&open, &value)) {
                    env.budget.grant(bound, limit);
                }
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    Ok(())
}

/// A place among those that wait; the last one to give up takes the question back.
struct Place<'a> {
    env: &'a RunEnv,
    gate: &'a Arc<Gate>,
    place: u64,
    id: &'a QuestionId,
    task: &'a Arc<TaskId>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let _turn = self.gate.turn.lock();
        let last = self.gate.leave(self.place);
        let control = &self.env.control;
        let keeps = control.keeps_questions() || control.stop.is_cancelled();
        if !last || keeps || !self.env.board.withdraw(self.id) {
            return;
        }
        let fact = Withdrawn { id: self.id.clone(), task: Arc::clone(self.task), own: None };
        if let Err(error) = self.env.note([Fact::QuestionWithdrawn(fact)]) {
            tracing::debug!(question = %self.id, %error, "a withdrawn question could not be noted");
        }
    }
}
