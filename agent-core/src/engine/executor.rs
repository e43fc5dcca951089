//! Parallel execution of the tasks of a superstep: spread over the threads, limited in number, stopped together.

use std::{
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Poll, Waker, ready},
};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::{
    Context, RunContext, RunError,
    concurrency::{ConcurrencySlot, Slots, TaskRef},
    context::TaskScope,
    schedule::Activation,
    task::{TaskResult, finished_fact, run_task},
};
use crate::{
    event::EventKind,
    graph::{FailurePolicy, Graph, topology::NodeIx},
    ids::TaskId,
    journal::projection::TaskRecord,
    state::State,
};

/// Tasks of one superstep.
///
/// Workers, one per thread, take jobs and poll each once. A task that completes in that poll costs no spawn; any other
/// becomes a tokio task, so that tasks that wait overlap.
///
/// Shared counters are contended cache lines, so a job touches as few of them as possible: each worker has its own handles
/// of pool and state, and reports its finished jobs together when it has no further one.
struct TaskPool<S: State> {
    graph: Graph<S>,
    scope: Arc<TaskScope>,
    superstep: u64,
    capped: bool,
    /// By index; each job is taken once.
    jobs: Box<[Mutex<Option<Job>>]>,
    /// The next job, in a pool without limits.
    next: AtomicUsize,
    /// The remaining jobs of a pool with limits.
    queue: Mutex<Queue>,
    /// Until all tasks have ended.
    state: Mutex<Option<Arc<S>>>,
    ends: Box<[Mutex<Option<TaskResult<S>>>]>,
    /// Number of tasks that have not ended.
    missing: AtomicUsize,
    /// Number of workers with a handle of the state.
    holders: AtomicUsize,
    all_done: Notify,
    /// A failure ended the superstep. Beside the token, because checking the token takes a lock.
    failed: AtomicBool,
    cancel: CancellationToken,
    /// The current span, if nodes have spans.
    span: Option<Span>,
    /// Reference to itself, to spawn further workers.
    me: std::sync::Weak<Self>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(usize, NodeIx)>,
    slots: Slots,
}

struct Job {
    index: usize,
    activation: Activation,
    record: Option<Box<TaskRecord>>,
}

/// One worker's handle of pool and state, shared by the jobs that it begins.
struct Worker<S: State> {
    pool: Arc<TaskPool<S>>,
    state: Arc<S>,
    scope: Arc<TaskScope>,
}

/// Runs two or more tasks and returns how they ended, in the order of activation.
pub(crate) async fn run_parallel<S: State>(
    graph: &Graph<S>,
    state: &Arc<S>,
    scope: &Arc<TaskScope>,
    superstep: u64,
    tasks: Vec<(Activation, Option<Box<TaskRecord>>)>,
) -> Vec<TaskResult<S>> {
    let count = tasks.len();
    let env = &scope.env;
    let capped = graph.0.concurrency < count
        || tasks.iter().any(|(task, _)| graph.node(task.node).policy.concurrency.is_some());
    let mut queue = Queue::default();
    if capped {
        queue.jobs = tasks.iter().enumerate().map(|(at, (task, _))| (at, task.node)).collect();
    }
    let job = |(index, (activation, record))| Mutex::new(Some(Job { index, activation, record }));
    let pool = Arc::new_cyclic(|me| TaskPool {
        graph: graph.clone(),
        scope: Arc::clone(scope),
        superstep,
        capped,
        jobs: tasks.into_iter().enumerate().map(job).collect(),
        next: AtomicUsize::new(0),
        queue: Mutex::new(queue),
        state: Mutex::new(Some(Arc::clone(state))),
        ends: (0..count).map(|_| Mutex::new(None)).collect(),
        missing: AtomicUsize::new(count),
        holders: AtomicUsize::new(0),
        all_done: Notify::new(),
        failed: AtomicBool::new(false),
        cancel: CancellationToken::new(),
        span: env.traced.then(Span::current),
        me: std::sync::Weak::clone(me),
    });
    // Every task is runnable until it ends or waits; the first one takes over the count of this loop.
    pool.adjust_runnable(count as i64 - 1);
    let guard = pool.cancel.clone().drop_guard();
    let threads = tokio::runtime::Handle::current().metrics().num_workers();
    // Under a deadline, no task may keep this thread; see `deadline`.
    let apart = scope.parent.is_none() && env.budget.is_timed();
    for _ in usize::from(!apart)..threads.min(count) {
        env.tasks.spawn(worker(Arc::clone(&pool)));
    }
    if threads > 1 {
        // A tokio worker keeps the task that it spawned last in its LIFO slot, from which no other worker steals. A job that
        // blocks this thread would block that worker too, so a no-op task is spawned last.
        env.tasks.spawn(std::future::ready(()));
    }
    if !apart {
        worker(Arc::clone(&pool)).await;
    }
    loop {
        let all_done = pool.all_done.notified();
        if pool.is_done() {
            break;
        }
        all_done.await;
    }
    // The state must have one owner when the updates are applied.
    drop(pool.state.lock().take());
    drop(guard);
    pool.ends.iter().map(|end| end.lock().take().unwrap_or(TaskResult::Cancelled)).collect()
}

