//! Journal entries. The stored format is permanent: add fields and variants, never change them.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::dedup::{self, StepRef};
use crate::{
    ids::{QuestionId, RunId, Seq, TaskId},
    interrupt::OpenQuestion,
    json::{self, EventValue, Form},
    todo::Todo,
};

/// JSON text that is not parsed.
pub(crate) type Raw = Arc<RawValue>;

/// Reads JSON `null` as a value. Without this, serde would read it as "absent", and an update or a result that
/// is `null` would be lost.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Raw>, D::Error> {
    Raw::deserialize(deserializer).map(Some)
}

/// One journal entry: a fact with its number, time and run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Not part of the stored body: the store keeps it separately.
    #[serde(skip)]
    pub(crate) seq: Seq,
    /// Milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) run: RunId,
    /// Externally tagged: other forms would buffer, and a buffered [`RawValue`] cannot be read.
    pub(crate) fact: Fact,
}

/// A fact recorded by an entry. Large facts are boxed: all facts have the size of the largest, and are moved often.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fact {
    /// A run was queued; the run of the entry is the queued one.
    RunQueued(Box<Queued>),
    /// A queued run was removed from the queue before it began.
    RunDequeued(Dequeued),
    RunAccepted(Box<Accepted>),
    RunResumed(Resumed),
    RunPaused(Paused),
    RunStopped(Stopped),
    RunFailed(Failure),
    RunCompleted(Completed),
    /// The run was undone: state and schedule are those of the entry.
    RunRolledBack(Base),
    SuperstepCommitted(Committed),
    /// In dataflow mode: a single task was committed.
    TaskCommitted(TaskCommitted),
    TaskFinished(Finished),
    TaskFailed(TaskFailure),
    StepRecorded(Box<Recorded>),
    /// A tool call that must not be repeated is about to start.
    ToolBegun(ToolBegun),
    QuestionAsked(Box<OpenQuestion>),
    QuestionAnswered(Answered),
    QuestionWithdrawn(Withdrawn),
    TodoChanged(TodoChange),
    Custom(CustomFact),
    /// A subgraph began inside a task.
    FrameOpened(Frame),
    StateEdited(Edited),
    SessionForked(Forked),
    /// A message to the running agent, which it reads before its next model call.
    Steered(Steered),
}

/// A message to the running agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Steered {
    pub(crate) message: crate::model::Message,
}

/// The update of `on_stop` when the run was stopped or failed; see
/// [`GraphBuilder::on_stop`](crate::graph::GraphBuilder::on_stop).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Closing {
    /// Version of the state that the update is for.
    pub(crate) version: u32,
    pub(crate) update: Raw,
    /// Of the update.
    #[serde(default, skip_serializing_if = "Form::is_plain")]
    pub(crate) form: Form,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Resumed {
    /// New limits of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<crate::run::Limits>,
    /// The run was taken over from a process that died.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) takeover: bool,
    /// The takeovers before are kept, and this one is not counted: the process before executed the run for long enough.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) exempt: bool,
}

