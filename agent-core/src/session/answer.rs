//! Commands that answer, stop and delete.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Run, Session, SessionError,
    cell::{LiveRun, SessionCell},
    lock::LockedSession,
    phase::PhaseEvent,
    run_end::todo_facts,
};
use crate::{
    engine::journal_writer::JournalWriter,
    ids::{QuestionId, RunId},
    interrupt::{AnswerError, Answers, check_answers},
    journal::{
        JournalStore, StoreError, Summary,
        entry::{Answered, Entry, Fact, Resumed, Stopped},
    },
    run::RunStatus,
    todo::TodoStatus,
};

/// Answers that are checked and claimed. Dropping them before they are delivered releases the questions.
struct ClaimedAnswers<'a> {
    cell: &'a SessionCell,
    by: &'a str,
    answers: Vec<(QuestionId, Value)>,
}

/// The run that asked the questions, in memory or in the journal.
struct AnsweredRun<'a> {
    writer: &'a Arc<JournalWriter>,
    graph: &'a str,
    run: RunId,
    /// No task can proceed without an answer.
    paused: bool,
}

impl<'a> ClaimedAnswers<'a> {
    /// Checks answers and claims their questions, all or none.
    async fn new(cell: &'a SessionCell, answers: Answers, by: &'a str) -> Result<Self, AnswerError> {
        let checked = check_answers(cell.pending_questions.resolve(answers)?).await?;
        Ok(Self { cell, by, answers: cell.pending_questions.claim(checked, by)? })
    }

    /// Stores the answers and returns their facts, if anything reads them.
    async fn store(&self, run: AnsweredRun<'_>, now: i64) -> Result<Vec<Fact>, StoreError> {
        if !run.writer.has_consumers() {
            return Ok(Vec::new());
        }
        let pending_questions = &self.cell.pending_questions;
        let facts: Vec<Fact> = self.facts();
        let status = match run.paused && !pending_questions.completes_a_task(&self.answers) {
            true => RunStatus::Paused,
            false => RunStatus::Running,
        };
        let summary =
            Summary::new(run.graph, status.as_str(), run.run, now).with_questions(&pending_questions.open());
        let seq = run.writer.push_with(run.run, facts.clone(), Some(summary))?;
        run.writer.wait_durable(seq).await?;
        Ok(facts)
    }

    fn facts(&self) -> Vec<Fact> {
        let answers = self.answers.iter();
        let facts = answers.filter_map(|(id, value)| {
            let task = self.cell.pending_questions.task_of(id)?;
            let (id, value, by) = (id.clone(), value.clone(), self.by.to_owned());
            Some(Fact::QuestionAnswered(Answered { id, task, value, by }))
        });
        facts.collect()
    }

    /// Delivers the stored answers: tasks with all of their answers continue.
    fn deliver(mut self) {
        self.cell.pending_questions.deliver(std::mem::take(&mut self.answers), self.by);
    }
}

impl Drop for ClaimedAnswers<'_> {
    fn drop(&mut self) {
        self.cell.pending_questions.release(&self.answers);
    }
}

impl LockedSession {
    /// Stores answers and continues the tasks that have all of theirs.
    ///
    /// Everything that can be refused (the graph, a migration of the state, the number of runs) is refused before an
    /// answer is stored.
    pub(super) async fn answer(&self, answers: Answers, by: &str) -> Result<Run, SessionError> {
        let Some(live) = self.live_run().await else {
            return Box::pin(self.answer_idle(answers, by)).await;
        };
        let env = &live.env;
        let claimed = ClaimedAnswers::new(&self.cell, answers, by).await?;
        // An idle run is about to pause: its `RunPaused` entry is being stored.
        let paused = live.status() == RunStatus::Paused || env.control.is_idle();
        let run = AnsweredRun { writer: &env.writer, graph: &live.graph, run: env.run, paused };
        claimed.store(run, self.shared.clock.now_ms()).await?;
        let inner = self.cell.inner.lock();
        claimed.deliver();
        live.apply(&inner, PhaseEvent::Answered);
        Ok(Run::of(Session::clone(self), &live))
    }

