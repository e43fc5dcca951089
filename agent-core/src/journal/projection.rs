//! The journal folded: where a session stands, as plain data. Pure; the state stays JSON until its type is known.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    entry::{Cause, Closing, Entry, Fact, Failure, Finished, Queued, Raw},
    keys,
    stored_schedule::StoredSchedule,
};
use crate::{
    ids::{QuestionId, RunId, Seq, TaskId},
    interrupt::{OpenQuestion, key_of},
    json::{Form, Stored},
    run::{BudgetGrants, BudgetUsage, Durability, Limits, RunStatus},
    todo::{Todo, TodoTree},
};

/// Format of stored entries and snapshots. Rises when an older program could not read what this one writes.
pub(crate) const FORMAT: u32 = 1;

/// How many named requests a session remembers; see [`RunOptions::request`](crate::RunOptions::request).
const REQUESTS: usize = 1_024;

/// Where a session stands.
#[derive(Debug, Default)]
pub(crate) struct Projection {
    /// The last entry folded in.
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
    pub(crate) limits: Option<Limits>,
    /// What people granted beyond the limits.
    pub(crate) granted: BudgetGrants,
    pub(crate) durability: Option<Durability>,
    /// Number of the entry that accepted the run.
    pub(crate) accepted: Seq,
    pub(crate) accepted_at: i64,
    pub(crate) active_ms: u64,
    /// When the last entry was written.
    pub(crate) last_at: i64,
    /// Bytes of the snapshot and the entries that it was read from; 0 for one that was not.
    pub(crate) bytes: u64,
    pub(crate) failure: Option<Failure>,
    /// The latest named requests, the oldest first.
    pub(crate) requests: Arc<Vec<(String, RunId)>>,
    /// Marks that the application gave the session.
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    /// The highest number given to a run, those in line included.
    pub(crate) runs: RunId,
    /// Runs in line.
    pub(crate) queue: Vec<(RunId, Queued)>,
    /// How often in a row the run was taken over from a process that had died, without any progress since. Not in a
    /// snapshot: one is kept at a commit only, which is progress.
    pub(crate) takeovers: u32,
}

/// A graph in the middle of its run: the outermost one, or a subgraph inside a task.
#[derive(Debug, Default)]
pub(crate) struct FrameProjection {
    /// The state to begin with, and its version.
    pub(crate) base: Option<(u32, Stored)>,
    /// Updates to apply to it, in order.
    pub(crate) updates: Vec<(u32, Stored)>,
    pub(crate) version: u32,
    pub(crate) schedule: Option<StoredSchedule>,
    /// What the tasks that are due have recorded, by number.
    pub(crate) tasks: HashMap<u64, TaskRecord>,
}

/// What a task has recorded.
#[derive(Debug, Default)]
pub(crate) struct TaskRecord {
    pub(crate) steps: HashMap<String, StepRecord>,
    /// Tool calls that were begun and have no result, by key, with how often.
    pub(crate) call_attempts: HashMap<String, u32>,
    pub(crate) finished: Option<Finished>,
    /// Tries that failed.
    pub(crate) failed: u32,
    /// Of those, the ones before the run failed and was resumed.
    pub(crate) forgiven: u32,
    /// The last failure, when a handler takes it.
    pub(crate) handled: Option<crate::journal::entry::TaskFailure>,
    /// The last failure, when no try follows it and no handler takes it: the run fails with it.
    pub(crate) exhausted: Option<crate::journal::entry::TaskFailure>,
    /// Asked in this task and not withdrawn.
    pub(crate) asked: HashMap<QuestionId, QuestionRecord>,
    /// Questions that the node itself took back, in order.
    pub(crate) withdrawn: HashMap<QuestionId, std::collections::VecDeque<super::entry::WithdrawReason>>,
    /// Events and todo changes by fingerprint, with how often.
    pub(crate) emitted: HashMap<u64, u32>,
    pub(crate) inner: Option<Box<FrameProjection>>,
}

/// A question of a task.
#[derive(Debug, Default)]
pub(crate) struct QuestionRecord {
    /// As it was asked; none: its entry is not in the journal.
    pub(crate) open: Option<Box<OpenQuestion>>,
    /// None while it is open.
    pub(crate) answer: Option<serde_json::Value>,
    /// The try that asked it failed.
    pub(crate) earlier_try: bool,
}

/// A step's result.
#[derive(Debug, Clone)]
pub(crate) struct StepRecord {
    /// `Err`: a failure that the node went past.
    pub(crate) result: Result<Stored, StepFailure>,
    /// Its entry.
    pub(crate) seq: Seq,
    /// Key of the step inside which it was made.
    pub(crate) inside: Option<Arc<str>>,
}

