//! Execution of graphs: one loop that runs the due tasks, applies their updates in order, and commits.
//!
//! The schedule decides what is due and performs no I/O; `drive` executes it. Runs, resumed runs and subgraphs all use
//! `drive`.

mod budget;
mod concurrency;
mod context;
mod control;
mod dataflow;
mod deadline;
mod error;
mod executor;
mod interrupt;
mod journal_flush;
pub(crate) mod journal_writer;
mod model;
mod node_cache;
mod run_context;
pub(crate) mod schedule;
mod scope;
mod steering;
mod step;
mod stored_state;
pub(crate) mod subgraph;
mod task;
mod timer;
mod todos;
mod tool_host;
mod tools;
mod unfinished;

pub use crate::run::NodeEnded;
pub(crate) use budget::Budget;
pub use context::Context;
pub(crate) use control::RunControl;
pub(crate) use dataflow::{Starts, read_frame};
pub(crate) use deadline::drive_within_limits;
pub(crate) use error::is_retryable;
pub use error::{NodeCause, RunError};
pub use interrupt::Ask;
pub use model::{Completion, RecordedModel};
pub(crate) use run_context::{Deps, ReplayedRun, RunContext, RunTasks};
pub(crate) use steering::Steering;
pub(crate) use stored_state::{read_state, read_update};
pub use task::NodeFailure;
pub use tools::{RecordedTools, ToolFailed};
pub(crate) use unfinished::closing_update;
pub use unfinished::{CallOutcome, UnfinishedTask};

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde_json::value::to_raw_value;

use crate::{
    event::EventKind,
    graph::{Chosen, Graph, RoutingError, Selection, Target, topology::NodeIx},
    ids::{Seq, TaskId},
    journal::{
        entry::{Committed, Fact, Raw},
        projection::TaskRecord,
    },
    json::Stored,
    run::{LimitError, LimitKind},
    state::State,
    util::push_first,
};
use concurrency::ConcurrencySlot;
use context::TaskScope;
use schedule::{Activation, Advance, Schedule};
use task::{NodeFailure as Failure, TaskResult, finished_fact, run_task, unless_stopped};

/// Supersteps between two checks of the clock in a chain of nodes that are always ready.
const YIELD_CHECK_INTERVAL: u64 = 64;
/// Time after which such a chain yields to other tasks. A yield costs as much as many supersteps.
const YIELD_AFTER: Duration = Duration::from_micros(100);

/// A graph in execution: the outermost graph, or a subgraph inside a task.
pub(crate) struct Frame<S: State> {
    pub(crate) graph: Graph<S>,
    pub(crate) state: Arc<S>,
    pub(crate) schedule: Schedule,
    env: Arc<RunContext>,
    /// The task that contains the subgraph; `None` for the outermost graph.
    parent: Option<Arc<TaskId>>,
    /// Records of due tasks from before a restart.
    records: HashMap<u64, TaskRecord>,
    /// Updates were applied that are not committed: the state differs from the journal.
    pub(crate) dirty: bool,
    /// The same for each task, with the slot of the task that contains the subgraph, in a pool with limits.
    scope: Arc<TaskScope>,
    /// The context of the last task that ran alone, for the next one.
    context: Option<Context>,
    /// Called after each commit of the outermost graph.
    on_commit: Option<OnCommit<S>>,
    /// States of tasks in flight that were read from the journal, in dataflow mode.
    starts: Option<Box<Starts<S>>>,
    /// Empty between supersteps; kept so that a superstep allocates nothing.
    ends: Vec<TaskResult<S>>,
    chosen: Vec<(NodeIx, Vec<Chosen>)>,
}

/// Callback after a commit, with state, schedule and number, to keep a snapshot.
pub(crate) type OnCommit<S> = Box<dyn Fn(&S, &Schedule, Seq) + Send + Sync>;

/// End of a frame's loop without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameEnd {
    Completed,
    /// Drained at the end of a superstep, or stopped.
    Interrupted,
}

