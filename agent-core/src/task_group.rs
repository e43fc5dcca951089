//! Task groups: every spawned task has an owner that can stop it and wait for it.

use std::future::Future;

use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// Tasks of one owner, such as a run or a runtime.
///
/// Stopping the group drops each task at its next await; [`wait_idle`](TaskGroup::wait_idle) waits until all of them
/// have ended. A detached task (`tokio::spawn`) would outlive its owner.
///
/// # Examples
///
/// ```
/// use agent_core::task_group::TaskGroup;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let group = TaskGroup::default();
/// group.spawn(std::future::pending());
/// assert_eq!(group.len(), 1);
/// group.stop();
/// group.wait_idle().await;
/// assert!(group.is_empty());
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct TaskGroup {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl TaskGroup {
    /// Spawns a task that is dropped when the group is stopped.
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

    /// Spawns a task that the group waits for but does not drop when it is stopped.
    pub fn spawn_uncancelled(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Spawns as [`spawn_uncancelled`](TaskGroup::spawn_uncancelled), on another executor.
    pub(crate) fn spawn_uncancelled_on(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
        executor: &tokio::runtime::Handle,
    ) {
        self.tasks.spawn_on(task, executor);
    }

    /// Counts the caller as a task of the group until the returned token is dropped.
    pub fn guard(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Asks all tasks to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the group is asked to stop. Cancel safe.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until no task is left. New tasks may still be spawned. Cancel safe.
    pub async fn wait_idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// Returns the number of tasks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns `true` if the group has no task.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}
