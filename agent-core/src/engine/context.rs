//! [`Context`]: the handle that a node gets for recorded steps, questions, todos, events, models and tools.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::{Arc, OnceLock},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    RunContext,
    concurrency::ConcurrencySlot,
    interrupt::Ask,
    journal_writer::QUEUE_CAPACITY,
    task::{AttemptHandle, TaskReplay},
};
use crate::{
    event::{EventBody, EventKind, payload},
    graph::{
        NodeError, Result,
        topology::{NodeIx, Topology},
    },
    ids::{NodeName, RunId, SessionId, TaskId},
    interrupt::Question,
    journal::{
        entry::{CustomFact, Fact},
        projection::{TaskRecord, fingerprint},
    },
    json::{self, Sorted, ValueError},
    memory::MemoryStore,
    model::Model,
    run::{BudgetUsage, ContextError},
    todo::Todos,
    tool::ToolRegistry,
};

/// Largest value of one custom event, in bytes of JSON.
const MAX_EVENT: usize = 256 * 1024;

/// Interface of a node to its run: recorded steps, questions, todos, events, models, tools and memory. A clone belongs to
/// the same task.
///
/// # Examples
///
/// ```
/// # use agent_core::{Context, END, Graph, NodeError, Runtime, START, State};
/// # use agent_core::model::{Model, testing::{Scripted, Turn}};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(State, Default, Serialize, Deserialize)]
/// # struct Draft { text: String }
/// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
///     let todo = cx.todos().start("letter", "Write a letter")?;
///     let id = cx.step("id", async { Ok::<_, NodeError>(7) }).await?;
///     let reply = cx.model()?.complete("Write a letter to Ana.").await?;
///     todo.done();
///     Ok(Draft::update().text(format!("{id}: {}", reply.message.text())))
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = Model::new(Scripted::new([Turn::text("Dear Ana")]));
/// # let graph = Graph::<Draft>::builder("draft").node("write", write)
/// #     .edge(START, "write").edge("write", END).build()?;
/// # let session = Runtime::builder().model(model).build().session("essay-1")?;
/// # session.run(&graph, Draft::update()).await?;
/// # Ok(()) }
/// ```
pub struct Context {
    pub(super) scope: Arc<TaskScope>,
    pub(super) node: NodeIx,
    pub(super) number: u64,
    pub(super) superstep: u64,
    /// Created on first use; most tasks of plain nodes need none.
    replay: OnceLock<Arc<TaskReplay>>,
    /// Attempt in which this context was cloned; 0 for the context of the node itself, which has the current attempt.
    attempt_number: u32,
}

/// State shared by the tasks of one frame. One pointer in each context, because every reference count costs as much as a
/// small node.
pub(super) struct TaskScope {
    pub(super) env: Arc<RunContext>,
    pub(super) topology: Arc<Topology>,
    /// The task that contains the subgraph; `None` for the outermost graph.
    pub(super) parent: Option<Arc<TaskId>>,
    pub(super) slot: Option<Arc<dyn ConcurrencySlot>>,
}

impl Context {
    /// Creates a context that belongs to no task yet.
    pub(super) fn new(scope: Arc<TaskScope>) -> Self {
        Self { scope, node: 0, number: 0, superstep: 0, replay: OnceLock::new(), attempt_number: 0 }
    }

    /// Makes this the context of a task.
    #[inline]
    pub(super) fn enter(&mut self, node: NodeIx, number: u64, superstep: u64) {
        (self.node, self.number, self.superstep) = (node, number, superstep);
    }

    /// Ends the task: the context can enter another one.
    #[inline]
    pub(super) fn leave(&mut self) {
        drop(self.replay.take());
    }

    fn name(&self) -> &NodeName {
        &self.scope.topology.names[self.node as usize]
    }

    pub(super) fn restore(&self, record: TaskRecord) {
        let replay = TaskReplay::new(
            Arc::clone(&self.scope.env),
            Arc::new(self.task_id()),
            self.scope.slot.clone(),
            Some(record),
        );
        if self.replay.set(Arc::new(replay)).is_err() {
            unreachable!("a fresh context has no replay yet");
        }
    }

    pub(super) fn replay(&self) -> &Arc<TaskReplay> {
        self.replay.get_or_init(|| {
            let task = Arc::new(self.task_id());
            Arc::new(TaskReplay::new(Arc::clone(&self.scope.env), task, self.scope.slot.clone(), None))
        })
    }

    /// Returns a handle of the attempt. Code that a node leaves running keeps the attempt of its clone.
    pub(super) fn attempt_handle(&self) -> AttemptHandle {
        AttemptHandle::new(Arc::clone(self.replay()), self.current_attempt())
    }

