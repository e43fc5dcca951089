//! Questions of a task: replay of answers, withdrawal and suspension.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Poll, Waker},
};

use serde_json::Value;

use super::{Inner, TaskReplay};
use crate::{
    ids::QuestionId,
    interrupt::{AnswerWaiter, OpenQuestion, QuestionFingerprint, key_of},
    journal::{
        entry::{Fact, WithdrawReason, Withdrawn},
        keys,
        projection::QuestionRecord,
    },
};

/// A question that was asked.
pub(super) struct AskedQuestion {
    /// `None` if the journal has no entry of it.
    pub(super) shown: Option<QuestionFingerprint>,
    /// The step that asked.
    pub(super) step: Option<Arc<str>>,
    pub(super) answer: Option<Value>,
    /// The attempt that asked failed: the present one may ask something else under the same key.
    pub(super) earlier_try: bool,
    /// The key that the author or the engine gave it.
    key: Option<String>,
}

impl AskedQuestion {
    pub(super) fn restored(record: QuestionRecord) -> Self {
        let QuestionRecord { open, answer, earlier_try } = record;
        let Some(open) = open else {
            return Self { shown: None, step: None, answer, earlier_try, key: None };
        };
        // Older versions noted the step of a tool call in the key only.
        let call = key_of(&open.id, &open.task).and_then(keys::asking_call);
        let step = open.step.clone().or_else(|| call.map(|call| format!("tool:{call}").into()));
        let shown = Some(QuestionFingerprint::before(&open));
        Self { shown, step, answer, earlier_try, key: open.question.key }
    }

    pub(super) fn new(shown: QuestionFingerprint, open: &OpenQuestion) -> Self {
        let (step, key) = (open.step.clone(), open.question.key.clone());
        Self { shown: Some(shown), step, answer: None, earlier_try: false, key }
    }
}

/// Recorded state of a question.
pub(crate) enum ReplayedQuestion {
    New,
    /// Another question was asked under this key, which may change: its answer does not apply.
    Replaced,
    Answer(Value),
    /// Another question was asked under this key; its text.
    Changed(String),
}

impl TaskReplay {
    /// The id of the question that the author asks under `key`.
    pub(super) fn id_of_key(&self, key: &str) -> QuestionId {
        let stored = keys::question(key);
        if stored != key && !keys::asks_for_engine(key) {
            // Older versions stored such keys as they are.
            let older = QuestionId::new(&self.task, key);
            if self.inner.lock().asked.get(&older).is_some_and(|asked| asked.key.as_deref() == Some(key)) {
                return older;
            }
        }
        QuestionId::new(&self.task, &stored)
    }

    /// The id of the next question without a key.
    pub(super) fn next_id(&self, number: u32) -> QuestionId {
        let mut inner = self.inner.lock();
        let scope = self.scope(number, &inner);
        let scope = &mut inner.scopes[scope];
        let numbers = scope.numbers();
        numbers.questions += 1;
        let n = numbers.questions;
        let id = QuestionId::new(&self.task, &keys::unnamed_question(scope.step.as_deref(), n));
        // A journal of an older version may have an author's key of this form.
        if inner.asked.get(&id).is_some_and(|asked| asked.key.is_some()) {
            return QuestionId::new(&self.task, &keys::unnamed_question(Some(""), n));
        }
        id
    }

    /// Returns the recorded state of the question with this id, and records that the question is asked again. `may_change`: a
    /// question that has changed is asked anew.
    pub(crate) fn replay_question(
        &self,
        id: &QuestionId,
        now: &QuestionFingerprint,
        may_change: bool,
    ) -> ReplayedQuestion {
        let mut inner = self.inner.lock();
        if let Some(recorded) = &mut inner.recorded {
            recorded.questions.remove(id);
        }
        inner.release_held();
        let Some(asked) = inner.asked.get(id) else { return ReplayedQuestion::New };
        match &asked.shown {
            Some(before) if !before.is(now) => {
                if may_change || asked.earlier_try {
                    inner.asked.remove(id);
                    return ReplayedQuestion::Replaced;
                }
                ReplayedQuestion::Changed(before.text.clone())
            }
            _ => asked.answer.clone().map_or(ReplayedQuestion::New, ReplayedQuestion::Answer),
        }
    }

