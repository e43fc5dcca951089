//! One attempt of a task: polls the node, contains its panics, and applies its timeouts.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tracing::Instrument;

use crate::{
    engine::{Context, RunError},
    graph::{Graph, NodeDef, NodeError, Outcome},
    ids::TaskId,
    run::Pauses,
    state::State,
    telemetry,
    util::bounded,
};

/// Grace period of a replayed node that requests a new step while recorded ones were not requested: it may wait for
/// something outside of [`Context`]. After it, the replay is a mismatch.
const MISMATCH_GRACE: Duration = Duration::from_secs(1);

/// Runs one attempt; `None` if a stop of the run dropped it.
pub(super) async fn attempt<S: State>(
    node: &NodeDef<S>,
    state: &S,
    input: Option<&RawValue>,
    cx: &Context,
) -> Option<Result<Outcome<S>, RunError>> {
    if let Some(pauses) = &cx.scope.env.pauses
        && cx.scope.parent.is_none()
    {
        return Box::pin(attempt_with_pauses(pauses, node, state, input, cx)).await;
    }
    // The call itself is inside the future, so that a panic in it is caught too.
    let future = async { node.run.call(state, input, cx).await };
    limited(node, cx, std::pin::pin!(future)).await
}

/// Runs one attempt with the pauses that the caller of the run set.
async fn attempt_with_pauses<S: State>(
    pauses: &Pauses,
    node: &NodeDef<S>,
    state: &S,
    input: Option<&RawValue>,
    cx: &Context,
) -> Option<Result<Outcome<S>, RunError>> {
    let named = |nodes: &[String]| nodes.iter().any(|name| name == cx.node());
    let future = async {
        if let Some(at) = pauses.start_at.filter(|_| cx.superstep() == 1) {
            cx.sleep_until(at).await?;
        }
        if named(&pauses.before) {
            cx.breakpoint("before").await?;
        }
        let outcome = node.run.call(state, input, cx).await?;
        if named(&pauses.after) {
            cx.breakpoint("after").await?;
        }
        Ok(outcome)
    };
    limited(node, cx, std::pin::pin!(future)).await
}

fn limited<'a, S: State, F: Future<Output = Result<Outcome<S>, NodeError>>>(
    node: &NodeDef<S>,
    cx: &'a Context,
    future: Pin<&'a mut F>,
) -> Attempt<'a, F> {
    let limits = if node.policy.timeout.is_some() || node.policy.idle_timeout.is_some() {
        let (run, idle) = (node.policy.timeout, node.policy.idle_timeout);
        Some(Box::new(TimeLimits::new(run, idle, node.run.drawing().is_some(), cx)))
    } else {
        None
    };
    Attempt { future, cx, limits, mismatch_timer: None, returned: false }
}

/// Runs one attempt, in a span if nodes have spans.
pub(super) async fn attempt_with_span<S: State>(
    graph: &Graph<S>,
    node: &NodeDef<S>,
    state: &S,
    input: Option<&RawValue>,
    cx: &Context,
) -> Option<Result<Outcome<S>, RunError>> {
    let attempt = attempt(node, state, input, cx);
    if !cx.scope.env.traced {
        return attempt.await;
    }
    let span = telemetry::node(graph.name(), cx.node(), cx.superstep(), cx.attempt());
    let tried = Box::pin(attempt.instrument(span.clone())).await;
    if let Some(Err(error)) = &tried {
        telemetry::failed(&span, error.code().name());
    }
    tried
}

/// Future of one attempt: contains panics, applies timeouts, and drops the node at a stop unless it listens for one.
struct Attempt<'a, F> {
    future: Pin<&'a mut F>,
    cx: &'a Context,
    limits: Option<Box<TimeLimits>>,
    mismatch_timer: Option<Pin<Box<Sleep>>>,
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
                // A node that blocked its thread beyond its timeout has failed, although no timer could fire.
                return Poll::Ready(Some(this.overdue().map_or(Ok(outcome), Err)));
            }
            Ok(Poll::Ready(Err(error))) => {
                return Poll::Ready(Some(Err(this.cx.failed(error))));
            }
            Ok(Poll::Pending) => {}
        }
        let replay = this.cx.replay_if_created();
        if this.cx.scope.env.control.stop.is_cancelled() && !replay.is_some_and(|replay| replay.has_grace()) {
            return Poll::Ready(None);
        }
        let Some(replay) = replay else {
            return this.poll_time_limits(cx, false);
        };
        if let Some((recorded, asked)) = replay.mismatch() {
            let mismatch_timer = this.mismatch_timer.get_or_insert_with(|| Box::pin(sleep(MISMATCH_GRACE)));
            if mismatch_timer.as_mut().poll(cx).is_ready() {
                let task = Box::new(TaskId::clone(&replay.task));
                return Poll::Ready(Some(Err(RunError::ReplayMismatch { task, recorded, asked })));
            }
        } else {
            this.mismatch_timer = None;
        }
        let blocked = this.limits.is_some() && replay.is_suspended();
        this.poll_time_limits(cx, blocked)
    }
}