    fn current_attempt(&self) -> u32 {
        if self.attempt_number == 0 { self.replay().failed_attempts() + 1 } else { self.attempt_number }
    }

    #[inline]
    pub(super) fn replay_if_created(&self) -> Option<&Arc<TaskReplay>> {
        self.replay.get()
    }

    /// Returns the task for an event without creating the replay.
    pub(super) fn task_for_event(&self) -> Arc<TaskId> {
        self.replay_if_created().map_or_else(|| Arc::new(self.task_id()), |replay| Arc::clone(&replay.task))
    }

    /// Wraps an error of this node.
    pub(super) fn failed(&self, source: NodeError) -> super::RunError {
        super::RunError::Node {
            node: self.node().to_owned(),
            superstep: self.superstep,
            attempts: self.attempt(),
            source: super::NodeCause(source),
        }
    }

    fn task_id(&self) -> TaskId {
        match &self.scope.parent {
            Some(parent) => parent.child(Arc::clone(self.name()), self.number),
            None => TaskId::root(Arc::clone(self.name()), self.number),
        }
    }

    // --- where am I -------------------------------------------------------------------------------------------

    /// Returns the id of the session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     assert_eq!(cx.session().as_str(), "essay-1");
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
    pub fn session(&self) -> &SessionId {
        &self.scope.env.session
    }

    /// Returns the number of the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     assert_eq!(cx.run().to_string(), "run-1");
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
    pub fn run(&self) -> RunId {
        self.scope.env.run
    }

    /// Returns the name of the node.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     assert_eq!(cx.node(), "write");
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
    pub fn node(&self) -> &str {
        self.name()
    }

    /// Returns the id of the task: this activation of the node.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     assert_eq!(cx.task().to_string(), "write#1");
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
    pub fn task(&self) -> Arc<TaskId> {
        Arc::clone(&self.replay().task)
    }

    /// Returns the superstep of the node's graph, counted from 1 in each run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     assert_eq!(cx.superstep(), 1);
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
    pub const fn superstep(&self) -> u64 {
        self.superstep
    }

    /// Returns the number of this attempt of the task, counted from 1. A restart of the process does not reset it.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     // The second attempt takes the other path.
    ///     let text = if cx.attempt() == 1 { "a long text" } else { "a short text" };
    ///     Ok(Draft::update().text(text))
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
    pub fn attempt(&self) -> u32 {
        self.replay_if_created().map_or(1, |replay| replay.failed_attempts() + 1)
    }

    /// Returns the budget usage of the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let calls_left = 20_u64.saturating_sub(cx.used().model_calls);
    /// #     assert_eq!(calls_left, 20);
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
    pub fn used(&self) -> BudgetUsage {
        self.scope.env.budget.used()
    }

    // --- dependencies -----------------------------------------------------------------------------------------

