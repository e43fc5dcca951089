//! Supervisor of a run: drives the graph, detects pauses, handles stop and eviction, and publishes the result.

use std::{future, panic::AssertUnwindSafe, pin::pin, sync::Arc, sync::atomic::Ordering, time::Duration};

use futures::FutureExt;

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    cell::{LiveRun, SessionCell},
    phase::{Effect, PhaseEvent},
    reopen::LostRun,
    run_end::{completed, failed, panicked_at_end, stopped, summary},
    runtime::Shared,
    slots::{Slot, Slots},
};
use crate::{
    clock::millis,
    engine::{Frame, FrameEnd, RunContext, RunError, drive_within_limits},
    journal::{
        Summary,
        entry::{Fact, Paused, Resumed},
        projection::Projection,
    },
    run::RunStatus,
    state::State,
    telemetry,
};

/// Why the supervisor stopped driving a run.
enum RunEnd {
    Drive(Result<FrameEnd, RunError>),
    /// Stopped within a superstep.
    Stopped,
    /// Evicted from memory; the journal has everything.
    Evicted,
}

/// Start values of a run besides its frame.
pub(crate) struct RunStart {
    /// Projection of the session at the start of the run; becomes its idle projection.
    pub(crate) projection: Box<Projection>,
    /// The run's span, if it is recorded. Boxed, because a suspended run has room for it three times.
    pub(crate) span: Option<Box<tracing::Span>>,
}

/// Drives a run to its end and cleans up: nothing of it is left in memory afterwards.
#[expect(
    clippy::manual_async_fn,
    reason = "an async function keeps its arguments twice, in every suspended run"
)]
pub(crate) fn supervise<S: State>(
    shared: Arc<Shared>,
    cell: Arc<SessionCell>,
    live: Arc<LiveRun>,
    mut frame: Box<Frame<S>>,
    start: RunStart,
) -> impl Future<Output = ()> + Send {
    async move {
        // Panics of user code that were not contained elsewhere (such as `Serialize`) end the run, not the session.
        let driving = AssertUnwindSafe(drive_to_end(&shared, &cell, &live, &mut frame)).catch_unwind();
        let end = driving.await.unwrap_or_else(|panic| {
            let message = crate::util::panic_message(&*panic);
            RunEnd::Drive(Err(RunError::Panicked { node: "(state)".to_owned(), message }))
        });
        // In one await, so that its variables share the room of the drive future.
        end_run(&shared, &cell, &live, frame, start, end).await;
    }
}

/// Stops the tasks of a run, stores its end, and publishes its result.
#[expect(clippy::manual_async_fn, reason = "as for `supervise`")]
fn end_run<'a, S: State>(
    shared: &'a Arc<Shared>,
    cell: &'a Arc<SessionCell>,
    live: &'a Arc<LiveRun>,
    frame: Box<Frame<S>>,
    start: RunStart,
    mut end: RunEnd,
) -> impl Future<Output = ()> + Send + 'a {
    async move {
        let env = &live.env;
        if env.control.is_handover()
            && matches!(end, RunEnd::Stopped | RunEnd::Drive(Ok(FrameEnd::Interrupted)))
            && env.writer.is_durable()
        {
            // Not stopped: another process finds it running or paused, and resumes it.
            end = RunEnd::Evicted;
        }
        // Most runs leave no task behind and need no timer.
        if let Some(group) = env.tasks.stop()
            && !group.is_empty()
            && tokio::time::timeout(shared.options.grace, group.wait_idle()).await.is_err()
        {
            tracing::warn!(session = %cell.id, left = group.len(), "tasks hold a thread and could not be stopped");
        }
        env.control.close();
        if let Some(steering) = &env.steering {
            steering.close();
        }
        let evicted = matches!(end, RunEnd::Evicted);
        let span = start.span.clone();
        // Rare ends are boxed: a suspended run keeps room for all of them.
        let ending = async {
            match end {
                RunEnd::Drive(Ok(FrameEnd::Completed)) => completed(shared, cell, live, frame, start).await,
                RunEnd::Drive(Ok(FrameEnd::Interrupted)) => {
                    let drained = !env.control.stop.is_cancelled();
                    Box::pin(stopped(shared, cell, live, frame, start, drained)).await
                }
                RunEnd::Stopped => Box::pin(stopped(shared, cell, live, frame, start, false)).await,
                RunEnd::Drive(Err(error)) => Box::pin(failed(shared, cell, live, frame, start, error)).await,
                RunEnd::Evicted => {
                    let left = match live.status() {
                        RunStatus::Running if env.control.is_handover() => {
                            let left = summary(shared, live, RunStatus::Running);
                            Box::pin(env.writer.store_summary(Summary { handed_over: true, ..left })).await
                        }
                        _ => env.writer.wait_all_durable().await,
                    };
                    if let Err(error) = left {
                        tracing::error!(session = %cell.id, %error, "a paused run could not be stored");
                    }
                    if env.pending_questions.next_due().is_some() {
                        shared.watch_deadlines();
                    }
                    cell.invalidate();
                    live.watch.result().unwrap_or_else(|| Arc::new(live.result(RunStatus::Paused)))
                }
            }
        };
        // User code runs here too: the `Display` of an error, the `Drop` of a state. Waiters must be notified even if it panics.
        let result = match AssertUnwindSafe(ending).catch_unwind().await {
            Ok(result) => result,
            Err(panic) => {
                let message = crate::util::panic_message(&*panic);
                Box::pin(panicked_at_end(shared, cell, live, message)).await
            }
        };
        let code = result.error.as_deref().map(RunError::code);
        if let Some(span) = span {
            telemetry::run_ended(&span, &result.status, result.supersteps, code);
        }
        let lost = match result.status {
            RunStatus::Failed | RunStatus::Paused => LostRun::of(cell, live, &result),
            _ => None,
        };
        if let Some(lost) = &lost {
            lost.show(live);
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
        shared.run_ended(cell);
    }
}

