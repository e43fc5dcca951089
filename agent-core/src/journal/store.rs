//! The contract of journal stores: compare-and-append, leases and snapshots.

use std::{borrow::Borrow, collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use super::store_error::StoreError;
use super::{ReplicaChannel, SharedLimits};
use crate::{
    ids::{RunId, Seq, SessionId},
    interrupt::OpenQuestion,
    run::RunStatus,
};

/// Stores the journals of sessions. Entries are opaque bytes.
///
/// A session has one writer: [`acquire`](JournalStore::acquire) returns an epoch, and every
/// [`append`](JournalStore::append) has that epoch and the number of the last entry that the writer knows. A store refuses
/// an append with an old epoch, or with a number that is not the end of the journal. A writer that lost its lease (for
/// example a suspended process) can therefore write nothing.
///
/// Methods may be called concurrently. A future that is dropped before it is ready takes effect completely or not at all.
/// Every store must pass [`conformance`](crate::journal::conformance).
///
/// # Examples
///
/// ```
/// use agent_core::{ids::Seq, journal::{InMemoryJournal, JournalStore}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = InMemoryJournal::new();
/// // An unknown session reads as empty.
/// let entries = store.read(&"s-1".parse()?, Seq::default(), Seq(100), 10).await?;
/// assert!(entries.is_empty());
/// # Ok(()) }
/// ```
pub trait JournalStore: Send + Sync + 'static {
    /// Appends entries to the journal of a session and stores the summary, atomically.
    ///
    /// Completes when the entries are durable. Without entries, only the summary is stored. The epoch must be the current
    /// one: 0 for a session that was never acquired (it is created if it is new), else that of the latest lease, also after
    /// its release or expiry.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::StaleWriter`] (checked first), [`StoreError::Conflict`], [`StoreError::NotFound`] if the session
    /// of a writer was deleted, [`StoreError::Illegal`] if the numbers are not consecutive.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns whether an append only writes to memory and needs no spawned task. Default: `false`.
    fn is_instant(&self) -> bool {
        false
    }

    /// Reads entries with numbers `after < seq <= upto` in order, at most `limit` of them.
    ///
    /// An unknown session reads as empty. Entries removed by retention are skipped: compare the first number with `after`, or
    /// use [`head`](JournalStore::head).
    fn read(
        &self,
        session: &SessionId,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Returns the end, the summary and the sizes of a session; `None` if it does not exist.
    fn head(&self, session: &SessionId) -> BoxFuture<'_, Result<Option<Head>, StoreError>>;

    /// Acquires the lease of a session (existing or new) and increments its epoch.
    ///
    /// The same `owner` may acquire again, which increments the epoch again. A lease of another living owner fails with
    /// [`StoreError::Leased`]; that of a dead one (expired, or known to be dead) is taken over. A session that is deleted and
    /// created again continues above its earlier epochs, so that old writers are refused.
    fn acquire(
        &self,
        session: &SessionId,
        owner: &OwnerId,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Lease, StoreError>>;

    /// Extends every lease of `owner` to `ttl` from now, including expired ones that were not taken over. Called by the
    /// runtime every third of the `ttl`.
    fn renew(&self, owner: &OwnerId, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Releases a lease. Does nothing if it is no longer held.
    fn release(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Stores a snapshot of the folded state at `seq`, in place of an earlier one at the same `seq`.
    ///
    /// No epoch is checked, so a snapshot must contain acknowledged entries only.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] when the journal ends before `seq`.
    fn put_snapshot(
        &self,
        session: &SessionId,
        snapshot: StoredSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns the newest snapshot with a number of at most `upto`.
    fn snapshot(
        &self,
        session: &SessionId,
        upto: Seq,
    ) -> BoxFuture<'_, Result<Option<StoredSnapshot>, StoreError>>;

    /// Returns the newest snapshot with a number of at most `upto`, and at most `limit` entries after it up to and including
    /// `upto`.
    ///
    /// Default: [`snapshot`](Self::snapshot), then [`read`](Self::read). A remote store should use one round trip.
    fn replay_start(
        &self,
        session: &SessionId,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<ReplayStart, StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            let snapshot = self.snapshot(&session, upto).await?;
            let after = snapshot.as_ref().map_or(Seq::ZERO, |snapshot| snapshot.seq);
            let records = self.read(&session, after, upto, limit).await?;
            Ok(ReplayStart { snapshot, records })
        })
    }

    /// Removes entries and snapshots that the newest snapshot at or before `before` makes redundant: entries up to and
    /// including its number, and older snapshots.
    ///
    /// Entries between that snapshot and `before` remain. Does nothing if there is no such snapshot or session.
    fn trim(&self, session: &SessionId, before: Seq) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Copies a session up to and including `upto` (entries and snapshots, same numbers) to a new session.
    ///
    /// An `upto` after the end copies everything. The target gets the given summary and has no lease.
    ///
    /// # Errors
    ///
    /// [`StoreError::Exists`] for the target, [`StoreError::NotFound`] for the source, [`StoreError::Trimmed`]
    /// when retention removed what the state at `upto` is folded from.
    fn copy(
        &self,
        source: &SessionId,
        target: &SessionId,
        upto: Seq,
        summary: Summary,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Lists sessions in the order of their ids, after `after`, at most `limit`, with one of `statuses` (empty: all).
    fn list(
        &self,
        after: Option<&SessionId>,
        statuses: &[String],
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>>;

    /// Lists sessions with the status `running` that no other living process than `owner` holds, as
    /// [`list`](JournalStore::list) does.
    ///
    /// Default: all with that status, held or not; acquiring a held one fails.
    fn orphans(
        &self,
        owner: &OwnerId,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        let _ = owner;
        self.list(after, &[RunStatus::Running.as_str().to_owned()], limit)
    }

    /// Returns the channel between the processes that share the store. Default: none; each process then serves only the
    /// sessions that it holds.
    fn channel(&self) -> Option<Arc<dyn ReplicaChannel>> {
        None
    }

    /// Returns the counters that the processes on the store share. Default: none; each process then counts for itself.
    fn shared_limits(&self) -> Option<Arc<dyn SharedLimits>> {
        None
    }

    /// Lists sessions with a summary by their last change, newest first (by [`Summary::at`], then by id, both descending). A
    /// session that changes between two pages may be listed twice or not at all.
    fn recent(&self, wanted: &Recent) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>>;

    /// Lists paused sessions with a question that has a deadline, by [`Summary::due`] and then by id, both ascending: those
    /// after `after` that are due until `until`, at most `limit`.
    ///
    /// Default: reads every paused session. A store for many sessions should have an index.
    fn due(
        &self,
        after: Option<(i64, SessionId)>,
        until: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        Box::pin(async move {
            let paused = [RunStatus::Paused.as_str().to_owned()];
            let mut found: Vec<(i64, SessionId, Head)> = Vec::new();
            let mut last: Option<SessionId> = None;
            loop {
                let page = self.list(last.as_ref(), &paused, 1_000).await?;
                let Some((id, _)) = page.last() else { break };
                last = Some(id.clone());
                found.extend(page.into_iter().filter_map(|(id, head)| {
                    let due = head.summary.due.filter(|due| *due <= until)?;
                    let behind = after.as_ref().is_none_or(|after| (due, &id) > (after.0, &after.1));
                    behind.then_some((due, id, head))
                }));
            }
            found.sort_unstable_by(|left, right| (left.0, &left.1).cmp(&(right.0, &right.1)));
            found.truncate(limit);
            Ok(found.into_iter().map(|(_, id, head)| (id, head)).collect())
        })
    }

    /// Deletes a session, regardless of its lease. Returns `false` if it did not exist.
    ///
    /// For maintenance of a store that no runtime uses. The runtime calls [`delete_held`](JournalStore::delete_held).
    fn delete(&self, session: &SessionId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Deletes a session on behalf of the holder of `lease`. Returns `false` if it did not exist.
    ///
    /// Default: compares the epochs and deletes in two steps. A store should do both atomically.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::StaleWriter`] if the epoch of the lease is not the current one; nothing is deleted then.
    fn delete_held(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (session, epoch) = (session.clone(), lease.epoch);
        Box::pin(async move {
            match self.head(&session).await? {
                None => Ok(false),
                Some(head) if head.epoch != epoch => {
                    Err(StoreError::StaleWriter { session, epoch, current: head.epoch })
                }
                Some(_) => self.delete(&session).await,
            }
        })
    }

    /// Returns whether other processes that open the same store see its contents. Default: `true`.
    fn durable(&self) -> bool {
        true
    }
}

/// A value that [`RuntimeBuilder::journal`](crate::session::RuntimeBuilder::journal) accepts: a [`JournalStore`] or an
/// `Arc` of one.
pub trait IntoJournal {
    /// Converts the value into a shared store.
    fn into_journal(self) -> Arc<dyn JournalStore>;
}

impl<S: JournalStore> IntoJournal for S {
    fn into_journal(self) -> Arc<dyn JournalStore> {
        Arc::new(self)
    }
}

impl<S: JournalStore> IntoJournal for Arc<S> {
    fn into_journal(self) -> Arc<dyn JournalStore> {
        self
    }
}

impl IntoJournal for Arc<dyn JournalStore> {
    fn into_journal(self) -> Arc<dyn JournalStore> {
        self
    }
}

/// An entry as opaque bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Its number.
    pub seq: Seq,
    /// The entry as JSON (UTF-8).
    pub body: Vec<u8>,
}

impl Record {
    /// An entry with its number.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::Seq;
    /// use agent_core::journal::Record;
    ///
    /// assert_eq!(Record::new(Seq(1), b"{}".to_vec()).seq, Seq(1));
    /// ```
    #[must_use]
    pub fn new(seq: Seq, body: Vec<u8>) -> Self {
        Self { seq, body }
    }
}

/// Parameters of [`JournalStore::append`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Append {
    /// The session, existing or new.
    pub session: SessionId,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// The last number in the journal as the writer knows it; the first record has the next one.
    pub expected: Seq,
    /// Entries with consecutive numbers.
    pub records: Vec<Record>,
    /// The new summary of the session; `None` keeps the present one.
    pub summary: Option<Summary>,
}

impl Append {
    /// Creates an append of `records` after `expected` by the writer with `epoch`, without a new summary.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::Seq;
    /// use agent_core::journal::{Append, Epoch, Record};
    ///
    /// let records = vec![Record::new(Seq(1), b"{}".to_vec())];
    /// let append = Append::new("s-1".parse()?, Epoch(1), Seq::ZERO, records);
    /// assert!(append.summary.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(session: SessionId, epoch: Epoch, expected: Seq, records: Vec<Record>) -> Self {
        Self { session, epoch, expected, records, summary: None }
    }

    /// Sets the new summary.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::{RunId, Seq};
    /// use agent_core::journal::{Append, Epoch, Summary};
    ///
    /// let summary = Summary::new("count", "running", RunId(1), 0);
    /// let append = Append::new("s-1".parse()?, Epoch(1), Seq::ZERO, Vec::new()).with_summary(Some(summary));
    /// assert!(append.summary.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_summary(mut self, summary: Option<Summary>) -> Self {
        self.summary = summary;
        self
    }
}

/// Summary of a session, for lists that do not read journals.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Name of the graph that runs on it.
    pub graph: String,
    /// Status of its latest run: `running`, `paused`, `completed`, `failed`, `stopped`.
    pub status: String,
    /// The latest run.
    pub run: RunId,
    /// When it was written, in milliseconds since 1970.
    pub at: i64,
    /// Number of open questions while it is `paused`; 0 otherwise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub questions: u32,
    /// The earliest deadline of those questions, in milliseconds since 1970; [`i64::MAX`] if none has one. `None` if the
    /// session is not `paused`, or if an older program wrote the summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<i64>,
    /// The process that executed the run has shut down and handed it over, or has executed it for so long that its death does
    /// not count as a takeover.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_over: bool,
    /// Labels set by the application (owner, title …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Summary {
    /// Creates a summary without labels.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::RunId;
    /// use agent_core::journal::Summary;
    ///
    /// let summary = Summary::new("count", "running", RunId(1), 0);
    /// assert_eq!(summary.graph, "count");
    /// ```
    #[must_use]
    pub fn new(graph: impl Into<String>, status: impl Into<String>, run: RunId, at: i64) -> Self {
        Self {
            graph: graph.into(),
            status: status.into(),
            run,
            at,
            questions: 0,
            due: None,
            handed_over: false,
            labels: BTreeMap::new(),
        }
    }

    /// Sets the number of open questions.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::RunId;
    /// use agent_core::journal::Summary;
    ///
    /// assert_eq!(Summary::new("ask", "paused", RunId(1), 0).questions(2).questions, 2);
    /// ```
    #[must_use]
    pub fn questions(mut self, open: usize) -> Self {
        self.questions = u32::try_from(open).unwrap_or(u32::MAX);
        self
    }

    /// Sets number and earliest deadline of the open questions.
    #[must_use]
    pub(crate) fn with_questions<Q: Borrow<OpenQuestion>>(mut self, open: &[Q]) -> Self {
        if self.status == RunStatus::Paused.as_str() {
            self = self.questions(open.len());
            self.due = Some(open.iter().filter_map(|open| open.borrow().due()).min().unwrap_or(i64::MAX));
        }
        self
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Returns whether a label may have this name.
#[must_use]
pub fn is_label(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(legal)
}

/// A label of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its name: `[a-z0-9_.-]`, at most 64 bytes.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Label {
    /// Creates a label.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::journal::{Label, Recent};
    ///
    /// let wanted = Recent { label: Some(Label::new("owner", "ana")), limit: 20, ..Recent::default() };
    /// assert_eq!(wanted.label.ok_or("no label")?.value, "ana");
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Position in the list of [`JournalStore::recent`]: the last session of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentCursor {
    /// The time of its summary, in milliseconds since 1970.
    pub at: i64,
    /// Its id.
    pub session: SessionId,
}

/// Filter of [`JournalStore::recent`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent {
    /// Continue after this session: the last one of the previous page.
    pub before: Option<RecentCursor>,
    /// Only with one of these statuses; empty: with any.
    pub statuses: Vec<String>,
    /// Only with this label.
    pub label: Option<Label>,
    /// Only those on which this graph runs.
    pub graph: Option<String>,
    /// None on which one of these graphs runs.
    pub without: Vec<String>,
    /// Maximum number of sessions.
    pub limit: usize,
}

impl Recent {
    /// Returns whether a session matches the filter.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{ids::RunId, journal::Recent};
    /// use agent_core::journal::Summary;
    ///
    /// let mut wanted = Recent::default();
    /// wanted.graph = Some("count".to_owned());
    /// assert!(wanted.takes(&"s-1".parse()?, &Summary::new("count", "running", RunId(1), 0)));
    /// assert!(!wanted.takes(&"s-2".parse()?, &Summary::new("ask", "paused", RunId(1), 0)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn takes(&self, session: &SessionId, summary: &Summary) -> bool {
        let behind = |last: &RecentCursor| (summary.at, session) < (last.at, &last.session);
        let labelled = |label: &Label| summary.labels.get(&label.name) == Some(&label.value);
        self.before.as_ref().is_none_or(behind)
            && (self.statuses.is_empty() || self.statuses.contains(&summary.status))
            && self.label.as_ref().is_none_or(labelled)
            && self.graph.as_ref().is_none_or(|graph| *graph == summary.graph)
            && !self.without.contains(&summary.graph)
    }
}

/// The end of a journal and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// Number of the last entry; [`Seq::ZERO`] when only a lease was taken.
    pub last: Seq,
    /// Number of the oldest entry that is left; `last.next()` if none is.
    pub first: Seq,
    /// The epoch of the latest lease.
    pub epoch: Epoch,
    /// The latest summary.
    pub summary: Summary,
    /// Bytes of all entries (bodies).
    pub journal_bytes: u64,
    /// Bytes of all snapshots (bodies).
    pub snapshot_bytes: u64,
}

