//! `Todos` and `TodoHandle`: the interface of nodes and tools to the todo list.

use std::{fmt, sync::Arc};

use super::{Todo, TodoError, TodoStatus, tree::Change};

/// Todo list of a run, as a task changes it. Changes are recorded, so a replay does not repeat them.
pub(crate) trait TodoSink: Send + Sync + fmt::Debug {
    /// All todos.
    fn items(&self) -> Vec<Todo>;
    /// Returns whether a todo has this id.
    fn contains(&self, id: &str) -> bool;
    /// Applies a change to the todo with this id.
    fn change(&self, id: &str, change: Change) -> Result<(), TodoError>;
}

/// Todo list of a run, as one task sees it.
///
/// Nodes get it with [`Context::todos`](crate::Context::todos), tools with
/// [`ToolContext::todos`](crate::tool::ToolContext::todos). Changes are written to the journal and published as events;
/// a task that is entered again does not repeat them.
///
/// # Examples
///
/// ```
/// use agent_core::{Context, END, Graph, Runtime, START, State, todo::TodoStatus};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Work {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let graph = Graph::<Work>::builder("work")
///     .node("collect", async |_: &Work, cx: &Context| {
///         let todos = cx.todos();
///         let all = todos.add("collect", "Collect reviews")?;
///         for shop in ["a", "b"] {
///             let todo = all.children().start(shop, format!("Shop {shop}"))?;
///             todo.progress(50, "page 1 of 2");
///             todo.done();
///         }
///         Ok(Work::update())
///     })
///     .edge(START, "collect")
///     .edge("collect", END)
///     .build()?;
/// let session = Runtime::builder().build().session("s1")?;
/// session.run(&graph, Work::update()).await?;
///
/// let todos = session.status().await?.todos;
/// assert_eq!(todos.len(), 3);
/// // The status of a parent is derived from its children.
/// assert_eq!((todos[0].status, todos[0].progress), (TodoStatus::Completed, 100));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Todos {
    sink: Arc<dyn TodoSink>,
    parent: Option<String>,
}

impl Todos {
    pub(crate) fn new(sink: impl TodoSink + 'static) -> Self {
        Self { sink: Arc::new(sink), parent: None }
    }

    /// Returns the same list with another default parent: new items are added below the item `parent`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     cx.todos().add("chapters", "Write all chapters")?;
    ///     cx.todos().under("chapters").add("birds", "Birds")?;
    ///     assert_eq!(cx.todos().items()[1].parent.as_deref(), Some("chapters"));
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn under(&self, parent: impl Into<String>) -> Self {
        Self { sink: Arc::clone(&self.sink), parent: Some(parent.into()) }
    }

    /// Returns the item below which new items are added.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     assert_eq!(cx.todos().parent(), None);
    ///     assert_eq!(cx.todos().under("chapters").parent(), Some("chapters"));
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    /// Returns all items.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     cx.todos().add("birds", "Birds")?;
    ///     assert_eq!(cx.todos().items()[0].title, "Birds");
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn items(&self) -> Vec<Todo> {
        self.sink.items()
    }

    /// Adds an item, or sets the title of the item with this id.
    ///
    /// # Errors
    ///
    /// [`TodoError`]: an invalid id, an unknown parent, a circle, more than 1,000 items, or a node that has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, todo::TodoStatus};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let todo = cx.todos().add("birds", "Birds")?;
    ///     assert_eq!(cx.todos().items()[0].status, TodoStatus::Pending);
    /// #     assert_eq!(todo.id(), "birds");
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn add(&self, id: impl Into<String>, title: impl Into<String>) -> Result<TodoHandle, TodoError> {
        self.change(id.into(), Change { title: Some(title.into()), ..Change::default() })
    }

    /// Adds an item (or uses the item with this id) and sets it to in progress.
    ///
    /// # Errors
    ///
    /// As [`add`](Todos::add).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, todo::TodoStatus};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let todo = cx.todos().start("birds", "Birds")?;
    ///     assert_eq!(cx.todos().items()[0].status, TodoStatus::InProgress);
    /// #     assert_eq!(todo.id(), "birds");
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn start(&self, id: impl Into<String>, title: impl Into<String>) -> Result<TodoHandle, TodoError> {
        let (title, status) = (Some(title.into()), Some(TodoStatus::InProgress));
        self.change(id.into(), Change { title, status, ..Change::default() })
    }

