//! Parallel execution of the tasks of a superstep: spread over the threads, limited in number, stopped together.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::{Poll, Waker, ready},
};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{
    RunContext, RunError,
    schedule::Activation,
    task::{TaskResult, TaskScope, finished_fact, run_task},
};
use crate::{
    event::EventKind,
    graph::{FailurePolicy, Graph, topology::NodeIx},
    ids::TaskId,
    journal::projection::TaskRecord,
    state::State,
};

/// Concurrency limit of a set of tasks. A task that waits for an answer does not count.
pub(crate) trait ConcurrencySlot: Send + Sync {
    /// Marks a task as waiting for an answer, or as runnable again.
    fn set_blocked(&self, blocked: bool, task: &TaskId);

    /// Ready when a task that no longer waits is within the limits. Registers the waker otherwise.
    fn poll_slot(&self, task: &TaskId, waker: &Waker) -> Poll<()>;

    /// Changes the number of runnable tasks. Only a subgraph counts them: it is one task of the outer pool.
    fn adjust_runnable(&self, _more: i64) {}
}

/// Slot of a subgraph, which is one task of the outer pool: it waits for an answer when all of its tasks do.
pub(crate) struct SubgraphSlot {
    slot: Arc<dyn ConcurrencySlot>,
    task: Arc<TaskId>,
    busy: AtomicI64,
}

impl SubgraphSlot {
    /// Creates the slot of the subgraph in `task`. Its loop is the first runnable task.
    pub(crate) fn new(slot: Arc<dyn ConcurrencySlot>, task: Arc<TaskId>) -> Self {
        Self { slot, task, busy: AtomicI64::new(1) }
    }
}

impl ConcurrencySlot for SubgraphSlot {
    fn set_blocked(&self, blocked: bool, _task: &TaskId) {
        self.adjust_runnable(if blocked { -1 } else { 1 });
    }

    fn poll_slot(&self, _task: &TaskId, waker: &Waker) -> Poll<()> {
        self.slot.poll_slot(&self.task, waker)
    }

    fn adjust_runnable(&self, more: i64) {
        let before = self.busy.fetch_add(more, Ordering::AcqRel);
        if more != 0 && before + more == 0 {
            self.slot.set_blocked(true, &self.task);
        } else if more != 0 && before == 0 {
            self.slot.set_blocked(false, &self.task);
        }
    }
}

/// Tasks of one superstep.
///
/// Workers, one per thread, take jobs from the queue and poll each once. A task that completes in that poll costs no
/// spawn; any other becomes a tokio task, so that tasks that wait overlap.
struct TaskPool<S: State> {
    graph: Graph<S>,
    env: Arc<RunContext>,
    parent: Option<Arc<TaskId>>,
    superstep: u64,
    capped: bool,
    queue: Mutex<Queue<S>>,
    done: Mutex<Done<S>>,
    all_done: Notify,
    cancel: CancellationToken,
    /// The slot of the subgraph in the outer pool, if this pool belongs to a subgraph.
    outer: Option<Arc<dyn ConcurrencySlot>>,
    /// The current span, if nodes have spans.
    span: Option<Span>,
    /// Reference to itself, to spawn further workers.
    me: std::sync::Weak<Self>,
}

struct Queue<S: State> {
    state: Option<Arc<S>>,
    jobs: VecDeque<Job>,
    running: usize,
    by_node: HashMap<NodeIx, usize>,
    /// Tasks that got their answers and wait for a slot, in order.
    returning: Vec<Returning>,
}

/// A task that waits for a slot.
struct Returning {
    number: u64,
    node: NodeIx,
    wakers: Vec<Waker>,
}

struct Job {
    place: usize,
    activation: Activation,
    record: Option<Box<TaskRecord>>,
}

struct Done<S: State> {
    ends: Vec<Option<TaskResult<S>>>,
    missing: usize,
}

