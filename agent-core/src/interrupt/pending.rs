//! Pending questions of one session: which task waits for which answer, and which of two racing answers wins.

use std::{
    sync::{Arc, Weak},
    task::{Poll, Waker},
};

use parking_lot::Mutex;
use serde_json::Value;

use super::{AnswerError, Answers, OpenQuestion, answer};
use crate::{
    ids::{QuestionId, TaskId},
    util::push_first,
};

/// Number of answered questions that are remembered, so that a late answer reports who answered first.
const REMEMBERED: usize = 256;

/// A task that waits for answers. Notified before its wakers, so that the run is never seen without work in between.
pub(crate) trait AnswerWaiter: Send + Sync {
    /// All open questions of the task have their answers.
    fn answered(&self);
}

/// Pending questions of one session.
#[derive(Default)]
pub(crate) struct PendingQuestions(Mutex<Inner>);

/// Lists and not maps, which reserve room for several: a suspended run has one question in most cases.
#[derive(Default)]
struct Inner {
    asked: Asked,
    tasks: Vec<TaskWait>,
    answered: Vec<(QuestionId, String)>,
}

/// Questions in the order of their ids.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "an insertion moves pointers, and not questions")]
struct Asked(Vec<Box<Pending>>);

struct Pending {
    open: Arc<OpenQuestion>,
    /// Author of the answer, which is being stored, or is stored and waits for the other questions of the task.
    claimed_by: Option<String>,
    answer: Option<Value>,
    /// The task had all its answers at some time since: this one may be fetched, whatever the task asks in the meantime.
    free: bool,
}

struct TaskWait {
    task: Arc<TaskId>,
    /// Not owned: a waiting task holds its run, which holds this board and the store. An executor that ends drops the
    /// tasks and must find no cycle.
    waiter: Weak<dyn AnswerWaiter>,
    wakers: Vec<Waker>,
}

impl Asked {
    fn place(&self, id: &QuestionId) -> Result<usize, usize> {
        self.0.binary_search_by(|asked| asked.open.id.cmp(id))
    }

    fn get(&self, id: &QuestionId) -> Option<&Pending> {
        self.place(id).ok().map(|at| &*self.0[at])
    }

    fn get_mut(&mut self, id: &QuestionId) -> Option<&mut Pending> {
        self.place(id).ok().map(|at| &mut *self.0[at])
    }

    /// Adds a question, or replaces the one with its id.
    fn insert(&mut self, open: OpenQuestion) {
        let pending = Pending { open: Arc::new(open), claimed_by: None, answer: None, free: false };
        match self.place(&pending.open.id) {
            Ok(at) => *self.0[at] = pending,
            Err(at) => {
                if self.0.capacity() == 0 {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, Box::new(pending));
            }
        }
    }

    fn remove(&mut self, id: &QuestionId) -> Option<Box<Pending>> {
        self.place(id).ok().map(|at| self.0.remove(at))
    }

    fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.0.iter().map(|asked| &**asked)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.0.iter_mut().map(|asked| &mut **asked)
    }
}

impl Inner {
    /// Questions of `task` without an answer.
    fn unanswered(&self, task: &TaskId) -> usize {
        self.asked.iter().filter(|asked| *asked.open.task == *task && asked.answer.is_none()).count()
    }

    /// Returns an open question that has no answer on its way.
    fn unclaimed(&self, id: &QuestionId) -> Result<&Arc<OpenQuestion>, AnswerError> {
        let answered = match self.asked.get(id) {
            Some(asked) if asked.claimed_by.is_none() => return Ok(&asked.open),
            Some(asked) => asked.claimed_by.as_ref(),
            None => self.answered.iter().find(|(known, _)| known == id).map(|(_, by)| by),
        };
        Err(match answered {
            Some(by) => AnswerError::AlreadyAnswered { question: id.clone(), by: by.clone() },
            None => self.unknown(id),
        })
    }

