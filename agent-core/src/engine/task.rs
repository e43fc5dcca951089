//! One activation of a node: its tries, its time limits, and what it may not do to the rest of the run.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tracing::Instrument;

use super::{
    Context, NodeCause, RunEnv, RunError, cell::TaskCell, env::CachedOutcome, plan::Activation,
    superstep::Slot,
};
use crate::{
    event::{EventBody, payload},
    graph::{Dispatch, Graph, NodeDef, NodeError, Outcome},
    ids::{Seq, TaskId},
    interrupt::AnswerWaiter,
    journal::{
        entry::{Fact, Finished, Raw, TaskFailure},
        holes::Hole,
        image::TaskRecord,
    },
    json::{self, Form, Stored},
    state::State,
    telemetry,
};

/// How long a replayed node may wait for something outside [`Context`] before asking for a new step while recorded
/// ones were not asked for counts as a mismatch.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an error handler is told; the input of a handler node that takes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeFailure {
    /// The node that failed.
    pub node: String,
    /// Its activation.
    pub task: String,
    /// What went wrong, to branch on.
    pub code: String,
    /// The same for people.
    pub message: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// How an activation ended.
pub(crate) enum TaskEnd<S: State> {
    /// It has an outcome, not yet applied. `raw` is its update as it is journalled, when anybody keeps it.
    Finished { outcome: Outcome<S>, raw: Option<Written>, cached: bool, journalled: bool },
    /// It failed for good, and a node handles that.
    Handled(NodeFailure),
    /// It failed for good.
    Failed(RunError),
    /// It was dropped before its end: a sibling failed, or the run is being stopped.
    Cancelled,
}

/// An update as JSON.
pub(crate) struct Written {
    whole: Stored,
    /// Without what is in the journal already.
    kept: Option<(Raw, Vec<Hole>)>,
}

/// What all tasks of a superstep have in common.
pub(crate) struct Place<'a, S: State> {
    pub(crate) graph: &'a Graph<S>,
    pub(crate) env: &'a Arc<RunEnv>,
    /// The task whose subgraph this is.
    pub(crate) parent: Option<&'a Arc<TaskId>>,
    pub(crate) superstep: u64,
}

/// Runs one activation to its end.
///
/// What is rare is boxed: a thousand siblings are a thousand of these futures, each as large as its largest part.
pub(crate) async fn run_task<S: State>(
    place: Place<'_, S>,
    state: &S,
    activation: &Activation,
    slot: Option<&Arc<dyn Slot>>,
    record: Option<TaskRecord>,
) -> TaskEnd<S> {
    let Place { graph, env, parent, superstep } = place;
    let node = graph.node(activation.node);
    let input = activation.input.as_deref();
    let cx = Context::new(
        Arc::clone(env),
        parent.cloned(),
        Arc::clone(&node.name),
        activation.number,
        superstep,
        slot.cloned(),
    );
    if let Some(mut record) = record {
        if let Some(finished) = record.finished.take() {
            return restored(finished);
        }
        if let Some(failure) = record.handled.take() {
            return TaskEnd::Handled(told(&failure));
        }
        if let Some(failure) = record.exhausted.take() {
            // Its tries were used up before the process ended.
            return TaskEnd::Failed(RunError::FailedBefore {
                node: failure.task.node().to_string(),
                attempts: failure.attempt,
                code: crate::Code::named(&failure.code).unwrap_or(crate::Code::NodeFailed),
                message: failure.message,
            });
        }
        let waits = record.asked.values().any(|asked| asked.answer.is_none());
        cx.restore(record);
        if waits {
            // It goes on when all of its questions have answers, exactly as a task that was kept in memory.
            let answered = Box::pin(unless_stopped(env, wait_for_answers(cx.cell())));
            if answered.await.is_none() {
                return TaskEnd::Cancelled;
            }
        }
    }
    started(&cx);
    if node.policy.is_plain() && !env.traced {
        return match attempt(node, state, input, &cx).await {
            Some(Ok(outcome)) => finish(&cx, outcome, false),
            Some(Err(error)) => Box::pin(fail(node, graph, &cx, error)).await,
            None => TaskEnd::Cancelled,
        };
    }
    Box::pin(tries(graph, node, state, input, &cx)).await
}

