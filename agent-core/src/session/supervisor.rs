//! One run from its first superstep to its rest: drives the graph, notices pauses, obeys a stop, tells how it ended.

use std::{
    future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    sync::atomic::Ordering,
};

use futures::FutureExt;

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    cell::{IdleProjection, LiveRun, SessionCell},
    reopen::LostRun,
    run_watch::RunResult,
    runtime::Shared,
};
use crate::{
    engine::{
        Frame, FrameEnd, RunContext, RunError, closing_update, drive_within_limits, encode_schedule,
        read_state, schedule::Schedule,
    },
    graph::Graph,
    ids::Seq,
    journal::{
        Summary,
        entry::{Closing, Completed, Fact, Failure, Paused, Resumed, Stopped, TodoChange},
        fold,
        projection::{FORMAT, FrameProjection, Projection, Snapshot},
    },
    json::{self, Stored},
    model::ModelError,
    run::RunStatus,
    state::State,
    telemetry,
    todo::{Todo, TodoStatus},
};

/// How the driving of a run ended.
enum RunEnd {
    Drive(Result<FrameEnd, RunError>),
    /// Stopped in the middle.
    Stopped,
    /// Put away: the journal has it, memory need not.
    Evicted,
}

/// What a run begins with besides its frame.
pub(crate) struct RunStart {
    /// Where the session stood when the run began; becomes its idle projection.
    pub(crate) projection: Box<Projection>,
    /// The run's span.
    pub(crate) span: tracing::Span,
}

/// Conducts a run. Owns it: nothing of it is left when this is done.
pub(crate) async fn supervise<S: State>(
    shared: Arc<Shared>,
    cell: Arc<SessionCell>,
    live: Arc<LiveRun>,
    mut frame: Frame<S>,
    begun: RunStart,
) {
    let env = Arc::clone(&live.env);
    // The last net: whatever of the author's code panics (a `Serialize`, say), the run ends and the session lives.
    let following = AssertUnwindSafe(drive_to_end(&shared, &cell, &live, &mut frame)).catch_unwind().await;
    let mut end = following.unwrap_or_else(|panic| {
        let message = crate::util::panic_message(&*panic);
        RunEnd::Drive(Err(RunError::Panicked { node: "(state)".to_owned(), message }))
    });
    if env.control.is_handover()
        && matches!(end, RunEnd::Stopped | RunEnd::Drive(Ok(FrameEnd::Interrupted)))
        && env.writer.is_durable()
    {
        // Not stopped: the next process finds it running, or paused, and takes it up.
        end = RunEnd::Evicted;
    }
    env.group.stop();
    // Most runs leave nobody behind: no timer for them.
    if !env.group.is_empty()
        && tokio::time::timeout(shared.options.grace, env.group.wait_idle()).await.is_err()
    {
        tracing::warn!(session = %cell.id, left = env.group.len(), "tasks hold a thread and could not be stopped");
    }
    env.control.close();
    let evicted = matches!(end, RunEnd::Evicted);
    let span = begun.span.clone();
    let ending = async {
        match end {
            RunEnd::Drive(Ok(FrameEnd::Completed)) => completed(&shared, &cell, &live, frame, begun).await,
            RunEnd::Drive(Ok(FrameEnd::Interrupted)) => {
                let drained = !env.control.stop.is_cancelled();
                stopped(&shared, &cell, &live, frame, begun, drained).await
            }
            RunEnd::Stopped => stopped(&shared, &cell, &live, frame, begun, false).await,
            RunEnd::Drive(Err(error)) => failed(&shared, &cell, &live, frame, begun, error).await,
            RunEnd::Evicted => {
                let left = match live.status() {
                    RunStatus::Running if env.control.is_handover() => {
                        let left = summary(&shared, &live, RunStatus::Running);
                        Box::pin(env.writer.store_summary(Summary { handed_over: true, ..left })).await
                    }
                    _ => env.writer.wait_all_durable().await,
                };
                if let Err(error) = left {
                    tracing::error!(session = %cell.id, %error, "a paused run could not be stored");
                }
                cell.invalidate();
                live.watch.result().unwrap_or_else(|| Arc::new(RunResult::new(RunStatus::Paused, None)))
            }
        }
    };
    // The author's code runs here too: an error's `Display`, the `Drop` of a state. What waits for the run's end must be
    // notified whatever it does.
    let result = match AssertUnwindSafe(ending).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => panicked_at_end(&shared, &cell, &live, crate::util::panic_message(&*panic)).await,
    };
    let code = result.error.as_deref().map(RunError::code);
    telemetry::run_ended(&span, &result.status, result.supersteps, code);
    drop(span);
    let lost = match result.status {
        RunStatus::Failed | RunStatus::Paused => LostRun::of(&cell, &live, &result),
        _ => None,
    };
    if let Some(lost) = &lost {
        lost.show(&live);
    }
    {
        let mut inner = cell.inner.lock();
        inner.live = None;
        inner.lost = lost;
        if !evicted {
            live.watch.send(Some(result));
        }
    }
    shared.live.fetch_sub(1, Ordering::AcqRel);
    live.watch.mark_removed();
    shared.run_ended(&cell);
}