/// A failure of a step.
#[derive(Debug, Clone)]
pub(crate) struct StepFailure {
    pub(crate) text: String,
    pub(crate) cause: Option<Cause>,
}

impl Projection {
    /// Takes one entry. Entries come in order.
    pub(crate) fn apply(&mut self, entry: Entry) {
        self.last = entry.seq;
        self.runs = self.runs.max(entry.run);
        // Time counts between entries of a run that is running; not while it waits, nor while no process had it, nor
        // between the place of a fork and the fork.
        let idle = matches!(entry.fact, Fact::RunResumed(_) | Fact::SessionForked(_));
        if self.status == RunStatus::Running && !idle {
            self.active_ms += u64::try_from(entry.at - self.last_at).unwrap_or(0);
        }
        self.last_at = entry.at;
        if is_progress(&entry.fact) {
            self.takeovers = 0;
        }
        match entry.fact {
            Fact::RunQueued(queued) => {
                if let Some(request) = &queued.request {
                    self.remember_request(request.clone(), entry.run);
                }
                self.add_labels(&queued.labels);
                // A snapshot may know it already.
                self.queue.retain(|(run, _)| *run != entry.run);
                self.queue.push((entry.run, queued));
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
                self.open.clear();
                self.todos.clear();
                self.used = BudgetUsage::default();
                self.limits = accepted.limits;
                self.granted = BudgetGrants::default();
                self.durability = accepted.durability;
                self.accepted = entry.seq;
                self.accepted_at = entry.at;
                self.active_ms = 0;
                self.failure = None;
                if let Some(request) = accepted.request {
                    self.remember_request(request, entry.run);
                }
                self.add_labels(&accepted.labels);
            }
            Fact::RunResumed(resumed) => {
                if self.status == RunStatus::Failed {
                    self.root.reset_attempts();
                }
                self.resume_limits(resumed.limits);
                self.status = RunStatus::Running;
                self.failure = None;
                self.takeovers = if resumed.takeover { self.takeovers.saturating_add(1) } else { 0 };
            }
            Fact::RunPaused(_) => self.status = RunStatus::Paused,
            Fact::RunStopped(stopped) => {
                self.root.close(stopped.closing);
                self.status = RunStatus::Stopped;
            }
            Fact::RunFailed(mut failure) => {
                self.root.close(failure.closing.take());
                self.status = RunStatus::Failed;
                self.failure = Some(failure);
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
            Fact::TaskFinished(mut finished) => {
                let task = Arc::clone(&finished.task);
                let record = self.task(&task);
                let steps = &record.steps;
                let of = |seq| {
                    let step = steps.values().find(|step| step.seq == seq);
                    step.and_then(|step| Some(&*step.result.as_ref().ok()?.json))
                };
                if !finished.restore_update(of) {
                    // The journal is not what it was: half of an update must not be applied.
                    finished.form = Form::lost();
                }
                record.finished = Some(finished);
            }
            Fact::TaskFailed(failure) => {
                let task = self.task(&Arc::clone(&failure.task));
                task.failed = failure.attempt;
                // A new try starts clean, but for what succeeded.
                task.steps.retain(|_, step| step.result.is_ok());
                task.emitted.clear();
                task.withdrawn.clear();
                task.asked.values_mut().for_each(|asked| asked.earlier_try = true);
                if failure.handler.is_some() {
                    task.handled = Some(failure);
                } else if failure.retry_in_ms.is_none() {
                    task.exhausted = Some(failure);
                } else if let Some(inner) = &mut task.inner {
                    // The new try takes up the subgraph where it was, failed tasks included.
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
                let task = self.task(&recorded.task);
                task.call_attempts.remove(&recorded.key);
                let key = keys::stored_step(&recorded.kind, recorded.key);
                task.steps.insert(key, StepRecord { result, seq: entry.seq, inside: recorded.step });
            }
            Fact::ToolBegun(begun) => {
                *self.task(&begun.task).call_attempts.entry(begun.key).or_default() += 1;
            }
            Fact::QuestionAsked(open) => {
                // A tool call that waits for a person has not done what the answer would allow: cut short now, it is
                // made again. With its answer it counts as begun again.
                if let Some(call) = asking_call(&open) {
                    self.task(&Arc::clone(&open.task)).call_attempts.remove(&format!("tool:{call}"));
                }
                let asked =
                    QuestionRecord { open: Some(Box::new(open.clone())), ..QuestionRecord::default() };
                self.task(&open.task).asked.insert(open.id.clone(), asked);
                self.open.push(open);
            }
            Fact::QuestionAnswered(answered) => {
                if let Some(open) = self.open.iter().find(|open| open.id == answered.id) {
                    self.granted.record(open, &answered.value);
                }
                self.open.retain(|open| open.id != answered.id);
                if self.status == RunStatus::Paused
                    && !self.open.iter().any(|open| open.task == answered.task)
                {
                    // A task has all its answers: it goes on, even if nobody lived to see it.
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
                let fingerprint = fingerprint(&custom.name, &custom.value);
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
            Fact::StateEdited(edited) => {
                self.root.updates.push((edited.version, Stored { json: edited.update, form: edited.form }));
                self.root.version = edited.version;
                self.graph = edited.graph;
                self.hash = edited.hash;
                self.root.schedule = decode_schedule(&edited.schedule);
                self.root.forget_tasks_that_are_not_due();
                let due: Vec<u64> = self.root.tasks.keys().copied().collect();
                self.open.retain(|open| due.contains(&open.task.outermost().number()));
                // Whatever it was, it goes on when it is resumed, or answered.
                if self.status != RunStatus::Paused || self.open.is_empty() {
                    self.status = RunStatus::Stopped;
                }
            }
            Fact::SessionForked(_) => {}
        }
    }

    /// What a resumed run may use: new limits stand for all that was granted before.
    pub(crate) fn resume_limits(&mut self, limits: Option<Limits>) {
        match limits {
            Some(_) => {
                self.limits = limits;
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

    fn remember_request(&mut self, request: String, run: RunId) {
        let requests = Arc::make_mut(&mut self.requests);
        requests.retain(|(known, _)| *known != request);
        if requests.len() >= REQUESTS {
            requests.remove(0);
        }
        requests.push((request, run));
    }

    /// Everything but the state and what tasks recorded.
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
            limits: self.limits,
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
        }
    }
}

/// Whether the fact shows that a process did not die at the task at which it was begun or taken over.
const fn is_progress(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::RunAccepted(_)
            | Fact::SuperstepCommitted(_)
            | Fact::TaskFinished(_)
            | Fact::TaskFailed(_)
            | Fact::StepRecorded(_)
            | Fact::QuestionAnswered(_)
    )
}

impl FrameProjection {
    /// Bytes of the state as it is stored, and of the updates to it.
    pub(crate) fn state_bytes(&self) -> usize {
        let raw = |(_, stored): &(u32, Stored)| stored.json.get().len();
        self.base.iter().chain(&self.updates).map(raw).sum()
    }

    /// Takes out the frame inside `task`, if it was opened.
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
    fn inside(&mut self, task: &TaskId) -> &mut FrameProjection {
        self.task(task).inner.get_or_insert_default()
    }

    fn task(&mut self, task: &TaskId) -> &mut TaskRecord {
        let frame = match task.parent() {
            Some(parent) => self.inside(parent),
            None => self,
        };
        frame.tasks.entry(task.number()).or_default()
    }

    /// The updates of the tasks that were due count from now on, in the order of activation.
    fn commit(&mut self, next: Option<StoredSchedule>) {
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
        self.schedule = next;
    }

    /// What the graph itself made of the state when the run was stopped or failed.
    pub(crate) fn close(&mut self, closing: Option<Closing>) {
        if let Some(Closing { version, update, form }) = closing {
            self.updates.push((version, Stored { json: update, form }));
        }
    }

    /// A person asked for another go: the tries of before do not count against the policy.
    pub(crate) fn reset_attempts(&mut self) {
        for task in self.tasks.values_mut() {
            task.forgiven = task.failed;
            task.exhausted = None;
            if let Some(inner) = &mut task.inner {
                inner.reset_attempts();
            }
        }
    }

    /// Tasks that failed for good may be tried again.
    fn retry_exhausted(&mut self) {
        for task in self.tasks.values_mut() {
            task.exhausted = None;
            if let Some(inner) = &mut task.inner {
                inner.retry_exhausted();
            }
        }
    }

    /// The tasks of this frame (inside `parent`) and of the subgraphs in it that are due and have neither finished nor
    /// failed for good.
    pub(crate) fn at_work(&self, parent: Option<&Arc<TaskId>>) -> Vec<TaskId> {
        let mut tasks = Vec::new();
        for task in self.schedule.iter().flat_map(|schedule| &schedule.due) {
            let (name, number) = (task.1.as_str().into(), task.0);
            let id = match parent {
                Some(parent) => parent.child(name, number),
                None => TaskId::root(name, number),
            };
            match self.tasks.get(&number) {
                Some(record)
                    if record.finished.is_some()
                        || record.handled.is_some()
                        || record.exhausted.is_some() => {}
                Some(TaskRecord { inner: Some(inner), .. }) => {
                    tasks.extend(inner.at_work(Some(&Arc::new(id))))
                }
                _ => tasks.push(id),
            }
        }
        tasks
    }

    /// The tasks that are due and have not finished.
    pub(crate) fn unfinished(&self) -> Vec<TaskId> {
        let finished = |number: &u64| self.tasks.get(number).is_some_and(|record| record.finished.is_some());
        let due = self.schedule.iter().flat_map(|schedule| &schedule.due);
        due.filter(|task| !finished(&task.0))
            .map(|task| TaskId::root(task.1.as_str().into(), task.0))
            .collect()
    }

    fn forget_tasks_that_are_not_due(&mut self) {
        let due: Vec<u64> = self
            .schedule
            .iter()
            .flat_map(|schedule| schedule.due.iter().chain(&schedule.deferred))
            .map(|task| task.0)
            .collect();
        self.tasks.retain(|number, _| due.contains(number));
    }
}

fn decode_schedule(raw: &Raw) -> Option<StoredSchedule> {
    crate::json::read(raw.get()).ok()
}

fn null() -> Raw {
    Raw::from(serde_json::value::RawValue::NULL.to_owned())
}

/// A number for something that is shown once: equal things have equal numbers.
pub(crate) fn fingerprint(name: &str, value: &impl Serialize) -> u64 {
    // FNV-1a, 64 bit (Fowler, Noll, Vo): stable over time and machines, unlike the hashers of std.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let text = serde_json::to_string(value).unwrap_or_default();
    for byte in name.bytes().chain([0]).chain(text.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

fn no_requests(requests: &[(String, RunId)]) -> bool {
    requests.is_empty()
}

fn no_labels(labels: &BTreeMap<String, String>) -> bool {
    labels.is_empty()
}

/// An projection as it is stored: at a commit, with the state folded.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) format: u32,
    pub(crate) run: RunId,
    pub(crate) status: RunStatus,
    pub(crate) graph: Arc<str>,
    pub(crate) hash: Arc<str>,
    pub(crate) version: u32,
    pub(crate) state: Raw,
    /// Of the state.
    #[serde(default, skip_serializing_if = "Form::is_plain")]
    pub(crate) form: Form,
    #[serde(rename = "plan")]
    pub(crate) schedule: Option<StoredSchedule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) answered: Vec<(QuestionId, String)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) todos: Vec<Todo>,
    #[serde(default)]
    pub(crate) used: BudgetUsage,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<Limits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) durability: Option<Durability>,
    pub(crate) accepted: Seq,
    pub(crate) accepted_at: i64,
    pub(crate) active_ms: u64,
    pub(crate) last_at: i64,
    #[serde(default, skip_serializing_if = "no_requests")]
    pub(crate) requests: Arc<Vec<(String, RunId)>>,
    #[serde(default, skip_serializing_if = "no_labels")]
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    pub(crate) runs: RunId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) queue: Vec<(RunId, Queued)>,
}

impl Snapshot {
    pub(crate) fn into_projection(self, last: Seq) -> Projection {
        let mut todos = TodoTree::default();
        for todo in self.todos {
            todos.take(todo);
        }
        Projection {
            last,
            run: self.run,
            status: self.status,
            graph: self.graph,
            hash: self.hash,
            root: FrameProjection {
                base: Some((self.version, Stored { json: self.state, form: self.form })),
                version: self.version,
                schedule: self.schedule,
                ..FrameProjection::default()
            },
            open: Vec::new(),
            answered: self.answered,
            todos,
            used: self.used,
            limits: self.limits,
            granted: BudgetGrants::default(),
            durability: self.durability,
            accepted: self.accepted,
            accepted_at: self.accepted_at,
            active_ms: self.active_ms,
            last_at: self.last_at,
            bytes: 0,
            failure: None,
            requests: self.requests,
            labels: self.labels,
            runs: self.runs,
            queue: self.queue,
            takeovers: 0,
        }
    }
}

/// The call that asks, by its name in its task; see `engine::tools`.
fn asking_call(open: &OpenQuestion) -> Option<&str> {
    keys::asking_call(key_of(&open.id, &open.task)?)
}
