//! Concurrency limits: how many tasks run at once, in a graph and of each node.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Poll, Waker},
};

use super::schedule::Activation;
use crate::{
    graph::{Graph, topology::NodeIx},
    ids::TaskId,
    state::State,
};

/// Concurrency limit of a set of tasks. A task that waits for an answer does not count.
pub(crate) trait ConcurrencySlot: Send + Sync {
    /// Marks a task as waiting for an answer, or as runnable again.
    fn set_blocked(&self, blocked: bool, task: &TaskId);

    /// Ready when a task that no longer waits is within the limits. Registers the waker otherwise.
    fn poll_slot(&self, task: &TaskId, waker: &Waker) -> Poll<()>;

    /// Changes the number of runnable tasks. Only a subgraph counts them: it is one task of the outer pool.
    fn adjust_runnable(&self, _more: i64) {}
}

/// Slot of a subgraph, which is one task of the outer pool: it waits for an answer when all of its tasks do.
pub(crate) struct SubgraphSlot {
    slot: Arc<dyn ConcurrencySlot>,
    task: Arc<TaskId>,
    busy: AtomicI64,
}

impl SubgraphSlot {
    /// Creates the slot of the subgraph in `task`. Its loop is the first runnable task.
    pub(crate) fn new(slot: Arc<dyn ConcurrencySlot>, task: Arc<TaskId>) -> Self {
        Self { slot, task, busy: AtomicI64::new(1) }
    }
}

impl ConcurrencySlot for SubgraphSlot {
    fn set_blocked(&self, blocked: bool, _task: &TaskId) {
        self.adjust_runnable(if blocked { -1 } else { 1 });
    }

    fn poll_slot(&self, _task: &TaskId, waker: &Waker) -> Poll<()> {
        self.slot.poll_slot(&self.task, waker)
    }

    fn adjust_runnable(&self, more: i64) {
        let before = self.busy.fetch_add(more, Ordering::AcqRel);
        if more != 0 && before + more == 0 {
            self.slot.set_blocked(true, &self.task);
        } else if more != 0 && before == 0 {
            self.slot.set_blocked(false, &self.task);
        }
    }
}

/// A task as counted by the limits.
#[derive(Clone, Copy)]
pub(super) struct TaskRef {
    pub(super) number: u64,
    pub(super) node: NodeIx,
}

impl TaskRef {
    pub(super) const fn new(activation: &Activation) -> Self {
        Self { number: activation.number, node: activation.node }
    }
}

/// Slots of a pool with limits: the tasks that have one, and those that wait for one after an answer.
#[derive(Default)]
pub(super) struct Slots {
    running: usize,
    by_node: HashMap<NodeIx, usize>,
    /// Tasks that got their answers and wait for a slot, in order.
    returning: Vec<SlotWaiter>,
}

/// A task that waits for a slot.
struct SlotWaiter {
    of: TaskRef,
    wakers: Vec<Waker>,
}

impl Slots {
    /// Returns whether the limits allow one more task of this node.
    pub(super) fn has_room<S: State>(&self, graph: &Graph<S>, node: NodeIx) -> bool {
        let cap = graph.node(node).policy.concurrency.unwrap_or(usize::MAX);
        self.running < graph.0.concurrency && self.by_node.get(&node).copied().unwrap_or(0) < cap
    }

    pub(super) fn enter(&mut self, node: NodeIx) {
        self.running += 1;
        *self.by_node.entry(node).or_default() += 1;
    }

    pub(super) fn leave(&mut self, node: NodeIx) {
        self.running = self.running.saturating_sub(1);
        if let Some(running) = self.by_node.get_mut(&node) {
            *running = running.saturating_sub(1);
        }
    }

    /// Releases the slot of a task and gives it to the first task that waits for one.
    pub(super) fn give_back<S: State>(&mut self, graph: &Graph<S>, of: TaskRef) {
        if let Some(at) = self.returning.iter().position(|returning| returning.of.number == of.number) {
            // It still waits for a slot.
            self.returning.remove(at);
            return;
        }
        self.leave(of.node);
        if let Some(at) = self.returning.iter().position(|returning| self.has_room(graph, returning.of.node))
        {
            let returning = self.returning.remove(at);
            self.enter(returning.of.node);
            returning.wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Gives an answered task a slot, now or when one is free.
    pub(super) fn take_back<S: State>(&mut self, graph: &Graph<S>, of: TaskRef) {
        if self.has_room(graph, of.node) {
            self.enter(of.node);
        } else {
            self.returning.push(SlotWaiter { of, wakers: Vec::new() });
        }
    }

    /// Ready unless the task waits for a slot. Registers the waker otherwise.
    pub(super) fn poll(&mut self, number: u64, waker: &Waker) -> Poll<()> {
        let Some(returning) = self.returning.iter_mut().find(|returning| returning.of.number == number)
        else {
            return Poll::Ready(());
        };
        if !returning.wakers.iter().any(|known| known.will_wake(waker)) {
            returning.wakers.push(waker.clone());
        }
        Poll::Pending
    }
}
