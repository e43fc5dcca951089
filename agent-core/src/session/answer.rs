//! Answers and marks of stop: commands on a run that waits for a person.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Run, Session, SessionError,
    cell::{LiveRun, SessionCell},
    lock::LockedSession,
    run_watch::RunResult,
    supervisor::{summary, todo_facts},
};
use crate::{
    ids::{QuestionId, Seq},
    interrupt::{AnswerError, Answers},
    journal::{
        JournalStore, Summary,
        entry::{Answered, Entry, Fact, Resumed, Stopped},
    },
    run::RunStatus,
    todo::TodoStatus,
};

impl LockedSession {
    /// Stores answers and continues the tasks that have all of theirs.
    pub(super) async fn answer(&self, answers: Answers, by: &str) -> Result<Run, SessionError> {
        match self.live_run().await {
            Some(live) => self.answer_live(&live, answers, by).await,
            None => Box::pin(self.answer_idle(answers, by)).await,
        }
    }

    /// Answers a run that is in memory.
    async fn answer_live(
        &self,
        live: &Arc<LiveRun>,
        answers: Answers,
        by: &str,
    ) -> Result<Run, SessionError> {
        let env = &live.env;
        let taken = self.cell.board.take(answers, by)?;
        let facts = answered_facts(&self.cell, &taken, by);
        // Idle: it pauses, and the entry that says so is being stored.
        let pauses = live.status() == RunStatus::Paused || env.control.is_idle();
        let waits = pauses && !self.cell.board.frees(&taken);
        let status = if waits { RunStatus::Paused } else { RunStatus::Running };
        let summary = summary(&self.shared, live, status).with_questions(&self.cell.board.open());
        let stored = match env.writer.push_with(env.run, facts, Some(summary)) {
            Ok(seq) => env.writer.wait_durable(seq).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            self.cell.board.put_back(&taken);
            return Err(error.into());
        }
        // Under the cell's lock, as the pause of the run is: one of the two sees the other.
        let _inner = self.cell.inner.lock();
        self.cell.board.deliver(taken, by);
        if live.status() == RunStatus::Paused {
            if env.control.is_idle() {
                let questions = self.cell.board.open();
                let paused = RunResult {
                    status: RunStatus::Paused,
                    questions,
                    state: None,
                    supersteps: 0,
                    error: None,
                };
                live.watch.send(Some(Arc::new(paused)));
            } else {
                env.control.resume_clock();
                live.watch.send(None);
            }
        }
        Ok(Run::of(Session::clone(self), live))
    }

    /// Answers a run that is not in memory, and resumes it when a task has all its answers.
    ///
    /// Whatever can be refused (the graph, a migration of the state, the number of runs) is refused before an answer is
    /// stored.
    async fn answer_idle(&self, answers: Answers, by: &str) -> Result<Run, SessionError> {
        self.cell.check_exists()?;
        if self.shared.store.is_none() {
            return Err(match self.cell.inner.lock().idle {
                Some(_) => AnswerError::NothingAsked.into(),
                None => SessionError::NotFound { session: self.id().clone() },
            });
        }
        let mut idle = self.idle().await?;
        let projection = idle.projection();
        if projection.last == Seq::ZERO {
            return Err(SessionError::NotFound { session: self.id().clone() });
        }
        if !projection.status.is_busy() && !projection.open.is_empty() {
            return Err(AnswerError::NotWaiting { status: projection.status.to_string() }.into());
        }
        let open = if projection.status.is_busy() { projection.open.clone() } else { Vec::new() };
        self.cell.board.restore(open, &projection.answered);
        // An answer that is refused is refused as such, whatever else is wrong.
        let taken = self.cell.board.take(answers, by)?;
        let unfinished =
            self.check_open().and_then(|()| self.graph_of(&projection.graph)?.read_run(projection));
        let unfinished = match unfinished {
            Ok(unfinished) => unfinished,
            Err(error) => {
                self.cell.board.put_back(&taken);
                return Err(error);
            }
        };
        let facts: Vec<Fact> = answered_facts(&self.cell, &taken, by);
        let (run, now) = (projection.run, self.shared.clock.now_ms());
        let waits = projection.status == RunStatus::Paused && !self.cell.board.frees(&taken);
        let status = if waits { RunStatus::Paused } else { RunStatus::Running };
        let open = self.cell.board.open();
        let summary = Summary::new(&*projection.graph, status.as_str(), run, now).with_questions(&open);
        let stored = match idle.writer().push_with(run, facts.clone(), Some(summary)) {
            Ok(seq) => idle.writer().wait_durable(seq).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            idle.invalidate();
            return Err(error.into());
        }
        let mut seq = idle.projection().last;
        for fact in facts {
            seq = seq.next();
            idle.projection_mut().apply(Entry { seq, at: now, run, fact });
        }
        self.cell.board.deliver(taken, by);
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
        self.cell.board.clear();
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
        let lease = store.acquire(self.id(), &self.shared.owner, self.shared.options.lease_ttl).await?;
        let deleted = store.delete_held(self.id(), &lease).await?;
        self.cell.inner.lock().lost = None;
        Ok(deleted)
    }
}

fn answered_facts(cell: &SessionCell, taken: &[(QuestionId, Value)], by: &str) -> Vec<Fact> {
    taken
        .iter()
        .filter_map(|(id, value)| {
            let task = cell.board.task_of(id)?;
            Some(Fact::QuestionAnswered(Answered {
                id: id.clone(),
                task,
                value: value.clone(),
                by: by.to_owned(),
            }))
        })
        .collect()
}
