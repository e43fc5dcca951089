//! Execution of one task: attempts, retries, cached outcomes, and replay after a restart.

mod attempt;
mod replay;

pub(super) use replay::{AttemptHandle, BudgetCall, ReplayedQuestion, StepStart, TaskReplay};

use std::{
    borrow::Cow,
    future::Future,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::sleep;

use self::attempt::attempt_with_span;
use super::{Context, NodeCause, RunContext, RunError, node_cache::CachedOutcome, schedule::Activation};
use crate::{
    event::{EventBody, EventKind, UpdateForm, payload},
    graph::{Dispatch, Graph, NodeDef, NodeError, Outcome, Selection},
    ids::{Seq, TaskId},
    interrupt::AnswerWaiter,
    journal::{
        dedup::StepRef,
        entry::{Fact, Finished, Raw, TaskFailure},
        projection::TaskRecord,
    },
    json::{self, EventValue, Form, Stored, ValueError},
    state::State,
};

/// A failed node, as passed to its error handler (the input of a handler node that takes one).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeFailure {
    /// The node that failed.
    pub node: String,
    /// The task.
    pub task: String,
    /// The error code.
    pub code: String,
    /// The error message.
    pub message: String,
    /// Number of attempts.
    pub attempts: u32,
}

/// Result of a task.
pub(crate) enum TaskResult<S: State> {
    /// The task has an outcome that is not applied yet. `raw` is its encoded update, if it has a consumer.
    Finished { outcome: Outcome<S>, raw: Option<Box<EncodedUpdate>>, cached: bool, journalled: bool },
    /// The task failed, and a handler node takes the failure.
    Handled(Box<NodeFailure>),
    /// The task failed.
    Failed(RunError),
    /// The task was dropped: another task failed, or the run is being stopped.
    Cancelled,
}

/// An update for the journal and for subscribers.
pub(crate) struct EncodedUpdate {
    /// As JSON, if that is needed.
    whole: Option<Stored>,
    /// Without what is in the journal already.
    kept: Option<(Raw, Vec<StepRef>)>,
    /// With its type, for subscribers.
    shown: Option<EventValue>,
}

/// Runs one activation to its end.
///
/// Rare branches are boxed to keep this future small, because a superstep may hold thousands of them.
pub(crate) async fn run_task<S: State>(
    graph: &Graph<S>,
    state: &S,
    activation: &Activation,
    cx: &Context,
    record: Option<Box<TaskRecord>>,
) -> TaskResult<S> {
    if let Some(record) = record
        && let Some(end) = Box::pin(restore(cx, record)).await
    {
        return end;
    }
    emit_started(cx);
    let node = graph.node(activation.node);
    let input = activation.input.as_deref();
    if node.policy.is_plain() && !cx.scope.env.traced {
        return match attempt::attempt(node, state, input, cx).await {
            Some(Ok(outcome)) => finish(cx, outcome, false),
            Some(Err(error)) => Box::pin(fail(node, graph, cx, error)).await,
            None => TaskResult::Cancelled,
        };
    }
    Box::pin(run_with_retries(graph, node, state, input, cx)).await
}

/// Restores a task from its record, and waits until it can be entered. Returns its result if it has one.
async fn restore<S: State>(cx: &Context, mut record: Box<TaskRecord>) -> Option<TaskResult<S>> {
    let env = &*cx.scope.env;
    if let Some(finished) = record.finished.take() {
        return Some(replay_finished(finished));
    }
    if let Some(failure) = record.handled.take() {
        return Some(TaskResult::Handled(Box::new(to_node_failure(&failure))));
    }
    if let Some(failure) = record.exhausted.take() {
        // Its tries were used up before the process ended.
        return Some(TaskResult::Failed(RunError::FailedBefore {
            node: failure.task.node().to_string(),
            attempts: failure.attempt,
            code: crate::Code::named(&failure.code).unwrap_or(crate::Code::NodeFailed),
            message: failure.message,
        }));
    }
    let waits = record.asked.values().any(|asked| asked.answer.is_none());
    let retry = record.retry;
    cx.restore(*record);
    if let Some(retry) = retry {
        let left = Duration::from_millis(retry.left(env.clock.now_ms()));
        if !left.is_zero() && unless_stopped(env, sleep(left)).await.is_none() {
            return Some(TaskResult::Cancelled);
        }
    }
    // The task continues when all of its questions are answered, as a task in memory does.
    if waits && unless_stopped(env, wait_for_answers(cx.replay())).await.is_none() {
        return Some(TaskResult::Cancelled);
    }
    None
}