    fn unknown(&self, id: &QuestionId) -> AnswerError {
        AnswerError::Unknown { question: crate::util::shorten(&id.0, 160), open: self.ids() }
    }

    fn ids(&self) -> Vec<String> {
        self.asked.iter().filter(|a| a.claimed_by.is_none()).map(|a| a.open.id.to_string()).collect()
    }

    /// Ids of the open questions that are not timers.
    fn ids_for_people(&self) -> Vec<String> {
        let open = self.asked.iter().filter(|a| a.claimed_by.is_none() && !a.open.question.timer);
        open.map(|a| a.open.id.to_string()).collect()
    }

    /// Resumes `task` if it has all its answers.
    fn wake_if_answered(&mut self, task: &Arc<TaskId>) {
        if self.unanswered(task) > 0 {
            return;
        }
        for asked in self.asked.iter_mut().filter(|asked| *asked.open.task == **task) {
            asked.free = asked.answer.is_some();
        }
        if let Some(wait) = self.tasks.iter_mut().find(|wait| wait.is_of(task)) {
            if let Some(waiter) = wait.waiter.upgrade() {
                waiter.answered();
            }
            for waker in wait.wakers.drain(..) {
                waker.wake();
            }
        }
    }
}

impl TaskWait {
    fn is_of(&self, task: &Arc<TaskId>) -> bool {
        Arc::ptr_eq(&self.task, task) || self.task == *task
    }
}

impl PendingQuestions {
    /// Adds a question. `false`: it was there already (asked before a restart).
    ///
    /// `begins` is called before the question is visible, so that an answer, however fast, finds the task waiting.
    ///
    /// # Errors
    ///
    /// That of `begins`; nothing is added then.
    pub(crate) fn add<E>(
        &self,
        open: OpenQuestion,
        waiter: &Arc<dyn AnswerWaiter>,
        begins: impl FnOnce() -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut inner = self.0.lock();
        begins()?;
        inner.wait_of(&open.task, waiter);
        if inner.asked.get(&open.id).is_some() {
            // It may have got its answer before the task asked again.
            let task = Arc::clone(&open.task);
            inner.wake_if_answered(&task);
            return Ok(false);
        }
        inner.asked.insert(open);
        Ok(true)
    }

    /// Removes a question because another one is asked under its id.
    pub(crate) fn forget(&self, id: &QuestionId) {
        self.0.lock().asked.remove(id);
    }

    /// The answer, once every question of its task has one. Keeps the waker otherwise.
    pub(crate) fn poll_answer(
        &self,
        id: &QuestionId,
        task: &Arc<TaskId>,
        waiter: &Arc<dyn AnswerWaiter>,
        waker: &Waker,
    ) -> Poll<Option<Value>> {
        let mut inner = self.0.lock();
        let free = inner.asked.get(id).is_some_and(|asked| asked.free);
        if !free && inner.unanswered(task) > 0 {
            Self::register(&mut inner, task, waiter, waker);
            return Poll::Pending;
        }
        // `None`: the question was withdrawn while the task waited, because its run was abandoned.
        let answer = inner.asked.remove(id).and_then(|asked| asked.answer);
        if !inner.asked.iter().any(|asked| *asked.open.task == **task) {
            inner.tasks.retain(|wait| !wait.is_of(task));
            if inner.tasks.is_empty() {
                inner.tasks = Vec::new();
            }
        }
        Poll::Ready(answer)
    }

    /// Returns the earliest deadline of an open question of a task, in milliseconds since 1970.
    pub(crate) fn first_due(&self, task: &TaskId) -> Option<i64> {
        let inner = self.0.lock();
        let open = inner.asked.iter().filter(|asked| *asked.open.task == *task && asked.answer.is_none());
        open.filter_map(|asked| asked.open.due()).min()
    }