/// Computes the first due tasks from the edges and branches of the start.
pub(crate) fn begin<S: State>(graph: &Graph<S>, state: &S, first_number: u64) -> Result<Schedule, RunError> {
    let mut schedule = Schedule::new(Arc::clone(&graph.0.topology), first_number);
    let start = graph.0.topology.start();
    let mut chosen = Vec::new();
    graph.0.branch(start, state, &mut chosen)?;
    schedule.fire(start);
    activate_all(&mut schedule, chosen);
    match schedule.advance_in_mode() {
        Advance::Superstep | Advance::Done => Ok(schedule),
        Advance::Stuck { joins } => Err(RunError::JoinNeverFilled { joins }),
    }
}

fn activate_all(schedule: &mut Schedule, chosen: Vec<Chosen>) {
    for (target, input) in chosen {
        match (target, input) {
            (Target::Node(node), Some(input)) => schedule.send(node, input),
            (Target::Node(node), None) => schedule.activate(node),
            (Target::End, _) => {}
        }
    }
}

/// Runs user code and converts a panic into an error.
pub(crate) fn contain<T>(place: &str, code: impl FnOnce() -> T) -> Result<T, RunError> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| RunError::Panicked {
        node: place.to_owned(),
        message: crate::util::panic_message(&*panic),
    })
}

pub(crate) fn encode_schedule(schedule: &Schedule) -> Raw {
    to_raw_value(&schedule.stored()).expect("a schedule is numbers, names and JSON").into()
}

impl<S: State> Frame<S> {
    pub(crate) fn new(
        graph: Graph<S>,
        state: Arc<S>,
        schedule: Schedule,
        env: Arc<RunContext>,
        parent: Option<Arc<TaskId>>,
        records: HashMap<u64, TaskRecord>,
    ) -> Self {
        let (ends, chosen) = (Vec::new(), Vec::new());
        let scope = Arc::new(TaskScope {
            env: Arc::clone(&env),
            topology: Arc::clone(&graph.0.topology),
            parent: parent.clone(),
            slot: None,
        });
        Self {
            graph,
            state,
            schedule,
            env,
            parent,
            records,
            dirty: false,
            scope,
            context: None,
            on_commit: None,
            starts: None,
            ends,
            chosen,
        }
    }

    pub(crate) fn starting(mut self, starts: Option<Box<Starts<S>>>) -> Self {
        self.starts = starts;
        self
    }

    pub(crate) fn under(mut self, slot: Option<Arc<dyn ConcurrencySlot>>) -> Self {
        self.scope = Arc::new(TaskScope {
            env: Arc::clone(&self.env),
            topology: Arc::clone(&self.graph.0.topology),
            parent: self.parent.clone(),
            slot,
        });
        self
    }

    pub(crate) fn on_commit(mut self, call: OnCommit<S>) -> Self {
        self.on_commit = Some(call);
        self
    }
}

/// Executes a frame until nothing is due, it is drained or stopped, or an error occurs.
///
/// A pause is not an end: a task that waits for an answer is pending. Dropping the future drops its tasks; what they
/// recorded stays in the journal.
pub(crate) async fn drive<S: State>(frame: &mut Frame<S>) -> Result<FrameEnd, RunError> {
    if let Some(copy) = frame.graph.0.dataflow {
        return Box::pin(dataflow::drive(frame, copy)).await;
    }
    let env = Arc::clone(&frame.env);
    let mut since = Instant::now();
    while !frame.schedule.due.is_empty() {
        if env.control.stop.is_cancelled() || env.control.drain.load(Ordering::Acquire) {
            return Ok(FrameEnd::Interrupted);
        }
        check_supersteps(frame, &env, frame.schedule.superstep)?;
        if env.budget.is_timed() {
            match unless_stopped(&env, check_time(frame, &env)).await {
                Some(checked) => checked?,
                None => return Ok(FrameEnd::Interrupted),
            }
        }
        if run_due(frame, &env).await? == FrameEnd::Interrupted {
            return Ok(FrameEnd::Interrupted);
        }
        // A late result is not applied, even if the thread was blocked and no timer could fire.
        if env.budget.is_timed() {
            match unless_stopped(&env, check_time(frame, &env)).await {
                Some(checked) => checked?,
                None => return Ok(FrameEnd::Interrupted),
            }
        }
        let step = apply(frame, &env).await?;
        if let Advance::Stuck { joins } = step {
            return Err(RunError::JoinNeverFilled { joins });
        }
        if frame.schedule.superstep.is_multiple_of(YIELD_CHECK_INTERVAL) && since.elapsed() >= YIELD_AFTER {
            tokio::task::yield_now().await;
            since = Instant::now();
        }
    }
    Ok(FrameEnd::Completed)
}

