//! Slots of executing runs: the number of runs that execute at once, and the line of those that wait.
//!
//! Waiting runs begin in turns between subjects: each subject with waiting runs begins one before any begins a second.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{cell::LiveRun, runtime::Shared};
use crate::ids::SessionId;

/// The slots of a runtime.
pub(crate) struct Slots {
    limit: usize,
    line: Mutex<Line<Waiter>>,
    shared: Weak<Shared>,
}

/// A slot. Dropping it lets the next run begin.
pub(crate) struct Slot(Option<Arc<Slots>>);

/// A place in the line. Dropping it leaves the line.
pub(crate) struct Place {
    slots: Arc<Slots>,
    subject: String,
    ticket: u64,
    granted: oneshot::Receiver<Slot>,
}

struct Waiter {
    session: SessionId,
    live: Weak<LiveRun>,
    grant: oneshot::Sender<Slot>,
}

impl Slots {
    pub(super) fn new(limit: usize, shared: Weak<Shared>) -> Self {
        Self { limit, line: Mutex::default(), shared }
    }

    /// Returns a slot, also if there is none left.
    pub(super) fn take(self: &Arc<Self>) -> Slot {
        self.line.lock().executing += 1;
        Slot(Some(Arc::clone(self)))
    }

    /// Returns a slot, or a place in the line.
    pub(super) fn ask(
        self: &Arc<Self>,
        session: &SessionId,
        subject: String,
        live: &Arc<LiveRun>,
    ) -> Result<Slot, Place> {
        let mut line = self.line.lock();
        if line.executing < self.limit && line.is_empty() {
            line.executing += 1;
            return Ok(Slot(Some(Arc::clone(self))));
        }
        let (grant, granted) = oneshot::channel();
        let waiter = Waiter { session: session.clone(), live: Arc::downgrade(live), grant };
        let ticket = line.push(&subject, waiter);
        drop(line);
        Err(Place { slots: Arc::clone(self), subject, ticket, granted })
    }

    /// Returns the number of waiting runs.
    pub(crate) fn waiting(&self) -> usize {
        self.line.lock().len
    }

    /// Returns the number of slots that no run uses or waits for.
    pub(super) fn free(&self) -> usize {
        let line = self.line.lock();
        if line.is_empty() { self.limit.saturating_sub(line.executing) } else { 0 }
    }

    /// Removes up to `count` runs from the line, in turns, that no caller in this process waits for. Their places are lost,
    /// so that they leave this process.
    pub(super) fn give(&self, count: usize) -> Vec<SessionId> {
        let mut line = self.line.lock();
        let mut given = Vec::new();
        while given.len() < count {
            let free = |waiter: &Waiter| waiter.live.upgrade().is_some_and(|live| !live.watch.is_awaited());
            let Some(waiter) = line.pop(free) else { break };
            given.push(waiter.session);
        }
        given
    }

    fn release(self: &Arc<Self>) {
        let mut line = self.line.lock();
        line.executing -= 1;
        while line.executing < self.limit
            && let Some(waiter) = line.pop(|_| true)
        {
            line.executing += 1;
            if let Err(mut refused) = waiter.grant.send(Slot(Some(Arc::clone(self)))) {
                // It left the line in this moment.
                refused.0 = None;
                line.executing -= 1;
            }
        }
        let free = line.is_empty() && line.executing < self.limit;
        drop(line);
        if free && let Some(shared) = self.shared.upgrade() {
            shared.has_free_slots();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take() {
            slots.release();
        }
    }
}

impl Place {
    /// Waits for a slot; `None` if the place was given to another process. Cancel safe.
    pub(super) async fn wait(&mut self) -> Option<Slot> {
        (&mut self.granted).await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.slots.line.lock().remove(&self.subject, self.ticket);
    }
}

/// A line in which subjects take turns.
struct Line<T> {
    executing: usize,
    len: usize,
    last_ticket: u64,
    /// In the order of their tickets.
    waiting: HashMap<String, VecDeque<(u64, T)>>,
    /// Subjects with waiting runs; the first one is next.
    turns: VecDeque<String>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { executing: 0, len: 0, last_ticket: 0, waiting: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<T> Line<T> {
    const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, subject: &str, waiter: T) -> u64 {
        self.last_ticket += 1;
        let own = self.waiting.entry(subject.to_owned()).or_default();
        if own.is_empty() {
            self.turns.push_back(subject.to_owned());
        }
        own.push_back((self.last_ticket, waiter));
        self.len += 1;
        self.last_ticket
    }

    /// Removes the first waiter that fits of the next subject that has one. That subject is the last one then.
    fn pop(&mut self, fits: impl Fn(&T) -> bool) -> Option<T> {
        for at in 0..self.turns.len() {
            let own = self.waiting.get_mut(&self.turns[at])?;
            let Some(place) = own.iter().position(|(_, waiter)| fits(waiter)) else { continue };
            let (_, waiter) = own.remove(place)?;
            self.len -= 1;
            let rest = !own.is_empty();
            let subject = self.turns.remove(at)?;
            if rest {
                self.turns.push_back(subject);
            } else {
                self.waiting.remove(&subject);
            }
            return Some(waiter);
        }
        None
    }

    fn remove(&mut self, subject: &str, ticket: u64) {
        let Some(own) = self.waiting.get_mut(subject) else { return };
        let Ok(place) = own.binary_search_by_key(&ticket, |(ticket, _)| *ticket) else { return };
        own.remove(place);
        self.len -= 1;
        if own.is_empty() {
            self.waiting.remove(subject);
            self.turns.retain(|waiting| waiting != subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(waiting: &[(&str, u32)]) -> Line<u32> {
        let mut line = Line::default();
        for (subject, run) in waiting {
            line.push(subject, *run);
        }
        line
    }

    fn all(line: &mut Line<u32>) -> Vec<u32> {
        std::iter::from_fn(|| line.pop(|_| true)).collect()
    }

    #[test]
    fn subjects_take_turns_and_each_keeps_its_order() {
        let mut line = line(&[("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)]);
        assert_eq!(line.pop(|_| true), Some(1));
        // One that comes later waits for one run of each other subject.
        line.push("d", 7);
        assert_eq!(all(&mut line), [4, 5, 2, 7, 6, 3]);
        assert!(line.is_empty() && line.waiting.is_empty() && line.turns.is_empty());
    }

    #[test]
    fn one_that_leaves_takes_nothing_with_it() {
        let mut line = line(&[("a", 1), ("a", 2), ("b", 3), ("c", 4)]);
        line.remove("a", 1);
        line.remove("b", 3);
        line.remove("b", 3);
        assert_eq!(all(&mut line), [2, 4]);
        assert_eq!(line.len, 0);
    }

    #[test]
    fn runs_that_must_stay_do_not_block_the_others() {
        let mut line = line(&[("a", 1), ("a", 2), ("b", 3), ("b", 4)]);
        let mut even = Vec::new();
        while let Some(run) = line.pop(|run| run % 2 == 0) {
            even.push(run);
        }
        assert_eq!(even, [2, 4]);
        assert_eq!(all(&mut line), [1, 3]);
    }
}
