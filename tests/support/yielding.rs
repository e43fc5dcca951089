//! A store that yields to other tasks around each operation, so that every call on a session has points where its caller
//! may go away.

use std::{future::Future, sync::Arc};

use agent_core::{
    journal::{JournalStore, StoreError},
    testing::{HookedStore, StoreCall, StoreHook},
};

/// Yields before and after each operation of the store inside.
#[derive(Debug)]
pub struct Yielding;

impl Yielding {
    /// A store on `inner`.
    #[must_use]
    pub fn on(inner: Arc<dyn JournalStore>) -> Arc<HookedStore<Self>> {
        Arc::new(HookedStore::new(inner, Self))
    }
}

impl StoreHook for Yielding {
    async fn before(&self, _call: StoreCall) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn after(&self, _call: StoreCall) -> Result<(), StoreError> {
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// Polls `call` at most `polls` times, each time letting other tasks run, then drops it. `None`: it was not ready.
pub async fn drop_after<T>(polls: usize, call: impl Future<Output = T>) -> Option<T> {
    let mut call = std::pin::pin!(call);
    for _ in 0..polls {
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
        if let std::task::Poll::Ready(output) = poll {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}
