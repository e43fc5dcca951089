//! In-memory `JournalStore`. Contents are lost when the process exits.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{BuildHasher, RandomState},
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::{self, BoxFuture};
use parking_lot::{Mutex, RwLock};

use self::session::{Indexed, Session};
use super::store::{
    Append, Epoch, Head, JournalStore, Lease, OwnerId, Recent, Record, StoreError, StoredSnapshot, Summary,
    check_records,
};
use crate::{
    clock::{Clock, WallClock, millis},
    ids::{Seq, SessionId},
    run::RunStatus,
};

mod session;

/// A power of two, so that a hash is cut to a shard by a mask.
const SHARDS: usize = 32;

/// In-memory journal store, shared through an `Arc`. Contents are lost when the process exits.
///
/// Every future is ready at its first poll.
///
/// # Examples
///
/// ```
/// use agent_core::{Runtime, journal::InMemoryJournal};
/// use std::sync::Arc;
///
/// let journal = Arc::new(InMemoryJournal::new());
/// // Two runtimes on one journal, as two processes on one database.
/// let runtimes = [0, 1].map(|_| Runtime::builder().journal(journal.clone()).build());
/// # drop(runtimes);
/// ```
pub struct InMemoryJournal {
    shards: [Shard; SHARDS],
    hasher: RandomState,
    clock: Arc<dyn Clock>,
    /// The highest epoch of any deleted session. A session that is created again starts above it, so that writers of the
    /// deleted one are refused.
    floor: AtomicU64,
    /// Number of `running` sessions per shard, so that a list of them skips the other shards.
    running: [AtomicUsize; SHARDS],
    /// Sessions by [`Summary::due`]. Locked last, and only if it changes.
    dues: Mutex<BTreeSet<(i64, SessionId)>>,
}

/// Sessions by id. An append takes the shard lock shared and the session lock exclusively, so only creating and deleting a
/// session blocks others.
type Shard = RwLock<BTreeMap<SessionId, Mutex<Session>>>;

