//! Takeover of runs from processes that died, and failure of runs in a crash loop.

use std::sync::Arc;

use super::{
    Session, SessionError,
    lock::{IdleSession, LockedSession},
    run_end::todo_facts,
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

/// Result of [`Session::take_over`].
pub(super) enum Takeover {
    /// A run in memory.
    Executing,
    /// A run that was resumed.
    Resumed,
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
        let take_over = async move |locked: LockedSession| {
            if locked.live_run().await.is_some() {
                return Ok(Takeover::Executing);
            }
            let status = locked.idle().await?.projection().status;
            match status {
                RunStatus::Running => {
                    locked.cell.inner.lock().in_line = true;
                    locked.resume(None, Resumption::Asked).await?;
                    Ok(Takeover::Resumed)
                }
                RunStatus::Paused => Ok(Takeover::Waiting),
                _ => Ok(Takeover::Free),
            }
        };
        self.lock().await.complete(take_over).await
    }

    /// Returns whether the run of `projection` was left by a process that died while it executed code of the run: not by a
    /// shutdown or by this process, and not while all of its tasks waited for a retry.
    pub(super) async fn is_takeover(
        &self,
        why: Resumption,
        projection: &Projection,
    ) -> Result<bool, SessionError> {
        if why == Resumption::InProcess
            || projection.status != RunStatus::Running
            || self.cell.inner.lock().lost.is_some()
            || projection.root.waits_for_retries(self.shared.clock.now_ms())
        {
            return Ok(false);
        }
        let Some(store) = &self.shared.store else { return Ok(false) };
        Ok(store.head(self.id()).await?.is_none_or(|head| !head.summary.handed_over))
    }
}

impl LockedSession {
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
