//! Subscriptions: cursors over the events of a session.

use super::broadcast::EventBroadcast;
use super::{DropPolicy, Event, EventBody, EventFilter, payload};
use crate::{
    ids::{Seq, SessionId},
    journal::{JournalStore, StoreError, dedup::read_entries, entry::Entry},
};
use futures::{Stream, future::BoxFuture};
use std::{
    collections::{HashSet, VecDeque},
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Entries read from the journal at once.
const PAGE: usize = 256;
/// Events taken from the ring at once.
const BATCH: usize = 256;

/// Subscription to the events of a session: a stream in the order of their numbers, each once.
///
/// It ends only when the session is deleted ([`SubscriptionError::Deleted`]). A slow subscriber does not delay others;
/// [`EventBody::drop_policy`] says which events it may lose, and a [gap](payload::Gap) counts the lost ones.
///
/// Live events are preceded by the text of messages that are being streamed, each as one part (at most 256 KiB per
/// session; a gap counts the rest). A start number after the end of the journal is reported as a gap.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, Runtime, START, State};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Count { #[state(add)] n: u64 }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let graph = Graph::<Count>::builder("count")
/// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
/// #     .edge(START, "add").edge("add", END).build()?;
/// # let session = Runtime::builder().build().session("s-1")?;
/// # use agent_core::event::EventBody;
/// let mut events = session.subscribe(None);
/// session.run(&graph, Count::update()).await?;
/// loop {
///     let event = events.next().await?;
///     if matches!(event.body, EventBody::RunCompleted(_)) {
///         break;
///     }
/// }
/// # Ok(()) }
/// ```
#[must_use = "a subscription does nothing unless it is read"]
pub struct Subscription {
    pub(super) broadcast: Arc<EventBroadcast>,
    pub(super) store: Option<Arc<dyn JournalStore>>,
    /// The next position in the ring.
    pub(super) at: u64,
    /// The filter of the events.
    pub(super) filter: EventFilter,
    /// It was created without a start number.
    pub(super) live_only: bool,
    /// The last number seen.
    pub(super) last: Seq,
    /// The last number read: the events up to it that it wants were delivered or are in `ready`.
    pub(super) read: Seq,
    /// Unnumbered events of the ring before `at`.
    pub(super) unnumbered_seen: u64,
    /// Unnumbered events that left the ring before they were read.
    pub(super) unnumbered: u64,
    /// The start number was checked against the journal.
    pub(super) checked: bool,
    /// Partial messages as of `at`, until they are delivered.
    pub(super) partial: Vec<Arc<Event>>,
    pub(super) mode: Mode,
    pub(super) ready: VecDeque<Arc<Event>>,
    /// Registration of its waker.
    pub(super) waits: Option<(u64, usize)>,
    /// The stream has returned its last item.
    pub(super) ended: bool,
    /// Keeps the session in memory while it has subscribers.
    pub(super) keep: Option<Arc<dyn Send + Sync>>,
}

pub(super) enum Mode {
    Live,
    Behind,
    Reading(BoxFuture<'static, Result<Page, StoreError>>),
    /// Entries are missing, and there is no journal to read them from.
    Lost {
        upto: Seq,
    },
    /// The start number is after the end of the journal.
    Ahead {
        end: Seq,
    },
}

/// Entries read from the journal.
pub(super) struct Page {
    entries: Vec<Entry>,
    /// The last number of the journal, if requested.
    end: Option<Seq>,
}

/// Error of a subscription.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// The journal could not be read. The subscription retries when it is polled again.
    #[error("events after {after} cannot be read now")]
    Unreadable {
        /// The last number that was seen.
        after: Seq,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The session was deleted and the subscription has ended. Later calls return the same error.
    #[error("session `{session}` was deleted; its last event was {after}")]
    Deleted {
        /// The session.
        session: SessionId,
        /// The last number that was seen.
        after: Seq,
    },
}

impl SubscriptionError {
    /// Returns whether the subscription has ended.
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
    /// Returns the next event. Cancel safe.
    ///
    /// # Errors
    ///
    /// Returns [`SubscriptionError::Unreadable`] if the journal cannot be read (call again to retry), and
    /// [`SubscriptionError::Deleted`] after the last event of a deleted session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, ids::Seq, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// session.run(&graph, Count::update()).await?;
    /// let mut events = session.subscribe(Some(Seq::ZERO));
    /// loop {
    ///     let event = events.next().await?;
    ///     println!("{:?}: {:?}", event.seq, event.body);
    ///     if event.body.ends_run() {
    ///         break;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn next(&mut self) -> Result<Arc<Event>, SubscriptionError> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Returns the last delivered number.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, ids::Seq, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// session.run(&graph, Count::update()).await?;
    /// let mut events = session.subscribe(Some(Seq::ZERO));
    /// let event = events.next().await?;
    /// // A reader that reconnects subscribes after this number.
    /// assert_eq!(Some(events.last()), event.seq);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn last(&self) -> Seq {
        self.last
    }

    pub(crate) fn keeping(mut self, keep: Arc<dyn Send + Sync>) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Polls for the next event.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Event>, SubscriptionError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if let Some(seq) = event.seq {
                    self.last = self.last.max(seq);
                }
                return Poll::Ready(Ok(event));
            }
            self.last = self.last.max(self.read);
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
                    (self.last, self.read) = (end, end);
                    self.mode = if self.store.is_some() { Mode::Behind } else { Mode::Live };
                    if self.store.is_none() {
                        self.show_partial();
                    }
                }
                // The journal of a deleted session has the same name as that of a later session.
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

    /// Reads events from the ring. Returns `false` if there is none; the waker is registered then.
    fn take_live(&mut self, cx: &Context<'_>) -> bool {
        let mut live = self.broadcast.live.lock();
        if self.at < live.first {
            // The position left the ring: numbered events are read from the journal, the others are lost.
            self.at = live.first;
            if self.live_only {
                self.read = self.read.max(live.start);
            }
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
        let mut taken = 0;
        for event in live.events_from(self.at).take(BATCH) {
            taken += 1;
            match event.seq {
                None => self.unnumbered_seen += 1,
                Some(seq) => self.read = self.read.max(seq),
            }
            if event.seq.is_none_or(|seq| seq > self.last) && self.filter.matches(event) {
                self.ready.push_back(Arc::clone(event));
            }
        }
        if taken == 0 {
            if !self.broadcast.is_closed() {
                live.wait(&mut self.waits, cx.waker());
            }
            return false;
        }
        drop(live);
        self.at += taken;
        if self.ready.len() > 1
            && self.ready.iter().any(|event| event.body.drop_policy() != DropPolicy::Never)
        {
            self.ready = coalesce(mem::take(&mut self.ready));
        }
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
            self.read = entry.seq;
            if self.filter.wants(entry.fact.kind()) {
                let event = Event::of(&self.broadcast.session, entry);
                if self.filter.matches(&event) {
                    self.ready.push_back(Arc::new(event));
                }
            }
        }
        if taken < PAGE {
            // All that was stored when the page was read. Later entries are in the ring.
            self.mode = Mode::Live;
            self.show_partial();
        }
    }

    /// Delivers the partial messages once.
    pub(super) fn show_partial(&mut self) {
        let filter = self.filter;
        self.ready.extend(mem::take(&mut self.partial).into_iter().filter(|event| filter.matches(event)));
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
        self.broadcast.unsubscribe(self.filter);
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

/// Joins adjacent text parts of a message, and keeps only the latest progress of each name.
fn coalesce(events: VecDeque<Arc<Event>>) -> VecDeque<Arc<Event>> {
    let outdated = outdated(&events);
    let mut kept: VecDeque<Arc<Event>> = VecDeque::with_capacity(events.len());
    for (at, event) in events.into_iter().enumerate() {
        if outdated.contains(&at) {
            continue;
        }
        match kept.back_mut() {
            Some(last)
                if last.task == event.task
                    && last.run == event.run
                    && last.body.continues_with(&event.body) =>
            {
                // Copied once, because the ring has it too.
                Arc::make_mut(last).body.append(&event.body);
            }
            _ => kept.push_back(event),
        }
    }
    kept
}

/// Returns the positions of progress that is followed by progress of the same name.
fn outdated(events: &VecDeque<Arc<Event>>) -> HashSet<usize> {
    let mut seen = HashSet::new();
    let progress = events.iter().enumerate().rev().filter_map(|(at, event)| match &event.body {
        EventBody::Progress(progress) => Some((at, (&event.task, &progress.name))),
        _ => None,
    });
    progress.filter(|(_, of)| !seen.insert(*of)).map(|(at, _)| at).collect()
}
