//! Work that blocks a thread: done off the runtime, and told to end when nobody waits for it any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use agent_core::tool::ToolError;

/// Says when to give up. Ask it in every loop.
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

/// Runs `work` on a thread for blocking work, for at most about `time`.
///
/// # Cancel safety
///
/// Dropping the future tells the work to stop; it ends at its next question.
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

/// As [`blocking`], on a thread of its own with `stack` bytes of stack, for work that recurses on its input.
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
        // Nobody may be waiting any more.
        answer.send(work(&stop)).ok();
    })?;
    // The sender is dropped without an answer only if the work panicked.
    waiting.await?
}

struct OnDrop(Arc<AtomicBool>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
