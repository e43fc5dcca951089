//! Resumes runs from the journal.

use super::start::RunInit;
use super::{
    Run, Session, SessionError,
    cell::IdleProjection,
    dyn_graph::DynGraph,
    lock::{IdleSession, LockedSession},
    run_end::todo_facts,
    takeover::{Resumption, TakeoverCause},
};
use crate::{
    engine::{RunError, Starts, contain, read_frame, read_state, schedule::Schedule},
    graph::Graph,
    journal::{
        Summary,
        entry::{Fact, Resumed},
        projection::{FrameProjection, Projection},
    },
    run::{Limits, RunStatus},
    state::State,
};
use std::sync::Arc;

impl LockedSession {
    /// Resumes a run that is not in memory and not completed.
    pub(super) async fn resume(&self, limits: Option<Limits>, why: Resumption) -> Result<Run, SessionError> {
        self.check_open()?;
        if let Some(live) = self.live_run().await {
            return Err(self.nothing_to_resume(live.status()));
        }
        let idle = self.existing().await?;
        match idle.projection().status {
            // A paused run continues only with an answer.
            status @ (RunStatus::Idle | RunStatus::Completed | RunStatus::Paused) => {
                return Err(self.nothing_to_resume(status));
            }
            RunStatus::Running | RunStatus::Failed | RunStatus::Stopped => {}
        }
        if !idle.writer().is_durable() {
            return Err(SessionError::CannotResume { session: self.id().clone() });
        }
        let graph = self.graph_of(&idle.projection().graph)?;
        let max_takeovers = self.max_takeovers(&*graph);
        let run = graph.read_run(idle.projection())?;
        let cause = self.takeover_cause(why, idle.projection()).await?;
        let takeover = cause == TakeoverCause::Death;
        let is_at_limit = idle.projection().takeovers >= max_takeovers;
        if takeover && is_at_limit {
            return Err(Box::pin(self.fail_crash_loop(idle)).await);
        }
        let exempt = is_at_limit && cause == TakeoverCause::HandedOver;
        run.resume(self, Resumed { limits, takeover, exempt }, idle).await
    }

    fn nothing_to_resume(&self, status: RunStatus) -> SessionError {
        SessionError::NothingToDo { session: self.id().clone(), status, verb: "resume" }
    }

    /// Resumes a run from the decoded state and schedule.
    pub(super) async fn resume_read<S: State>(
        &self,
        graph: &Graph<S>,
        instance: Arc<dyn DynGraph>,
        read: ReadRun<S>,
        resumed: Resumed,
        idle: IdleSession<'_>,
    ) -> Result<Run, SessionError> {
        let ReadRun { state, schedule, starts } = read;
        let (writer, IdleProjection { mut projection, .. }) = idle.into_parts();
        let mut frame_projection = std::mem::take(&mut projection.root);
        // As the projection will be after `RunResumed`.
        frame_projection.prepare_resume(projection.status);
        let mut todos = std::mem::take(&mut projection.todos);
        let mut facts: Vec<Fact> = todo_facts(todos.restore(&["stopped", "the run failed"])).collect();
        facts.push(Fact::RunResumed(resumed));
        let (run, now) = (projection.run, self.shared.clock.now_ms());
        let summary = Summary::new(graph.name(), RunStatus::Running.as_str(), run, now);
        self.shared.keep_leases();
        let seq = match writer.push_with(run, facts, Some(summary)) {
            Ok(seq) => seq,
            Err(error) => {
                self.cell.invalidate();
                return Err(error.into());
            }
        };
        self.wait_durable(&writer, seq).await?;
        projection.last = seq;
        projection.resume_limits(resumed.limits);
        let open = std::mem::take(&mut projection.open);
        self.cell.pending_questions.restore(open, &projection.answered);
        projection.graph = Arc::clone(&graph.0.name);
        projection.hash = Arc::clone(&graph.0.hash);
        let init = RunInit {
            limits: projection.limits.as_deref().copied().unwrap_or(self.shared.options.limits),
            durability: projection.durability.unwrap_or(self.shared.options.durability),
            active_ms: projection.active_ms,
            used: projection.used,
            todos,
            records: frame_projection.tasks,
            projection,
            schedule,
            state,
            starts,
            resumed: true,
        };
        Ok(self.spawn_run(graph, instance, &writer, init).spawn(&self.shared))
    }
}

impl Session {
    /// Returns the unfinished run of this graph: in memory, paused, or resumed from the journal. `None` if there is none, or
    /// one of another graph.
    pub(super) async fn continue_unfinished<S: State>(
        &self,
        graph: &Graph<S>,
    ) -> Result<Option<Run>, SessionError> {
        let current = match self.current_run().await {
            Err(SessionError::NotFound { .. }) => None,
            current => current?,
        };
        let Some(run) = current else { return Ok(None) };
        if self.status().await?.graph != graph.name() {
            return Ok(None);
        }
        if self.cell.live().is_some() {
            return Ok(Some(run));
        }
        self.cell.inner.lock().graph = Some(self.shared.instance(graph));
        if run.status() == RunStatus::Paused {
            return Ok(Some(run));
        }
        match self.resume().await {
            // It ended, or another caller resumed it, in the same moment.
            Err(SessionError::NothingToDo { .. }) => self.current_run().await,
            resumed => resumed.map(Some),
        }
    }
}

/// An unfinished run, decoded from the journal.
pub(super) struct ReadRun<S: State> {
    state: Arc<S>,
    schedule: Schedule,
    starts: Option<Box<Starts<S>>>,
}

/// Decodes an unfinished run with `graph`. Everything that can be refused is refused here.
pub(super) fn read_run<S: State>(
    graph: &Graph<S>,
    projection: &Projection,
) -> Result<ReadRun<S>, SessionError> {
    let schedule = restore_schedule(graph, projection)?;
    let read = contain("(state)", || read_frame(graph, &projection.root, &schedule))?;
    let (state, starts) = read?;
    Ok(ReadRun { state, schedule, starts })
}

/// Restores the schedule of `projection` for the present graph.
pub(super) fn restore_schedule<S: State>(
    graph: &Graph<S>,
    projection: &Projection,
) -> Result<Schedule, SessionError> {
    let stored = projection.root.schedule.clone().unwrap_or_default();
    let schedule = Schedule::restore(Arc::clone(&graph.0.topology), &stored)
        .map_err(|missing| RunError::GraphChanged { graph: graph.name().to_owned(), missing })?;
    Ok(schedule)
}

/// Decodes a stored state. A panic of user code, such as a migration, becomes an error.
pub(super) fn read_contained<S: State>(projection: &FrameProjection) -> Result<S, RunError> {
    contain("(state)", || read_state(projection))?
}
