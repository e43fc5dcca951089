//! What one activation has recorded, asked and shown, and whether it can go on by itself.

mod attempt_handle;
mod questions;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    task::Waker,
};

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{
    engine::{
        RunContext,
        executor::ConcurrencySlot,
        scope::{Scope, current},
    },
    ids::{QuestionId, Seq, TaskId},
    journal::{
        dedup::{self, StepRef},
        entry::{Raw, WithdrawReason},
        projection::{FrameProjection, StepRecord, TaskRecord},
    },
    run::NodeEnded,
};

pub(crate) use attempt_handle::{AttemptHandle, BudgetCall};
use questions::AskedQuestion;
pub(crate) use questions::Recalled;

/// The memory of one activation. Outlives its tries.
pub(crate) struct TaskReplay {
    pub(crate) env: Arc<RunContext>,
    pub(crate) task: Arc<TaskId>,
    slot: Option<Arc<dyn ConcurrencySlot>>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Whether a try is running. Steps and questions of an ended one have no effect.
    live: bool,
    steps: HashMap<String, StepRecord>,
    running: HashSet<Arc<str>>,
    /// Recorded before a restart and not asked for again yet, with the step inside which each was made.
    unreplayed_steps: HashMap<String, Option<Arc<str>>>,
    unreplayed_questions: HashMap<QuestionId, Option<Arc<str>>>,
    /// Tool calls that were begun and have no result, with how often.
    call_attempts: HashMap<String, u32>,
    asked: HashMap<QuestionId, AskedQuestion>,
    /// Questions of this try that are neither answered nor withdrawn.
    open: Vec<QuestionId>,
    withdrawn: HashMap<QuestionId, VecDeque<WithdrawReason>>,
    /// Steps that are new while something recorded was not asked for yet: they wait.
    held: Vec<(String, Waker)>,
    emitted: HashMap<u64, u32>,
    frame: Option<Box<FrameProjection>>,
    scopes: Vec<Scope>,
    /// Questions waited for, in all scopes.
    waiting: u32,
    /// Calls that wait for more of the budget, in all scopes.
    gated: u32,
    /// Steps on their way that do not wait for a person.
    working: u32,
    blocked: bool,
    last_activity: Option<Instant>,
    listens: bool,
    /// Tasks of a subgraph run inside this one.
    hosts: bool,
    failed: u32,
    /// Tries that failed before the run was given up and resumed: they do not count against the policy.
    forgiven: u32,
}

impl Inner {
    fn hold(&mut self, key: &str, waker: &Waker) {
        self.held.retain(|(held, _)| held != key);
        self.held.push((key.to_owned(), waker.clone()));
    }

    /// Whether something with this fingerprint was shown before a restart; counts it off.
    fn already_emitted(&mut self, fingerprint: u64) -> bool {
        match self.emitted.get_mut(&fingerprint) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }

    fn unreplayed(&self) -> Vec<String> {
        let mut left: Vec<String> = self.unreplayed_steps.keys().cloned().collect();
        left.extend(self.unreplayed_questions.keys().map(ToString::to_string));
        left.sort();
        left
    }

    /// Something was recorded before a restart and not asked for again yet.
    fn is_replaying(&self) -> bool {
        !(self.unreplayed_steps.is_empty() && self.unreplayed_questions.is_empty())
    }

    /// The step `key` is asked for: what it recorded and asked inside is its own business from here on. With a record
    /// it is not entered again; without, it is done again and may do other things (the world may have moved on).
    fn take_step(&mut self, key: &str) {
        if !self.is_replaying() {
            return;
        }
        self.unreplayed_steps.remove(key);
        let mut inside = vec![Arc::<str>::from(key)];
        while let Some(step) = inside.pop() {
            let of = |made: &Option<Arc<str>>| made.as_deref() == Some(&*step);
            self.unreplayed_questions.retain(|_, made| !of(made));
            self.unreplayed_steps.retain(|key, made| {
                let taken = of(made);
                if taken {
                    inside.push(key.as_str().into());
                }
                !taken
            });
        }
        self.release_held();
    }

    /// Wakes what is new once everything recorded was asked for.
    fn release_held(&mut self) {
        if !self.is_replaying() {
            self.wake_held();
        }
    }

    fn wake_held(&mut self) {
        for (_, waker) in self.held.drain(..) {
            waker.wake();
        }
    }

    /// Whether this is the try that runs.
    const fn is_live(&self, number: u32) -> bool {
        self.live && number == self.failed + 1
    }
}

/// What a step finds when it begins.
pub(crate) enum StepStart {
    Replayed(StepRecord),
    /// It runs in the scope with this number.
    Run(usize),
    /// Something else was recorded and must be asked for first.
    Held,
    /// The same key is on its way in this task.
    Duplicate,
    Ended(NodeEnded),
}

