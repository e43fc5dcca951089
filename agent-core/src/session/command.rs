//! Commands: operations that complete although their caller goes away.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

use crate::task_group::TaskGroup;

/// An operation on a session, polled by its caller and completed by the runtime when the caller drops it.
///
/// # Cancel safety
///
/// Dropped before its first poll, it does nothing. Dropped later, the rest of it runs as a task of the group.
#[must_use = "a command does nothing until it is polled"]
pub(crate) struct Command<T: Send + 'static> {
    /// Taken out while it is polled, so that a panic in it does not leave it behind.
    operation: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    group: TaskGroup,
    /// The executor that completes it; known once it was pending.
    executor: Option<Handle>,
}

impl<T: Send + 'static> Command<T> {
    /// Creates a command that `group` completes.
    pub(crate) fn new(group: TaskGroup, operation: impl Future<Output = T> + Send + 'static) -> Self {
        Self { operation: Some(Box::pin(operation)), group, executor: None }
    }
}

impl<T: Send + 'static> Future for Command<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut operation = self.operation.take().expect("a command is not polled after it is ready");
        let poll = operation.as_mut().poll(cx);
        if poll.is_pending() {
            self.operation = Some(operation);
            if self.executor.is_none() {
                self.executor = Handle::try_current().ok();
            }
        }
        poll
    }
}

impl<T: Send + 'static> Drop for Command<T> {
    fn drop(&mut self) {
        if let (Some(operation), Some(executor)) = (self.operation.take(), &self.executor) {
            self.group.spawn_uncancelled_on(async move { drop(operation.await) }, executor);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    fn counted(group: &TaskGroup, count: &Arc<AtomicU32>) -> Command<()> {
        let count = Arc::clone(count);
        Command::new(group.clone(), async move {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            count.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[tokio::test]
    async fn a_dropped_command_does_nothing_or_all() {
        let (group, count) = (TaskGroup::default(), Arc::new(AtomicU32::new(0)));
        drop(counted(&group, &count));
        group.wait_idle().await;
        assert_eq!(count.load(Ordering::SeqCst), 0);

        let mut command = counted(&group, &count);
        assert!(futures::poll!(&mut command).is_pending());
        drop(command);
        group.wait_idle().await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}
