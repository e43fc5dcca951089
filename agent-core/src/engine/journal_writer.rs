//! The one writer of a session: facts get their numbers here, and are shown only once they are stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    mem,
    panic::AssertUnwindSafe,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    clock::Clock,
    event::{Event, EventBody, EventBroadcast},
    ids::{RunId, Seq, SessionId, TaskId},
    journal::{
        Append, Epoch, JournalStore, Record, StoreError, StoreRetry, StoredSnapshot, Summary,
        entry::{Entry, Fact},
    },
    run::RunStatus,
    task_group::TaskGroup,
};

/// Entries that one append takes at most.
const MAX_APPEND: usize = 1_024;
/// Entries that may wait for the store before those who write must wait too.
pub(crate) const QUEUE_CAPACITY: usize = 65_536;

/// Writes one session's journal, in order, with the epoch of one lease.
///
/// An append that a store refuses for now ([`StoreError::is_transient`]) is tried again; the queue keeps its order and
/// numbers meanwhile. Any other error, or the last try, ends the writer: what is queued is dropped, those who wait get
/// the error, and the session is opened again with a new epoch. That epoch decides about an append whose outcome is not
/// known: it is in the journal by then, or never comes.
pub(crate) struct JournalWriter {
    store: Option<Arc<dyn JournalStore>>,
    epoch: Epoch,
    broadcast: Arc<EventBroadcast>,
    clock: Arc<dyn Clock>,
    group: TaskGroup,
    state: Mutex<State>,
    durable_changed: Notify,
    retry: StoreRetry,
    on_failure: Option<OnFailure>,
}

/// Called once, when a writer has ended.
pub(crate) type OnFailure = Box<dyn Fn(&JournalWriter, &StoreError) + Send + Sync>;

struct State {
    /// The last number given out.
    last: Seq,
    /// The last number stored.
    durable: Seq,
    queue: Vec<QueuedItem>,
    flushing: bool,
    failed: Option<StoreError>,
    /// In every summary.
    labels: Arc<BTreeMap<String, String>>,
    /// The latest summary given, without labels.
    summary: Option<Summary>,
    /// The head of the session in the store differs from `summary`, `labels` or `queued_runs`.
    summary_changed: bool,
    /// Runs that were queued and have not begun.
    queued_runs: BTreeSet<RunId>,
    /// Bytes stored since the last snapshot.
    bytes_since_snapshot: u64,
    /// Size of the last snapshot in bytes; 0 until this writer keeps one.
    snapshot: u64,
    /// Events without a number that found the queue full, since subscribers were last told.
    dropped_events: u64,
    /// Bytes that the session was read from when this writer began.
    bytes_read: u64,
    /// Bytes journalled that were not asked for yet; see [`JournalWriter::grown`].
    bytes_unreported: u64,
}

impl State {
    /// Notes which runs are queued.
    fn track_queued(&mut self, entry: &Entry) {
        let changed = match entry.fact {
            Fact::RunQueued(_) => self.queued_runs.insert(entry.run),
            Fact::RunDequeued(_) | Fact::RunAccepted(_) if !self.queued_runs.is_empty() => {
                self.queued_runs.remove(&entry.run)
            }
            _ => false,
        };
        self.summary_changed |= changed;
    }

    /// The summary to store, if it differs from the stored one.
    fn changed_summary(&mut self) -> Option<Summary> {
        if !std::mem::take(&mut self.summary_changed) {
            return None;
        }
        let mut summary = self.summary.clone()?;
        let finished = |status: &str| {
            ![RunStatus::Running, RunStatus::Paused].iter().any(|busy| busy.as_str() == status)
        };
        if !self.queued_runs.is_empty() && finished(&summary.status) {
            RunStatus::Running.as_str().clone_into(&mut summary.status);
        }
        if !self.labels.is_empty() {
            summary.labels = BTreeMap::clone(&self.labels);
        }
        Some(summary)
    }
}

enum QueuedItem {
    Entry(Box<Entry>, Vec<u8>),
    Event(Box<Event>),
}

