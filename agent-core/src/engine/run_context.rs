//! State shared by all tasks of a run: journal writer, questions, todos, budget, dependencies and control.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    Budget, RunControl, RunError,
    journal_writer::{JournalWriter, QUEUE_CAPACITY},
    node_cache::NodeCache,
    steering::Steering,
};
use crate::{
    clock::Clock,
    event::{Event, EventBody},
    ids::{RunId, Seq, SessionId, TaskId},
    interrupt::PendingQuestions,
    journal::{entry::Fact, projection::TaskRecord},
    memory::MemoryStore,
    model::{Model, PriceTable},
    run::{ContextValue, Durability, Pauses},
    task_group::TaskGroup,
    todo::TodoTree,
    tool::ToolRegistry,
};

/// Dependencies that nodes can access.
#[derive(Default)]
pub(crate) struct Deps {
    pub(crate) typed: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    pub(crate) model: Option<Model>,
    pub(crate) tools: Option<ToolRegistry>,
    pub(crate) prices: Option<PriceTable>,
    pub(crate) memory: Option<Arc<dyn MemoryStore>>,
    pub(crate) cache: NodeCache,
}

/// Shared by all tasks of one run.
pub(crate) struct RunContext {
    pub(crate) session: SessionId,
    pub(crate) run: RunId,
    pub(crate) writer: Arc<JournalWriter>,
    pub(crate) pending_questions: Arc<PendingQuestions>,
    pub(crate) deps: Arc<Deps>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) durability: Durability,
    pub(crate) budget: Budget,
    pub(crate) todos: Mutex<TodoTree>,
    pub(crate) control: RunControl,
    pub(crate) tasks: RunTasks,
    /// Whether nodes have spans.
    pub(crate) traced: bool,
    /// Records of unfinished tasks of the outermost graph, by number. Only for a graph with `on_stop` in a run without a
    /// store; otherwise the journal has them.
    pub(crate) unfinished_records: Option<Box<Mutex<HashMap<u64, TaskRecord>>>>,
    /// The context of the run.
    pub(crate) context: Option<Arc<ContextValue>>,
    /// Breakpoints and the start time.
    pub(crate) pauses: Option<Arc<Pauses>>,
    /// Messages to the agent that is the outermost graph; `None` for other graphs.
    pub(crate) steering: Option<Box<Steering>>,
    /// In a replay of a recorded run.
    pub(crate) replay: Option<Arc<dyn ReplayedRun>>,
}

/// Spawned tasks of a run. Their group is created with the first one: most runs of single tasks have none.
#[derive(Default)]
pub(crate) struct RunTasks(Mutex<Spawned>);

#[derive(Default)]
enum Spawned {
    #[default]
    None,
    Some(TaskGroup),
    /// The run has ended: further tasks are dropped.
    Ended,
}

impl RunTasks {
    /// Spawns a task that is dropped when the run ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut spawned = self.0.lock();
        match &*spawned {
            Spawned::Some(group) => group.spawn(task),
            Spawned::None => {
                let group = TaskGroup::default();
                group.spawn(task);
                *spawned = Spawned::Some(group);
            }
            Spawned::Ended => drop(spawned),
        }
    }

    /// Asks all tasks to stop. Returns their group, if there were any.
    pub(crate) fn stop(&self) -> Option<TaskGroup> {
        match std::mem::replace(&mut *self.0.lock(), Spawned::Ended) {
            Spawned::Some(group) => {
                group.stop();
                Some(group)
            }
            Spawned::None | Spawned::Ended => None,
        }
    }
}

/// A recorded run that is replayed.
pub(crate) trait ReplayedRun: Send + Sync {
    /// Notes a step without a record, which is not executed.
    fn unrecorded(&self, task: &Arc<TaskId>, key: &str);

    /// Returns the numbers of the tasks of a frame in the order of their commits, in dataflow mode.
    fn commits(&self, parent: Option<&TaskId>) -> VecDeque<u64>;
}

impl RunContext {
    /// Appends facts and waits as the durability requires. A crash may lose them.
    pub(crate) async fn commit(&self, facts: impl IntoIterator<Item = Fact>) -> Result<Seq, RunError> {
        self.control.check_open()?;
        let seq = self.writer.push(self.run, facts)?;
        match self.durability {
            Durability::Sync => self.writer.wait_durable(seq).await?,
            Durability::Async => {
                self.writer.flush_soon();
                if self.writer.queue_len() > QUEUE_CAPACITY / 2 {
                    self.writer.wait_durable(Seq(seq.0.saturating_sub(QUEUE_CAPACITY as u64 / 4))).await?;
                }
            }
            // A run that never pauses must not fill the memory.
            Durability::Exit if self.writer.queue_len() > QUEUE_CAPACITY / 2 => {
                self.writer.wait_durable(seq).await?
            }
            Durability::Exit => {}
        }
        Ok(seq)
    }

    /// Queues facts that are followed by others that are awaited.
    pub(crate) fn append_uncommitted(&self, facts: impl IntoIterator<Item = Fact>) -> Result<Seq, RunError> {
        self.control.check_open()?;
        Ok(self.writer.push(self.run, facts)?)
    }

    /// Waits until the record of an effect is stored, unless the durability is [`Durability::Exit`]. Cancel safe.
    pub(crate) async fn wait_recorded(&self, seq: Seq) -> Result<(), RunError> {
        if seq > Seq::ZERO && self.durability != Durability::Exit {
            self.writer.wait_durable(seq).await?;
        }
        Ok(())
    }

    /// Starts a flush in the background, unless the durability is [`Durability::Exit`].
    pub(crate) fn flush_soon(&self) {
        if self.durability != Durability::Exit {
            self.writer.flush_soon();
        }
    }

    /// Appends facts without waiting.
    pub(crate) fn append(&self, facts: impl IntoIterator<Item = Fact>) -> Result<(), RunError> {
        self.control.check_open()?;
        self.writer.push(self.run, facts)?;
        self.flush_soon();
        Ok(())
    }

    /// Publishes an unnumbered event.
    pub(crate) fn emit_ephemeral(&self, task: Option<Arc<TaskId>>, body: EventBody) {
        if !self.writer.wants_event(&body) {
            return;
        }
        self.writer.emit(Event {
            seq: None,
            at: self.clock.now_ms(),
            session: self.session.clone(),
            run: self.run,
            task,
            body,
        });
    }
}
