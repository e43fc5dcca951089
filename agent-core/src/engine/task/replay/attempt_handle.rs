//! Handle of one attempt of a task. Refuses every operation once the attempt has ended.

use std::{ops::Deref, sync::Arc, task::Waker};

use tokio::time::Instant;

use super::{Inner, StepStart, TaskReplay, questions::AskedQuestion};
use crate::{
    engine::{RunError, budget::BudgetWaiter},
    graph::{NodeError, Result},
    ids::{QuestionId, Seq},
    interrupt::{AnswerWaiter, OpenQuestion, QuestionFingerprint},
    journal::{
        entry::{Fact, Recorded},
        keys,
        projection::{StepFailure, StepRecord},
    },
    json::Stored,
    run::NodeEnded,
};

/// Handle of one attempt of a task.
#[derive(Clone)]
pub(crate) struct AttemptHandle {
    replay: Arc<TaskReplay>,
    number: u32,
}

impl Deref for AttemptHandle {
    type Target = TaskReplay;

    fn deref(&self) -> &TaskReplay {
        &self.replay
    }
}

impl TaskReplay {
    /// Runs `act` while the attempt cannot end. `attempt`: 0 is the present one.
    fn while_live<T>(&self, attempt: u32, act: impl FnOnce(&mut Inner) -> T) -> Result<T, NodeEnded> {
        let mut inner = self.inner.lock();
        if inner.is_live(attempt) { Ok(act(&mut inner)) } else { Err(NodeEnded::of(&self.task)) }
    }

    /// Records activity for the idle timeout.
    pub(crate) fn touch(&self, attempt: u32) -> Result<(), NodeEnded> {
        self.while_live(attempt, |inner| inner.last_activity = Some(Instant::now()))
    }

    /// Appends facts without waiting. `make` creates them while the attempt cannot end.
    fn push<E: From<NodeEnded>, F: IntoIterator<Item = Fact>>(
        &self,
        attempt: u32,
        make: impl FnOnce(&mut Inner) -> Result<Option<F>, E>,
    ) -> Result<Result<Seq, RunError>, E> {
        let pushed = self.while_live(attempt, |inner| {
            Ok(match make(inner)? {
                Some(facts) => self.env.append_uncommitted(facts),
                None => Ok(Seq::ZERO),
            })
        })?;
        // The flush may run on this thread, so the lock is released first.
        if matches!(pushed, Ok(Ok(seq)) if seq > Seq::ZERO) {
            self.env.flush_soon();
        }
        pushed
    }

    /// Appends the facts that `make` creates of `content`, unless they were appended before a restart. The fingerprint is
    /// computed only for an attempt that is replayed.
    pub(crate) fn emit_once<C, E: From<NodeEnded>, F: IntoIterator<Item = Fact>>(
        &self,
        attempt: u32,
        content: C,
        fingerprint: impl FnOnce(&C) -> u64,
        make: impl FnOnce(C) -> Result<Option<F>, E>,
    ) -> Result<Result<(), RunError>, E> {
        let pushed = self.push(attempt, |inner| {
            inner.last_activity = Some(Instant::now());
            if inner.has_emitted() && inner.already_emitted(fingerprint(&content)) {
                return Ok(None);
            }
            make(content)
        })?;
        Ok(pushed.map(drop))
    }
}

impl AttemptHandle {
    pub(crate) const fn new(replay: Arc<TaskReplay>, number: u32) -> Self {
        Self { replay, number }
    }

    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// Identifies the replay among those that exist.
    pub(in crate::engine) fn address(&self) -> usize {
        Arc::as_ptr(&self.replay) as usize
    }

    pub(crate) fn waiter(&self) -> Arc<dyn AnswerWaiter> {
        Arc::clone(&self.replay) as _
    }

    fn ended(&self) -> NodeEnded {
        NodeEnded::of(&self.task)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.inner.lock().is_live(self.number)
    }

    pub(crate) fn check_live(&self) -> Result<(), NodeEnded> {
        if self.is_live() { Ok(()) } else { Err(self.ended()) }
    }

    /// Runs `act` while the attempt cannot end.
    fn while_live<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> Result<T, NodeEnded> {
        self.replay.while_live(self.number, act)
    }

    /// As [`TaskReplay::emit_once`].
    pub(crate) fn emit_once<C, E: From<NodeEnded>, F: IntoIterator<Item = Fact>>(
        &self,
        content: C,
        fingerprint: impl FnOnce(&C) -> u64,
        make: impl FnOnce(C) -> Result<Option<F>, E>,
    ) -> Result<Result<(), RunError>, E> {
        self.replay.emit_once(self.number, content, fingerprint, make)
    }

    /// Appends a fact and waits until it is stored, unless the durability is `Exit`.
    pub(crate) async fn record(&self, fact: Fact) -> Result<()> {
        let seq = self.replay.push::<NodeError, _>(self.number, |_| Ok(Some([fact])))??;
        Ok(self.env.wait_recorded(seq).await?)
    }

    // --- steps ------------------------------------------------------------------------------------------------

    pub(crate) fn begin_step(&self, key: &Arc<str>, waker: &Waker) -> StepStart {
        self.replay.begin_step(self.number, key, waker)
    }

