//! How a run rests, told to whoever waits: one lock and one list of waiters a run, because each request makes one.

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
    settled: Option<Arc<RunResult>>,
    /// Nothing of the run is left in memory.
    gone: bool,
    /// Nobody tells any more.
    silent: bool,
}

impl RunSender {
    /// Of a run on its way.
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn listener(&self) -> RunReceiver {
        RunReceiver(Arc::clone(&self.0))
    }

    pub(crate) fn settled(&self) -> Option<Arc<RunResult>> {
        self.0.now.lock().settled.clone()
    }

    pub(crate) fn status(&self) -> RunStatus {
        self.0.status()
    }

    /// Says how the run rests, or (`None`) that it goes on.
    pub(crate) fn tell(&self, settled: Option<Arc<RunResult>>) {
        self.0.change(|now| now.settled = settled);
    }

    /// Says that nothing of the run is left in memory.
    pub(crate) fn mark_removed(&self) {
        self.0.change(|now| now.gone = true);
    }

    /// Ready when nothing of the run is left in memory. Cancel safe.
    pub(crate) async fn gone(&self) {
        self.0.until(|now| now.gone.then_some(())).await;
    }
}

impl Drop for RunSender {
    fn drop(&mut self) {
        self.0.change(|now| now.silent = true);
    }
}

impl RunReceiver {
    /// Of a run that rests like this for good, as far as this process knows.
    pub(crate) fn resting(settled: RunResult) -> Self {
        let now = WatchState { settled: Some(Arc::new(settled)), silent: true, ..WatchState::default() };
        Self(Arc::new(RunWatch { now: Mutex::new(now), changed: Notify::new() }))
    }

    pub(crate) fn status(&self) -> RunStatus {
        self.0.status()
    }

    /// Ready when the run rests; `None` when nobody will say so any more. Cancel safe.
    pub(crate) async fn rest(&self) -> Option<Arc<RunResult>> {
        self.0.until(|now| (now.settled.is_some() || now.silent).then(|| now.settled.clone())).await
    }

    /// Ready when the run no longer rests as `seen` says. Never when nobody tells any more. Cancel safe.
    pub(crate) async fn changed_from(&self, seen: &Arc<RunResult>) {
        let same = |now: &WatchState| now.settled.as_ref().is_some_and(|settled| Arc::ptr_eq(settled, seen));
        self.0.until(|now| (!same(now)).then_some(())).await;
    }
}

impl RunWatch {
    fn status(&self) -> RunStatus {
        self.now.lock().settled.as_ref().map_or(RunStatus::Running, |settled| settled.status)
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
