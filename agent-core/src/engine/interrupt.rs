//! [`Ask`]: the future of a question.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Sleep;

use super::task::{AttemptHandle, ReplayedQuestion};
use crate::{
    graph::{NodeError, Result},
    ids::QuestionId,
    interrupt::{AskError, OpenQuestion, Question, QuestionFingerprint},
    journal::entry::WithdrawReason,
};

/// Future of the answer to a question; see [`Context::ask`](crate::Context::ask).
#[must_use = "a question is asked when it is awaited"]
pub struct Ask<T> {
    of: AttemptHandle,
    /// Until it is asked. Boxed, because the future of the node keeps this room while it waits.
    question: Option<Box<Question>>,
    id: QuestionId,
    asker: Asker,
    stage: Stage,
    deadline: Option<Pin<Box<Sleep>>>,
    answer: PhantomData<fn() -> T>,
}

/// Origin of a question.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    Node,
    /// The engine: an approval, say. Its words may change with its version.
    Engine,
    /// A tool: its call is made again after a restart and may ask something else then.
    Tool,
}

enum Stage {
    New,
    /// Waits, in the scope with this number.
    Asked(usize),
    /// Withdrawn before a restart; pending until the node withdraws it again.
    WithdrawReason,
    Done,
}

impl<T: DeserializeOwned> Ask<T> {
    pub(super) fn new(of: AttemptHandle, question: Question) -> Self {
        // In the order of calls, not of polls, so that a replay gives the same keys.
        let id = of.question_id(question.key.as_deref());
        Self::with(of, id, question, Asker::Node)
    }

    /// A question of the engine, under one of its keys.
    pub(super) fn engine(of: AttemptHandle, key: String, question: Question) -> Self {
        let id = QuestionId::new(&of.task, &key);
        Self::with(of, id, question.key(key), Asker::Engine)
    }

    /// A question of a tool, under one of the engine's keys.
    pub(super) fn tool(of: AttemptHandle, key: String, question: Question) -> Self {
        let id = QuestionId::new(&of.task, &key);
        Self::with(of, id, question.key(key), Asker::Tool)
    }

    fn with(of: AttemptHandle, id: QuestionId, question: Question, asker: Asker) -> Self {
        let (stage, answer) = (Stage::New, PhantomData);
        Self { of, question: Some(Box::new(question)), id, asker, stage, deadline: None, answer }
    }

    /// Returns the id of the question, which an answer must contain.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Question, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let answer = cx.ask::<String>(Question::new("Title?").key("title"));
    ///     assert!(answer.id().to_string().ends_with(":title"));
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn id(&self) -> &QuestionId {
        &self.id
    }

    /// Looks up the recorded answer of the question. `Pending` if the node must first request an earlier record.
    fn replay_question(&mut self, question: Box<Question>, cx: &Context<'_>) -> Poll<Result<Option<T>>> {
        let shown = QuestionFingerprint::of(&question, self.asker == Asker::Engine);
        match self.of.replay_question(&self.id, &shown, self.asker == Asker::Tool) {
            ReplayedQuestion::Answer(answer) => return Poll::Ready(self.read(answer).map(Some)),
            ReplayedQuestion::Changed(before) => {
                let question = self.id.clone();
                let changed = AskError::Changed { question, shown: before, asked: shown.text };
                return Poll::Ready(Err(changed.into()));
            }
            ReplayedQuestion::Replaced => self.of.env.pending_questions.forget(&self.id),
            ReplayedQuestion::New => {}
        }
        match self.of.was_withdrawn(&self.id) {
            Some(WithdrawReason::Expired) => return Poll::Ready(Err(self.expired())),
            Some(WithdrawReason::Dropped) => {
                self.stage = Stage::WithdrawReason;
                return Poll::Ready(Ok(None));
            }
            None => {}
        }
        // A new question before all recorded ones were requested: wait, and report a replay mismatch after the grace period.
        if self.of.must_hold(&self.id.0, cx.waker()) {
            self.question = Some(question);
            return Poll::Pending;
        }
        Poll::Ready(self.begin(*question, shown).map(|()| None))
    }

