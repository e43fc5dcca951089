//! How a run moves: one loop that plans, runs tasks, applies their updates in order, and commits.
//!
//! `plan` decides and never acts; `drive` acts and never decides. `run`, `stream`, `resume` and subgraphs all
//! come through `drive`.

mod ask;
mod budget;
mod cell;
mod context;
mod deadline;
mod env;
mod error;
mod group;
mod model;
pub(crate) mod keys;
mod scope;
pub(crate) mod plan;
pub(crate) mod subgraph;
mod superstep;
mod task;
mod todos;
mod tools;
mod unfinished;

pub use crate::run::NodeEnded;
pub use ask::Ask;
pub(crate) use budget::{Budget, Granted};
pub use budget::{LimitError, Limits, Overrun, Used};
pub use context::Context;
pub(crate) use deadline::drive_within_limits;
pub use env::Durability;
pub(crate) use env::{Control, Deps, RunEnv};
pub use error::{NodeCause, RunError};
pub use group::TaskGroup;
pub use model::{Completion, RecordedModel};
pub use task::NodeFailure;
pub use tools::{RecordedTools, ToolFailed};
pub(crate) use unfinished::closing_update;
pub use unfinished::{CallOutcome, UnfinishedTask};

use std::{
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, value::to_raw_value};

use crate::{
    graph::{Chosen, Graph, RoutingError, Target, topology::NodeIx},
    ids::{Seq, TaskId},
    journal::{
        entry::{Committed, Fact, Raw},
        image::{FrameImage, TaskRecord},
    },
    json::{self, Form},
    state::State,
};
use plan::{Activation, Plan, Step};
use superstep::Slot;
use task::{NodeFailure as Failure, Place, TaskEnd, finished_fact, run_task, unless_stopped};

/// A chain of ready nodes looks at the clock after so many supersteps …
const LOOK_EVERY: u64 = 64;
/// … and gives way to others when it has kept the thread for so long: giving way costs as much as many supersteps.
const KEEP_THREAD: Duration = Duration::from_micros(100);

/// A graph on its way: the outermost one, or a subgraph inside a task.
pub(crate) struct Frame<S: State> {
    pub(crate) graph: Graph<S>,
    pub(crate) state: Arc<S>,
    pub(crate) plan: Plan,
    env: Arc<RunEnv>,
    /// The task whose subgraph this is.
    parent: Option<Arc<TaskId>>,
    /// What tasks that are due recorded before a restart.
    records: HashMap<u64, TaskRecord>,
    /// Updates were applied that are not committed: the state is no longer that of the journal.
    pub(crate) torn: bool,
    /// The place of the task whose subgraph this is, in a crew with caps.
    slot: Option<Arc<dyn Slot>>,
    /// Called after each commit of the outermost graph.
    on_commit: Option<OnCommit<S>>,
    /// Empty between supersteps; kept so that a superstep asks for no new memory.
    ends: Vec<TaskEnd<S>>,
    chosen: Vec<(NodeIx, Vec<Chosen>)>,
}

/// Called with the state and plan as of a commit, and its number (to keep a snapshot).
pub(crate) type OnCommit<S> = Box<dyn Fn(&S, &Plan, Seq) + Send + Sync>;

/// How a frame's loop ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameEnd {
    Completed,
    /// Ended before its end: drained at a superstep's boundary, or stopped.
    Interrupted,
}

/// Takes the ways out of the start: what is due first. Pure but for the branches it asks.
pub(crate) fn begin<S: State>(graph: &Graph<S>, state: &S, first_number: u64) -> Result<Plan, RunError> {
    let mut plan = Plan::new(Arc::clone(&graph.0.topology), first_number);
    let start = graph.0.topology.start();
    let mut chosen = Vec::new();
    graph.0.branch(start, state, &mut chosen)?;
    plan.fire(start);
    take(&mut plan, chosen);
    match plan.settle() {
        Step::Superstep | Step::Done => Ok(plan),
        Step::Stuck { joins } => Err(RunError::JoinNeverFilled { joins }),
    }
}