/// Drives the graph until it ends or must end. A pause is a state of this loop, not an end.
async fn drive_to_end<S: State>(
    shared: &Arc<Shared>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
    frame: &mut Frame<S>,
) -> RunEnd {
    let env = &live.env;
    let mut slot = match &shared.slots {
        // Boxed: runs without a limit keep no room for it.
        Some(slots) => match Box::pin(first_slot(shared, slots, cell, live)).await {
            Ok(slot) => Some(slot),
            Err(end) => return end,
        },
        None => None,
    };
    let mut driving = pin!(drive_within_limits(frame));
    // Dropped before the drive future: from then on, questions of dropped tasks stay open.
    let _evicting = EvictionGuard(env);
    let mut stop = pin!(env.control.stop.cancelled());
    let mut evict_at: Option<Instant> = None;
    let mut permit = SuspendedPermit { shared, counted: false };
    loop {
        // The timer is created only if it is polled, and only then has room.
        let eviction_due = async {
            match evict_at {
                Some(at) => Box::pin(sleep_until(at)).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased; // an end that came in the same poll wins over a stop
            end = driving.as_mut() => return RunEnd::Drive(end),
            () = stop.as_mut() => {
                // Tasks that do not listen are dropped in the next poll (see `engine::task`); the drive future ends with the others.
                if env.control.listeners.load(Ordering::Acquire) > 0 {
                    tokio::select! {
                        biased;
                        end = driving.as_mut() => return RunEnd::Drive(end),
                        () = sleep(shared.options.grace) => {}
                    }
                }
                return RunEnd::Stopped;
            }
            () = env.control.resumed.notified(), if evict_at.is_some() => {
                if let Err(error) = mark_resumed(shared, cell, live) {
                    return RunEnd::Drive(Err(error));
                }
                if slot.is_none() {
                    slot = shared.slots.as_ref().map(Slots::take);
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
                if !env.pending_questions.any_open() {
                    continue;
                }
                match pause(shared, cell, live).await {
                    Ok(true) => {
                        evict_at = Some(Instant::now() + crate::util::bounded(shared.options.evict_paused_after));
                        slot = None;
                    }
                    Ok(false) => continue,
                    Err(error) => return RunEnd::Drive(Err(error)),
                }
                // A run with a distant deadline leaves the memory only if there are too many.
                let crowded = permit.acquire() > shared.options.max_suspended_runs;
                if crowded && is_evicted(cell, live, can_evict(env, LONG_WAIT)) {
                    return RunEnd::Evicted;
                }
            }
            () = eviction_due, if evict_at.is_some() && can_evict(env, Duration::MAX) => {
                // An answer may have arrived at the same time.
                if is_evicted(cell, live, can_evict(env, Duration::MAX)) {
                    return RunEnd::Evicted;
                }
                evict_at = None;
                permit.release();
            }
        }
    }
}

/// Waits for a slot, or for the end of a run that has not begun.
async fn first_slot(
    shared: &Arc<Shared>,
    slots: &Arc<Slots>,
    cell: &Arc<SessionCell>,
    live: &Arc<LiveRun>,
) -> Result<Slot, RunEnd> {
    if !live.waits {
        return Ok(slots.take());
    }
    let (env, control) = (&live.env, &live.env.control);
    let subject = env.writer.labels().get(&shared.options.turn_label).cloned().unwrap_or_default();
    let mut place = match slots.ask(&cell.id, subject, live) {
        Ok(slot) => return Ok(slot),
        Err(place) => place,
    };
    control.pause_clock();
    if slots.waiting() == 1 {
        shared.announce_line();
    }
    loop {
        tokio::select! {
            biased;
            () = control.stop.cancelled() => return Err(RunEnd::Stopped),
            () = control.idle.notified() => {
                if control.has_store_failed() {
                    return Err(store_failed(live));
                }
                if control.drain.load(Ordering::Acquire) {
                    return Err(RunEnd::Drive(Ok(FrameEnd::Interrupted)));
                }
            }
            slot = place.wait() => {
                let Some(slot) = slot else {
                    // Another process takes the run over.
                    control.drain_for_restart();
                    return Err(RunEnd::Drive(Ok(FrameEnd::Interrupted)));
                };
                control.resume_clock();
                return Ok(slot);
            }
        }
    }
}

/// Returns the end of a run after a failure of its store. A paused run has lost nothing and is evicted.
fn store_failed(live: &LiveRun) -> RunEnd {
    match live.env.writer.failure() {
        Some(error) if live.status() != RunStatus::Paused => RunEnd::Drive(Err(error.into())),
        _ => RunEnd::Evicted,
    }
}

/// Returns whether the run is evicted now: it is suspended and can be evicted.
fn is_evicted(cell: &SessionCell, live: &LiveRun, evictable: bool) -> bool {
    let event = PhaseEvent::EvictionDue { evictable };
    live.apply(&cell.inner.lock(), event) == Effect::Evict
}

/// Shortest time to a deadline for which a run is evicted: it must be read again then.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// Returns whether a paused run can be evicted: it has a durable journal and no deadline within `wait`. The deadline watch of
/// the runtime resumes it at its deadline.
fn can_evict(env: &RunContext, wait: Duration) -> bool {
    let is_near = |due: i64| due.saturating_sub(env.clock.now_ms()) < millis(wait);
    env.writer.is_durable() && !env.pending_questions.next_due().is_some_and(is_near)
}

/// Counts a suspended run. An answered run is no longer counted after its next poll.
struct SuspendedPermit<'a> {
    shared: &'a Shared,
    counted: bool,
}

impl SuspendedPermit<'_> {
    /// Counts the run and returns the number of suspended runs.
    fn acquire(&mut self) -> usize {
        let more = usize::from(!std::mem::replace(&mut self.counted, true));
        self.shared.suspended_runs.fetch_add(more, Ordering::AcqRel) + more
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.shared.suspended_runs.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for SuspendedPermit<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Marks the run as evicting when dropped: questions that are dropped afterwards are not withdrawn.
struct EvictionGuard<'a>(&'a RunContext);

impl Drop for EvictionGuard<'_> {
    fn drop(&mut self) {
        self.0.control.begin_eviction();
    }
}

