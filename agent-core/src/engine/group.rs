//! Every task has an owner that can stop it and wait for it.

use std::future::Future;

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// The tasks of one owner: a run, or the runtime.
///
/// Detached tasks outlive `stop`; those of a group do not: each is dropped at its next await when the group is
/// stopped, and [`quiet`](TaskGroup::quiet) waits until all are gone.
#[derive(Debug, Clone, Default)]
pub struct TaskGroup {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl TaskGroup {
    /// Starts a task that ends with the group.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased; // a task that is ready to finish does so even when it is stopped in the same poll
                () = task => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Starts a task that is waited for, but not stopped.
    pub fn spawn_to_its_end(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// As [`spawn_to_its_end`](TaskGroup::spawn_to_its_end), on an executor that need not be the caller's.
    pub(crate) fn spawn_to_its_end_on(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
        executor: &tokio::runtime::Handle,
    ) {
        self.tasks.spawn_on(task, executor);
    }

    /// Counts the caller as a task until what is returned is dropped.
    pub fn hold(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Asks every task to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ready when the group was asked to stop. Cancel safe.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Ready when no task is left. New ones may still be started. Cancel safe.
    pub async fn quiet(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// How many tasks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}