impl Head {
    /// A head; see the fields.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::{RunId, Seq};
    /// use agent_core::journal::{Epoch, Head, Summary};
    ///
    /// let head = Head::new(Seq(7), Seq(1), Epoch(1), Summary::new("count", "completed", RunId(1), 0), 900, 0);
    /// assert_eq!(head.last, Seq(7));
    /// ```
    #[must_use]
    pub fn new(
        last: Seq,
        first: Seq,
        epoch: Epoch,
        summary: Summary,
        journal_bytes: u64,
        snapshot_bytes: u64,
    ) -> Self {
        Self { last, first, epoch, summary, journal_bytes, snapshot_bytes }
    }
}

/// Fencing token of a session's writer: increases with each lease.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identifies one [`Runtime`](crate::session::Runtime) among those that share a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerId(pub String);

impl OwnerId {
    /// Returns a random id.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::journal::OwnerId;
    ///
    /// assert_ne!(OwnerId::random(), OwnerId::random());
    /// ```
    #[must_use]
    pub fn random() -> Self {
        Self(format!("o-{:032x}", fastrand::u128(..)))
    }
}

/// The right to write to one session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The holder.
    pub owner: OwnerId,
    /// Its number.
    pub epoch: Epoch,
}

impl Lease {
    /// A lease of `owner` with `epoch`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::journal::{Epoch, Lease, OwnerId};
    ///
    /// assert_eq!(Lease::new(OwnerId::random(), Epoch(3)).epoch, Epoch(3));
    /// ```
    #[must_use]
    pub fn new(owner: OwnerId, epoch: Epoch) -> Self {
        Self { owner, epoch }
    }
}