/// Pauses the run and publishes the pause once it is stored. Returns `false` if an answer arrived in the meantime.
async fn pause(shared: &Arc<Shared>, cell: &Arc<SessionCell>, live: &Arc<LiveRun>) -> Result<bool, RunError> {
    let env = &live.env;
    let questions = env.pending_questions.open();
    if env.writer.has_consumers() {
        let ids = questions.iter().map(|open| open.id.clone()).collect();
        let summary = summary(shared, live, RunStatus::Paused).with_questions(&questions);
        let seq =
            env.writer.push_with(env.run, [Fact::RunPaused(Paused { questions: ids })], Some(summary))?;
        env.writer.wait_durable(seq).await?;
    }
    Ok(live.apply(&cell.inner.lock(), PhaseEvent::PauseStored) != Effect::None)
}

/// Marks a paused run as resumed if a task can proceed without an answer, for example after a deadline.
fn mark_resumed(shared: &Arc<Shared>, cell: &Arc<SessionCell>, live: &Arc<LiveRun>) -> Result<(), RunError> {
    let env = &live.env;
    if live.apply(&cell.inner.lock(), PhaseEvent::TaskResumed) != Effect::Resume {
        return Ok(());
    }
    if env.writer.has_consumers() {
        let summary = summary(shared, live, RunStatus::Running);
        env.writer.push_with(env.run, [Fact::RunResumed(Resumed::default())], Some(summary))?;
        env.append([])?;
    }
    Ok(())
}
