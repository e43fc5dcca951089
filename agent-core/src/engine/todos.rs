//! How a node moves the visible plan.

use std::sync::Arc;

use super::task::AttemptHandle;
use crate::{
    journal::{
        entry::{Fact, TodoChange},
        projection::fingerprint,
    },
    todo::{Todo, TodoError, TodoStatus, tree::Change},
};

/// The plan, as one activation sees it. Changes are journalled; those made before a restart are not made again.
#[derive(Clone)]
pub struct Todos {
    of: AttemptHandle,
    parent: Option<String>,
}

impl Todos {
    pub(super) const fn new(of: AttemptHandle, parent: Option<String>) -> Self {
        Self { of, parent }
    }

    /// The same plan; what is added hangs under the item `parent` (a sub-agent's list, say).
    #[must_use]
    pub fn under(&self, parent: impl Into<String>) -> Self {
        Self { of: self.of.clone(), parent: Some(parent.into()) }
    }

    /// The item under which new ones hang.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    /// Every item.
    #[must_use]
    pub fn items(&self) -> Vec<Todo> {
        self.of.env.todos.lock().items().to_vec()
    }

    /// Adds an item, or renames the one with this id.
    ///
    /// # Errors
    ///
    /// [`TodoError`]: an illegal id, an unknown parent, a circle, more than 1,000 items, or a node that has ended.
    pub fn add(&self, id: impl Into<String>, title: impl Into<String>) -> Result<TodoHandle, TodoError> {
        self.change(id.into(), Change { title: Some(title.into()), ..Change::default() })
    }

    /// Adds an item (or takes the one with this id) and begins it.
    ///
    /// # Errors
    ///
    /// As [`add`](Todos::add).
    pub fn start(&self, id: impl Into<String>, title: impl Into<String>) -> Result<TodoHandle, TodoError> {
        let (title, status) = (Some(title.into()), Some(TodoStatus::InProgress));
        self.change(id.into(), Change { title, status, ..Change::default() })
    }

    /// An item that is there already.
    ///
    /// # Errors
    ///
    /// [`TodoError::Unknown`].
    pub fn get(&self, id: &str) -> Result<TodoHandle, TodoError> {
        match self.of.env.todos.lock().get(id) {
            Some(_) => Ok(TodoHandle { todos: self.clone(), id: id.to_owned() }),
            None => Err(TodoError::Unknown { id: crate::text::shorten(id, 80) }),
        }
    }

    fn change(&self, id: String, mut change: Change) -> Result<TodoHandle, TodoError> {
        if change.title.is_some() && change.parent.is_none() {
            change.parent.clone_from(&self.parent);
        }
        let of = &self.of;
        let fingerprint = fingerprint(
            &id,
            &(&change.title, &change.parent, change.status, change.progress, change.message.as_deref()),
        );
        let noted = of.emit_once::<TodoError>(fingerprint, || {
            let changed = of.env.todos.lock().change(&id, change)?;
            if !of.env.writer.has_consumers() {
                return Ok(Vec::new());
            }
            let facts = changed.into_iter().enumerate().map(|(at, todo)| {
                let by = (at == 0).then(|| (Arc::clone(&of.task), fingerprint));
                Fact::TodoChanged(TodoChange { todo, by })
            });
            Ok(facts.collect())
        })?;
        if let Err(error) = noted {
            // The run fails at its next commit, with this error.
            tracing::debug!(todo = %id, %error, "a todo could not be noted");
        }
        Ok(TodoHandle { todos: self.clone(), id })
    }
}

impl std::fmt::Debug for Todos {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Todos").field("task", &self.of.task).field("parent", &self.parent).finish()
    }
}

/// One item of the plan.
#[derive(Debug, Clone)]
pub struct TodoHandle {
    todos: Todos,
    id: String,
}

impl TodoHandle {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The plan under this item.
    #[must_use]
    pub fn children(&self) -> Todos {
        self.todos.under(&self.id)
    }

    /// Begins it.
    pub fn start(&self) {
        self.set(Change { status: Some(TodoStatus::InProgress), ..Change::default() });
    }

    /// How far it is, 0 to 100, with a remark. Also begins it.
    pub fn progress(&self, percent: u8, message: impl Into<String>) {
        let (progress, message) = (Some(percent), Some(message.into()));
        self.set(Change { progress, message, status: Some(TodoStatus::InProgress), ..Change::default() });
    }

    /// It is done.
    pub fn done(&self) {
        self.set(Change { status: Some(TodoStatus::Completed), ..Change::default() });
    }

    /// It is done, with a remark.
    pub fn done_with(&self, message: impl Into<String>) {
        let (status, message) = (Some(TodoStatus::Completed), Some(message.into()));
        self.set(Change { status, message, ..Change::default() });
    }

    /// It is given up because of an error.
    pub fn fail(&self, message: impl Into<String>) {
        let (status, message) = (Some(TodoStatus::Failed), Some(message.into()));
        self.set(Change { status, message, ..Change::default() });
    }

    /// It is no longer wanted.
    pub fn cancel(&self, message: impl Into<String>) {
        let (status, message) = (Some(TodoStatus::Cancelled), Some(message.into()));
        self.set(Change { status, message, ..Change::default() });
    }

    fn set(&self, change: Change) {
        // The id is known: a handle is made only for an item that is there, and items are never removed in a run.
        if let Err(error) = self.todos.change(self.id.clone(), change) {
            tracing::debug!(todo = %self.id, %error, "a todo was not changed");
        }
    }
}
