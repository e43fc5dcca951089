//! Projection of a graph in execution: state, schedule and records of due tasks.

use super::projection::{TaskRecord, decode_schedule};
use super::{
    entry::{Closing, TaskCommitted},
    stored_schedule::{StoredInFlight, StoredSchedule, TaskStart},
};
use crate::{ids::TaskId, json::Stored, run::RunStatus};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Projection of a graph: the outermost one, or a subgraph inside a task.
#[derive(Debug, Default)]
pub(crate) struct FrameProjection {
    /// The base state and its version.
    pub(crate) base: Option<(u32, Stored)>,
    /// Updates to apply to it, in order.
    pub(crate) updates: Vec<(u32, Stored)>,
    pub(crate) version: u32,
    /// Boxed: a run in memory keeps it in another form.
    pub(crate) schedule: Option<Box<StoredSchedule>>,
    /// Records of due tasks, by number.
    pub(crate) tasks: HashMap<u64, TaskRecord>,
    /// In dataflow mode: the versions of the state since the oldest one that a task in flight reads.
    pub(crate) versions: VecDeque<StateVersion>,
}

/// A version of the state in dataflow mode.
#[derive(Debug)]
pub(crate) struct StateVersion {
    pub(crate) version: u64,
    /// Number of updates that it contains.
    pub(crate) updates: usize,
    /// The task with the last of these updates, if that made the version.
    pub(crate) task: Option<Arc<TaskId>>,
}

impl FrameProjection {
    /// Returns the size of the stored state and its updates, in bytes.
    pub(crate) fn state_bytes(&self) -> usize {
        let raw = |(_, stored): &(u32, Stored)| stored.json.get().len();
        self.base.iter().chain(&self.updates).map(raw).sum()
    }

    /// Returns the frame inside `task`, if it was opened.
    pub(crate) fn into_frame(mut self, task: &TaskId) -> Option<Box<FrameProjection>> {
        let mut path = vec![task.number()];
        let mut above = task.parent();
        while let Some(parent) = above {
            path.push(parent.number());
            above = parent.parent();
        }
        let mut frame = None;
        while let Some(number) = path.pop() {
            frame = self.tasks.remove(&number)?.inner;
            if !path.is_empty() {
                self = *frame.take()?;
            }
        }
        frame
    }

    /// The frame inside `task`.
    pub(super) fn inside(&mut self, task: &TaskId) -> &mut FrameProjection {
        self.task(task).inner.get_or_insert_default()
    }

    pub(super) fn task(&mut self, task: &TaskId) -> &mut TaskRecord {
        let frame = match task.parent() {
            Some(parent) => self.inside(parent),
            None => self,
        };
        frame.tasks.entry(task.number()).or_default()
    }

    /// Commits a superstep: adds the updates of the due tasks in the order of activation.
    pub(super) fn commit(&mut self, next: Option<Box<StoredSchedule>>) {
        if let Some(schedule) = &self.schedule {
            for task in &schedule.due {
                let finished = self.tasks.get_mut(&task.0).and_then(|record| record.finished.take());
                if let Some(finished) = finished
                    && let Some(json) = finished.whole.or(finished.update)
                {
                    self.updates.push((finished.version, Stored { json, form: finished.form }));
                }
            }
        }
        self.tasks.clear();
        self.versions.clear();
        self.schedule = next;
    }

    /// Commits one task in dataflow mode.
    pub(super) fn commit_task(&mut self, committed: &TaskCommitted) {
        let number = committed.task.number();
        let before = self.updates.len();
        let mut task = None;
        if let Some(finished) = self.tasks.remove(&number).and_then(|record| record.finished)
            && let Some(json) = finished.whole.or(finished.update)
        {
            self.updates.push((finished.version, Stored { json, form: finished.form }));
            task = Some(Arc::clone(&committed.task));
        }
        let Some(mut next) = decode_schedule(&committed.schedule) else {
            self.schedule = None;
            return;
        };
        let previous = *self.schedule.take().unwrap_or_default();
        let mut due = previous.due;
        let earlier = TaskStart { depth: previous.superstep, version: committed.version.saturating_sub(1) };
        let mut starts = previous.in_flight.map_or_else(|| vec![earlier; due.len()], |stored| stored.tasks);
        // Most are in the order of their numbers: with many in flight, a scan for each commit takes long.
        let found = due.binary_search_by_key(&number, |task| task.0).ok();
        if let Some(at) = found.or_else(|| due.iter().position(|task| task.0 == number)) {
            due.remove(at);
            if at < starts.len() {
                starts.remove(at);
            }
        }
        let start = TaskStart { depth: committed.depth, version: committed.version };
        starts.extend(next.due.iter().map(|_| start));
        due.append(&mut next.due);
        next.due = due;
        next.in_flight = Some(StoredInFlight { version: committed.version, tasks: starts });
        self.schedule = Some(next);
        self.note_version(before, task);
    }

