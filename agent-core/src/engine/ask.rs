//! A question on its way: put up at the first poll, taken back when dropped, ready with the answer.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Sleep;

use super::cell::TaskCell;
use crate::{
    graph::{NodeError, Result},
    ids::QuestionId,
    interrupt::{AskError, OpenQuestion, Question, Waiting},
    journal::entry::{Fact, GivenUp, Withdrawn},
};

/// The wait for a person's answer; see [`Context::ask`](crate::Context::ask).
#[must_use = "a question is asked when it is awaited"]
pub struct Ask<T> {
    cell: Arc<TaskCell>,
    question: Option<Question>,
    id: QuestionId,
    stage: Stage,
    deadline: Option<Pin<Box<Sleep>>>,
    answer: PhantomData<fn() -> T>,
}

enum Stage {
    New,
    /// Waits, in the scope with this number.
    Asked(usize),
    /// Was given up before a restart, and waits to be given up again.
    GivenUp,
    Done,
}

impl<T: DeserializeOwned> Ask<T> {
    pub(super) fn new(cell: Arc<TaskCell>, question: Question) -> Self {
        // In the order of calls, not of polls, so that a replay gives the same keys.
        let key = question.key.clone().unwrap_or_else(|| cell.next_question_key());
        let id = QuestionId::new(&cell.task, &key);
        Self { cell, question: Some(question), id, stage: Stage::New, deadline: None, answer: PhantomData }
    }

    /// The id that an answer must name.
    #[must_use]
    pub const fn id(&self) -> &QuestionId {
        &self.id
    }

    fn begin(&mut self, question: Question) -> Result<()> {
        let env = &self.cell.env;
        crate::interrupt::check_question(&question)
            .map_err(|reason| AskError::Illegal { key: self.id.to_string(), reason })?;
        let now = env.clock.now_ms();
        let open =
            OpenQuestion { id: self.id.clone(), task: Arc::clone(&self.cell.task), question, asked_at: now };
        let mut asked_at = now;
        let deadline = open.question.deadline;
        let waiter: Arc<dyn Waiting> = Arc::clone(&self.cell) as _;
        let mut scope = 0;
        let new = env.board.ask(open.clone(), &waiter, || scope = self.cell.wait_begins());
        self.stage = Stage::Asked(scope);
        if new {
            // The pause is reported only when this is stored.
            if let Err(error) = env.note([Fact::QuestionAsked(open)]) {
                env.board.withdraw(&self.id);
                self.cell.wait_given_up(scope);
                return Err(error.into());
            }
        } else if let Some(known) = env.board.open().into_iter().find(|open| open.id == self.id) {
            asked_at = known.asked_at;
        }
        self.deadline = deadline.map(|deadline| {
            let gone = std::time::Duration::from_millis(u64::try_from(now - asked_at).unwrap_or(0));
            Box::pin(tokio::time::sleep(deadline.saturating_sub(gone)))
        });
        Ok(())
    }

    fn read(&self, answer: Value) -> Result<T> {
        serde_json::from_value(answer).map_err(|error| {
            AskError::WrongType { question: self.id.clone(), reason: error.to_string() }.into()
        })
    }
}

impl<T> Ask<T> {
    /// Takes the question back; `false` when an answer is on its way.
    fn withdraw(&self, own: Option<GivenUp>) -> bool {
        let env = &self.cell.env;
        if !env.board.withdraw(&self.id) {
            return false;
        }
        let fact = Fact::QuestionWithdrawn(Withdrawn {
            id: self.id.clone(),
            task: Arc::clone(&self.cell.task),
            own,
        });
        if let Err(error) = env.note([fact]) {
            tracing::debug!(question = %self.id, %error, "a withdrawn question could not be noted");
        }
        true
    }
}

impl<T: DeserializeOwned> Future for Ask<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        if let Some(question) = this.question.take() {
            if let Some(answer) = this.cell.known_answer(&this.id) {
                this.stage = Stage::Done;
                return Poll::Ready(this.read(answer));
            }
            match this.cell.was_given_up(&this.id) {
                Some(GivenUp::Expired) => {
                    this.stage = Stage::Done;
                    let expired = AskError::Expired { question: this.id.clone() };
                    return Poll::Ready(Err(NodeError::permanent(expired)));
                }
                Some(GivenUp::Dropped) => {
                    this.stage = Stage::GivenUp;
                    return Poll::Pending;
                }
                None => {}
            }
            // A replay that asks something new before what it had recorded: it waits, and is a mismatch if it must.
            if this.cell.holds(&this.id.0, cx.waker()) {
                this.question = Some(question);
                return Poll::Pending;
            }
            if let Err(error) = this.begin(question) {
                this.stage = Stage::Done;
                return Poll::Ready(Err(error));
            }
        }
        if matches!(this.stage, Stage::GivenUp) {
            return Poll::Pending;
        }
        let waiter: Arc<dyn Waiting> = Arc::clone(&this.cell) as _;
        match this.cell.env.board.poll_answer(&this.id, &this.cell.task, &waiter, cx.waker()) {
            Poll::Ready(Some(answer)) => {
                this.stage = Stage::Done;
                this.cell.keep_answer(this.id.clone(), answer.clone());
                return Poll::Ready(this.read(answer));
            }
            Poll::Ready(None) => {
                // The same question was asked twice at once, and the other one took the answer.
                if let Some(answer) = this.cell.known_answer(&this.id) {
                    this.stage = Stage::Done;
                    return Poll::Ready(this.read(answer));
                }
                // Withdrawn with its run: the task is about to be dropped.
                return Poll::Pending;
            }
            Poll::Pending => {}
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            this.deadline = None;
            if this.withdraw(Some(GivenUp::Expired)) {
                if let Stage::Asked(scope) = std::mem::replace(&mut this.stage, Stage::Done) {
                    this.cell.wait_given_up(scope);
                }
                let expired = AskError::Expired { question: this.id.clone() };
                return Poll::Ready(Err(NodeError::permanent(expired)));
            }
        }
        Poll::Pending
    }
}

impl<T> Drop for Ask<T> {
    fn drop(&mut self) {
        let Stage::Asked(scope) = self.stage else { return };
        self.cell.wait_given_up(scope);
        // A run that is put away keeps its questions, and so does a task that a stop drops; a node that lost interest
        // takes them back.
        let control = &self.cell.env.control;
        let ended = self.cell.ended.load(std::sync::atomic::Ordering::Acquire);
        if control.keeps_questions() || (ended && control.stop.is_cancelled()) {
            return;
        }
        self.withdraw((!ended).then_some(GivenUp::Dropped));
    }
}

impl<T> std::fmt::Debug for Ask<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("id", &self.id).finish_non_exhaustive()
    }
}