async fn check_time<S: State>(frame: &Frame<S>, env: &Arc<RunContext>) -> Result<(), RunError> {
    let (slot, task) = (frame.scope.slot.clone(), frame.parent.clone());
    let waits = || Arc::new(BetweenSupersteps { env: Arc::clone(env), slot, task }) as _;
    budget::check_active(env, waits).await
}

fn check_supersteps<S: State>(frame: &Frame<S>, env: &RunContext, superstep: u64) -> Result<(), LimitError> {
    let own = frame.graph.0.max_supersteps;
    let limit = if frame.parent.is_none() { env.budget.supersteps().unwrap_or(own) } else { own };
    if superstep > limit {
        return Err(LimitError::new(LimitKind::Supersteps, limit, superstep));
    }
    Ok(())
}

/// A loop between two supersteps that waits for a budget extension.
struct BetweenSupersteps {
    env: Arc<RunContext>,
    slot: Option<Arc<dyn ConcurrencySlot>>,
    task: Option<Arc<TaskId>>,
}

impl budget::BudgetWaiter for BetweenSupersteps {
    fn set_waiting(&self, waits: bool) {
        if let (Some(slot), Some(task)) = (&self.slot, &self.task) {
            slot.set_blocked(waits, task);
        }
        self.env.control.adjust_runnable(if waits { -1 } else { 1 });
    }
}

/// Runs the due tasks: a single one inline, several in parallel. [`FrameEnd::Interrupted`]: a stop dropped some of them,
/// and the results of the others are not applied.
async fn run_due<S: State>(frame: &mut Frame<S>, env: &Arc<RunContext>) -> Result<FrameEnd, RunError> {
    let superstep = frame.schedule.superstep;
    // A task under a deadline is spawned; see `deadline`.
    let inline = frame.parent.is_some() || !env.budget.is_timed();
    if let ([only], true) = (frame.schedule.due.as_slice(), inline) {
        let record = if frame.records.is_empty() { None } else { take_record(&mut frame.records, only) };
        // Taken, so that it is dropped with this future if the task is.
        let mut cx = frame.context.take().unwrap_or_else(|| Context::new(Arc::clone(&frame.scope)));
        cx.enter(only.node, only.number, superstep);
        let end = run_task(&frame.graph, &*frame.state, only, &cx, record).await;
        cx.leave();
        frame.context = Some(cx);
        return match end {
            TaskResult::Failed(error) => Err(error),
            TaskResult::Cancelled => Ok(FrameEnd::Interrupted),
            end => {
                push_first(&mut frame.ends, end);
                Ok(FrameEnd::Completed)
            }
        };
    }
    let records = &mut frame.records;
    let tasks: Vec<(Activation, Option<Box<TaskRecord>>)> =
        frame.schedule.due.iter().map(|task| (task.clone(), take_record(records, task))).collect();
    let ends = executor::run_parallel(&frame.graph, &frame.state, &frame.scope, superstep, tasks).await;
    // The first error in the order of activation is reported, whichever task failed first in time.
    let mut failed = None;
    let mut cancelled = false;
    for end in ends {
        match end {
            TaskResult::Failed(error) => failed = failed.or(Some(error)),
            TaskResult::Cancelled => cancelled = true,
            end => frame.ends.push(end),
        }
    }
    match failed {
        Some(error) => Err(error),
        None if cancelled => Ok(FrameEnd::Interrupted),
        None => Ok(FrameEnd::Completed),
    }
}

