//! Dataflow mode: each task is committed when it finishes, and its successors start at once.
//!
//! The tasks run in a pool, and this loop commits them one at a time, in the order in which they end. The order is in the
//! journal: a commit is one append with the update of the task (`TaskFinished`) and the tasks that became due
//! (`TaskCommitted`), which names the version of the state that these start from. A task reads that version until it ends.
//! After a restart, the versions that tasks in flight read are folded from the journal, so a task that is entered again
//! gets the state that its recorded steps were made with.
//!
//! Two tasks overlap if neither of them started from a state with the update of the other. If both replace a field, the one
//! that ends later fails the run.

mod pool;
mod starts;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use serde_json::value::to_raw_value;

use self::{
    pool::{Ended, Ends, Job},
    starts::Claims,
};
use super::{
    Frame, FrameEnd, RunContext, RunError, check_supersteps, check_time,
    concurrency::TaskRef,
    contain, route,
    schedule::Advance,
    take_record,
    task::{TaskResult, finished_fact, unless_stopped},
    task_id, to_handler,
};
use crate::{
    event::EventKind,
    graph::{Chosen, CopyFn, FailurePolicy, Graph, Outcome, Selection, topology::NodeIx},
    journal::{
        entry::{Fact, TaskCommitted},
        stored_schedule::TaskStart,
    },
    json::Stored,
    state::State,
};

pub(crate) use starts::{Starts, read_frame};

/// Executes a frame in dataflow mode; see [`drive`](super::drive).
pub(super) async fn drive<S: State>(frame: &mut Frame<S>, copy: CopyFn<S>) -> Result<FrameEnd, RunError> {
    let Starts { states, claims } = frame.starts.take().map_or_else(Starts::default, |starts| *starts);
    let commits = frame.env.replay.as_ref().map(|replay| replay.commits(frame.parent.as_deref()));
    let mut flow = Dataflow {
        ends: Ends::new(&frame.graph, &frame.scope),
        copy,
        claims,
        failure: None,
        broken: false,
        interrupted: false,
        order: commits.map(|commits| CommitOrder { commits, held: BTreeMap::new() }),
    };
    flow.start_due(frame, &states).await;
    drop(states);
    while let Some(ended) = flow.ends.next().await {
        match &mut flow.order {
            None => flow.settle(frame, ended).await,
            Some(order) => {
                order.held.insert(ended.of.number, ended);
                while let Some(ended) = flow.next_in_order() {
                    flow.settle(frame, ended).await;
                }
            }
        }
    }
    match flow.failure {
        Some((_, error)) => Err(error),
        // What is due was not started, or was dropped.
        None if flow.interrupted || !frame.schedule.due.is_empty() => Ok(FrameEnd::Interrupted),
        None => Ok(FrameEnd::Completed),
    }
}

/// State of the loop.
struct Dataflow<S: State> {
    ends: Ends<S>,
    copy: CopyFn<S>,
    claims: Claims,
    /// The failure of the task with the lowest number among those that failed.
    failure: Option<(u64, RunError)>,
    /// A commit failed: no further one follows.
    broken: bool,
    /// A task was dropped.
    interrupted: bool,
    /// In a replay of a recorded run.
    order: Option<CommitOrder<S>>,
}

/// The order of commits in a recorded run, and the tasks that have ended before their turn.
struct CommitOrder<S: State> {
    commits: VecDeque<u64>,
    held: BTreeMap<u64, Ended<S>>,
}

impl<S: State> Dataflow<S> {
    /// Starts the tasks that became due, unless the run ends.
    async fn start_due(&mut self, frame: &mut Frame<S>, states: &HashMap<u64, Arc<S>>) {
        let env = Arc::clone(&frame.env);
        let is_ending = env.control.stop.is_cancelled() || env.control.drain.load(Ordering::Acquire);
        if frame.schedule.new_due().is_empty() || self.failure.is_some() || is_ending {
            return;
        }
        if let Err(error) = self.check_active_time(frame, &env).await {
            return self.fail(&frame.graph, u64::MAX, error);
        }
        if self.interrupted {
            return;
        }
        for at in 0..frame.schedule.new_due().len() {
            let activation = frame.schedule.new_due()[at].clone();
            let TaskStart { depth, version } = frame.schedule.start_of(activation.number).unwrap_or_default();
            if let Err(error) = check_supersteps(frame, &env, depth) {
                return self.fail(&frame.graph, activation.number, error.into());
            }
            let state = Arc::clone(states.get(&version).unwrap_or(&frame.state));
            let records = &mut frame.records;
            let record = if records.is_empty() { None } else { take_record(records, &activation) };
            self.ends.start(Job { activation, depth, state, record });
        }
    }

