//! A store that yields to other tasks around each operation, so that every call on a session has points where its caller
//! may go away.

use std::{future::Future, sync::Arc, time::Duration};

use agent_core::{
    ids::{Seq, SessionId},
    journal::{
        Append, Head, JournalStore, Lease, OwnerId, Recent, Record, StoreError, StoredSnapshot, Summary,
    },
};
use futures::future::BoxFuture;

/// Yields before and after each operation of the store inside.
pub struct Yielding(pub Arc<dyn JournalStore>);

impl std::fmt::Debug for Yielding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Yielding").finish()
    }
}

fn around<'a, T: Send>(operation: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(async move {
        tokio::task::yield_now().await;
        let result = operation.await;
        tokio::task::yield_now().await;
        result
    })
}

impl JournalStore for Yielding {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        around(self.0.append(append))
    }

    fn read(
        &self,
        session: &SessionId,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        around(self.0.read(session, after, upto, limit))
    }

    fn head(&self, session: &SessionId) -> BoxFuture<'_, Result<Option<Head>, StoreError>> {
        around(self.0.head(session))
    }

    fn acquire(
        &self,
        session: &SessionId,
        owner: &OwnerId,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Lease, StoreError>> {
        around(self.0.acquire(session, owner, ttl))
    }

    fn renew(&self, owner: &OwnerId, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        around(self.0.renew(owner, ttl))
    }

    fn release(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<(), StoreError>> {
        around(self.0.release(session, lease))
    }

    fn put_snapshot(
        &self,
        session: &SessionId,
        snapshot: StoredSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        around(self.0.put_snapshot(session, snapshot))
    }

    fn snapshot(
        &self,
        session: &SessionId,
        upto: Seq,
    ) -> BoxFuture<'_, Result<Option<StoredSnapshot>, StoreError>> {
        around(self.0.snapshot(session, upto))
    }

    fn trim(&self, session: &SessionId, before: Seq) -> BoxFuture<'_, Result<(), StoreError>> {
        around(self.0.trim(session, before))
    }

    fn copy(
        &self,
        source: &SessionId,
        target: &SessionId,
        upto: Seq,
        summary: Summary,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        around(self.0.copy(source, target, upto, summary))
    }

    fn list(
        &self,
        after: Option<&SessionId>,
        statuses: &[String],
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        let after = after.cloned();
        let statuses = statuses.to_vec();
        around(async move { self.0.list(after.as_ref(), &statuses, limit).await })
    }

    fn recent(&self, wanted: &Recent) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        let wanted = wanted.clone();
        around(async move { self.0.recent(&wanted).await })
    }

    fn delete(&self, session: &SessionId) -> BoxFuture<'_, Result<bool, StoreError>> {
        around(self.0.delete(session))
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