/// Runs a node with a policy or with spans: cache, attempts and retries.
async fn run_with_retries<S: State>(
    graph: &Graph<S>,
    node: &NodeDef<S>,
    state: &S,
    input: Option<&RawValue>,
    cx: &Context,
) -> TaskResult<S> {
    let key = match &node.policy.cache {
        Some(cache) => match (cache.key)(state, input) {
            Ok(key) => Some((format!("{}\n{}\n{}\n{key}", graph.name(), graph.hash(), node.name), cache.ttl)),
            Err(error) => {
                let error =
                    cx.failed(NodeError::permanent(format!("the cache key is not valid JSON: {error}")));
                return fail(node, graph, cx, error).await;
            }
        },
        None => None,
    };
    if let Some(cached) = key.as_ref().and_then(|(key, _)| cx.scope.env.deps.cache.get(key))
        && let Ok(outcome) = from_cached::<S>(&cached)
    {
        return finish(cx, outcome, true);
    }
    loop {
        let tried = attempt_with_span(graph, node, state, input, cx).await;
        let error = match tried {
            Some(Ok(outcome)) => {
                if let Some((key, ttl)) = key
                    && let Some(parts) = to_parts(&outcome)
                {
                    cx.scope.env.deps.cache.put(key, ttl, parts);
                }
                return finish(cx, outcome, false);
            }
            Some(Err(error)) => error,
            None => return TaskResult::Cancelled,
        };
        let failed = cx.attempt() - cx.replay().forgiven_attempts();
        let again = match (&node.policy.retry, &error) {
            (Some(policy), RunError::Node { source: NodeCause(source), .. }) => policy.again(failed, source),
            (Some(policy), RunError::TimedOut { .. }) => {
                policy.again(failed, &NodeError::transient(error.to_string()))
            }
            _ => None,
        };
        let Some(wait) = again else { return fail(node, graph, cx, error).await };
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if let Err(error) = append_failure(cx, &error, Some(ms), None).await {
            return TaskResult::Failed(error);
        }
        cx.replay().next_attempt();
        if node.run.drawing().is_some()
            && let Err(error) = resume_subgraph(cx).await
        {
            return TaskResult::Failed(error);
        }
        if unless_stopped(&cx.scope.env, sleep(wait)).await.is_none() {
            return TaskResult::Cancelled;
        }
        emit_started(cx);
    }
}

/// Restores the frame of a subgraph for its next attempt: what it recorded is replayed, as after a restart.
async fn resume_subgraph(cx: &Context) -> Result<(), RunError> {
    let Some(store) = cx.scope.env.writer.store() else { return Ok(()) };
    cx.scope.env.writer.wait_all_durable().await?;
    let projection = crate::journal::fold(&**store, &cx.scope.env.session, Seq(u64::MAX >> 1)).await?;
    if let Some(frame) = projection.and_then(|projection| projection.root.into_frame(&cx.replay().task)) {
        cx.replay().restore_frame(frame);
    }
    Ok(())
}

fn emit_started(cx: &Context) {
    if !cx.scope.env.writer.interest().of_tasks(cx.scope.parent.is_some()).wants(EventKind::NodeStarted) {
        return;
    }
    let body =
        EventBody::NodeStarted(payload::NodeStarted { node: cx.node().to_owned(), attempt: cx.attempt() });
    cx.scope.env.emit_ephemeral(Some(cx.task_for_event()), body);
}

