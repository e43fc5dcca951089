//! A store whose appends fail in chosen ways.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_core::{
    ids::{Seq, SessionId},
    journal::{
        Append, Head, JournalStore, Lease, OwnerId, Recent, Record, StoreError, StoredSnapshot, Summary,
    },
};
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// How one append fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused; nothing is stored.
    Refused,
    /// It is stored, and reported as failed.
    StoredButReported,
    /// It takes many polls, before and behind the work.
    Slow,
}

/// A store that fails as planned, and works otherwise. Its leases end at once.
pub struct Faulty {
    inner: Arc<dyn JournalStore>,
    /// By the number of the append, further tries counted, from 0.
    plan: Mutex<BTreeMap<u64, Fault>>,
    appends: AtomicU64,
    down: AtomicBool,
}

impl Faulty {
    /// A store on `inner` that works until a fault is planned.
    #[must_use]
    pub fn on(inner: Arc<dyn JournalStore>) -> Arc<Self> {
        let (plan, appends, down) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { inner, plan, appends, down })
    }

    /// Lets appends fail by their number, counted from 0 over all sessions, further tries included.
    #[must_use]
    pub fn planned(self: Arc<Self>, faults: impl IntoIterator<Item = (u64, Fault)>) -> Arc<Self> {
        self.plan.lock().extend(faults);
        self
    }

    /// Lets the next `count` appends fail.
    pub fn fail_next(&self, count: u64, fault: Fault) {
        let next = self.appends();
        self.plan.lock().extend((next..next + count).map(|at| (at, fault)));
    }

    /// Fails every call until it is up again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// How many appends were asked for.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.appends.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::SeqCst) { Err(refused()) } else { Ok(()) }
    }
}

fn refused() -> StoreError {
    StoreError::Unavailable { reason: "the test refuses it".into() }
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faulty").field("appends", &self.appends).finish_non_exhaustive()
    }
}

impl JournalStore for Faulty {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let at = self.appends.fetch_add(1, Ordering::SeqCst);
            let fault = self.plan.lock().remove(&at);
            self.check()?;
            match fault {
                None => self.inner.append(append).await,
                Some(Fault::Refused) => Err(refused()),
                Some(Fault::StoredButReported) => {
                    self.inner.append(append).await?;
                    Err(refused())
                }
                Some(Fault::Slow) => {
                    for _ in 0..50 {
                        tokio::task::yield_now().await;
                    }
                    let done = self.inner.append(append).await;
                    for _ in 0..50 {
                        tokio::task::yield_now().await;
                    }
                    done
                }
            }
        })
    }

    fn read(
        &self,
        session: &SessionId,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            self.check()?;
            self.inner.read(&session, after, upto, limit).await
        })
    }

    fn head(&self, session: &SessionId) -> BoxFuture<'_, Result<Option<Head>, StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            self.check()?;
            self.inner.head(&session).await
        })
    }

    fn acquire(
        &self,
        session: &SessionId,
        owner: &OwnerId,
        _ttl: Duration,
    ) -> BoxFuture<'_, Result<Lease, StoreError>> {
        let (session, owner) = (session.clone(), owner.clone());
        Box::pin(async move {
            self.check()?;
            self.inner.acquire(&session, &owner, Duration::ZERO).await
        })
    }

    fn renew(&self, _owner: &OwnerId, _ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { self.check() })
    }

    fn release(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.release(session, lease)
    }

    fn put_snapshot(
        &self,
        session: &SessionId,
        snapshot: StoredSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            self.check()?;
            self.inner.put_snapshot(&session, snapshot).await
        })
    }

    fn snapshot(
        &self,
        session: &SessionId,
        upto: Seq,
    ) -> BoxFuture<'_, Result<Option<StoredSnapshot>, StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            self.check()?;
            self.inner.snapshot(&session, upto).await
        })
    }

    fn trim(&self, session: &SessionId, before: Seq) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.trim(session, before)
    }

    fn copy(
        &self,
        source: &SessionId,
        target: &SessionId,
        upto: Seq,
        summary: Summary,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.copy(source, target, upto, summary)
    }

    fn list(
        &self,
        after: Option<&SessionId>,
        statuses: &[String],
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        self.inner.list(after, statuses, limit)
    }

    fn recent(&self, wanted: &Recent) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        self.inner.recent(wanted)
    }

    fn delete(&self, session: &SessionId) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner.delete(session)
    }
}
