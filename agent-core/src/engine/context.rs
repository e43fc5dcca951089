//! [`Context`]: the handle that a node gets for recorded steps, questions, todos, events, models and tools.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::{Arc, OnceLock},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    RunContext,
    executor::ConcurrencySlot,
    interrupt::Ask,
    journal_writer::QUEUE_CAPACITY,
    task::{AttemptHandle, TaskReplay},
};
use crate::{
    event::{EventBody, EventKind, payload},
    graph::{NodeError, Result},
    ids::{NodeName, RunId, SessionId, TaskId},
    interrupt::Question,
    journal::{
        entry::{CustomFact, Fact},
        projection::{TaskRecord, fingerprint},
    },
    json::{self, ValueError},
    memory::MemoryStore,
    model::Model,
    run::BudgetUsage,
    todo::Todos,
    tool::ToolRegistry,
};

/// Largest value of one custom event, in bytes of JSON.
const MAX_EVENT: usize = 256 * 1024;

/// What a node holds in its hand while it runs. A clone belongs to the same activation.
pub struct Context {
    pub(super) env: Arc<RunContext>,
    pub(super) parent: Option<Arc<TaskId>>,
    pub(super) node: NodeName,
    pub(super) number: u64,
    pub(super) superstep: u64,
    pub(super) slot: Option<Arc<dyn ConcurrencySlot>>,
    /// Made when first needed: most activations of a plain node never do.
    replay: OnceLock<Arc<TaskReplay>>,
    /// The try in which this was cloned; 0: the node's own, of the present try.
    attempt_number: u32,
}

impl Context {
    pub(super) fn new(
        env: Arc<RunContext>,
        parent: Option<Arc<TaskId>>,
        node: NodeName,
        number: u64,
        superstep: u64,
        slot: Option<Arc<dyn ConcurrencySlot>>,
    ) -> Self {
        Self { env, parent, node, number, superstep, slot, replay: OnceLock::new(), attempt_number: 0 }
    }

    pub(super) fn restore(&self, record: TaskRecord) {
        let replay =
            TaskReplay::new(Arc::clone(&self.env), Arc::new(self.task_id()), self.slot.clone(), Some(record));
        if self.replay.set(Arc::new(replay)).is_err() {
            unreachable!("a fresh context has no replay yet");
        }
    }

    pub(super) fn replay(&self) -> &Arc<TaskReplay> {
        self.replay.get_or_init(|| {
            let task = Arc::new(self.task_id());
            Arc::new(TaskReplay::new(Arc::clone(&self.env), task, self.slot.clone(), None))
        })
    }

    /// The try that this belongs to. What a node leaves running keeps the try of its clone.
    pub(super) fn attempt_handle(&self) -> AttemptHandle {
        AttemptHandle::new(Arc::clone(self.replay()), self.current_attempt())
    }

    fn current_attempt(&self) -> u32 {
        if self.attempt_number == 0 { self.replay().failed_attempts() + 1 } else { self.attempt_number }
    }

    pub(super) fn replay_if_created(&self) -> Option<&Arc<TaskReplay>> {
        self.replay.get()
    }

    /// The task for an event, without making the memory that most activations never need.
    pub(super) fn task_for_event(&self) -> Arc<TaskId> {
        self.replay_if_created().map_or_else(|| Arc::new(self.task_id()), |replay| Arc::clone(&replay.task))
    }

    /// An error of this node.
    pub(super) fn failed(&self, source: NodeError) -> super::RunError {
        super::RunError::Node {
            node: self.node.to_string(),
            superstep: self.superstep,
            attempts: self.attempt(),
            source: super::NodeCause(source),
        }
    }

    fn task_id(&self) -> TaskId {
        match &self.parent {
            Some(parent) => parent.child(Arc::clone(&self.node), self.number),
            None => TaskId::root(Arc::clone(&self.node), self.number),
        }
    }

    // --- where am I -------------------------------------------------------------------------------------------

    /// The session.
    #[must_use]
    pub fn session(&self) -> &SessionId {
        &self.env.session
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.env.run
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// This activation.
    #[must_use]
    pub fn task(&self) -> Arc<TaskId> {
        Arc::clone(&self.replay().task)
    }

    /// The superstep of the graph that the node belongs to, counted from 1 in each run.
    #[must_use]
    pub const fn superstep(&self) -> u64 {
        self.superstep
    }

    /// Which try of the activation this is, counted from 1; restarts do not start it anew.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.replay_if_created().map_or(1, |replay| replay.failed_attempts() + 1)
    }

