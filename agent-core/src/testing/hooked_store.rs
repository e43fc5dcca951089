//! A store with a hook around every call.

use std::{fmt, future, ops::Deref, sync::Arc, time::Duration};

use futures::future::BoxFuture;

use crate::{
    ids::{Seq, SessionId},
    journal::{
        Append, Head, JournalStore, Lease, OwnerId, Recent, Record, ReplicaChannel, SharedLimits, StoreError,
        StoredSnapshot, Summary,
    },
};

/// A method of [`JournalStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreCall {
    /// [`JournalStore::append`].
    Append,
    /// [`JournalStore::read`].
    Read,
    /// [`JournalStore::head`].
    Head,
    /// [`JournalStore::acquire`].
    Acquire,
    /// [`JournalStore::renew`].
    Renew,
    /// [`JournalStore::release`].
    Release,
    /// [`JournalStore::put_snapshot`].
    PutSnapshot,
    /// [`JournalStore::snapshot`].
    Snapshot,
    /// [`JournalStore::trim`].
    Trim,
    /// [`JournalStore::copy`].
    Copy,
    /// [`JournalStore::list`], [`recent`](JournalStore::recent), [`due`](JournalStore::due) and
    /// [`orphans`](JournalStore::orphans).
    List,
    /// [`JournalStore::delete`] and [`delete_held`](JournalStore::delete_held).
    Delete,
}

/// Runs around the calls of a [`HookedStore`].
///
/// # Examples
///
/// ```
/// use agent_core::{journal::StoreError, testing::{StoreCall, StoreHook}};
///
/// /// A store that is read-only.
/// #[derive(Debug)]
/// struct ReadOnly;
///
/// impl StoreHook for ReadOnly {
///     async fn before(&self, call: StoreCall) -> Result<(), StoreError> {
///         match call {
///             StoreCall::Append => Err(StoreError::Unavailable { reason: "read-only".into() }),
///             _ => Ok(()),
///         }
///     }
/// }
/// ```
pub trait StoreHook: Send + Sync + fmt::Debug + 'static {
    /// Runs before a call. On an error the call is not made. Default: nothing.
    fn before(&self, call: StoreCall) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = call;
        future::ready(Ok(()))
    }

    /// Runs after a call that has succeeded. An error is reported in place of the result; the call has taken effect.
    /// Default: nothing.
    fn after(&self, call: StoreCall) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _ = call;
        future::ready(Ok(()))
    }

    /// Returns the time to live of a lease. [`Duration::ZERO`]: another process can acquire the session at once, as after
    /// the death of this one. Default: as requested.
    fn lease(&self, ttl: Duration) -> Duration {
        ttl
    }
}

/// A store with a [`StoreHook`] around every call, for tests. It dereferences to the hook.
///
/// # Examples
///
/// ```
/// use agent_core::{
///     Runtime,
///     journal::{InMemoryJournal, StoreError},
///     testing::{HookedStore, StoreCall, StoreHook},
/// };
/// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
///
/// #[derive(Debug, Default)]
/// struct CountAppends(AtomicU32);
///
/// impl StoreHook for CountAppends {
///     async fn after(&self, call: StoreCall) -> Result<(), StoreError> {
///         self.0.fetch_add(u32::from(call == StoreCall::Append), Ordering::Relaxed);
///         Ok(())
///     }
/// }
///
/// let store = Arc::new(HookedStore::new(Arc::new(InMemoryJournal::new()), CountAppends::default()));
/// let runtime = Runtime::builder().journal(store.clone()).build();
/// assert_eq!(store.0.load(Ordering::Relaxed), 0);
/// # drop(runtime);
/// ```
pub struct HookedStore<H> {
    inner: Arc<dyn JournalStore>,
    hook: H,
}

