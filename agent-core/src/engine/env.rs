//! What every task of one run shares: journal, questions, todos, budget, dependencies, and the means to stop.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Budget, RunError, TaskGroup};
use crate::{
    clock::Clock,
    event::{Event, EventBody},
    ids::{RunId, Seq, SessionId, TaskId},
    interrupt::PendingQuestions,
    journal::{
        entry::{Fact, Raw},
        image::TaskRecord,
        writer::{QUEUE, Writer},
    },
    json::Stored,
    memory::MemoryStore,
    model::{Model, PriceTable},
    todo::TodoTree,
    tool::ToolRegistry,
};

/// When a commit is stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Before the next superstep begins. A crash loses nothing that was committed.
    Sync,
    /// While the next superstep runs, in order. Results of steps, model and tool calls, questions and answers
    /// are awaited all the same, so nothing paid for is paid twice; a crash loses at most the last commits, which
    /// are computed again from those results.
    #[default]
    Async,
    /// When the run pauses, ends, fails or is stopped. A crash loses everything since the last of these, the
    /// acceptance of the run included, and subscribers see events only then.
    Exit,
}

/// What nodes can reach besides the state.
#[derive(Default)]
pub(crate) struct Deps {
    pub(crate) typed: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    pub(crate) model: Option<Model>,
    pub(crate) tools: Option<ToolRegistry>,
    pub(crate) prices: Option<PriceTable>,
    pub(crate) memory: Option<Arc<dyn MemoryStore>>,
    pub(crate) cache: NodeCache,
}

/// Kept outcomes of nodes, bounded in number and time.
#[derive(Default)]
pub(crate) struct NodeCache(Mutex<HashMap<String, (Instant, Arc<CachedOutcome>)>>);

/// An outcome as it was journalled.
#[derive(Debug, Clone)]
pub(crate) struct CachedOutcome {
    pub(crate) update: Option<Stored>,
    pub(crate) goto: Vec<String>,
    pub(crate) sends: Vec<(String, Raw)>,
}

impl NodeCache {
    const KEPT: usize = 10_000;

    pub(crate) fn get(&self, key: &str) -> Option<Arc<CachedOutcome>> {
        let kept = self.0.lock();
        let (until, outcome) = kept.get(key)?;
        (*until > Instant::now()).then(|| Arc::clone(outcome))
    }

    pub(crate) fn put(&self, key: String, ttl: Duration, outcome: CachedOutcome) {
        let mut kept = self.0.lock();
        let now = Instant::now();
        if kept.len() >= Self::KEPT {
            kept.retain(|_, (until, _)| *until > now);
        }
        if kept.len() < Self::KEPT {
            kept.insert(key, (now + ttl, Arc::new(outcome)));
        }
    }
}

/// Shared by all tasks of one run.
pub(crate) struct RunEnv {
    pub(crate) session: SessionId,
    pub(crate) run: RunId,
    pub(crate) writer: Arc<Writer>,
    pub(crate) board: Arc<PendingQuestions>,
    pub(crate) deps: Arc<Deps>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) durability: Durability,
    pub(crate) budget: Budget,
    pub(crate) todos: Mutex<TodoTree>,
    pub(crate) control: Control,
    pub(crate) group: TaskGroup,
    /// Whether its nodes have spans.
    pub(crate) traced: bool,
    /// What tasks of the outermost graph recorded and did not finish, by number. Only for a graph that asks for it
    /// at a stop, in a run without a store; with one, the journal has it.
    pub(crate) ledger: Option<Mutex<HashMap<u64, TaskRecord>>>,
}

/// The means to stop a run, and to see that it waits.
pub(crate) struct Control {
    /// End now: tasks that listen get a grace time, the others are dropped.
    pub(crate) stop: Stop,
    /// End at the next superstep.
    pub(crate) drain: AtomicBool,
    /// Leaf tasks that can go on by themselves. Nobody busy while questions are open: the run is paused.
    busy: AtomicI64,
    pub(crate) idle: Notify,
    /// Somebody can go on again.
    pub(crate) awake: Notify,
    /// The same, for the deadline.
    pub(crate) resumed: Notify,
    /// Tasks that asked to be told of a stop.
    pub(crate) listeners: AtomicI64,
    /// The run has been closed: what a task that could not be stopped still says comes too late.
    closed: AtomicBool,
    /// The fact that ends the run was given to the writer.
    ended: AtomicBool,
    /// How long nobody was busy, and since when nobody is.
    idle_time: Mutex<(Duration, Option<Instant>)>,
    /// The process ends: the run is not stopped, it goes on elsewhere.
    handover: AtomicBool,
    /// Nothing more of the run can be journalled.
    store_failed: AtomicBool,
    /// The tasks are being put away (a stop, a park, a shutdown): dropped questions stay asked.
    putting_away: AtomicBool,
    /// Time running before this process took over, and since when it runs now.
    active_before: AtomicU64,
    active_since: Mutex<Option<Instant>>,
}

/// Asks everybody of a run to end. A token with a flag beside it: each superstep looks, and a token's own answer
/// takes its lock.
#[derive(Default)]
pub(crate) struct Stop {
    asked: AtomicBool,
    token: CancellationToken,
}

impl Stop {
    pub(crate) fn cancel(&self) {
        self.asked.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// The token, for those who outlive a borrow (tools).
    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Ready when somebody asked. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        self.token.cancelled().await;
    }
}

