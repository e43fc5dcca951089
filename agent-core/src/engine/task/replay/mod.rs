//! Per-task replay state: recorded steps, questions and emitted events, plus suspension tracking.

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
        concurrency::ConcurrencySlot,
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
pub(crate) use questions::ReplayedQuestion;

/// Replay state of one task. Shared by its attempts.
pub(crate) struct TaskReplay {
    pub(crate) env: Arc<RunContext>,
    pub(crate) task: Arc<TaskId>,
    slot: Option<Arc<dyn ConcurrencySlot>>,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Whether an attempt is running. Steps and questions of an ended attempt have no effect.
    live: bool,
    steps: HashMap<String, StepRecord>,
    running: HashSet<Arc<str>>,
    /// What was recorded before a restart; `None` for most tasks.
    recorded: Option<Box<Recorded>>,
    /// Number of starts of tool calls without a result, by key.
    call_attempts: HashMap<String, u32>,
    asked: HashMap<QuestionId, Box<AskedQuestion>>,
    /// Questions of this attempt that are neither answered nor withdrawn.
    open: Vec<QuestionId>,
    frame: Option<Box<FrameProjection>>,
    scopes: Vec<Scope>,
    /// Questions that wait for an answer, in all scopes.
    waiting: u32,
    /// Calls that wait for a budget extension, in all scopes.
    gated: u32,
    /// Running steps that do not wait for an answer.
    working: u32,
    blocked: bool,
    last_activity: Option<Instant>,
    listens: bool,
    /// Tasks of a subgraph run inside this one.
    hosts: bool,
    failed: u32,
    /// Attempts that failed before the run failed and was resumed: they do not count against the retry policy.
    forgiven: u32,
}

/// What a task recorded before a restart, until it is requested again.
#[derive(Default)]
struct Recorded {
    /// Steps, with the step that contains each.
    steps: HashMap<String, Option<Arc<str>>>,
    /// Questions, with the step that contains each.
    questions: HashMap<QuestionId, Option<Arc<str>>>,
    /// Questions that the node withdrew.
    withdrawn: HashMap<QuestionId, VecDeque<WithdrawReason>>,
    /// Number of events and todo changes, by fingerprint.
    emitted: HashMap<u64, u32>,
    /// New steps that wait because recorded ones were not requested yet.
    held: Vec<(String, Waker)>,
}

impl Recorded {
    fn is_replaying(&self) -> bool {
        !(self.steps.is_empty() && self.questions.is_empty())
    }

    /// Returns the value in a box, unless it is empty.
    fn boxed(self) -> Option<Box<Self>> {
        let Self { steps, questions, withdrawn, emitted, held: _ } = &self;
        let is_empty = steps.is_empty() && questions.is_empty() && withdrawn.is_empty() && emitted.is_empty();
        (!is_empty).then(|| Box::new(self))
    }
}

impl Inner {
    fn hold(&mut self, key: &str, waker: &Waker) {
        let held = &mut self.recorded.get_or_insert_default().held;
        held.retain(|(held, _)| held != key);
        held.push((key.to_owned(), waker.clone()));
    }

    /// Returns whether events or todo changes were emitted before a restart.
    fn has_emitted(&self) -> bool {
        self.recorded.as_ref().is_some_and(|recorded| !recorded.emitted.is_empty())
    }

    /// Returns whether an event with this fingerprint was emitted before a restart, and consumes one.
    fn already_emitted(&mut self, fingerprint: u64) -> bool {
        match self.recorded.as_mut().and_then(|recorded| recorded.emitted.get_mut(&fingerprint)) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }

    fn unreplayed(&self) -> Vec<String> {
        let Some(recorded) = &self.recorded else { return Vec::new() };
        let mut left: Vec<String> = recorded.steps.keys().cloned().collect();
        left.extend(recorded.questions.keys().map(ToString::to_string));
        left.sort();
        left
    }

    /// Returns whether something recorded before a restart was not requested again yet.
    fn is_replaying(&self) -> bool {
        self.recorded.as_ref().is_some_and(|recorded| recorded.is_replaying())
    }

    /// Marks the step `key` and everything recorded inside it as requested. With a record the step is not entered again;
    /// without one it runs again and may take another path.
    fn take_step(&mut self, key: &str) {
        let Some(recorded) = self.recorded.as_mut().filter(|recorded| recorded.is_replaying()) else {
            return;
        };
        recorded.steps.remove(key);
        let mut inside = vec![Arc::<str>::from(key)];
        while let Some(step) = inside.pop() {
            let of = |made: &Option<Arc<str>>| made.as_deref() == Some(&*step);
            recorded.questions.retain(|_, made| !of(made));
            recorded.steps.retain(|key, made| {
                let taken = of(made);
                if taken {
                    inside.push(key.as_str().into());
                }
                !taken
            });
        }
        self.release_held();
    }

    /// Wakes held steps once everything recorded was requested.
    fn release_held(&mut self) {
        if !self.is_replaying() {
            self.wake_held();
        }
    }

    fn wake_held(&mut self) {
        for (_, waker) in self.recorded.iter_mut().flat_map(|recorded| recorded.held.drain(..)) {
            waker.wake();
        }
    }

    /// Returns whether this attempt is running; 0 is the present one.
    const fn is_live(&self, number: u32) -> bool {
        self.live && (number == 0 || number == self.failed + 1)
    }
}