impl TaskReplay {
    pub(crate) fn new(
        env: Arc<RunContext>,
        task: Arc<TaskId>,
        slot: Option<Arc<dyn ConcurrencySlot>>,
        record: Option<TaskRecord>,
    ) -> Self {
        let record = record.unwrap_or_default();
        let asked: HashMap<QuestionId, AskedQuestion> =
            record.asked.into_iter().map(|(id, asked)| (id, AskedQuestion::restored(asked))).collect();
        let (mut unreplayed_steps, mut unreplayed_questions) = (HashMap::new(), HashMap::new());
        // After a failed try the node may go another way; within one try it may not.
        if record.failed == 0 {
            unreplayed_steps
                .extend(record.steps.iter().map(|(key, step)| (key.clone(), step.inside.clone())));
            unreplayed_questions.extend(asked.iter().map(|(id, asked)| (id.clone(), asked.step.clone())));
        }
        let inner = Inner {
            live: true,
            steps: record.steps,
            running: HashSet::new(),
            unreplayed_steps,
            unreplayed_questions,
            call_attempts: record.call_attempts,
            asked,
            open: Vec::new(),
            withdrawn: record.withdrawn,
            held: Vec::new(),
            emitted: record.emitted,
            frame: record.inner,
            scopes: vec![Scope::default()],
            waiting: 0,
            gated: 0,
            working: 0,
            blocked: false,
            last_activity: None,
            listens: false,
            hosts: false,
            failed: record.failed,
            forgiven: record.forgiven,
        };
        Self { env, task, slot, inner: Mutex::new(inner) }
    }

    /// Ends the try: code that the node left running has no effect any more, and open questions are withdrawn.
    ///
    /// A try that a stop dropped keeps its questions, as a run that leaves memory does.
    pub(crate) fn end_attempt(&self, dropped_by_stop: bool) {
        let open = {
            let mut inner = self.inner.lock();
            inner.live = false;
            inner.wake_held();
            std::mem::take(&mut inner.open)
        };
        if !dropped_by_stop && !self.env.control.is_evicting() {
            for id in open {
                self.withdraw(&id, None);
            }
        }
        self.reset_waits(&mut self.inner.lock());
    }

    /// A new try: what failed may be done again, what succeeded stays.
    pub(crate) fn next_attempt(&self) {
        let mut inner = self.inner.lock();
        inner.steps.retain(|_, step| step.result.is_ok());
        inner.unreplayed_steps.clear();
        inner.unreplayed_questions.clear();
        inner.emitted.clear();
        inner.withdrawn.clear();
        inner.asked.values_mut().for_each(|asked| asked.earlier_try = true);
        inner.hosts = false;
        inner.failed += 1;
        inner.live = true;
        self.reset_waits(&mut inner);
    }

    /// Forgets every running step and every wait.
    fn reset_waits(&self, inner: &mut Inner) {
        inner.running.clear();
        inner.scopes.clear();
        inner.scopes.push(Scope::default());
        inner.waiting = 0;
        inner.gated = 0;
        inner.working = 0;
        self.update_blocked(inner);
    }

    pub(crate) fn failed_attempts(&self) -> u32 {
        self.inner.lock().failed
    }

    pub(crate) fn forgiven_attempts(&self) -> u32 {
        self.inner.lock().forgiven
    }

    pub(crate) fn take_frame(&self) -> Option<Box<FrameProjection>> {
        self.inner.lock().frame.take()
    }

    /// A subgraph's frame as the journal has it, for its next try.
    pub(crate) fn restore_frame(&self, frame: Box<FrameProjection>) {
        self.inner.lock().frame = Some(frame);
    }

    // --- steps ------------------------------------------------------------------------------------------------

    fn begin_step(&self, number: u32, key: &Arc<str>, waker: &Waker) -> StepStart {
        let mut inner = self.inner.lock();
        if !inner.is_live(number) {
            return StepStart::Ended(NodeEnded::of(&self.task));
        }
        if let Some(step) = inner.steps.get(&**key).cloned() {
            inner.take_step(key);
            return StepStart::Replayed(step);
        }
        if inner.running.contains(key) {
            return StepStart::Duplicate;
        }
        inner.take_step(key);
        if inner.is_replaying() {
            inner.hold(key, waker);
            return StepStart::Held;
        }
        inner.running.insert(Arc::clone(key));
        inner.working += 1;
        let parent = self.scope(number, &inner);
        inner.scopes.push(Scope::of(parent, Arc::clone(key)));
        inner.last_activity = Some(Instant::now());
        // A sibling on another thread may wait for a person already.
        self.update_blocked(&mut inner);
        StepStart::Run(inner.scopes.len() - 1)
    }

