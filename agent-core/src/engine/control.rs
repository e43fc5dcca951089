//! Run control: stop, drain, eviction, and the number of runnable tasks.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, fence},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::RunError;

/// Control of a run: stop, drain, eviction, and the number of tasks that can proceed.
pub(crate) struct RunControl {
    /// Stops the run: tasks that listen for cancellation get a grace period, the others are dropped.
    pub(crate) stop: Stop,
    /// Ends the run at the next superstep.
    pub(crate) drain: AtomicBool,
    /// Number of leaf tasks that can proceed without an answer. The run is paused if it is 0 while a question is open.
    runnable: AtomicI64,
    pub(crate) idle: Notify,
    /// Notified when a task of a paused run can proceed again.
    pub(crate) resumed: Notify,
    /// As `resumed`, for the deadline of the run.
    pub(crate) resumed_for_deadline: Notify,
    /// Number of tasks that listen for cancellation.
    pub(crate) listeners: AtomicI64,
    /// The run is closed: entries of tasks that could not be stopped are refused.
    closed: AtomicBool,
    /// The entry that ends the run was handed to the writer.
    ended: AtomicBool,
    /// Total time without a runnable task, and since when there is none.
    idle_time: Mutex<(Duration, Option<Instant>)>,
    /// The process shuts down: the run is not stopped but continues in another process.
    handover: AtomicBool,
    /// The journal of the run cannot be written.
    store_failed: AtomicBool,
    /// The tasks are being dropped (stop, eviction, shutdown): dropped questions stay open.
    evicting: AtomicBool,
    /// Active time before the present clock was started, and since when that clock runs.
    active_before: AtomicU64,
    active_since: Mutex<Option<Instant>>,
}

/// Stop signal of a run: a flag, which each superstep checks, and its notification. Tools get a token, created for the first
/// one.
#[derive(Default)]
pub(crate) struct Stop {
    asked: AtomicBool,
    changed: Notify,
    token: OnceLock<CancellationToken>,
}

impl Stop {
    pub(crate) fn cancel(&self) {
        self.asked.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        // Either this sees the token, or `token` sees the flag.
        fence(Ordering::SeqCst);
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Returns the token, for tools that cannot borrow.
    pub(crate) fn token(&self) -> CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new).clone();
        fence(Ordering::SeqCst);
        if self.is_cancelled() {
            token.cancel();
        }
        token
    }

    /// Waits until the run is asked to stop. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        // Created before the check, so that it sees a stop right after it.
        let changed = self.changed.notified();
        if !self.is_cancelled() {
            changed.await;
        }
    }
}

/// A question that is being asked; see [`RunControl::asking`].
pub(crate) struct RunnableGuard<'a>(&'a RunControl);

impl Drop for RunnableGuard<'_> {
    fn drop(&mut self) {
        self.0.adjust_runnable(-1);
    }
}

impl RunControl {
    pub(crate) fn new(active_ms: u64) -> Self {
        Self {
            stop: Stop::default(),
            drain: AtomicBool::new(false),
            runnable: AtomicI64::new(1),
            idle: Notify::new(),
            resumed: Notify::new(),
            resumed_for_deadline: Notify::new(),
            listeners: AtomicI64::new(0),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            idle_time: Mutex::default(),
            handover: AtomicBool::new(false),
            store_failed: AtomicBool::new(false),
            evicting: AtomicBool::new(false),
            active_before: AtomicU64::new(active_ms),
            active_since: Mutex::new(Some(Instant::now())),
        }
    }

    /// Changes the number of runnable leaf tasks.
    pub(crate) fn adjust_runnable(&self, change: i64) {
        if change == 0 {
            return;
        }
        let before = self.runnable.fetch_add(change, Ordering::AcqRel);
        if before + change == 0 {
            self.idle_time.lock().1 = Some(Instant::now());
            self.idle.notify_one();
        } else if before == 0 {
            self.resumed.notify_one();
            self.resumed_for_deadline.notify_waiters();
            let mut idle = self.idle_time.lock();
            if let Some(since) = idle.1.take() {
                idle.0 += since.elapsed();
            }
        }
    }

    /// Counts as a runnable task until it is dropped, so that the run does not pause between the moment in which a question
    /// is visible and that in which its entry is queued for the journal.
    pub(crate) fn asking(&self) -> RunnableGuard<'_> {
        self.adjust_runnable(1);
        RunnableGuard(self)
    }

    /// Returns how long the run has had no runnable task.
    pub(crate) fn idle_time(&self) -> Duration {
        let (total, since) = *self.idle_time.lock();
        total + since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Refuses further entries of the run, except those that end it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Returns `true` if the run writes its last entries.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Marks the entry that ends the run as handed to the writer.
    pub(crate) fn mark_end_written(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Returns `true` if the entry that ends the run was handed to the writer.
    pub(crate) fn is_end_written(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn check_open(&self) -> Result<(), RunError> {
        if self.is_closed() { Err(RunError::Closed) } else { Ok(()) }
    }

    /// Ends the run at its next superstep, to be resumed by another process.
    pub(crate) fn drain_for_restart(&self) {
        self.handover.store(true, Ordering::Release);
        self.drain.store(true, Ordering::Release);
        // No task of a paused run checks the flag.
        self.idle.notify_one();
    }

    /// Ends the run at once, to be resumed by another process.
    pub(crate) fn stop_for_restart(&self) {
        self.handover.store(true, Ordering::Release);
        self.stop.cancel();
    }

    pub(crate) fn is_handover(&self) -> bool {
        self.handover.load(Ordering::Acquire)
    }

    /// Ends the run at once because its journal cannot be written.
    pub(crate) fn fail_store(&self) {
        self.store_failed.store(true, Ordering::Release);
        self.idle.notify_one();
    }

    pub(crate) fn has_store_failed(&self) -> bool {
        self.store_failed.load(Ordering::Acquire)
    }

    pub(crate) fn begin_eviction(&self) {
        self.evicting.store(true, Ordering::Release);
    }

    pub(crate) fn is_evicting(&self) -> bool {
        self.evicting.load(Ordering::Acquire)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.runnable.load(Ordering::Acquire) <= 0
    }

    pub(crate) fn active_ms(&self) -> u64 {
        let since = self.active_since.lock().map_or(Duration::ZERO, |since| since.elapsed());
        self.active_before.load(Ordering::Relaxed) + u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Stops the clock of active time.
    pub(crate) fn pause_clock(&self) {
        let now = self.active_ms();
        self.active_before.store(now, Ordering::Relaxed);
        *self.active_since.lock() = None;
    }

    pub(crate) fn resume_clock(&self) {
        *self.active_since.lock() = Some(Instant::now());
    }
}
