//! The visible plan of a run: a tree of todos that moves while the work does.

mod handle;
pub(crate) mod tree;

pub(crate) use handle::TodoSink;
pub use handle::{TodoHandle, Todos};
pub use tree::TodoTree;

use serde::{Deserialize, Serialize};

/// Where a todo stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TodoStatus {
    /// Not begun.
    #[default]
    Pending,
    /// Being worked on.
    InProgress,
    /// Done.
    Completed,
    /// Given up because of an error.
    Failed,
    /// Given up because it was stopped or no longer wanted.
    Cancelled,
}

impl TodoStatus {
    /// Whether nothing more is expected of it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// One item of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Todo {
    /// Chosen by whoever adds it; 1 to 128 bytes, unique within the run.
    pub id: String,
    /// The item it hangs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// What is to be done, in words for people.
    pub title: String,
    /// Where it stands. That of a parent is derived from its children.
    pub status: TodoStatus,
    /// 0 to 100. That of a parent is the mean of its children.
    pub progress: u8,
    /// The latest remark.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Rises with every change.
    pub revision: u64,
    /// The status that a stop or failure took away, so that a resume can give it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<TodoStatus>,
}

/// A change of the plan that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TodoError {
    /// No item has this id.
    #[error("there is no todo `{id}`; add it first")]
    Unknown {
        /// The id, cut.
        id: String,
    },
    /// An id that is empty or too long.
    #[error("a todo id has 1 to 128 bytes")]
    IllegalId,
    /// More items than a plan may have.
    #[error("a plan has at most {limit} todos")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// A parent that hangs under its own child, or too deep a tree.
    #[error("todo `{id}` cannot hang under `{parent}`: the tree would be a circle or deeper than {depth}")]
    Circle {
        /// The item.
        id: String,
        /// The parent it was to have.
        parent: String,
        /// The bound of the depth.
        depth: usize,
    },
    /// The node that lent the plan has ended; nothing was changed.
    #[error(transparent)]
    NodeEnded(#[from] crate::run::NodeEnded),
}