/// A new run, with everything that is needed to start it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) graph: Arc<str>,
    pub(crate) hash: Arc<str>,
    /// Version of the state in this entry and all that follow it until the next run.
    pub(crate) version: u32,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<Raw>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(crate) update: Option<Raw>,
    /// Of the state or the update.
    #[serde(default, skip_serializing_if = "Form::is_plain")]
    pub(crate) form: Form,
    /// [`StoredSchedule`](crate::journal::stored_schedule::StoredSchedule) after routing from the start.
    #[serde(rename = "plan")]
    pub(crate) schedule: Raw,
    /// As in `schedule`, for events.
    #[serde(skip)]
    pub(crate) due: Option<DueNodes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<crate::run::Limits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) durability: Option<crate::run::Durability>,
    /// Request name for deduplication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<Arc<crate::run::ContextValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pauses: Option<Arc<crate::run::Pauses>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Queued {
    pub(crate) graph: Arc<str>,
    pub(crate) version: u32,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<Raw>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(crate) update: Option<Raw>,
    /// Of the state or the update.
    #[serde(default, skip_serializing_if = "Form::is_plain")]
    pub(crate) form: Form,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<crate::run::Limits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) durability: Option<crate::run::Durability>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<Arc<crate::run::ContextValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pauses: Option<Arc<crate::run::Pauses>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Dequeued {
    pub(crate) code: String,
    pub(crate) message: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Paused {
    pub(crate) questions: Vec<QuestionId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stopped {
    /// Stopped at the end of a superstep (drain), not within one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) drained: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closing: Option<Closing>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<TaskId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closing: Option<Closing>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Completed {
    /// Active time without pauses, in milliseconds.
    pub(crate) active_ms: u64,
    pub(crate) supersteps: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Base {
    pub(crate) version: u32,
    pub(crate) state: Raw,
    /// Of the state.
    #[serde(default, skip_serializing_if = "Form::is_plain")]
    pub(crate) form: Form,
    #[serde(rename = "plan")]
    pub(crate) schedule: Raw,
}

/// The names of due nodes, known to the writer of a schedule.
#[derive(Debug, Clone, Default)]
pub(crate) struct DueNodes {
    /// The superstep that was closed.
    pub(crate) superstep: u64,
    pub(crate) next: Vec<String>,
}

/// The updates of a superstep were applied; the schedule afterwards.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Committed {
    /// The task that contains the subgraph; `None` for the outermost graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<Arc<TaskId>>,
    #[serde(rename = "plan")]
    pub(crate) schedule: Raw,
    /// As in `schedule`, for events.
    #[serde(skip)]
    pub(crate) due: Option<DueNodes>,
}

/// In dataflow mode: the update of one task was applied, and its successors are due; the other due tasks are in flight.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskCommitted {
    pub(crate) task: Arc<TaskId>,
    /// Version of the state afterwards, from which the tasks start that became due.
    pub(crate) version: u64,
    /// Depth of those tasks; see [`TaskStart`](super::stored_schedule::TaskStart).
    pub(crate) depth: u64,
    /// The schedule. Its due tasks are only those that became due.
    #[serde(rename = "plan")]
    pub(crate) schedule: Raw,
    /// As in `schedule`, for events.
    #[serde(skip)]
    pub(crate) due: Option<DueNodes>,
}

/// A task finished; its update is applied at the end of the superstep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) task: Arc<TaskId>,
    /// The stored update, deduplicated: results of recorded steps are replaced by references.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(crate) update: Option<Raw>,
    /// Of the full update.
    #[serde(default, skip_serializing_if = "Form::is_plain")]
    pub(crate) form: Form,
    /// References to the step results that were left out of the update.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) holes: Vec<StepRef>,
    /// The full update, if the stored one has references.
    #[serde(skip)]
    pub(crate) whole: Option<Raw>,
    /// The update as events show it, if that is not the stored one.
    #[serde(skip)]
    pub(crate) shown: Option<EventValue>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) goto: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sends: Vec<(String, Raw)>,
    /// Selected targets in the graph that contains the subgraph of the task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parent: Vec<String>,
    /// Sends to nodes of that graph.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parent_sends: Vec<(String, Raw)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cached: bool,
    /// Version of the state that the update is for. A newer program may resume the run.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub(crate) version: u32,
}

const fn first() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_first(version: &u32) -> bool {
    *version == 1
}

impl Finished {
    /// Returns the full update.
    pub(crate) const fn update(&self) -> Option<&Raw> {
        if self.whole.is_some() { self.whole.as_ref() } else { self.update.as_ref() }
    }

    /// Restores the full update from step results. Returns `false` if one is missing.
    pub(crate) fn restore_update<'a>(&mut self, step: impl Fn(Seq) -> Option<&'a RawValue>) -> bool {
        if !self.holes.is_empty()
            && self.whole.is_none()
            && let Some(kept) = &self.update
        {
            self.whole = dedup::restore(kept, &self.holes, step);
            return self.whole.is_some();
        }
        true
    }
}

/// An attempt of a task failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskFailure {
    pub(crate) task: Arc<TaskId>,
    /// Counted from 1.
    pub(crate) attempt: u32,
    pub(crate) code: String,
    pub(crate) message: String,
    /// The wait before the next attempt; `None` if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_in_ms: Option<u64>,
    /// The node that handles the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) handler: Option<String>,
}

/// The result of a step inside a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) task: Arc<TaskId>,
    pub(crate) key: String,
    /// `step`, `model`, `tool`.
    #[serde(default = "step", skip_serializing_if = "is_step")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Raw>,
    /// Of the value.
    #[serde(default, skip_serializing_if = "Form::is_plain")]
    pub(crate) form: Form,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Properties of the error that replay needs beside its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<Cause>,
    pub(crate) ms: u64,
    /// Budget usage of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<crate::run::BudgetUsage>,
    /// Key of the step that contains it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<Arc<str>>,
}

