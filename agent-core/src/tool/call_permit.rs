//! Concurrency permit of a call. The permit is released while the call waits for a person.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// The place of one call.
pub(crate) struct CallPermit(Mutex<Inner>);

struct Inner {
    permits: PollSemaphore,
    permit: Option<OwnedSemaphorePermit>,
    /// Open questions of the call.
    questions: usize,
}

impl CallPermit {
    /// A place that is not taken yet.
    pub(super) fn new(permits: Arc<Semaphore>) -> Arc<Self> {
        let permits = PollSemaphore::new(permits);
        Arc::new(Self(Mutex::new(Inner { permits, permit: None, questions: 0 })))
    }

    /// Ready when the call has its place, or needs none because it waits for a person.
    pub(super) fn poll_taken(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.0.lock();
        if inner.permit.is_none() && inner.questions == 0 {
            // The semaphore is never closed.
            inner.permit = ready!(inner.permits.poll_acquire(cx));
        }
        Poll::Ready(())
    }

    /// Frees the place until the question that begins now is over.
    pub(super) fn leave(self: &Arc<Self>) -> ReleasedPermit {
        let mut inner = self.0.lock();
        inner.questions += 1;
        inner.permit = None;
        ReleasedPermit(Arc::clone(self))
    }
}

/// A question of a call: while there is one, the call has no place.
pub(crate) struct ReleasedPermit(Arc<CallPermit>);

impl ReleasedPermit {
    /// Ready when the call has its place again, or has another open question.
    pub(crate) async fn end(self) {
        let permit = Arc::clone(&self.0);
        drop(self);
        std::future::poll_fn(|cx| permit.poll_taken(cx)).await;
    }
}

impl Drop for ReleasedPermit {
    fn drop(&mut self) {
        self.0.0.lock().questions -= 1;
    }
}