/// Runs two or more tasks and returns how they ended, in the order of activation.
pub(crate) async fn run_parallel<S: State>(
    graph: &Graph<S>,
    state: &Arc<S>,
    env: &Arc<RunContext>,
    parent: Option<&Arc<TaskId>>,
    superstep: u64,
    outer: Option<&Arc<dyn ConcurrencySlot>>,
    tasks: Vec<(Activation, Option<Box<TaskRecord>>)>,
) -> Vec<TaskResult<S>> {
    let count = tasks.len();
    let capped = graph.0.concurrency < count
        || tasks.iter().any(|(task, _)| graph.node(task.node).policy.concurrency.is_some());
    let jobs = tasks
        .into_iter()
        .enumerate()
        .map(|(place, (activation, record))| Job { place, activation, record })
        .collect();
    let pool = Arc::new_cyclic(|me| TaskPool {
        graph: graph.clone(),
        env: Arc::clone(env),
        parent: parent.cloned(),
        superstep,
        capped,
        queue: Mutex::new(Queue {
            state: Some(Arc::clone(state)),
            jobs,
            running: 0,
            by_node: HashMap::new(),
            returning: Vec::new(),
        }),
        done: Mutex::new(Done { ends: (0..count).map(|_| None).collect(), missing: count }),
        all_done: Notify::new(),
        cancel: CancellationToken::new(),
        outer: outer.cloned(),
        span: env.traced.then(Span::current),
        me: std::sync::Weak::clone(me),
    });
    // Every task is runnable until it ends or waits; the first one takes over the count of this loop.
    env.control.adjust_runnable(count as i64 - 1);
    if let Some(outer) = outer {
        outer.adjust_runnable(count as i64 - 1);
    }
    let guard = pool.cancel.clone().drop_guard();
    let threads = tokio::runtime::Handle::current().metrics().num_workers();
    // Under a deadline, no task may keep this thread; see `deadline`.
    let apart = parent.is_none() && env.budget.is_timed();
    for _ in usize::from(!apart)..threads.min(count) {
        env.group.spawn(worker(Arc::clone(&pool)));
    }
    if threads > 1 {
        // A tokio worker keeps the task that it spawned last in its LIFO slot, from which no other worker steals. A job that
        // blocks this thread would block that worker too, so a no-op task is spawned last.
        env.group.spawn(std::future::ready(()));
    }
    if !apart {
        worker(Arc::clone(&pool)).await;
    }
    loop {
        let all_done = pool.all_done.notified();
        if pool.done.lock().missing == 0 {
            break;
        }
        all_done.await;
    }
    // The state must have one owner when the updates are applied.
    pool.queue.lock().state = None;
    drop(guard);
    let ends = std::mem::take(&mut pool.done.lock().ends);
    ends.into_iter().map(|end| end.unwrap_or(TaskResult::Cancelled)).collect()
}

/// Runs jobs from the queue until it is empty or the limits are reached.
async fn worker<S: State>(pool: Arc<TaskPool<S>>) {
    while let Some((job, state)) = pool.take() {
        let (place, of) = (job.place, Of::new(&job.activation));
        let mut task = begin(&pool, job, state);
        // Polled once here; see the type.
        match std::future::poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx))).await {
            Poll::Ready(end) => {
                drop(task);
                pool.finish(place, of, end);
            }
            Poll::Pending => {
                let env = Arc::clone(&pool.env);
                env.group.spawn(drive_pending(Arc::clone(&pool), place, of, task));
            }
        }
    }
}

/// Creates the future of a job. Workers run on any thread, so its spans get their parent explicitly.
fn begin<S: State>(pool: &Arc<TaskPool<S>>, job: Job, state: Arc<S>) -> TaskFuture<S> {
    let task: TaskFuture<S> = Box::pin(run_job(Arc::clone(pool), job, state));
    match &pool.span {
        Some(span) => Box::pin(task.instrument(span.clone())),
        None => task,
    }
}

/// The future of a running job.
type TaskFuture<S> = Pin<Box<dyn Future<Output = TaskResult<S>> + Send>>;