    async fn check_active_time(&mut self, frame: &Frame<S>, env: &Arc<RunContext>) -> Result<(), RunError> {
        if env.budget.is_timed() {
            match unless_stopped(env, check_time(frame, env)).await {
                Some(checked) => checked?,
                None => self.interrupted = true,
            }
        }
        Ok(())
    }

    /// Commits a task that has finished, and starts its successors.
    async fn settle(&mut self, frame: &mut Frame<S>, ended: Ended<S>) {
        let Ended { of, end } = ended;
        let graph = frame.graph.clone();
        let (outcome, finished) = match end {
            TaskResult::Failed(error) => return self.fail(&graph, of.number, error),
            TaskResult::Cancelled => {
                self.interrupted = true;
                return;
            }
            TaskResult::Finished { outcome, raw, cached, journalled } => {
                let wanted = frame.env.writer.wants_of(EventKind::NodeFinished, frame.parent.is_some());
                let id = || task_id(&graph, frame.parent.as_ref(), of.node, of.number);
                let fact = (wanted && !journalled).then(|| finished_fact(id(), &outcome, raw, cached));
                (End::Finished(outcome), fact)
            }
            TaskResult::Handled(failure) => {
                let handler = graph.node(of.node).handler;
                // A handler that is gone after a change of the graph is found when the graph is compared.
                (End::Handled(handler.map(|handler| to_handler(&graph, handler, &failure))), None)
            }
        };
        let env = Arc::clone(&frame.env);
        let committed = match self.check_active_time(frame, &env).await {
            Ok(()) if self.broken => Ok(None),
            Ok(()) => self.apply(frame, of, outcome).map(Some),
            Err(error) => Err(error),
        };
        let stored = match committed {
            Ok(Some(advance)) => match self.store(frame, of, finished, &advance).await {
                Ok(()) => Ok(advance),
                Err(error) => Err(error),
            },
            // The update is kept: a resumed run does not execute the task again.
            Ok(None) => {
                env.append(finished).ok();
                return;
            }
            Err(error) => {
                env.append(finished).ok();
                Err(error)
            }
        };
        match stored {
            Ok(Advance::Stuck { joins }) => self.fail(&graph, of.number, RunError::JoinNeverFilled { joins }),
            Ok(_) => self.start_due(frame, &HashMap::new()).await,
            Err(error) => {
                self.broken = true;
                self.fail(&graph, of.number, error);
            }
        }
    }

    /// Applies the outcome of a task and computes what is due.
    fn apply(&mut self, frame: &mut Frame<S>, of: TaskRef, end: End<S>) -> Result<Advance, RunError> {
        let graph = frame.graph.clone();
        let start = frame.schedule.start_of(of.number).unwrap_or_default();
        let mut ways = Vec::new();
        let mut parent_targets = None;
        let mut routed = of.node;
        frame.dirty = true;
        frame.schedule.finish_task(of.number);
        match end {
            End::Finished(outcome) => {
                if let Some(selection) = outcome.selection {
                    let leaves = selection.leaves();
                    let Selection { goto, sends, parent, parent_sends } = *selection;
                    let declared = &graph.0.choices[of.node as usize].declared;
                    graph.0.resolve(of.node, declared, goto, sends, &mut ways)?;
                    if leaves {
                        let nested = frame.parent.is_some();
                        let into = parent_targets.get_or_insert_default();
                        graph.0.resolve_parent(of.node, nested, parent, parent_sends, into)?;
                    }
                }
                if let Some(update) = outcome.update {
                    self.apply_update(frame, of.node, start, update)?;
                }
            }
            End::Handled(handler) => {
                ways.extend(handler);
                routed = graph.0.topology.start() + 1;
            }
        }
        if parent_targets.is_none() && !frame.schedule.is_leaving() {
            let mut chosen = std::mem::take(&mut frame.chosen);
            chosen.push((routed, ways));
            route(frame, &mut chosen)?;
            frame.chosen = chosen;
        } else {
            frame.schedule.leave_to(parent_targets.unwrap_or_default());
        }
        Ok(frame.schedule.advance_in_mode())
    }

