//! Projection of a journal: the status of a session as plain data. Pure; the state remains JSON until its type is known.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hasher,
    sync::{Arc, LazyLock},
};

use fnv::FnvHasher;
use serde::Serialize;

pub(crate) use super::frame_projection::FrameProjection;
use super::{
    entry::{Cause, Entry, Fact, Failure, Finished, Queued, Raw, Resumed},
    keys,
    stored_schedule::StoredSchedule,
};
use crate::{
    ids::{QuestionId, RunId, Seq, TaskId},
    interrupt::{OpenQuestion, key_of},
    json::{Form, Sorted, Stored},
    model::Message,
    run::{BudgetGrants, BudgetUsage, ContextValue, Durability, Limits, Pauses, RunStatus},
    todo::TodoTree,
};

/// Format of stored entries and snapshots. Incremented if an older program cannot read them.
pub(crate) const FORMAT: u32 = 1;

/// Kind of the step in which an agent takes the messages that steer it.
pub(crate) const STEER: &str = "steer";

/// Number of request names that a session remembers; see [`RunOptions::request`](crate::RunOptions::request).
pub(crate) const REQUESTS: usize = 1_024;

/// Projection of a session.
#[derive(Debug, Default)]
pub(crate) struct Projection {
    /// The last applied entry.
    pub(crate) last: Seq,
    pub(crate) run: RunId,
    pub(crate) status: RunStatus,
    pub(crate) graph: Arc<str>,
    pub(crate) hash: Arc<str>,
    pub(crate) root: FrameProjection,
    pub(crate) open: Vec<OpenQuestion>,
    pub(crate) answered: Vec<(QuestionId, String)>,
    pub(crate) todos: TodoTree,
    pub(crate) used: BudgetUsage,
    /// Boxed, because most runs have the default.
    pub(crate) limits: Option<Box<Limits>>,
    /// Granted budget extensions.
    pub(crate) granted: BudgetGrants,
    pub(crate) durability: Option<Durability>,
    /// Number of the entry that accepted the run.
    pub(crate) accepted: Seq,
    pub(crate) accepted_at: i64,
    pub(crate) active_ms: u64,
    /// When the last entry was written.
    pub(crate) last_at: i64,
    /// Bytes of the snapshot and the entries that it was read from; 0 if it was not read.
    pub(crate) bytes: u64,
    pub(crate) failure: Option<Box<Failure>>,
    /// The latest named requests, the oldest first.
    pub(crate) requests: Arc<Vec<(String, RunId)>>,
    /// The labels of the session.
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    /// The highest number of a run, including queued ones.
    pub(crate) runs: RunId,
    /// Queued runs.
    pub(crate) queue: Vec<(RunId, Queued)>,
    /// Number of takeovers in a row without progress. Not part of a snapshot: a snapshot follows a commit, which is progress.
    pub(crate) takeovers: u32,
    /// A takeover was not counted since the last progress.
    pub(crate) exempt: bool,
    /// The context of the run.
    pub(crate) context: Option<Arc<ContextValue>>,
    pub(crate) pauses: Option<Arc<Pauses>>,
    /// Messages to the running agent that its state does not have yet, with the task that took each.
    pub(crate) steered: Vec<(Message, Option<Arc<TaskId>>)>,
}

/// Records of a task.
#[derive(Debug, Default)]
pub(crate) struct TaskRecord {
    pub(crate) steps: HashMap<String, StepRecord>,
    /// Number of starts of tool calls without a result, by key.
    pub(crate) call_attempts: HashMap<String, u32>,
    pub(crate) finished: Option<Finished>,
    /// Number of failed attempts.
    pub(crate) failed: u32,
    /// Number of attempts that failed before the run failed and was resumed.
    pub(crate) forgiven: u32,
    /// The wait before the next attempt.
    pub(crate) retry: Option<RetryWait>,
    /// The last failure, if a handler takes it.
    pub(crate) handled: Option<crate::journal::entry::TaskFailure>,
    /// The last failure, if no attempt follows and no handler takes it: the run fails with it.
    pub(crate) exhausted: Option<crate::journal::entry::TaskFailure>,
    /// Questions of this task that were not withdrawn.
    pub(crate) asked: HashMap<QuestionId, QuestionRecord>,
    /// Questions withdrawn by the node itself, in order.
    pub(crate) withdrawn: HashMap<QuestionId, std::collections::VecDeque<super::entry::WithdrawReason>>,
    /// Number of events and todo changes, by fingerprint.
    pub(crate) emitted: HashMap<u64, u32>,
    pub(crate) inner: Option<Box<FrameProjection>>,
}

