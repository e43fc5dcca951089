//! Event broadcast with catch-up: each subscriber is a cursor that reads live events from a ring and older ones from the
//! journal.

use std::{
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
};

use parking_lot::{Mutex, MutexGuard};

use super::subscription::{Mode, Subscription};
use super::{
    Event, EventFilter, EventKind, JournalNotice, ObserverCells, Outbox, filter::Filters, filter::Interest,
    partial::PartialMessages, payload,
};
use crate::{
    ids::{Seq, SessionId, TaskId},
    journal::{JournalStore, entry::Entry},
};

/// Capacity of the ring. Subscribers that are further behind read the journal.
const RING: usize = 8_192;

/// A journal entry, or a reference to one, that becomes an event.
pub(crate) trait IntoEvent {
    fn entry(&self) -> &Entry;
    fn into_event(self, session: &SessionId) -> Event;
}

impl IntoEvent for &Entry {
    fn entry(&self) -> &Entry {
        self
    }

    fn into_event(self, session: &SessionId) -> Event {
        Event::of(session, self)
    }
}

impl IntoEvent for Entry {
    fn entry(&self) -> &Entry {
        self
    }

    fn into_event(self, session: &SessionId) -> Event {
        Event::from_entry(session, self)
    }
}

/// Event broadcast of a session.
pub(crate) struct EventBroadcast {
    pub(super) session: SessionId,
    /// Union of the filters of the subscribers; written under the lock of `live`.
    interest: AtomicU64,
    /// Whether there are partial messages.
    pub(super) has_partial: AtomicBool,
    pub(super) observed: Arc<ObserverCells>,
    pub(super) live: Mutex<Ring>,
    /// The session was deleted: no event follows. Set under the lock of `live`.
    pub(super) closed: AtomicBool,
    /// Whether other processes have subscribers of the session, and the queue for them.
    remote: AtomicBool,
    outbox: OnceLock<Arc<Outbox>>,
}

/// Ring of live events and the wakers of waiting subscribers.
#[derive(Default)]
pub(super) struct Ring {
    pub(super) ring: VecDeque<Arc<Event>>,
    /// Position of the ring's first event, counted from the broadcast's beginning.
    pub(super) first: u64,
    /// Number of unnumbered events pushed so far.
    pub(super) unnumbered: u64,
    /// Number of unnumbered events that left the ring.
    pub(super) unnumbered_left: u64,
    /// The last published number.
    pub(super) last: Seq,
    /// The end of the journal when the first number was known here. A subscriber of live events wants nothing up to it.
    pub(super) start: Seq,
    /// The graph of the present or latest run in memory.
    pub(super) graph: Option<Arc<str>>,
    pub(super) partial: PartialMessages,
    pub(super) filters: Filters,
    pub(super) waiting: Vec<Waker>,
    /// Number of wake-ups so far.
    pub(super) woken: u64,
}

impl EventBroadcast {
    pub(crate) fn new(session: SessionId, observed: Arc<ObserverCells>) -> Self {
        Self {
            session,
            interest: AtomicU64::new(0),
            has_partial: AtomicBool::new(false),
            observed,
            live: Mutex::default(),
            closed: AtomicBool::new(false),
            remote: AtomicBool::new(false),
            outbox: OnceLock::new(),
        }
    }

    /// Ends all present and future subscriptions, because the session was deleted. Events in the ring are still delivered.
    pub(crate) fn close(&self) {
        let live = self.live.lock();
        self.closed.store(true, Ordering::Release);
        wake(live);
    }

    /// Returns whether the session was deleted.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Returns whether the session has subscribers, here or in other processes.
    #[inline]
    pub(crate) fn is_watched(&self) -> bool {
        self.interest().is_watched()
    }

    /// Returns whether the session has subscribers in this process.
    pub(crate) fn has_subscribers(&self) -> bool {
        self.local_interest().is_watched()
    }

