//! How a run idle_memory, told to whoever waits: one lock and one list of waiters a run, because each request makes one.

use std::{any::Any, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{engine::RunError, interrupt::OpenQuestion, run::RunStatus};

/// How a run came to rest, its state's type erased.
pub(crate) struct RunResult {
    pub(crate) status: RunStatus,
    pub(crate) questions: Vec<OpenQuestion>,
    /// `Arc<S>`; none while paused, and after a failure that left none.
    pub(crate) state: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) supersteps: u64,
    pub(crate) error: Option<Arc<RunError>>,
}

impl RunResult {
    /// Returns the result of a run without questions, state and supersteps.
    pub(crate) const fn new(status: RunStatus, error: Option<Arc<RunError>>) -> Self {
        Self { status, questions: Vec::new(), state: None, supersteps: 0, error }
    }
}

/// The side that tells. Dropped, it lets go of whoever waits: the process ends before the run does.
pub(crate) struct RunSender(Arc<RunWatch>);

/// The side that listens.
#[derive(Clone)]
pub(crate) struct RunReceiver(Arc<RunWatch>);

#[derive(Default)]
struct RunWatch {
    now: Mutex<WatchState>,
    changed: Notify,
}

#[derive(Default)]
struct WatchState {
    /// None: the run is on its way.
    result: Option<Arc<RunResult>>,
    /// Nothing of the run is left in memory.
    removed: bool,
    /// Nobody tells any more.
    closed: bool,
}

impl RunSender {
    /// Of a run on its way.
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn listener(&self) -> RunReceiver {
        RunReceiver(Arc::clone(&self.0))
    }

    pub(crate) fn result(&self) -> Option<Arc<RunResult>> {
        self.0.now.lock().result.clone()
    }

    pub(crate) fn status(&self) -> RunStatus {
        self.0.status()
    }

    /// Says how the run idle_memory, or (`None`) that it goes on.
    pub(crate) fn send(&self, result: Option<Arc<RunResult>>) {
        self.0.change(|now| now.result = result);
    }

    /// Says that nothing of the run is left in memory.
    pub(crate) fn mark_removed(&self) {
        self.0.change(|now| now.removed = true);
    }

    /// Ready when nothing of the run is left in memory. Cancel safe.
    pub(crate) async fn wait_removed(&self) {
        self.0.until(|now| now.removed.then_some(())).await;
    }
}

impl Drop for RunSender {
    fn drop(&mut self) {
        self.0.change(|now| now.closed = true);
    }
}

impl RunReceiver {
    /// Of a run that idle_memory like this for good, as far as this process knows.
    pub(crate) fn fixed(result: RunResult) -> Self {
        let now = WatchState { result: Some(Arc::new(result)), closed: true, ..WatchState::default() };
        Self(Arc::new(RunWatch { now: Mutex::new(now), changed: Notify::new() }))
    }

    pub(crate) fn status(&self) -> RunStatus {
        self.0.status()
    }

    /// Ready when the run idle_memory; `None` when nobody will say so any more. Cancel safe.
    pub(crate) async fn rest(&self) -> Option<Arc<RunResult>> {
        self.0.until(|now| (now.result.is_some() || now.closed).then(|| now.result.clone())).await
    }

    /// Ready when the run no longer idle_memory as `seen` says. Never when nobody tells any more. Cancel safe.
    pub(crate) async fn changed_from(&self, seen: &Arc<RunResult>) {
        let same = |now: &WatchState| now.result.as_ref().is_some_and(|result| Arc::ptr_eq(result, seen));
        self.0.until(|now| (!same(now)).then_some(())).await;
    }
}

impl RunWatch {
    fn status(&self) -> RunStatus {
        self.now.lock().result.as_ref().map_or(RunStatus::Running, |result| result.status)
    }

    fn change(&self, change: impl FnOnce(&mut WatchState)) {
        change(&mut self.now.lock());
        self.changed.notify_waiters();
    }

    async fn until<T>(&self, found: impl Fn(&WatchState) -> Option<T>) -> T {
        loop {
            // Made before the look, so that a change right after it is not missed.
            let changed = self.changed.notified();
            if let Some(found) = found(&self.now.lock()) {
                return found;
            }
            changed.await;
        }
    }
}
