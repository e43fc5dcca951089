//! Copies sessions between stores.

use std::time::Duration;

use super::{
    Append, JournalStore, Lease, OwnerId, Record, StoreError, StoredSnapshot, Summary,
    verify::{VerifyReport, verify},
};
use crate::ids::{Seq, SessionId};

/// Maximum number of entries copied at once.
const PAGE: usize = 256;
/// Lease of a session while it is copied.
const LEASE: Duration = Duration::from_secs(600);

/// Result of [`transfer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferOutcome {
    /// The session was copied and the copy was [verified](verify).
    Copied(VerifyReport),
    /// The target has the same session already.
    Unchanged,
    /// The session has no entries; nothing was copied.
    Empty,
}

/// Error of [`transfer`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The session cannot be read from its store. [`StoreError::Leased`]: a process executes it; stop that process.
    #[error("the session cannot be read: {0}")]
    Source(#[source] StoreError),
    /// The session cannot be written, or the copy is not readable.
    #[error("the copy cannot be written: {0}")]
    Target(#[source] StoreError),
    /// The target has another session with this id. Nothing was changed.
    #[error("the target has another session `{session}`; they differ from entry {seq} on")]
    Different {
        /// The session.
        session: SessionId,
        /// The first entry that differs.
        seq: Seq,
    },
}

/// Copies a session to another store: its entries with their numbers, snapshots, labels and summary.
///
/// The lease of the session is held in both stores until the copy is complete, so no process executes it in the meantime.
/// An incomplete copy is invisible to lists and recovery, and is replaced when the call is repeated. Afterwards the session
/// exists in both stores: continue it in one of them only, or its paid steps run twice.
///
/// # Errors
///
/// [`TransferError`].
///
/// # Cancel safety
///
/// If the future is dropped, the copy may be incomplete; repeat the call. The leases expire after ten minutes.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, Runtime, START, State};
/// use agent_core::journal::{InMemoryJournal, TransferOutcome, transfer};
/// # use serde::{Deserialize, Serialize};
/// # use std::{sync::Arc, time::Duration};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Count { #[state(add)] n: u64 }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Count>::builder("count")
/// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
/// #     .edge(START, "add").edge("add", END).build()?;
/// let (old, new) = (Arc::new(InMemoryJournal::new()), Arc::new(InMemoryJournal::new()));
/// let runtime = Runtime::builder().journal(old.clone()).build();
/// runtime.session("s-1")?.run(&graph, Count::update()).await?;
/// runtime.shutdown(Duration::ZERO).await; // releases the session
///
/// let done = transfer(&*old, &*new, &"s-1".parse()?).await?;
/// assert!(matches!(done, TransferOutcome::Copied(_)));
/// let runtime = Runtime::builder().journal(new).graph(&graph).build();
/// assert_eq!(runtime.session("s-1")?.state::<Count>().await?.n, 1);
/// # Ok(()) }
/// ```
pub async fn transfer(
    from: &dyn JournalStore,
    to: &dyn JournalStore,
    session: &SessionId,
) -> Result<TransferOutcome, TransferError> {
    let owner = OwnerId::random();
    let head = from.head(session).await.map_err(TransferError::Source)?;
    match head {
        None => return Err(TransferError::Source(StoreError::NotFound { session: session.clone() })),
        Some(head) if head.last == Seq::ZERO => return Ok(TransferOutcome::Empty),
        Some(_) => {}
    }
    let lease = from.acquire(session, &owner, LEASE).await.map_err(TransferError::Source)?;
    let done = copy_held(from, to, session, &owner).await;
    let released = from.release(session, &lease).await.map_err(TransferError::Source);
    let done = done?;
    released?;
    Ok(done)
}

/// Copies a session of which `owner` holds the lease in `from`.
async fn copy_held(
    from: &dyn JournalStore,
    to: &dyn JournalStore,
    session: &SessionId,
    owner: &OwnerId,
) -> Result<TransferOutcome, TransferError> {
    let Some(head) = from.head(session).await.map_err(TransferError::Source)? else {
        return Err(TransferError::Source(StoreError::NotFound { session: session.clone() }));
    };
    let trimmed = Seq(head.first.0 - 1);
    if let Some(present) = to.head(session).await.map_err(TransferError::Target)? {
        if present.summary != Summary::default() {
            return match first_difference(from, to, session, trimmed, head.last.max(present.last)).await? {
                None => Ok(TransferOutcome::Unchanged),
                Some(seq) => Err(TransferError::Different { session: session.clone(), seq }),
            };
        }
        to.delete(session).await.map_err(TransferError::Target)?;
    }
    let lease = to.acquire(session, owner, LEASE).await.map_err(TransferError::Target)?;
    let copy = Copy { from, to, session, lease: &lease };
    let done = copy.run(trimmed, head.last, head.summary).await;
    let released = to.release(session, &lease).await.map_err(TransferError::Target);
    let verified = done?;
    released?;
    Ok(TransferOutcome::Copied(verified))
}

/// Returns the first entry that differs; `None` if there is none.
async fn first_difference(
    from: &dyn JournalStore,
    to: &dyn JournalStore,
    session: &SessionId,
    trimmed: Seq,
    last: Seq,
) -> Result<Option<Seq>, TransferError> {
    let mut after = trimmed;
    while after < last {
        let ours = from.read(session, after, last, PAGE).await.map_err(TransferError::Source)?;
        let theirs = to.read(session, after, last, PAGE).await.map_err(TransferError::Target)?;
        let equal = ours.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
        let end = Seq(after.0 + equal as u64);
        if equal < ours.len().max(theirs.len()) || end == after {
            return Ok(Some(end.next()));
        }
        after = end;
    }
    Ok(None)
}

struct Copy<'a> {
    from: &'a dyn JournalStore,
    to: &'a dyn JournalStore,
    session: &'a SessionId,
    lease: &'a Lease,
}