/// Takes the record of a task. Boxed, because most tasks have none and all futures of tasks have room for one.
fn take_record(records: &mut HashMap<u64, TaskRecord>, task: &Activation) -> Option<Box<TaskRecord>> {
    records.remove(&task.number).map(Box::new)
}

/// Applies the updates in task order, routes, and commits.
async fn apply<S: State>(frame: &mut Frame<S>, env: &Arc<RunContext>) -> Result<Advance, RunError> {
    check_conflicts(frame, &frame.ends)?;
    let durable = env.writer.is_durable();
    let matters = durable || env.writer.is_watched();
    let nested = frame.parent.is_some();
    let notes_finished = matters && env.writer.wants_of(EventKind::NodeFinished, nested);
    let mut facts = Vec::new();
    let due = std::mem::take(&mut frame.schedule.due);
    let mut ends = std::mem::take(&mut frame.ends);
    let mut chosen = std::mem::take(&mut frame.chosen);
    let mut parent_targets = None;
    frame.dirty = true;
    {
        let state =
            Arc::get_mut(&mut frame.state).expect("no task of the superstep is left to hold the state");
        let graph = &frame.graph;
        for (task, end) in due.iter().zip(ends.drain(..)) {
            let mut ways = Vec::new();
            match end {
                TaskResult::Finished { outcome, raw, cached, journalled } => {
                    if notes_finished && !journalled {
                        let id = task_id(graph, frame.parent.as_ref(), task.node, task.number);
                        facts.push(finished_fact(id, &outcome, raw, cached));
                    }
                    if let Some(selection) = outcome.selection {
                        let leaves = selection.leaves();
                        let Selection { goto, sends, parent, parent_sends } = *selection;
                        let declared = &graph.0.choices[task.node as usize].declared;
                        graph.0.resolve(task.node, declared, goto, sends, &mut ways)?;
                        if leaves {
                            let into = parent_targets.get_or_insert_default();
                            graph.0.resolve_parent(task.node, nested, parent, parent_sends, into)?;
                        }
                    }
                    if let Some(update) = outcome.update {
                        let node = &graph.node(task.node).name;
                        contain(node, || state.apply(update))?
                            .map_err(|source| RunError::Update { node: node.to_string(), source })?;
                    }
                    push_first(&mut chosen, (task.node, ways));
                }
                TaskResult::Handled(failure) => {
                    let handler = graph.node(task.node).handler;
                    // A handler that is gone after a change of the graph is found when the graph is compared.
                    if let Some(handler) = handler {
                        ways.push(to_handler(graph, handler, &failure));
                    }
                    chosen.push((graph.0.topology.start() + 1, ways));
                }
                TaskResult::Failed(_) | TaskResult::Cancelled => {
                    unreachable!("run_due returns only what finished")
                }
            }
        }
    }
    match parent_targets {
        None => route(frame, &mut chosen)?,
        Some(targets) => {
            chosen.clear();
            frame.schedule.leave_to(targets);
        }
    }
    // Their memory is used again.
    (frame.ends, frame.chosen, frame.schedule.due) = (ends, chosen, due);
    let step = frame.schedule.advance();
    if matters && env.writer.wants_of(EventKind::SuperstepCommitted, nested) {
        facts.push(Fact::SuperstepCommitted(Committed {
            of: frame.parent.clone(),
            schedule: if durable { encode_schedule(&frame.schedule) } else { Stored::null().json },
            due: env
                .writer
                .interest()
                .wants(EventKind::SuperstepCommitted)
                .then(|| frame.schedule.due_nodes()),
        }));
    }
    if !facts.is_empty() {
        // The end of the run follows the last superstep and is awaited: one append for both.
        let last = frame.parent.is_none() && step != Advance::Superstep;
        let seq = if last { env.append_uncommitted(facts)? } else { env.commit(facts).await? };
        if let Some(call) = &frame.on_commit {
            call(&frame.state, &frame.schedule, seq);
        }
    }
    frame.dirty = false;
    Ok(step)
}