impl TaskRecord {
    /// Returns whether the task has finished, or failed for the last time.
    pub(super) const fn has_ended(&self) -> bool {
        self.finished.is_some() || self.handled.is_some() || self.exhausted.is_some()
    }
}

/// A wait between two attempts of a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryWait {
    /// Unix time of its begin, in milliseconds.
    pub(crate) since: i64,
    pub(crate) wait_ms: u64,
}

impl RetryWait {
    /// Returns what is left of the wait, in milliseconds: never more than all of it, whatever the clock says.
    pub(crate) fn left(self, now: i64) -> u64 {
        let passed = u64::try_from(now.saturating_sub(self.since)).unwrap_or(0);
        self.wait_ms.saturating_sub(passed)
    }
}

/// A question of a task.
#[derive(Debug, Default)]
pub(crate) struct QuestionRecord {
    /// The question; `None` if its entry is not in the journal.
    pub(crate) open: Option<Box<OpenQuestion>>,
    /// `None` while it is open.
    pub(crate) answer: Option<serde_json::Value>,
    /// The attempt that asked it failed.
    pub(crate) earlier_try: bool,
}

/// A step's result.
#[derive(Debug, Clone)]
pub(crate) struct StepRecord {
    /// `Err` for a failed step after which the node continued.
    pub(crate) result: Result<Stored, StepFailure>,
    /// Its entry.
    pub(crate) seq: Seq,
    /// Key of the step that contains it.
    pub(crate) inside: Option<Arc<str>>,
}

/// A failure of a step.
#[derive(Debug, Clone)]
pub(crate) struct StepFailure {
    pub(crate) text: String,
    pub(crate) cause: Option<Cause>,
}