impl<H: StoreHook> HookedStore<H> {
    /// Creates a store on another one.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{journal::{InMemoryJournal, StoreError}, testing::{HookedStore, StoreHook}};
    /// use std::{sync::Arc, time::Duration};
    ///
    /// /// Lets another process acquire every session at once.
    /// #[derive(Debug)]
    /// struct NoLeases;
    ///
    /// impl StoreHook for NoLeases {
    ///     fn lease(&self, _: Duration) -> Duration {
    ///         Duration::ZERO
    ///     }
    /// }
    ///
    /// let store = HookedStore::new(Arc::new(InMemoryJournal::new()), NoLeases);
    /// # drop(store);
    /// ```
    #[must_use]
    pub fn new(inner: Arc<dyn JournalStore>, hook: H) -> Self {
        Self { inner, hook }
    }

    fn around<'a, T: Send + 'a>(
        &'a self,
        call: StoreCall,
        work: BoxFuture<'a, Result<T, StoreError>>,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        Box::pin(async move {
            self.hook.before(call).await?;
            let done = work.await?;
            self.hook.after(call).await?;
            Ok(done)
        })
    }
}

impl<H> Deref for HookedStore<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.hook
    }
}

impl<H: fmt::Debug> fmt::Debug for HookedStore<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedStore").field("hook", &self.hook).finish_non_exhaustive()
    }
}

impl<H: StoreHook> JournalStore for HookedStore<H> {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        self.around(StoreCall::Append, self.inner.append(append))
    }

    fn read(
        &self,
        session: &SessionId,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.around(StoreCall::Read, self.inner.read(session, after, upto, limit))
    }

    fn head(&self, session: &SessionId) -> BoxFuture<'_, Result<Option<Head>, StoreError>> {
        self.around(StoreCall::Head, self.inner.head(session))
    }

    fn acquire(
        &self,
        session: &SessionId,
        owner: &OwnerId,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Lease, StoreError>> {
        self.around(StoreCall::Acquire, self.inner.acquire(session, owner, self.hook.lease(ttl)))
    }

    fn renew(&self, owner: &OwnerId, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        self.around(StoreCall::Renew, self.inner.renew(owner, self.hook.lease(ttl)))
    }

    fn release(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<(), StoreError>> {
        self.around(StoreCall::Release, self.inner.release(session, lease))
    }

    fn put_snapshot(
        &self,
        session: &SessionId,
        snapshot: StoredSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.around(StoreCall::PutSnapshot, self.inner.put_snapshot(session, snapshot))
    }

    fn snapshot(
        &self,
        session: &SessionId,
        upto: Seq,
    ) -> BoxFuture<'_, Result<Option<StoredSnapshot>, StoreError>> {
        self.around(StoreCall::Snapshot, self.inner.snapshot(session, upto))
    }

    fn trim(&self, session: &SessionId, before: Seq) -> BoxFuture<'_, Result<(), StoreError>> {
        self.around(StoreCall::Trim, self.inner.trim(session, before))
    }

    fn copy(
        &self,
        source: &SessionId,
        target: &SessionId,
        upto: Seq,
        summary: Summary,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.around(StoreCall::Copy, self.inner.copy(source, target, upto, summary))
    }

    fn list(
        &self,
        after: Option<&SessionId>,
        statuses: &[String],
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        self.around(StoreCall::List, self.inner.list(after, statuses, limit))
    }

    fn orphans(
        &self,
        owner: &OwnerId,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        self.around(StoreCall::List, self.inner.orphans(owner, after, limit))
    }

    fn channel(&self) -> Option<Arc<dyn ReplicaChannel>> {
        self.inner.channel()
    }

    fn shared_limits(&self) -> Option<Arc<dyn SharedLimits>> {
        self.inner.shared_limits()
    }

    fn recent(&self, wanted: &Recent) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        self.around(StoreCall::List, self.inner.recent(wanted))
    }

    fn due(
        &self,
        after: Option<(i64, SessionId)>,
        until: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        self.around(StoreCall::List, self.inner.due(after, until, limit))
    }

    fn delete(&self, session: &SessionId) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.around(StoreCall::Delete, self.inner.delete(session))
    }

    fn delete_held(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.around(StoreCall::Delete, self.inner.delete_held(session, lease))
    }

    fn durable(&self) -> bool {
        self.inner.durable()
    }
}