/// Outcome of starting a step.
pub(crate) enum StepStart {
    Replayed(StepRecord),
    /// The step runs in the scope with this number.
    Run(usize),
    /// Recorded steps must be requested first.
    Held,
    /// A step with the same key is running in this task.
    Duplicate,
    /// The step is not in the recording that is being replayed.
    Unrecorded,
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
        let restored = |(id, asked)| (id, Box::new(AskedQuestion::restored(asked)));
        let asked: HashMap<QuestionId, Box<AskedQuestion>> = record.asked.into_iter().map(restored).collect();
        let mut recorded =
            Recorded { withdrawn: record.withdrawn, emitted: record.emitted, ..Recorded::default() };
        // After a failed try the node may go another way; within one try it may not.
        if record.failed == 0 {
            let steps = record.steps.iter().map(|(key, step)| (key.clone(), step.inside.clone()));
            recorded.steps.extend(steps);
            recorded.questions.extend(asked.iter().map(|(id, asked)| (id.clone(), asked.step.clone())));
        }
        let inner = Inner {
            live: true,
            steps: record.steps,
            running: HashSet::new(),
            recorded: recorded.boxed(),
            call_attempts: record.call_attempts,
            asked,
            open: Vec::new(),
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

    /// Ends the attempt: code that the node left running has no further effect, and open questions are withdrawn.
    ///
    /// An attempt that was dropped by a stop keeps its questions, as an evicted run does.
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

    /// Starts a new attempt: failed steps run again, successful ones are kept.
    pub(crate) fn next_attempt(&self) {
        let mut inner = self.inner.lock();
        inner.steps.retain(|_, step| step.result.is_ok());
        inner.wake_held();
        inner.recorded = None;
        inner.asked.values_mut().for_each(|asked| asked.earlier_try = true);
        inner.hosts = false;
        inner.failed += 1;
        inner.live = true;
        self.reset_waits(&mut inner);
    }

    /// Resets the suspension state.
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

    /// Sets the frame of a subgraph, as folded from the journal, for the next attempt.
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
        if let Some(replay) = &self.env.replay {
            replay.unrecorded(&self.task, key);
            return StepStart::Unrecorded;
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

    /// Returns the scope of this attempt that is polled on this thread.
    fn scope(&self, number: u32, inner: &Inner) -> usize {
        let scope = current(std::ptr::from_ref(self) as usize, number);
        // Scopes from before the last reset are invalid.
        if scope < inner.scopes.len() { scope } else { 0 }
    }

    /// Returns whether a step was recorded under this key.
    pub(crate) fn has_step(&self, key: &str) -> bool {
        self.inner.lock().steps.contains_key(key)
    }

    /// Returns whether any step was recorded.
    pub(crate) fn has_any_step(&self) -> bool {
        !self.inner.lock().steps.is_empty()
    }

    /// Returns how often a tool call was started without a recorded result.
    pub(crate) fn call_attempts(&self, key: &str) -> u32 {
        let inner = self.inner.lock();
        if inner.steps.contains_key(key) { 0 } else { inner.call_attempts.get(key).copied().unwrap_or(0) }
    }

    /// Updates the record of this task for a stop, if no journal keeps it; see [`RunContext::unfinished_records`].
    fn note_unfinished(&self, change: impl FnOnce(&mut TaskRecord)) {
        if let Some(ledger) = &self.env.unfinished_records
            && self.task.parent().is_none()
        {
            change(ledger.lock().entry(self.task.number()).or_default());
        }
    }

    /// Removes the record of this task, which has finished.
    pub(crate) fn finished(&self) {
        if let Some(ledger) = &self.env.unfinished_records
            && self.task.parent().is_none()
        {
            ledger.lock().remove(&self.task.number());
        }
    }

    /// Ends a step that has its result or was dropped.
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

    /// Returns whether a new step must wait because recorded ones were not requested yet; registers the waker then.
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

    /// Returns what a replay that cannot proceed should have requested, and what it requested.
    pub(crate) fn mismatch(&self) -> Option<(Vec<String>, Vec<String>)> {
        let inner = self.inner.lock();
        let held = &inner.recorded.as_ref().filter(|recorded| !recorded.held.is_empty())?.held;
        Some((inner.unreplayed(), held.iter().map(|(key, _)| key.clone()).collect()))
    }

    /// Returns what was recorded and not requested again.
    pub(crate) fn unreplayed(&self) -> Vec<String> {
        self.inner.lock().unreplayed()
    }

    /// Updates whether the task is suspended: it waits for an answer and has no running step that does not.
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

    // --- activity and cancellation ----------------------------------------------------------------------------

    pub(crate) fn last_activity(&self) -> Option<Instant> {
        self.inner.lock().last_activity
    }

    /// Registers the task as a listener for cancellation. Returns `true` the first time.
    pub(crate) fn register_stop_listener(&self) -> bool {
        !std::mem::replace(&mut self.inner.lock().listens, true)
    }

    /// Sets whether tasks of a subgraph run inside this one: a stop then drops those that do not listen, in place of the
    /// whole subgraph.
    pub(crate) fn hosts_tasks(&self, hosts: bool) {
        self.inner.lock().hosts = hosts;
    }

    /// Returns whether the task gets the grace period at a stop.
    pub(crate) fn has_grace(&self) -> bool {
        let inner = self.inner.lock();
        inner.listens || inner.hosts
    }
}

impl Drop for TaskReplay {
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        if inner.blocked {
            // The task counts as runnable again until its end is recorded.
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
