//! Tasks in flight of a graph in dataflow mode: each ends on its own, within the limits of concurrency.

use std::{
    collections::VecDeque,
    mem,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak},
    task::{Poll, Waker, ready},
};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::{
    engine::{
        Context, RunError,
        concurrency::{ConcurrencySlot, Slots, TaskRef},
        context::TaskScope,
        executor::{TaskFuture, run_to_end},
        schedule::Activation,
        task::{TaskResult, run_task},
    },
    graph::Graph,
    ids::TaskId,
    journal::projection::TaskRecord,
    state::State,
};

/// A task to run.
pub(super) struct Job<S: State> {
    pub(super) activation: Activation,
    /// Number of tasks on the path that led to it: its superstep.
    pub(super) depth: u64,
    /// The version of the state that it reads.
    pub(super) state: Arc<S>,
    pub(super) record: Option<Box<TaskRecord>>,
}

/// A task that has ended.
pub(super) struct Ended<S: State> {
    pub(super) of: TaskRef,
    pub(super) end: TaskResult<S>,
}

/// Runs tasks and sends their ends to the loop.
///
/// A task counts as runnable from its start until the loop receives its end, also while it waits for a slot, so that the run
/// does not pause in between.
pub(super) struct Pool<S: State> {
    graph: Graph<S>,
    scope: Arc<TaskScope>,
    capped: bool,
    queue: Mutex<Queue<S>>,
    ends: UnboundedSender<Ended<S>>,
    cancel: CancellationToken,
    /// The current span, if nodes have spans.
    span: Option<Span>,
    me: Weak<Self>,
}

/// Jobs that the limits hold back.
struct Queue<S: State> {
    jobs: VecDeque<Job<S>>,
    slots: Slots,
}

/// Receives the ends of tasks. Dropping it cancels the tasks.
pub(super) struct Ends<S: State> {
    pool: Arc<Pool<S>>,
    receiver: UnboundedReceiver<Ended<S>>,
    in_flight: usize,
    waiting: bool,
}

impl<S: State> Ends<S> {
    #[expect(clippy::disallowed_methods, reason = "it holds one end of each task in flight at most")]
    pub(super) fn new(graph: &Graph<S>, scope: &Arc<TaskScope>) -> Self {
        let (ends, receiver) = unbounded_channel();
        let capped = graph.0.concurrency < usize::MAX
            || graph.0.nodes.iter().any(|node| node.policy.concurrency.is_some());
        let pool = Arc::new_cyclic(|me| Pool {
            graph: graph.clone(),
            scope: Arc::clone(scope),
            capped,
            queue: Mutex::new(Queue { jobs: VecDeque::new(), slots: Slots::default() }),
            ends,
            cancel: CancellationToken::new(),
            span: scope.env.traced.then(Span::current),
            me: Weak::clone(me),
        });
        Self { pool, receiver, in_flight: 0, waiting: false }
    }

    /// Starts a task, or queues it if the limits are reached.
    pub(super) fn start(&mut self, job: Job<S>) {
        self.in_flight += 1;
        self.pool.adjust_runnable(1);
        if self.pool.capped {
            self.pool.queue.lock().jobs.push_back(job);
            self.pool.start_queued();
        } else {
            self.pool.spawn(job);
        }
    }

    /// Waits for the end of a task; `None` if none is in flight. The loop takes over the runnable count of the task.
    pub(super) async fn next(&mut self) -> Option<Ended<S>> {
        if self.in_flight == 0 {
            return None;
        }
        self.waiting = true;
        self.pool.adjust_runnable(-1);
        let ended = self.receiver.recv().await;
        self.waiting = false;
        self.in_flight -= 1;
        ended
    }

    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Cancels all tasks. Their ends are received as those of others.
    pub(super) fn cancel(&self) {
        self.pool.cancel();
    }
}