/// A boxed worker: a future cannot contain itself.
fn boxed_worker<S: State>(pool: Arc<TaskPool<S>>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(worker(pool))
}

async fn drive_pending<S: State>(pool: Arc<TaskPool<S>>, place: usize, of: Of, mut task: TaskFuture<S>) {
    let mut end = tokio::select! {
        biased; // a result that came in the same poll counts
        end = task.as_mut() => Some(end),
        () = pool.cancel.cancelled() => Some(TaskResult::Cancelled),
        () = pool.env.control.stop.cancelled() => None,
    };
    if end.is_none() {
        // The next poll ends a task that does not listen for a stop; one that listens has the grace time.
        end = tokio::select! {
            biased;
            end = task.as_mut() => Some(end),
            () = pool.cancel.cancelled() => None,
        };
    }
    // A panic in the author's `Drop` must not keep the slot of the task.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(task))) {
        let (node, message) = (&pool.graph.node(of.node).name, crate::util::panic_message(&*panic));
        tracing::error!(session = %pool.env.session, %node, message, "a cancelled node panicked while it was dropped");
    }
    pool.finish(place, of, end.unwrap_or(TaskResult::Cancelled));
    // Jobs that the limits held back may start now.
    if pool.capped {
        boxed_worker(pool).await;
    }
}

async fn run_job<S: State>(pool: Arc<TaskPool<S>>, job: Job, state: Arc<S>) -> TaskResult<S> {
    let slot: Option<Arc<dyn ConcurrencySlot>> =
        if pool.capped { Some(Arc::clone(&pool) as _) } else { pool.outer.clone() };
    let place = TaskScope {
        graph: &pool.graph,
        env: &pool.env,
        parent: pool.parent.as_ref(),
        superstep: pool.superstep,
    };
    let running = run_task(place, &*state, &job.activation, slot.as_ref(), job.record);
    // A panic outside the node's code (a cache key, a retry predicate) must not keep the slot of the task.
    let end = AssertUnwindSafe(running).catch_unwind().await.unwrap_or_else(|panic| {
        let node = pool.graph.node(job.activation.node).name.to_string();
        TaskResult::Failed(RunError::Panicked { node, message: crate::util::panic_message(&*panic) })
    });
    // Journalled at once: a sibling's failure or a crash does not undo it.
    match end {
        TaskResult::Finished { outcome, raw, cached, journalled: false }
            if pool.env.writer.wants_of(EventKind::NodeFinished, pool.parent.is_some()) =>
        {
            let node = Arc::clone(&pool.graph.node(job.activation.node).name);
            let number = job.activation.number;
            let task = match &pool.parent {
                Some(parent) => parent.child(node, number),
                None => TaskId::root(node, number),
            };
            let fact = finished_fact(Arc::new(task), &outcome, raw, cached);
            match pool.env.commit([fact]).await {
                Ok(_) => TaskResult::Finished { outcome, raw: None, cached, journalled: true },
                Err(error) => TaskResult::Failed(error),
            }
        }
        end => end,
    }
}

/// A task as counted by the limits.
#[derive(Clone, Copy)]
struct Of {
    number: u64,
    node: NodeIx,
}

impl Of {
    const fn new(activation: &Activation) -> Self {
        Self { number: activation.number, node: activation.node }
    }
}

impl<S: State> TaskPool<S> {
    /// Takes the next job that the limits allow.
    fn take(&self) -> Option<(Job, Arc<S>)> {
        let mut queue = self.queue.lock();
        if self.cancel.is_cancelled() || self.env.control.stop.is_cancelled() {
            let left = std::mem::take(&mut queue.jobs);
            drop(queue);
            for job in left {
                self.end(job.place, TaskResult::Cancelled);
            }
            return None;
        }
        let state = Arc::clone(queue.state.as_ref()?);
        if !self.capped {
            return queue.jobs.pop_front().map(|job| (job, state));
        }
        let at = queue.jobs.iter().position(|job| self.has_room(&queue, job.activation.node))?;
        let job = queue.jobs.remove(at)?;
        queue.enter(job.activation.node);
        Some((job, state))
    }