    fn begin(&mut self, question: Question, shown: QuestionFingerprint) -> Result<()> {
        let (of, env) = (&self.of, &self.of.env);
        crate::interrupt::check_question(&question)
            .map_err(|reason| AskError::Illegal { key: self.id.to_string(), reason })?;
        let now = env.clock.now_ms();
        let open = OpenQuestion {
            id: self.id.clone(),
            task: Arc::clone(&of.task),
            question,
            asked_at: now,
            fingerprint: shown.fingerprint().to_owned(),
            step: of.current_step(),
        };
        let mut asked_at = now;
        let deadline = open.question.deadline;
        let mut scope = 0;
        let _asking = env.control.asking();
        let new = env.pending_questions.add(open.clone(), &of.waiter(), || of.suspend(&mut scope))?;
        self.stage = Stage::Asked(scope);
        // The pause is reported only when this is stored.
        if let Err(error) = of.append_question(shown, open, new) {
            self.stage = Stage::Done;
            if new {
                env.pending_questions.withdraw(&self.id);
            }
            of.cancel_suspend(scope);
            return Err(error);
        }
        if !new && let Some(known) = env.pending_questions.open().iter().find(|open| open.id == self.id) {
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

    fn expired(&self) -> NodeError {
        NodeError::permanent(AskError::Expired { question: self.id.clone() })
    }
}

impl<T: DeserializeOwned> Ask<T> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        self.of.check_live()?;
        if let Some(question) = self.question.take()
            && let Some(answer) = ready!(self.replay_question(question, cx))?
        {
            return Poll::Ready(Ok(answer));
        }
        if matches!(self.stage, Stage::WithdrawReason) {
            return Poll::Pending;
        }
        // Answered; waits for a concurrency slot.
        ready!(self.of.poll_slot(cx.waker()));
        let pending_questions = &self.of.env.pending_questions;
        match pending_questions.poll_answer(&self.id, &self.of.task, &self.of.waiter(), cx.waker()) {
            Poll::Ready(Some(answer)) => {
                self.of.store_answer(&self.id, answer.clone());
                return Poll::Ready(self.read(answer));
            }
            Poll::Ready(None) => {
                // The same question was asked twice at once, and the other future took the answer.
                if let Some(answer) = self.of.known_answer(&self.id) {
                    return Poll::Ready(self.read(answer));
                }
                // Withdrawn with its run: the task is about to be dropped.
                return Poll::Pending;
            }
            Poll::Pending => {}
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.deadline = None;
            if self.of.withdraw(&self.id, Some(WithdrawReason::Expired)) {
                if let Stage::Asked(scope) = std::mem::replace(&mut self.stage, Stage::Done) {
                    self.of.cancel_suspend(scope);
                }
                return Poll::Ready(Err(self.expired()));
            }
        }
        Poll::Pending
    }
}

impl<T: DeserializeOwned> Future for Ask<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let this = self.get_mut();
        let answer = ready!(this.poll_answer(cx));
        this.stage = Stage::Done;
        Poll::Ready(answer)
    }
}

impl<T> Drop for Ask<T> {
    fn drop(&mut self) {
        let Stage::Asked(scope) = self.stage else { return };
        // The questions of an ended try were withdrawn with it.
        if !self.of.is_live() {
            return;
        }
        self.of.cancel_suspend(scope);
        // A node that drops a question withdraws it. A run that leaves memory keeps its questions, and so does one
        // that is being stopped: a tool call that was cancelled is made again by a resume, and asks again.
        let control = &self.of.env.control;
        if !control.is_evicting() && !control.stop.is_cancelled() {
            self.of.withdraw(&self.id, Some(WithdrawReason::Dropped));
        }
    }
}

impl<T> std::fmt::Debug for Ask<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("id", &self.id).finish_non_exhaustive()
    }
}
