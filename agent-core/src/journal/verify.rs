//! Checks that a stored session can be read and continued.

use super::{
    JournalStore, Record, StoreError,
    entry::Entry,
    projection::Projection,
    replay::{fold, read_snapshot},
};
use crate::{
    compute::compute,
    ids::{Seq, SessionId},
    run::RunStatus,
};

/// Maximum number of entries read at once.
const PAGE: usize = 256;

/// Result of [`verify`] for a session without faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Number of entries.
    pub entries: u64,
    /// Number of snapshots.
    pub snapshots: usize,
    /// Bytes of the entries.
    pub bytes: u64,
    /// Status of the session.
    pub status: RunStatus,
    /// Number of the last entry.
    pub last: Seq,
}

/// Reads a session completely and checks that it can be continued.
///
/// Every entry is present and readable; every snapshot is readable; the newest snapshot and the entries after it lead to
/// the same status, run, todos and open questions as the complete journal, if retention has left it complete; and the
/// summary, which lists and recovery use, has the same status and run. The state is read as JSON, not as the type of a graph.
///
/// # Errors
///
/// [`StoreError::Corrupt`] names the session, the entry and the fault; [`StoreError::NotFound`]; errors of the store.
///
/// # Cancel safety
///
/// Dropping the future has no effect.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State};
/// use agent_core::journal::{InMemoryJournal, verify};
/// # use serde::{Deserialize, Serialize};
/// # use std::sync::Arc;
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Count { #[state(add)] n: u64 }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Count>::builder("count")
/// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
/// #     .edge(START, "add").edge("add", END).build()?;
/// let journal = Arc::new(InMemoryJournal::new());
/// let runtime = Runtime::builder().journal(journal.clone()).build();
/// runtime.session("s-1")?.run(&graph, Count::update()).await?;
///
/// let found = verify(&*journal, &"s-1".parse()?).await?;
/// assert_eq!(found.status, RunStatus::Completed);
/// # Ok(()) }
/// ```
pub async fn verify(store: &dyn JournalStore, session: &SessionId) -> Result<VerifyReport, StoreError> {
    let not_found = || StoreError::NotFound { session: session.clone() };
    let corrupt = |seq: Seq, reason: String| StoreError::Corrupt { session: session.clone(), seq, reason };
    let head = store.head(session).await?.ok_or_else(not_found)?;
    let trimmed = Seq(head.first.0 - 1);
    let mut whole = Projection::default();
    let (mut after, mut entries, mut bytes) = (trimmed, 0, 0);
    while after < head.last {
        let records = store.read(session, after, head.last, PAGE).await?;
        let Some(last) = records.last() else {
            return Err(corrupt(after.next(), "it is missing".to_owned()));
        };
        (after, entries) = (last.seq, entries + records.len() as u64);
        let size: usize = records.iter().map(|record| record.body.len()).sum();
        bytes += size as u64;
        let session = session.clone();
        whole = compute(size, move || apply(whole, &session, &records, trimmed)).await?;
    }
    if bytes != head.journal_bytes {
        let reason =
            format!("the entries have {bytes} bytes, the head of the session says {}", head.journal_bytes);
        return Err(corrupt(head.last, reason));
    }
    let (mut upto, mut snapshots, mut oldest) = (head.last, 0, None);
    while let Some(stored) = store.snapshot(session, upto).await? {
        (snapshots, oldest) = (snapshots + 1, Some(stored.seq));
        let seq = stored.seq;
        let session = session.clone();
        compute(stored.body.len(), move || read_snapshot(&session, &stored)).await?;
        if seq == Seq::ZERO {
            break;
        }
        upto = Seq(seq.0 - 1);
    }
    if trimmed > Seq::ZERO && oldest != Some(trimmed) {
        return Err(corrupt(trimmed, "the snapshot that replaces the removed entries is missing".to_owned()));
    }
    let Some(folded) = fold(store, session, head.last).await? else { return Err(not_found()) };
    if folded.last != head.last {
        return Err(corrupt(folded.last, format!("the journal ends at {}", head.last)));
    }
    if trimmed == Seq::ZERO
        && let Some(what) = difference(&folded, &whole)
    {
        let reason = format!("the snapshot and the complete journal lead to different {what}");
        return Err(corrupt(head.last, reason));
    }
    let summary = &head.summary;
    let status = match folded.queue.is_empty() || folded.status.is_busy() {
        true => folded.status,
        // Recovery has to find the queued runs.
        false => RunStatus::Running,
    };
    // A fork that is being made; recovery deletes it if its process died.
    let is_unfinished_fork = summary.status == RunStatus::Idle.as_str();
    if !is_unfinished_fork && (summary.status != status.as_str() || summary.run != folded.run) {
        let reason = format!(
            "the summary says `{}` of run {}, the journal `{status}` of run {}",
            summary.status, summary.run.0, folded.run.0
        );
        return Err(corrupt(head.last, reason));
    }
    Ok(VerifyReport { entries, snapshots, bytes, status: folded.status, last: head.last })
}

/// Decodes a page, and applies it if the journal is complete.
fn apply(
    mut projection: Projection,
    session: &SessionId,
    records: &[Record],
    trimmed: Seq,
) -> Result<Projection, StoreError> {
    let mut expected = records[0].seq.max(trimmed.next());
    for record in records {
        if record.seq != expected {
            let (session, reason) = (session.clone(), "it is missing".to_owned());
            return Err(StoreError::Corrupt { session, seq: expected, reason });
        }
        expected = expected.next();
        let entry = Entry::decode(session, record)?;
        if trimmed == Seq::ZERO {
            projection.apply(entry);
        }
    }
    Ok(projection)
}

/// Returns what differs between two folds of one journal.
fn difference(one: &Projection, other: &Projection) -> Option<&'static str> {
    let open = |projection: &Projection| {
        let mut ids: Vec<_> = projection.open.iter().map(|open| open.id.clone()).collect();
        ids.sort();
        ids
    };
    let queue =
        |projection: &Projection| -> Vec<_> { projection.queue.iter().map(|(run, _)| *run).collect() };
    if one.status != other.status {
        Some("statuses")
    } else if one.run != other.run || one.runs != other.runs {
        Some("runs")
    } else if open(one) != open(other) {
        Some("open questions")
    } else if queue(one) != queue(other) {
        Some("queued runs")
    } else if one.todos.items() != other.todos.items() {
        Some("todos")
    } else {
        None
    }
}