/// Waits for a future until the run is being stopped; `None` then. A stop wakes everything that polls a task.
pub(super) async fn unless_stopped<F: Future>(env: &RunContext, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if env.control.stop.is_cancelled() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Waits until all questions of a restored task are answered, or the first deadline of one has passed: the task is
/// entered then, and the question expires where it is asked.
async fn wait_for_answers(replay: &Arc<TaskReplay>) {
    let waiter: Arc<dyn AnswerWaiter> = Arc::clone(replay) as _;
    let mut deadline = replay.env.pending_questions.first_due(&replay.task).map(|due| {
        let left = due.saturating_sub(replay.env.clock.now_ms());
        Box::pin(sleep(Duration::from_millis(u64::try_from(left).unwrap_or(0))))
    });
    let mut expired = false;
    std::future::poll_fn(|cx| {
        let pending_questions = &replay.env.pending_questions;
        if !expired
            && pending_questions
                .poll_task(&replay.task, &waiter, cx.waker(), || replay.suspend_before_attempt())
                .is_pending()
        {
            let Some(deadline) = &mut deadline else { return Poll::Pending };
            ready!(deadline.as_mut().poll(cx));
            expired = true;
            replay.answered();
        }
        replay.poll_slot(cx.waker())
    })
    .await;
}

fn finish<S: State>(cx: &Context, outcome: Outcome<S>, cached: bool) -> TaskResult<S> {
    if let Some(replay) = cx.replay_if_created() {
        let left = replay.unreplayed();
        if !left.is_empty() {
            return TaskResult::Failed(RunError::ReplayMismatch {
                task: Box::new(TaskId::clone(&replay.task)),
                recorded: left,
                asked: Vec::new(),
            });
        }
        if !cx.scope.env.writer.wants_of(EventKind::NodeFinished, cx.scope.parent.is_some()) {
            cx.scope.env.writer.end_partial(&replay.task, None);
        }
        replay.finished();
    }
    if let Some(selection) = &outcome.selection
        && let Some(error) = unsendable(cx, selection)
    {
        return TaskResult::Failed(error);
    }
    let raw = match &outcome.update {
        Some(update) => match super::contain(cx.node(), || encode_update::<S>(cx, update)) {
            Err(panicked) => return TaskResult::Failed(panicked),
            Ok(Ok(raw)) => raw.map(Box::new),
            Ok(Err(error)) => {
                return TaskResult::Failed(cx.failed(NodeError::permanent(error.of("the update"))));
            }
        },
        None => None,
    };
    TaskResult::Finished { outcome, raw, cached, journalled: false }
}

/// Returns the error of the first send with an input that cannot be stored. Such a task must not be stored as finished:
/// after a restart, the send would be missing.
fn unsendable(cx: &Context, selection: &Selection) -> Option<RunError> {
    selection.sends.iter().chain(&selection.parent_sends).find_map(|send| {
        let reason = send.input.as_ref().err()?.clone();
        Some(RunError::Send { from: cx.node().to_owned(), target: send.node.to_string(), reason })
    })
}

/// Encodes an update for the journal, or, without one, in the form that the subscribers want.
fn encode_update<S: State>(cx: &Context, update: &S::Update) -> Result<Option<EncodedUpdate>, ValueError> {
    let interest = cx.scope.env.writer.interest().of_tasks(cx.scope.parent.is_some());
    let durable = cx.scope.env.writer.is_durable();
    if !durable && interest.update_form() == UpdateForm::Omit {
        return Ok(None);
    }
    let typed = if interest.wants_typed() { S::copy_update(update) } else { None };
    if let (false, UpdateForm::Typed, Some(_)) = (durable, interest.update_form(), &typed) {
        let shown = typed.map(|typed| EventValue::typed(typed, None));
        return Ok(Some(EncodedUpdate { whole: None, kept: None, shown }));
    }
    let whole = Stored::update(update, json::NEW)?;
    let replay = cx.replay_if_created().filter(|_| durable);
    let kept = replay.and_then(|replay| replay.deduplicate(&whole.json));
    let shown = typed.map(|typed| EventValue::typed(typed, Some(&whole.json)));
    Ok(Some(EncodedUpdate { whole: Some(whole), kept, shown }))
}

/// The fact that a task is done.
pub(crate) fn finished_fact<S: State>(
    task: Arc<TaskId>,
    outcome: &Outcome<S>,
    raw: Option<Box<EncodedUpdate>>,
    cached: bool,
) -> Fact {
    let (whole, kept, shown) = raw.map_or((None, None, None), |raw| (raw.whole, raw.kept, raw.shown));
    let (json, form) = whole.map_or((None, Form::default()), |whole| (Some(whole.json), whole.form));
    let (update, holes, whole) = match kept {
        Some((kept, holes)) => (Some(kept), holes, json),
        None => (json, Vec::new(), None),
    };
    Fact::TaskFinished(Finished {
        task,
        update,
        form,
        holes,
        whole,
        shown,
        goto: names(outcome, |selection| &selection.goto),
        sends: sends(outcome, |selection| &selection.sends),
        parent: names(outcome, |selection| &selection.parent),
        parent_sends: sends(outcome, |selection| &selection.parent_sends),
        cached,
        version: S::VERSION,
    })
}

fn names<S: State>(outcome: &Outcome<S>, of: impl Fn(&Selection) -> &[Cow<'static, str>]) -> Vec<String> {
    outcome.selection.iter().flat_map(|selection| of(selection)).map(ToString::to_string).collect()
}

/// The sends, which `finish` has checked.
fn sends<S: State>(outcome: &Outcome<S>, of: impl Fn(&Selection) -> &[Dispatch]) -> Vec<(String, Raw)> {
    let sends = outcome.selection.iter().flat_map(|selection| of(selection));
    sends.filter_map(|send| Some((send.node.to_string(), send.input.as_ref().ok()?.clone()))).collect()
}

fn to_parts<S: State>(outcome: &Outcome<S>) -> Option<CachedOutcome> {
    let update = match &outcome.update {
        Some(update) => Some(Stored::update(update, json::NEW).ok()?),
        None => None,
    };
    Some(CachedOutcome {
        update,
        goto: names(outcome, |selection| &selection.goto),
        sends: sends(outcome, |selection| &selection.sends),
        parent: names(outcome, |selection| &selection.parent),
        parent_sends: sends(outcome, |selection| &selection.parent_sends),
    })
}

fn from_cached<S: State>(cached: &CachedOutcome) -> serde_json::Result<Outcome<S>> {
    let CachedOutcome { update, goto, sends, parent, parent_sends } = cached;
    let update = update.as_ref().map(Stored::read).transpose()?;
    Ok(Outcome { update, selection: selection(goto, sends, parent, parent_sends) })
}

fn selection(
    goto: &[String],
    sends: &[(String, Raw)],
    parent: &[String],
    parent_sends: &[(String, Raw)],
) -> Option<Box<Selection>> {
    let names = |names: &[String]| names.iter().map(|node| node.clone().into()).collect();
    let dispatches = |sends: &[(String, Raw)]| {
        let sends = sends.iter();
        sends.map(|(node, input)| Dispatch { node: node.clone().into(), input: Ok(input.clone()) }).collect()
    };
    let selection = Selection {
        goto: names(goto),
        sends: dispatches(sends),
        parent: names(parent),
        parent_sends: dispatches(parent_sends),
    };
    selection.boxed()
}

/// A task that had finished before a restart.
fn replay_finished<S: State>(finished: Finished) -> TaskResult<S> {
    let read = |raw| super::read_update::<S>(finished.version, raw, &finished.form);
    let update = finished.update().map(read);
    let selection = selection(&finished.goto, &finished.sends, &finished.parent, &finished.parent_sends);
    let outcome = match update.transpose() {
        Ok(update) => Outcome { update, selection },
        Err(error) => return TaskResult::Failed(error),
    };
    TaskResult::Finished { outcome, raw: None, cached: finished.cached, journalled: true }
}

fn to_node_failure(failure: &TaskFailure) -> NodeFailure {
    NodeFailure {
        node: failure.task.node().to_string(),
        task: failure.task.to_string(),
        code: failure.code.clone(),
        message: failure.message.clone(),
        attempts: failure.attempt,
    }
}

/// Notes a failed try. The message is what people may see.
async fn append_failure(
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
    if cx.scope.env.writer.wants_of(EventKind::NodeFailed, cx.scope.parent.is_some()) {
        cx.scope.env.commit([Fact::TaskFailed(failure.clone())]).await?;
    } else {
        cx.scope.env.writer.end_partial(&failure.task, None);
    }
    Ok(failure)
}

/// Handles a final failure: passes it to the error handler, or fails the run.
async fn fail<S: State>(node: &NodeDef<S>, graph: &Graph<S>, cx: &Context, error: RunError) -> TaskResult<S> {
    // A node cannot handle errors that the engine itself reports.
    let handler = match error {
        RunError::Node { .. } | RunError::Panicked { .. } | RunError::TimedOut { .. } => node.handler,
        _ => None,
    };
    let name = handler.map(|handler| graph.node(handler).name.to_string());
    match append_failure(cx, &error, None, name).await {
        Err(error) => TaskResult::Failed(error),
        Ok(failure) if handler.is_some() => TaskResult::Handled(Box::new(to_node_failure(&failure))),
        Ok(_) => TaskResult::Failed(error),
    }
}