/// A panic while the last facts of a run were written: the run fails, unless its end is stored already.
async fn panicked_at_end(
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
        if let Err(error) = close(live, facts, summary(shared, live, RunStatus::Failed)).await {
            tracing::error!(session = %cell.id, %error, "the failure of a run was not stored");
        }
    }
    cell.invalidate();
    Arc::new(RunResult::new(RunStatus::Failed, Some(Arc::new(error))))
}

/// Drives the graph until it ends or is to end. A pause is a state of this loop, not an end.
async fn drive_to_end<S: State>(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    frame: &mut Frame<S>,
) -> RunEnd {
    let env = &live.env;
    let mut driving = pin!(drive_within_limits(frame));
    // Dropped before the driving is: from then on, questions whose tasks go away stay asked.
    let _put_away = EvictionGuard(env);
    let mut stop = pin!(env.control.stop.cancelled());
    let mut parked: Option<Instant> = None;
    let mut place = SuspendedPermit { shared, counted: false };
    loop {
        // A timer is made only when it is looked at.
        let park = async {
            match parked {
                Some(at) => sleep_until(at).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased; // an end that came in the same poll wins over a stop
            end = driving.as_mut() => return RunEnd::Drive(end),
            () = stop.as_mut() => {
                // Tasks that do not listen are dropped by the next poll (see `engine::task`); once the others have
                // ended, so has the driving.
                if env.control.listeners.load(Ordering::Acquire) > 0 {
                    tokio::select! {
                        biased;
                        end = driving.as_mut() => return RunEnd::Drive(end),
                        () = sleep(shared.options.grace) => {}
                    }
                }
                return RunEnd::Stopped;
            }
            () = env.control.resumed.notified(), if parked.is_some() => {
                if let Err(error) = mark_resumed(shared, cell, live) {
                    return RunEnd::Drive(Err(error));
                }
            }
            () = env.control.idle.notified() => {
                if env.control.has_store_failed() {
                    return store_failed(live);
                }
                if !env.control.is_idle() {
                    continue;
                }
                if env.control.drain.load(Ordering::Acquire) {
                    return RunEnd::Drive(Ok(FrameEnd::Interrupted));
                }
                if !env.board.any_open() {
                    continue;
                }
                match pause(shared, cell, live).await {
                    Ok(true) => parked = Some(Instant::now() + shared.options.evict_paused_after),
                    Ok(false) => continue,
                    Err(error) => return RunEnd::Drive(Err(error)),
                }
                if place.take() > shared.options.max_suspended_runs && can_evict(env) {
                    return RunEnd::Evicted;
                }
            }
            () = park, if parked.is_some() && can_evict(env) => {
                // An answer may have come in the same moment.
                if live.status() == RunStatus::Paused && env.control.is_idle() {
                    return RunEnd::Evicted;
                }
                parked = None;
                place.leave();
            }
        }
    }
}

/// Ends a run whose journal cannot be written. One that waits for answers has lost nothing.
fn store_failed(live: &LiveRun) -> RunEnd {
    match live.env.writer.failure() {
        Some(error) if live.status() != RunStatus::Paused => RunEnd::Drive(Err(error.into())),
        _ => RunEnd::Evicted,
    }
}

/// Whether a paused run can leave memory: the journal has it, and no question of it runs out of time.
fn can_evict(env: &RunContext) -> bool {
    env.writer.is_durable() && !env.board.any_deadline()
}

/// A run's place among those that wait for a person in memory. An answered run leaves it when it next looks.
struct SuspendedPermit<'a> {
    shared: &'a Shared,
    counted: bool,
}

