//! Reads a journal into an image: the newest snapshot, then what came after it.

use super::{
    JournalStore, StoreError,
    entry::Entry,
    image::{FORMAT, Image, Snapshot},
};
use crate::ids::{Seq, SessionId};

/// Entries read at once.
const PAGE: usize = 1_024;

/// Folds a journal up to and with `upto`. `None`: there is no such session.
pub(crate) async fn fold(
    store: &dyn JournalStore,
    session: &SessionId,
    upto: Seq,
) -> Result<Option<Image>, StoreError> {
    let snapshot = store.snapshot(session, upto).await?;
    let mut image = match &snapshot {
        Some(stored) => {
            let snapshot: Snapshot =
                crate::json::read_slice(&stored.body).map_err(|error| StoreError::Corrupt {
                    session: session.clone(),
                    seq: stored.seq,
                    reason: format!("snapshot: {error}"),
                })?;
            if snapshot.format > FORMAT {
                let (found, known) = (snapshot.format, FORMAT);
                return Err(StoreError::FormatTooNew { found, known });
            }
            snapshot.into_image(stored.seq)
        }
        None => Image::default(),
    };
    loop {
        let records = store.read(session, image.last, upto, PAGE).await?;
        for record in &records {
            if record.seq != image.last.next() {
                let (session, seq) = (session.clone(), image.last.next());
                let reason = "it is missing, and no snapshot covers it".to_owned();
                return Err(StoreError::Corrupt { session, seq, reason });
            }
            image.take(Entry::decode(session, record)?);
        }
        if records.len() < PAGE {
            break;
        }
    }
    Ok((image.last > Seq::ZERO).then_some(image))
}