    /// Returns whether the limits allow one more task of this node.
    fn has_room(&self, queue: &Queue<S>, node: NodeIx) -> bool {
        let cap = self.graph.node(node).policy.concurrency.unwrap_or(usize::MAX);
        queue.running < self.graph.0.concurrency && queue.by_node.get(&node).copied().unwrap_or(0) < cap
    }

    fn finish(&self, place: usize, of: Of, end: TaskResult<S>) {
        if self.capped {
            self.give_back(of);
        }
        self.end(place, end);
    }

    /// Releases the slot of a task and gives it to the first task that waits for one.
    fn give_back(&self, of: Of) {
        let mut queue = self.queue.lock();
        if let Some(at) = queue.returning.iter().position(|returning| returning.number == of.number) {
            // It still waits for a slot.
            queue.returning.remove(at);
            return;
        }
        queue.running = queue.running.saturating_sub(1);
        if let Some(running) = queue.by_node.get_mut(&of.node) {
            *running = running.saturating_sub(1);
        }
        let next = queue.returning.iter().position(|returning| self.has_room(&queue, returning.node));
        if let Some(at) = next {
            let returning = queue.returning.remove(at);
            queue.enter(returning.node);
            returning.wakers.into_iter().for_each(Waker::wake);
        }
    }

    fn end(&self, place: usize, end: TaskResult<S>) {
        let fatal = match &end {
            TaskResult::Failed(RunError::Store(_)) => true,
            TaskResult::Failed(_) => self.graph.0.on_failure == FailurePolicy::FailFast,
            _ => false,
        };
        let mut done = self.done.lock();
        if done.ends[place].is_none() {
            done.ends[place] = Some(end);
            done.missing -= 1;
        }
        let last = done.missing == 0;
        if last {
            // The loop takes over the count of the last task.
            self.all_done.notify_one();
        } else {
            self.env.control.adjust_runnable(-1);
            if let Some(outer) = &self.outer {
                outer.adjust_runnable(-1);
            }
        }
        drop(done);
        if fatal && !self.cancel.is_cancelled() {
            self.cancel.cancel();
            // Jobs that did not start end here.
            if let Some((job, _)) = self.take() {
                self.end(job.place, TaskResult::Cancelled);
            }
        }
    }
}

impl<S: State> Queue<S> {
    fn enter(&mut self, node: NodeIx) {
        self.running += 1;
        *self.by_node.entry(node).or_default() += 1;
    }
}

impl<S: State> ConcurrencySlot for TaskPool<S> {
    fn set_blocked(&self, blocked: bool, task: &TaskId) {
        let Some(&node) = self.graph.0.index.get(task.node()) else { return };
        let of = Of { number: task.number(), node };
        if blocked {
            self.give_back(of);
            if let Some(pool) = self.me.upgrade() {
                self.env.group.spawn(boxed_worker(pool));
            }
        } else {
            let mut queue = self.queue.lock();
            if self.has_room(&queue, node) {
                queue.enter(node);
            } else {
                queue.returning.push(Returning { number: of.number, node, wakers: Vec::new() });
            }
        }
        if let Some(outer) = &self.outer {
            outer.set_blocked(blocked, task);
        }
    }

    fn poll_slot(&self, task: &TaskId, waker: &Waker) -> Poll<()> {
        {
            let mut queue = self.queue.lock();
            let mut returning = queue.returning.iter_mut();
            if let Some(returning) = returning.find(|returning| returning.number == task.number()) {
                if !returning.wakers.iter().any(|known| known.will_wake(waker)) {
                    returning.wakers.push(waker.clone());
                }
                return Poll::Pending;
            }
        }
        if let Some(outer) = &self.outer {
            ready!(outer.poll_slot(task, waker));
        }
        Poll::Ready(())
    }
}