    /// Notes the version of the state that the present schedule was made with. `before`: the number of updates of the
    /// version before.
    pub(super) fn note_version(&mut self, before: usize, task: Option<Arc<TaskId>>) {
        let in_flight = self.schedule.as_ref().and_then(|schedule| schedule.in_flight.as_ref());
        let Some(StoredInFlight { version, tasks }) = in_flight else { return };
        let version = *version;
        // Tasks are added with the version of their commit, so the first one has the lowest.
        let oldest = tasks.first().map_or(version, |start| start.version);
        if self.versions.is_empty() {
            let version = version.saturating_sub(1);
            self.versions.push_back(StateVersion { version, updates: before, task: None });
        }
        self.versions.push_back(StateVersion { version, updates: self.updates.len(), task });
        while self.versions.front().is_some_and(|known| known.version < oldest) {
            self.versions.pop_front();
        }
    }

    /// Adds the update of `on_stop`. Tasks in flight do not see it.
    pub(crate) fn close(&mut self, closing: Option<Closing>) {
        if let Some(Closing { version, update, form }) = closing {
            let in_flight = self.schedule.as_ref().and_then(|schedule| schedule.in_flight.as_ref());
            if let (Some(in_flight), true) = (in_flight, self.versions.is_empty()) {
                let (version, updates) = (in_flight.version, self.updates.len());
                self.versions.push_back(StateVersion { version, updates, task: None });
            }
            self.updates.push((version, Stored { json: update, form }));
        }
    }

    /// Prepares the tasks for a resume of a run with this status. After a failure, their attempts are counted anew; what a
    /// caller resumes does not wait for a retry.
    pub(crate) fn prepare_resume(&mut self, status: RunStatus) {
        if !matches!(status, RunStatus::Failed | RunStatus::Stopped) {
            return;
        }
        for task in self.tasks.values_mut() {
            task.retry = None;
            if status == RunStatus::Failed {
                task.forgiven = task.failed;
                task.exhausted = None;
            }
            if let Some(inner) = &mut task.inner {
                inner.prepare_resume(status);
            }
        }
    }

    /// Returns whether each unfinished task waits for its next attempt, so that no code of the run is at work.
    pub(crate) fn waits_for_retries(&self, now: i64) -> bool {
        let mut waits = false;
        for task in self.schedule.iter().flat_map(|schedule| &schedule.due) {
            match self.tasks.get(&task.0) {
                Some(record) if record.has_ended() => {}
                Some(record) if record.retry.is_some_and(|retry| retry.left(now) > 0) => waits = true,
                Some(TaskRecord { inner: Some(inner), .. }) if inner.waits_for_retries(now) => waits = true,
                _ => return false,
            }
        }
        waits
    }

    /// Allows tasks that failed after all attempts to run again.
    pub(super) fn retry_exhausted(&mut self) {
        for task in self.tasks.values_mut() {
            task.exhausted = None;
            if let Some(inner) = &mut task.inner {
                inner.retry_exhausted();
            }
        }
    }

    /// Returns the due tasks of this frame (inside `parent`) and of its subgraphs that have neither finished nor failed.
    pub(crate) fn at_work(&self, parent: Option<&Arc<TaskId>>) -> Vec<TaskId> {
        let mut tasks = Vec::new();
        for task in self.schedule.iter().flat_map(|schedule| &schedule.due) {
            let (name, number) = (task.1.as_str().into(), task.0);
            let id = match parent {
                Some(parent) => parent.child(name, number),
                None => TaskId::root(name, number),
            };
            match self.tasks.get(&number) {
                Some(record) if record.has_ended() => {}
                Some(TaskRecord { inner: Some(inner), .. }) => {
                    tasks.extend(inner.at_work(Some(&Arc::new(id))))
                }
                _ => tasks.push(id),
            }
        }
        tasks
    }

    /// Returns the due tasks that have not finished.
    pub(crate) fn unfinished(&self) -> Vec<TaskId> {
        let finished = |number: &u64| self.tasks.get(number).is_some_and(|record| record.finished.is_some());
        let due = self.schedule.iter().flat_map(|schedule| &schedule.due);
        due.filter(|task| !finished(&task.0))
            .map(|task| TaskId::root(task.1.as_str().into(), task.0))
            .collect()
    }

    pub(super) fn forget_tasks_that_are_not_due(&mut self) {
        let due: Vec<u64> = self
            .schedule
            .iter()
            .flat_map(|schedule| schedule.due.iter().chain(&schedule.deferred))
            .map(|task| task.0)
            .collect();
        self.tasks.retain(|number, _| due.contains(number));
    }
}
