//! Queue of events for subscribers in other processes.

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Event;
use crate::ids::{Seq, SessionId};

/// Capacity. Beyond it, unnumbered events are dropped.
const CAPACITY: usize = 10_000;

/// Message to subscribers in other processes.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// The journal of a session ends here.
    Stored { session: SessionId, last: Seq },
    /// An unnumbered event.
    Shown(Box<Event>),
    /// The messages that are being streamed, for a process that subscribes.
    Partial { session: SessionId, to: String, events: Vec<Event> },
}

/// The queue. One task sends it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Vec<Outgoing>>,
    pub(crate) ready: Notify,
}

impl Outbox {
    pub(crate) fn stored(&self, session: &SessionId, last: Seq) {
        let mut queue = self.queue.lock();
        match queue.last_mut() {
            // The entries are read from the journal: one message for all of them.
            Some(Outgoing::Stored { session: known, last: end }) if known == session => *end = last,
            _ => queue.push(Outgoing::Stored { session: session.clone(), last }),
        }
        drop(queue);
        self.ready.notify_one();
    }

    pub(crate) fn partial(&self, session: &SessionId, to: String, events: Vec<Event>) {
        self.queue.lock().push(Outgoing::Partial { session: session.clone(), to, events });
        self.ready.notify_one();
    }

    pub(crate) fn push_ephemeral(&self, event: Event) {
        let mut queue = self.queue.lock();
        if queue.len() < CAPACITY {
            queue.push(Outgoing::Shown(Box::new(event)));
            drop(queue);
            self.ready.notify_one();
        }
    }

    pub(crate) fn drain(&self) -> Vec<Outgoing> {
        std::mem::take(&mut self.queue.lock())
    }
}