    /// What the run has used of its budget.
    #[must_use]
    pub fn used(&self) -> BudgetUsage {
        self.env.budget.used()
    }

    // --- dependencies -----------------------------------------------------------------------------------------

    /// A dependency that was given to [`RuntimeBuilder::provide`](crate::session::RuntimeBuilder::provide).
    ///
    /// # Errors
    ///
    /// A permanent error that names the type when none was given.
    pub fn get<T: Any + Send + Sync>(&self) -> Result<Arc<T>> {
        let found = self.env.deps.typed.get(&TypeId::of::<T>()).cloned();
        found.and_then(|any| any.downcast().ok()).ok_or_else(|| {
            NodeError::permanent(format!(
                "no `{}` was provided; give one to `Runtime::builder().provide(..)`",
                std::any::type_name::<T>()
            ))
        })
    }

    /// Returns the long-term memory that was set with [`RuntimeBuilder::memory`](crate::session::RuntimeBuilder::memory).
    ///
    /// # Errors
    ///
    /// A permanent error if the runtime has no long-term memory.
    pub fn memory(&self) -> Result<&Arc<dyn MemoryStore>> {
        self.env.deps.memory.as_ref().ok_or_else(|| {
            NodeError::permanent("the runtime has no long-term memory; give it one with `.memory(..)`")
        })
    }

    /// A key that is the same whenever this activation asks for `key`, and never the same for another: 32
    /// hexadecimal digits to hand to the outside world.
    #[must_use]
    pub fn idempotency_key(&self, key: &str) -> String {
        let text = format!("{}\n{}\n{}\n{key}", self.env.session, self.env.run, self.replay().task);
        crate::util::digest(&text, 16)
    }

    // --- a person ---------------------------------------------------------------------------------------------

    /// Asks a question and waits for the answer. The run pauses when no other task can proceed.
    ///
    /// Waiting is not an error: the future is pending, so no `?` or `catch` can swallow it. While the process lives, the
    /// node continues where it was; after a restart the node is entered again and everything recorded is replayed. Once
    /// an answer is given, asking with the same key again returns the same answer.
    ///
    /// An answer counts for what was shown (prompt, options, schema and details). Asked with something else under
    /// the same key (for example by a new version of the program), the question is refused with
    /// [`AskError::Changed`](crate::interrupt::AskError::Changed): make what it shows from the state and from recorded
    /// results. To ask something else on purpose, resume the failed run (the next try asks anew), or keep the old
    /// question for the runs that have it open. A try after a failed one may ask something else.
    ///
    /// A question may be asked inside a [`step`](Context::step); it is part of the step then.
    ///
    /// # Errors
    ///
    /// Returns [`AskError`](crate::interrupt::AskError) if the deadline has passed, the question is invalid or differs from
    /// the one asked before, or the answer cannot be decoded as `T`; [`NodeEnded`](super::NodeEnded) if the node has ended
    /// (nothing is asked then).
    ///
    /// # Cancel safety
    ///
    /// Dropped before its answer, the question is withdrawn.
    pub fn ask<T: DeserializeOwned>(&self, question: impl Into<Question>) -> Ask<T> {
        Ask::new(self.attempt_handle(), question.into())
    }

    // --- what others see --------------------------------------------------------------------------------------

    /// The schedule that people see.
    #[must_use]
    pub fn todos(&self) -> Todos {
        Todos::new(self.attempt_handle())
    }

    /// Sends an event of the application, kept in the journal. An event that was sent before a restart is not
    /// sent again.
    ///
    /// # Errors
    ///
    /// A permanent error when the value cannot be stored ([`ValueError`]) or is larger than 256 KiB, or when 65,536 events wait for the
    /// store (use [`progress`](Context::progress) for what need not be kept); [`NodeEnded`](super::NodeEnded) when the
    /// node that lent this context has ended.
    pub fn emit(&self, name: impl Into<String>, value: impl Serialize) -> Result<()> {
        let name = name.into();
        let named = |error: ValueError| NodeError::permanent(error.of(format!("event `{name}`")));
        let value = json::to_value(&value).map_err(named)?;
        let of = self.attempt_handle();
        let writer = &self.env.writer;
        if !writer.wants(EventKind::Custom) {
            return Ok(of.touch()?);
        }
        let fingerprint = fingerprint(&name, &value);
        if writer.is_durable() && value.to_string().len() > MAX_EVENT {
            return Err(NodeError::permanent(format!("event `{name}` is larger than {MAX_EVENT} bytes")));
        }
        let make = || {
            if writer.is_durable() && writer.queue_len() >= QUEUE_CAPACITY {
                return Err(NodeError::permanent(format!("{QUEUE_CAPACITY} events wait for the store")));
            }
            Ok(vec![Fact::Custom(CustomFact { task: Arc::clone(&of.task), name, value: value.into() })])
        };
        Ok(of.emit_once(fingerprint, make)??)
    }

