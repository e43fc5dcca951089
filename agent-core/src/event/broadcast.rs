//! Who sees what and when: each subscriber is a cursor, live from a ring and back from the journal.

use std::{
    collections::{HashSet, VecDeque},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures::{Stream, future::BoxFuture};
use parking_lot::{Mutex, MutexGuard};

use super::{DropPolicy, Event, EventBody, JournalNotice, ObserverCell, partial::PartialMessages, payload};
use crate::{
    ids::{Seq, SessionId, TaskId},
    journal::{JournalStore, StoreError, dedup::read_entries, entry::Entry},
};

/// Events kept for subscribers that are a little behind. Those further behind read the journal.
const RING: usize = 8_192;
/// Entries read from the journal at once.
const PAGE: usize = 256;
/// Events taken from the ring at once.
const BATCH: usize = 256;

/// The live end of a session's events.
pub(crate) struct EventBroadcast {
    session: SessionId,
    subscribers: AtomicUsize,
    /// Whether there are partial messages.
    has_partial: AtomicBool,
    observed: Arc<ObserverCell>,
    live: Mutex<Ring>,
    /// The session was deleted: no event follows. Set under the lock of `live`.
    closed: AtomicBool,
}

/// The ring and who waits for it.
#[derive(Default)]
struct Ring {
    ring: VecDeque<Arc<Event>>,
    /// Position of the ring's first event, counted from the broadcast's beginning.
    first: u64,
    /// Unnumbered events that were in the ring so far.
    unnumbered: u64,
    /// How many of those left the ring.
    unnumbered_left: u64,
    /// The last number published.
    last: Seq,
    /// The graph of the run in memory, or of the last one that was.
    graph: Option<Arc<str>>,
    partial: PartialMessages,
    waiting: Vec<Waker>,
    /// How often those who waited were woken.
    woken: u64,
}

impl EventBroadcast {
    pub(crate) fn new(session: SessionId, observed: Arc<ObserverCell>) -> Self {
        Self {
            session,
            subscribers: AtomicUsize::new(0),
            has_partial: AtomicBool::new(false),
            observed,
            live: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Ends every subscription, present and future: the session was deleted. Subscribers still get the events in
    /// the ring.
    pub(crate) fn close(&self) {
        let live = self.live.lock();
        self.closed.store(true, Ordering::Release);
        wake(live);
    }

    /// Whether the session was deleted.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.subscribers.load(Ordering::Acquire) > 0
    }

    /// Shows what was stored. Only numbers are noted when nobody watches.
    pub(crate) fn publish<'a>(&self, entries: impl Iterator<Item = &'a Entry> + Clone) {
        if self.observed.is_set() {
            let graph = self.live.lock().graph.clone();
            for entry in entries.clone() {
                self.observed.notify(&JournalNotice::of(&self.session, graph.as_deref(), entry));
            }
        }
        let mut live = self.live.lock();
        let watched = self.is_watched();
        let has_partial = self.has_partial.load(Ordering::Relaxed);
        for entry in entries {
            live.last = entry.seq;
            if has_partial {
                live.partial.take_entry(entry);
            }
            if watched {
                live.push(Arc::new(Event::of(&self.session, entry)));
            }
        }
        if has_partial {
            self.has_partial.store(!live.partial.is_empty(), Ordering::Relaxed);
        }
        wake(live);
    }

    /// Notes that entries up to `seq` are stored that were not published here: another process wrote them, or an append
    /// that was reported as failed. Subscribers read them from the journal.
    pub(crate) fn advance_to(&self, seq: Seq) {
        let mut live = self.live.lock();
        let skips = live.last > Seq::ZERO && seq > live.last && self.is_watched();
        live.last = live.last.max(seq);
        if skips {
            live.unnumbered_left += live.ring.iter().filter(|event| event.seq.is_none()).count() as u64;
            live.first += live.ring.len() as u64 + 1;
            live.ring.clear();
            wake(live);
        }
    }

    /// Shows an event without a number. A piece of a message is kept for subscribers to come while the message is being
    /// streamed.
    pub(crate) fn show(&self, event: Event) {
        let partial = event.body.is_partial();
        if !partial && !self.is_watched() {
            return;
        }
        let mut live = self.live.lock();
        if partial {
            live.partial.take(&event);
            self.has_partial.store(!live.partial.is_empty(), Ordering::Relaxed);
        }
        if self.is_watched() {
            live.push(Arc::new(event));
            wake(live);
        }
    }

    /// Tells subscribers that unnumbered events were dropped before they could be shown.
    pub(crate) fn show_dropped(&self, unnumbered: u64) {
        let last = self.live.lock().last;
        self.show(super::gap(
            &self.session,
            payload::Gap { after: last, upto: last, unnumbered, ahead: None },
        ));
    }

    /// Notes what runs from here on.
    pub(crate) fn set_graph(&self, graph: &Arc<str>) {
        let mut live = self.live.lock();
        live.graph = Some(Arc::clone(graph));
        // A run that was taken up streams its messages anew.
        live.partial.clear();
        self.has_partial.store(false, Ordering::Relaxed);
    }

    /// Forgets a partial message of a task, or all of them, where no entry does.
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

    /// A cursor. `after`: everything behind this number first, from the journal; `None`: from now on. In both cases the
    /// partial messages of this moment come before what is live.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        store: Option<Arc<dyn JournalStore>>,
        after: Option<Seq>,
    ) -> Subscription {
        self.subscribers.fetch_add(1, Ordering::AcqRel);
        let live = self.live.lock();
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
}

impl Ring {
    fn push(&mut self, event: Arc<Event>) {
        if self.ring.len() >= RING
            && let Some(oldest) = self.ring.pop_front()
        {
            self.first += 1;
            self.unnumbered_left += u64::from(oldest.seq.is_none());
        }
        self.unnumbered += u64::from(event.seq.is_none());
        self.ring.push_back(event);
    }

    /// The position behind the ring's last event.
    fn end(&self) -> u64 {
        self.first + self.ring.len() as u64
    }

    /// The events from a position on; none when it left the ring.
    fn events_from(&self, at: u64) -> impl Iterator<Item = &Arc<Event>> {
        let skipped = at.checked_sub(self.first).and_then(|skipped| usize::try_from(skipped).ok());
        self.ring.range(skipped.unwrap_or(usize::MAX).min(self.ring.len())..)
    }

    /// Keeps the waker of a subscriber that waits; `place` is where it was kept last.
    fn wait(&mut self, place: &mut Option<(u64, usize)>, waker: &Waker) {
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

/// Wakes those who wait, without the lock: each of them takes it next.
fn wake(mut live: MutexGuard<'_, Ring>) {
    if live.waiting.is_empty() {
        return;
    }
    live.woken += 1;
    let waiting = mem::take(&mut live.waiting);
    drop(live);
    for waker in waiting {
        // The waker is of the subscriber's executor: a panic in it is not the writer's.
        if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
            tracing::error!(
                "the waker of a subscriber panicked; the subscriber may miss events until it is polled"
            );
        }
    }
}

/// One subscriber's view of a session: a stream of events in the order of their numbers, each once.
///
/// It ends when the session is deleted ([`SubscriptionError::Deleted`]); a session that is made under the same id
/// later has other subscriptions. Until then it never ends: a session can always run again. Dropping it is free. A slow
/// subscriber delays no other; [`EventBody::loss`] names what it may miss, and a [gap](payload::Gap) counts what it lost.
///
/// Before what is live it gets the text of messages that are being streamed, each message as one piece (at most 256 KiB a
/// session; a gap counts the pieces beyond that). A number that is ahead of the journal is named by a gap as well.
#[must_use = "a subscription does nothing unless it is read"]
pub struct Subscription {
    broadcast: Arc<EventBroadcast>,
    store: Option<Arc<dyn JournalStore>>,
    /// The next position in the ring.
    at: u64,
    /// The last number seen.
    last: Seq,
    /// Unnumbered events of the ring before `at`.
    unnumbered_seen: u64,
    /// Events without a number that fell out of the ring unseen.
    unnumbered: u64,
    /// The number that the subscriber named is one of this journal.
    checked: bool,
    /// The partial messages as of `at`, until they are shown.
    partial: Vec<Arc<Event>>,
    mode: Mode,
    ready: VecDeque<Arc<Event>>,
    /// Where its waker is kept.
    waits: Option<(u64, usize)>,
    /// The stream has given its last item.
    ended: bool,
    /// Keeps the session's place among the live ones for as long as somebody watches.
    keep: Option<Arc<dyn Send + Sync>>,
}

enum Mode {
    Live,
    Behind,
    Reading(BoxFuture<'static, Result<Page, StoreError>>),
    /// There is no journal to read what is missing from.
    Lost {
        upto: Seq,
    },
    /// The number that the subscriber named is larger than any of this journal.
    Ahead {
        end: Seq,
    },
}

/// What was read of the journal.
struct Page {
    entries: Vec<Entry>,
    /// The journal's last number, where it was asked for.
    end: Option<Seq>,
}

/// Why a subscription has no next event.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// The journal could not be read. The subscription tries again when it is polled again.
    #[error("events after {after} cannot be read now")]
    Unreadable {
        /// The last number that was seen.
        after: Seq,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The session was deleted. The subscription has ended: every later call gives the same error.
    #[error("session `{session}` was deleted; its last event was {after}")]
    Deleted {
        /// The session.
        session: SessionId,
        /// The last number that was seen.
        after: Seq,
    },
}

impl SubscriptionError {
    /// Whether the subscription has ended, so that asking again is useless.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::event::SubscriptionError;
    ///
    /// let error = SubscriptionError::Deleted { session: "s".parse()?, after: agent_core::ids::Seq(7) };
    /// assert!(error.is_final());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Deleted { .. })
    }
}

impl Subscription {
    /// The next event. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`SubscriptionError::Unreadable`] when the journal cannot be read; call again to try again.
    /// [`SubscriptionError::Deleted`] after the last event of a session that was deleted.
    pub async fn next(&mut self) -> Result<Arc<Event>, SubscriptionError> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The last number that was handed out.
    #[must_use]
    pub const fn last(&self) -> Seq {
        self.last
    }

    pub(crate) fn keeping(mut self, keep: Arc<dyn Send + Sync>) -> Self {
        self.keep = Some(keep);
        self
    }

    /// An event that is there already, without waiting.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Event>, SubscriptionError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if let Some(seq) = event.seq {
                    self.last = self.last.max(seq);
                }
                return Poll::Ready(Ok(event));
            }
            match &mut self.mode {
                Mode::Live => {
                    if !self.take_live(cx) {
                        return if self.broadcast.is_closed() { self.deleted() } else { Poll::Pending };
                    }
                }
                Mode::Lost { upto } => {
                    let upto = *upto;
                    self.gap(self.last, upto, None);
                    self.last = self.last.max(upto);
                    self.mode = Mode::Live;
                    self.show_partial();
                }
                Mode::Ahead { end } => {
                    let end = *end;
                    self.gap(end, end, Some(self.last));
                    self.last = end;
                    self.mode = if self.store.is_some() { Mode::Behind } else { Mode::Live };
                    if self.store.is_none() {
                        self.show_partial();
                    }
                }
                // By its name alone, the journal of a deleted session cannot be told from that of its successor.
                Mode::Behind | Mode::Reading(_) if self.broadcast.is_closed() => return self.deleted(),
                Mode::Behind => {
                    let Some(store) = self.store.clone() else {
                        self.mode = Mode::Live;
                        continue;
                    };
                    let (session, after, checked) = (self.broadcast.session.clone(), self.last, self.checked);
                    self.mode = Mode::Reading(Box::pin(async move {
                        let entries = read_entries(&*store, &session, after, PAGE).await?;
                        let end = match entries.is_empty() && !checked {
                            true => Some(store.head(&session).await?.map_or(Seq::ZERO, |head| head.last)),
                            false => None,
                        };
                        Ok(Page { entries, end })
                    }));
                }
                Mode::Reading(read) => {
                    let Poll::Ready(read) = read.as_mut().poll(cx) else { return Poll::Pending };
                    self.mode = Mode::Behind;
                    if self.broadcast.is_closed() {
                        return self.deleted();
                    }
                    let after = self.last;
                    let page = read.map_err(|source| SubscriptionError::Unreadable { after, source })?;
                    self.checked = true;
                    match page.end {
                        Some(end) if end < self.last => self.mode = Mode::Ahead { end },
                        _ => self.take_entries(&page.entries),
                    }
                }
            }
        }
    }

    fn deleted(&self) -> Poll<Result<Arc<Event>, SubscriptionError>> {
        let session = self.broadcast.session.clone();
        Poll::Ready(Err(SubscriptionError::Deleted { session, after: self.last }))
    }

    /// Takes what the ring has. `false`: nothing; the waker is kept.
    fn take_live(&mut self, cx: &Context<'_>) -> bool {
        let broadcast = Arc::clone(&self.broadcast);
        let mut live = broadcast.live.lock();
        if self.at < live.first {
            // Fell out of the ring: numbered events are read from the journal, the others are gone.
            self.at = live.first;
            self.unnumbered += live.unnumbered_left - self.unnumbered_seen;
            self.unnumbered_seen = live.unnumbered_left;
            self.mode = if self.store.is_some() {
                Mode::Behind
            } else {
                let first = live.ring.iter().find_map(|event| event.seq).unwrap_or(live.last.next());
                Mode::Lost { upto: Seq(first.0.saturating_sub(1)) }
            };
            return true;
        }
        let batch: Vec<Arc<Event>> = live.events_from(self.at).take(BATCH).map(Arc::clone).collect();
        if batch.is_empty() {
            if !self.broadcast.is_closed() {
                live.wait(&mut self.waits, cx.waker());
            }
            return false;
        }
        drop(live);
        self.at += batch.len() as u64;
        self.unnumbered_seen += batch.iter().filter(|event| event.seq.is_none()).count() as u64;
        let last = self.last;
        let fresh = batch.into_iter().filter(|event| event.seq.is_none_or(|seq| seq > last));
        self.ready.extend(coalesce(fresh.collect()));
        true
    }

    fn take_entries(&mut self, entries: &[Entry]) {
        let after = self.last;
        if let Some(first) = entries.first()
            && first.seq > after.next()
        {
            self.gap(after, Seq(first.seq.0 - 1), None);
        } else if self.unnumbered > 0 {
            self.gap(after, after, None);
        }
        // From here on the ring has all entries, and what was shown between them.
        let in_ring = {
            let live = self.broadcast.live.lock();
            live.events_from(self.at).find_map(|event| event.seq)
        };
        let behind = entries.iter().take_while(|entry| in_ring.is_none_or(|seq| entry.seq < seq));
        let mut taken = 0;
        for entry in behind {
            taken += 1;
            self.ready.push_back(Arc::new(Event::of(&self.broadcast.session, entry)));
        }
        if taken < PAGE {
            // All that was stored when the page was read. Later entries are in the ring.
            self.mode = Mode::Live;
            self.show_partial();
        }
    }

    /// Shows the partial messages as of the place in the ring, once.
    fn show_partial(&mut self) {
        self.ready.extend(mem::take(&mut self.partial));
    }

    fn gap(&mut self, after: Seq, upto: Seq, ahead: Option<Seq>) {
        let unnumbered = mem::take(&mut self.unnumbered);
        let gap = payload::Gap { after, upto, unnumbered, ahead };
        self.ready.push_back(Arc::new(super::gap(&self.broadcast.session, gap)));
    }
}

