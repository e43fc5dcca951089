//! Group-commit writer of a session: numbers entries, appends them in batches, and publishes them once stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    mem,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::journal_flush::flush;
use crate::{
    clock::Clock,
    event::{Event, EventBody, EventBroadcast, EventKind, Interest},
    ids::{RunId, Seq, TaskId},
    journal::{
        Append, Epoch, JournalStore, StoreError, StoreRetry, StoredSnapshot, Summary,
        entry::{Entry, Fact},
    },
    run::RunStatus,
    task_group::TaskGroup,
};

/// Queue capacity. Commits wait for the store before it is reached.
pub(crate) const QUEUE_CAPACITY: usize = 65_536;

/// Writes the journal of one session, in order, with the epoch of one lease.
///
/// An append that fails with a transient error ([`StoreError::is_transient`]) is retried; the queue keeps its order and
/// numbers in the meantime. Any other error, or the last attempt, ends the writer: the queue is dropped, waiting callers get
/// the error, and the session is opened again with a new epoch. The new epoch settles an append with an unknown outcome:
/// it is in the journal by then, or is refused.
pub(crate) struct JournalWriter {
    pub(super) store: Option<Arc<dyn JournalStore>>,
    pub(super) epoch: Epoch,
    pub(super) broadcast: Arc<EventBroadcast>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) group: TaskGroup,
    pub(super) state: Mutex<State>,
    pub(super) durable_changed: Notify,
    pub(super) retry: StoreRetry,
    pub(super) on_failure: Option<OnFailure>,
}

/// Callback for the end of a writer; called once.
pub(crate) type OnFailure = Box<dyn Fn(&JournalWriter, &StoreError) + Send + Sync>;

pub(super) struct State {
    /// The last assigned number.
    pub(super) last: Seq,
    /// The last stored number.
    pub(super) durable: Seq,
    pub(super) queue: Vec<QueuedItem>,
    pub(super) flushing: bool,
    pub(super) failed: Option<Box<StoreError>>,
    /// In every summary.
    pub(super) labels: Arc<BTreeMap<String, String>>,
    /// The latest summary given, without labels.
    pub(super) summary: Option<Box<Summary>>,
    /// The head of the session in the store differs from `summary`, `labels` or `queued_runs`.
    pub(super) summary_changed: bool,
    /// Runs that were queued and have not begun.
    pub(super) queued_runs: BTreeSet<RunId>,
    /// Bytes stored since the last snapshot.
    pub(super) bytes_since_snapshot: u64,
    /// Size of the last snapshot in bytes; 0 until this writer keeps one.
    pub(super) snapshot: u64,
    /// Unnumbered events dropped because the queue was full, since the last gap event.
    pub(super) dropped_events: u64,
    /// Bytes that the session was read from when this writer began.
    pub(super) bytes_read: u64,
    /// Bytes journalled that were not asked for yet; see [`JournalWriter::grown`].
    pub(super) bytes_unreported: u64,
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
    pub(super) fn changed_summary(&mut self) -> Option<Summary> {
        if !std::mem::take(&mut self.summary_changed) {
            return None;
        }
        let mut summary = Summary::clone(self.summary.as_deref()?);
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

pub(super) enum QueuedItem {
    Entry(Box<Entry>, Vec<u8>),
    Event(Box<Event>),
}

impl QueuedItem {
    pub(super) fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Entry(entry, _) => Some(entry),
            Self::Event(_) => None,
        }
    }
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

    /// Returns `true` if entries have a consumer: a store or a subscriber.
    pub(crate) fn has_consumers(&self) -> bool {
        self.store.is_some() || self.broadcast.is_watched()
    }