/// The kind of a step's error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cause {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) permanent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<crate::model::ModelError>,
    /// The result could not be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<json::ValueError>,
}

/// A started tool call with its arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ToolBegun {
    pub(crate) task: Arc<TaskId>,
    /// Key of the step that will record its result.
    pub(crate) key: String,
    pub(crate) call_id: String,
    pub(crate) name: String,
    pub(crate) arguments: serde_json::Value,
}

fn step() -> String {
    "step".to_owned()
}

fn is_step(kind: &str) -> bool {
    kind == "step"
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Answered {
    pub(crate) id: QuestionId,
    pub(crate) task: Arc<TaskId>,
    pub(crate) value: serde_json::Value,
    pub(crate) by: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Withdrawn {
    pub(crate) id: QuestionId,
    pub(crate) task: Arc<TaskId>,
    /// The reason, if the node itself withdrew the question: replay does not ask it again. `None` if the node was ended from
    /// outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) own: Option<WithdrawReason>,
}

/// Reason why a node withdrew its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WithdrawReason {
    /// The future of the question was dropped.
    Dropped,
    /// The deadline of the question passed.
    Expired,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TodoChange {
    pub(crate) todo: Todo,
    /// Task and fingerprint of the requested change, so that replay does not repeat it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<(Arc<TaskId>, u64)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CustomFact {
    pub(crate) task: Arc<TaskId>,
    pub(crate) name: String,
    pub(crate) value: EventValue,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Frame {
    pub(crate) task: Arc<TaskId>,
    pub(crate) version: u32,
    pub(crate) state: Raw,
    /// Of the state.
    #[serde(default, skip_serializing_if = "Form::is_plain")]
    pub(crate) form: Form,
    #[serde(rename = "plan")]
    pub(crate) schedule: Raw,
    /// As in `schedule`, for events.
    #[serde(skip)]
    pub(crate) due: Option<DueNodes>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Edited {
    pub(crate) node: String,
    pub(crate) version: u32,
    pub(crate) update: Raw,
    /// Of the update.
    #[serde(default, skip_serializing_if = "Form::is_plain")]
    pub(crate) form: Form,
    #[serde(rename = "plan")]
    pub(crate) schedule: Raw,
    /// Hash of the graph that made the edit.
    pub(crate) graph: Arc<str>,
    pub(crate) hash: Arc<str>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Forked {
    pub(crate) from: crate::ids::SessionId,
    pub(crate) seq: Seq,
}

impl Fact {
    /// Bytes of the parts that may be large.
    fn large(&self) -> usize {
        let raw = |raw: &Raw| raw.get().len();
        let any = |part: &Option<Raw>| part.as_ref().map_or(0, raw);
        match self {
            Self::RunAccepted(run) => any(&run.state) + any(&run.update) + raw(&run.schedule),
            Self::SuperstepCommitted(committed) => raw(&committed.schedule),
            Self::TaskCommitted(committed) => raw(&committed.schedule),
            Self::TaskFinished(finished) => {
                let sends = finished.sends.iter().chain(&finished.parent_sends);
                any(&finished.update) + sends.map(|(_, input)| raw(input) + 32).sum::<usize>()
            }
            Self::StepRecorded(recorded) => any(&recorded.value) + recorded.key.len(),
            Self::FrameOpened(frame) => raw(&frame.state) + raw(&frame.schedule),
            _ => 0,
        }
    }
}

impl Entry {
    /// Encodes the body that a store keeps.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // Reserved for the large parts, so that the text is not moved while it grows.
        let mut body = Vec::with_capacity(self.fact.large() + 192);
        // Facts hold plain data with string keys only; see the types above.
        serde_json::to_writer(&mut body, self).expect("a fact is always JSON");
        body
    }

    pub(crate) fn decode(
        session: &crate::ids::SessionId,
        record: &super::Record,
    ) -> Result<Self, super::StoreError> {
        let mut entry: Self = json::read_slice(&record.body).map_err(|error| super::StoreError::Corrupt {
            session: session.clone(),
            seq: record.seq,
            reason: error.to_string(),
        })?;
        entry.seq = record.seq;
        Ok(entry)
    }
}