    /// Returns the answer that another future of this task received.
    pub(crate) fn known_answer(&self, id: &QuestionId) -> Option<Value> {
        self.inner.lock().asked.get(id)?.answer.clone()
    }

    /// Returns why the node withdrew this question before a restart, and consumes one withdrawal.
    pub(crate) fn was_withdrawn(&self, id: &QuestionId) -> Option<WithdrawReason> {
        let mut inner = self.inner.lock();
        inner.recorded.as_mut()?.withdrawn.get_mut(id).and_then(VecDeque::pop_front)
    }

    pub(crate) fn store_answer(&self, id: &QuestionId, answer: Value) {
        let mut inner = self.inner.lock();
        inner.open.retain(|open| open != id);
        if let Some(asked) = inner.asked.get_mut(id) {
            asked.answer = Some(answer);
        }
    }

    /// Withdraws a question; `false` when it is answered, or was withdrawn before.
    pub(crate) fn withdraw(&self, id: &QuestionId, own: Option<WithdrawReason>) -> bool {
        if !self.env.pending_questions.withdraw(id) {
            return false;
        }
        {
            let mut inner = self.inner.lock();
            inner.asked.remove(id);
            inner.open.retain(|open| open != id);
        }
        let fact = Withdrawn { id: id.clone(), task: Arc::clone(&self.task), own };
        if let Err(error) = self.env.append([Fact::QuestionWithdrawn(fact)]) {
            tracing::debug!(question = %id, %error, "a withdrawn question could not be noted");
        }
        true
    }

    /// Ready when the task, which no longer waits, is within the concurrency limits.
    pub(crate) fn poll_slot(&self, waker: &Waker) -> Poll<()> {
        match &self.slot {
            Some(slot) if !self.is_blocked() => slot.poll_slot(&self.task, waker),
            _ => Poll::Ready(()),
        }
    }

    /// Returns whether the task waits for an answer, or for a slot afterwards.
    pub(crate) fn is_suspended(&self) -> bool {
        self.is_blocked() || self.poll_slot(Waker::noop()).is_pending()
    }

    /// Returns whether any part of the task waits for an answer, or for a slot afterwards.
    pub(crate) fn is_partly_suspended(&self) -> bool {
        let waits = {
            let inner = self.inner.lock();
            inner.waiting + inner.gated > 0
        };
        waits || self.poll_slot(Waker::noop()).is_pending()
    }

    /// Suspends the task before its first attempt.
    pub(crate) fn suspend_before_attempt(&self) {
        let mut inner = self.inner.lock();
        inner.waiting += 1;
        self.update_blocked(&mut inner);
    }

    /// Marks a question as waiting in this scope and the scopes around it.
    pub(super) fn suspend_in(&self, inner: &mut Inner, scope: usize) {
        let mut at = scope;
        while at != 0 {
            if inner.scopes[at].works() {
                inner.working = inner.working.saturating_sub(1);
            }
            inner.scopes[at].waiting += 1;
            at = inner.scopes[at].parent;
        }
        inner.waiting += 1;
        self.update_blocked(inner);
    }

    /// Marks a question as no longer waiting, before it was answered.
    pub(super) fn cancel_suspend(&self, number: u32, scope: usize) {
        let mut inner = self.inner.lock();
        if inner.waiting == 0 || !inner.is_live(number) {
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
        self.update_blocked(&mut inner);
    }

    /// Marks a call in this scope as waiting for a budget extension, or not.
    pub(super) fn set_budget_wait(&self, number: u32, scope: usize, waits: bool) {
        let mut inner = self.inner.lock();
        if !inner.is_live(number) {
            return;
        }
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
        self.update_blocked(&mut inner);
    }
}

impl AnswerWaiter for TaskReplay {
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
        self.update_blocked(&mut inner);
    }
}