    /// Ready when `task` has no question without an answer. `begins` is called when it first has to wait.
    pub(crate) fn poll_task(
        &self,
        task: &Arc<TaskId>,
        waiter: &Arc<dyn AnswerWaiter>,
        waker: &Waker,
        begins: impl FnOnce(),
    ) -> Poll<()> {
        let mut inner = self.0.lock();
        if inner.unanswered(task) == 0 {
            return Poll::Ready(());
        }
        if !inner.tasks.iter().any(|wait| wait.is_of(task)) {
            begins();
        }
        Self::register(&mut inner, task, waiter, waker);
        Poll::Pending
    }

    fn register(inner: &mut Inner, task: &Arc<TaskId>, waiter: &Arc<dyn AnswerWaiter>, waker: &Waker) {
        let wait = inner.wait_of(task, waiter);
        if !wait.wakers.iter().any(|known| known.will_wake(waker)) {
            // The first poll of a run is without a waker.
            wait.wakers.retain(|known| !known.will_wake(Waker::noop()));
            push_first(&mut wait.wakers, waker.clone());
        }
    }

    /// Returns the open questions that `answers` name, with their answers. Nothing is claimed yet.
    pub(crate) fn resolve(&self, answers: Answers) -> Result<Vec<(Arc<OpenQuestion>, Value)>, AnswerError> {
        let inner = self.0.lock();
        let answers: Vec<(QuestionId, Value)> = match answers {
            Answers::Only(value) => {
                let open = inner.ids_for_people();
                match open.as_slice() {
                    [] => return Err(AnswerError::NothingAsked),
                    [only] => vec![(QuestionId::from(only.as_str()), value)],
                    _ => return Err(AnswerError::Ambiguous { open }),
                }
            }
            Answers::Each(answers) => answers.into_iter().collect(),
        };
        if answers.is_empty() {
            return Err(AnswerError::NothingAsked);
        }
        let named = answers.into_iter().map(|(id, mut value)| {
            let open = Arc::clone(inner.unclaimed(&id)?);
            answer::name_option(&open.question, &mut value);
            Ok((open, value))
        });
        named.collect()
    }

    /// Claims the questions of [resolved](PendingQuestions::resolve) answers that were checked, all or none. Claimed
    /// questions must be [delivered](PendingQuestions::deliver) or [released](PendingQuestions::release).
    ///
    /// # Errors
    ///
    /// A question was answered or withdrawn since, or another one is asked under its id.
    pub(crate) fn claim(
        &self,
        answers: Vec<(Arc<OpenQuestion>, Value)>,
        by: &str,
    ) -> Result<Vec<(QuestionId, Value)>, AnswerError> {
        let mut inner = self.0.lock();
        for (checked, _) in &answers {
            let open = inner.unclaimed(&checked.id)?;
            if (&open.fingerprint, open.asked_at) != (&checked.fingerprint, checked.asked_at) {
                return Err(inner.unknown(&checked.id));
            }
        }
        let claimed = answers.into_iter().map(|(question, value)| {
            if let Some(pending) = inner.asked.get_mut(&question.id) {
                pending.claimed_by = Some(by.to_owned());
            }
            (question.id.clone(), value)
        });
        Ok(claimed.collect())
    }

    /// Returns whether a task has all its answers once the claimed ones are delivered.
    pub(crate) fn completes_a_task(&self, claimed: &[(QuestionId, Value)]) -> bool {
        let inner = self.0.lock();
        claimed.iter().filter_map(|(id, _)| inner.asked.get(id)).any(|answered| {
            let mut questions = inner.asked.iter().filter(|asked| asked.open.task == answered.open.task);
            questions.all(|asked| asked.answer.is_some() || asked.claimed_by.is_some())
        })
    }

    /// Delivers stored answers. Tasks that have all their answers resume.
    pub(crate) fn deliver(&self, answers: Vec<(QuestionId, Value)>, by: &str) {
        let mut inner = self.0.lock();
        let mut tasks = Vec::new();
        for (id, value) in answers {
            inner.remember(id.clone(), by.to_owned());
            if let Some(asked) = inner.asked.get_mut(&id) {
                asked.answer = Some(value);
                asked.claimed_by = Some(by.to_owned());
                if !tasks.contains(&asked.open.task) {
                    tasks.push(Arc::clone(&asked.open.task));
                }
            }
        }
        for task in tasks {
            inner.wake_if_answered(&task);
        }
    }