impl InMemoryJournal {
    /// Creates an empty store.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, journal::InMemoryJournal};
    /// let runtime = Runtime::builder().journal(InMemoryJournal::new()).build();
    /// assert!(runtime.has_journal());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Arc::new(WallClock))
    }

    /// Creates an empty store with a clock for leases.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{clock::ManualClock, journal::InMemoryJournal};
    /// # use std::sync::Arc;
    /// let journal = InMemoryJournal::with_clock(Arc::new(ManualClock::new(0)));
    /// # drop(journal);
    /// ```
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let (shards, running, hasher) = (Default::default(), Default::default(), RandomState::new());
        Self { shards, hasher, clock, floor: AtomicU64::new(0), running, dues: Mutex::default() }
    }

    fn place(&self, session: &SessionId) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits choose the shard")]
        let hash = self.hasher.hash_one(session) as usize;
        hash & (SHARDS - 1)
    }

    fn shard(&self, session: &SessionId) -> &Shard {
        &self.shards[self.place(session)]
    }

    /// Runs `work` on an existing session.
    fn with<T>(&self, session: &SessionId, work: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.shard(session).read().get(session).map(|found| work(&mut found.lock()))
    }

    fn append_now(&self, append: Append) -> Result<(), StoreError> {
        check_records(&append)?;
        let Append { session, epoch, expected, records, summary } = append;
        let shard = self.shard(&session).read();
        if let Some(found) = shard.get(&session) {
            let mut found = found.lock();
            let before = found.indexed();
            found.append(&session, epoch, expected, records, summary)?;
            self.index(&session, before, found.indexed());
            return Ok(());
        }
        drop(shard);
        if epoch != Epoch::default() {
            // It was deleted while a writer held it.
            return Err(StoreError::NotFound { session });
        }
        let mut shard = self.shard(&session).write();
        let mut fresh = Session::default();
        match shard.get_mut(&session) {
            Some(found) => {
                let found = found.get_mut();
                let before = found.indexed();
                found.append(&session, epoch, expected, records, summary)?;
                self.index(&session, before, found.indexed());
                Ok(())
            }
            None => {
                fresh.append(&session, epoch, expected, records, summary)?;
                self.index(&session, Indexed::default(), fresh.indexed());
                shard.insert(session, Mutex::new(fresh));
                Ok(())
            }
        }
    }

    fn acquire_now(&self, session: &SessionId, owner: &OwnerId, ttl: Duration) -> Result<Lease, StoreError> {
        let now = self.clock.now_ms();
        let floor = self.floor.load(Ordering::SeqCst);
        if let Some(lease) = self.with(session, |found| found.acquire(session, owner, now, ttl, floor)) {
            return lease;
        }
        let mut shard = self.shard(session).write();
        // Under the shard's lock once more: a delete of this very session may have raised it.
        let floor = self.floor.load(Ordering::SeqCst);
        shard.entry(session.clone()).or_default().get_mut().acquire(session, owner, now, ttl, floor)
    }

    fn copy_now(
        &self,
        source: &SessionId,
        target: &SessionId,
        upto: Seq,
        summary: Summary,
    ) -> Result<(), StoreError> {
        if self.shard(target).read().contains_key(target) {
            return Err(StoreError::Exists { session: target.clone() });
        }
        let mut copied = self
            .with(source, |found| found.copied(source, upto))
            .ok_or_else(|| StoreError::NotFound { session: source.clone() })??;
        let mut shard = self.shard(target).write();
        if shard.contains_key(target) {
            return Err(StoreError::Exists { session: target.clone() });
        }
        copied.summary = summary;
        self.index(target, Indexed::default(), copied.indexed());
        shard.insert(target.clone(), Mutex::new(copied));
        Ok(())
    }

    fn list_now(
        &self,
        after: Option<&SessionId>,
        statuses: &[String],
        limit: usize,
    ) -> Vec<(SessionId, Head)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Vec::new();
        let only_running = matches!(statuses, [status] if status == RunStatus::Running.as_str());
        for (shard, running) in self.shards.iter().zip(&self.running) {
            if only_running && running.load(Ordering::SeqCst) == 0 {
                continue;
            }
            let shard = shard.read();
            let matching =
                shard.range::<SessionId, _>((start, Bound::Unbounded)).filter_map(|(id, session)| {
                    let session = session.lock();
                    let wanted = statuses.is_empty() || statuses.contains(&session.summary.status);
                    wanted.then(|| (id.clone(), session.head()))
                });
            page.extend(matching.take(limit));
        }
        page.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        page.truncate(limit);
        page
    }

    fn recent_now(&self, wanted: &Recent) -> Vec<(SessionId, Head)> {
        let mut page = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            page.extend(shard.iter().filter_map(|(id, session)| {
                let session = session.lock();
                let reported = !session.summary.graph.is_empty() && wanted.takes(id, &session.summary);
                reported.then(|| (id.clone(), session.head()))
            }));
        }
        page.sort_unstable_by(|(left, one), (right, other)| {
            (other.summary.at, right).cmp(&(one.summary.at, left))
        });
        page.truncate(wanted.limit);
        page
    }

    /// Deletes a session; with `held`, only if this is the current epoch.
    fn delete_now(&self, session: &SessionId, held: Option<Epoch>) -> Result<bool, StoreError> {
        let mut shard = self.shard(session).write();
        let Some(found) = shard.get_mut(session) else { return Ok(false) };
        let (current, before) = (found.get_mut().epoch, found.get_mut().indexed());
        if let Some(epoch) = held
            && epoch != current
        {
            return Err(StoreError::StaleWriter { session: session.clone(), epoch, current });
        }
        shard.remove(session);
        self.index(session, before, Indexed::default());
        self.floor.fetch_max(current.0, Ordering::SeqCst);
        Ok(true)
    }

    /// Updates the indexes. Callers hold the lock of the session.
    fn index(&self, session: &SessionId, before: Indexed, after: Indexed) {
        if before.running != after.running {
            let running = &self.running[self.place(session)];
            if after.running {
                running.fetch_add(1, Ordering::SeqCst);
            } else {
                running.fetch_sub(1, Ordering::SeqCst);
            }
        }
        if before.due != after.due {
            let mut dues = self.dues.lock();
            if let Some(due) = before.due {
                dues.remove(&(due, session.clone()));
            }
            if let Some(due) = after.due {
                dues.insert((due, session.clone()));
            }
        }
    }

    fn due_now(&self, after: Option<(i64, SessionId)>, until: i64, limit: usize) -> Vec<(SessionId, Head)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found: Vec<(i64, SessionId)> = {
            let dues = self.dues.lock();
            let range = dues.range((start, Bound::Unbounded));
            range.take_while(|(due, _)| *due <= until).take(limit).cloned().collect()
        };
        // A session that changed in between is left out.
        let head = |(due, id): (i64, SessionId)| {
            let head = self.with(&id, |session| session.head())?;
            (head.summary.due == Some(due)).then_some((id, head))
        };
        found.into_iter().filter_map(head).collect()
    }
}

