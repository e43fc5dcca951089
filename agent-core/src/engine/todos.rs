//! `TodoSink` of a task: applies changes once and writes them to the journal.

use std::sync::Arc;

use super::cell::TaskTry;
use crate::{
    journal::{
        entry::{Fact, TodoChange},
        image::shown,
    },
    todo::{Todo, TodoError, TodoSink, tree::Change},
};

impl TodoSink for TaskTry {
    fn items(&self) -> Vec<Todo> {
        self.env.todos.lock().items().to_vec()
    }

    fn contains(&self, id: &str) -> bool {
        self.env.todos.lock().get(id).is_some()
    }

    fn change(&self, id: &str, change: Change) -> Result<(), TodoError> {
        let fingerprint = shown(
            id,
            &(&change.title, &change.parent, change.status, change.progress, change.message.as_deref()),
        );
        let noted = self.show_once::<TodoError>(fingerprint, || {
            let changed = self.env.todos.lock().change(id, change)?;
            if !self.env.writer.matters() {
                return Ok(Vec::new());
            }
            let facts = changed.into_iter().enumerate().map(|(at, todo)| {
                let by = (at == 0).then(|| (Arc::clone(&self.task), fingerprint));
                Fact::TodoChanged(TodoChange { todo, by })
            });
            Ok(facts.collect())
        })?;
        if let Err(error) = noted {
            // The run fails at its next commit, with this error.
            tracing::debug!(todo = %id, %error, "a todo change could not be recorded");
        }
        Ok(())
    }
}

impl std::fmt::Debug for TaskTry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskTry").field("task", &self.task).finish_non_exhaustive()
    }
}