impl JournalWriter {
    pub(crate) fn new(
        store: Option<Arc<dyn JournalStore>>,
        epoch: Epoch,
        last: Seq,
        broadcast: Arc<EventBroadcast>,
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
            summary_changed: false,
            queued_runs: BTreeSet::new(),
            bytes_since_snapshot: 0,
            snapshot: 0,
            dropped_events: 0,
            bytes_read: 0,
            bytes_unreported: 0,
        };
        let (state, durable_changed) = (Mutex::new(state), Notify::new());
        let (retry, on_failure) = (StoreRetry::none(), None);
        Self { store, epoch, broadcast, clock, group, state, durable_changed, retry, on_failure }
    }

    /// The same with further tries of appends, and with what is called when it has ended.
    pub(crate) fn with_retry(mut self, retry: StoreRetry, on_failure: OnFailure) -> Self {
        self.retry = retry;
        self.on_failure = Some(on_failure);
        self
    }

    /// Whether facts go anywhere: to a store, or to somebody who watches.
    pub(crate) fn has_consumers(&self) -> bool {
        self.store.is_some() || self.broadcast.is_watched()
    }

    /// Whether anybody would see what is shown now.
    pub(crate) fn is_watched(&self) -> bool {
        self.broadcast.is_watched()
    }

    pub(crate) fn is_durable(&self) -> bool {
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
    pub(crate) fn add_labels(&self, labels: &BTreeMap<String, String>) {
        if !labels.is_empty() {
            let mut state = self.state.lock();
            Arc::make_mut(&mut state.labels).extend(labels.clone());
        }
    }

    /// Sets the summary and the queued runs of a session that was read from the store.
    pub(crate) fn restore(&self, summary: Summary, queued: impl IntoIterator<Item = RunId>) {
        let mut state = self.state.lock();
        state.summary = Some(summary);
        state.queued_runs.extend(queued);
    }

    /// Why it has ended, if it has.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.state.lock().failed.clone()
    }

    /// Whether it has ended.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.lock().failed.is_some()
    }

    pub(crate) fn last(&self) -> Seq {
        self.state.lock().last
    }

    /// Whether so much was journalled since the last snapshot that another one is worth its bytes: `at_least`, and
    /// twice the last snapshot, so that all snapshots of a growing state together stay smaller than its journal.
    pub(crate) fn wants_snapshot(&self, at_least: u64) -> bool {
        let state = self.state.lock();
        state.bytes_since_snapshot >= at_least.max(state.snapshot.saturating_mul(2))
    }

    /// Notes how many bytes the session was read from.
    pub(crate) fn set_bytes_read(&self, bytes: u64) {
        self.state.lock().bytes_read = bytes;
    }

    /// The size of the session's state, estimated in bytes from what was read and journalled.
    pub(crate) fn footprint(&self) -> u64 {
        let state = self.state.lock();
        let kept = if state.snapshot > 0 { state.snapshot } else { state.bytes_read };
        kept.saturating_add(state.bytes_since_snapshot)
    }

    /// Bytes journalled since the last call.
    pub(crate) fn take_bytes_written(&self) -> u64 {
        mem::take(&mut self.state.lock().bytes_unreported)
    }

    /// Gives facts their numbers and puts them in line. The last number is returned.
    pub(crate) fn push<I: IntoIterator<Item = Fact>>(&self, run: RunId, facts: I) -> Result<Seq, StoreError> {
        self.push_with(run, facts, None)
    }

    /// As [`push`](JournalWriter::push), with the summary of the session from now on.
    pub(crate) fn push_with<I: IntoIterator<Item = Fact>>(
        &self,
        run: RunId,
        facts: I,
        summary: Option<Summary>,
    ) -> Result<Seq, StoreError> {
        self.push_each(facts.into_iter().map(|fact| (run, fact)), summary)
    }

    /// As [`push_with`](JournalWriter::push_with), for facts of several runs.
    ///
    /// The summary in the store says `running` while runs are queued, whatever the status of the latest run, so that
    /// recovery finds them.
    pub(crate) fn push_each<I: IntoIterator<Item = (RunId, Fact)>>(
        &self,
        facts: I,
        summary: Option<Summary>,
    ) -> Result<Seq, StoreError> {
        let at = self.clock.now_ms();
        if self.store.is_none() {
            let mut state = self.state.lock();
            let entries: Vec<Entry> = facts
                .into_iter()
                .map(|(run, fact)| {
                    state.last = state.last.next();
                    Entry { seq: state.last, at, run, fact }
                })
                .collect();
            state.durable = state.last;
            self.broadcast.publish(entries.iter());
            return Ok(state.last);
        }
        // Encoded before the lock is taken.
        let encoded: Vec<(Entry, Vec<u8>)> = facts
            .into_iter()
            .map(|(run, fact)| {
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
            state.bytes_since_snapshot += body.len() as u64;
            state.track_queued(&entry);
            state.bytes_unreported += body.len() as u64;
            state.queue.push(QueuedItem::Entry(Box::new(entry), body));
        }
        if summary.is_some() {
            state.summary = summary;
            state.summary_changed = true;
        }
        Ok(state.last)
    }

    /// Shows something without a number, behind everything that is in line.
    pub(crate) fn emit(&self, event: Event) {
        if !self.wants_event(&event.body) {
            return;
        }
        let mut state = self.state.lock();
        if state.queue.is_empty() && !state.flushing {
            self.broadcast.show(event);
        } else if state.queue.len() < QUEUE_CAPACITY {
            state.queue.push(QueuedItem::Event(Box::new(event)));
        } else {
            state.dropped_events += 1;
        }
    }

    /// Whether an event without a number is of use: to a subscriber, or, as a piece of a message, to one to come.
    pub(crate) fn wants_event(&self, body: &EventBody) -> bool {
        self.broadcast.is_watched() || body.is_partial()
    }

    /// Notes that a message of a task, or (`None`) the task itself, ended: called where no entry tells subscribers.
    pub(crate) fn end_partial(&self, task: &Arc<TaskId>, message: Option<&str>) {
        self.broadcast.end_partial(task, message);
    }

    /// How much waits for the store.
    pub(crate) fn queue_len(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Starts storing what is in line, without waiting for it: a store that commits at the first poll would make
    /// the run wait all the same.
    pub(crate) fn flush_soon(self: &Arc<Self>) {
        if !self.begin_flush() {
            return;
        }
        if self.store.as_ref().is_some_and(|store| store.is_instant()) {
            self.flush_here();
        } else {
            self.group.spawn_uncancelled(flush(Arc::clone(self)));
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
            self.group.spawn_uncancelled(flush);
        }
    }

    /// Ready when everything up to `seq` is stored. Cancel safe.
    pub(crate) async fn wait_durable(self: &Arc<Self>, seq: Seq) -> Result<(), StoreError> {
        loop {
            let durable_changed = self.durable_changed.notified();
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
            durable_changed.await;
        }
    }

    /// Ready when everything in line is stored. Cancel safe.
    pub(crate) async fn wait_all_durable(self: &Arc<Self>) -> Result<(), StoreError> {
        let last = self.last();
        self.wait_durable(last).await
    }

    /// Stores a summary behind everything that is queued. Nothing may be queued meanwhile.
    pub(crate) async fn store_summary(self: &Arc<Self>, mut summary: Summary) -> Result<(), StoreError> {
        self.wait_all_durable().await?;
        let Some(store) = &self.store else { return Ok(()) };
        summary.labels = BTreeMap::clone(&self.labels());
        let (session, last) = (self.broadcast.session().clone(), self.last());
        store.append(Append::new(session, self.epoch, last, Vec::new()).with_summary(Some(summary))).await
    }

    /// Keeps a snapshot, in the background: a fold is shorter with it, and right without it.
    pub(crate) fn snapshot(self: &Arc<Self>, seq: Seq, body: Vec<u8>, trim: Option<Seq>) {
        let Some(store) = self.store.clone() else { return };
        {
            let mut state = self.state.lock();
            state.bytes_since_snapshot = 0;
            state.snapshot = body.len() as u64;
        }
        let writer = Arc::clone(self);
        self.group.spawn_uncancelled(async move {
            let session = writer.broadcast.session();
            // A snapshot of what is not stored would know more than the journal.
            let kept = match writer.wait_durable(seq).await {
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

/// Ends the writer of a flush that is dropped half way (its executor has ended): what was on its way is not known.
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
            state.failed = Some(StoreError::Unavailable { reason });
            state.flushing = false;
            mem::take(&mut state.queue)
        };
        drop(dropped);
        self.writer.durable_changed.notify_waiters();
    }
}

/// Stores what is in line until nothing is. One at a time: `flushing` is set.
async fn flush(writer: Arc<JournalWriter>) {
    let Some(store) = writer.store.clone() else { return };
    let mut flushing = Flushing { writer: &writer, armed: true };
    loop {
        let (batch, expected, summary) = {
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
        let mut shown: Vec<QueuedItem> = Vec::with_capacity(batch.len());
        let mut records = Vec::with_capacity(batch.len());
        for queued in batch {
            match queued {
                QueuedItem::Entry(entry, body) => {
                    records.push(Record::new(entry.seq, body));
                    shown.push(QueuedItem::Entry(entry, Vec::new()));
                }
                QueuedItem::Event(event) => shown.push(QueuedItem::Event(event)),
            }
        }
        let durable = records.last().map_or(expected, |record| record.seq);
        let session = writer.broadcast.session().clone();
        let result = if records.is_empty() && summary.is_none() {
            Ok(())
        } else {
            // The store takes the records; another try encodes them again, the summary is kept.
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
                for queued in shown {
                    match queued {
                        QueuedItem::Entry(entry, _) => writer.broadcast.publish(std::iter::once(&*entry)),
                        QueuedItem::Event(event) => writer.broadcast.show(*event),
                    }
                }
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
                    state.failed = Some(error.clone());
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

/// Appends, and turns a panic of the store into an error: it must not end the flush without notifying those who wait.
async fn append_contained(store: &dyn JournalStore, append: Append) -> Result<(), StoreError> {
    let appended = AssertUnwindSafe(async { store.append(append).await }).catch_unwind().await;
    appended.unwrap_or_else(|panic| Err(StoreError::panicked(&*panic)))
}

/// Tries an append again that the store refused for now, until it is stored, refused for good, or the tries are used up.
///
/// The refused try may have been stored all the same. The epoch is still this writer's when the store answers
/// [`StoreError::Conflict`], so what stands in the journal at the expected numbers is compared with what was to be there.
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
            // The runtime ends and waits for this: what is left of the tries comes at once.
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

/// Whether the journal behind `expected` begins with these records.
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
