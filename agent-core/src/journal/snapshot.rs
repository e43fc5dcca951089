//! Stored snapshots of projections.

use super::projection::{FrameProjection, Projection};
use super::{
    entry::{Queued, Raw},
    stored_schedule::StoredSchedule,
};
use crate::{
    ids::{QuestionId, RunId, Seq},
    json::{Form, Stored},
    model::Message,
    run::{BudgetGrants, BudgetUsage, ContextValue, Durability, Limits, Pauses, RunStatus},
    todo::{Todo, TodoTree},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

fn no_requests(requests: &[(String, RunId)]) -> bool {
    requests.is_empty()
}

fn no_labels(labels: &BTreeMap<String, String>) -> bool {
    labels.is_empty()
}

/// Stored projection as of a commit, with the folded state.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<Arc<ContextValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pauses: Option<Arc<Pauses>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) steered: Vec<Message>,
}

impl Snapshot {
    pub(crate) fn into_projection(self, last: Seq) -> Projection {
        let mut todos = TodoTree::default();
        for todo in self.todos {
            todos.take(todo);
        }
        // Earlier versions kept the names of queued requests in the queue only.
        let queued: Vec<(String, RunId)> =
            self.queue.iter().filter_map(|(run, queued)| Some((queued.request.clone()?, *run))).collect();
        let mut projection = Projection {
            last,
            run: self.run,
            status: self.status,
            graph: self.graph,
            hash: self.hash,
            root: FrameProjection {
                base: Some((self.version, Stored { json: self.state, form: self.form })),
                version: self.version,
                schedule: self.schedule.map(Box::new),
                ..FrameProjection::default()
            },
            open: Vec::new(),
            answered: self.answered,
            todos,
            used: self.used,
            limits: self.limits.map(Box::new),
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
            exempt: false,
            context: self.context,
            pauses: self.pauses,
            steered: self.steered.into_iter().map(|message| (message, None)).collect(),
        };
        for (name, run) in queued {
            projection.remember_request(name, run);
        }
        projection
    }
}