/// Runs jobs until there is none or the limits are reached.
async fn worker<S: State>(pool: Arc<TaskPool<S>>) {
    let Some(mut job) = pool.next_job() else { return };
    // The superstep cannot end while the worker has a job.
    let Some(handle) = pool.hold() else { return };
    let mut ended = 0;
    loop {
        let (index, of) = (job.index, TaskRef::new(&job.activation));
        let mut task = begin(&handle, job);
        // Polled once here; see the type.
        match std::future::poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx))).await {
            Poll::Ready(end) => {
                drop(task);
                ended += pool.keep(index, of, end);
            }
            Poll::Pending => {
                pool.scope.env.tasks.spawn(drive_pending(Arc::clone(&pool), index, of, task));
            }
        }
        match pool.next_job() {
            Some(next) => job = next,
            None => break,
        }
    }
    drop(handle);
    pool.release(ended);
}

/// Creates the future of a job. Workers run on any thread, so its spans get their parent explicitly.
fn begin<S: State>(worker: &Arc<Worker<S>>, job: Job) -> TaskFuture<S> {
    let task: TaskFuture<S> = Box::pin(run_job(Arc::clone(worker), job));
    match &worker.pool.span {
        Some(span) => Box::pin(task.instrument(span.clone())),
        None => task,
    }
}

/// The future of a running job.
pub(super) type TaskFuture<S> = Pin<Box<dyn Future<Output = TaskResult<S>> + Send>>;

/// A boxed worker: a future cannot contain itself.
fn boxed_worker<S: State>(pool: Arc<TaskPool<S>>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(worker(pool))
}

async fn drive_pending<S: State>(pool: Arc<TaskPool<S>>, index: usize, of: TaskRef, task: TaskFuture<S>) {
    let end = run_to_end(&pool.graph, &pool.scope.env, &pool.cancel, of.node, task).await;
    let ended = pool.keep(index, of, end);
    pool.settle(ended);
    // Jobs that the limits held back may start now.
    if pool.capped {
        boxed_worker(pool).await;
    }
}

/// Polls a task until it ends, is cancelled, or is dropped at a stop of the run.
pub(super) async fn run_to_end<S: State>(
    graph: &Graph<S>,
    env: &RunContext,
    cancel: &CancellationToken,
    node: NodeIx,
    mut task: TaskFuture<S>,
) -> TaskResult<S> {
    let mut end = tokio::select! {
        biased; // a result that came in the same poll counts
        end = task.as_mut() => Some(end),
        () = cancel.cancelled() => Some(TaskResult::Cancelled),
        () = env.control.stop.cancelled() => None,
    };
    if end.is_none() {
        // The next poll ends a task that does not listen for a stop; one that listens has the grace time.
        end = tokio::select! {
            biased;
            end = task.as_mut() => Some(end),
            () = cancel.cancelled() => None,
        };
    }
    // A panic in the author's `Drop` must not keep the slot of the task.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(task))) {
        let (node, message) = (&graph.node(node).name, crate::util::panic_message(&*panic));
        tracing::error!(session = %env.session, %node, message, "a cancelled node panicked while it was dropped");
    }
    end.unwrap_or(TaskResult::Cancelled)
}

async fn run_job<S: State>(worker: Arc<Worker<S>>, job: Job) -> TaskResult<S> {
    let pool = &worker.pool;
    let mut cx = Context::new(Arc::clone(&worker.scope));
    cx.enter(job.activation.node, job.activation.number, pool.superstep);
    let running = run_task(&pool.graph, &*worker.state, &job.activation, &cx, job.record);
    // A panic outside the node's code (a cache key, a retry predicate) must not keep the slot of the task.
    let end = AssertUnwindSafe(running).catch_unwind().await.unwrap_or_else(|panic| {
        let node = pool.graph.node(job.activation.node).name.to_string();
        TaskResult::Failed(RunError::Panicked { node, message: crate::util::panic_message(&*panic) })
    });
    drop(cx);
    // Journalled at once: a sibling's failure or a crash does not undo it.
    let env = &pool.scope.env;
    match end {
        TaskResult::Finished { outcome, raw, cached, journalled: false }
            if env.writer.wants_of(EventKind::NodeFinished, pool.scope.parent.is_some()) =>
        {
            let node = Arc::clone(&pool.graph.node(job.activation.node).name);
            let number = job.activation.number;
            let task = match &pool.scope.parent {
                Some(parent) => parent.child(node, number),
                None => TaskId::root(node, number),
            };
            let fact = finished_fact(Arc::new(task), &outcome, raw, cached);
            match env.commit([fact]).await {
                Ok(_) => TaskResult::Finished { outcome, raw: None, cached, journalled: true },
                Err(error) => TaskResult::Failed(error),
            }
        }
        end => end,
    }
}

