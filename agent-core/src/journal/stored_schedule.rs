//! Stored form of a schedule: pending tasks and joins by name.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// A stored task: number, node, input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredTask(
    pub(crate) u64,
    pub(crate) String,
    #[serde(default, skip_serializing_if = "Option::is_none")] pub(crate) Option<Arc<RawValue>>,
);

/// A stored join that waits for sources.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredJoin {
    pub(crate) sources: Vec<String>,
    pub(crate) target: String,
    pub(crate) arrived: Vec<String>,
    /// It fired before all of its sources arrived.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) fired: bool,
}

/// A stored schedule. It has names, so that a changed graph can be compared with it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct StoredSchedule {
    #[serde(rename = "s")]
    pub(crate) superstep: u64,
    /// Number of the next activation.
    #[serde(rename = "n")]
    pub(crate) next: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) due: Vec<StoredTask>,
    #[serde(default, rename = "held", skip_serializing_if = "Vec::is_empty")]
    pub(crate) deferred: Vec<StoredTask>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) joins: Vec<StoredJoin>,
    /// Targets in the parent graph that ended the subgraph.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parent: Vec<String>,
    /// Sends to nodes of the parent graph that ended the subgraph.
    #[serde(default, rename = "psends", skip_serializing_if = "Vec::is_empty")]
    pub(crate) parent_sends: Vec<(String, Arc<RawValue>)>,
    /// In dataflow mode.
    #[serde(default, rename = "flow", skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<StoredInFlight>,
}

/// Start of a task in dataflow mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub(crate) struct TaskStart {
    /// Number of tasks on the path that led to it, itself included.
    pub(crate) depth: u64,
    /// Version of the state that it reads.
    pub(crate) version: u64,
}

impl From<(u64, u64)> for TaskStart {
    fn from((depth, version): (u64, u64)) -> Self {
        Self { depth, version }
    }
}

impl From<TaskStart> for (u64, u64) {
    fn from(start: TaskStart) -> Self {
        (start.depth, start.version)
    }
}

/// Tasks in flight of a graph in dataflow mode.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredInFlight {
    /// Version of the state: the number of its changes in this run.
    #[serde(rename = "v")]
    pub(crate) version: u64,
    /// For each due task.
    pub(crate) tasks: Vec<TaskStart>,
}