/// The tries of a node with a policy, or with spans.
async fn tries<S: State>(
    graph: &Graph<S>,
    node: &NodeDef<S>,
    state: &S,
    input: Option<&RawValue>,
    cx: &Context,
) -> TaskEnd<S> {
    let key = match &node.policy.cache {
        Some(cache) => match (cache.key)(state, input) {
            Ok(key) => Some((format!("{}\n{}\n{}\n{key}", graph.name(), graph.hash(), node.name), cache.ttl)),
            Err(error) => {
                let error = cx.failed(NodeError::permanent(format!("the cache key is no JSON: {error}")));
                return fail(node, graph, cx, error).await;
            }
        },
        None => None,
    };
    if let Some(cached) = key.as_ref().and_then(|(key, _)| cx.env.deps.cache.get(key))
        && let Ok(outcome) = from_parts::<S>(cached.update.as_ref(), &cached.goto, &cached.sends)
    {
        return finish(cx, outcome, true);
    }
    loop {
        let tried = attempt_in_span(graph, node, state, input, cx).await;
        let error = match tried {
            Some(Ok(outcome)) => {
                if let Some((key, ttl)) = key
                    && let Some(parts) = to_parts(&outcome)
                {
                    cx.env.deps.cache.put(key, ttl, parts);
                }
                return finish(cx, outcome, false);
            }
            Some(Err(error)) => error,
            None => return TaskEnd::Cancelled,
        };
        let failed = cx.attempt() - cx.cell().forgiven();
        let again = match (&node.policy.retry, &error) {
            (Some(policy), RunError::Node { source: NodeCause(source), .. }) => policy.again(failed, source),
            (Some(policy), RunError::TimedOut { .. }) => {
                policy.again(failed, &NodeError::transient(error.to_string()))
            }
            _ => None,
        };
        let Some(wait) = again else { return fail(node, graph, cx, error).await };
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if let Err(error) = note_failure(cx, &error, Some(ms), None).await {
            return TaskEnd::Failed(error);
        }
        cx.cell().new_try();
        if node.run.drawing().is_some()
            && let Err(error) = take_up_subgraph(cx).await
        {
            return TaskEnd::Failed(error);
        }
        if unless_stopped(&cx.env, sleep(wait)).await.is_none() {
            return TaskEnd::Cancelled;
        }
        started(cx);
    }
}

/// A subgraph that is tried again goes on where it was: what it recorded stands, as after a restart.
async fn take_up_subgraph(cx: &Context) -> Result<(), RunError> {
    let Some(store) = cx.env.writer.store() else { return Ok(()) };
    cx.env.writer.all_stored().await?;
    let image = crate::journal::fold(&**store, &cx.env.session, Seq(u64::MAX >> 1)).await?;
    if let Some(frame) = image.and_then(|image| image.root.into_frame(&cx.cell().task)) {
        cx.cell().give_frame(frame);
    }
    Ok(())
}

fn started(cx: &Context) {
    if !cx.env.writer.is_watched() {
        return;
    }
    let body =
        EventBody::NodeStarted(payload::NodeStarted { node: cx.node().to_owned(), attempt: cx.attempt() });
    cx.env.show(Some(cx.task_for_show()), body);
}