    /// Records the result of a step. From then on it is replayed, whether its entry is stored yet or not.
    pub(crate) fn record_step(
        &self,
        key: &str,
        scope: usize,
        result: Result<Stored, StepFailure>,
        record: Option<Recorded>,
    ) -> Result<Seq> {
        self.while_live(|inner| {
            let parent = inner.scopes.get(scope).map_or(0, |scope| scope.parent);
            let inside = inner.scopes.get(parent).and_then(|scope| scope.step.clone());
            let seq = match record {
                Some(mut record) => {
                    record.step.clone_from(&inside);
                    self.env.append_uncommitted([Fact::StepRecorded(Box::new(record))])?
                }
                None => Seq::ZERO,
            };
            let step = StepRecord { result, seq, inside };
            self.note_unfinished(|record| {
                record.call_attempts.remove(key);
                record.steps.insert(key.to_owned(), step.clone());
            });
            inner.call_attempts.remove(key);
            inner.steps.insert(key.to_owned(), step);
            Ok(seq)
        })?
    }

    pub(crate) fn end_step(&self, key: &str, scope: usize) {
        self.replay.end_step(self.number, key, scope);
    }

    /// Marks the start of a tool call that must not be repeated.
    pub(crate) fn mark_call_started(&self, key: &str) -> Result<(), NodeEnded> {
        self.while_live(|inner| {
            *inner.call_attempts.entry(key.to_owned()).or_default() += 1;
            self.note_unfinished(|record| *record.call_attempts.entry(key.to_owned()).or_default() += 1);
        })
    }

    /// Marks a tool call as waiting for an answer: if it is interrupted now, it may be repeated.
    pub(crate) fn mark_call_suspended(&self, key: &str) -> Result<(), NodeEnded> {
        self.while_live(|inner| {
            inner.call_attempts.remove(key);
            self.note_unfinished(|record| {
                record.call_attempts.remove(key);
            });
        })
    }

    /// Counts as a running step until the guard is dropped. Calls that are started in the meantime may already wait for an answer
    /// on another thread, and the task must not be suspended before all of them are started.
    pub(crate) fn hold(&self) -> Result<HoldGuard, NodeEnded> {
        self.while_live(|inner| {
            inner.working += 1;
            self.update_blocked(inner);
        })?;
        Ok(HoldGuard(self.clone()))
    }

    pub(crate) fn next_model_key(&self) -> String {
        let mut inner = self.inner.lock();
        let scope = self.scope(self.number, &inner);
        let scope = &mut inner.scopes[scope];
        let numbers = scope.numbers();
        numbers.models += 1;
        let n = numbers.models;
        keys::unnamed_model(scope.step.as_deref(), n)
    }

    /// Returns the key of the next timer.
    pub(crate) fn next_timer_key(&self) -> String {
        let mut inner = self.inner.lock();
        let scope = self.scope(self.number, &inner);
        let scope = &mut inner.scopes[scope];
        let numbers = scope.numbers();
        numbers.timers += 1;
        let n = numbers.timers;
        keys::timer(scope.step.as_deref(), n)
    }

    /// Returns a unique name for a tool call in this attempt: its id, with a number if the id was used before.
    pub(crate) fn next_call_name(&self, id: &str) -> String {
        let mut inner = self.inner.lock();
        let scope = self.scope(self.number, &inner);
        let scope = &mut inner.scopes[scope];
        let step = scope.step.clone();
        keys::next_call(&mut scope.numbers().calls, step.as_deref(), id)
    }

    // --- questions --------------------------------------------------------------------------------------------

    /// Returns the id of a question: from its key, or by the order of asking.
    pub(crate) fn question_id(&self, key: Option<&str>) -> QuestionId {
        match key {
            Some(key) => self.id_of_key(key),
            None => self.next_id(self.number),
        }
    }

    /// Returns the scope that is polled on this thread; 0 outside of every step.
    pub(in crate::engine) fn current_scope(&self) -> usize {
        self.scope(self.number, &self.inner.lock())
    }

    /// The step that is polled on this thread.
    pub(crate) fn current_step(&self) -> Option<Arc<str>> {
        let inner = self.inner.lock();
        inner.scopes[self.scope(self.number, &inner)].step.clone()
    }

    /// Suspends the scope that is polled on this thread.
    pub(crate) fn suspend(&self, scope: &mut usize) -> Result<(), NodeEnded> {
        self.while_live(|inner| {
            *scope = self.scope(self.number, inner);
            self.suspend_in(inner, *scope);
        })
    }

    pub(crate) fn cancel_suspend(&self, scope: usize) {
        self.replay.cancel_suspend(self.number, scope);
    }

    /// Appends a pending question to the journal, if it is new.
    pub(crate) fn append_question(
        &self,
        shown: QuestionFingerprint,
        open: OpenQuestion,
        is_new: bool,
    ) -> Result<()> {
        self.replay.push::<NodeError, _>(self.number, |inner| {
            inner.asked.entry(open.id.clone()).or_insert_with(|| Box::new(AskedQuestion::new(shown, &open)));
            inner.open.push(open.id.clone());
            Ok(is_new.then(|| [Fact::QuestionAsked(Box::new(open))]))
        })??;
        Ok(())
    }
}

/// Work that is counted; see [`AttemptHandle::hold`].
pub(crate) struct HoldGuard(AttemptHandle);

impl Drop for HoldGuard {
    fn drop(&mut self) {
        let Self(of) = self;
        // The count of an ended attempt was reset with it.
        let ended = of.while_live(|inner| {
            inner.working = inner.working.saturating_sub(1);
            of.update_blocked(inner);
        });
        drop(ended);
    }
}

/// A call of a task that waits for a budget extension.
pub(crate) struct BudgetCall {
    pub(crate) of: AttemptHandle,
    pub(crate) scope: usize,
}

impl BudgetWaiter for BudgetCall {
    fn set_waiting(&self, waits: bool) {
        self.of.set_budget_wait(self.of.number, self.scope, waits);
    }
}
