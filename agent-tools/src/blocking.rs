//! Blocking work on separate threads, which is cancelled when its result is no longer needed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use agent_core::tool::ToolError;

/// Cancellation flag and deadline of blocking work. Check it in every loop.
#[derive(Clone)]
pub(crate) struct Stop {
    dropped: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    pub(crate) fn now(&self) -> bool {
        self.dropped.load(Ordering::Relaxed) || Instant::now() >= self.deadline
    }
}

/// Runs `work` on a thread for blocking work, with a limit of about `time`.
///
/// # Cancel safety
///
/// Dropping the future cancels the work, which ends at its next check of [`Stop`].
#[cfg(any(feature = "files", feature = "sql"))]
pub(crate) async fn blocking<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce(&Stop) -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let dropped = Arc::new(AtomicBool::new(false));
    let _on_drop = OnDrop(Arc::clone(&dropped));
    let stop = Stop { dropped, deadline: Instant::now() + time };
    tokio::task::spawn_blocking(move || work(&stop)).await?
}

/// Like [`blocking`], on a new thread with `stack` bytes of stack, for work that recurses on its input.
#[cfg(feature = "calculator")]
pub(crate) async fn with_stack<T: Send + 'static>(
    time: Duration,
    stack: usize,
    work: impl FnOnce(&Stop) -> Result<T, ToolError> + Send + 'static,
) -> Result<T, ToolError> {
    let dropped = Arc::new(AtomicBool::new(false));
    let _on_drop = OnDrop(Arc::clone(&dropped));
    let stop = Stop { dropped, deadline: Instant::now() + time };
    let (answer, waiting) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().stack_size(stack).spawn(move || {
        // The receiver may be gone.
        answer.send(work(&stop)).ok();
    })?;
    // The sender is dropped without a result only if the work panicked.
    waiting.await?
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