    /// Returns a dependency that was added with [`RuntimeBuilder::provide`](crate::session::RuntimeBuilder::provide).
    ///
    /// # Errors
    ///
    /// A permanent error with the name of the type if the runtime has no such dependency.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// struct Style { tone: &'static str }
    ///
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     let style = cx.get::<Style>()?;
    ///     Ok(Draft::update().text(format!("a {} text", style.tone)))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().provide(Style { tone: "friendly" }).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn get<T: Any + Send + Sync>(&self) -> Result<Arc<T>> {
        let found = self.scope.env.deps.typed.get(&TypeId::of::<T>()).cloned();
        found.and_then(|any| any.downcast().ok()).ok_or_else(|| {
            NodeError::permanent(format!(
                "no `{}` was provided; give one to `Runtime::builder().provide(..)`",
                std::any::type_name::<T>()
            ))
        })
    }

    /// Returns the context of the run, which was set with [`RunOptions::context`](crate::RunOptions::context).
    ///
    /// # Errors
    ///
    /// A permanent [`ContextError`](crate::run::ContextError): the run has none, or it cannot be read as a `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Context, END, Graph, RunOptions, Runtime, START, State};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(State, Default, Serialize, Deserialize)]
    /// struct Draft { text: String }
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct User { name: String }
    ///
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     Ok(Draft::update().text(format!("Dear {},", cx.context::<User>()?.name)))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let graph = Graph::<Draft>::builder("draft").node("write", write).path([START, "write", END]).build()?;
    /// let session = Runtime::builder().build().session("s-1")?;
    /// let options = RunOptions::default().context(User { name: "Mina".into() });
    /// let outcome = session.run(&graph, Draft::update()).options(options).await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.text, "Dear Mina,");
    /// # Ok(()) }
    /// ```
    pub fn context<T: Serialize + DeserializeOwned + Any + Send + Sync>(&self) -> Result<Arc<T>> {
        let context = self.scope.env.context.as_ref().ok_or(ContextError::Missing);
        context.and_then(|context| context.read()).map_err(NodeError::permanent)
    }

    /// Returns the stored context of the run as JSON.
    #[cfg(feature = "prompt")]
    pub(crate) fn context_json(&self) -> Option<serde_json::Value> {
        self.scope.env.context.as_ref()?.json()
    }

    /// Returns the context of the run, which was set with
    /// [`RunOptions::transient_context`](crate::RunOptions::transient_context).
    ///
    /// # Errors
    ///
    /// A permanent [`ContextError`](crate::run::ContextError): the run has none, this process does not have it, or it has
    /// another type.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Context, State};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(State, Default, Serialize, Deserialize)]
    /// struct Draft { text: String }
    ///
    /// struct Printer(&'static str);
    ///
    /// async fn print(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     // Set with `RunOptions::transient_context`, and again when the run is resumed in another process.
    ///     let printer = cx.transient_context::<Printer>()?;
    ///     Ok(Draft::update().text(format!("printed on {}", printer.0)))
    /// }
    /// # let _ = print;
    /// ```
    pub fn transient_context<T: Any + Send + Sync>(&self) -> Result<Arc<T>> {
        let context = self.scope.env.context.as_ref().ok_or(ContextError::Missing);
        context.and_then(|context| context.live()).map_err(NodeError::permanent)
    }

    /// Returns the long-term memory that was set with [`RuntimeBuilder::memory`](crate::session::RuntimeBuilder::memory).
    ///
    /// # Errors
    ///
    /// A permanent error if the runtime has no long-term memory.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use agent_core::memory::{InMemoryStore, Namespace, Put};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let place = Namespace::new(["users", "ana"])?;
    ///     cx.memory()?.put(Put::new(place.clone(), "tone", json!("friendly"))).await?;
    ///     let item = cx.memory()?.get(&place, "tone").await?;
    ///     assert_eq!(item.map(|item| item.value), Some(json!("friendly")));
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().memory(InMemoryStore::new()).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn memory(&self) -> Result<&Arc<dyn MemoryStore>> {
        self.scope.env.deps.memory.as_ref().ok_or_else(|| {
            NodeError::permanent("the runtime has no long-term memory; give it one with `.memory(..)`")
        })
    }

    /// Returns an idempotency key for an external system: 32 hexadecimal digits that are the same in each attempt of this
    /// task, and different for another `key` or task.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let key = cx.idempotency_key("charge");
    ///     assert_eq!(key.len(), 32);
    ///     // Another attempt of this task gets the same key.
    ///     assert_eq!(key, cx.idempotency_key("charge"));
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
    pub fn idempotency_key(&self, key: &str) -> String {
        let text =
            format!("{}\n{}\n{}\n{key}", self.scope.env.session, self.scope.env.run, self.replay().task);
        crate::util::digest(&text, 16)
    }

    // --- a person ---------------------------------------------------------------------------------------------

    /// Asks a question and waits for the answer. The run pauses when no other task can proceed.
    ///
    /// Waiting is not an error: the future is pending, so no `?` or `catch` can swallow it. While the process lives, the
    /// node continues where it was; after a restart the node is entered again and everything recorded is replayed. Once
    /// an answer is given, asking with the same key again returns the same answer.
    ///
    /// An answer applies to exactly what was shown: prompt, options, schema and details. If a question with the same key
    /// shows something else after a restart (because of a new version of the program, for example), it is refused with
    /// [`AskError::Changed`](crate::interrupt::AskError::Changed). Build questions from the state and from recorded
    /// results only. To change a question on purpose, resume the failed run: its next attempt asks the new question. Or
    /// keep the old question for runs in which it is open.
    ///
    /// A question that is asked inside a [`step`](Context::step) is part of the step.
    ///
    /// # Errors
    ///
    /// Returns [`AskError`](crate::interrupt::AskError) if the deadline has passed, the question is invalid or differs from
    /// the one asked before, or the answer cannot be decoded as `T`; [`NodeEnded`](super::NodeEnded) if the node has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before the answer withdraws the question.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Answers, Context, END, Graph, Question, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     let question = Question::choose("Which tone?", ["friendly", "formal"]);
    ///     let tone: String = cx.ask(question).await?;
    ///     Ok(Draft::update().text(format!("a {tone} text")))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # let outcome = session.run(&graph, Draft::update()).await?;
    /// # assert!(outcome.is_paused());
    /// # session.answer(Answers::only("formal")).await?;
    /// # assert!(session.wait_status().await? == agent_core::RunStatus::Completed);
    /// # Ok(()) }
    /// ```
    pub fn ask<T: DeserializeOwned>(&self, question: impl Into<Question>) -> Ask<T> {
        Ask::new(self.attempt_handle(), question.into())
    }

    // --- what others see --------------------------------------------------------------------------------------

    /// Returns the todo list of the run.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let todo = cx.todos().start("draft", "Write a draft")?;
    ///     todo.progress(50, "first half");
    ///     todo.done();
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
    pub fn todos(&self) -> Todos {
        Todos::new(self.attempt_handle())
    }

    /// Publishes an event of the application and writes it to the journal. A task that is entered again does not repeat
    /// events that it has published.
    ///
    /// # Errors
    ///
    /// A permanent error if the value cannot be stored ([`ValueError`]) or exceeds 256 KiB, or if 65,536 events wait for
    /// the store (use [`progress`](Context::progress) for events that need not be stored);
    /// [`NodeEnded`](super::NodeEnded) if the node has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     cx.emit("draft_written", json!({ "words": 120 }))?;
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
    pub fn emit(&self, name: impl Into<String>, value: impl Serialize) -> Result<()> {
        let name = name.into();
        let named = |error: ValueError| NodeError::permanent(error.of(format!("event `{name}`")));
        let value = json::to_value(&value).map_err(named)?;
        let replay = self.replay();
        let writer = &self.scope.env.writer;
        if !writer.wants(EventKind::Custom) {
            return Ok(replay.touch(self.attempt_number)?);
        }
        // The estimate is cheap, and at least a sixteenth of the text.
        let may_be_large = writer.is_durable() && json::size(&value) > MAX_EVENT / 16;
        if may_be_large && value.to_string().len() > MAX_EVENT {
            return Err(NodeError::permanent(format!("event `{name}` is larger than {MAX_EVENT} bytes")));
        }
        let make = |(name, value): (String, Value)| {
            if writer.is_durable() && writer.queue_len() >= QUEUE_CAPACITY {
                return Err(NodeError::permanent(format!("{QUEUE_CAPACITY} events wait for the store")));
            }
            let task = Arc::clone(&replay.task);
            Ok(Some([Fact::Custom(CustomFact { task, name, value: value.into() })]))
        };
        let of_event = |(name, value): &(String, Value)| fingerprint(name, &Sorted(value));
        Ok(replay.emit_once(self.attempt_number, (name, value), of_event, make)??)
    }

    /// Publishes progress that is not stored. A slow subscriber gets only the latest value of each name.
    ///
    /// # Errors
    ///
    /// A permanent error if the value is not valid JSON; [`NodeEnded`](super::NodeEnded) if the node has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     for page in 1..=3 {
    ///         cx.progress("page", page)?;
    ///     }
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
    pub fn progress(&self, name: impl Into<String>, value: impl Serialize) -> Result<()> {
        let name = name.into();
        let named = |error: ValueError| NodeError::permanent(error.of(format!("progress `{name}`")));
        let value = json::to_value(&value).map_err(named)?;
        self.replay().touch(self.attempt_number)?;
        self.emit_ephemeral(EventBody::Progress(payload::Progress { name, value }));
        Ok(())
    }

    /// Publishes a part of a message as it is generated. Does nothing after the node has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     for piece in ["Dear ", "Ana"] {
    ///         cx.token("letter", piece);
    ///     }
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
    pub fn token(&self, message: impl Into<String>, text: impl Into<String>) {
        self.emit_ephemeral(EventBody::Token(payload::Token { message: message.into(), text: text.into() }));
    }

    pub(crate) fn emit_ephemeral(&self, body: EventBody) {
        if self.replay().touch(self.attempt_number).is_ok() {
            self.scope.env.emit_ephemeral(Some(Arc::clone(&self.replay().task)), body);
        }
    }

    // --- models -----------------------------------------------------------------------------------------------

    /// Returns the model of the runtime. Its calls are recorded.
    ///
    /// # Errors
    ///
    /// A permanent error if the runtime has no model.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     let reply = cx.model()?.complete("Write a letter to Ana.").await?;
    ///     Ok(Draft::update().text(reply.message.text()))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::new(Scripted::new([Turn::text("Dear Ana")]));
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().model(model).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn model(&self) -> Result<super::model::RecordedModel> {
        let model =
            self.scope.env.deps.model.clone().ok_or_else(|| {
                NodeError::permanent("the runtime has no model; give it one with `.model(..)`")
            })?;
        Ok(self.model_of(&model))
    }

    /// Returns `model` with recorded calls, for a node that does not use the model of the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use agent_core::model::{Model, testing::{Scripted, Turn}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     let small = Model::new(Scripted::new([Turn::text("Dear Ana")]));
    ///     let reply = cx.model_of(&small).complete("Write a letter to Ana.").await?;
    ///     Ok(Draft::update().text(reply.message.text()))
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
    pub fn model_of(&self, model: &Model) -> super::model::RecordedModel {
        super::model::RecordedModel::new(self.clone(), model.clone())
    }

    /// Returns the tools of the runtime. Their calls are recorded.
    ///
    /// # Errors
    ///
    /// A permanent error if the runtime has no tools.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool};
    /// # use agent_core::tool::{ToolCall, ToolError, ToolRegistry};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let call = ToolCall::new("count_words", &json!({ "text": "Dear Ana" }));
    ///     let message = cx.tools()?.call(call).await?;
    ///     assert_eq!(message.text(), "2");
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tools = ToolRegistry::builder().tool(count_words).build()?;
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().tools(tools).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn tools(&self) -> Result<super::RecordedTools> {
        let tools = self.scope.env.deps.tools.clone().ok_or_else(|| {
            NodeError::permanent("the runtime has no tools; give it some with `.tools(..)`")
        })?;
        Ok(self.tools_of(&tools))
    }

    /// Returns `tools` with recorded calls, for a node that does not use the tools of the runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, tool};
    /// # use agent_core::tool::{ToolCall, ToolError, ToolRegistry};
    /// # use serde::{Deserialize, Serialize};
    /// # use serde_json::json;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// # /// Counts the words of a text.
    /// # #[tool]
    /// # async fn count_words(text: String) -> Result<usize, ToolError> { Ok(text.split_whitespace().count()) }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     let tools = ToolRegistry::builder().tool(count_words).build()?;
    ///     let call = ToolCall::new("count_words", &json!({ "text": "Dear Ana" }));
    ///     let message = cx.tools_of(&tools).call(call).await?;
    ///     assert_eq!(message.text(), "2");
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
    pub fn tools_of(&self, tools: &ToolRegistry) -> super::RecordedTools {
        super::RecordedTools::new(self.clone(), tools.clone())
    }

    // --- long work --------------------------------------------------------------------------------------------

    /// Completes when the run is being stopped. A node that has called this gets a grace period to finish; other nodes are
    /// dropped at once. Cancel safe.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn generate() -> String { "Dear Ana".to_owned() }
    ///
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     let text = tokio::select! {
    ///         text = generate() => text,
    ///         () = cx.cancelled() => "unfinished".to_owned(),
    ///     };
    ///     Ok(Draft::update().text(text))
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub async fn cancelled(&self) {
        self.listen();
        self.scope.env.control.stop.cancelled().await;
    }

    /// Returns `true` if the run is being stopped. Gives the node a grace period, as [`cancelled`](Context::cancelled) does.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<DraftUpdate> {
    ///     let mut pages = 0;
    ///     while pages < 100 && !cx.is_cancelled() {
    ///         pages += 1;
    ///     }
    ///     Ok(Draft::update().text(format!("{pages} pages")))
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
    pub fn is_cancelled(&self) -> bool {
        self.listen();
        self.scope.env.control.stop.is_cancelled()
    }

    fn listen(&self) {
        if self.replay().register_stop_listener() {
            self.scope.env.control.listeners.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        }
    }

    /// Resets the [idle timeout](crate::graph::NodeExt::idle_timeout) of the node.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, graph::NodeExt};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     for _page in 0..3 {
    ///         tokio::task::yield_now().await;
    ///         cx.heartbeat();
    ///     }
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write.idle_timeout(Duration::from_secs(5)))
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn heartbeat(&self) {
        // An ended node has no timeout.
        drop(self.replay().touch(self.attempt_number));
    }
}

impl Clone for Context {
    fn clone(&self) -> Self {
        // The clone shares the activation's memory, so it must exist.
        let replay = OnceLock::from(Arc::clone(self.replay()));
        Self {
            scope: Arc::clone(&self.scope),
            node: self.node,
            number: self.number,
            superstep: self.superstep,
            replay,
            attempt_number: self.current_attempt(),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("session", &self.scope.env.session)
            .field("run", &self.scope.env.run)
            .field("task", &self.task_id())
            .finish_non_exhaustive()
    }
}