fn take(plan: &mut Plan, chosen: Vec<Chosen>) {
    for (target, input) in chosen {
        match (target, input) {
            (Target::Node(node), Some(input)) => plan.send(node, Arc::from(input)),
            (Target::Node(node), None) => plan.activate(node),
            (Target::End, _) => {}
        }
    }
}

/// A state as it was stored.
pub(crate) fn read_state<S: State>(image: &FrameImage) -> Result<S, RunError> {
    let unreadable = |reason: String| RunError::StoredState { reason };
    let mut state = match &image.base {
        None => S::default(),
        Some((version, stored)) if *version == S::VERSION => {
            stored.read().map_err(|error| unreadable(format!("the state: {error}")))?
        }
        Some((version, stored)) => {
            newer::<S>(*version)?;
            let value = json::read(stored.json.get()).map_err(|error| unreadable(error.to_string()))?;
            let value: Value = S::migrate(*version, value).map_err(|error| unreadable(error.to_string()))?;
            json::read_stored(&value.to_string(), &stored.form)
                .map_err(|error| unreadable(format!("the migrated state: {error}")))?
        }
    };
    for (version, stored) in &image.updates {
        let update = read_update::<S>(*version, &stored.json, &stored.form)?;
        contain("(reducer)", || state.apply(update))?
            .map_err(|source| RunError::Update { node: "(journal)".into(), source })?;
    }
    Ok(state)
}

/// An update as it was stored, by any version of this crate.
pub(crate) fn read_update<S: State>(version: u32, raw: &Raw, form: &Form) -> Result<S::Update, RunError> {
    let unreadable =
        |error: &dyn std::fmt::Display| RunError::StoredState { reason: format!("an update: {error}") };
    if form.is_lost() {
        return Err(unreadable(&"a step whose result it contains is not in the journal"));
    }
    let read = |text: &str| {
        // Before updates named their overwritten fields, `{"$overwrite": value}` stood inside the field.
        let old = S::MARKS_OVERWRITES && !form.has_plain_fields() && json::has_overwrite(text);
        let marked = if old { mark_overwrites::<S>(text) } else { None };
        json::read_stored(marked.as_deref().unwrap_or(text), form).map_err(|error| unreadable(&error))
    };
    if version == S::VERSION {
        return read(raw.get());
    }
    newer::<S>(version)?;
    let value = json::read(raw.get()).map_err(|error| unreadable(&error))?;
    let value: Value = S::migrate_update(version, value).map_err(|error| unreadable(&error))?;
    read(&value.to_string())
}

/// Names the overwritten fields of an update beside its fields, where an older version wrote `{"$overwrite": value}`
/// in a field that can be overwritten with that value; `None` where it wrote none. Such an object with any other
/// content was data and stays.
fn mark_overwrites<S: State>(text: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Overwrite {
        #[serde(rename = "$overwrite")]
        value: Raw,
    }
    let object = |fields: &BTreeMap<String, Raw>, names: &[String]| {
        let mut object: BTreeMap<&str, Raw> =
            fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        object.insert("$overwrite", to_raw_value(names).ok()?);
        serde_json::to_string(&object).ok()
    };
    let mut fields: BTreeMap<String, Raw> = serde_json::from_str(text).ok()?;
    if fields.contains_key("$overwrite") {
        return None;
    }
    let mut names = Vec::new();
    for (name, value) in &mut fields {
        let Ok(overwrite) = serde_json::from_str::<Overwrite>(value.get()) else { continue };
        let alone = BTreeMap::from([(name.clone(), overwrite.value.clone())]);
        let alone = object(&alone, std::slice::from_ref(name))?;
        if json::read::<S::Update>(&alone).is_ok() {
            *value = overwrite.value;
            names.push(name.clone());
        }
    }
    if names.is_empty() { None } else { object(&fields, &names) }
}

fn newer<S: State>(version: u32) -> Result<(), RunError> {
    if version > S::VERSION {
        let reason =
            format!("it has version {version}, this program knows up to {}; use a newer program", S::VERSION);
        return Err(RunError::StoredState { reason });
    }
    Ok(())
}

