//! End of a run: writes its last entries, releases the session and returns the result.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    cell::{IdleProjection, LiveRun, SessionCell},
    run_watch::{ErasedState, RunResult},
    runtime::Shared,
    snapshots::{add_queued, keep_snapshot, store_schedule},
    supervisor::RunStart,
};
use crate::{
    engine::{Frame, RunError, closing_update, read_state},
    ids::Seq,
    journal::{
        Summary,
        entry::{Closing, Completed, Fact, Failure, Stopped, TodoChange},
        fold,
        projection::{FrameProjection, Projection},
    },
    model::ModelError,
    run::RunStatus,
    state::State,
    telemetry,
    todo::{Todo, TodoStatus},
};

pub(crate) fn summary(shared: &Shared, live: &LiveRun, status: RunStatus) -> Summary {
    Summary::new(&*live.graph, status.as_str(), live.run(), shared.clock.now_ms())
}

pub(crate) fn todo_facts(changed: Vec<Todo>) -> impl Iterator<Item = Fact> {
    changed.into_iter().map(|todo| Fact::TodoChanged(TodoChange { todo, by: None }))
}

/// Handles a panic while the last entries were written: the run fails, unless its end is stored already.
pub(super) async fn panicked_at_end(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    message: String,
) -> Arc<RunResult> {
    tracing::error!(session = %cell.id, run = %live.run(), message, "a run panicked while it ended");
    let error = RunError::Panicked { node: "(end of the run)".to_owned(), message };
    if !live.env.control.is_end_written() {
        let changed = live.env.todos.lock().settle(TodoStatus::Failed, "the run failed");
        let mut facts: Vec<Fact> = todo_facts(changed).collect();
        facts.push(Fact::RunFailed(Failure {
            code: error.code().name().to_owned(),
            message: crate::util::shorten(&error.to_string(), 2_000),
            node: error.node().map(str::to_owned),
            task: None,
            closing: None,
        }));
        if let Err(error) = close(shared, live, facts, RunStatus::Failed).await {
            tracing::error!(session = %cell.id, %error, "the failure of a run was not stored");
        }
    }
    cell.invalidate();
    Arc::new(RunResult { error: Some(Arc::new(error)), ..live.result(RunStatus::Failed) })
}

/// Writes the last entries of a run and waits until they are stored.
async fn close(
    shared: &Shared,
    live: &LiveRun,
    facts: impl IntoIterator<Item = Fact>,
    status: RunStatus,
) -> Result<Seq, RunError> {
    let seq = push_end(shared, live, facts, status)?;
    live.env.writer.wait_durable(seq).await?;
    Ok(seq)
}

/// Queues the last entries of a run for the journal.
fn push_end(
    shared: &Shared,
    live: &LiveRun,
    facts: impl IntoIterator<Item = Fact>,
    status: RunStatus,
) -> Result<Seq, RunError> {
    let env = &live.env;
    let summary = env.writer.is_durable().then(|| summary(shared, live, status));
    let seq = env.writer.push_with(env.run, facts, summary)?;
    env.control.mark_end_written();
    Ok(seq)
}

pub(super) async fn completed<S: State>(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    frame: Box<Frame<S>>,
    start: RunStart,
) -> Arc<RunResult> {
    let env = &live.env;
    let (active_ms, supersteps) = (env.control.active_ms(), frame.schedule.superstep);
    let fact = Fact::RunCompleted(Completed { active_ms, supersteps });
    // Not by `close`: its future would hold the fact, and a suspended run has room for this one.
    let stored = match push_end(shared, live, [fact], RunStatus::Completed) {
        Ok(seq) => env.writer.wait_durable(seq).await.map(|()| seq).map_err(RunError::from),
        Err(error) => Err(error),
    };
    let seq = match stored {
        Ok(seq) => seq,
        Err(error) => return Box::pin(failed(shared, cell, live, frame, start, error)).await,
    };
    let state = Arc::clone(&frame.state);
    if let Some(span) = &start.span {
        telemetry::run_output(span, &*frame.state);
    }
    let mut projection = start.projection;
    finish_projection(&mut projection, cell, live, &frame, RunStatus::Completed, seq);
    projection.active_ms = active_ms;
    env.pending_questions.clear();
    if env.writer.is_durable() && env.writer.wants_snapshot(shared.options.snapshot_bytes) {
        keep_snapshot(shared, live, &projection, &*frame.state, seq);
    }
    cell.set_idle_as_of(seq, Some(IdleProjection { projection, state: Some(Arc::clone(&frame.state) as _) }));
    let state = Some(ErasedState::new(state));
    Arc::new(RunResult { state, supersteps, active_ms, ..live.result(RunStatus::Completed) })
}

pub(super) async fn stopped<S: State>(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    mut frame: Box<Frame<S>>,
    start: RunStart,
    drained: bool,
) -> Arc<RunResult> {
    let changed = live.env.todos.lock().settle(TodoStatus::Cancelled, "stopped");
    let mut facts: Vec<Fact> = todo_facts(changed).collect();
    let closing = Box::pin(close_state(live, &mut frame)).await;
    facts.push(Fact::RunStopped(Stopped { drained, closing }));
    match close(shared, live, facts, RunStatus::Stopped).await {
        Ok(seq) => {
            let supersteps = frame.schedule.superstep;
            let state = release_session(cell, live, frame, start, RunStatus::Stopped, seq);
            Arc::new(RunResult { state, supersteps, ..live.result(RunStatus::Stopped) })
        }
        Err(error) => Box::pin(failed(shared, cell, live, frame, start, error)).await,
    }
}

