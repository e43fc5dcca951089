//! What a node holds in its hand: recorded steps, questions, todos, events, models, and when to stop.

use std::{
    any::{Any, TypeId},
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::Poll,
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::Instant;

use super::{
    RunEnv,
    ask::Ask,
    budget,
    cell::{Begun, Call, TaskCell},
    superstep::Slot,
    todos::Todos,
};
use crate::{
    engine::Used,
    event::{EventBody, payload},
    graph::{NodeError, Result},
    ids::{NodeName, RunId, Seq, SessionId, TaskId},
    interrupt::Question,
    journal::{
        entry::{Cause, CustomFact, Fact, Recorded},
        image::{StepFailure, StepRecord, TaskRecord, shown},
        writer::QUEUE,
    },
    memory::MemoryStore,
    model::{Model, ModelError},
    tool::ToolRegistry,
};

/// Largest value of one custom event, in bytes of JSON.
const MAX_EVENT: usize = 256 * 1024;
/// Longest key of a step, in bytes.
const MAX_KEY: usize = 512;

/// What a node holds in its hand while it runs. A clone belongs to the same activation.
pub struct Context {
    pub(super) env: Arc<RunEnv>,
    pub(super) parent: Option<Arc<TaskId>>,
    pub(super) node: NodeName,
    pub(super) number: u64,
    pub(super) superstep: u64,
    pub(super) slot: Option<Arc<dyn Slot>>,
    /// Made when first needed: most activations of a plain node never do.
    cell: OnceLock<Arc<TaskCell>>,
}

impl Context {
    pub(super) fn new(
        env: Arc<RunEnv>,
        parent: Option<Arc<TaskId>>,
        node: NodeName,
        number: u64,
        superstep: u64,
        slot: Option<Arc<dyn Slot>>,
    ) -> Self {
        Self { env, parent, node, number, superstep, slot, cell: OnceLock::new() }
    }

    pub(super) fn restore(&self, record: TaskRecord) {
        let cell =
            TaskCell::new(Arc::clone(&self.env), Arc::new(self.task_id()), self.slot.clone(), Some(record));
        if self.cell.set(Arc::new(cell)).is_err() {
            unreachable!("a fresh context has no cell yet");
        }
    }

    pub(super) fn cell(&self) -> &Arc<TaskCell> {
        self.cell.get_or_init(|| {
            let task = Arc::new(self.task_id());
            Arc::new(TaskCell::new(Arc::clone(&self.env), task, self.slot.clone(), None))
        })
    }

    pub(super) fn cell_if_made(&self) -> Option<&Arc<TaskCell>> {
        self.cell.get()
    }

    /// The task for an event, without making the memory that most activations never need.
    pub(super) fn task_for_show(&self) -> Arc<TaskId> {
        self.cell_if_made().map_or_else(|| Arc::new(self.task_id()), |cell| Arc::clone(&cell.task))
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
        Arc::clone(&self.cell().task)
    }

    /// The superstep of the graph that the node belongs to, counted from 1 in each run.
    #[must_use]
    pub const fn superstep(&self) -> u64 {
        self.superstep
    }

    /// Which try of the activation this is, counted from 1; restarts do not start it anew.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.cell_if_made().map_or(1, |cell| cell.failed() + 1)
    }

    /// What the run has used of its budget.
    #[must_use]
    pub fn used(&self) -> Used {
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

    /// The long-term memory.
    ///
    /// # Errors
    ///
    /// A permanent error when the runtime has none.
    pub fn store(&self) -> Result<&Arc<dyn MemoryStore>> {
        self.env.deps.memory.as_ref().ok_or_else(|| {
            NodeError::permanent("the runtime has no long-term memory; give it one with `.memory(..)`")
        })
    }

    // --- recorded steps ---------------------------------------------------------------------------------------

    /// Runs `future` once ever for this activation and key, and records its result; a node that is entered again
    /// (after a crash, a pause elsewhere, a failed try) gets the recorded result and the future is not polled.
    ///
    /// The result is stored before this returns (see [`Durability`](super::Durability)). An error is recorded for
    /// this try only: the next one runs the step again. For what happens between the effect and its record, give
    /// the outside world the [`idempotency_key`](Context::idempotency_key).
    ///
    /// # Errors
    ///
    /// The future's own error; a permanent error when the same key is already on its way in this activation, when
    /// the result is no JSON, or when what is recorded cannot be read as `T`.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, the effect may have happened without being recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, Result};
    /// # async fn charge(amount: u32, key: &str) -> std::io::Result<String> { Ok(key.into()) }
    /// # async fn node(cx: &Context) -> Result<()> {
    /// let key = cx.idempotency_key("charge");
    /// let receipt: String = cx.step("charge", charge(100, &key)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn step<T, E, F>(&self, key: impl Into<String>, future: F) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        E: Into<NodeError>,
        F: Future<Output = std::result::Result<T, E>>,
    {
        self.step_as("step", key.into(), None, async { (future.await.map_err(Into::into), None) }).await
    }

    /// A step of a kind, with what it may use of the budget; the future says what it did use.
    pub(crate) async fn step_as<T, F>(
        &self,
        kind: &'static str,
        key: String,
        reserve: Option<Used>,
        future: F,
    ) -> Result<T>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = (Result<T>, Option<Used>)>,
    {
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(NodeError::permanent(format!("the key of a step has 1 to {MAX_KEY} bytes")));
        }
        let cell = Arc::clone(self.cell());
        let begun = std::future::poll_fn(|cx| match cell.begin_step(&key, cx.waker()) {
            Begun::Hold => Poll::Pending,
            begun => Poll::Ready(begun),
        })
        .await;
        let scope = match begun {
            Begun::Recorded(step) => return recorded(&key, step),
            Begun::Twice => {
                return Err(NodeError::permanent(format!(
                    "step `{key}` is already running in this activation; give each its own key"
                )));
            }
            Begun::Run(scope) => scope,
            Begun::Hold => unreachable!("a held step stays pending"),
        };
        let mut running = Running { cell: Arc::clone(&cell), key, scope, ended: false, reserved: None };
        if let Some(reserve) = reserve {
            let call = || Arc::new(Call { cell: Arc::clone(&cell), scope }) as _;
            budget::reserve(&self.env, &reserve, call).await?;
            running.reserved = Some(reserve);
        }
        let began = Instant::now();
        let (result, used) = InScope { future: Box::pin(future), cell: Arc::clone(&cell), scope }.await;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(reserved) = running.reserved.take() {
            self.env.budget.settle(&reserved, &used.unwrap_or_default());
        }
        let (result, kept) = match result {
            Ok(value) => {
                let raw = to_raw_value(&value).map_err(|error| {
                    NodeError::permanent(format!("the result of step `{}` is no JSON: {error}", running.key))
                })?;
                (Ok(value), Ok(raw))
            }
            Err(error) => {
                let text = crate::text::shorten(&error.to_string(), 2_000);
                let model = error.downcast_ref::<ModelError>().cloned();
                let cause = Cause { permanent: !error.is_retryable(), model };
                (Err(error), Err(StepFailure { text, cause: Some(cause) }))
            }
        };
        let mut seq = Seq::ZERO;
        if self.env.writer.matters() {
            let (value, error, cause) = match &kept {
                Ok(raw) => (Some(raw.clone()), None, None),
                Err(failure) => (None, Some(failure.text.clone()), failure.cause.clone()),
            };
            let fact = Fact::StepRecorded(Recorded {
                task: Arc::clone(&cell.task),
                key: running.key.clone(),
                kind: kind.to_owned(),
                value,
                error,
                cause,
                ms,
                usage: used,
            });
            seq = self.env.record(fact).await?;
        }
        running.end(StepRecord { result: kept, seq });
        result
    }

    /// A key that is the same whenever this activation asks for `key`, and never the same for another: 32
    /// hexadecimal digits to hand to the outside world.
    #[must_use]
    pub fn idempotency_key(&self, key: &str) -> String {
        let text = format!("{}\n{}\n{}\n{key}", self.env.session, self.env.run, self.cell().task);
        crate::text::digest(&text, 16)
    }

    // --- a person ---------------------------------------------------------------------------------------------

    /// Asks a person and waits for the answer. The run pauses when nothing else can go on.
    ///
    /// The wait cannot be swallowed: it is no error, the future just is not ready. While the process lives, the
    /// node goes on where it stood; after a restart it is entered again and everything recorded is replayed.
    /// Once an answer is given, asking with the same key again gives the same answer.
    ///
    /// # Errors
    ///
    /// [`AskError`](crate::interrupt::AskError) when the deadline passed, the question is no question, or the
    /// answer is no `T`.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its answer, the question is withdrawn.
    pub fn ask<T: DeserializeOwned>(&self, question: impl Into<Question>) -> Ask<T> {
        Ask::new(Arc::clone(self.cell()), question.into())
    }

    // --- what others see --------------------------------------------------------------------------------------

    /// The plan that people see.
    #[must_use]
    pub fn todos(&self) -> Todos {
        Todos::new(Arc::clone(self.cell()), None)
    }

    /// Sends an event of the application, kept in the journal. An event that was sent before a restart is not
    /// sent again.
    ///
    /// # Errors
    ///
    /// A permanent error when the value is no JSON or larger than 256 KiB, or when 65,536 events wait for the
    /// store (use [`progress`](Context::progress) for what need not be kept).
    pub fn emit(&self, name: impl Into<String>, value: impl Serialize) -> Result<()> {
        let name = name.into();
        let value = serde_json::to_value(value).map_err(NodeError::permanent)?;
        let cell = self.cell();
        cell.sign_of_life();
        if !self.env.writer.matters() {
            return Ok(());
        }
        if self.env.writer.keeps() {
            if value.to_string().len() > MAX_EVENT {
                return Err(NodeError::permanent(format!("event `{name}` is larger than {MAX_EVENT} bytes")));
            }
            if cell.was_shown(shown(&name, &value)) {
                return Ok(());
            }
            if self.env.writer.waiting() >= QUEUE {
                return Err(NodeError::permanent(format!("{QUEUE} events wait for the store")));
            }
        }
        let fact = Fact::Custom(CustomFact { task: Arc::clone(&cell.task), name, value });
        Ok(self.env.note([fact])?)
    }

    /// Shows progress that need not be kept: a slow subscriber sees the latest of each name.
    ///
    /// # Errors
    ///
    /// A permanent error when the value is no JSON.
    pub fn progress(&self, name: impl Into<String>, value: impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value).map_err(NodeError::permanent)?;
        self.show(EventBody::Progress(payload::Progress { name: name.into(), value }));
        Ok(())
    }

    /// Shows a piece of text of a message while it arrives.
    pub fn token(&self, message: impl Into<String>, text: impl Into<String>) {
        self.show(EventBody::Token(payload::Token { message: message.into(), text: text.into() }));
    }

    pub(crate) fn show(&self, body: EventBody) {
        let cell = self.cell();
        cell.sign_of_life();
        self.env.show(Some(Arc::clone(&cell.task)), body);
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
        if self.cell().listen() {
            self.env.control.listeners.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        }
    }

    /// A sign of life for the idle timeout.
    pub fn heartbeat(&self) {
        self.cell().sign_of_life();
    }
}