    /// Returns `true` if facts of this kind have a consumer: the store, a subscriber that wants them, or an observer.
    #[inline]
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.wants_of(kind, false)
    }

    /// As [`wants`](JournalWriter::wants), for facts of tasks that may be inside a subgraph.
    #[inline]
    pub(crate) fn wants_of(&self, kind: EventKind, nested: bool) -> bool {
        self.store.is_some() || self.broadcast.wants(kind, nested)
    }

    /// Returns what the subscribers want together.
    #[inline]
    pub(crate) fn interest(&self) -> Interest {
        self.broadcast.interest()
    }

    /// Returns `true` if the session has subscribers.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.broadcast.is_watched()
    }

    #[inline]
    pub(crate) fn is_durable(&self) -> bool {
        self.store.is_some()
    }

    pub(crate) fn store(&self) -> Option<&Arc<dyn JournalStore>> {
        self.store.as_ref()
    }

    /// Returns the labels of the session, which are part of every summary.
    pub(crate) fn labels(&self) -> Arc<BTreeMap<String, String>> {
        Arc::clone(&self.state.lock().labels)
    }

    /// Adds labels to the session.
    pub(crate) fn add_labels(&self, labels: &BTreeMap<String, String>) {
        if !labels.is_empty() {
            let mut state = self.state.lock();
            Arc::make_mut(&mut state.labels).extend(labels.clone());
        }
    }

    /// Sets the summary and the queued runs of a session that was read from the store.
    pub(crate) fn restore(&self, summary: Summary, queued: impl IntoIterator<Item = RunId>) {
        let mut state = self.state.lock();
        state.summary = Some(Box::new(summary));
        state.queued_runs.extend(queued);
    }

    /// Returns the error that ended the writer.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.state.lock().failed.as_deref().cloned()
    }

    /// Returns `true` if the writer has ended.
    pub(crate) fn has_failed(&self) -> bool {
        self.state.lock().failed.is_some()
    }

    /// Ends the writer from outside: another process writes the session now.
    pub(crate) fn fail(&self, error: StoreError) {
        let dropped = {
            let mut state = self.state.lock();
            if state.failed.is_some() {
                return;
            }
            state.failed = Some(Box::new(error.clone()));
            mem::take(&mut state.queue)
        };
        drop(dropped);
        self.durable_changed.notify_waiters();
        if let Some(call) = &self.on_failure {
            call(self, &error);
        }
    }

    pub(crate) fn last(&self) -> Seq {
        self.state.lock().last
    }

    /// Returns `true` if a snapshot is due: at least `at_least` bytes and twice the size of the last snapshot were written
    /// since then, so that the snapshots of a growing state together stay smaller than its journal.
    pub(crate) fn wants_snapshot(&self, at_least: u64) -> bool {
        let state = self.state.lock();
        state.bytes_since_snapshot >= at_least.max(state.snapshot.saturating_mul(2))
    }

    /// Sets the number of bytes that the session was read from.
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

    /// Numbers facts and queues them. Returns the last number.
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
    /// While runs are queued, the status in the stored summary is `running` in place of a final status, so that recovery
    /// finds them.
    pub(crate) fn push_each<I: IntoIterator<Item = (RunId, Fact)>>(
        &self,
        facts: I,
        summary: Option<Summary>,
    ) -> Result<Seq, StoreError> {
        let at = self.clock.now_ms();
        if self.store.is_none() {
            let mut state = self.state.lock();
            let mut last = state.last;
            self.broadcast.publish_new(facts.into_iter().map(|(run, fact)| {
                last = last.next();
                Entry { seq: last, at, run, fact }
            }));
            (state.last, state.durable) = (last, last);
            return Ok(last);
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
            return Err(StoreError::clone(failed));
        }
        for (mut entry, body) in encoded {
            state.last = state.last.next();
            entry.seq = state.last;
            state.bytes_since_snapshot += body.len() as u64;
            state.track_queued(&entry);
            state.bytes_unreported += body.len() as u64;
            state.queue.push(QueuedItem::Entry(Box::new(entry), body));
        }
        if let Some(summary) = summary {
            state.summary = Some(Box::new(summary));
            state.summary_changed = true;
        }
        Ok(state.last)
    }

    /// Publishes an unnumbered event after everything in the queue.
    pub(crate) fn emit(&self, event: Event) {
        if !self.wants_event(&event.body) {
            return;
        }
        let mut state = self.state.lock();
        if state.queue.is_empty() && !state.flushing {
            self.broadcast.publish_ephemeral(event);
        } else if state.queue.len() < QUEUE_CAPACITY {
            state.queue.push(QueuedItem::Event(Box::new(event)));
        } else {
            state.dropped_events += 1;
        }
    }

    /// Returns `true` if an unnumbered event has a consumer: a subscriber, or, for part of a message, a later subscriber.
    pub(crate) fn wants_event(&self, body: &EventBody) -> bool {
        self.broadcast.interest().wants(body.kind()) || body.is_partial()
    }

    /// Ends a partial message of a task, or all of them (`None`), if no entry does.
    pub(crate) fn end_partial(&self, task: &Arc<TaskId>, message: Option<&str>) {
        self.broadcast.end_partial(task, message);
    }

    /// Returns the number of queued items.
    pub(crate) fn queue_len(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Starts a flush in the background. It is not polled here, because a store that commits in its first poll would make
    /// the run wait.
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

    /// Returns `true` if a flush is due and none is running; the caller must run it.
    fn begin_flush(&self) -> bool {
        let mut state = self.state.lock();
        if state.flushing || state.queue.is_empty() || state.failed.is_some() {
            return false;
        }
        state.flushing = true;
        true
    }

    /// Polls a flush once on this thread, and spawns it if it is pending.
    fn flush_here(self: &Arc<Self>) {
        let mut flush = Box::pin(flush(Arc::clone(self)));
        let mut context = Context::from_waker(Waker::noop());
        if flush.as_mut().poll(&mut context) == Poll::Pending {
            self.group.spawn_uncancelled(flush);
        }
    }

    /// Waits until everything up to `seq` is stored. Cancel safe.
    pub(crate) async fn wait_durable(self: &Arc<Self>, seq: Seq) -> Result<(), StoreError> {
        loop {
            let durable_changed = self.durable_changed.notified();
            {
                let state = self.state.lock();
                if state.durable >= seq {
                    return Ok(());
                }
                if let Some(failed) = &state.failed {
                    return Err(StoreError::clone(failed));
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
                    return Err(StoreError::clone(failed));
                }
            }
            durable_changed.await;
        }
    }

    /// Waits until everything in the queue is stored. Cancel safe.
    pub(crate) async fn wait_all_durable(self: &Arc<Self>) -> Result<(), StoreError> {
        let last = self.last();
        self.wait_durable(last).await
    }

    /// Stores a summary after everything in the queue. Nothing may be queued in the meantime.
    pub(crate) async fn store_summary(self: &Arc<Self>, mut summary: Summary) -> Result<(), StoreError> {
        self.wait_all_durable().await?;
        let Some(store) = &self.store else { return Ok(()) };
        summary.labels = BTreeMap::clone(&self.labels());
        let (session, last) = (self.broadcast.session().clone(), self.last());
        store.append(Append::new(session, self.epoch, last, Vec::new()).with_summary(Some(summary))).await
    }

    /// Stores a snapshot in the background. Replay is correct without it, only longer.
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
            // A snapshot must not contain more than the stored journal.
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