/// Waits for a future until the run is being stopped; `None` then. A stop wakes everything that polls a task.
pub(super) async fn unless_stopped<F: Future>(env: &RunEnv, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if env.control.stop.is_cancelled() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

async fn wait_for_answers(cell: &Arc<TaskCell>) {
    let waiter: Arc<dyn AnswerWaiter> = Arc::clone(cell) as _;
    std::future::poll_fn(|cx| {
        ready!(cell.env.board.poll_task(&cell.task, &waiter, cx.waker(), || cell.waits_before_try()));
        cell.poll_place(cx.waker())
    })
    .await;
}

fn finish<S: State>(cx: &Context, outcome: Outcome<S>, cached: bool) -> TaskEnd<S> {
    if let Some(cell) = cx.cell_if_made() {
        let left = cell.leftovers();
        if !left.is_empty() {
            return TaskEnd::Failed(RunError::ReplayMismatch {
                task: Box::new(TaskId::clone(&cell.task)),
                recorded: left,
                asked: Vec::new(),
            });
        }
        if !cx.env.writer.matters() {
            cx.env.writer.end_partial(&cell.task, None);
        }
        cell.finished();
    }
    let raw = match (&outcome.update, cx.env.writer.matters()) {
        (Some(update), true) => match super::contain(cx.node(), || Stored::update(update, json::NEW)) {
            Err(panicked) => return TaskEnd::Failed(panicked),
            Ok(Ok(whole)) => {
                let cell = cx.cell_if_made().filter(|_| cx.env.writer.keeps());
                Some(Written { kept: cell.and_then(|cell| cell.dig(&whole.json)), whole })
            }
            Ok(Err(error)) => {
                return TaskEnd::Failed(cx.failed(NodeError::permanent(error.of("the update"))));
            }
        },
        _ => None,
    };
    TaskEnd::Finished { outcome, raw, cached, journalled: false }
}

/// The fact that a task is done.
pub(crate) fn finished_fact<S: State>(
    task: Arc<TaskId>,
    outcome: &Outcome<S>,
    raw: Option<Written>,
    cached: bool,
) -> Fact {
    let (update, holes, whole, form) = match raw {
        Some(Written { whole, kept: Some((kept, holes)) }) => {
            (Some(kept), holes, Some(whole.json), whole.form)
        }
        Some(Written { whole, kept: None }) => (Some(whole.json), Vec::new(), None, whole.form),
        None => (None, Vec::new(), None, Form::default()),
    };
    Fact::TaskFinished(Finished {
        task,
        update,
        form,
        holes,
        whole,
        goto: outcome.goto.iter().map(ToString::to_string).collect(),
        sends: sends_of(outcome),
        cached,
        version: S::VERSION,
    })
}

fn sends_of<S: State>(outcome: &Outcome<S>) -> Vec<(String, Raw)> {
    let sends = outcome.sends.iter();
    sends.filter_map(|send| Some((send.node.to_string(), send.input.as_ref().ok()?.clone()))).collect()
}

fn to_parts<S: State>(outcome: &Outcome<S>) -> Option<CachedOutcome> {
    let update = match &outcome.update {
        Some(update) => Some(Stored::update(update, json::NEW).ok()?),
        None => None,
    };
    let goto = outcome.goto.iter().map(ToString::to_string).collect();
    Some(CachedOutcome { update, goto, sends: sends_of(outcome) })
}

fn from_parts<S: State>(
    update: Option<&Stored>,
    goto: &[String],
    sends: &[(String, Raw)],
) -> serde_json::Result<Outcome<S>> {
    Ok(Outcome {
        update: update.map(Stored::read).transpose()?,
        goto: goto.iter().map(|node| node.clone().into()).collect(),
        sends: sends
            .iter()
            .map(|(node, input)| Dispatch { node: node.clone().into(), input: Ok(input.clone()) })
            .collect(),
    })
}

/// A task that had finished before a restart.
fn restored<S: State>(finished: Finished) -> TaskEnd<S> {
    let read = |raw| super::read_update::<S>(finished.version, raw, &finished.form);
    let update = finished.update().map(read);
    let outcome = match (update.transpose(), from_parts::<S>(None, &finished.goto, &finished.sends)) {
        (Ok(update), Ok(outcome)) => Outcome { update, ..outcome },
        (Err(error), _) => return TaskEnd::Failed(error),
        (_, Err(error)) => return TaskEnd::Failed(RunError::StoredState { reason: error.to_string() }),
    };
    TaskEnd::Finished { outcome, raw: None, cached: finished.cached, journalled: true }
}

fn told(failure: &TaskFailure) -> NodeFailure {
    NodeFailure {
        node: failure.task.node().to_string(),
        task: failure.task.to_string(),
        code: failure.code.clone(),
        message: failure.message.clone(),
        attempts: failure.attempt,
    }
}

/// Notes a failed try. The message is what people may see.
async fn note_failure(
    cx: &Context,
    error: &RunError,
    retry_in_ms: Option<u64>,
    handler: Option<String>,
) -> Result<TaskFailure, RunError> {
    let failure = TaskFailure {
        task: cx.task(),
        attempt: cx.attempt(),
        code: error.code().name().to_owned(),
        message: crate::util::shorten(&error.report(), 2_000),
        retry_in_ms,
        handler,
    };
    if cx.env.writer.matters() {
        cx.env.commit([Fact::TaskFailed(failure.clone())]).await?;
    } else {
        cx.env.writer.end_partial(&failure.task, None);
    }
    Ok(failure)
}

/// A failure for good: handled by a node, or the end of the run.
async fn fail<S: State>(node: &NodeDef<S>, graph: &Graph<S>, cx: &Context, error: RunError) -> TaskEnd<S> {
    // What the engine itself finds wrong is not the node's to handle.
    let handler = match error {
        RunError::Node { .. } | RunError::Panicked { .. } | RunError::TimedOut { .. } => node.handler,
        _ => None,
    };
    let name = handler.map(|handler| graph.node(handler).name.to_string());
    match note_failure(cx, &error, None, name).await {
        Err(error) => TaskEnd::Failed(error),
        Ok(failure) if handler.is_some() => TaskEnd::Handled(told(&failure)),
        Ok(_) => TaskEnd::Failed(error),
    }
}

/// One try; `None` when a stop of the run dropped it.
async fn attempt<S: State>(
    node: &NodeDef<S>,
    state: &S,
    input: Option<&RawValue>,
    cx: &Context,
) -> Option<Result<Outcome<S>, RunError>> {
    // The call itself is inside the future, so that a panic in it is caught too.
    let future = async { node.run.call(state, input, cx).await };
    let future = std::pin::pin!(future);
    let limits = if node.policy.timeout.is_some() || node.policy.idle_timeout.is_some() {
        let (run, idle) = (node.policy.timeout, node.policy.idle_timeout);
        Some(Box::new(TimeLimits::new(run, idle, node.run.drawing().is_some(), cx)))
    } else {
        None
    };
    Attempt { future, cx, limits, patience: None, returned: false }.await
}

/// One try, in its span where nodes have spans.
async fn attempt_in_span<S: State>(
    graph: &Graph<S>,
    node: &NodeDef<S>,
    state: &S,
    input: Option<&RawValue>,
    cx: &Context,
) -> Option<Result<Outcome<S>, RunError>> {
    let attempt = attempt(node, state, input, cx);
    if !cx.env.traced {
        return attempt.await;
    }
    let span = telemetry::node(graph.name(), cx.node(), cx.superstep(), cx.attempt());
    let tried = Box::pin(attempt.instrument(span.clone())).await;
    if let Some(Err(error)) = &tried {
        telemetry::failed(&span, error.code().name());
    }
    tried
}

/// Polls a node: catches its panics, keeps its time limits, and drops it at a stop unless it listens for one.
struct Attempt<'a, F> {
    future: Pin<&'a mut F>,
    cx: &'a Context,
    limits: Option<Box<TimeLimits>>,
    patience: Option<Pin<Box<Sleep>>>,
    /// The node has returned.
    returned: bool,
}