impl Clone for Context {
    fn clone(&self) -> Self {
        // The clone shares the activation's memory, so it must exist.
        let cell = OnceLock::from(Arc::clone(self.cell()));
        Self {
            env: Arc::clone(&self.env),
            parent: self.parent.clone(),
            node: Arc::clone(&self.node),
            number: self.number,
            superstep: self.superstep,
            slot: self.slot.clone(),
            cell,
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

fn recorded<T: DeserializeOwned>(key: &str, step: StepRecord) -> Result<T> {
    let raw: Box<RawValue> = step.result.map_err(|failure| match failure.cause {
        Some(Cause { model: Some(error), .. }) => error.into(),
        Some(Cause { permanent: true, .. }) => NodeError::permanent(failure.text),
        _ => NodeError::msg(failure.text),
    })?;
    serde_json::from_str(raw.get()).map_err(|error| {
        NodeError::permanent(format!("the recorded result of step `{key}` is not of this type: {error}"))
    })
}

/// A step on its way; ends it when dropped, so that an abandoned one does not count as work.
struct Running {
    cell: Arc<TaskCell>,
    key: String,
    scope: usize,
    ended: bool,
    reserved: Option<Used>,
}

impl Running {
    fn end(mut self, result: StepRecord) {
        self.ended = true;
        self.cell.end_step(&self.key, self.scope, Some(result));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.cell.env.budget.release(&reserved);
        }
        if !self.ended {
            self.cell.end_step(&self.key, self.scope, None);
        }
    }
}

/// Polls a step inside its scope, so that a question asked there counts for it.
pub(super) struct InScope<F> {
    pub(super) future: Pin<Box<F>>,
    pub(super) cell: Arc<TaskCell>,
    pub(super) scope: usize,
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let _polled = self.cell.enter(self.scope);
        self.future.as_mut().poll(cx)
    }
}
