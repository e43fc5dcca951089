//! RunControl of a run: stop, drain, eviction, and the count of tasks that can proceed.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::RunError;

/// The means to stop a run, and to see that it waits.
pub(crate) struct RunControl {
    /// End now: tasks that listen get a grace time, the others are dropped.
    pub(crate) stop: Stop,
    /// End at the next superstep.
    pub(crate) drain: AtomicBool,
    /// Leaf tasks that can go on by themselves. Nobody busy while questions are open: the run is paused.
    runnable: AtomicI64,
    pub(crate) idle: Notify,
    /// Somebody can go on again.
    pub(crate) resumed: Notify,
    /// The same, for the deadline.
    pub(crate) resumed_for_deadline: Notify,
    /// Tasks that asked to be told of a stop.
    pub(crate) listeners: AtomicI64,
    /// The run has been closed: what a task that could not be stopped still says comes too late.
    closed: AtomicBool,
    /// The fact that ends the run was given to the writer.
    ended: AtomicBool,
    /// How long nobody was busy, and since when nobody is.
    idle_time: Mutex<(Duration, Option<Instant>)>,
    /// The process ends: the run is not stopped, it goes on elsewhere.
    handover: AtomicBool,
    /// Nothing more of the run can be journalled.
    store_failed: AtomicBool,
    /// The tasks are being put away (a stop, a park, a shutdown): dropped questions stay asked.
    evicting: AtomicBool,
    /// Time running before this process took over, and since when it runs now.
    active_before: AtomicU64,
    active_since: Mutex<Option<Instant>>,
}

/// Asks everybody of a run to end. A token with a flag beside it: each superstep looks, and a token's own answer
/// takes its lock.
#[derive(Default)]
pub(crate) struct Stop {
    asked: AtomicBool,
    token: CancellationToken,
}

impl Stop {
    pub(crate) fn cancel(&self) {
        self.asked.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// The token, for those who outlive a borrow (tools).
    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Ready when somebody asked. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        self.token.cancelled().await;
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

    /// `change` more leaf tasks can go on.
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

    /// How long nobody was busy so far: the whole run waited for a person.
    pub(crate) fn idle_time(&self) -> Duration {
        let (total, since) = *self.idle_time.lock();
        total + since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// From now on nothing more of the run is journalled but its end.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the run writes its last facts.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Notes that the fact that ends the run was given to the writer.
    pub(crate) fn mark_end_written(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the fact that ends the run was given to the writer.
    pub(crate) fn is_end_written(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn check_open(&self) -> Result<(), RunError> {
        if self.is_closed() { Err(RunError::Closed) } else { Ok(()) }
    }

    /// Ends the run at its next superstep, to be taken up by the next process.
    pub(crate) fn drain_for_restart(&self) {
        self.handover.store(true, Ordering::Release);
        self.drain.store(true, Ordering::Release);
        // A paused run has nobody to see the flag.
        self.idle.notify_one();
    }

    /// Ends the run where it is, to be taken up by the next process.
    pub(crate) fn stop_for_restart(&self) {
        self.handover.store(true, Ordering::Release);
        self.stop.cancel();
    }

    pub(crate) fn is_handover(&self) -> bool {
        self.handover.load(Ordering::Acquire)
    }

    /// Ends the run where it is: its journal cannot be written.
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

    /// The clock of running stands still while the run is paused.
    pub(crate) fn pause_clock(&self) {
        let now = self.active_ms();
        self.active_before.store(now, Ordering::Relaxed);
        *self.active_since.lock() = None;
    }

    pub(crate) fn resume_clock(&self) {
        *self.active_since.lock() = Some(Instant::now());
    }
}