    /// Returns what the subscribers in this process want together.
    #[inline]
    fn local_interest(&self) -> Interest {
        Interest::of(self.interest.load(Ordering::Acquire))
    }

    /// Returns what all subscribers want together; those in other processes want everything.
    #[inline]
    pub(crate) fn interest(&self) -> Interest {
        let local = self.local_interest();
        if self.remote.load(Ordering::Relaxed) { local.and_all() } else { local }
    }

    /// Returns whether a subscriber wants events of this kind, of tasks inside subgraphs or others, or, while there is a
    /// subscriber, an observer.
    #[inline]
    pub(crate) fn wants(&self, kind: EventKind, nested: bool) -> bool {
        let interest = self.interest();
        interest.of_tasks(nested).wants(kind) || (interest.wants_observed(kind) && self.observed.is_set())
    }

    /// Sends events to subscribers in other processes from now on. `fresh`: a process that needs the partial messages.
    pub(crate) fn serve_remotely(&self, outbox: &Arc<Outbox>, fresh: Option<String>) {
        let outbox = self.outbox.get_or_init(|| Arc::clone(outbox));
        let live = self.live.lock();
        self.remote.store(true, Ordering::Relaxed);
        outbox.stored(&self.session, live.last);
        if let Some(to) = fresh {
            let events = live.partial.events(&self.session, live.last);
            outbox.partial(&self.session, to, events.iter().map(|event| Event::clone(event)).collect());
        }
    }

    /// Ends [`serve_remotely`](EventBroadcast::serve_remotely).
    pub(crate) fn end_remote(&self) {
        self.remote.store(false, Ordering::Relaxed);
    }

    fn remote(&self) -> Option<&Arc<Outbox>> {
        if self.remote.load(Ordering::Relaxed) { self.outbox.get() } else { None }
    }