    fn apply_update(
        &mut self,
        frame: &mut Frame<S>,
        node: NodeIx,
        start: TaskStart,
        update: S::Update,
    ) -> Result<(), RunError> {
        let name = Arc::clone(&frame.graph.node(node).name);
        let mut fields = Vec::new();
        S::claims(&update, &mut |field| fields.push(field));
        for field in &fields {
            if let Some((version, other)) = self.claims.get(field)
                && *version > start.version
            {
                return Err(RunError::WriteConflict {
                    field: (*field).to_owned(),
                    nodes: Box::new([other.to_string(), name.to_string()]),
                    superstep: start.depth,
                });
            }
        }
        if Arc::get_mut(&mut frame.state).is_none() {
            // Tasks in flight read the present version.
            frame.state = Arc::new(contain("(state)", || (self.copy)(&frame.state))?);
        }
        let state = Arc::get_mut(&mut frame.state).expect("nothing else has the new copy");
        contain(&name, || state.apply(update))?
            .map_err(|source| RunError::Update { node: name.to_string(), source })?;
        let version = frame.schedule.version();
        self.claims.extend(fields.into_iter().map(|field| (field, (version, Arc::clone(&name)))));
        Ok(())
    }

    /// Stores the end of a task and its commit in one append.
    async fn store(
        &mut self,
        frame: &mut Frame<S>,
        of: TaskRef,
        finished: Option<Fact>,
        advance: &Advance,
    ) -> Result<(), RunError> {
        let env = Arc::clone(&frame.env);
        let mut facts: Vec<Fact> = finished.into_iter().collect();
        if env.writer.wants_of(EventKind::SuperstepCommitted, frame.parent.is_some()) {
            let schedule = if env.writer.is_durable() {
                let stored = frame.schedule.stored_change();
                to_raw_value(&stored).expect("a schedule is numbers, names and JSON").into()
            } else {
                Stored::null().json
            };
            let shown = env.writer.interest().wants(EventKind::SuperstepCommitted);
            facts.push(Fact::TaskCommitted(TaskCommitted {
                task: task_id(&frame.graph, frame.parent.as_ref(), of.node, of.number),
                version: frame.schedule.version(),
                depth: frame.schedule.new_depth(),
                schedule,
                due: shown.then(|| frame.schedule.due_nodes()),
            }));
        }
        if !facts.is_empty() {
            // The end of the run follows the last commit and is awaited: one append for both.
            let is_last = frame.parent.is_none() && *advance != Advance::Superstep;
            let seq = if is_last { env.append_uncommitted(facts)? } else { env.commit(facts).await? };
            // A snapshot has no tasks in flight.
            if frame.schedule.has_none_in_flight()
                && let Some(call) = &frame.on_commit
            {
                call(&frame.state, &frame.schedule, seq);
            }
        }
        frame.dirty = false;
        Ok(())
    }

    /// Notes a failure and applies the policy for the tasks in flight.
    fn fail(&mut self, graph: &Graph<S>, number: u64, error: RunError) {
        let is_fatal = matches!(error, RunError::Store(_) | RunError::Limit(_))
            || graph.0.on_failure == FailurePolicy::FailFast;
        if self.failure.as_ref().is_none_or(|(known, _)| number < *known) {
            self.failure = Some((number, error));
        }
        if is_fatal {
            self.ends.cancel();
        }
    }

    /// Returns the task that is committed next in a replay: as recorded; without a record, or if the recorded one cannot
    /// end, the one with the lowest number.
    fn next_in_order(&mut self) -> Option<Ended<S>> {
        let CommitOrder { commits, held } = self.order.as_mut()?;
        if let Some(number) = commits.front() {
            if let Some(ended) = held.remove(number) {
                commits.pop_front();
                return Some(ended);
            }
            if self.ends.in_flight() > 0 {
                return None;
            }
        }
        let (number, ended) = held.pop_first()?;
        commits.retain(|commit| *commit != number);
        Some(ended)
    }
}

/// End of a task that is committed.
enum End<S: State> {
    Finished(Outcome<S>),
    /// Its failure, with the activation of the handler.
    Handled(Option<Chosen>),
}
