//! The one writer of a session: facts get their numbers here, and are shown only once they are stored.

use std::{
    collections::BTreeMap,
    future::Future,
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Append, Epoch, JournalStore, Record, StoreError, StoredSnapshot, Summary,
    entry::{Entry, Fact},
};
use crate::{
    clock::Clock,
    engine::TaskGroup,
    event::{Event, Feed},
    ids::{RunId, Seq},
};

/// Entries that one append takes at most.
const APPEND: usize = 1_024;
/// Entries that may wait for the store before those who write must wait too.
pub(crate) const QUEUE: usize = 65_536;

/// Writes one session's journal, in order, with the epoch of one lease.
pub(crate) struct Writer {
    store: Option<Arc<dyn JournalStore>>,
    epoch: Epoch,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    group: TaskGroup,
    state: Mutex<State>,
    moved: Notify,
}

struct State {
    /// The last number given out.
    last: Seq,
    /// The last number stored.
    durable: Seq,
    queue: Vec<Queued>,
    flushing: bool,
    failed: Option<StoreError>,
    /// In every summary.
    labels: Arc<BTreeMap<String, String>>,
    summary: Option<Summary>,
    /// Bytes stored since the last snapshot.
    unfolded: u64,
    /// Size of the last snapshot in bytes; 0 until this writer keeps one.
    snapshot: u64,
    /// Bytes that the session was read from when this writer began.
    read: u64,
    /// Bytes journalled that were not asked for yet; see [`Writer::grown`].
    grown: u64,
}

enum Queued {
    Entry(Box<Entry>, Vec<u8>),
    Show(Box<Event>),
}

impl Writer {
    pub(crate) fn new(
        store: Option<Arc<dyn JournalStore>>,
        epoch: Epoch,
        last: Seq,
        feed: Arc<Feed>,
        clock: Arc<dyn Clock>,
        group: TaskGroup,
    ) -> Self {
        let state = State {
            last,
            durable: last,
            queue: Vec::new(),
            flushing: false,
            failed: None,
            labels: Arc::default(),
            summary: None,
            unfolded: 0,
            snapshot: 0,
            read: 0,
            grown: 0,
        };
        Self { store, epoch, feed, clock, group, state: Mutex::new(state), moved: Notify::new() }
    }

    /// Whether facts go anywhere: to a store, or to somebody who watches.
    pub(crate) fn matters(&self) -> bool {
        self.store.is_some() || self.feed.watched()
    }

    /// Whether anybody would see what is shown now.
    pub(crate) fn is_watched(&self) -> bool {
        self.feed.watched()
    }

    pub(crate) fn keeps(&self) -> bool {
        self.store.is_some()
    }

    pub(crate) fn store(&self) -> Option<&Arc<dyn JournalStore>> {
        self.store.as_ref()
    }

    /// The marks of the session, which are in every summary.
    pub(crate) fn labels(&self) -> Arc<BTreeMap<String, String>> {
        Arc::clone(&self.state.lock().labels)
    }

    /// Adds to the marks of the session.
    pub(crate) fn mark(&self, labels: &BTreeMap<String, String>) {
        if !labels.is_empty() {
            let mut state = self.state.lock();
            Arc::make_mut(&mut state.labels).extend(labels.clone());
        }
    }

    pub(crate) fn last(&self) -> Seq {
        self.state.lock().last
    }

    /// Whether so much was journalled since the last snapshot that another one is worth its bytes: `at_least`, and
    /// twice the last snapshot, so that all snapshots of a growing state together stay smaller than its journal.
    pub(crate) fn wants_snapshot(&self, at_least: u64) -> bool {
        let state = self.state.lock();
        state.unfolded >= at_least.max(state.snapshot.saturating_mul(2))
    }

    /// Notes how many bytes the session was read from.
    pub(crate) fn begin_with(&self, bytes: u64) {
        self.state.lock().read = bytes;
    }

    /// The size of the session's state, estimated in bytes from what was read and journalled.
    pub(crate) fn footprint(&self) -> u64 {
        let state = self.state.lock();
        let kept = if state.snapshot > 0 { state.snapshot } else { state.read };
        kept.saturating_add(state.unfolded)
    }

    /// Bytes journalled since the last call.
    pub(crate) fn grown(&self) -> u64 {
        mem::take(&mut self.state.lock().grown)
    }

    /// Gives facts their numbers and puts them in line. The last number is returned.
    pub(crate) fn push<I: IntoIterator<Item = Fact>>(&self, run: RunId, facts: I) -> Result<Seq, StoreError> {
        self.push_with(run, facts, None)
    }

    /// As [`push`](Writer::push), with what the session is about from now on.
    pub(crate) fn push_with<I: IntoIterator<Item = Fact>>(
        &self,
        run: RunId,
        facts: I,
        summary: Option<Summary>,
    ) -> Result<Seq, StoreError> {
        let at = self.clock.now_ms();
        if self.store.is_none() {
            let mut state = self.state.lock();
            let entries: Vec<Entry> = facts
                .into_iter()
                .map(|fact| {
                    state.last = state.last.next();
                    Entry { seq: state.last, at, run, fact }
                })
                .collect();
            state.durable = state.last;
            self.feed.publish(entries.iter());
            return Ok(state.last);
        }
        // Encoded before the lock is taken.
        let encoded: Vec<(Entry, Vec<u8>)> = facts
            .into_iter()
            .map(|fact| {
                let entry = Entry { seq: Seq::ZERO, at, run, fact };
                let body = entry.encode();
                (entry, body)
            })
            .collect();
        let mut state = self.state.lock();
        if let Some(failed) = &state.failed {
            return Err(failed.clone());
        }
        for (mut entry, body) in encoded {
            state.last = state.last.next();
            entry.seq = state.last;
            state.unfolded += body.len() as u64;
            state.grown += body.len() as u64;
            state.queue.push(Queued::Entry(Box::new(entry), body));
        }
        if let Some(mut summary) = summary {
            if !state.labels.is_empty() {
                summary.labels = BTreeMap::clone(&state.labels);
            }
            state.summary = Some(summary);
        }
        Ok(state.last)
    }