    /// Shows progress that need not be kept: a slow subscriber sees the latest of each name.
    ///
    /// # Errors
    ///
    /// A permanent error when the value is no JSON; [`NodeEnded`](super::NodeEnded) when the node that lent this
    /// context has ended.
    pub fn progress(&self, name: impl Into<String>, value: impl Serialize) -> Result<()> {
        let name = name.into();
        let named = |error: ValueError| NodeError::permanent(error.of(format!("progress `{name}`")));
        let value = json::to_value(&value).map_err(named)?;
        self.attempt_handle().touch()?;
        self.emit_ephemeral(EventBody::Progress(payload::Progress { name, value }));
        Ok(())
    }

    /// Shows a piece of text of a message while it arrives. After the end of the node that lent this context, nothing
    /// is shown.
    pub fn token(&self, message: impl Into<String>, text: impl Into<String>) {
        self.emit_ephemeral(EventBody::Token(payload::Token { message: message.into(), text: text.into() }));
    }

    pub(crate) fn emit_ephemeral(&self, body: EventBody) {
        if self.attempt_handle().touch().is_ok() {
            self.env.emit_ephemeral(Some(Arc::clone(&self.replay().task)), body);
        }
    }

    // --- models -----------------------------------------------------------------------------------------------

    /// The runtime's model; its calls are recorded.
    ///
    /// # Errors
    ///
    /// A permanent error when the runtime has none.
    pub fn model(&self) -> Result<super::model::RecordedModel> {
        let model =
            self.env.deps.model.clone().ok_or_else(|| {
                NodeError::permanent("the runtime has no model; give it one with `.model(..)`")
            })?;
        Ok(self.model_of(&model))
    }

    /// A model of the node's own; its calls are recorded.
    #[must_use]
    pub fn model_of(&self, model: &Model) -> super::model::RecordedModel {
        super::model::RecordedModel::new(self.clone(), model.clone())
    }

    /// The runtime's tools; their calls are recorded.
    ///
    /// # Errors
    ///
    /// A permanent error when the runtime has none.
    pub fn tools(&self) -> Result<super::RecordedTools> {
        let tools = self.env.deps.tools.clone().ok_or_else(|| {
            NodeError::permanent("the runtime has no tools; give it some with `.tools(..)`")
        })?;
        Ok(self.tools_of(&tools))
    }

    /// Tools of the node's own; their calls are recorded.
    #[must_use]
    pub fn tools_of(&self, tools: &ToolRegistry) -> super::RecordedTools {
        super::RecordedTools::new(self.clone(), tools.clone())
    }

    // --- long work --------------------------------------------------------------------------------------------

    /// Ready when the run is being stopped. A node that calls this gets a grace time to finish; one that does not
    /// is dropped at once. Cancel safe.
    pub async fn cancelled(&self) {
        self.listen();
        self.env.control.stop.cancelled().await;
    }

    /// Whether the run is being stopped. Counts as listening; see [`cancelled`](Context::cancelled).
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.listen();
        self.env.control.stop.is_cancelled()
    }

    fn listen(&self) {
        if self.replay().register_stop_listener() {
            self.env.control.listeners.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        }
    }

    /// Resets the idle timeout.
    pub fn heartbeat(&self) {
        // Of an ended node, nothing counts.
        drop(self.attempt_handle().touch());
    }
}

impl Clone for Context {
    fn clone(&self) -> Self {
        // The clone shares the activation's memory, so it must exist.
        let replay = OnceLock::from(Arc::clone(self.replay()));
        Self {
            env: Arc::clone(&self.env),
            parent: self.parent.clone(),
            node: Arc::clone(&self.node),
            number: self.number,
            superstep: self.superstep,
            slot: self.slot.clone(),
            replay,
            attempt_number: self.current_attempt(),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("session", &self.env.session)
            .field("run", &self.env.run)
            .field("task", &self.task_id())
            .finish_non_exhaustive()
    }
}
