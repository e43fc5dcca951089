//! Todo list of a run: a tree of items with status and progress.

mod handle;
pub(crate) mod tree;

pub(crate) use handle::TodoSink;
pub use handle::{TodoHandle, Todos};
pub use tree::TodoTree;

use serde::{Deserialize, Serialize};

/// Status of a todo.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TodoStatus {
    /// Not started.
    #[default]
    Pending,
    /// In progress.
    InProgress,
    /// Done.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended because it was stopped or is no longer needed.
    Cancelled,
}

impl TodoStatus {
    /// Returns `true` for the last three: the item will not change any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::todo::TodoStatus;
    ///
    /// assert!(TodoStatus::Failed.is_final() && !TodoStatus::InProgress.is_final());
    /// ```
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// One item of the todo list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Todo {
    /// Id chosen by the code that adds it; 1 to 128 bytes, unique within the run.
    pub id: String,
    /// Id of the parent item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Title, shown to people.
    pub title: String,
    /// Status. The status of a parent is derived from its children.
    pub status: TodoStatus,
    /// Progress, 0 to 100. The progress of a parent is the mean of its children.
    pub progress: u8,
    /// Latest message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Rises with every change.
    pub revision: u64,
    /// The status that a stop or failure took away, so that a resume can give it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<TodoStatus>,
}

/// Error of a change of the todo list.
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
    /// Too many items.
    #[error("a run has at most {limit} todos")]
    TooMany {
        /// The bound.
        limit: usize,
    },
    /// The parent is a descendant of the item, or the tree is too deep.
    #[error(
        "todo `{id}` cannot have the parent `{parent}`: the tree would have a cycle or be deeper than {depth}"
    )]
    Circle {
        /// The item.
        id: String,
        /// The parent it was to have.
        parent: String,
        /// The bound of the depth.
        depth: usize,
    },
    /// The node has ended; nothing was changed.
    #[error(transparent)]
    NodeEnded(#[from] crate::run::NodeEnded),
}