/// The first data of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayStart {
    /// The newest snapshot.
    pub snapshot: Option<StoredSnapshot>,
    /// The first entries after it.
    pub records: Vec<Record>,
}

impl ReplayStart {
    /// A snapshot and the entries after it.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::journal::ReplayStart;
    ///
    /// assert!(ReplayStart::new(None, Vec::new()).records.is_empty());
    /// ```
    #[must_use]
    pub const fn new(snapshot: Option<StoredSnapshot>, records: Vec<Record>) -> Self {
        Self { snapshot, records }
    }
}

/// A folded state as a store sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredSnapshot {
    /// The last entry that is folded in.
    pub seq: Seq,
    /// The snapshot as JSON (UTF-8).
    pub body: Vec<u8>,
}

impl StoredSnapshot {
    /// A snapshot at `seq`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::ids::Seq;
    /// use agent_core::journal::StoredSnapshot;
    ///
    /// assert_eq!(StoredSnapshot::new(Seq(7), b"{}".to_vec()).seq, Seq(7));
    /// ```
    #[must_use]
    pub fn new(seq: Seq, body: Vec<u8>) -> Self {
        Self { seq, body }
    }
}

/// Checks that the numbers of an append follow `expected` without a gap. For stores.
///
/// # Errors
///
/// [`StoreError::Illegal`].
pub fn check_records(append: &Append) -> Result<(), StoreError> {
    let mut last = append.expected.0;
    for record in &append.records {
        if Some(record.seq.0) != last.checked_add(1) {
            let reason = format!("entry {} was given where the number after {last} belongs", record.seq);
            return Err(StoreError::Illegal { reason });
        }
        last = record.seq.0;
    }
    Ok(())
}