impl<F, S> Future for Attempt<'_, F>
where
    S: State,
    F: Future<Output = Result<Outcome<S>, NodeError>>,
{
    type Output = Option<Result<Outcome<S>, RunError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.count_wait();
        let polled = catch_unwind(AssertUnwindSafe(|| this.future.as_mut().poll(cx)));
        this.returned = !matches!(polled, Ok(Poll::Pending));
        match polled {
            Err(panic) => {
                let message = crate::util::panic_message(&*panic);
                return Poll::Ready(Some(Err(RunError::Panicked {
                    node: this.cx.node().to_owned(),
                    message,
                })));
            }
            Ok(Poll::Ready(Ok(outcome))) => {
                // A node that kept its thread for too long is late, although nothing could stop it.
                return Poll::Ready(Some(this.overdue().map_or(Ok(outcome), Err)));
            }
            Ok(Poll::Ready(Err(error))) => {
                return Poll::Ready(Some(Err(this.cx.failed(error))));
            }
            Ok(Poll::Pending) => {}
        }
        let cell = this.cx.cell_if_made();
        if this.cx.env.control.stop.is_cancelled() && !cell.is_some_and(|cell| cell.has_grace()) {
            return Poll::Ready(None);
        }
        let Some(cell) = cell else {
            return this.late(cx, false);
        };
        if let Some((recorded, asked)) = cell.mismatch() {
            let patience = this.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
            if patience.as_mut().poll(cx).is_ready() {
                let task = Box::new(TaskId::clone(&cell.task));
                return Poll::Ready(Some(Err(RunError::ReplayMismatch { task, recorded, asked })));
            }
        } else {
            this.patience = None;
        }
        let blocked = this.limits.is_some() && cell.waits();
        this.late(cx, blocked)
    }
}

impl<F> Drop for Attempt<'_, F> {
    fn drop(&mut self) {
        // The node's own future is dropped after this; when it is done already, nothing is left in it.
        if let Some(cell) = self.cx.cell_if_made() {
            cell.end_try(!self.returned && self.cx.env.control.stop.is_cancelled());
        }
    }
}