impl<F> Drop for Attempt<'_, F> {
    fn drop(&mut self) {
        // The node's own future is dropped after this; when it is done already, nothing is left in it.
        if let Some(replay) = self.cx.replay_if_created() {
            replay.end_attempt(!self.returned && self.cx.scope.env.control.stop.is_cancelled());
        }
    }
}

impl<F> Attempt<'_, F> {
    fn poll_time_limits<T>(
        &mut self,
        cx: &mut std::task::Context<'_>,
        blocked: bool,
    ) -> Poll<Option<Result<T, RunError>>> {
        let Some(limits) = &mut self.limits else { return Poll::Pending };
        let sign = self.cx.replay_if_created().and_then(|replay| replay.last_activity());
        match limits.poll(cx, blocked, sign, self.cx) {
            Some(expired) => Poll::Ready(Some(Err(self.timed_out(expired)))),
            None => Poll::Pending,
        }
    }

    /// Excludes a suspension that ended before this poll from the timeouts.
    fn count_wait(&mut self) {
        if let (Some(limits), Some(replay)) = (&mut self.limits, self.cx.replay_if_created())
            && limits.blocked_since.is_some()
            && !replay.is_suspended()
        {
            limits.end_wait(Instant::now());
        }
    }

    /// Returns the timeout that had passed when the node returned.
    fn overdue(&mut self) -> Option<RunError> {
        let limits = self.limits.as_mut()?;
        let sign = self.cx.replay_if_created().and_then(|replay| replay.last_activity());
        let expired = limits.expired_limit(sign, self.cx)?;
        Some(self.timed_out(expired))
    }

    fn timed_out(&self, (which, limit): (&'static str, Duration)) -> RunError {
        RunError::TimedOut { node: self.cx.node().to_owned(), which, limit }
    }
}

/// Timeouts of one attempt. Time during which the task waits for an answer does not count.
struct TimeLimits {
    run: Option<Duration>,
    idle: Option<Duration>,
    run_until: Instant,
    last_activity: Instant,
    blocked_since: Option<Instant>,
    /// The task is a subgraph: it is suspended when the whole run is.
    subgraph: bool,
    /// Suspended time of the run as of the last check.
    idle_time: Duration,
    timer: Pin<Box<Sleep>>,
}

impl TimeLimits {
    fn new(run: Option<Duration>, idle: Option<Duration>, subgraph: bool, cx: &Context) -> Self {
        // The replay records the last activity, so it must exist.
        cx.replay();
        let now = Instant::now();
        let run_until = now + bounded(run.unwrap_or(Duration::MAX));
        let timer = Box::pin(sleep_until(run_until));
        let idle_time = cx.scope.env.control.idle_time();
        Self { run, idle, run_until, last_activity: now, blocked_since: None, subgraph, idle_time, timer }
    }

    /// Records the last activity, and how long a subgraph was suspended.
    fn note(&mut self, sign: Option<Instant>, context: &Context) {
        if self.subgraph {
            let idle_time = context.scope.env.control.idle_time();
            let waited = idle_time.saturating_sub(self.idle_time);
            self.idle_time = idle_time;
            self.run_until += waited;
            self.last_activity += waited;
        }
        if let Some(sign) = sign {
            self.last_activity = self.last_activity.max(sign);
        }
    }

    fn end_wait(&mut self, now: Instant) {
        if let Some(since) = self.blocked_since.take() {
            self.run_until += now - since;
            self.last_activity = now;
        }
    }

    /// Returns the timeout that has passed (not only been reached).
    fn expired_limit(
        &mut self,
        sign: Option<Instant>,
        context: &Context,
    ) -> Option<(&'static str, Duration)> {
        if self.blocked_since.is_some() {
            return None;
        }
        self.note(sign, context);
        let now = Instant::now();
        match (self.run, self.idle) {
            (Some(run), _) if now > self.run_until => Some(("run", run)),
            (_, Some(idle)) if now > self.last_activity + bounded(idle) => Some(("idle", idle)),
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
            let idle_until = self.idle.map(|idle| self.last_activity + bounded(idle));
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