impl Projection {
    /// Applies one entry. Entries must be applied in order.
    pub(crate) fn apply(&mut self, entry: Entry) {
        self.last = entry.seq;
        self.runs = self.runs.max(entry.run);
        // Time between entries of a running run is active time; not while it is paused, while no process executed it, or
        // between a checkpoint and its fork.
        let idle = matches!(entry.fact, Fact::RunResumed(_) | Fact::SessionForked(_));
        if self.status == RunStatus::Running && !idle {
            self.active_ms += u64::try_from(entry.at - self.last_at).unwrap_or(0);
        }
        self.last_at = entry.at;
        if is_progress(&entry.fact) {
            self.takeovers = 0;
            self.exempt = false;
        }
        match entry.fact {
            Fact::RunQueued(queued) => {
                if let Some(request) = &queued.request {
                    self.remember_request(request.clone(), entry.run);
                }
                self.add_labels(&queued.labels);
                // A snapshot may contain it already.
                self.queue.retain(|(run, _)| *run != entry.run);
                self.queue.push((entry.run, *queued));
            }
            Fact::RunDequeued(_) => self.queue.retain(|(run, _)| *run != entry.run),
            Fact::RunAccepted(accepted) => {
                self.run = entry.run;
                self.queue.retain(|(run, _)| *run != entry.run);
                self.status = RunStatus::Running;
                self.graph = accepted.graph;
                self.hash = accepted.hash;
                self.root.version = accepted.version;
                if let Some(json) = accepted.state {
                    let form = accepted.form.clone();
                    self.root.base = Some((accepted.version, Stored { json, form }));
                    self.root.updates.clear();
                }
                if let Some(json) = accepted.update {
                    self.root.updates.push((accepted.version, Stored { json, form: accepted.form }));
                }
                self.root.schedule = decode_schedule(&accepted.schedule);
                self.root.tasks.clear();
                self.root.versions.clear();
                self.open.clear();
                self.todos.clear();
                self.used = BudgetUsage::default();
                self.limits = accepted.limits.map(Box::new);
                self.granted = BudgetGrants::default();
                self.durability = accepted.durability;
                self.accepted = entry.seq;
                self.accepted_at = entry.at;
                self.active_ms = 0;
                self.failure = None;
                self.context = accepted.context;
                self.pauses = accepted.pauses;
                // The task that took them is gone.
                self.steered.iter_mut().for_each(|(_, taken)| *taken = None);
                if let Some(request) = accepted.request {
                    self.remember_request(request, entry.run);
                }
                self.add_labels(&accepted.labels);
            }
            Fact::RunResumed(resumed) => {
                self.root.prepare_resume(self.status);
                self.resume_limits(resumed.limits);
                self.status = RunStatus::Running;
                self.failure = None;
                self.takeovers = match resumed {
                    Resumed { takeover: true, .. } => self.takeovers.saturating_add(1),
                    Resumed { exempt: true, .. } => self.takeovers,
                    _ => 0,
                };
                self.exempt = resumed.exempt || resumed.takeover && self.exempt;
            }
            Fact::RunPaused(_) => self.status = RunStatus::Paused,
            Fact::RunStopped(stopped) => {
                self.root.close(stopped.closing);
                self.status = RunStatus::Stopped;
            }
            Fact::RunFailed(mut failure) => {
                self.root.close(failure.closing.take());
                self.status = RunStatus::Failed;
                self.failure = Some(Box::new(failure));
            }
            Fact::RunCompleted(completed) => {
                self.status = RunStatus::Completed;
                self.active_ms = completed.active_ms;
                self.root.tasks.clear();
                self.open.clear();
            }
            Fact::RunRolledBack(base) => {
                self.root = FrameProjection {
                    base: Some((base.version, Stored { json: base.state, form: base.form })),
                    version: base.version,
                    schedule: decode_schedule(&base.schedule),
                    ..FrameProjection::default()
                };
                self.status = RunStatus::Completed;
                self.open.clear();
                self.todos.clear();
            }
            Fact::SuperstepCommitted(committed) => {
                let frame = match &committed.of {
                    Some(task) => self.root.inside(task),
                    None => &mut self.root,
                };
                frame.commit(decode_schedule(&committed.schedule));
            }
            Fact::TaskCommitted(committed) => {
                let frame = match committed.task.parent() {
                    Some(task) => self.root.inside(task),
                    None => &mut self.root,
                };
                frame.commit_task(&committed);
            }
            Fact::TaskFinished(mut finished) => {
                let task = Arc::clone(&finished.task);
                if !self.steered.is_empty() {
                    self.steered.retain(|(_, taken)| taken.as_ref() != Some(&task));
                }
                let record = self.task(&task);
                let steps = &record.steps;
                let of = |seq| {
                    let step = steps.values().find(|step| step.seq == seq);
                    step.and_then(|step| Some(&*step.result.as_ref().ok()?.json))
                };
                if !finished.restore_update(of) {
                    // The journal has changed: part of an update must not be applied.
                    finished.form = Form::lost();
                }
                record.finished = Some(finished);
            }
            Fact::TaskFailed(failure) => {
                let task = self.task(&Arc::clone(&failure.task));
                task.failed = failure.attempt;
                task.retry = failure.retry_in_ms.map(|wait_ms| RetryWait { since: entry.at, wait_ms });
                // A new attempt keeps only successful steps.
                task.steps.retain(|_, step| step.result.is_ok());
                task.emitted.clear();
                task.withdrawn.clear();
                task.asked.values_mut().for_each(|asked| asked.earlier_try = true);
                if failure.handler.is_some() {
                    task.handled = Some(failure);
                } else if failure.retry_in_ms.is_none() {
                    task.exhausted = Some(failure);
                } else if let Some(inner) = &mut task.inner {
                    // The new attempt continues the subgraph where it was, including failed tasks.
                    inner.retry_exhausted();
                }
            }
            Fact::StepRecorded(recorded) => {
                if let Some(usage) = &recorded.usage {
                    self.used.add(usage);
                }
                let result = match recorded.error {
                    Some(text) => Err(StepFailure { text, cause: recorded.cause }),
                    None => Ok(Stored { json: recorded.value.unwrap_or_else(null), form: recorded.form }),
                };
                if recorded.kind == STEER
                    && let Ok(stored) = &result
                {
                    let taken: Vec<Message> = stored.read().unwrap_or_default();
                    for (message, by) in &mut self.steered {
                        if taken.iter().any(|taken| taken.id == message.id) {
                            *by = Some(Arc::clone(&recorded.task));
                        }
                    }
                }
                let task = self.task(&recorded.task);
                task.call_attempts.remove(&recorded.key);
                let key = keys::stored_step(&recorded.kind, recorded.key);
                task.steps.insert(key, StepRecord { result, seq: entry.seq, inside: recorded.step });
            }
            Fact::ToolBegun(begun) => {
                *self.task(&begun.task).call_attempts.entry(begun.key).or_default() += 1;
            }
            Fact::QuestionAsked(open) => {
                // A tool call that waits for an answer has not had its effect: if it is interrupted now, it is repeated.
                // It counts as started again once it is answered.
                if let Some(call) = asking_call(&open) {
                    self.task(&Arc::clone(&open.task)).call_attempts.remove(&format!("tool:{call}"));
                }
                let asked = QuestionRecord { open: Some(open.clone()), ..QuestionRecord::default() };
                self.task(&open.task).asked.insert(open.id.clone(), asked);
                self.open.push(*open);
            }
            Fact::QuestionAnswered(answered) => {
                if let Some(open) = self.open.iter().find(|open| open.id == answered.id) {
                    self.granted.record(open, &answered.value);
                }
                self.open.retain(|open| open.id != answered.id);
                if self.status == RunStatus::Paused
                    && !self.open.iter().any(|open| open.task == answered.task)
                {
                    // A task has all its answers: it continues, even if no process delivered them.
                    self.status = RunStatus::Running;
                }
                let asked = self.task(&answered.task).asked.entry(answered.id.clone()).or_default();
                asked.answer = Some(answered.value);
                if self.answered.len() >= 256 {
                    self.answered.remove(0);
                }
                self.answered.push((answered.id, answered.by));
            }
            Fact::QuestionWithdrawn(withdrawn) => {
                self.open.retain(|open| open.id != withdrawn.id);
                if self.status == RunStatus::Paused
                    && !self.open.iter().any(|open| open.task == withdrawn.task)
                {
                    self.status = RunStatus::Running;
                }
                let task = self.task(&withdrawn.task);
                task.asked.remove(&withdrawn.id);
                if let Some(why) = withdrawn.own {
                    task.withdrawn.entry(withdrawn.id).or_default().push_back(why);
                }
            }
            Fact::TodoChanged(change) => {
                self.todos.take(change.todo);
                if let Some((task, fingerprint)) = change.by {
                    *self.task(&task).emitted.entry(fingerprint).or_default() += 1;
                }
            }
            Fact::Custom(custom) => {
                let fingerprint = fingerprint(&custom.name, &Sorted(&custom.value));
                *self.task(&custom.task).emitted.entry(fingerprint).or_default() += 1;
            }
            Fact::FrameOpened(frame) => {
                let task = self.task(&frame.task);
                task.inner = Some(Box::new(FrameProjection {
                    base: Some((frame.version, Stored { json: frame.state, form: frame.form })),
                    version: frame.version,
                    schedule: decode_schedule(&frame.schedule),
                    ..FrameProjection::default()
                }));
            }
            Fact::Steered(steered) => self.steered.push((steered.message, None)),
            Fact::StateEdited(edited) => {
                let before = self.root.updates.len();
                self.root.updates.push((edited.version, Stored { json: edited.update, form: edited.form }));
                self.root.version = edited.version;
                self.graph = edited.graph;
                self.hash = edited.hash;
                self.root.schedule = decode_schedule(&edited.schedule);
                self.root.note_version(before, None);
                self.root.forget_tasks_that_are_not_due();
                let due: Vec<u64> = self.root.tasks.keys().copied().collect();
                self.open.retain(|open| due.contains(&open.task.outermost().number()));
                // The run continues when it is resumed or answered.
                if self.status != RunStatus::Paused || self.open.is_empty() {
                    self.status = RunStatus::Stopped;
                }
            }
            Fact::SessionForked(_) => {}
        }
    }

