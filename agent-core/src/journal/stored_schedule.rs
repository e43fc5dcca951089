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
}
