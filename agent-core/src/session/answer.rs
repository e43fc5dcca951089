//! Commands that answer, stop and delete.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Run, Session, SessionError,
    cell::{LiveRun, SessionCell},
    dyn_graph::UnfinishedRun,
    lock::{IdleSession, LockedSession},
    phase::{Phase, PhaseEvent},
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

/// The run that asked the questions, while the session is locked.
enum AskingRun<'a> {
    /// In memory.
    Live(Arc<LiveRun>),
    /// Only in the journal.
    Evicted(IdleSession<'a>),
}

/// The next steps after the answers are stored. Created by [`AskingRun::prepare`], which asks everything that can refuse.
enum AnsweredRun<'a> {
    Live(Arc<LiveRun>),
    Evicted { idle: IdleSession<'a>, unfinished: Box<dyn UnfinishedRun> },
}

impl<'a> ClaimedAnswers<'a> {
    /// Checks answers and claims their questions, all or none.
    async fn new(cell: &'a SessionCell, answers: Answers, by: &'a str) -> Result<Self, AnswerError> {
        let checked = check_answers(cell.pending_questions.resolve(answers)?).await?;
        Ok(Self { cell, by, answers: cell.pending_questions.claim(checked, by)? })
    }

    /// Stores the answers and returns their facts, if anything reads them.
    async fn store(&self, answered: &AnsweredRun<'_>, now: i64) -> Result<Vec<Fact>, StoreError> {
        let writer = answered.writer();
        if !writer.has_consumers() {
            return Ok(Vec::new());
        }
        let pending_questions = &self.cell.pending_questions;
        let facts: Vec<Fact> = self.facts();
        let status = answered.phase().status_after_answers(pending_questions.completes_a_task(&self.answers));
        let run = answered.run();
        let summary = Summary::new(answered.graph(), status.as_str(), run, now)
            .with_questions(&pending_questions.open());
        let seq = writer.push_with(run, facts.clone(), Some(summary))?;
        writer.wait_durable(seq).await?;
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

impl<'a> AskingRun<'a> {
    /// Refuses what can be refused: the graph, a migration of the state, the number of runs.
    fn prepare(self, session: &LockedSession) -> Result<AnsweredRun<'a>, SessionError> {
        match self {
            Self::Live(live) => Ok(AnsweredRun::Live(live)),
            Self::Evicted(idle) => {
                session.check_open()?;
                let unfinished = session.graph_of(&idle.projection().graph)?.read_run(idle.projection())?;
                Ok(AnsweredRun::Evicted { idle, unfinished })
            }
        }
    }
}

impl AnsweredRun<'_> {
    fn writer(&self) -> &Arc<JournalWriter> {
        match self {
            Self::Live(live) => &live.env.writer,
            Self::Evicted { idle, .. } => idle.writer(),
        }
    }

    fn graph(&self) -> &str {
        match self {
            Self::Live(live) => &live.graph,
            Self::Evicted { idle, .. } => &idle.projection().graph,
        }
    }

    fn run(&self) -> RunId {
        match self {
            Self::Live(live) => live.run(),
            Self::Evicted { idle, .. } => idle.projection().run,
        }
    }

    fn phase(&self) -> Phase {
        match self {
            Self::Live(live) => live.phase(),
            Self::Evicted { idle, .. } if idle.projection().status == RunStatus::Paused => Phase::Evicted,
            // Its process ended before it paused.
            Self::Evicted { .. } => Phase::Running,
        }
    }

    /// Handles answers that were not stored: the journal may have them all the same.
    fn store_failed(self) {
        if let Self::Evicted { idle, .. } = self {
            idle.invalidate();
        }
    }

    /// Delivers the stored answers, and resumes a run that is not in memory if a task has all of its answers.
    async fn proceed(
        self,
        session: &LockedSession,
        claimed: ClaimedAnswers<'_>,
        facts: Vec<Fact>,
        at: i64,
    ) -> Result<Run, SessionError> {
        let (mut idle, unfinished) = match self {
            Self::Live(live) => {
                let inner = session.cell.inner.lock();
                claimed.deliver();
                live.apply(&inner, PhaseEvent::Answered);
                return Ok(Run::of(Session::clone(session), &live));
            }
            Self::Evicted { idle, unfinished } => (idle, unfinished),
        };
        let (run, mut seq) = (idle.projection().run, idle.projection().last);
        for fact in facts {
            seq = seq.next();
            idle.projection_mut().apply(Entry { seq, at, run, fact });
        }
        claimed.deliver();
        if idle.projection().status == RunStatus::Paused {
            let questions = idle.projection().open.clone();
            return Ok(Run::waiting(Session::clone(session), run, RunStatus::Paused, questions));
        }
        unfinished.resume(session, Resumed::default(), idle).await
    }
}

impl LockedSession {
    /// Stores answers and continues the tasks that have all of theirs.
    ///
    /// Everything that can be refused (the graph, a migration of the state, the number of runs) is refused before an
    /// answer is stored.
    pub(super) async fn answer(&self, answers: Answers, by: &str) -> Result<Run, SessionError> {
        let asking = match self.live_run().await {
            Some(live) => AskingRun::Live(live),
            // Boxed, as most answered runs are in memory.
            None => AskingRun::Evicted(Box::pin(self.asking_in_journal()).await?),
        };
        // An invalid answer is refused as such, whatever else is wrong.
        let claimed = ClaimedAnswers::new(&self.cell, answers, by).await?;
        let answered = asking.prepare(self)?;
        let now = self.shared.clock.now_ms();
        match claimed.store(&answered, now).await {
            Ok(facts) => answered.proceed(self, claimed, facts, now).await,
            Err(error) => {
                answered.store_failed();
                Err(error.into())
            }
        }
    }

    /// Returns the session of a run that waits for answers and is not in memory, and makes its questions known.
    async fn asking_in_journal(&self) -> Result<IdleSession<'_>, SessionError> {
        self.cell.check_exists()?;
        if self.shared.store.is_none() {
            return Err(match self.cell.inner.lock().idle {
                Some(_) => AnswerError::NothingAsked.into(),
                None => SessionError::NotFound { session: self.id().clone() },
            });
        }
        let idle = self.existing().await?;
        let projection = idle.projection();
        let busy = projection.status.is_busy();
        if !busy && !projection.open.is_empty() {
            return Err(AnswerError::NotWaiting { status: projection.status.to_string() }.into());
        }
        let open = if busy { projection.open.clone() } else { Vec::new() };
        self.cell.pending_questions.restore(open, &projection.answered);
        Ok(idle)
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
