//! Error of code that a node left running after the node had ended.

use crate::ids::TaskId;

/// Code that a node left running (in a spawned task, for example) recorded, asked or emitted something after the node had
/// ended. Nothing was changed.
///
/// A node must wait for everything that it starts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "task {task} has ended: code that its node left running cannot record, ask or emit anything; wait for it in the node"
)]
#[non_exhaustive]
pub struct NodeEnded {
    /// The task of the node.
    pub task: String,
}

impl NodeEnded {
    pub(crate) fn of(task: &TaskId) -> Self {
        Self { task: task.to_string() }
    }
}