    /// The scope of this try that is polled on this thread.
    fn scope(&self, number: u32, inner: &Inner) -> usize {
        let scope = current(std::ptr::from_ref(self) as usize, number);
        // A scope of before the last reset is none.
        if scope < inner.scopes.len() { scope } else { 0 }
    }

    /// How often a tool call was begun whose result is not known.
    pub(crate) fn call_attempts(&self, key: &str) -> u32 {
        let inner = self.inner.lock();
        if inner.steps.contains_key(key) { 0 } else { inner.call_attempts.get(key).copied().unwrap_or(0) }
    }

    /// Keeps what a stop must know of this task where no journal does; see [`RunContext::unfinished_records`].
    fn note_unfinished(&self, change: impl FnOnce(&mut TaskRecord)) {
        if let Some(ledger) = &self.env.unfinished_records
            && self.task.parent().is_none()
        {
            change(ledger.lock().entry(self.task.number()).or_default());
        }
    }

    /// The task has finished: a stop need not know of it any more.
    pub(crate) fn finished(&self) {
        if let Some(ledger) = &self.env.unfinished_records
            && self.task.parent().is_none()
        {
            ledger.lock().remove(&self.task.number());
        }
    }

    /// A step has its result or was dropped.
    fn end_step(&self, number: u32, key: &str, scope: usize) {
        let mut inner = self.inner.lock();
        if !inner.is_live(number) {
            return;
        }
        inner.running.remove(key);
        inner.last_activity = Some(Instant::now());
        if inner.scopes.get(scope).is_some_and(Scope::works) {
            inner.working = inner.working.saturating_sub(1);
        }
        self.update_blocked(&mut inner);
    }

    /// Whether something recorded was not asked for yet, so that something new must wait; keeps the waker then.
    pub(crate) fn must_hold(&self, key: &str, waker: &Waker) -> bool {
        let mut inner = self.inner.lock();
        if !inner.is_replaying() {
            return false;
        }
        inner.hold(key, waker);
        true
    }

    /// An update without what the steps of this task recorded word for word; see [`holes`].
    pub(crate) fn deduplicate(&self, whole: &RawValue) -> Option<(Raw, Vec<StepRef>)> {
        let inner = self.inner.lock();
        let steps = inner.steps.values().filter(|step| step.seq > Seq::ZERO);
        dedup::extract(whole, steps.filter_map(|step| Some((step.seq, &*step.result.as_ref().ok()?.json))))
    }

    /// What a replay asks for and what it should have asked for, when it cannot go on.
    pub(crate) fn mismatch(&self) -> Option<(Vec<String>, Vec<String>)> {
        let inner = self.inner.lock();
        if inner.held.is_empty() {
            return None;
        }
        Some((inner.unreplayed(), inner.held.iter().map(|(key, _)| key.clone()).collect()))
    }

    /// What was recorded and never asked for, when the node is done.
    pub(crate) fn unreplayed(&self) -> Vec<String> {
        self.inner.lock().unreplayed()
    }

    /// Blocked exactly when it waits for a person and does nothing else that is known of.
    fn update_blocked(&self, inner: &mut Inner) {
        let blocked = inner.waiting + inner.gated > 0 && inner.working == 0;
        if blocked != inner.blocked {
            inner.blocked = blocked;
            if let Some(slot) = &self.slot {
                slot.set_blocked(blocked, &self.task);
            }
            self.env.control.adjust_runnable(if blocked { -1 } else { 1 });
        }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.inner.lock().blocked
    }

    // --- signs of life, listening, what was shown -------------------------------------------------------------

    pub(crate) fn last_activity(&self) -> Option<Instant> {
        self.inner.lock().last_activity
    }

    /// Notes that the task wants to be told of a stop; `true` the first time.
    pub(crate) fn register_stop_listener(&self) -> bool {
        !std::mem::replace(&mut self.inner.lock().listens, true)
    }

    /// Notes whether tasks of a subgraph run inside this one: a stop then drops each of those that does not listen,
    /// instead of the subgraph as a whole.
    pub(crate) fn hosts_tasks(&self, hosts: bool) {
        self.inner.lock().hosts = hosts;
    }

    /// Whether a stop of the run leaves the task the grace time.
    pub(crate) fn has_grace(&self) -> bool {
        let inner = self.inner.lock();
        inner.listens || inner.hosts
    }
}

impl Drop for TaskReplay {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if inner.blocked {
            // Its place in the count goes back to whoever ends the task.
            self.env.control.adjust_runnable(1);
            if let Some(slot) = &self.slot {
                slot.set_blocked(false, &self.task);
            }
        }
        if inner.listens {
            self.env.control.listeners.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
        }
    }
}
