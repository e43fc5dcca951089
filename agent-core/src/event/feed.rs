//! Who sees what and when: each subscriber is a cursor, live from a ring and back from the journal.

use std::{
    collections::{HashSet, VecDeque},
    mem,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures::{Stream, future::BoxFuture};
use parking_lot::Mutex;

use super::{Event, EventBody, Loss, Note, Observer, payload};
use crate::{
    ids::{RunId, Seq, SessionId},
    journal::{JournalStore, StoreError, entry::Entry, holes::read_entries},
};

/// Events kept for subscribers that are a little behind. Those further behind read the journal.
const RING: usize = 8_192;
/// Entries read from the journal at once.
const PAGE: usize = 256;
/// Events taken from the ring at once.
const BATCH: usize = 256;

/// The live end of a session's events.
pub(crate) struct Feed {
    session: SessionId,
    subscribers: AtomicUsize,
    observed: Arc<Observed>,
    live: Mutex<Live>,
    /// The session was deleted: no event follows. Set under the lock of `live`.
    closed: AtomicBool,
}

/// Who is told of every entry of a runtime, if anybody is.
#[derive(Default)]
pub(crate) struct Observed(pub(crate) OnceLock<Arc<dyn Observer>>);

/// The ring and who waits for it.
#[derive(Default)]
struct Live {
    ring: VecDeque<Arc<Event>>,
    /// Position of the ring's first event, counted from the feed's beginning.
    first: u64,
    /// The last number published.
    last: Seq,
    /// The graph of the run in memory, or of the last one that was.
    graph: Option<Arc<str>>,
    waiting: Vec<Waker>,
}

impl Feed {
    pub(crate) fn new(session: SessionId, observed: Arc<Observed>) -> Self {
        Self {
            session,
            subscribers: AtomicUsize::new(0),
            observed,
            live: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Ends every subscription, present and future: the session was deleted. Subscribers still get the events in
    /// the ring.
    pub(crate) fn close(&self) {
        let mut live = self.live.lock();
        self.closed.store(true, Ordering::Release);
        live.wake();
    }

    /// Whether the session was deleted.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether anybody watches.
    pub(crate) fn watched(&self) -> bool {
        self.subscribers.load(Ordering::Acquire) > 0
    }

    /// Shows what was stored. Only numbers are noted when nobody watches.
    pub(crate) fn publish<'a>(&self, entries: impl Iterator<Item = &'a Entry> + Clone) {
        if let Some(observer) = self.observed.0.get() {
            let graph = self.live.lock().graph.clone();
            for entry in entries.clone() {
                observer.stored(&Note::of(&self.session, graph.as_deref(), entry));
            }
        }
        let mut live = self.live.lock();
        let watched = self.watched();
        for entry in entries {
            live.last = entry.seq;
            if watched {
                live.push(Arc::new(Event::of(&self.session, entry)));
            }
        }
        live.wake();
    }

    /// Notes that entries up to `seq` were written by somebody who does not publish.
    pub(crate) fn passed(&self, seq: Seq) {
        let mut live = self.live.lock();
        live.last = live.last.max(seq);
    }

    /// Shows an event without a number.
    pub(crate) fn show(&self, event: Event) {
        if self.watched() {
            let mut live = self.live.lock();
            live.push(Arc::new(event));
            live.wake();
        }
    }

    /// Notes what runs from here on.
    pub(crate) fn runs(&self, graph: &Arc<str>) {
        self.live.lock().graph = Some(Arc::clone(graph));
    }

    pub(crate) fn session(&self) -> &SessionId {
        &self.session
    }

    /// A cursor. `after`: everything behind this number first, from the journal; `None`: from now on.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        store: Option<Arc<dyn JournalStore>>,
        after: Option<Seq>,
    ) -> Subscription {
        self.subscribers.fetch_add(1, Ordering::AcqRel);
        let live = self.live.lock();
        let at = live.first + live.ring.len() as u64;
        let last = after.unwrap_or(live.last);
        let mode = match (after, &store) {
            (Some(after), None) if after < live.last => Mode::Lost { upto: live.last },
            (Some(_), Some(_)) => Mode::Behind,
            _ => Mode::Live,
        };
        drop(live);
        Subscription {
            feed: Arc::clone(self),
            store,
            at,
            last,
            unnumbered: 0,
            mode,
            ready: VecDeque::new(),
            ended: false,
            keep: None,
        }
    }
}

impl Live {
    fn push(&mut self, event: Arc<Event>) {
        if self.ring.len() >= RING {
            self.ring.pop_front();
            self.first += 1;
        }
        self.ring.push_back(event);
    }

    fn wake(&mut self) {
        for waker in self.waiting.drain(..) {
            waker.wake();
        }
    }
}

/// One subscriber's view of a session: a stream of events in the order of their numbers, each once.
///
/// It ends when the session is deleted ([`SubscriptionError::Deleted`]); a session that is made under the same id
/// later has other subscriptions. Until then it never ends: a session can always run again. Dropping it is free. A
/// slow subscriber delays no other; [`EventBody::loss`] tells what it may miss.
#[must_use = "a subscription does nothing unless it is read"]
pub struct Subscription {
    feed: Arc<Feed>,
    store: Option<Arc<dyn JournalStore>>,
    /// The next position in the ring.
    at: u64,
    /// The last number seen.
    last: Seq,
    /// Events without a number that fell out of the ring unseen.
    unnumbered: u64,
    mode: Mode,
    ready: VecDeque<Arc<Event>>,
    /// The stream has given its last item.
    ended: bool,
    /// Keeps the session's place among the live ones for as long as somebody watches.
    keep: Option<Arc<dyn Send + Sync>>,
}

enum Mode {
    Live,
    Behind,
    Reading(BoxFuture<'static, Result<Vec<Entry>, StoreError>>),
    /// There is no journal to read what is missing from.
    Lost {
        upto: Seq,
    },
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
                        return if self.feed.is_closed() { self.deleted() } else { Poll::Pending };
                    }
                }
                Mode::Lost { upto } => {
                    let upto = *upto;
                    self.gap(self.last, upto);
                    self.last = self.last.max(upto);
                    self.mode = Mode::Live;
                }
                // By its name alone, the journal of a deleted session cannot be told from that of its successor.
                Mode::Behind | Mode::Reading(_) if self.feed.is_closed() => return self.deleted(),
                Mode::Behind => {
                    let Some(store) = self.store.clone() else {
                        self.mode = Mode::Live;
                        continue;
                    };
                    let (session, after) = (self.feed.session.clone(), self.last);
                    self.mode =
                        Mode::Reading(Box::pin(
                            async move { read_entries(&*store, &session, after, PAGE).await },
                        ));
                }
                Mode::Reading(read) => {
                    let Poll::Ready(read) = read.as_mut().poll(cx) else { return Poll::Pending };
                    self.mode = Mode::Behind;
                    if self.feed.is_closed() {
                        return self.deleted();
                    }
                    let after = self.last;
                    let entries = read.map_err(|source| SubscriptionError::Unreadable { after, source })?;
                    self.take_entries(&entries);
                }
            }
        }
    }

    fn deleted(&self) -> Poll<Result<Arc<Event>, SubscriptionError>> {
        let session = self.feed.session.clone();
        Poll::Ready(Err(SubscriptionError::Deleted { session, after: self.last }))
    }

    /// Takes what the ring has. `false`: nothing; the waker is kept.
    fn take_live(&mut self, cx: &Context<'_>) -> bool {
        let feed = Arc::clone(&self.feed);
        let mut live = feed.live.lock();
        if self.at < live.first {
            // Fell out of the ring: numbered events are read from the journal, the others are gone.
            self.at = live.first;
            self.unnumbered += 1;
            self.mode = if self.store.is_some() {
                Mode::Behind
            } else {
                let first = live.ring.iter().find_map(|event| event.seq).unwrap_or(live.last.next());
                Mode::Lost { upto: Seq(first.0.saturating_sub(1)) }
            };
            return true;
        }
        let from = usize::try_from(self.at - live.first).unwrap_or(usize::MAX);
        let batch: Vec<Arc<Event>> = live.ring.iter().skip(from).take(BATCH).map(Arc::clone).collect();
        if batch.is_empty() {
            if !self.feed.is_closed() && !live.waiting.iter().any(|known| known.will_wake(cx.waker())) {
                live.waiting.push(cx.waker().clone());
            }
            return false;
        }
        drop(live);
        self.at += batch.len() as u64;
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
            self.gap(after, Seq(first.seq.0 - 1));
        } else if mem::take(&mut self.unnumbered) > 0 {
            self.gap(after, after);
        }
        for entry in entries {
            self.ready.push_back(Arc::new(Event::of(&self.feed.session, entry)));
        }
        if entries.len() < PAGE {
            // All that was stored when the page was read. Later entries are in the ring.
            self.mode = Mode::Live;
        }
    }

    fn gap(&mut self, after: Seq, upto: Seq) {
        let unnumbered = mem::take(&mut self.unnumbered);
        let body = EventBody::Gap(payload::Gap { after, upto, unnumbered });
        self.ready.push_back(Arc::new(Event {
            seq: None,
            at: 0,
            session: self.feed.session.clone(),
            run: RunId(0),
            task: None,
            body,
        }));
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
        if self.feed.subscribers.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Nobody is left to read the ring.
            let mut live = self.feed.live.lock();
            if !self.feed.watched() {
                live.first += live.ring.len() as u64;
                live.ring = VecDeque::new();
                live.waiting = Vec::new();
            }
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("session", &self.feed.session)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

/// Joins the text pieces of a message that stand side by side, and keeps only the latest progress of a name.
fn coalesce(batch: Vec<Arc<Event>>) -> Vec<Arc<Event>> {
    if batch.iter().all(|event| event.body.loss() == Loss::Never) || batch.len() < 2 {
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