    /// Applies the limits of a resumption. New limits replace all grants.
    pub(crate) fn resume_limits(&mut self, limits: Option<Limits>) {
        match limits {
            Some(_) => {
                self.limits = limits.map(Box::new);
                self.granted = BudgetGrants::default();
            }
            None if self.status == RunStatus::Failed => self.granted.reset(),
            None => {}
        }
    }

    fn task(&mut self, task: &TaskId) -> &mut TaskRecord {
        self.root.task(task)
    }

    fn add_labels(&mut self, labels: &BTreeMap<String, String>) {
        if labels.iter().any(|(name, value)| self.labels.get(name) != Some(value)) {
            let known = Arc::make_mut(&mut self.labels);
            known.extend(labels.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
    }

    /// Adds a named request, or moves it to the end.
    pub(crate) fn remember_request(&mut self, request: String, run: RunId) {
        let requests = Arc::make_mut(&mut self.requests);
        requests.retain(|(known, _)| *known != request);
        if requests.len() >= REQUESTS {
            requests.remove(0);
        }
        requests.push((request, run));
    }

    /// Returns a copy without the state and the records of tasks.
    pub(crate) fn without_state(&self) -> Self {
        Self {
            last: self.last,
            run: self.run,
            status: self.status,
            graph: Arc::clone(&self.graph),
            hash: Arc::clone(&self.hash),
            root: FrameProjection {
                schedule: self.root.schedule.clone(),
                version: self.root.version,
                ..FrameProjection::default()
            },
            open: self.open.clone(),
            answered: self.answered.clone(),
            todos: self.todos.clone(),
            used: self.used,
            limits: self.limits.clone(),
            granted: self.granted.clone(),
            durability: self.durability,
            accepted: self.accepted,
            accepted_at: self.accepted_at,
            active_ms: self.active_ms,
            last_at: self.last_at,
            bytes: self.bytes,
            failure: self.failure.clone(),
            requests: Arc::clone(&self.requests),
            labels: Arc::clone(&self.labels),
            runs: self.runs,
            queue: self.queue.clone(),
            takeovers: self.takeovers,
            exempt: self.exempt,
            context: self.context.clone(),
            pauses: self.pauses.clone(),
            steered: self.steered.clone(),
        }
    }
}

/// Returns whether the fact is progress, which resets the count of takeovers.
pub(crate) const fn is_progress(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::RunAccepted(_)
            | Fact::SuperstepCommitted(_)
            | Fact::TaskCommitted(_)
            | Fact::TaskFinished(_)
            | Fact::TaskFailed(_)
            | Fact::StepRecorded(_)
            | Fact::QuestionAnswered(_)
    )
}

pub(super) fn decode_schedule(raw: &Raw) -> Option<Box<StoredSchedule>> {
    // The schedule of a run that is in memory; its parse error would cost more than the entry.
    if raw.get() == "null" {
        return None;
    }
    crate::json::read(raw.get()).ok().map(Box::new)
}

/// Returns JSON `null`.
pub(crate) fn null() -> Raw {
    static NULL: LazyLock<Raw> = LazyLock::new(|| Raw::from(serde_json::value::RawValue::NULL.to_owned()));
    Arc::clone(&NULL)
}

/// Returns a fingerprint of an event or todo change. It is stored, so it must be stable.
pub(crate) fn fingerprint(name: &str, value: &impl Serialize) -> u64 {
    // Stable over time and machines, unlike the hashers of std.
    let mut hasher = FnvHasher::default();
    hasher.write(name.as_bytes());
    hasher.write(&[0]);
    hasher.write(serde_json::to_string(value).unwrap_or_default().as_bytes());
    hasher.finish()
}

/// Returns the name of the tool call that asks; see `engine::tools`.
fn asking_call(open: &OpenQuestion) -> Option<&str> {
    keys::asking_call(key_of(&open.id, &open.task)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fingerprint_is_that_of_stored_journals() {
        assert_eq!(fingerprint("step", &json!({"a": [1, "b"]})), 0x7891_9172_c0b4_2967);
    }
}
