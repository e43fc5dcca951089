//! Fan-out: what the subscribers of one session share. A message is serialised once, the result of a run is computed
//! once, and the more subscribers there are, the longer each gathers events before it writes.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};

use agent_core::{
    Event,
    ids::{Seq, SessionId},
};
use hyper_tungstenite::tungstenite::Utf8Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::api::task_agent::EventDetail;

/// Messages kept for the other subscribers, and their bytes.
const KEPT_MESSAGES: usize = 256;
const KEPT_BYTES: usize = 1024 * 1024;

/// The time for which a subscriber gathers events, for each subscriber of the session, and at most: however many there
/// are, they write about 10,000 times a second in all.
const GATHER_EACH: Duration = Duration::from_micros(100);
const GATHER_MOST: Duration = Duration::from_millis(100);
/// So few subscribers gather nothing.
const FEW: usize = 8;

/// The fan-outs of all sessions that have subscribers.
#[derive(Default)]
pub(crate) struct Fanouts(Mutex<HashMap<SessionId, Weak<Fanout>>>);

/// What the subscribers of one session share, for as long as there is one.
pub(crate) struct Fanout {
    session: SessionId,
    all: Weak<Fanouts>,
    written: Mutex<Written>,
    /// The message of the latest end of a run.
    completion: Mutex<Option<Completion>>,
}

/// The end of a run and its message, once that is computed.
type Completion = (Arc<Event>, Arc<OnceCell<Utf8Bytes>>);

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// A message of a socket.
    Socket(EventDetail),
    /// A server-sent event.
    Stream,
}

/// Messages that were written, the oldest first.
#[derive(Default)]
struct Written {
    by_event: HashMap<(Seq, Form), (Arc<Event>, Utf8Bytes)>,
    order: VecDeque<(Seq, Form)>,
    bytes: usize,
}

impl Fanouts {
    /// The fan-out of a session. Each subscriber holds its own reference.
    pub(crate) fn of(self: &Arc<Self>, session: &SessionId) -> Arc<Fanout> {
        let mut known = self.0.lock();
        if let Some(fanout) = known.get(session).and_then(Weak::upgrade) {
            return fanout;
        }
        let fanout = Arc::new(Fanout {
            session: session.clone(),
            all: Arc::downgrade(self),
            written: Mutex::default(),
            completion: Mutex::default(),
        });
        known.insert(session.clone(), Arc::downgrade(&fanout));
        fanout
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        let Some(all) = self.all.upgrade() else { return };
        let mut known = all.0.lock();
        // A new one may have taken its place already.
        if known.get(&self.session).is_some_and(|fanout| fanout.strong_count() == 0) {
            known.remove(&self.session);
        }
    }
}

impl Fanout {
    /// The message of a numbered event in a form, if the form has one, serialised by the first subscriber that asks for
    /// it. Events without a number differ from subscriber to subscriber, as their texts are joined.
    pub(crate) fn message(
        &self,
        event: &Arc<Event>,
        form: Form,
        write: impl FnOnce() -> Option<Utf8Bytes>,
    ) -> Option<Utf8Bytes> {
        let Some(seq) = event.seq else { return write() };
        let key = (seq, form);
        if let Some((known, message)) = self.written.lock().by_event.get(&key)
            && is_same(known, event)
        {
            return Some(message.clone());
        }
        let message = write()?;
        self.written.lock().keep(key, Arc::clone(event), message.clone());
        Some(message)
    }

    /// The message of the end of a run, computed by one subscriber at a time; an error is given to the subscriber that
    /// met it only.
    pub(crate) async fn completion<E>(
        &self,
        event: &Arc<Event>,
        compute: impl Future<Output = Result<Utf8Bytes, E>>,
    ) -> Result<Utf8Bytes, E> {
        let cell = {
            let mut latest = self.completion.lock();
            match &*latest {
                Some((known, cell)) if is_same(known, event) => Arc::clone(cell),
                _ => {
                    let cell = Arc::default();
                    *latest = Some((Arc::clone(event), Arc::clone(&cell)));
                    cell
                }
            }
        };
        cell.get_or_try_init(|| compute).await.cloned()
    }

    /// How long a subscriber gathers events after it wrote some.
    pub(crate) fn gather_time(self: &Arc<Self>) -> Duration {
        match Arc::strong_count(self) {
            ..=FEW => Duration::ZERO,
            count => GATHER_EACH.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)).min(GATHER_MOST),
        }
    }
}

/// Whether two events are one: the session's name and the number do not say that, as the session may have been deleted
/// and begun again.
fn is_same(known: &Arc<Event>, event: &Arc<Event>) -> bool {
    Arc::ptr_eq(known, event) || known == event
}

impl Written {
    fn keep(&mut self, key: (Seq, Form), event: Arc<Event>, message: Utf8Bytes) {
        if message.len() > KEPT_BYTES {
            return;
        }
        self.bytes += message.len();
        match self.by_event.insert(key, (event, message)) {
            Some((_, replaced)) => self.bytes -= replaced.len(),
            None => self.order.push_back(key),
        }
        while self.order.len() > KEPT_MESSAGES || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some((_, message)) = self.by_event.remove(&oldest) {
                self.bytes -= message.len();
            }
        }
    }
}
