//! What one activation has recorded, asked and shown, and whether it can go on by itself.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    task::Waker,
};

use parking_lot::Mutex;
use serde_json::{Value, value::RawValue};
use tokio::time::Instant;

use super::{RunEnv, budget::Gated, superstep::Slot};
use crate::{
    ids::{QuestionId, Seq, TaskId},
    interrupt::Waiting,
    journal::{
        entry::{GivenUp, Raw},
        holes::{self, Hole},
        image::{FrameImage, StepRecord, TaskRecord},
    },
};

/// The memory of one activation. Outlives its tries.
pub(crate) struct TaskCell {
    pub(crate) env: Arc<RunEnv>,
    pub(crate) task: Arc<TaskId>,
    slot: Option<Arc<dyn Slot>>,
    /// The present try was ended from outside: what it drops now, it did not choose to drop.
    pub(crate) ended: std::sync::atomic::AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    steps: HashMap<String, StepRecord>,
    running: HashSet<String>,
    /// Recorded before a restart and not asked for again yet.
    leftover_steps: HashSet<String>,
    leftover_questions: HashSet<QuestionId>,
    /// Tool calls that were begun and have no result, with how often.
    begun: HashMap<String, u32>,
    answers: HashMap<QuestionId, Option<Value>>,
    given_up: HashMap<QuestionId, VecDeque<GivenUp>>,
    /// Steps that are new while something recorded was not asked for yet: they wait.
    held: Vec<(String, Waker)>,
    shown: HashMap<u64, u32>,
    frame: Option<Box<FrameImage>>,
    asked: u32,
    models: u32,
    /// How often each tool call id was used, because some servers repeat them.
    calls: HashMap<String, u32>,
    scopes: Vec<Scope>,
    /// Questions waited for, in all scopes.
    waiting: u32,
    /// Calls that wait for more of the budget, in all scopes.
    gated: u32,
    /// Steps on their way that do not wait for a person.
    working: u32,
    blocked: bool,
    sign: Option<Instant>,
    listens: bool,
    failed: u32,
    /// Tries that failed before the run was given up and resumed: they do not count against the policy.
    forgiven: u32,
}

impl Inner {
    fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self.leftover_steps.iter().cloned().collect();
        left.extend(self.leftover_questions.iter().map(ToString::to_string));
        left.sort();
        left
    }
}

impl Inner {
    /// Something was recorded before a restart and not asked for again yet.
    fn replays(&self) -> bool {
        !(self.leftover_steps.is_empty() && self.leftover_questions.is_empty())
    }
}

#[derive(Clone, Copy, Default)]
struct Scope {
    parent: usize,
    /// Questions waited for inside.
    waiting: u32,
    /// Calls inside that wait for a person to allow more of the budget.
    gated: u32,
}

impl Scope {
    const fn works(&self) -> bool {
        self.waiting == 0 && self.gated == 0
    }
}

thread_local! {
    /// The steps that this thread polls, the innermost last: the address of the task's cell, and the scope.
    static POLLED: RefCell<Vec<(usize, usize)>> = const { RefCell::new(Vec::new()) };
}

/// Leaves the scope of a step when dropped.
pub(crate) struct PolledScope(());

impl Drop for PolledScope {
    fn drop(&mut self) {
        POLLED.with_borrow_mut(Vec::pop);
    }
}

/// Work that is counted; see [`TaskCell::hold`].
pub(crate) struct Held<'a>(&'a TaskCell);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.working = inner.working.saturating_sub(1);
        self.0.weigh(&mut inner);
    }
}

/// What a step finds when it begins.
pub(crate) enum Begun {
    Recorded(StepRecord),
    /// It runs in the scope with this number.
    Run(usize),
    /// Something else was recorded and must be asked for first.
    Hold,
    /// The same key is on its way in this task.
    Twice,
}

impl TaskCell {
    pub(crate) fn new(
        env: Arc<RunEnv>,
        task: Arc<TaskId>,
        slot: Option<Arc<dyn Slot>>,
        record: Option<TaskRecord>,
    ) -> Self {
        let record = record.unwrap_or_default();
        // After a failed try the node may go another way; within one try it may not.
        let same_try = record.failed == 0;
        let leftover_steps = if same_try { record.steps.keys().cloned().collect() } else { HashSet::new() };
        let leftover_questions =
            if same_try { record.asked.keys().cloned().collect() } else { HashSet::new() };
        let inner = Inner {
            steps: record.steps,
            running: HashSet::new(),
            leftover_steps,
            leftover_questions,
            begun: record.begun,
            answers: record.asked,
            given_up: record.given_up,
            held: Vec::new(),
            shown: record.shown,
            frame: record.inner,
            asked: 0,
            models: 0,
            calls: HashMap::new(),
            scopes: vec![Scope::default()],
            waiting: 0,
            gated: 0,
            working: 0,
            blocked: false,
            sign: None,
            listens: false,
            failed: record.failed,
            forgiven: record.forgiven,
        };
        Self { env, task, slot, ended: Default::default(), inner: Mutex::new(inner) }
    }