    /// Shows something without a number, behind everything that is in line.
    pub(crate) fn show(&self, event: Event) {
        if !self.feed.watched() {
            return;
        }
        let mut state = self.state.lock();
        if state.queue.is_empty() && !state.flushing {
            self.feed.show(event);
        } else if state.queue.len() < QUEUE {
            state.queue.push(Queued::Show(Box::new(event)));
        }
    }

    /// How much waits for the store.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Starts storing what is in line, without waiting for it: a store that commits at the first poll would make
    /// the run wait all the same.
    pub(crate) fn kick(self: &Arc<Self>) {
        if !self.begin_flush() {
            return;
        }
        if self.store.as_ref().is_some_and(|store| store.is_instant()) {
            self.flush_here();
        } else {
            self.group.spawn_to_its_end(flush(Arc::clone(self)));
        }
    }

    /// `true`: there is something to store, nobody stores it, and the caller does now.
    fn begin_flush(&self) -> bool {
        let mut state = self.state.lock();
        if state.flushing || state.queue.is_empty() || state.failed.is_some() {
            return false;
        }
        state.flushing = true;
        true
    }

    /// Stores on this thread as far as that goes without waiting, the rest in a task.
    fn flush_here(self: &Arc<Self>) {
        let mut flush = Box::pin(flush(Arc::clone(self)));
        let mut context = Context::from_waker(Waker::noop());
        if flush.as_mut().poll(&mut context) == Poll::Pending {
            self.group.spawn_to_its_end(flush);
        }
    }

    /// Ready when everything up to `seq` is stored. Cancel safe.
    pub(crate) async fn stored(self: &Arc<Self>, seq: Seq) -> Result<(), StoreError> {
        loop {
            let moved = self.moved.notified();
            {
                let state = self.state.lock();
                if state.durable >= seq {
                    return Ok(());
                }
                if let Some(failed) = &state.failed {
                    return Err(failed.clone());
                }
            }
            if self.begin_flush() {
                self.flush_here();
            }
            {
                let state = self.state.lock();
                if state.durable >= seq {
                    return Ok(());
                }
                if let Some(failed) = &state.failed {
                    return Err(failed.clone());
                }
            }
            moved.await;
        }
    }

    /// Ready when everything in line is stored. Cancel safe.
    pub(crate) async fn all_stored(self: &Arc<Self>) -> Result<(), StoreError> {
        let last = self.last();
        self.stored(last).await
    }

    /// Keeps a snapshot, in the background: a fold is shorter with it, and right without it.
    pub(crate) fn snapshot(self: &Arc<Self>, seq: Seq, body: Vec<u8>, trim: Option<Seq>) {
        let Some(store) = self.store.clone() else { return };
        {
            let mut state = self.state.lock();
            state.unfolded = 0;
            state.snapshot = body.len() as u64;
        }
        let writer = Arc::clone(self);
        self.group.spawn_to_its_end(async move {
            let session = writer.feed.session();
            // A snapshot of what is not stored would know more than the journal.
            let kept = match writer.stored(seq).await {
                Ok(()) => store.put_snapshot(session, StoredSnapshot::new(seq, body)).await,
                Err(error) => Err(error),
            };
            let trimmed = match (kept, trim) {
                (Ok(()), Some(before)) => store.trim(session, before).await,
                (kept, _) => kept,
            };
            if let Err(error) = trimmed {
                tracing::warn!(session = %session, %error, "snapshot was not kept");
            }
        });
    }
}

/// Stores what is in line until nothing is. One at a time: `flushing` is set.
async fn flush(writer: Arc<Writer>) {
    let Some(store) = writer.store.clone() else { return };
    loop {
        let (batch, expected, summary) = {
            let mut state = writer.state.lock();
            if state.queue.is_empty() {
                state.flushing = false;
                return;
            }
            let batch: Vec<Queued> = if state.queue.len() <= APPEND {
                mem::take(&mut state.queue)
            } else {
                state.queue.drain(..APPEND).collect()
            };
            let summary = if state.queue.is_empty() { state.summary.take() } else { None };
            (batch, state.durable, summary)
        };
        let mut shown: Vec<Queued> = Vec::with_capacity(batch.len());
        let mut records = Vec::with_capacity(batch.len());
        for queued in batch {
            match queued {
                Queued::Entry(entry, body) => {
                    records.push(Record::new(entry.seq, body));
                    shown.push(Queued::Entry(entry, Vec::new()));
                }
                Queued::Show(event) => shown.push(Queued::Show(event)),
            }
        }
        let durable = records.last().map_or(expected, |record| record.seq);
        let session = writer.feed.session().clone();
        let result = if records.is_empty() && summary.is_none() {
            Ok(())
        } else {
            store.append(Append::new(session, writer.epoch, expected, records).with_summary(summary)).await
        };
        match result {
            Ok(()) => {
                for queued in shown {
                    match queued {
                        Queued::Entry(entry, _) => writer.feed.publish(std::iter::once(&*entry)),
                        Queued::Show(event) => writer.feed.show(*event),
                    }
                }
                writer.state.lock().durable = durable;
                writer.moved.notify_waiters();
            }
            Err(error) => {
                let mut state = writer.state.lock();
                state.failed = Some(error);
                state.queue.clear();
                state.flushing = false;
                drop(state);
                writer.moved.notify_waiters();
                return;
            }
        }
    }
}
