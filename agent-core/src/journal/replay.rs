//! Replay of a journal into a projection: the newest snapshot, then the entries after it.

use super::{
    JournalStore, Record, StoreError, StoredSnapshot,
    entry::Entry,
    projection::{FORMAT, Projection},
    snapshot::Snapshot,
};
use crate::{
    compute::compute,
    ids::{Seq, SessionId},
};

/// First and maximum number of entries read at once.
const PAGE: (usize, usize) = (64, 1_024);
/// Bytes of a page, about: larger entries are read in smaller pages.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Folds a journal up to and including `upto`. Returns `None` if the session does not exist. Large snapshots and pages are
/// decoded outside of the async workers.
pub(crate) async fn fold(
    store: &dyn JournalStore,
    session: &SessionId,
    upto: Seq,
) -> Result<Option<Projection>, StoreError> {
    let mut page = PAGE.0;
    let start = store.replay_start(session, upto, page).await?;
    let mut projection = match start.snapshot {
        Some(stored) => {
            let session = session.clone();
            compute(stored.body.len(), move || read_snapshot(&session, &stored)).await?
        }
        None => Projection::default(),
    };
    let mut records = start.records;
    loop {
        let count = records.len();
        let bytes: usize = records.iter().map(|record| record.body.len()).sum();
        let name = session.clone();
        projection = compute(bytes, move || apply_page(projection, &name, &records)).await?;
        projection.bytes += bytes as u64;
        if count < page {
            break;
        }
        page = (PAGE_BYTES / (bytes / count).max(1)).clamp(1, PAGE.1);
        records = store.read(session, projection.last, upto, page).await?;
    }
    Ok((projection.last > Seq::ZERO).then_some(projection))
}

pub(super) fn read_snapshot(session: &SessionId, stored: &StoredSnapshot) -> Result<Projection, StoreError> {
    let snapshot: Snapshot = crate::json::read_slice(&stored.body).map_err(|error| StoreError::Corrupt {
        session: session.clone(),
        seq: stored.seq,
        reason: format!("snapshot: {error}"),
    })?;
    if snapshot.format > FORMAT {
        let (found, known) = (snapshot.format, FORMAT);
        return Err(StoreError::FormatTooNew { found, known });
    }
    let mut projection = snapshot.into_projection(stored.seq);
    projection.bytes = stored.body.len() as u64;
    Ok(projection)
}

fn apply_page(
    mut projection: Projection,
    session: &SessionId,
    records: &[Record],
) -> Result<Projection, StoreError> {
    for record in records {
        if record.seq != projection.last.next() {
            let (session, seq) = (session.clone(), projection.last.next());
            let reason = "it is missing, and no snapshot covers it".to_owned();
            return Err(StoreError::Corrupt { session, seq, reason });
        }
        projection.apply(Entry::decode(session, record)?);
    }
    Ok(projection)
}