    /// Returns a handle to an existing item.
    ///
    /// # Errors
    ///
    /// [`TodoError::Unknown`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     cx.todos().add("birds", "Birds")?;
    ///     cx.todos().get("birds")?.done();
    ///     assert!(cx.todos().get("fish").is_err());
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn get(&self, id: &str) -> Result<TodoHandle, TodoError> {
        if self.sink.contains(id) {
            Ok(TodoHandle { todos: self.clone(), id: id.to_owned() })
        } else {
            Err(TodoError::Unknown { id: crate::util::shorten(id, 80) })
        }
    }

    fn change(&self, id: String, mut change: Change) -> Result<TodoHandle, TodoError> {
        if change.title.is_some() && change.parent.is_none() {
            change.parent.clone_from(&self.parent);
        }
        self.sink.change(&id, change)?;
        Ok(TodoHandle { todos: self.clone(), id })
    }
}

impl fmt::Debug for Todos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Todos").field("sink", &self.sink).field("parent", &self.parent).finish()
    }
}

/// One item of the todo list.
#[derive(Debug, Clone)]
pub struct TodoHandle {
    todos: Todos,
    id: String,
}

impl TodoHandle {
    /// Returns the id of the item.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     assert_eq!(cx.todos().add("birds", "Birds")?.id(), "birds");
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the list with this item as the default parent.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, todo::TodoStatus};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let chapters = cx.todos().add("chapters", "Write all chapters")?;
    ///     chapters.children().start("birds", "Birds")?.done();
    ///     assert_eq!(cx.todos().items()[0].status, TodoStatus::Completed);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn children(&self) -> Todos {
        self.todos.under(&self.id)
    }

    /// Sets the item to in progress.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, todo::TodoStatus};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let todo = cx.todos().add("birds", "Birds")?;
    ///     todo.start();
    ///     assert_eq!(cx.todos().items()[0].status, TodoStatus::InProgress);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn start(&self) {
        self.set(Change { status: Some(TodoStatus::InProgress), ..Change::default() });
    }

    /// Sets the progress in percent (0 to 100) and a message. The item is then in progress.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let todo = cx.todos().add("birds", "Birds")?;
    ///     todo.progress(50, "page 1 of 2");
    ///     assert_eq!(cx.todos().items()[0].progress, 50);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn progress(&self, percent: u8, message: impl Into<String>) {
        let (progress, message) = (Some(percent), Some(message.into()));
        self.set(Change { progress, message, status: Some(TodoStatus::InProgress), ..Change::default() });
    }

    /// Sets the item to completed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, todo::TodoStatus};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let todo = cx.todos().start("birds", "Birds")?;
    ///     todo.done();
    ///     assert_eq!(cx.todos().items()[0].status, TodoStatus::Completed);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn done(&self) {
        self.set(Change { status: Some(TodoStatus::Completed), ..Change::default() });
    }

    /// Sets the item to completed, with a message.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let todo = cx.todos().start("birds", "Birds")?;
    ///     todo.done_with("12 pages");
    ///     assert_eq!(cx.todos().items()[0].message, "12 pages");
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn done_with(&self, message: impl Into<String>) {
        let (status, message) = (Some(TodoStatus::Completed), Some(message.into()));
        self.set(Change { status, message, ..Change::default() });
    }

    /// Sets the item to failed, with a message.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, todo::TodoStatus};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let todo = cx.todos().start("birds", "Birds")?;
    ///     todo.fail("no source found");
    ///     assert_eq!(cx.todos().items()[0].status, TodoStatus::Failed);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn fail(&self, message: impl Into<String>) {
        let (status, message) = (Some(TodoStatus::Failed), Some(message.into()));
        self.set(Change { status, message, ..Change::default() });
    }

    /// Sets the item to cancelled, with a message.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, todo::TodoStatus};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let todo = cx.todos().start("birds", "Birds")?;
    ///     todo.cancel("not needed");
    ///     assert_eq!(cx.todos().items()[0].status, TodoStatus::Cancelled);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn cancel(&self, message: impl Into<String>) {
        let (status, message) = (Some(TodoStatus::Cancelled), Some(message.into()));
        self.set(Change { status, message, ..Change::default() });
    }

    fn set(&self, change: Change) {
        // The id is known: handles are made only for existing items, and items are never removed during a run.
        if let Err(error) = self.todos.change(self.id.clone(), change) {
            tracing::debug!(todo = %self.id, %error, "a todo was not changed");
        }
    }
}