    /// Publishes stored entries. Without subscribers, only the last number is kept.
    pub(crate) fn publish<'a>(&self, entries: impl Iterator<Item = &'a Entry> + Clone) {
        if self.observed.is_set() {
            let graph = self.live.lock().graph.clone();
            for entry in entries.clone() {
                self.observed.notify(&JournalNotice::of(&self.session, graph.as_deref(), entry));
            }
        }
        self.publish_entries(entries);
        if let Some(outbox) = self.remote() {
            outbox.stored(&self.session, self.live.lock().last);
        }
    }

    /// As [`publish`](EventBroadcast::publish), for entries that nothing else needs.
    pub(crate) fn publish_new(&self, entries: impl Iterator<Item = Entry>) {
        if self.observed.is_set() || self.remote().is_some() {
            for entry in entries {
                self.publish(std::iter::once(&entry));
            }
        } else {
            self.publish_entries(entries);
        }
    }

    /// Publishes entries that another process wrote.
    pub(crate) fn publish_entries<E: IntoEvent>(&self, entries: impl Iterator<Item = E>) {
        let mut live = self.live.lock();
        let interest = self.local_interest();
        let has_partial = self.has_partial.load(Ordering::Relaxed);
        let end = live.end();
        for source in entries {
            let entry = source.entry();
            // Read by a follower before `advance_to`: subscribers read it from the journal.
            if entry.seq <= live.last {
                continue;
            }
            live.last = entry.seq;
            if has_partial {
                live.partial.take_entry(entry);
            }
            if interest.is_watched() && interest.wants(entry.fact.kind()) {
                live.push(Arc::new(source.into_event(&self.session)));
            }
        }
        if has_partial {
            self.has_partial.store(!live.partial.is_empty(), Ordering::Relaxed);
        }
        if live.end() != end {
            wake(live);
        }
    }

    /// Advances to `seq` for entries that were not published here: written by another process, or by an append that was
    /// reported as failed. Subscribers read them from the journal.
    pub(crate) fn advance_to(&self, seq: Seq) {
        let live = self.live.lock();
        if seq > live.last {
            self.skip_to(live, seq);
        }
    }

    /// Moves all subscribers to the journal, whatever they have seen: entries up to `seq` were written elsewhere.
    pub(crate) fn jump_to(&self, seq: Seq) {
        self.skip_to(self.live.lock(), seq);
    }

    fn skip_to(&self, mut live: MutexGuard<'_, Ring>, seq: Seq) {
        if live.last == Seq::ZERO {
            live.start = seq;
        }
        live.last = live.last.max(seq);
        if self.has_subscribers() {
            live.unnumbered_left += live.ring.iter().filter(|event| event.seq.is_none()).count() as u64;
            live.first += live.ring.len() as u64 + 1;
            live.ring.clear();
            wake(live);
        }
    }

    /// Publishes an unnumbered event. Parts of a message that is being streamed are kept for later subscribers.
    pub(crate) fn publish_ephemeral(&self, event: Event) {
        if let Some(outbox) = self.remote() {
            outbox.push_ephemeral(event.clone());
        }
        self.show_here(event);
    }

    /// Publishes an unnumbered event to the subscribers in this process.
    pub(crate) fn show_here(&self, event: Event) {
        let partial = event.body.is_partial();
        if !partial && !self.local_interest().wants(event.body.kind()) {
            return;
        }
        let mut live = self.live.lock();
        if partial {
            live.partial.apply(&event);
            self.has_partial.store(!live.partial.is_empty(), Ordering::Relaxed);
        }
        if self.local_interest().wants(event.body.kind()) {
            live.push(Arc::new(event));
            wake(live);
        }
    }

    /// Publishes a gap for unnumbered events that were dropped.
    pub(crate) fn show_dropped(&self, unnumbered: u64) {
        let last = self.live.lock().last;
        self.publish_ephemeral(super::gap(
            &self.session,
            payload::Gap { after: last, upto: last, unnumbered, ahead: None },
        ));
    }

    /// Sets the graph of the run that starts.
    pub(crate) fn set_graph(&self, graph: &Arc<str>) {
        let mut live = self.live.lock();
        live.graph = Some(Arc::clone(graph));
        // A resumed run streams its messages again.
        live.partial.clear();
        self.has_partial.store(false, Ordering::Relaxed);
    }

    /// Removes a partial message of a task, or all of them, if no entry does.
    pub(crate) fn end_partial(&self, task: &Arc<TaskId>, message: Option<&str>) {
        if !self.has_partial.load(Ordering::Relaxed) {
            return;
        }
        let mut live = self.live.lock();
        match message {
            Some(message) => live.partial.end_message(Some(task), message),
            None => live.partial.end_task(task),
        }
        self.has_partial.store(!live.partial.is_empty(), Ordering::Relaxed);
    }

    pub(crate) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Creates a cursor. With `after`, entries after this number are read from the journal first; with `None`, only live
    /// events follow. Partial messages precede live events in both cases.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        store: Option<Arc<dyn JournalStore>>,
        after: Option<Seq>,
        filter: EventFilter,
    ) -> Subscription {
        let mut live = self.live.lock();
        let union = live.filters.add(filter);
        self.interest.store(union, Ordering::Release);
        // No journal has larger numbers; stores may count with a sign.
        let after = after.map(|after| after.min(Seq(u64::MAX >> 1)));
        let mode = match (after, &store) {
            (Some(after), None) if after < live.last => Mode::Lost { upto: live.last },
            (Some(after), None) if after > live.last => Mode::Ahead { end: live.last },
            (Some(_), Some(_)) => Mode::Behind,
            _ => Mode::Live,
        };
        let mut subscription = Subscription {
            broadcast: Arc::clone(self),
            store,
            at: live.end(),
            last: after.unwrap_or(live.last),
            read: after.unwrap_or(live.last),
            filter,
            live_only: after.is_none(),
            unnumbered_seen: live.unnumbered,
            unnumbered: 0,
            checked: after.is_none(),
            partial: live.partial.events(&self.session, live.last),
            mode,
            ready: VecDeque::new(),
            waits: None,
            ended: false,
            keep: None,
        };
        drop(live);
        if matches!(subscription.mode, Mode::Live) {
            subscription.show_partial();
        }
        subscription
    }

    /// Removes the filter of a subscriber; with the last one, the ring.
    pub(super) fn unsubscribe(&self, filter: EventFilter) {
        let mut live = self.live.lock();
        let union = live.filters.remove(filter);
        self.interest.store(union, Ordering::Release);
        if self.has_subscribers() {
            return;
        }
        live.first = live.end();
        live.unnumbered_left = live.unnumbered;
        let left = (mem::take(&mut live.ring), mem::take(&mut live.waiting));
        drop(live);
        // Their `Drop` may run code of the subscriber's executor.
        drop(left);
    }
}