    /// A new try: what failed may be done again, what succeeded stays.
    pub(crate) fn new_try(&self) {
        let mut inner = self.inner.lock();
        inner.steps.retain(|_, step| step.result.is_ok());
        inner.running.clear();
        inner.leftover_steps.clear();
        inner.leftover_questions.clear();
        inner.shown.clear();
        inner.given_up.clear();
        self.ended.store(false, std::sync::atomic::Ordering::Release);
        inner.asked = 0;
        inner.models = 0;
        inner.calls.clear();
        inner.scopes.truncate(1);
        inner.scopes[0] = Scope::default();
        inner.waiting = 0;
        inner.gated = 0;
        inner.working = 0;
        inner.failed += 1;
        self.weigh(&mut inner);
    }

    pub(crate) fn failed(&self) -> u32 {
        self.inner.lock().failed
    }

    pub(crate) fn forgiven(&self) -> u32 {
        self.inner.lock().forgiven
    }

    pub(crate) fn take_frame(&self) -> Option<Box<FrameImage>> {
        self.inner.lock().frame.take()
    }

    /// A subgraph's frame as the journal has it, for its next try.
    pub(crate) fn give_frame(&self, frame: Box<FrameImage>) {
        self.inner.lock().frame = Some(frame);
    }

    // --- steps ------------------------------------------------------------------------------------------------

    pub(crate) fn begin_step(&self, key: &str, waker: &Waker) -> Begun {
        let mut inner = self.inner.lock();
        if let Some(step) = inner.steps.get(key).cloned() {
            inner.leftover_steps.remove(key);
            Self::let_go(&mut inner);
            return Begun::Recorded(step);
        }
        if inner.running.contains(key) {
            return Begun::Twice;
        }
        self.made_again(&mut inner, key);
        if inner.replays() {
            inner.held.retain(|(held, _)| held != key);
            inner.held.push((key.to_owned(), waker.clone()));
            return Begun::Hold;
        }
        inner.running.insert(key.to_owned());
        inner.working += 1;
        let parent = self.polled_scope();
        inner.scopes.push(Scope { parent, ..Scope::default() });
        inner.sign = Some(Instant::now());
        // A sibling on another thread may wait for a person already.
        self.weigh(&mut inner);
        Begun::Run(inner.scopes.len() - 1)
    }