/// Runs the author's code and turns a panic in it into an error.
pub(crate) fn contain<T>(place: &str, code: impl FnOnce() -> T) -> Result<T, RunError> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| RunError::Panicked {
        node: place.to_owned(),
        message: crate::util::panic_message(&*panic),
    })
}

pub(crate) fn raw_plan(plan: &Plan) -> Raw {
    to_raw_value(&plan.image()).expect("a plan is numbers, names and JSON")
}

impl<S: State> Frame<S> {
    pub(crate) fn new(
        graph: Graph<S>,
        state: Arc<S>,
        plan: Plan,
        env: Arc<RunEnv>,
        parent: Option<Arc<TaskId>>,
        records: HashMap<u64, TaskRecord>,
    ) -> Self {
        let (ends, chosen) = (Vec::new(), Vec::new());
        Self {
            graph,
            state,
            plan,
            env,
            parent,
            records,
            torn: false,
            slot: None,
            on_commit: None,
            ends,
            chosen,
        }
    }

    pub(crate) fn under(mut self, slot: Option<Arc<dyn Slot>>) -> Self {
        self.slot = slot;
        self
    }

    pub(crate) fn on_commit(mut self, call: OnCommit<S>) -> Self {
        self.on_commit = Some(call);
        self
    }
}

/// The loop. `run`, `stream`, `resume` and every subgraph come through here.
///
/// It ends when nothing is due, when it is asked to, or with the first error. It does not know of pauses: a task
/// that waits for a person is just not done. Dropping it drops its tasks; what they recorded stays.
pub(crate) async fn drive<S: State>(frame: &mut Frame<S>) -> Result<FrameEnd, RunError> {
    let env = Arc::clone(&frame.env);
    let mut since = Instant::now();
    while !frame.plan.due.is_empty() {
        if env.control.stop.is_cancelled() || env.control.drain.load(Ordering::Acquire) {
            return Ok(FrameEnd::Interrupted);
        }
        check_supersteps(frame, &env)?;
        if env.budget.is_timed() {
            match unless_stopped(&env, check_time(frame, &env)).await {
                Some(checked) => checked?,
                None => return Ok(FrameEnd::Interrupted),
            }
        }
        if run_due(frame, &env).await? == FrameEnd::Interrupted {
            return Ok(FrameEnd::Interrupted);
        }
        // A late result is not applied, even where the thread was blocked and no timer could fire.
        if env.budget.is_timed() {
            match unless_stopped(&env, check_time(frame, &env)).await {
                Some(checked) => checked?,
                None => return Ok(FrameEnd::Interrupted),
            }
        }
        let step = apply(frame, &env).await?;
        if let Step::Stuck { joins } = step {
            return Err(RunError::JoinNeverFilled { joins });
        }
        if frame.plan.superstep.is_multiple_of(LOOK_EVERY) && since.elapsed() >= KEEP_THREAD {
            tokio::task::yield_now().await;
            since = Instant::now();
        }
    }
    Ok(FrameEnd::Completed)
}

async fn check_time<S: State>(frame: &Frame<S>, env: &Arc<RunEnv>) -> Result<(), RunError> {
    let (slot, task) = (frame.slot.clone(), frame.parent.clone());
    let waits = || Arc::new(BetweenSupersteps { env: Arc::clone(env), slot, task }) as _;
    budget::check_active(env, waits).await
}

fn check_supersteps<S: State>(frame: &Frame<S>, env: &RunEnv) -> Result<(), LimitError> {
    let own = frame.graph.0.max_supersteps;
    let limit = if frame.parent.is_none() { env.budget.supersteps().unwrap_or(own) } else { own };
    if frame.plan.superstep > limit {
        return Err(LimitError::new("supersteps", limit, frame.plan.superstep));
    }
    Ok(())
}

/// A loop between two supersteps that waits for a person to allow more time.
struct BetweenSupersteps {
    env: Arc<RunEnv>,
    slot: Option<Arc<dyn Slot>>,
    task: Option<Arc<TaskId>>,
}