impl Stream for Subscription {
    type Item = Result<Arc<Event>, SubscriptionError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let next = this.poll_event(cx);
        this.ended = matches!(&next, Poll::Ready(Err(error)) if error.is_final());
        next.map(Some)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.broadcast.subscribers.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Nobody is left to read the ring.
            let mut live = self.broadcast.live.lock();
            if !self.broadcast.is_watched() {
                live.first = live.end();
                live.unnumbered_left = live.unnumbered;
                live.ring = VecDeque::new();
                live.waiting = Vec::new();
            }
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("session", &self.broadcast.session)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// Joins the text pieces of a message that stand side by side, and keeps only the latest progress of a name.
fn coalesce(batch: Vec<Arc<Event>>) -> Vec<Arc<Event>> {
    if batch.iter().all(|event| event.body.loss() == DropPolicy::Never) || batch.len() < 2 {
        return batch;
    }
    let mut seen = HashSet::new();
    let mut kept: Vec<Arc<Event>> = Vec::with_capacity(batch.len());
    for event in batch.into_iter().rev() {
        if let EventBody::Progress(progress) = &event.body
            && !seen.insert((event.task.clone(), progress.name.clone()))
        {
            continue;
        }
        let joined = kept.last().and_then(|next| join(&event, next));
        match (joined, kept.last_mut()) {
            (Some(joined), Some(next)) => *next = Arc::new(joined),
            _ => kept.push(event),
        }
    }
    kept.reverse();
    kept
}

fn join(first: &Event, second: &Event) -> Option<Event> {
    if first.task != second.task || first.run != second.run {
        return None;
    }
    let body = match (&first.body, &second.body) {
        (EventBody::Token(a), EventBody::Token(b)) if a.message == b.message => {
            EventBody::Token(payload::Token {
                message: a.message.clone(),
                text: format!("{}{}", a.text, b.text),
            })
        }
        (EventBody::Reasoning(a), EventBody::Reasoning(b)) if a.message == b.message => {
            EventBody::Reasoning(payload::Reasoning {
                message: a.message.clone(),
                text: format!("{}{}", a.text, b.text),
            })
        }
        (EventBody::ToolArguments(a), EventBody::ToolArguments(b))
            if a.message == b.message && a.index == b.index && a.call_id == b.call_id =>
        {
            EventBody::ToolArguments(payload::ToolArguments {
                text: format!("{}{}", a.text, b.text),
                ..a.clone()
            })
        }
        _ => return None,
    };
    Some(Event { body, ..first.clone() })
}
