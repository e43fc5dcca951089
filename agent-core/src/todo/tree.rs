//! Todo tree of a run. Applies changes and returns the changed items; parents are derived from their children.

use super::{Todo, TodoError, TodoStatus};

/// Maximum number of todos of a run.
pub(crate) const MAX_TODOS: usize = 1_000;
/// Maximum depth of the tree.
const MAX_DEPTH: usize = 16;
/// Maximum length of a title or message, in characters.
const MAX_TEXT: usize = 2_000;

/// All todos of a run in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TodoTree {
    items: Vec<Todo>,
    revision: u64,
}

/// Change of one todo. `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    pub(crate) title: Option<String>,
    pub(crate) parent: Option<String>,
    pub(crate) status: Option<TodoStatus>,
    pub(crate) progress: Option<u8>,
    pub(crate) message: Option<String>,
}

impl TodoTree {
    /// Returns the todos in the order in which they were added.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::todo::TodoTree;
    /// assert!(TodoTree::default().items().is_empty());
    /// ```
    #[must_use]
    pub fn items(&self) -> &[Todo] {
        &self.items
    }

    /// Returns the todo with this id.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::todo::TodoTree;
    /// assert!(TodoTree::default().get("birds").is_none());
    /// ```
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Todo> {
        self.items.iter().find(|todo| todo.id == id)
    }

    /// Returns `true` if there are no todos.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::todo::TodoTree;
    /// assert!(TodoTree::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Applies a change and returns every todo that differs: the item itself, then its parents. An unknown id is
    /// added if the change has a title.
    pub(crate) fn change(&mut self, id: &str, change: Change) -> Result<Vec<Todo>, TodoError> {
        let at = match self.items.iter().position(|todo| todo.id == id) {
            Some(at) => at,
            None if change.title.is_some() => self.add(id)?,
            None => return Err(TodoError::Unknown { id: crate::util::shorten(id, 80) }),
        };
        let mut todo = self.items[at].clone();
        let fresh = todo.revision == 0;
        if let Some(parent) = change.parent.filter(|parent| todo.parent.as_ref() != Some(parent)) {
            self.check_parent(id, &parent)?;
            todo.parent = Some(parent);
        }
        if let Some(title) = change.title {
            todo.title = crate::util::shorten(&title, MAX_TEXT);
        }
        if let Some(message) = change.message {
            todo.message = crate::util::shorten(&message, MAX_TEXT);
        }
        if let Some(progress) = change.progress {
            todo.progress = progress.min(100);
        }
        if let Some(status) = change.status {
            todo.status = status;
            todo.before = None;
            match status {
                TodoStatus::Completed => todo.progress = 100,
                TodoStatus::Pending => todo.progress = 0,
                TodoStatus::InProgress | TodoStatus::Failed | TodoStatus::Cancelled => {}
            }
        }
        if !fresh && todo == self.items[at] {
            return Ok(Vec::new());
        }
        let mut changed = vec![self.put(at, todo)];
        self.derive(at, &mut changed);
        Ok(changed)
    }

    /// Ends the todos in progress (after a stop or failure); [`restore`](TodoTree::restore) reverts this.
    pub(crate) fn settle(&mut self, status: TodoStatus, message: &str) -> Vec<Todo> {
        let mut changed = Vec::new();
        for at in 0..self.items.len() {
            if self.items[at].status == TodoStatus::InProgress {
                let mut todo = self.items[at].clone();
                todo.before = Some(TodoStatus::InProgress);
                todo.status = status;
                // A message of the node is kept rather than replaced by the reason; a resume restores it.
                if todo.message.is_empty() {
                    todo.message = message.to_owned();
                }
                changed.push(self.put(at, todo));
            }
        }
        changed
    }

    /// Reverts [`settle`](TodoTree::settle). Messages that give one of `reasons` are removed, others are kept.
    pub(crate) fn restore(&mut self, reasons: &[&str]) -> Vec<Todo> {
        let mut changed = Vec::new();
        for at in 0..self.items.len() {
            if let Some(before) = self.items[at].before {
                let mut todo = self.items[at].clone();
                todo.status = before;
                todo.before = None;
                if reasons.contains(&&*todo.message) {
                    todo.message.clear();
                }
                changed.push(self.put(at, todo));
            }
        }
        changed
    }