impl Control {
    pub(crate) fn new(active_ms: u64) -> Self {
        Self {
            stop: Stop::default(),
            drain: AtomicBool::new(false),
            busy: AtomicI64::new(1),
            idle: Notify::new(),
            awake: Notify::new(),
            resumed: Notify::new(),
            listeners: AtomicI64::new(0),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            idle_time: Mutex::default(),
            handover: AtomicBool::new(false),
            store_failed: AtomicBool::new(false),
            putting_away: AtomicBool::new(false),
            active_before: AtomicU64::new(active_ms),
            active_since: Mutex::new(Some(Instant::now())),
        }
    }

    /// `change` more leaf tasks can go on.
    pub(crate) fn busy(&self, change: i64) {
        if change == 0 {
            return;
        }
        let before = self.busy.fetch_add(change, Ordering::AcqRel);
        if before + change == 0 {
            self.idle_time.lock().1 = Some(Instant::now());
            self.idle.notify_one();
        } else if before == 0 {
            self.awake.notify_one();
            self.resumed.notify_waiters();
            let mut idle = self.idle_time.lock();
            if let Some(since) = idle.1.take() {
                idle.0 += since.elapsed();
            }
        }
    }

    /// How long nobody was busy so far: the whole run waited for a person.
    pub(crate) fn idle_time(&self) -> Duration {
        let (total, since) = *self.idle_time.lock();
        total + since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// From now on nothing more of the run is journalled but its end.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the run writes its last facts.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Notes that the fact that ends the run was given to the writer.
    pub(crate) fn end_noted(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the fact that ends the run was given to the writer.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn check_open(&self) -> Result<(), RunError> {
        if self.is_closed() { Err(RunError::Closed) } else { Ok(()) }
    }

    /// Ends the run at its next superstep, to be taken up by the next process.
    pub(crate) fn drain_for_restart(&self) {
        self.handover.store(true, Ordering::Release);
        self.drain.store(true, Ordering::Release);
        // A paused run has nobody to see the flag.
        self.idle.notify_one();
    }

    /// Ends the run where it is, to be taken up by the next process.
    pub(crate) fn stop_for_restart(&self) {
        self.handover.store(true, Ordering::Release);
        self.stop.cancel();
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        self.handover.load(Ordering::Acquire)
    }

    /// Ends the run where it is: its journal cannot be written.
    pub(crate) fn fail_store(&self) {
        self.store_failed.store(true, Ordering::Release);
        self.idle.notify_one();
    }

    pub(crate) fn has_store_failed(&self) -> bool {
        self.store_failed.load(Ordering::Acquire)
    }

    pub(crate) fn put_away(&self) {
        self.putting_away.store(true, Ordering::Release);
    }

    pub(crate) fn keeps_questions(&self) -> bool {
        self.putting_away.load(Ordering::Acquire)
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Acquire) <= 0
    }

    pub(crate) fn active_ms(&self) -> u64 {
        let since = self.active_since.lock().map_or(Duration::ZERO, |since| since.elapsed());
        self.active_before.load(Ordering::Relaxed) + u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The clock of running stands still while the run is paused.
    pub(crate) fn hold(&self) {
        let now = self.active_ms();
        self.active_before.store(now, Ordering::Relaxed);
        *self.active_since.lock() = None;
    }

    pub(crate) fn go_on(&self) {
        *self.active_since.lock() = Some(Instant::now());
    }
}

impl RunEnv {
    /// Notes facts whose loss a crash may cause, as the durability says.
    pub(crate) async fn commit(&self, facts: impl IntoIterator<Item = Fact>) -> Result<Seq, RunError> {
        self.control.check_open()?;
        let seq = self.writer.push(self.run, facts)?;
        match self.durability {
            Durability::Sync => self.writer.stored(seq).await?,
            Durability::Async => {
                self.writer.kick();
                if self.writer.waiting() > QUEUE / 2 {
                    self.writer.stored(Seq(seq.0.saturating_sub(QUEUE as u64 / 4))).await?;
                }
            }
            // A run that never rests must not fill the memory.
            Durability::Exit if self.writer.waiting() > QUEUE / 2 => self.writer.stored(seq).await?,
            Durability::Exit => {}
        }
        Ok(seq)
    }

    /// Notes facts right before others that are waited for.
    pub(crate) fn line_up(&self, facts: impl IntoIterator<Item = Fact>) -> Result<Seq, RunError> {
        self.control.check_open()?;
        Ok(self.writer.push(self.run, facts)?)
    }

    /// Ready when what stands for something paid for is stored, unless all waits for the exit. Cancel safe.
    pub(crate) async fn recorded(&self, seq: Seq) -> Result<(), RunError> {
        if seq > Seq::ZERO && self.durability != Durability::Exit {
            self.writer.stored(seq).await?;
        }
        Ok(())
    }

    /// Begins to store what was pushed, unless all waits for the exit.
    pub(crate) fn begin_storing(&self) {
        if self.durability != Durability::Exit {
            self.writer.kick();
        }
    }

    /// Notes facts without waiting.
    pub(crate) fn note(&self, facts: impl IntoIterator<Item = Fact>) -> Result<(), RunError> {
        self.control.check_open()?;
        self.writer.push(self.run, facts)?;
        self.begin_storing();
        Ok(())
    }

    /// Shows an event without a number.
    pub(crate) fn show(&self, task: Option<Arc<TaskId>>, body: EventBody) {
        if !self.writer.shows(&body) {
            return;
        }
        self.writer.show(Event {
            seq: None,
            at: self.clock.now_ms(),
            session: self.session.clone(),
            run: self.run,
            task,
            body,
        });
    }
}