    /// Counts as work until the guard is dropped: what is begun meanwhile may already wait for a person on another
    /// thread, and the task is not blocked before all of it is begun.
    pub(crate) fn hold(&self) -> Held<'_> {
        let mut inner = self.inner.lock();
        inner.working += 1;
        self.weigh(&mut inner);
        Held(self)
    }

    /// A tool call that asked people had begun before the restart: it is made again, which is nothing new, and what it
    /// asked is its own business (the world may have moved on). The answers stay known.
    fn made_again(&self, inner: &mut Inner, key: &str) {
        let Some(call) = key.strip_prefix("tool:") else { return };
        if inner.leftover_questions.is_empty() {
            return;
        }
        let asked = QuestionId::new(&self.task, &format!("ask:{call}/"));
        inner.leftover_questions.retain(|id| !id.0.starts_with(&*asked.0));
        Self::let_go(inner);
    }

    /// How often a tool call was begun whose result is not known.
    pub(crate) fn begun(&self, key: &str) -> u32 {
        let inner = self.inner.lock();
        if inner.steps.contains_key(key) { 0 } else { inner.begun.get(key).copied().unwrap_or(0) }
    }

    /// A tool call begins that must not be made twice.
    pub(crate) fn begins(&self, key: &str) {
        *self.inner.lock().begun.entry(key.to_owned()).or_default() += 1;
        self.note_unfinished(|record| *record.begun.entry(key.to_owned()).or_default() += 1);
    }

    /// The tool call waits for a person: should it be cut short now, it may be made again.
    pub(crate) fn waits(&self, key: &str) {
        self.inner.lock().begun.remove(key);
        self.note_unfinished(|record| {
            record.begun.remove(key);
        });
    }

    /// Keeps what a stop must know of this task where no journal does; see [`RunEnv::ledger`].
    fn note_unfinished(&self, change: impl FnOnce(&mut TaskRecord)) {
        if let Some(ledger) = &self.env.ledger
            && self.task.parent().is_none()
        {
            change(ledger.lock().entry(self.task.number()).or_default());
        }
    }

    /// The task has finished: a stop need not know of it any more.
    pub(crate) fn finished(&self) {
        if let Some(ledger) = &self.env.ledger
            && self.task.parent().is_none()
        {
            ledger.lock().remove(&self.task.number());
        }
    }

    pub(crate) fn end_step(&self, key: &str, scope: usize, result: Option<StepRecord>) {
        let mut inner = self.inner.lock();
        inner.running.remove(key);
        inner.sign = Some(Instant::now());
        if let Some(result) = result {
            self.note_unfinished(|record| {
                record.begun.remove(key);
                record.steps.insert(key.to_owned(), result.clone());
            });
            inner.begun.remove(key);
            inner.steps.insert(key.to_owned(), result);
        }
        // A new try may have begun over an abandoned step.
        if inner.scopes.get(scope).is_some_and(Scope::works) {
            inner.working = inner.working.saturating_sub(1);
        }
        self.weigh(&mut inner);
    }

    /// Enters the scope of a step on this thread, until the guard is dropped. Tool calls of one turn are polled on
    /// several threads at once, so the scope belongs to the thread and not to the task.
    pub(crate) fn enter(&self, scope: usize) -> PolledScope {
        POLLED.with_borrow_mut(|polled| polled.push((std::ptr::from_ref(self).addr(), scope)));
        PolledScope(())
    }

    /// The scope of this task that this thread polls. 0: outside of every step.
    pub(crate) fn polled_scope(&self) -> usize {
        let own = std::ptr::from_ref(self).addr();
        POLLED.with_borrow(|polled| {
            polled.iter().rfind(|(cell, _)| *cell == own).map_or(0, |(_, scope)| *scope)
        })
    }

    /// Whether something recorded was not asked for yet, so that something new must wait; keeps the waker then.
    pub(crate) fn holds(&self, key: &str, waker: &Waker) -> bool {
        let mut inner = self.inner.lock();
        if !inner.replays() {
            return false;
        }
        inner.held.retain(|(held, _)| held != key);
        inner.held.push((key.to_owned(), waker.clone()));
        true
    }

    /// An update without what the steps of this task recorded word for word; see [`holes`].
    pub(crate) fn dig(&self, whole: &RawValue) -> Option<(Raw, Vec<Hole>)> {
        let inner = self.inner.lock();
        let steps = inner.steps.values().filter(|step| step.seq > Seq::ZERO);
        holes::dig(whole, steps.filter_map(|step| Some((step.seq, step.result.as_deref().ok()?))))
    }

    fn let_go(inner: &mut Inner) {
        if !inner.replays() {
            for (_, waker) in inner.held.drain(..) {
                waker.wake();
            }
        }
    }

    /// What a replay asks for and what it should have asked for, when it cannot go on.
    pub(crate) fn mismatch(&self) -> Option<(Vec<String>, Vec<String>)> {
        let inner = self.inner.lock();
        if inner.held.is_empty() {
            return None;
        }
        Some((inner.leftovers(), inner.held.iter().map(|(key, _)| key.clone()).collect()))
    }

    /// What was recorded and never asked for, when the node is done.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        self.inner.lock().leftovers()
    }

    pub(crate) fn next_model_key(&self) -> String {
        let mut inner = self.inner.lock();
        inner.models += 1;
        format!("model-{}", inner.models)
    }

    /// A name for a tool call that is used once in a try: its id, with a number when the id was used before.
    pub(crate) fn next_call_name(&self, id: &str) -> String {
        super::unfinished::call_name(&mut self.inner.lock().calls, id)
    }

    // --- questions --------------------------------------------------------------------------------------------

    pub(crate) fn next_question_key(&self) -> String {
        let mut inner = self.inner.lock();
        inner.asked += 1;
        format!("q{}", inner.asked)
    }

    /// The recorded answer, if there is one. Notes that the question was asked again.
    pub(crate) fn known_answer(&self, id: &QuestionId) -> Option<Value> {
        let mut inner = self.inner.lock();
        inner.leftover_questions.remove(id);
        Self::let_go(&mut inner);
        inner.answers.get(id).cloned().flatten()
    }

    /// Whether the node took this question back before a restart, and why; counts it off.
    pub(crate) fn was_given_up(&self, id: &QuestionId) -> Option<GivenUp> {
        self.inner.lock().given_up.get_mut(id)?.pop_front()
    }

    pub(crate) fn keep_answer(&self, id: QuestionId, answer: Value) {
        self.inner.lock().answers.insert(id, Some(answer));
    }

    /// A question begins to wait, in the scope that is being polled.
    pub(crate) fn wait_begins(&self) -> usize {
        let scope = self.polled_scope();
        let mut inner = self.inner.lock();
        let mut at = scope;
        while at != 0 {
            if inner.scopes[at].works() {
                inner.working = inner.working.saturating_sub(1);
            }
            inner.scopes[at].waiting += 1;
            at = inner.scopes[at].parent;
        }
        inner.waiting += 1;
        self.weigh(&mut inner);
        scope
    }

    /// A question was given up before its answer came.
    pub(crate) fn wait_given_up(&self, scope: usize) {
        let mut inner = self.inner.lock();
        if inner.waiting == 0 {
            return;
        }
        inner.waiting -= 1;
        let mut at = scope;
        while at != 0 && at < inner.scopes.len() {
            inner.scopes[at].waiting = inner.scopes[at].waiting.saturating_sub(1);
            if inner.scopes[at].works() {
                inner.working += 1;
            }
            at = inner.scopes[at].parent;
        }
        self.weigh(&mut inner);
    }

    /// A call in this scope begins or ends to wait for a person to allow more of the budget.
    fn gate(&self, scope: usize, waits: bool) {
        let mut inner = self.inner.lock();
        let mut at = scope;
        while at != 0 && at < inner.scopes.len() {
            let before = inner.scopes[at].works();
            let gated = &mut inner.scopes[at].gated;
            *gated = if waits { *gated + 1 } else { gated.saturating_sub(1) };
            match (before, inner.scopes[at].works()) {
                (true, false) => inner.working = inner.working.saturating_sub(1),
                (false, true) => inner.working += 1,
                _ => {}
            }
            at = inner.scopes[at].parent;
        }
        inner.gated = if waits { inner.gated + 1 } else { inner.gated.saturating_sub(1) };
        self.weigh(&mut inner);
    }

    /// Blocked exactly when it waits for a person and does nothing else that is known of.
    fn weigh(&self, inner: &mut Inner) {
        let blocked = inner.waiting + inner.gated > 0 && inner.working == 0;
        if blocked != inner.blocked {
            inner.blocked = blocked;
            if let Some(slot) = &self.slot {
                slot.blocked(blocked, &self.task);
            }
            self.env.control.busy(if blocked { -1 } else { 1 });
        }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.inner.lock().blocked
    }

    // --- signs of life, listening, what was shown -------------------------------------------------------------

    pub(crate) fn sign_of_life(&self) {
        self.inner.lock().sign = Some(Instant::now());
    }

    pub(crate) fn last_sign(&self) -> Option<Instant> {
        self.inner.lock().sign
    }

    /// Notes that the task wants to be told of a stop; `true` the first time.
    pub(crate) fn listen(&self) -> bool {
        !std::mem::replace(&mut self.inner.lock().listens, true)
    }

    /// Whether something with this fingerprint was shown before a restart; counts it off.
    pub(crate) fn was_shown(&self, fingerprint: u64) -> bool {
        let mut inner = self.inner.lock();
        match inner.shown.get_mut(&fingerprint) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }
}

impl Waiting for TaskCell {
    fn answered(&self) {
        let mut inner = self.inner.lock();
        inner.waiting = 0;
        for at in 1..inner.scopes.len() {
            if inner.scopes[at].waiting > 0 {
                inner.scopes[at].waiting = 0;
                if inner.scopes[at].works() {
                    inner.working += 1;
                }
            }
        }
        self.weigh(&mut inner);
    }
}

/// A call of a task that waits for more of the budget.
pub(crate) struct Call {
    pub(crate) cell: Arc<TaskCell>,
    pub(crate) scope: usize,
}

impl Gated for Call {
    fn waits(&self, waits: bool) {
        self.cell.gate(self.scope, waits);
    }
}

impl Drop for TaskCell {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if inner.blocked {
            // Its place in the count goes back to whoever ends the task.
            self.env.control.busy(1);
            if let Some(slot) = &self.slot {
                slot.blocked(false, &self.task);
            }
        }
        if inner.listens {
            self.env.control.listeners.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
        }
    }
}