impl SuspendedPermit<'_> {
    /// How many there are, this one included.
    fn take(&mut self) -> usize {
        let more = usize::from(!std::mem::replace(&mut self.counted, true));
        self.shared.suspended_runs.fetch_add(more, Ordering::AcqRel) + more
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.shared.suspended_runs.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for SuspendedPermit<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Tells dropped questions that it is the run that goes away, and not a node that lost interest.
struct EvictionGuard<'a>(&'a RunContext);

impl Drop for EvictionGuard<'_> {
    fn drop(&mut self) {
        self.0.control.begin_eviction();
    }
}

/// Everything waits for a person: says so, once it is stored. `false`: an answer came meanwhile.
async fn pause(shared: &Arc<Shared>, cell: &Arc<SessionCell>, live: &Arc<LiveRun>) -> Result<bool, RunError> {
    let env = &live.env;
    let questions = env.board.open();
    if env.writer.has_consumers() {
        let ids = questions.iter().map(|open| open.id.clone()).collect();
        let summary = summary(shared, live, RunStatus::Paused).with_questions(&questions);
        let seq =
            env.writer.push_with(env.run, [Fact::RunPaused(Paused { questions: ids })], Some(summary))?;
        env.writer.wait_durable(seq).await?;
    }
    // Under the cell's lock, as is the delivery of answers: one of the two sees the other.
    let _inner = cell.inner.lock();
    if !env.control.is_idle() {
        return Ok(false);
    }
    env.control.pause_clock();
    // Some of them may have been answered meanwhile.
    let questions = env.board.open();
    live.watch.send(Some(Arc::new(RunResult { questions, ..RunResult::new(RunStatus::Paused, None) })));
    Ok(true)
}

/// A paused run may go on without an answer: a deadline passed, or the node waits for something else too.
fn mark_resumed(shared: &Arc<Shared>, cell: &Arc<SessionCell>, live: &Arc<LiveRun>) -> Result<(), RunError> {
    let env = &live.env;
    {
        // Under the cell's lock, as is the delivery of answers, which does the same.
        let _inner = cell.inner.lock();
        if live.status() != RunStatus::Paused || env.control.is_idle() {
            return Ok(());
        }
        env.control.resume_clock();
        live.watch.send(None);
    }
    if env.writer.has_consumers() {
        let summary = summary(shared, live, RunStatus::Running);
        env.writer.push_with(env.run, [Fact::RunResumed(Resumed::default())], Some(summary))?;
        env.append([])?;
    }
    Ok(())
}

pub(crate) fn summary(shared: &Shared, live: &LiveRun, status: RunStatus) -> Summary {
    Summary::new(&*live.graph, status.as_str(), live.run(), shared.clock.now_ms())
}

pub(crate) fn todo_facts(changed: Vec<Todo>) -> impl Iterator<Item = Fact> {
    changed.into_iter().map(|todo| Fact::TodoChanged(TodoChange { todo, by: None }))
}