    /// Inserts or replaces a recorded todo without further checks (when the journal is folded).
    pub(crate) fn take(&mut self, todo: Todo) {
        self.revision = self.revision.max(todo.revision);
        match self.items.iter_mut().find(|known| known.id == todo.id) {
            Some(known) => *known = todo,
            None => self.items.push(todo),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.items.clear();
    }

    fn add(&mut self, id: &str) -> Result<usize, TodoError> {
        if id.is_empty() || id.len() > 128 {
            return Err(TodoError::IllegalId);
        }
        if self.items.len() >= MAX_TODOS {
            return Err(TodoError::TooMany { limit: MAX_TODOS });
        }
        self.items.push(Todo {
            id: id.to_owned(),
            parent: None,
            title: String::new(),
            status: TodoStatus::Pending,
            progress: 0,
            message: String::new(),
            revision: 0,
            before: None,
        });
        Ok(self.items.len() - 1)
    }

    fn put(&mut self, at: usize, mut todo: Todo) -> Todo {
        self.revision += 1;
        todo.revision = self.revision;
        self.items[at] = todo.clone();
        todo
    }

    fn check_parent(&self, id: &str, parent: &str) -> Result<(), TodoError> {
        let mut above = Some(parent);
        for _ in 0..MAX_DEPTH {
            match above {
                None => return Ok(()),
                Some(name) if name == id => break,
                Some(name) => match self.get(name) {
                    Some(todo) => above = todo.parent.as_deref(),
                    None => return Err(TodoError::Unknown { id: crate::util::shorten(name, 80) }),
                },
            }
        }
        Err(TodoError::Circle { id: id.to_owned(), parent: parent.to_owned(), depth: MAX_DEPTH })
    }

    /// Derives the parents of a todo: progress is the mean of the children, status follows from theirs.
    fn derive(&mut self, at: usize, changed: &mut Vec<Todo>) {
        let mut child = at;
        while let Some(parent) = self.items[child].parent.clone() {
            let Some(at) = self.items.iter().position(|todo| todo.id == parent) else { return };
            let children: Vec<&Todo> =
                self.items.iter().filter(|t| t.parent.as_deref() == Some(&*parent)).collect();
            let sum: usize = children
                .iter()
                .map(|t| if t.status.is_final() { 100 } else { usize::from(t.progress) })
                .sum();
            let all = |status: TodoStatus| children.iter().all(|t| t.status == status);
            let status = if all(TodoStatus::Pending) {
                TodoStatus::Pending
            } else if children.iter().any(|t| !t.status.is_final()) {
                TodoStatus::InProgress
            } else if children.iter().any(|t| t.status == TodoStatus::Failed) {
                TodoStatus::Failed
            } else if all(TodoStatus::Cancelled) {
                TodoStatus::Cancelled
            } else {
                TodoStatus::Completed
            };
            let progress = (sum / children.len().max(1)).min(100) as u8;
            let mut todo = self.items[at].clone();
            if (todo.progress, todo.status) != (progress, status) {
                (todo.progress, todo.status) = (progress, status);
                changed.push(self.put(at, todo));
            }
            child = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(tree: &mut TodoTree, id: &str) {
        let change = Change { title: Some(id.into()), parent: Some("all".into()), ..Change::default() };
        tree.change(id, change).unwrap();
    }

    fn status(status: TodoStatus) -> Change {
        Change { status: Some(status), ..Change::default() }
    }

    #[test]
    fn a_parent_follows_its_children() {
        let mut tree = TodoTree::default();
        tree.change("all", Change { title: Some("모두".into()), ..Change::default() }).unwrap();
        child(&mut tree, "a");
        child(&mut tree, "b");
        let changed = tree.change("a", status(TodoStatus::Completed)).unwrap();
        assert_eq!(changed.len(), 2);
        assert_eq!((changed[1].progress, changed[1].status), (50, TodoStatus::InProgress));
        tree.change("b", status(TodoStatus::Failed)).unwrap();
        assert_eq!(tree.get("all").unwrap().status, TodoStatus::Failed);
    }

    #[test]
    fn a_resume_gives_back_what_a_stop_took() {
        let mut tree = TodoTree::default();
        tree.change("a", Change { title: Some("a".into()), ..Change::default() }).unwrap();
        tree.change("a", status(TodoStatus::InProgress)).unwrap();
        let before = tree.get("a").unwrap().clone();
        assert_eq!(tree.settle(TodoStatus::Cancelled, "stopped").len(), 1);
        assert_eq!(tree.get("a").unwrap().status, TodoStatus::Cancelled);
        tree.restore(&["stopped"]);
        let after = tree.get("a").unwrap();
        assert_eq!((after.status, after.progress), (before.status, before.progress));
        assert!(tree.restore(&[]).is_empty());
    }

    #[test]
    fn a_circle_is_refused() {
        let mut tree = TodoTree::default();
        tree.change("all", Change { title: Some("all".into()), ..Change::default() }).unwrap();
        child(&mut tree, "a");
        let under = Change { parent: Some("a".into()), ..Change::default() };
        assert!(matches!(tree.change("all", under), Err(TodoError::Circle { .. })));
    }
}