    /// The answers could not be stored: their questions are open again.
    pub(crate) fn release(&self, answers: &[(QuestionId, Value)]) {
        let mut inner = self.0.lock();
        for (id, _) in answers {
            if let Some(asked) = inner.asked.get_mut(id)
                && asked.answer.is_none()
            {
                asked.claimed_by = None;
            }
        }
    }

    /// Withdraws a question. Returns `false` if an answer was faster.
    pub(crate) fn withdraw(&self, id: &QuestionId) -> bool {
        let mut inner = self.0.lock();
        let Some(asked) = inner.asked.get(id) else { return false };
        if asked.claimed_by.is_some() {
            return false;
        }
        let task = Arc::clone(&asked.open.task);
        inner.asked.remove(id);
        inner.wake_if_answered(&task);
        true
    }

    /// The task that asks.
    pub(crate) fn task_of(&self, id: &QuestionId) -> Option<Arc<TaskId>> {
        self.0.lock().asked.get(id).map(|asked| Arc::clone(&asked.open.task))
    }

    /// The questions that are open.
    pub(crate) fn open(&self) -> Vec<Arc<OpenQuestion>> {
        let inner = self.0.lock();
        let open = || inner.asked.iter().filter(|asked| asked.claimed_by.is_none());
        // A suspended run keeps the list, so it has no spare room.
        let mut questions = Vec::with_capacity(open().count());
        questions.extend(open().map(|asked| Arc::clone(&asked.open)));
        questions
    }

    /// Returns the authors of the answers, for a snapshot.
    pub(crate) fn answered(&self) -> Vec<(QuestionId, String)> {
        self.0.lock().answered.clone()
    }

    /// Returns the earliest deadline of an open question, in milliseconds since 1970.
    pub(crate) fn next_due(&self) -> Option<i64> {
        let inner = self.0.lock();
        let open = inner.asked.iter().filter(|asked| asked.answer.is_none());
        open.filter_map(|asked| asked.open.due()).min()
    }

    pub(crate) fn any_open(&self) -> bool {
        self.0.lock().asked.iter().any(|asked| asked.claimed_by.is_none())
    }

    /// Removes all questions and keeps the names of those who answered.
    pub(crate) fn clear(&self) {
        let mut inner = self.0.lock();
        inner.asked = Asked::default();
        inner.tasks = Vec::new();
    }

    /// Restores the open questions from a fold of the journal.
    pub(crate) fn restore(
        &self,
        open: impl IntoIterator<Item = OpenQuestion>,
        answered: &[(QuestionId, String)],
    ) {
        let mut inner = self.0.lock();
        inner.asked = Asked::default();
        inner.tasks = Vec::new();
        for question in open {
            inner.asked.insert(question);
        }
        for (id, by) in answered {
            inner.remember(id.clone(), by.clone());
        }
    }
}

impl Inner {
    /// Returns the wait of a task, for this waiter.
    fn wait_of(&mut self, task: &Arc<TaskId>, waiter: &Arc<dyn AnswerWaiter>) -> &mut TaskWait {
        let at = self.tasks.iter().position(|wait| wait.is_of(task)).unwrap_or_else(|| {
            let (task, waiter, wakers) = (Arc::clone(task), Arc::downgrade(waiter), Vec::new());
            push_first(&mut self.tasks, TaskWait { task, waiter, wakers });
            self.tasks.len() - 1
        });
        let wait = &mut self.tasks[at];
        wait.waiter = Arc::downgrade(waiter);
        wait
    }

    fn remember(&mut self, id: QuestionId, by: String) {
        if self.answered.iter().any(|(known, _)| *known == id) {
            return;
        }
        if self.answered.len() >= REMEMBERED {
            self.answered.remove(0);
        }
        self.answered.push((id, by));
    }
}