impl<S: State> Drop for Ends<S> {
    fn drop(&mut self) {
        // The task that contains the subgraph is runnable again, and those in flight no longer count.
        if self.waiting {
            self.pool.adjust_runnable(1);
        }
        self.receiver.close();
        self.pool.cancel();
        while self.receiver.try_recv().is_ok() {
            self.pool.adjust_runnable(-1);
        }
    }
}

impl<S: State> Pool<S> {
    fn adjust_runnable(&self, change: i64) {
        self.scope.env.control.adjust_runnable(change);
        // The slot of the subgraph in the outer pool, if this pool belongs to a subgraph.
        if let Some(outer) = &self.scope.slot {
            outer.adjust_runnable(change);
        }
    }

    fn cancel(&self) {
        self.cancel.cancel();
        self.drop_queued();
    }

    fn drop_queued(&self) {
        let jobs = mem::take(&mut self.queue.lock().jobs);
        for job in jobs {
            self.send(TaskRef::new(&job.activation), TaskResult::Cancelled);
        }
    }

    fn send(&self, of: TaskRef, end: TaskResult<S>) {
        if self.ends.send(Ended { of, end }).is_err() {
            self.adjust_runnable(-1);
        }
    }

    /// Starts the queued jobs for which there is room.
    fn start_queued(&self) {
        if self.scope.env.control.stop.is_cancelled() {
            self.drop_queued();
        }
        loop {
            let mut queue = self.queue.lock();
            let Queue { jobs, slots } = &mut *queue;
            let at = jobs.iter().position(|job| slots.has_room(&self.graph, job.activation.node));
            let Some(job) = at.and_then(|at| jobs.remove(at)) else { return };
            slots.enter(job.activation.node);
            drop(queue);
            self.spawn(job);
        }
    }

    fn spawn(&self, job: Job<S>) {
        // The loop has a handle of the pool.
        if let Some(pool) = self.me.upgrade() {
            self.scope.env.tasks.spawn(run(pool, job));
        }
    }

    fn task(self: &Arc<Self>, job: Job<S>) -> TaskFuture<S> {
        let scope = if self.capped {
            let TaskScope { env, topology, parent, .. } = &*self.scope;
            let (env, topology, parent) = (Arc::clone(env), Arc::clone(topology), parent.clone());
            Arc::new(TaskScope { env, topology, parent, slot: Some(Arc::clone(self) as _) })
        } else {
            Arc::clone(&self.scope)
        };
        let graph = self.graph.clone();
        let task = async move {
            let Job { activation, depth, state, record } = job;
            let mut cx = Context::new(scope);
            cx.enter(activation.node, activation.number, depth);
            let running = run_task(&graph, &*state, &activation, &cx, record);
            // A panic outside the node's code (a cache key, a retry predicate) must not keep the slot of the task.
            AssertUnwindSafe(running).catch_unwind().await.unwrap_or_else(|panic| {
                let node = graph.node(activation.node).name.to_string();
                TaskResult::Failed(RunError::Panicked { node, message: crate::util::panic_message(&*panic) })
            })
        };
        match &self.span {
            Some(span) => Box::pin(task.instrument(span.clone())),
            None => Box::pin(task),
        }
    }
}

async fn run<S: State>(pool: Arc<Pool<S>>, job: Job<S>) {
    let of = TaskRef::new(&job.activation);
    let task = pool.task(job);
    // The task is dropped with its handle of the state before its end is sent.
    let end = run_to_end(&pool.graph, &pool.scope.env, &pool.cancel, of.node, task).await;
    if pool.capped {
        pool.queue.lock().slots.give_back(&pool.graph, of);
        pool.start_queued();
    }
    pool.send(of, end);
}

impl<S: State> ConcurrencySlot for Pool<S> {
    fn set_blocked(&self, blocked: bool, task: &TaskId) {
        let Some(&node) = self.graph.0.index.get(task.node()) else { return };
        let of = TaskRef { number: task.number(), node };
        if blocked {
            self.queue.lock().slots.give_back(&self.graph, of);
            self.start_queued();
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
