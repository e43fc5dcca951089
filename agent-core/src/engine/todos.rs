//! `TodoSink` of a task: applies changes once and writes them to the journal.

use std::sync::Arc;

use super::task::AttemptHandle;
use crate::{
    event::EventKind,
    journal::{
        entry::{Fact, TodoChange},
        projection::fingerprint,
    },
    todo::{Todo, TodoError, TodoSink, tree::Change},
};

impl TodoSink for AttemptHandle {
    fn items(&self) -> Vec<Todo> {
        self.env.todos.lock().items().to_vec()
    }

    fn contains(&self, id: &str) -> bool {
        self.env.todos.lock().get(id).is_some()
    }

    fn change(&self, id: &str, change: Change) -> Result<(), TodoError> {
        let fingerprint = fingerprint(
            id,
            &(&change.title, &change.parent, change.status, change.progress, change.message.as_deref()),
        );
        let noted = self.emit_once::<_, TodoError, Vec<Fact>>(
            change,
            |_| fingerprint,
            |change| {
                let changed = self.env.todos.lock().change(id, change)?;
                if changed.is_empty() || !self.env.writer.wants(EventKind::TodoUpdated) {
                    return Ok(None);
                }
                let facts = changed.into_iter().enumerate().map(|(at, todo)| {
                    let by = (at == 0).then(|| (Arc::clone(&self.task), fingerprint));
                    Fact::TodoChanged(TodoChange { todo, by })
                });
                Ok(Some(facts.collect()))
            },
        )?;
        if let Err(error) = noted {
            // The run fails at its next commit, with this error.
            tracing::debug!(todo = %id, %error, "a todo change could not be recorded");
        }
        Ok(())
    }
}

impl std::fmt::Debug for AttemptHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttemptHandle").field("task", &self.task).finish_non_exhaustive()
    }
}