/// Writes the last facts of a run and waits until they are stored.
async fn close(live: &LiveRun, facts: Vec<Fact>, summary: Summary) -> Result<Seq, RunError> {
    let env = &live.env;
    let seq = env.writer.push_with(env.run, facts, Some(summary))?;
    env.control.mark_end_written();
    env.writer.wait_durable(seq).await?;
    Ok(seq)
}

async fn completed<S: State>(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    frame: Frame<S>,
    begun: RunStart,
) -> Arc<RunResult> {
    let env = &live.env;
    let (active_ms, supersteps) = (env.control.active_ms(), frame.schedule.superstep);
    let fact = Fact::RunCompleted(Completed { active_ms, supersteps });
    let seq = match close(live, vec![fact], summary(shared, live, RunStatus::Completed)).await {
        Ok(seq) => seq,
        Err(error) => return failed(shared, cell, live, frame, begun, error).await,
    };
    let state = Arc::clone(&frame.state);
    let mut projection = begun.projection;
    finish_projection(&mut projection, cell, live, &frame, RunStatus::Completed, seq);
    projection.active_ms = active_ms;
    env.board.clear();
    if env.writer.is_durable() && env.writer.wants_snapshot(shared.options.snapshot_bytes) {
        keep_snapshot(shared, live, &projection, &*frame.state, seq);
    }
    cell.inner.lock().idle = Some(IdleProjection { projection, state: Some(Arc::clone(&frame.state) as _) });
    Arc::new(RunResult { state: Some(state), supersteps, ..RunResult::new(RunStatus::Completed, None) })
}

async fn stopped<S: State>(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    mut frame: Frame<S>,
    begun: RunStart,
    drained: bool,
) -> Arc<RunResult> {
    let changed = live.env.todos.lock().settle(TodoStatus::Cancelled, "stopped");
    let mut facts: Vec<Fact> = todo_facts(changed).collect();
    let closing = Box::pin(close_state(live, &mut frame)).await;
    facts.push(Fact::RunStopped(Stopped { drained, closing }));
    match close(live, facts, summary(shared, live, RunStatus::Stopped)).await {
        Ok(seq) => {
            let supersteps = frame.schedule.superstep;
            let state = release_session(cell, live, frame, begun, RunStatus::Stopped, seq);
            Arc::new(RunResult { state, supersteps, ..RunResult::new(RunStatus::Stopped, None) })
        }
        Err(error) => failed(shared, cell, live, frame, begun, error).await,
    }
}

async fn failed<S: State>(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    mut frame: Frame<S>,
    begun: RunStart,
    error: RunError,
) -> Arc<RunResult> {
    // What an endpoint says may repeat what a person said: no more of it is logged than of that.
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
        close(live, facts, summary(shared, live, RunStatus::Failed)).await.ok()
    };
    let state = match stored {
        Some(seq) if !frame.dirty => release_session(cell, live, frame, begun, RunStatus::Failed, seq),
        _ => {
            cell.invalidate();
            None
        }
    };
    Arc::new(RunResult { state, supersteps, ..RunResult::new(RunStatus::Failed, Some(error)) })
}

/// Applies the update that the graph makes for a run that is cut short, and returns it as it is stored with the end.
///
/// With a store, the unfinished tasks are read from the journal, which knows more than the tasks that were dropped.
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
            let schedule =
                serde_json::from_str(encode_schedule(&frame.schedule).get()).expect("a schedule reads back");
            closing_update(&frame.graph, &*frame.state, &schedule, &tasks.unwrap_or_default())?
        }
    };
    if frame.dirty {
        return Some(closing);
    }
    if Arc::get_mut(&mut frame.state).is_none() {
        // A task that could not be stopped holds the state.
        frame.state = Arc::new(super::start::copy_state(&*frame.state).ok()?);
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

/// Leaves a run that is not at its end: the journal has all of it. Without one, what can be kept is kept.
fn release_session<S: State>(
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    frame: Frame<S>,
    begun: RunStart,
    status: RunStatus,
    seq: Seq,
) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
    let idle = (!live.env.writer.is_durable()).then(|| {
        let mut projection = begun.projection;
        finish_projection(&mut projection, cell, live, &frame, status, seq);
        IdleProjection { projection, state: Some(Arc::clone(&frame.state) as _) }
    });
    cell.inner.lock().idle = idle;
    Some(frame.state as _)
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
    projection.answered = live.env.board.answered();
    let queue = queued_until(live, cell, seq);
    (projection.runs, projection.queue) = (queue.runs, queue.queue);
    projection.root = FrameProjection {
        schedule: Some(store_schedule(&frame.schedule)),
        version: S::VERSION,
        ..FrameProjection::default()
    };
}