impl budget::Gated for BetweenSupersteps {
    fn waits(&self, waits: bool) {
        if let (Some(slot), Some(task)) = (&self.slot, &self.task) {
            slot.blocked(waits, task);
        }
        self.env.control.busy(if waits { -1 } else { 1 });
    }
}

/// Runs everything that is due: one task here, several side by side. Interrupted: a stop dropped some of them, and what
/// the others came to is not applied.
async fn run_due<S: State>(frame: &mut Frame<S>, env: &Arc<RunEnv>) -> Result<FrameEnd, RunError> {
    let superstep = frame.plan.superstep;
    // A task under a deadline is spawned; see `deadline`.
    let inline = frame.parent.is_some() || !env.budget.is_timed();
    if let ([only], true) = (frame.plan.due.as_slice(), inline) {
        let record = if frame.records.is_empty() { None } else { frame.records.remove(&only.number) };
        let place = Place { graph: &frame.graph, env, parent: frame.parent.as_ref(), superstep };
        return match run_task(place, &*frame.state, only, frame.slot.as_ref(), record).await {
            TaskEnd::Failed(error) => Err(error),
            TaskEnd::Cancelled => Ok(FrameEnd::Interrupted),
            end => {
                frame.ends.push(end);
                Ok(FrameEnd::Completed)
            }
        };
    }
    let records = &mut frame.records;
    let tasks: Vec<(Activation, Option<TaskRecord>)> =
        frame.plan.due.iter().map(|task| (task.clone(), records.remove(&task.number))).collect();
    let (parent, outer) = (frame.parent.as_ref(), frame.slot.as_ref());
    let ends = superstep::run_crew(&frame.graph, &frame.state, env, parent, superstep, outer, tasks).await;
    // The first in order of activation is the one that is reported, whoever was faster.
    let mut failed = None;
    let mut cancelled = false;
    for end in ends {
        match end {
            TaskEnd::Failed(error) => failed = failed.or(Some(error)),
            TaskEnd::Cancelled => cancelled = true,
            end => frame.ends.push(end),
        }
    }
    match failed {
        Some(error) => Err(error),
        None if cancelled => Ok(FrameEnd::Interrupted),
        None => Ok(FrameEnd::Completed),
    }
}

/// Applies the updates in task order, takes the ways out, and commits.
async fn apply<S: State>(frame: &mut Frame<S>, env: &Arc<RunEnv>) -> Result<Step, RunError> {
    check_conflicts(frame, &frame.ends)?;
    let matters = env.writer.matters();
    let mut facts = Vec::new();
    let due = std::mem::take(&mut frame.plan.due);
    let mut ends = std::mem::take(&mut frame.ends);
    let mut chosen = std::mem::take(&mut frame.chosen);
    frame.torn = true;
    {
        let state =
            Arc::get_mut(&mut frame.state).expect("no task of the superstep is left to hold the state");
        let graph = &frame.graph;
        for (task, end) in due.iter().zip(ends.drain(..)) {
            let mut ways = Vec::new();
            match end {
                TaskEnd::Finished { outcome, raw, cached, journalled } => {
                    if matters && !journalled {
                        let id = task_id(graph, frame.parent.as_ref(), task);
                        facts.push(finished_fact(id, &outcome, raw, cached));
                    }
                    let declared = &graph.0.choices[task.node as usize].declare_targets;
                    graph.0.resolve(task.node, declared, outcome.goto, outcome.sends, &mut ways)?;
                    if let Some(update) = outcome.update {
                        let node = &graph.node(task.node).name;
                        contain(node, || state.apply(update))?
                            .map_err(|source| RunError::Update { node: node.to_string(), source })?;
                    }
                    chosen.push((task.node, ways));
                }
                TaskEnd::Handled(failure) => {
                    let handler = graph.node(task.node).handler;
                    // A handler that is gone after a change of the graph is found when the graph is compared.
                    if let Some(handler) = handler {
                        ways.push(to_handler(graph, handler, &failure));
                    }
                    chosen.push((graph.0.topology.start() + 1, ways));
                }
                TaskEnd::Failed(_) | TaskEnd::Cancelled => unreachable!("run_due returns only what finished"),
            }
        }
    }
    route(frame, &mut chosen)?;
    // Their memory is used again.
    (frame.ends, frame.chosen, frame.plan.due) = (ends, chosen, due);
    let step = frame.plan.settle();
    if matters {
        facts.push(Fact::SuperstepCommitted(Committed {
            of: frame.parent.clone(),
            plan: raw_plan(&frame.plan),
        }));
        // Behind the last superstep comes the run's end, which is waited for: one append for both.
        let last = frame.parent.is_none() && step != Step::Superstep;
        let seq = if last { env.line_up(facts)? } else { env.commit(facts).await? };
        if let Some(call) = &frame.on_commit {
            call(&frame.state, &frame.plan, seq);
        }
    }
    frame.torn = false;
    Ok(step)
}