impl<S: State> TaskPool<S> {
    /// Takes the next job that the limits allow.
    fn next_job(&self) -> Option<Job> {
        if self.failed.load(Ordering::Acquire) || self.scope.env.control.stop.is_cancelled() {
            // Jobs that did not start end here.
            for (index, job) in self.jobs.iter().enumerate() {
                let left = job.lock().take().is_some();
                if left {
                    self.settle(self.store(index, TaskResult::Cancelled));
                }
            }
            return None;
        }
        if !self.capped {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            return self.jobs.get(index)?.lock().take();
        }
        let (index, node) = {
            let mut queue = self.queue.lock();
            let at = queue.jobs.iter().position(|(_, node)| queue.slots.has_room(&self.graph, *node))?;
            let (index, node) = queue.jobs.remove(at)?;
            queue.slots.enter(node);
            (index, node)
        };
        let job = self.jobs[index].lock().take();
        if job.is_none() {
            // The superstep failed in the meantime.
            self.queue.lock().slots.leave(node);
        }
        job
    }

    /// Creates a worker's handle. `None`: all tasks have ended.
    fn hold(self: &Arc<Self>) -> Option<Arc<Worker<S>>> {
        self.holders.fetch_add(1, Ordering::SeqCst);
        let Some(state) = self.state.lock().clone() else {
            self.release(0);
            return None;
        };
        let TaskScope { env, topology, parent, slot } = &*self.scope;
        let slot = if self.capped { Some(Arc::clone(self) as _) } else { slot.clone() };
        let (env, topology, parent) = (Arc::clone(env), Arc::clone(topology), parent.clone());
        let scope = Arc::new(TaskScope { env, topology, parent, slot });
        Some(Arc::new(Worker { pool: Arc::clone(self), state, scope }))
    }

    /// Ends a worker after its handle was dropped, and reports the tasks that ended in it.
    fn release(&self, ended: usize) {
        self.holders.fetch_sub(1, Ordering::SeqCst);
        self.settle(ended);
    }

    /// Returns whether all tasks have ended and no worker has the state.
    fn is_done(&self) -> bool {
        self.missing.load(Ordering::SeqCst) == 0 && self.holders.load(Ordering::SeqCst) == 0
    }

    /// Counts tasks that have ended.
    fn settle(&self, ended: usize) {
        let last = ended > 0 && self.missing.fetch_sub(ended, Ordering::SeqCst) == ended;
        // The loop takes over the count of the last task.
        self.adjust_runnable(i64::from(last) - ended as i64);
        if self.is_done() {
            self.all_done.notify_one();
        }
    }

    fn adjust_runnable(&self, change: i64) {
        self.scope.env.control.adjust_runnable(change);
        // The slot of the subgraph in the outer pool, if this pool belongs to a subgraph.
        if let Some(outer) = &self.scope.slot {
            outer.adjust_runnable(change);
        }
    }

    /// Keeps the end of a task that has begun, and releases its slot. Returns the number of tasks to
    /// [settle](TaskPool::settle).
    fn keep(&self, index: usize, of: TaskRef, end: TaskResult<S>) -> usize {
        if self.capped {
            self.queue.lock().slots.give_back(&self.graph, of);
        }
        let fatal = match &end {
            TaskResult::Failed(RunError::Store(_)) => true,
            TaskResult::Failed(_) => self.graph.0.on_failure == FailurePolicy::FailFast,
            _ => false,
        };
        let ended = self.store(index, end);
        if fatal && !self.failed.swap(true, Ordering::AcqRel) {
            self.cancel.cancel();
            // Ends the jobs that did not start; there is none to begin.
            drop(self.next_job());
        }
        ended
    }

    fn store(&self, index: usize, end: TaskResult<S>) -> usize {
        let mut kept = self.ends[index].lock();
        let fresh = kept.is_none();
        if fresh {
            *kept = Some(end);
        }
        usize::from(fresh)
    }
}

impl<S: State> ConcurrencySlot for TaskPool<S> {
    fn set_blocked(&self, blocked: bool, task: &TaskId) {
        let Some(&node) = self.graph.0.index.get(task.node()) else { return };
        let of = TaskRef { number: task.number(), node };
        if blocked {
            self.queue.lock().slots.give_back(&self.graph, of);
            if let Some(pool) = self.me.upgrade() {
                self.scope.env.tasks.spawn(boxed_worker(pool));
            }
        } else {
            self.queue.lock().slots.take_back(&self.graph, of);
        }
        if let Some(outer) = &self.scope.slot {
            outer.set_blocked(blocked, task);
        }
    }

    fn poll_slot(&self, task: &TaskId, waker: &Waker) -> Poll<()> {
        ready!(self.queue.lock().slots.poll(task.number(), waker));
        if let Some(outer) = &self.scope.slot {
            ready!(outer.poll_slot(task, waker));
        }
        Poll::Ready(())
    }
}
