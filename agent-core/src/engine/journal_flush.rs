//! Flush of the journal writer: appends queued entries in batches, retries transient errors, and publishes.

use super::journal_writer::{JournalWriter, QueuedItem};
use crate::{
    ids::{Seq, SessionId},
    journal::{Append, JournalStore, Record, StoreError, Summary},
};
use futures::FutureExt;
use std::{mem, panic::AssertUnwindSafe, sync::Arc};

/// Maximum number of entries in one append.
const MAX_APPEND: usize = 1_024;

/// Ends the writer if a flush is dropped before it completes (its executor has ended): the outcome is unknown.
struct Flushing<'a> {
    writer: &'a JournalWriter,
    armed: bool,
}

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let dropped = {
            let mut state = self.writer.state.lock();
            let reason = "the executor ended while an append was on its way".to_owned();
            state.failed = Some(Box::new(StoreError::Unavailable { reason }));
            state.flushing = false;
            mem::take(&mut state.queue)
        };
        drop(dropped);
        self.writer.durable_changed.notify_waiters();
    }
}

/// Stores the queue until it is empty. One flush at a time: `flushing` is set.
pub(super) async fn flush(writer: Arc<JournalWriter>) {
    let Some(store) = writer.store.clone() else { return };
    let mut flushing = Flushing { writer: &writer, armed: true };
    loop {
        let (mut shown, expected, summary) = {
            let mut state = writer.state.lock();
            if state.queue.is_empty() {
                state.flushing = false;
                flushing.armed = false;
                return;
            }
            let batch: Vec<QueuedItem> = if state.queue.len() <= MAX_APPEND {
                mem::take(&mut state.queue)
            } else {
                state.queue.drain(..MAX_APPEND).collect()
            };
            let summary = if state.queue.is_empty() { state.changed_summary() } else { None };
            (batch, state.durable, summary)
        };
        let mut records = Vec::with_capacity(shown.len());
        for queued in &mut shown {
            if let QueuedItem::Entry(entry, body) = queued {
                records.push(Record::new(entry.seq, mem::take(body)));
            }
        }
        let durable = records.last().map_or(expected, |record| record.seq);
        let session = writer.broadcast.session().clone();
        let result = if records.is_empty() && summary.is_none() {
            Ok(())
        } else {
            // The store takes the records; a retry encodes them again and reuses the summary.
            let kept = summary.clone();
            let append = Append::new(session, writer.epoch, expected, records).with_summary(summary);
            match append_contained(&*store, append).await {
                Err(error) if error.is_transient() => {
                    Box::pin(try_again(&writer, &*store, expected, &shown, kept, error)).await
                }
                result => result,
            }
        };
        match result {
            Ok(()) => {
                publish(&writer, shown);
                let dropped_events = {
                    let mut state = writer.state.lock();
                    state.durable = durable;
                    mem::take(&mut state.dropped_events)
                };
                if dropped_events > 0 {
                    writer.broadcast.show_dropped(dropped_events);
                }
                writer.durable_changed.notify_waiters();
            }
            Err(error) => {
                let dropped = {
                    let mut state = writer.state.lock();
                    state.failed = Some(Box::new(error.clone()));
                    state.flushing = false;
                    flushing.armed = false;
                    mem::take(&mut state.queue)
                };
                drop(dropped);
                writer.durable_changed.notify_waiters();
                if let Some(call) = &writer.on_failure {
                    call(&writer, &error);
                }
                return;
            }
        }
    }
}

/// Publishes what is stored, in order.
fn publish(writer: &JournalWriter, stored: Vec<QueuedItem>) {
    let entry = |queued: &QueuedItem| matches!(queued, QueuedItem::Entry(..));
    if stored.iter().all(entry) {
        return writer.broadcast.publish(stored.iter().filter_map(QueuedItem::entry));
    }
    for queued in stored {
        match queued {
            QueuedItem::Entry(entry, _) => writer.broadcast.publish(std::iter::once(&*entry)),
            QueuedItem::Event(event) => writer.broadcast.publish_ephemeral(*event),
        }
    }
}

/// Appends, and turns a panic of the store into an error: it must not end the flush without notifying those who wait.
async fn append_contained(store: &dyn JournalStore, append: Append) -> Result<(), StoreError> {
    let appended = AssertUnwindSafe(async { store.append(append).await }).catch_unwind().await;
    appended.unwrap_or_else(|panic| Err(StoreError::panicked(&*panic)))
}

/// Retries an append after a transient error.
///
/// The failed attempt may have been stored. If the store returns [`StoreError::Conflict`], the epoch is still this
/// writer's, so the entries at the expected numbers are compared with the batch.
async fn try_again(
    writer: &JournalWriter,
    store: &dyn JournalStore,
    expected: Seq,
    batch: &[QueuedItem],
    summary: Option<Summary>,
    mut error: StoreError,
) -> Result<(), StoreError> {
    let session = writer.broadcast.session();
    let records = || -> Vec<Record> {
        let entries = batch.iter().filter_map(|queued| match queued {
            QueuedItem::Entry(entry, _) => Some(Record::new(entry.seq, entry.encode())),
            QueuedItem::Event(_) => None,
        });
        entries.collect()
    };
    for failed in 1..writer.retry.attempts {
        let wait = writer.retry.wait(failed);
        tracing::warn!(session = %session, %error, ?wait, "an append was refused and is tried again");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // The runtime shuts down and waits for this: the remaining attempts follow without a wait.
            () = writer.group.stopped() => {}
        }
        let records = records();
        let append = Append::new(session.clone(), writer.epoch, expected, records.clone());
        error = match append_contained(store, append.with_summary(summary.clone())).await {
            Err(conflict @ StoreError::Conflict { .. }) => {
                match is_stored(store, session, expected, &records).await {
                    Ok(true) => return Ok(()),
                    Ok(false) => return Err(conflict),
                    Err(error) => error,
                }
            }
            Err(error) => error,
            Ok(()) => return Ok(()),
        };
        if !error.is_transient() {
            break;
        }
    }
    Err(error)
}

/// Returns whether the journal behind `expected` begins with these records.
async fn is_stored(
    store: &dyn JournalStore,
    session: &SessionId,
    expected: Seq,
    records: &[Record],
) -> Result<bool, StoreError> {
    let Some(last) = records.last() else { return Ok(false) };
    let stored = store.read(session, expected, last.seq, records.len()).await?;
    Ok(stored == records)
}