pub(super) async fn failed<S: State>(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    mut frame: Box<Frame<S>>,
    start: RunStart,
    error: RunError,
) -> Arc<RunResult> {
    // The text of an endpoint may repeat user input: it is logged only in part.
    let detail = error.model().and_then(ModelError::detail).map(|detail| crate::util::shorten(detail, 50));
    tracing::warn!(session = %cell.id, run = %live.run(), code = %error.code(), detail, "run failed");
    let supersteps = frame.schedule.superstep;
    let error = Arc::new(error);
    let stored = if matches!(*error, RunError::Store(_)) {
        None
    } else {
        let closing = Box::pin(close_state(live, &mut frame)).await;
        let changed = live.env.todos.lock().settle(TodoStatus::Failed, "the run failed");
        let mut facts: Vec<Fact> = todo_facts(changed).collect();
        facts.push(Fact::RunFailed(Failure {
            code: error.code().name().to_owned(),
            message: crate::util::shorten(&error.report(), 2_000),
            node: error.node().map(str::to_owned),
            task: None,
            closing,
        }));
        close(shared, live, facts, RunStatus::Failed).await.ok()
    };
    let state = match stored {
        Some(seq) if !frame.dirty => release_session(cell, live, frame, start, RunStatus::Failed, seq),
        _ => {
            cell.invalidate();
            None
        }
    };
    Arc::new(RunResult { state, supersteps, error: Some(error), ..live.result(RunStatus::Failed) })
}

/// Applies the `on_stop` update of the graph and returns its stored form.
///
/// With a store, the unfinished tasks are read from the journal, which has the records of dropped tasks.
async fn close_state<S: State>(live: &LiveRun, frame: &mut Frame<S>) -> Option<Closing> {
    frame.graph.0.on_stop.as_ref()?;
    let env = &live.env;
    let (closing, update) = match env.writer.store() {
        Some(store) => {
            let folded = match env.writer.wait_all_durable().await {
                Ok(()) => fold(&**store, &env.session, Seq(u64::MAX >> 1)).await,
                Err(error) => Err(error),
            };
            let root = folded
                .inspect_err(|error| tracing::warn!(session = %env.session, %error, "a state was not closed"))
                .ok()??
                .root;
            let dirty = if frame.dirty { Some(read_state::<S>(&root).ok()?) } else { None };
            let state = dirty.as_ref().unwrap_or(&*frame.state);
            closing_update(&frame.graph, state, root.schedule.as_ref()?, &root.tasks)?
        }
        None if frame.dirty => return None,
        None => {
            let tasks = env.unfinished_records.as_ref().map(|ledger| std::mem::take(&mut *ledger.lock()));
            let schedule = frame.schedule.to_stored();
            closing_update(&frame.graph, &*frame.state, &schedule, &tasks.unwrap_or_default())?
        }
    };
    if frame.dirty {
        return Some(closing);
    }
    if Arc::get_mut(&mut frame.state).is_none() {
        // A task that could not be stopped holds the state.
        frame.state = Arc::new(super::run_input::copy_state(&*frame.state).ok()?);
    }
    let state = Arc::get_mut(&mut frame.state)?;
    match catch_unwind(AssertUnwindSafe(|| state.apply(update))) {
        Ok(Ok(())) => Some(closing),
        Ok(Err(error)) => {
            tracing::error!(session = %env.session, %error, "the update for a run that was cut short was refused");
            None
        }
        Err(_) => {
            // It may have been applied in part: the journal has the state from before it.
            frame.dirty = true;
            None
        }
    }
}

/// Releases the session after a run that did not complete. Without a journal, its projection is cached.
fn release_session<S: State>(
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    frame: Box<Frame<S>>,
    start: RunStart,
    status: RunStatus,
    seq: Seq,
) -> Option<ErasedState> {
    let idle = (!live.env.writer.is_durable()).then(|| {
        let mut projection = start.projection;
        finish_projection(&mut projection, cell, live, &frame, status, seq);
        IdleProjection { projection, state: Some(Arc::clone(&frame.state) as _) }
    });
    cell.set_idle_as_of(seq, idle);
    Some(ErasedState::new(frame.state))
}

fn finish_projection<S: State>(
    projection: &mut Projection,
    cell: &SessionCell,
    live: &LiveRun,
    frame: &Frame<S>,
    status: RunStatus,
    seq: Seq,
) {
    projection.last = seq;
    projection.status = status;
    projection.todos = live.env.todos.lock().clone();
    projection.used = live.env.budget.used();
    projection.open.clear();
    projection.steered = live.env.steered();
    projection.answered = live.env.pending_questions.answered();
    add_queued(projection, live, cell, seq);
    projection.root = FrameProjection {
        schedule: Some(Box::new(store_schedule(&frame.schedule))),
        version: S::VERSION,
        ..FrameProjection::default()
    };
}
