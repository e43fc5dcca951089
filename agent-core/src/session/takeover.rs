//! Takeover of runs from processes that died, and failure of runs in a crash loop.

use std::sync::Arc;

use super::{
    Session, SessionError,
    dyn_graph::DynGraph,
    lock::{IdleSession, LockedSession},
    run_end::todo_facts,
    suspects::SuspectRun,
};
use crate::{
    engine::RunError,
    ids::TaskId,
    journal::{
        Summary,
        entry::{Fact, Failure},
        projection::Projection,
    },
    run::RunStatus,
    todo::TodoStatus,
};

/// Why a run is resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumption {
    /// A caller or [`recover`](super::Runtime::recover) requested it.
    Asked,
    /// This process continues its own run: after an answer, a deadline or a store failure.
    InProcess,
}

/// Why a run is taken over: what its process did at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakeoverCause {
    /// It died while it executed code of the run.
    Death,
    /// It shut down, or noted before it died that it executed the run for long enough.
    HandedOver,
    /// It did not execute code of the run: all tasks waited for a retry, or this process left it.
    NotExecuting,
}

/// Whether a run is taken over with others at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakeoverMode {
    /// With others. A suspect is not taken over.
    Together,
    /// As the only suspect at this time.
    Alone,
}

/// Result of [`Session::take_over`].
pub(super) enum Takeover {
    /// A run in memory.
    Executing,
    /// A run that was resumed.
    Resumed,
    /// A run that may have ended its processes. It was not resumed.
    Suspect(SuspectRun),
    /// A run that waits for answers.
    Waiting,
    /// No unfinished run; queued ones may wait.
    Free,
}

impl Session {
    /// Resumes the run if the journal has it as running.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, it completes.
    pub(super) async fn take_over(&self) -> Result<Takeover, SessionError> {
        self.take_over_in(TakeoverMode::Together).await
    }

    /// Resumes the run if the journal has it as running, in the given mode.
    ///
    /// # Cancel safety
    ///
    /// As [`take_over`](Self::take_over).
    pub(super) async fn take_over_in(&self, mode: TakeoverMode) -> Result<Takeover, SessionError> {
        let take_over = async move |locked: LockedSession| {
            if locked.live_run().await.is_some() {
                return Ok(Takeover::Executing);
            }
            let status = locked.idle().await?.projection().status;
            match status {
                RunStatus::Running => {
                    if mode == TakeoverMode::Together
                        && let Some(suspect) = locked.suspect().await?
                    {
                        return Ok(Takeover::Suspect(suspect));
                    }
                    // A suspect is observed while it executes, so it does not wait for a slot.
                    locked.cell.inner.lock().in_line = mode == TakeoverMode::Together;
                    locked.resume(None, Resumption::Asked).await?;
                    Ok(Takeover::Resumed)
                }
                RunStatus::Paused => Ok(Takeover::Waiting),
                _ => Ok(Takeover::Free),
            }
        };
        self.lock().await.complete(take_over).await
    }

    /// Returns why the run of `projection` is taken over.
    pub(super) async fn takeover_cause(
        &self,
        why: Resumption,
        projection: &Projection,
    ) -> Result<TakeoverCause, SessionError> {
        if why == Resumption::InProcess
            || projection.status != RunStatus::Running
            || self.cell.inner.lock().lost.is_some()
            || projection.root.waits_for_retries(self.shared.clock.now_ms())
        {
            return Ok(TakeoverCause::NotExecuting);
        }
        let Some(store) = &self.shared.store else { return Ok(TakeoverCause::NotExecuting) };
        Ok(match store.head(self.id()).await? {
            Some(head) if head.summary.handed_over => TakeoverCause::HandedOver,
            _ => TakeoverCause::Death,
        })
    }
}

impl LockedSession {
    /// Returns the run if its next takeover is one of the last two, after others before it.
    async fn suspect(&self) -> Result<Option<SuspectRun>, SessionError> {
        let idle = self.idle().await?;
        let projection = idle.projection();
        let left = self.max_takeovers(&*self.graph_of(&projection.graph)?).checked_sub(projection.takeovers);
        if projection.takeovers == 0 || left.is_none_or(|left| left > 2) {
            return Ok(None);
        }
        let (is_last, exempt) = match (self.takeover_cause(Resumption::Asked, projection).await?, left) {
            (TakeoverCause::Death, Some(2)) => (false, projection.exempt),
            (TakeoverCause::Death, Some(1)) => (true, projection.exempt),
            (TakeoverCause::HandedOver, Some(0)) => (true, true),
            _ => return Ok(None),
        };
        Ok(Some(SuspectRun { last: projection.last, is_last, exempt }))
    }

    /// Returns the permitted number of takeovers of the runs of a graph.
    pub(super) fn max_takeovers(&self, graph: &dyn DynGraph) -> u32 {
        graph.max_takeovers().unwrap_or(self.shared.options.max_takeovers)
    }

    /// Fails a run that was taken over too often without progress.
    pub(super) async fn fail_crash_loop(&self, mut idle: IdleSession<'_>) -> SessionError {
        let writer = Arc::clone(idle.writer());
        let closing = self.closing(idle.projection());
        let projection = idle.projection_mut();
        let waits = |task: &TaskId| projection.open.iter().any(|open| *open.task == *task);
        let tasks: Vec<TaskId> =
            projection.root.at_work(None).into_iter().filter(|task| !waits(task)).collect();
        let error = RunError::CrashLoop {
            takeovers: projection.takeovers,
            tasks: tasks.iter().map(ToString::to_string).collect(),
        };
        tracing::error!(session = %self.id(), run = %projection.run, %error, "a run is not taken over again");
        let changed = projection.todos.settle(TodoStatus::Failed, "the run failed");
        let mut facts: Vec<Fact> = todo_facts(changed).collect();
        facts.push(Fact::RunFailed(Failure {
            code: error.code().name().to_owned(),
            message: crate::util::shorten(&error.report(), 2_000),
            node: tasks.first().map(|task| task.node().to_string()),
            task: tasks.into_iter().next(),
            closing,
        }));
        let (run, now) = (projection.run, self.shared.clock.now_ms());
        let summary = Summary::new(&*projection.graph, RunStatus::Failed.as_str(), run, now);
        // The next command reads the journal.
        idle.invalidate();
        let stored = match writer.push_with(run, facts, Some(summary)) {
            Ok(seq) => writer.wait_durable(seq).await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => {
                self.shared.run_ended(&self.cell);
                error.into()
            }
            Err(error) => error.into(),
        }
    }
}