impl JournalStore for InMemoryJournal {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(future::lazy(|_| self.append_now(append)))
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn read(
        &self,
        session: &SessionId,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let records = self.with(session, |found| found.read(after, upto, limit));
        Box::pin(future::ready(Ok(records.unwrap_or_default())))
    }

    fn head(&self, session: &SessionId) -> BoxFuture<'_, Result<Option<Head>, StoreError>> {
        Box::pin(future::ready(Ok(self.with(session, |found| found.head()))))
    }

    fn acquire(
        &self,
        session: &SessionId,
        owner: &OwnerId,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Lease, StoreError>> {
        let (session, owner) = (session.clone(), owner.clone());
        Box::pin(future::lazy(move |_| self.acquire_now(&session, &owner, ttl)))
    }

    fn renew(&self, owner: &OwnerId, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        let owner = owner.clone();
        Box::pin(future::lazy(move |_| {
            let expires = self.clock.now_ms().saturating_add(millis(ttl));
            for shard in &self.shards {
                for session in shard.read().values() {
                    session.lock().renew(&owner, expires);
                }
            }
            Ok(())
        }))
    }

    fn release(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<(), StoreError>> {
        let (session, lease) = (session.clone(), lease.clone());
        Box::pin(future::lazy(move |_| {
            self.with(&session, |found| found.release(&lease));
            Ok(())
        }))
    }

    fn put_snapshot(
        &self,
        session: &SessionId,
        snapshot: StoredSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let session = session.clone();
        Box::pin(future::lazy(move |_| {
            self.with(&session, |found| found.put_snapshot(&session, snapshot))
                .unwrap_or_else(|| Err(StoreError::NotFound { session: session.clone() }))
        }))
    }

    fn snapshot(
        &self,
        session: &SessionId,
        upto: Seq,
    ) -> BoxFuture<'_, Result<Option<StoredSnapshot>, StoreError>> {
        Box::pin(future::ready(Ok(self.with(session, |found| found.snapshot(upto)).flatten())))
    }

    fn trim(&self, session: &SessionId, before: Seq) -> BoxFuture<'_, Result<(), StoreError>> {
        let session = session.clone();
        Box::pin(future::lazy(move |_| {
            self.with(&session, |found| found.trim(before));
            Ok(())
        }))
    }

    fn copy(
        &self,
        source: &SessionId,
        target: &SessionId,
        upto: Seq,
        summary: Summary,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let (source, target) = (source.clone(), target.clone());
        Box::pin(future::lazy(move |_| self.copy_now(&source, &target, upto, summary)))
    }

    fn list(
        &self,
        after: Option<&SessionId>,
        statuses: &[String],
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        Box::pin(future::ready(Ok(self.list_now(after, statuses, limit))))
    }

    fn recent(&self, wanted: &Recent) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        Box::pin(future::ready(Ok(self.recent_now(wanted))))
    }

    fn delete(&self, session: &SessionId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let session = session.clone();
        Box::pin(future::lazy(move |_| self.delete_now(&session, None)))
    }

    fn delete_held(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (session, epoch) = (session.clone(), lease.epoch);
        Box::pin(future::lazy(move |_| self.delete_now(&session, Some(epoch))))
    }

    fn due(
        &self,
        after: Option<(i64, SessionId)>,
        until: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        Box::pin(future::lazy(move |_| Ok(self.due_now(after, until, limit))))
    }

    fn durable(&self) -> bool {
        false
    }
}

impl Default for InMemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemoryJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions: usize = self.shards.iter().map(|shard| shard.read().len()).sum();
        f.debug_struct("InMemoryJournal").field("sessions", &sessions).finish_non_exhaustive()
    }
}