/// Takes the ways out of every task that finished, in order: chosen ones by its outcome, branches, fixed ones.
#[inline(always)] // one caller, in every superstep: the compiler changes its mind with every line around it
fn route<S: State>(frame: &mut Frame<S>, chosen: &mut Vec<(NodeIx, Vec<Chosen>)>) -> Result<(), RunError> {
    let handled = frame.graph.0.topology.start() + 1;
    for (node, mut ways) in chosen.drain(..) {
        if node == handled {
            take(&mut frame.plan, ways);
            continue;
        }
        let graph = &frame.graph.0;
        let choices = &graph.choices[node as usize];
        if !choices.branches.is_empty() {
            graph.branch(node, &frame.state, &mut ways)?;
        } else if ways.is_empty() && !choices.fixed {
            let declared = choices.declare_targets.iter().map(|(name, _)| name.to_string()).collect();
            return Err(
                RoutingError::NoBranchTaken { from: graph.topology.name(node).to_owned(), declared }.into()
            );
        }
        frame.plan.fire(node);
        take(&mut frame.plan, ways);
    }
    Ok(())
}

fn to_handler<S: State>(graph: &Graph<S>, handler: NodeIx, failure: &Failure) -> Chosen {
    let input = if graph.node(handler).run.plain() {
        None
    } else {
        Some(to_raw_value(failure).expect("a failure is plain text and numbers"))
    };
    (Target::Node(handler), input)
}

fn task_id<S: State>(graph: &Graph<S>, parent: Option<&Arc<TaskId>>, task: &Activation) -> Arc<TaskId> {
    let name = Arc::clone(&graph.node(task.node).name);
    Arc::new(match parent {
        Some(parent) => parent.child(name, task.number),
        None => TaskId::root(name, task.number),
    })
}

/// Two tasks that replace the same field are an error, whichever would have come last.
#[inline(always)] // one caller, in every superstep: the compiler changes its mind with every line around it
fn check_conflicts<S: State>(frame: &Frame<S>, ends: &[TaskEnd<S>]) -> Result<(), RunError> {
    if ends.len() < 2 {
        return Ok(());
    }
    let mut claimed: HashMap<&'static str, usize> = HashMap::new();
    let mut conflict = None;
    for (at, end) in ends.iter().enumerate() {
        if let TaskEnd::Finished { outcome, .. } = end
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
    let name = |at: usize| frame.graph.node(frame.plan.due[at].node).name.to_string();
    Err(RunError::WriteConflict {
        field: field.to_owned(),
        nodes: Box::new([name(first), name(second)]),
        superstep: frame.plan.superstep,
    })
}

/// The plan after `node` is taken to have just run: its pending activation is gone, what follows it is due.
pub(crate) fn reroute<S: State>(
    graph: &Graph<S>,
    state: &S,
    mut plan: Plan,
    node: NodeIx,
) -> Result<Plan, RunError> {
    plan.drop_due(node);
    plan.reopen();
    let mut chosen = Vec::new();
    graph.0.branch(node, state, &mut chosen)?;
    plan.fire(node);
    take(&mut plan, chosen);
    match plan.settle() {
        Step::Superstep | Step::Done => Ok(plan),
        Step::Stuck { joins } => Err(RunError::JoinNeverFilled { joins }),
    }
}
