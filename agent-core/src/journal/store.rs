//! What a place that keeps journals must promise: compare-and-append, leases, snapshots, and nothing else.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{RunId, Seq, SessionId},
    interrupt::OpenQuestion,
    run::RunStatus,
};

/// Keeps the journals of many sessions. Bytes in, bytes out: a store never looks into an entry.
///
/// One writer a session: [`acquire`](JournalStore::acquire) gives an epoch, and every
/// [`append`](JournalStore::append) names the epoch and the number of the last entry its writer knows. A store
/// refuses an append whose epoch is old or whose number is not the journal's end, so a writer that lost its
/// lease (a paused process, say) can write nothing.
///
/// All methods may be called from many tasks at once. A future that is dropped before it is ready may or may
/// not have taken effect, but never in part. Every store must pass [`conformance`](crate::journal::conformance).
pub trait JournalStore: Send + Sync + 'static {
    /// Appends entries to the end of a session's journal and stores the summary, all or nothing.
    ///
    /// Ready only when the entries are as durable as the store makes them. Without entries only the summary
    /// is stored. The epoch must be the one in force: 0 for a session that nobody ever acquired (it is made
    /// when it is new), else that of the latest lease, also after its release or its end in time.
    ///
    /// # Errors
    ///
    /// [`StoreError::StaleWriter`] (looked at first), [`StoreError::Conflict`], [`StoreError::NotFound`] for a
    /// writer whose session was deleted, [`StoreError::Illegal`] for numbers that are not consecutive.
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether an append costs no more than memory does, so that it is not worth a task of its own. Default: no.
    fn is_instant(&self) -> bool {
        false
    }

    /// Reads entries with numbers `after < seq <= upto` in order, at most `limit` of them.
    ///
    /// An unknown session reads as empty. Entries that retention removed are simply not there: compare the
    /// first number with `after`, or ask [`head`](JournalStore::head).
    fn read(
        &self,
        session: &SessionId,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>>;

    /// Where the journal of a session ends, what it is about, and how large it is. `None`: no such session.
    fn head(&self, session: &SessionId) -> BoxFuture<'_, Result<Option<Head>, StoreError>>;

    /// Becomes the one writer of a session (existing or new) and raises its epoch.
    ///
    /// The same `owner` may acquire again (the epoch rises again). A lease of another owner that is alive is
    /// [`StoreError::Leased`]; that of a dead one (its `ttl` ran out, or the store knows better) is taken over.
    /// A session that is deleted and made again goes on above the epochs it had, so an old writer stays out.
    fn acquire(
        &self,
        session: &SessionId,
        owner: &OwnerId,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Lease, StoreError>>;

    /// Extends every lease of `owner` to `ttl` from now, also one that ran out and was not taken over.
    /// Called by the runtime every third of the `ttl`.
    fn renew(&self, owner: &OwnerId, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Gives up a lease. A lease that is no longer held is left alone.
    fn release(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Keeps a snapshot of the folded state at `seq`. The same `seq` again replaces it.
    ///
    /// No epoch is asked for, so fold in acknowledged entries only.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] when the journal ends before `seq`.
    fn put_snapshot(
        &self,
        session: &SessionId,
        snapshot: StoredSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The newest snapshot with a number of at most `upto`.
    fn snapshot(
        &self,
        session: &SessionId,
        upto: Seq,
    ) -> BoxFuture<'_, Result<Option<StoredSnapshot>, StoreError>>;

    /// Removes what the newest snapshot at or before `before` makes needless: entries up to and with its
    /// number, and older snapshots.
    ///
    /// Entries between that snapshot and `before` stay, and nothing happens when there is no such snapshot or
    /// no such session: what cannot be folded again must stay.
    fn trim(&self, session: &SessionId, before: Seq) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Copies a session up to and with `upto` (entries and snapshots, same numbers) to a new session.
    ///
    /// An `upto` behind the end copies all. The summary of the target is the one given; nobody holds it.
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

    /// Sessions in the order of their ids, after `after`, at most `limit`, only those whose summary has one of
    /// `statuses` (empty: all).
    fn list(
        &self,
        after: Option<&SessionId>,
        statuses: &[String],
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>>;

    /// Sessions that have a summary, those that changed last first (by [`Summary::at`], then by id, both falling), as
    /// far as they fit. One that changes between two pages may be seen twice or not at all.
    fn recent(&self, wanted: &Recent) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>>;

    /// Paused sessions one of whose questions runs out of time, by [`Summary::due`] and then by id, both rising: those
    /// behind `after` that are due until `until`, at most `limit`.
    ///
    /// Default: reads every paused session. A store of many sessions keeps an index instead.
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

    /// Removes a session with all it has, whoever holds it. `false`: there was none.
    ///
    /// For tools on a store that nothing else uses. The runtime calls [`delete_held`](JournalStore::delete_held).
    fn delete(&self, session: &SessionId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Removes a session with all it has on behalf of the holder of `lease`. `false`: there was none.
    ///
    /// Default: compares the epochs, then deletes, in two steps. A store should do both in one.
    ///
    /// # Errors
    ///
    /// [`StoreError::StaleWriter`] when the epoch of the lease is not the one in force; nothing was removed.
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

    /// Whether another process that opens the same store finds what this one wrote. Default: `true`.
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

/// One entry as a store sees it.
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
    #[must_use]
    pub fn new(seq: Seq, body: Vec<u8>) -> Self {
        Self { seq, body }
    }
}

/// What [`JournalStore::append`] is asked to do.
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
    /// What the session is about from now on. `None` keeps what was.
    pub summary: Option<Summary>,
}

impl Append {
    /// An append of `records` behind `expected` by the writer with `epoch`, without a new summary.
    #[must_use]
    pub fn new(session: SessionId, epoch: Epoch, expected: Seq, records: Vec<Record>) -> Self {
        Self { session, epoch, expected, records, summary: None }
    }

    /// The same with a new summary.
    #[must_use]
    pub fn with_summary(mut self, summary: Option<Summary>) -> Self {
        self.summary = summary;
        self
    }
}

/// What a list of sessions shows without reading a journal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Name of the graph that runs on it.
    pub graph: String,
    /// Where its latest run stands: `running`, `paused`, `completed`, `failed`, `stopped`.
    pub status: String,
    /// The latest run.
    pub run: RunId,
    /// When it was written, in milliseconds since 1970.
    pub at: i64,
    /// Questions that wait for a person while it is `paused`; 0 otherwise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub questions: u32,
    /// When the first of those questions runs out of time, in milliseconds since 1970; [`i64::MAX`]: none does. `None`:
    /// the session is not `paused`, or the summary was written by a program that did not know of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<i64>,
    /// The process that executed the run has shut down and left it to the next one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_over: bool,
    /// Free marks of the application (owner, title …).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Summary {
    /// A summary without marks.
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

    /// The same with so many open questions.
    #[must_use]
    pub fn questions(mut self, open: usize) -> Self {
        self.questions = u32::try_from(open).unwrap_or(u32::MAX);
        self
    }

    /// The same with these open questions: how many, and when the first runs out of time.
    #[must_use]
    pub(crate) fn with_questions(mut self, open: &[OpenQuestion]) -> Self {
        if self.status == RunStatus::Paused.as_str() {
            self = self.questions(open.len());
            self.due = Some(open.iter().filter_map(OpenQuestion::due).min().unwrap_or(i64::MAX));
        }
        self
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde hands over")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Whether a label may have this name.
pub(crate) fn is_label(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(legal)
}

/// Which sessions [`JournalStore::recent`] lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent {
    /// Behind this place in the list: the time and id of the last session of the page before.
    pub before: Option<(i64, SessionId)>,
    /// Only with one of these statuses; empty: with any.
    pub statuses: Vec<String>,
    /// Only with this label: its name (`[a-z0-9_.-]`) and value.
    pub label: Option<(String, String)>,
    /// Only those on which this graph runs.
    pub graph: Option<String>,
    /// None on which this graph runs.
    pub without: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl Recent {
    /// Whether a session belongs into the list.
    #[must_use]
    pub fn takes(&self, session: &SessionId, summary: &Summary) -> bool {
        let behind = |(at, id): &(i64, SessionId)| (summary.at, session) < (*at, id);
        let labelled = |(name, value): &(String, String)| summary.labels.get(name) == Some(value);
        self.before.as_ref().is_none_or(behind)
            && (self.statuses.is_empty() || self.statuses.contains(&summary.status))
            && self.label.as_ref().is_none_or(labelled)
            && self.graph.as_ref().is_none_or(|graph| *graph == summary.graph)
            && self.without.as_ref().is_none_or(|graph| *graph != summary.graph)
    }
}

/// The end of a journal and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// Number of the last entry; [`Seq::ZERO`] when only a lease was taken.
    pub last: Seq,
    /// Number of the oldest entry that is still there; `last.next()` when none is.
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

/// Which writer a session has: rises with each lease, so an old writer is known by its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one process (one [`Runtime`](crate::session::Runtime)) among those that share a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerId(pub String);

impl OwnerId {
    /// A fresh random name.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("o-{:032x}", fastrand::u128(..)))
    }
}

/// The right to write to one session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Who holds it.
    pub owner: OwnerId,
    /// Its number.
    pub epoch: Epoch,
}

impl Lease {
    /// A lease of `owner` with `epoch`.
    #[must_use]
    pub fn new(owner: OwnerId, epoch: Epoch) -> Self {
        Self { owner, epoch }
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
    #[must_use]
    pub fn new(seq: Seq, body: Vec<u8>) -> Self {
        Self { seq, body }
    }
}

/// What a store answers when it cannot do what it is asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The writer's epoch is old: another writer took the session over. Nothing was written.
    #[error("session `{session}` has a newer writer (epoch {current}, this one has {epoch})")]
    StaleWriter {
        /// The session.
        session: SessionId,
        /// The epoch of the refused writer.
        epoch: Epoch,
        /// The epoch in force.
        current: Epoch,
    },
    /// The journal's end is not where the writer thinks. Nothing was written.
    #[error("the journal of session `{session}` ends at {last}, not at {expected}")]
    Conflict {
        /// The session.
        session: SessionId,
        /// What the writer expected.
        expected: Seq,
        /// The end.
        last: Seq,
    },
    /// Retention removed what was asked for.
    #[error(
        "the journal of session `{session}` begins at {first}; what led to {upto} was removed by retention"
    )]
    Trimmed {
        /// The session.
        session: SessionId,
        /// The entry asked for.
        upto: Seq,
        /// The oldest entry that is left.
        first: Seq,
    },
    /// Another living process is the writer.
    #[error("session `{session}` is held by another process ({owner})")]
    Leased {
        /// The session.
        session: SessionId,
        /// Its writer.
        owner: String,
    },
    /// The target of a copy exists.
    #[error("session `{session}` exists already")]
    Exists {
        /// The session.
        session: SessionId,
    },
    /// No such session.
    #[error("there is no session `{session}`")]
    NotFound {
        /// The session.
        session: SessionId,
    },
    /// The store cannot be reached or cannot write now; the same call may work later.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// Why, without secrets.
        reason: String,
    },
    /// The request breaks a rule of the contract; the same call never works.
    #[error("the store refuses the request: {reason}")]
    Illegal {
        /// Which rule.
        reason: String,
    },
    /// The store as a whole cannot be read, or is not one of ours. Restore a backup or name another place.
    #[error("the store is damaged: {reason}")]
    Damaged {
        /// What was found, without secrets.
        reason: String,
    },
    /// What is stored cannot be read.
    #[error("entry {seq} of session `{session}` cannot be read: {reason}")]
    Corrupt {
        /// The session.
        session: SessionId,
        /// The entry.
        seq: Seq,
        /// Why.
        reason: String,
    },
    /// The data was written by a newer program.
    #[error("the data has format {found}, this program knows up to {known}; use a newer program")]
    FormatTooNew {
        /// Format of the data.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
}

impl StoreError {
    /// A call of the store panicked: nothing is known of it.
    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        Self::Unavailable { reason: format!("it panicked: {}", crate::util::panic_message(panic)) }
    }

    /// Whether the same call may work later, without anything else being done.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// What every store looks at before it touches anything: the numbers follow `expected` without a gap.
pub(crate) fn check_records(append: &Append) -> Result<(), StoreError> {
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