impl Copy<'_> {
    async fn run(&self, trimmed: Seq, last: Seq, summary: Summary) -> Result<VerifyReport, TransferError> {
        let mut snapshots = self.snapshots(trimmed, last).await?;
        let mut after = Seq::ZERO;
        // Numbers must stay. In place of the entries that retention has removed, empty ones are stored and removed again.
        while after < trimmed {
            let end = Seq(trimmed.0.min(after.0 + PAGE as u64));
            let records = (after.0 + 1..=end.0).map(|seq| Record::new(Seq(seq), b"{}".to_vec())).collect();
            self.append(after, records, None).await?;
            after = end;
        }
        if trimmed > Seq::ZERO {
            let Some(first) = snapshots.pop().filter(|snapshot| snapshot.seq == trimmed) else {
                let (session, seq) = (self.session.clone(), trimmed);
                let reason = "the snapshot that replaces the removed entries is missing".to_owned();
                return Err(TransferError::Source(StoreError::Corrupt { session, seq, reason }));
            };
            self.to.put_snapshot(self.session, first).await.map_err(TransferError::Target)?;
            self.to.trim(self.session, trimmed).await.map_err(TransferError::Target)?;
        }
        while after < last {
            let records =
                self.from.read(self.session, after, last, PAGE).await.map_err(TransferError::Source)?;
            let Some(end) = records.last().map(|record| record.seq) else {
                let (session, seq) = (self.session.clone(), after.next());
                let reason = "it is missing".to_owned();
                return Err(TransferError::Source(StoreError::Corrupt { session, seq, reason }));
            };
            self.append(after, records, None).await?;
            after = end;
        }
        for snapshot in snapshots.into_iter().rev() {
            self.to.put_snapshot(self.session, snapshot).await.map_err(TransferError::Target)?;
        }
        // Makes the copy visible.
        self.append(after, Vec::new(), Some(summary)).await?;
        verify(self.to, self.session).await.map_err(TransferError::Target)
    }

    /// Returns the snapshots, the newest first.
    async fn snapshots(&self, trimmed: Seq, last: Seq) -> Result<Vec<StoredSnapshot>, TransferError> {
        let (mut found, mut upto) = (Vec::new(), last);
        while let Some(snapshot) =
            self.from.snapshot(self.session, upto).await.map_err(TransferError::Source)?
        {
            let seq = snapshot.seq;
            found.push(snapshot);
            if seq <= trimmed || seq == Seq::ZERO {
                break;
            }
            upto = Seq(seq.0 - 1);
        }
        Ok(found)
    }

    async fn append(
        &self,
        after: Seq,
        records: Vec<Record>,
        summary: Option<Summary>,
    ) -> Result<(), TransferError> {
        let append =
            Append::new(self.session.clone(), self.lease.epoch, after, records).with_summary(summary);
        self.to.append(append).await.map_err(TransferError::Target)
    }
}