fn store_schedule(schedule: &Schedule) -> crate::journal::stored_schedule::StoredSchedule {
    schedule
        .stored_when_done()
        .unwrap_or_else(|| json::read(encode_schedule(schedule).get()).expect("a schedule reads back"))
}

/// Keeps a snapshot of a session at rest, or in a run's commit.
fn keep_snapshot<S: State>(shared: &Shared, live: &LiveRun, projection: &Projection, state: &S, seq: Seq) {
    // The journal has the updates; a state that JSON cannot express (NaN of a custom reducer) is folded from them.
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
        schedule: projection.root.schedule.clone(),
        answered: projection.answered.clone(),
        todos: projection.todos.items().to_vec(),
        used: projection.used,
        limits: projection.limits,
        durability: projection.durability,
        accepted: projection.accepted,
        accepted_at: projection.accepted_at,
        active_ms: projection.active_ms,
        last_at: shared.clock.now_ms(),
        requests: projection.requests.clone(),
        labels: Arc::clone(&projection.labels),
        runs: projection.runs,
        queue: projection.queue.clone(),
    };
    let Ok(body) = serde_json::to_vec(&snapshot) else { return };
    let trim = seq.0.checked_sub(shared.options.retention.entries).map(Seq);
    live.env.writer.snapshot(seq, body, trim);
}

/// Called after each commit: keeps a snapshot when much was journalled since the last one.
pub(crate) fn snapshots<S: State>(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    graph: &Graph<S>,
) -> crate::engine::OnCommit<S> {
    let shared = Arc::clone(shared);
    let live = Arc::downgrade(live);
    let cell = Arc::clone(cell);
    let hash: Arc<str> = graph.hash().into();
    Box::new(move |state: &S, schedule: &Schedule, seq: Seq| {
        let Some(live) = live.upgrade() else { return };
        let env = &live.env;
        if !env.writer.wants_snapshot(shared.options.snapshot_bytes) {
            return;
        }
        let projection = Projection {
            run: env.run,
            status: RunStatus::Running,
            graph: Arc::clone(&live.graph),
            hash: Arc::clone(&hash),
            root: FrameProjection { schedule: Some(store_schedule(schedule)), ..FrameProjection::default() },
            answered: env.board.answered(),
            todos: env.todos.lock().clone(),
            used: env.budget.used(),
            limits: Some(env.budget.limits()),
            durability: Some(env.durability),
            accepted: live.accepted,
            accepted_at: live.accepted_at,
            active_ms: env.control.active_ms(),
            requests: live.requests.clone(),
            labels: env.writer.labels(),
            ..queued_until(&live, &cell, seq)
        };
        keep_snapshot(&shared, &live, &projection, state, seq);
    })
}

/// The runs that are queued as of an entry, for a snapshot there. Runs queued later are read from their entries.
fn queued_until(live: &LiveRun, cell: &SessionCell, seq: Seq) -> Projection {
    let inner = cell.inner.lock();
    let queued = inner.queue.iter().filter(|queued| queued.seq <= seq);
    let queue = queued.map(|queued| (queued.run, queued.queued.clone())).collect::<Vec<_>>();
    drop(inner);
    let runs = queue.iter().map(|(run, _)| *run).max().unwrap_or_default().max(live.runs);
    Projection { runs, queue, ..Projection::default() }
}
