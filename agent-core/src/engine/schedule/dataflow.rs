//! Schedule in dataflow mode: each finished task is committed alone, and the tasks in flight stay due.

use std::{collections::HashMap, mem};

use super::{Activation, Advance, Schedule};
use crate::{
    graph::topology::NodeIx,
    journal::stored_schedule::{StoredInFlight, StoredSchedule, TaskStart},
};

/// Tasks in flight and the versions of the state that they read.
#[derive(Debug, Default)]
pub(super) struct TasksInFlight {
    /// Number of changes of the state in this run.
    pub(super) version: u64,
    /// By number of the task, for all due tasks.
    starts: HashMap<u64, TaskStart>,
    /// Number of tasks at the front of the due ones that were due before the last commit.
    pub(super) count: usize,
    /// Depth of the task that was committed last.
    depth: u64,
}

impl Schedule {
    /// Returns the version of the state; 0 outside of dataflow mode.
    pub(crate) fn version(&self) -> u64 {
        self.in_flight.as_ref().map_or(0, |in_flight| in_flight.version)
    }

    /// Returns the depth of the tasks that the last commit made due.
    pub(crate) fn new_depth(&self) -> u64 {
        self.in_flight.as_ref().map_or(0, |in_flight| in_flight.depth + 1)
    }

    /// Returns the start of a due task in dataflow mode.
    pub(crate) fn start_of(&self, number: u64) -> Option<TaskStart> {
        self.in_flight.as_ref()?.starts.get(&number).copied()
    }

    /// Returns the tasks that the last commit made due; all due tasks outside of dataflow mode.
    pub(crate) fn new_due(&self) -> &[Activation] {
        &self.due[self.in_flight.as_ref().map_or(0, |in_flight| in_flight.count)..]
    }

    /// Returns whether all due tasks start from the present state.
    pub(crate) fn has_none_in_flight(&self) -> bool {
        self.in_flight.as_ref().is_none_or(|in_flight| in_flight.count == 0)
    }

    /// Returns whether a task has selected targets in the parent graph: nothing is activated any more.
    pub(crate) const fn is_leaving(&self) -> bool {
        self.parent.is_some()
    }

    /// Removes a finished task in dataflow mode. The others stay due, so that joins wait for them.
    pub(crate) fn finish_task(&mut self, number: u64) {
        // Most are in the order of their numbers: with many in flight, a scan for each task takes long.
        let found = self.due.binary_search_by_key(&number, |activation| activation.number).ok();
        if let Some(at) = found.or_else(|| self.due.iter().position(|task| task.number == number)) {
            self.due.remove(at);
        }
        self.keep_in_flight(&[number]);
    }

    /// As [`requeue_due`](Schedule::requeue_due) after the activations of `node` are dropped, in either mode: an edit in the
    /// name of the node.
    pub(crate) fn replace_node(&mut self, node: NodeIx) {
        let of_node = |activation: &&Activation| activation.node == node;
        let dropped: Vec<u64> = self.due.iter().filter(of_node).map(|activation| activation.number).collect();
        self.drop_due(node);
        if self.in_flight.is_some() {
            self.keep_in_flight(&dropped);
        } else {
            self.requeue_due();
        }
    }

    fn keep_in_flight(&mut self, removed: &[u64]) {
        let Some(in_flight) = &mut self.in_flight else { return };
        let depths = removed.iter().filter_map(|number| Some(in_flight.starts.remove(number)?.depth));
        in_flight.depth = depths.max().unwrap_or(0);
        in_flight.version += 1;
        in_flight.count = self.due.len();
        mem::swap(&mut self.due, &mut self.next);
    }

    /// As [`advance`](Schedule::advance), in either mode.
    pub(crate) fn advance_in_mode(&mut self) -> Advance {
        let advance = self.advance();
        if let Some(in_flight) = &mut self.in_flight {
            // Deferred tasks become due when nothing is in flight.
            let start = TaskStart { depth: in_flight.depth + 1, version: in_flight.version };
            for activation in &self.due[in_flight.count..] {
                in_flight.starts.insert(activation.number, start);
            }
        }
        advance
    }

    pub(super) fn stored_in_flight(&self) -> Option<StoredInFlight> {
        let in_flight = self.in_flight.as_ref()?;
        let start = |activation: &Activation| in_flight.starts.get(&activation.number).copied();
        let tasks = self.due.iter().map(|activation| start(activation).unwrap_or_default()).collect();
        Some(StoredInFlight { version: in_flight.version, tasks })
    }

    pub(super) fn restore_in_flight(&mut self, stored: &StoredSchedule, missing: &mut Vec<String>) {
        let numbers = stored.due.iter().map(|task| task.0);
        match (&mut self.in_flight, &stored.in_flight) {
            (Some(in_flight), Some(stored)) => {
                in_flight.version = stored.version;
                in_flight.starts = numbers.zip(stored.tasks.iter().copied()).collect();
            }
            // The run began without dataflow mode: its tasks start from the present state.
            (Some(in_flight), None) => {
                let start = TaskStart { depth: stored.superstep, version: 0 };
                in_flight.starts = numbers.map(|number| (number, start)).collect();
            }
            (None, Some(_)) if !stored.due.is_empty() => {
                missing.push("`dataflow()`, with which the run began".to_owned());
            }
            (None, _) => {}
        }
    }
}
