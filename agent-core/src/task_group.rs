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
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::task_group::TaskGroup;
    ///
    /// let group = TaskGroup::default();
    /// group.spawn(async { println!("in the background") });
    /// group.wait_idle().await;
    /// # Ok(()) }
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::task_group::TaskGroup;
    ///
    /// let group = TaskGroup::default();
    /// group.spawn_uncancelled(async { tokio::task::yield_now().await });
    /// group.stop();
    /// group.wait_idle().await; // waits for the end of the task
    /// # Ok(()) }
    /// ```
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
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::task_group::TaskGroup;
    ///
    /// let group = TaskGroup::default();
    /// let guard = group.guard();
    /// assert_eq!(group.len(), 1);
    /// drop(guard);
    /// assert!(group.is_empty());
    /// # Ok(()) }
    /// ```
    pub fn guard(&self) -> TaskTrackerToken {
        self.tasks.token()
    }

    /// Asks all tasks to stop.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::task_group::TaskGroup;
    ///
    /// let group = TaskGroup::default();
    /// group.spawn(std::future::pending());
    /// group.stop();
    /// group.wait_idle().await;
    /// # Ok(()) }
    /// ```
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the group is asked to stop. Cancel safe.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::task_group::TaskGroup;
    ///
    /// let group = TaskGroup::default();
    /// group.stop();
    /// group.stopped().await;
    /// # Ok(()) }
    /// ```
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until no task is left. New tasks may still be spawned. Cancel safe.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::task_group::TaskGroup;
    ///
    /// let group = TaskGroup::default();
    /// group.spawn(async {});
    /// group.wait_idle().await;
    /// assert!(group.is_empty());
    /// # Ok(()) }
    /// ```
    pub async fn wait_idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    /// Returns the number of tasks.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::task_group::TaskGroup;
    ///
    /// let group = TaskGroup::default();
    /// group.spawn(std::future::pending());
    /// assert_eq!(group.len(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns `true` if the group has no task.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::task_group::TaskGroup;
    ///
    /// assert!(TaskGroup::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}