impl Ring {
    pub(super) fn push(&mut self, event: Arc<Event>) {
        if self.ring.len() >= RING
            && let Some(oldest) = self.ring.pop_front()
        {
            self.first += 1;
            self.unnumbered_left += u64::from(oldest.seq.is_none());
        }
        self.unnumbered += u64::from(event.seq.is_none());
        self.ring.push_back(event);
    }

    /// Returns the position after the last event of the ring.
    pub(super) fn end(&self) -> u64 {
        self.first + self.ring.len() as u64
    }

    /// Returns the events from a position on; none if it left the ring.
    pub(super) fn events_from(&self, at: u64) -> impl Iterator<Item = &Arc<Event>> {
        let skipped = at.checked_sub(self.first).and_then(|skipped| usize::try_from(skipped).ok());
        self.ring.range(skipped.unwrap_or(usize::MAX).min(self.ring.len())..)
    }

    /// Registers the waker of a subscriber; `place` is its last registration.
    pub(super) fn wait(&mut self, place: &mut Option<(u64, usize)>, waker: &Waker) {
        match *place {
            Some((woken, at)) if woken == self.woken => {
                if !self.waiting[at].will_wake(waker) {
                    self.waiting[at] = waker.clone();
                }
            }
            _ => {
                *place = Some((self.woken, self.waiting.len()));
                self.waiting.push(waker.clone());
            }
        }
    }
}

/// Wakes the waiting subscribers after releasing the lock, because each of them takes it next.
fn wake(mut live: MutexGuard<'_, Ring>) {
    if live.waiting.is_empty() {
        return;
    }
    live.woken += 1;
    // A single subscriber is common: the list keeps its memory for the next registration.
    let only = if live.waiting.len() == 1 { live.waiting.pop() } else { None };
    let others = if only.is_some() { Vec::new() } else { mem::take(&mut live.waiting) };
    drop(live);
    for waker in only.into_iter().chain(others) {
        // The waker belongs to the executor of the subscriber: its panic must not reach the writer.
        if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
            tracing::error!(
                "the waker of a subscriber panicked; the subscriber may miss events until it is polled"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::RunId,
        journal::entry::{Fact, Steered},
        model::Message,
    };

    fn entry(seq: u64) -> Entry {
        let fact = Fact::Steered(Steered { message: Message::user("and in red") });
        Entry { seq: Seq(seq), at: 0, run: RunId(1), fact }
    }

    #[test]
    fn entries_that_a_follower_publishes_late_are_read_from_the_journal() {
        let broadcast = Arc::new(EventBroadcast::new(SessionId::random(), Arc::default()));
        let _subscriber = broadcast.subscribe(None, None, EventFilter::all());
        broadcast.publish_entries([entry(1), entry(2)].iter());
        // This process begins to write: the entries up to 7 were read from the journal.
        broadcast.advance_to(Seq(7));
        broadcast.publish_entries([entry(3), entry(4)].iter());
        broadcast.publish_entries([entry(8)].iter());
        let live = broadcast.live.lock();
        let numbers: Vec<_> = live.ring.iter().filter_map(|event| event.seq).collect();
        assert_eq!((numbers, live.last), (vec![Seq(8)], Seq(8)), "the entries 5 to 7 would be missing");
    }
}
