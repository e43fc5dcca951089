//! Snapshots of sessions, after a run and after commits.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    cell::{LiveRun, SessionCell},
    runtime::Shared,
};
use crate::{
    engine::schedule::Schedule,
    graph::Graph,
    ids::Seq,
    journal::{
        projection::{FORMAT, FrameProjection, Projection},
        snapshot::Snapshot,
        stored_schedule::StoredSchedule,
    },
    json::{self, Stored},
    run::RunStatus,
    state::State,
};

pub(super) fn store_schedule(schedule: &Schedule) -> StoredSchedule {
    schedule.to_stored()
}

/// Stores a snapshot after a run or a commit.
pub(super) fn keep_snapshot<S: State>(
    shared: &Shared,
    live: &LiveRun,
    projection: &Projection,
    state: &S,
    seq: Seq,
) {
    // A state that JSON cannot express (NaN of a custom reducer) is folded from the updates in the journal.
    let state = match catch_unwind(AssertUnwindSafe(|| Stored::new(state, json::AGAIN))) {
        Ok(Ok(state)) => state,
        Ok(Err(error)) => {
            tracing::warn!(session = %live.env.session, error = %error.of("the state"), "no snapshot was kept");
            return;
        }
        Err(_) => {
            tracing::warn!(session = %live.env.session, "the state's serializer panicked; no snapshot was kept");
            return;
        }
    };
    let snapshot = Snapshot {
        format: FORMAT,
        run: projection.run,
        status: projection.status,
        graph: Arc::clone(&projection.graph),
        hash: Arc::clone(&projection.hash),
        version: S::VERSION,
        state: state.json,
        form: state.form,
        schedule: projection.root.schedule.as_deref().cloned(),
        answered: projection.answered.clone(),
        todos: projection.todos.items().to_vec(),
        used: projection.used,
        limits: projection.limits.as_deref().copied(),
        durability: projection.durability,
        accepted: projection.accepted,
        accepted_at: projection.accepted_at,
        active_ms: projection.active_ms,
        last_at: shared.clock.now_ms(),
        requests: projection.requests.clone(),
        labels: Arc::clone(&projection.labels),
        runs: projection.runs,
        queue: projection.queue.clone(),
        context: projection.context.clone(),
        pauses: projection.pauses.clone(),
        steered: projection.steered.iter().map(|(message, _)| message.clone()).collect(),
    };
    // Reserved, so that a large state is not moved while the text grows.
    let mut body = Vec::with_capacity(snapshot.state.get().len() + 1_024);
    if serde_json::to_writer(&mut body, &snapshot).is_err() {
        return;
    }
    drop(snapshot);
    let trim = seq.0.checked_sub(shared.options.retention.entries).map(Seq);
    live.env.writer.snapshot(seq, body, trim);
}

/// Returns the callback that stores a snapshot after a commit if one is due.
pub(crate) fn snapshots<S: State>(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    graph: &Graph<S>,
) -> crate::engine::OnCommit<S> {
    let shared = Arc::clone(shared);
    let live = Arc::downgrade(live);
    let cell = Arc::clone(cell);
    let hash = Arc::clone(&graph.0.hash);
    Box::new(move |state: &S, schedule: &Schedule, seq: Seq| {
        let Some(live) = live.upgrade() else { return };
        let env = &live.env;
        if !env.writer.wants_snapshot(shared.options.snapshot_bytes) {
            return;
        }
        // Released before the lock of the cell is taken: the other order is used while a run is suspended.
        let todos = env.todos.lock().clone();
        let mut projection = Projection {
            run: env.run,
            status: RunStatus::Running,
            graph: Arc::clone(&live.graph),
            hash: Arc::clone(&hash),
            root: FrameProjection {
                schedule: Some(Box::new(store_schedule(schedule))),
                ..FrameProjection::default()
            },
            answered: env.pending_questions.answered(),
            todos,
            used: env.budget.used(),
            limits: Some(Box::new(env.budget.limits())),
            durability: Some(env.durability),
            accepted: live.accepted,
            accepted_at: live.accepted_at,
            active_ms: env.control.active_ms(),
            requests: live.requests.clone(),
            labels: env.writer.labels(),
            context: env.context.clone(),
            pauses: env.pauses.clone(),
            steered: env.steered(),
            ..Projection::default()
        };
        add_queued(&mut projection, &live, &cell, seq);
        keep_snapshot(&shared, &live, &projection, state, seq);
    })
}

/// Adds the queued runs and the named requests as of an entry to a projection. Later ones are read from their entries.
pub(super) fn add_queued(projection: &mut Projection, live: &LiveRun, cell: &SessionCell, seq: Seq) {
    let inner = cell.inner.lock();
    let queued = inner.queue.iter().filter(|queued| queued.seq <= seq);
    projection.queue = queued.map(|queued| (queued.run, queued.queued.clone())).collect();
    projection.runs = live.runs.max(inner.queue.last());
    for (name, run) in inner.queue.requests_until(seq) {
        projection.remember_request(name.to_owned(), run);
    }
}