    /// Answers a run that is not in memory, and resumes it if a task has all of its answers.
    async fn answer_idle(&self, answers: Answers, by: &str) -> Result<Run, SessionError> {
        self.cell.check_exists()?;
        if self.shared.store.is_none() {
            return Err(match self.cell.inner.lock().idle {
                Some(_) => AnswerError::NothingAsked.into(),
                None => SessionError::NotFound { session: self.id().clone() },
            });
        }
        let mut idle = self.existing().await?;
        let projection = idle.projection();
        let busy = projection.status.is_busy();
        if !busy && !projection.open.is_empty() {
            return Err(AnswerError::NotWaiting { status: projection.status.to_string() }.into());
        }
        let open = if busy { projection.open.clone() } else { Vec::new() };
        self.cell.pending_questions.restore(open, &projection.answered);
        // An invalid answer is refused as such, whatever else is wrong.
        let claimed = ClaimedAnswers::new(&self.cell, answers, by).await?;
        self.check_open()?;
        let unfinished = self.graph_of(&projection.graph)?.read_run(projection)?;
        let (run, now) = (projection.run, self.shared.clock.now_ms());
        let paused = projection.status == RunStatus::Paused;
        let answered = AnsweredRun { writer: idle.writer(), graph: &projection.graph, run, paused };
        let facts = match claimed.store(answered, now).await {
            Ok(facts) => facts,
            Err(error) => {
                idle.invalidate();
                return Err(error.into());
            }
        };
        let mut seq = idle.projection().last;
        for fact in facts {
            seq = seq.next();
            idle.projection_mut().apply(Entry { seq, at: now, run, fact });
        }
        claimed.deliver();
        if idle.projection().status == RunStatus::Paused {
            let questions = idle.projection().open.clone();
            return Ok(Run::waiting(Session::clone(self), run, RunStatus::Paused, questions));
        }
        unfinished.resume(self, Resumed::default(), idle).await
    }

    /// Stops the unfinished run, wherever it is. Ready when nothing of it is left in memory.
    pub(super) async fn stop_live(&self, live: &LiveRun) -> RunStatus {
        live.env.control.stop.cancel();
        self.wait_removed(live).await
    }

    /// Stops a run that is not in memory by journalling it.
    pub(super) async fn mark_stopped(&self) -> Result<RunStatus, SessionError> {
        if let Some(live) = self.cell.live() {
            return Ok(self.stop_live(&live).await);
        }
        // Without a lease first: a session that does not exist must not get one.
        let status = self.peek().await?.status;
        if !status.is_busy() {
            return Err(SessionError::NothingToDo { session: self.id().clone(), status, verb: "stop" });
        }
        let mut idle = self.idle().await?;
        let changed = idle.projection_mut().todos.settle(TodoStatus::Cancelled, "stopped");
        let mut facts: Vec<Fact> = todo_facts(changed).collect();
        let closing = self.closing(idle.projection());
        facts.push(Fact::RunStopped(Stopped { drained: false, closing }));
        let (run, now) = (idle.projection().run, self.shared.clock.now_ms());
        let summary = Summary::new(&*idle.projection().graph, RunStatus::Stopped.as_str(), run, now);
        let writer = Arc::clone(idle.writer());
        idle.invalidate();
        let seq = writer.push_with(run, facts, Some(summary))?;
        writer.wait_durable(seq).await?;
        self.shared.run_ended(&self.cell);
        Ok(RunStatus::Stopped)
    }

    pub(super) async fn delete_locked(&self) -> Result<(), SessionError> {
        self.cell.check_exists()?;
        if let Some(live) = self.cell.live() {
            return Err(self.busy(live.run(), live.status()));
        }
        let known = self.cell.inner.lock().idle.is_some();
        self.cell.invalidate();
        let deleted = match &self.shared.store {
            Some(store) => self.delete_stored(&**store).await?,
            None => known,
        };
        self.cell.pending_questions.clear();
        self.cell.inner.lock().queue.clear();
        if !deleted {
            return Err(SessionError::NotFound { session: self.id().clone() });
        }
        self.shared.retire(&self.cell);
        Ok(())
    }

    /// Removes the session from the store, as its writer: a run that another process executes is not removed under it.
    async fn delete_stored(&self, store: &dyn JournalStore) -> Result<bool, SessionError> {
        if store.head(self.id()).await?.is_none() {
            return Ok(false);
        }
        let lease = self.shared.acquire(self.id()).await?;
        let deleted = store.delete_held(self.id(), &lease).await?;
        self.cell.inner.lock().lost = None;
        Ok(deleted)
    }
}