/// Routes every finished task, in order: targets selected by its outcome, branches, then edges.
#[inline(always)] // one caller, in every superstep: the compiler changes its mind with every line around it
fn route<S: State>(frame: &mut Frame<S>, chosen: &mut Vec<(NodeIx, Vec<Chosen>)>) -> Result<(), RunError> {
    let handled = frame.graph.0.topology.start() + 1;
    for (node, mut ways) in chosen.drain(..) {
        if node == handled {
            activate_all(&mut frame.schedule, ways);
            continue;
        }
        let graph = &frame.graph.0;
        let choices = &graph.choices[node as usize];
        if !choices.branches.is_empty() {
            graph.branch(node, &frame.state, &mut ways)?;
        } else if ways.is_empty() && !choices.fixed {
            let declared = choices.declared.iter().map(|(name, _)| name.to_string()).collect();
            return Err(
                RoutingError::NoBranchTaken { from: graph.topology.name(node).to_owned(), declared }.into()
            );
        }
        frame.schedule.fire(node);
        activate_all(&mut frame.schedule, ways);
    }
    Ok(())
}

fn to_handler<S: State>(graph: &Graph<S>, handler: NodeIx, failure: &Failure) -> Chosen {
    let input = if graph.node(handler).run.plain() {
        None
    } else {
        Some(to_raw_value(failure).expect("a failure is plain text and numbers").into())
    };
    (Target::Node(handler), input)
}

fn task_id<S: State>(
    graph: &Graph<S>,
    parent: Option<&Arc<TaskId>>,
    node: NodeIx,
    number: u64,
) -> Arc<TaskId> {
    let name = Arc::clone(&graph.node(node).name);
    Arc::new(match parent {
        Some(parent) => parent.child(name, number),
        None => TaskId::root(name, number),
    })
}

/// Fails if two tasks replace the same field.
#[inline(always)] // one caller, in every superstep: the compiler changes its mind with every line around it
fn check_conflicts<S: State>(frame: &Frame<S>, ends: &[TaskResult<S>]) -> Result<(), RunError> {
    if ends.len() < 2 {
        return Ok(());
    }
    let mut claimed: HashMap<&'static str, usize> = HashMap::new();
    let mut conflict = None;
    for (at, end) in ends.iter().enumerate() {
        if let TaskResult::Finished { outcome, .. } = end
            && let Some(update) = &outcome.update
        {
            S::claims(update, &mut |field| {
                if let Some(before) = claimed.insert(field, at)
                    && before != at
                {
                    conflict.get_or_insert((field, before, at));
                }
            });
        }
    }
    let Some((field, first, second)) = conflict else { return Ok(()) };
    let name = |at: usize| frame.graph.node(frame.schedule.due[at].node).name.to_string();
    Err(RunError::WriteConflict {
        field: field.to_owned(),
        nodes: Box::new([name(first), name(second)]),
        superstep: frame.schedule.superstep,
    })
}

/// Returns the schedule as if `node` had just run: its pending activation is removed, its successors are due.
pub(crate) fn reschedule_after<S: State>(
    graph: &Graph<S>,
    state: &S,
    mut schedule: Schedule,
    node: NodeIx,
) -> Result<Schedule, RunError> {
    schedule.replace_node(node);
    let mut chosen = Vec::new();
    graph.0.branch(node, state, &mut chosen)?;
    schedule.fire(node);
    activate_all(&mut schedule, chosen);
    match schedule.advance_in_mode() {
        Advance::Superstep | Advance::Done => Ok(schedule),
        Advance::Stuck { joins } => Err(RunError::JoinNeverFilled { joins }),
    }
}
