//! Fan-out: messages shared by the subscribers of a session. A message is serialized once, the result of a run is computed
//! once, and with more subscribers each gathers events for longer before it writes.

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

use crate::api::socket::EventDetail;

/// Maximum number of cached messages, and their maximum size in bytes.
const KEPT_MESSAGES: usize = 256;
const KEPT_BYTES: usize = 1024 * 1024;

/// Time for which a subscriber gathers events, per subscriber of the session, and its maximum. All subscribers together
/// write about 10,000 times a second.
const GATHER_EACH: Duration = Duration::from_micros(100);
const GATHER_MOST: Duration = Duration::from_millis(100);
/// Up to this number of subscribers do not gather events.
const FEW: usize = 8;

/// Fan-outs of all sessions with subscribers.
#[derive(Default)]
pub(crate) struct Fanouts(Mutex<HashMap<SessionId, Weak<Fanout>>>);

/// Messages shared by the subscribers of a session.
pub(crate) struct Fanout {
    session: SessionId,
    all: Weak<Fanouts>,
    written: Mutex<MessageCache>,
    /// Message of the latest completion of a run.
    completion: Mutex<Option<Completion>>,
}

/// A completion of a run, and its message when it is computed.
type Completion = (Arc<Event>, Arc<OnceCell<Utf8Bytes>>);

/// Format of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// A message of a WebSocket.
    Socket(EventDetail),
    /// A server-sent event.
    Stream,
}

/// Cached messages, oldest first.
#[derive(Default)]
struct MessageCache {
    by_event: HashMap<(Seq, Form), (Arc<Event>, Utf8Bytes)>,
    order: VecDeque<(Seq, Form)>,
    bytes: usize,
}

impl Fanouts {
    /// Returns the fan-out of a session. Each subscriber has its own reference.
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
        // It may have been replaced already.
        if known.get(&self.session).is_some_and(|fanout| fanout.strong_count() == 0) {
            known.remove(&self.session);
        }
    }
}

impl Fanout {
    /// Returns the message for an event, serialized by the first subscriber that needs it. Events without a number differ
    /// between subscribers, because their texts are merged.
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

    /// Returns the message for the completion of a run, computed by one subscriber. An error is returned only to the
    /// subscriber that computed it.
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

    /// Returns the time for which a subscriber gathers events after a write.
    pub(crate) fn gather_time(self: &Arc<Self>) -> Duration {
        match Arc::strong_count(self) {
            ..=FEW => Duration::ZERO,
            count => GATHER_EACH.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)).min(GATHER_MOST),
        }
    }
}

/// Returns whether two events are the same. Equal ids and numbers are not enough, because the session may have been deleted
/// and created again.
fn is_same(known: &Arc<Event>, event: &Arc<Event>) -> bool {
    Arc::ptr_eq(known, event) || known == event
}

impl MessageCache {
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