impl<F> Attempt<'_, F> {
    fn late<T>(
        &mut self,
        cx: &mut std::task::Context<'_>,
        blocked: bool,
    ) -> Poll<Option<Result<T, RunError>>> {
        let Some(limits) = &mut self.limits else { return Poll::Pending };
        let sign = self.cx.cell_if_made().and_then(|cell| cell.last_sign());
        match limits.poll(cx, blocked, sign, self.cx) {
            Some(passed) => Poll::Ready(Some(Err(self.timed_out(passed)))),
            None => Poll::Pending,
        }
    }

    /// Takes the time of a wait that ended before this poll out of the limits.
    fn count_wait(&mut self) {
        if let (Some(limits), Some(cell)) = (&mut self.limits, self.cx.cell_if_made())
            && limits.blocked_since.is_some()
            && !cell.waits()
        {
            limits.end_wait(Instant::now());
        }
    }

    /// The limit that was passed before the node came back, if any.
    fn overdue(&mut self) -> Option<RunError> {
        let limits = self.limits.as_mut()?;
        let sign = self.cx.cell_if_made().and_then(|cell| cell.last_sign());
        let passed = limits.passed(sign, self.cx)?;
        Some(self.timed_out(passed))
    }

    fn timed_out(&self, (which, limit): (&'static str, Duration)) -> RunError {
        RunError::TimedOut { node: self.cx.node().to_owned(), which, limit }
    }
}

/// The time limits of one try. The time in which the task waits for a person does not count.
struct TimeLimits {
    run: Option<Duration>,
    idle: Option<Duration>,
    run_until: Instant,
    last_sign: Instant,
    blocked_since: Option<Instant>,
    /// A subgraph waits for a person when the whole run does; its own task never knows.
    subgraph: bool,
    /// How long the run had waited when this was last looked at.
    idle_time: Duration,
    timer: Pin<Box<Sleep>>,
}

impl TimeLimits {
    fn new(run: Option<Duration>, idle: Option<Duration>, subgraph: bool, cx: &Context) -> Self {
        // Signs of life are kept by the cell, which must therefore exist.
        cx.cell();
        let now = Instant::now();
        let run_until = now + run.unwrap_or(Duration::from_secs(86_400 * 365));
        let timer = Box::pin(sleep_until(run_until));
        let idle_time = cx.env.control.idle_time();
        Self { run, idle, run_until, last_sign: now, blocked_since: None, subgraph, idle_time, timer }
    }

    /// Notes the last sign of life, and for how long the run of a subgraph waited.
    fn note(&mut self, sign: Option<Instant>, context: &Context) {
        if self.subgraph {
            let idle_time = context.env.control.idle_time();
            let waited = idle_time.saturating_sub(self.idle_time);
            self.idle_time = idle_time;
            self.run_until += waited;
            self.last_sign += waited;
        }
        if let Some(sign) = sign {
            self.last_sign = self.last_sign.max(sign);
        }
    }

    fn end_wait(&mut self, now: Instant) {
        if let Some(since) = self.blocked_since.take() {
            self.run_until += now - since;
            self.last_sign = now;
        }
    }

    /// The limit that is passed, not only reached.
    fn passed(&mut self, sign: Option<Instant>, context: &Context) -> Option<(&'static str, Duration)> {
        if self.blocked_since.is_some() {
            return None;
        }
        self.note(sign, context);
        let now = Instant::now();
        match (self.run, self.idle) {
            (Some(run), _) if now > self.run_until => Some(("run", run)),
            (_, Some(idle)) if now > self.last_sign + idle => Some(("idle", idle)),
            _ => None,
        }
    }

    fn poll(
        &mut self,
        cx: &mut std::task::Context<'_>,
        blocked: bool,
        sign: Option<Instant>,
        context: &Context,
    ) -> Option<(&'static str, Duration)> {
        let now = Instant::now();
        self.note(sign, context);
        if blocked {
            self.blocked_since.get_or_insert(now);
            return None;
        }
        self.end_wait(now);
        loop {
            let idle_until = self.idle.map(|idle| self.last_sign + idle);
            let until = idle_until.map_or(self.run_until, |idle| idle.min(self.run_until));
            if self.timer.deadline() != until {
                self.timer.as_mut().reset(until);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return None;
            }
            if let (Some(run), true) = (self.run, self.run_until <= until) {
                return Some(("run", run));
            }
            if let Some(idle) = self.idle
                && idle_until == Some(until)
            {
                return Some(("idle", idle));
            }
        }
    }
}
