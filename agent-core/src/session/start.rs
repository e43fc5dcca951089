//! Starts runs: accepts an input, ends an unfinished run as the policy says, and spawns the supervisor.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
};

use serde_json::value::to_raw_value;
use tracing::Instrument;

use super::run_input::{EncodedInput, RawInput};
use super::{
    BusyPolicy, Run, RunOptions, Session, SessionError,
    cell::{IdleProjection, LiveRun, SessionCell},
    dyn_graph::DynGraph,
    lock::{IdleSession, LockedSession},
    run_end::todo_facts,
    run_watch::RunSender,
    runtime::Shared,
    snapshots::snapshots,
    supervisor::{RunStart, supervise},
};
use crate::{
    engine::{
        Budget, Frame, RunContext, RunControl, RunTasks, Starts, Steering, encode_schedule,
        journal_writer::JournalWriter, schedule::Schedule,
    },
    graph::Graph,
    ids::{RunId, Seq},
    journal::{
        Summary,
        entry::{Accepted, Base, Closing, Entry, Fact, Queued, Stopped},
        projection::{FrameProjection, Projection, null},
    },
    json::{Form, Stored},
    run::{BudgetUsage, Durability, Limits, RunStatus},
    state::{Input, State},
    telemetry,
    todo::{TodoStatus, TodoTree},
};

/// When a start is acknowledged to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckMode {
    /// When the acceptance is stored.
    AfterAccept,
    /// When the run has finished or paused: the acceptance is stored together with what follows it.
    AfterRun,
}

/// An accepted run and the future that drives it.
pub(super) struct StartedRun {
    run: Run,
    /// `None` for a queued run. Must be polled to its end, even if the caller is dropped.
    future: Option<RunFuture>,
}

/// Future that drives one run to its end.
type RunFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

impl StartedRun {
    /// Spawns the run.
    pub(super) fn spawn(self, shared: &Shared) -> Run {
        if let Some(future) = self.future {
            shared.runs.spawn_uncancelled(future);
        }
        self.run
    }

    /// Polls the run once on this thread, so that a short run ends without a task, and spawns it if it is pending.
    fn poll_once(self, shared: &Shared) -> Run {
        if let Some(mut future) = self.future {
            let _counted = shared.runs.guard();
            // Not with the caller's waker, which a suspended run would keep, and with it the memory of the caller's task. A
            // spawned task is polled with its own.
            if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                shared.runs.spawn_uncancelled(future);
            }
        }
        self.run
    }
}

impl Session {
    /// Accepts a run and starts it.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, the run is
    /// accepted and begun, or refused, without the caller.
    pub(super) async fn accept<S: State>(&self, new: Box<NewRun<S>>) -> Result<Run, SessionError> {
        let (instance, ack) = (self.shared.instance(&new.graph), new.ack);
        let start = async move |locked: LockedSession| {
            let started = locked.start(new, instance).await?;
            let shared = Arc::clone(&locked.shared);
            // The run may end within this poll, and begin a queued one.
            drop(locked);
            Ok(match ack {
                AckMode::AfterAccept => started.spawn(&shared),
                AckMode::AfterRun => started.poll_once(&shared),
            })
        };
        self.lock().await.complete(start).await
    }

    /// The update that closes a run that is not in memory and is being stopped; see
    /// [`GraphBuilder::on_stop`](crate::graph::GraphBuilder::on_stop).
    pub(super) fn closing(&self, projection: &Projection) -> Option<Closing> {
        self.graph_of(&projection.graph).ok()?.closing(projection)
    }
}

/// A run to start. Boxed, because every future of a start holds it and is moved into another one.
pub(super) struct NewRun<S: State> {
    pub(super) graph: Graph<S>,
    pub(super) input: EncodedInput<S>,
    pub(super) options: RunOptions,
    ack: AckMode,
}

impl<S: State> NewRun<S> {
    pub(super) fn new(graph: &Graph<S>, input: Input<S>, options: RunOptions, ack: AckMode) -> Box<Self> {
        Box::new(Self { graph: graph.clone(), input: EncodedInput::new(input), options, ack })
    }
}

/// State and schedule of a session before a run that is undone.
pub(super) struct Rollback {
    pub(super) version: u32,
    pub(super) state: Stored,
    pub(super) schedule: crate::journal::stored_schedule::StoredSchedule,
}

impl LockedSession {
    async fn start<S: State>(
        &self,
        mut new: Box<NewRun<S>>,
        instance: Arc<dyn DynGraph>,
    ) -> Result<StartedRun, SessionError> {
        self.check_open()?;
        new.options.check_context()?;
        if let Some(unknown) = new.options.unknown_node(&new.graph) {
            let reason = format!("it has no node `{unknown}` for a breakpoint");
            return Err(SessionError::InvalidInput { graph: new.graph.name().to_owned(), reason });
        }
        if self.shared.store.is_some() {
            let NewRun { graph, input, .. } = &mut *new;
            input.encode(graph)?;
        }
        let mut rollback = None;
        if let Some(live) = self.live_run().await {
            let labels = live.env.writer.labels();
            new.options.resolve_default_labels(&labels);
            self.check_labels(&new.options, &labels)?;
            self.check_request(&new.options, &live.requests)?;
            match new.options.on_busy {
                BusyPolicy::Reject => return Err(self.busy(live.run(), live.status())),
                // Boxed, here and below: what is rare would make the future of every run large.
                BusyPolicy::Enqueue => {
                    let run = self.cell.next_run(live.runs);
                    let run = Box::pin(self.enqueue(*new, instance, &live.env.writer, run)).await?;
                    return Ok(StartedRun { run, future: None });
                }
                BusyPolicy::Interrupt => {
                    Box::pin(self.stop_live(&live)).await;
                }
                BusyPolicy::Rollback => {
                    let before = Box::pin(self.rollback_to(&live.graph, live.accepted)).await?;
                    rollback = Some(Box::new(before));
                    Box::pin(self.stop_live(&live)).await;
                }
            }
        }
        let idle = match self.idle().await {
            // Another process executes a run.
            Err(busy @ SessionError::Busy { .. }) if new.options.on_busy != BusyPolicy::Reject => {
                Box::pin(self.take_from_replica(busy)).await?;
                self.idle().await?
            }
            idle => idle?,
        };
        new.options.resolve_default_labels(&idle.projection().labels);
        self.check_labels(&new.options, &idle.projection().labels)?;
        self.check_request(&new.options, &idle.projection().requests)?;
        let on_busy = new.options.on_busy;
        let queue_is_empty = self.cell.inner.lock().queue.is_empty();
        if on_busy == BusyPolicy::Enqueue && (idle.projection().status.is_busy() || !queue_is_empty) {
            let run = self.cell.next_run(idle.projection().runs);
            let writer = Arc::clone(idle.writer());
            // The journal is ahead of this projection from here on.
            idle.invalidate();
            let run = Box::pin(self.enqueue(*new, instance, &writer, run)).await?;
            return Ok(StartedRun { run, future: None });
        }
        let first_queued = self.cell.inner.lock().queue.front().map(|queued| queued.run);
        if let (BusyPolicy::Reject, Some(run)) = (on_busy, first_queued) {
            // A queued run comes first.
            return Err(self.busy(run, RunStatus::Running));
        }
        let (idle, before) = self.resolve_previous_run(idle, on_busy, rollback).await?;
        let run = self.cell.next_run(idle.projection().runs);
        let accepted = self.accept_run(*new, instance, StartPoint { idle, before, run })?;
        self.begin_run(accepted).await
    }

    /// Starts a queued run. The session must have no unfinished run.
    pub(super) async fn start_queued<S: State>(
        &self,
        graph: &Graph<S>,
        instance: Arc<dyn DynGraph>,
        run: RunId,
        queued: Queued,
    ) -> Result<Run, SessionError> {
        let input = super::queue::queued_input::<S>(&queued)?;
        let (limits, durability, labels) = (queued.limits, queued.durability, queued.labels);
        // The request was checked when it was queued; its name stays known when the run leaves the queue.
        let (request, context, pauses) = (queued.request, queued.context, queued.pauses);
        let options =
            RunOptions { limits, durability, request, labels, context, pauses, ..RunOptions::default() };
        let mut new = NewRun::new(graph, input, options, AckMode::AfterAccept);
        if self.shared.store.is_some() {
            new.input.encode(graph)?;
        }
        let start = StartPoint { idle: self.idle().await?, before: Vec::new(), run };
        let accepted = self.accept_run(*new, instance, start)?;
        Ok(self.begin_run(accepted).await?.spawn(&self.shared))
    }

    /// Ends an unfinished run that is not in memory, as the policy says. The entries that end it are stored in one append
    /// with the acceptance of the new run.
    async fn resolve_previous_run<'a>(
        &self,
        idle: IdleSession<'a>,
        on_busy: BusyPolicy,
        mut rollback: Option<Box<Rollback>>,
    ) -> Result<(IdleSession<'a>, Vec<(RunId, Fact)>), SessionError> {
        let mut before = Vec::new();
        let (run, status) = (idle.projection().run, idle.projection().status);
        if status.is_busy() {
            match on_busy {
                BusyPolicy::Reject | BusyPolicy::Enqueue => return Err(self.busy(run, status)),
                BusyPolicy::Interrupt => {
                    let changed = idle.projection().todos.clone().settle(TodoStatus::Cancelled, "stopped");
                    before.extend(todo_facts(changed).map(|fact| (run, fact)));
                    let closing = self.closing(idle.projection());
                    before.push((run, Fact::RunStopped(Stopped { drained: false, closing })));
                }
                BusyPolicy::Rollback => {
                    let (graph, accepted) =
                        (Arc::clone(&idle.projection().graph), idle.projection().accepted);
                    rollback = Some(Box::new(Box::pin(self.rollback_to(&graph, accepted)).await?));
                }
            }
        }
        if let Some(rollback) = rollback {
            let Rollback { version, state, mut schedule } = *rollback;
            // Task numbers are never used twice, those of the run that is undone included.
            schedule.next = schedule
                .next
                .max(idle.projection().root.schedule.as_ref().map_or(0, |schedule| schedule.next));
            let schedule = to_raw_value(&schedule).expect("a schedule is numbers, names and JSON").into();
            let Stored { json, form } = state;
            before.push((run, Fact::RunRolledBack(Base { version, state: json, form, schedule })));
        }
        if !before.is_empty() {
            // One append: nothing else may be in the writer's batch that could split it.
            let writer = Arc::clone(idle.writer());
            if let Err(error) = Box::pin(writer.wait_durable(writer.last())).await {
                idle.invalidate();
                return Err(error.into());
            }
        }
        Ok((idle, before))
    }

    /// Reads state and schedule from before the entry `accepted`.
    pub(super) async fn rollback_to(&self, graph: &str, accepted: Seq) -> Result<Rollback, SessionError> {
        let Some(store) = &self.shared.store else {
            return Err(SessionError::CannotResume { session: self.id().clone() });
        };
        let before = Seq(accepted.0.saturating_sub(1));
        let graph = self.graph_to_read(graph)?;
        let earlier = crate::journal::fold(&**store, self.id(), before).await?.unwrap_or_default();
        let (version, state) = graph.stored_state(&earlier)?;
        let mut schedule = earlier.root.schedule.as_deref().cloned().unwrap_or_default();
        schedule.due.clear();
        schedule.deferred.clear();
        schedule.joins.clear();
        schedule.in_flight = None;
        Ok(Rollback { version, state, schedule })
    }

    /// Applies the input and queues the acceptance of the run for the journal.
    fn accept_run<S: State>(
        &self,
        new: NewRun<S>,
        instance: Arc<dyn DynGraph>,
        start: StartPoint<'_>,
    ) -> Result<Box<AcceptedRun<S>>, SessionError> {
        let NewRun { graph, input, options, ack } = new;
        let (input, RawInput { state: raw_state, update: raw_update, form }) = input.into_parts();
        let StartPoint { idle, before, run } = start;
        let (writer, mut previous) = idle.into_parts();
        let now = self.shared.clock.now_ms();
        for (run, fact) in &before {
            let seq = previous.projection.last.next();
            if matches!(fact, Fact::RunRolledBack(_) | Fact::RunStopped(Stopped { closing: Some(_), .. })) {
                // The cached state no longer matches the journal.
                previous.state = None;
            }
            previous.projection.apply(Entry { seq, at: now, run: *run, fact: fact.clone() });
        }
        let (state, schedule) = match self.apply_input(&graph, input, &mut previous) {
            Ok(applied) => applied,
            Err((error, kept)) => {
                // A projection with unstored entries, or without its state, does not match the journal.
                if before.is_empty() && kept {
                    self.cell.set_idle(Some(previous));
                } else {
                    self.cell.invalidate();
                }
                return Err(error);
            }
        };
        let IdleProjection { mut projection, .. } = previous;
        let limits = options.limits.unwrap_or(self.shared.options.limits);
        let durability = self.shared.durability(&options);
        // The projection keeps neither state nor schedule: the run owns them.
        let noted = Accepted {
            graph: Arc::clone(&graph.0.name),
            hash: Arc::clone(&graph.0.hash),
            version: S::VERSION,
            state: None,
            update: None,
            form: Form::default(),
            schedule: null(),
            due: None,
            limits: options.limits,
            durability: options.durability,
            request: options.request,
            labels: options.labels,
            context: options.context,
            pauses: options.pauses,
        };
        if let Some(live) = noted.context.as_ref().and_then(|context| context.only_live()) {
            self.cell.inner.lock().transient = Some(live);
        }
        // Without a store nothing reads the schedule.
        let raw = if writer.is_durable() { encode_schedule(&schedule) } else { noted.schedule.clone() };
        let due = writer.is_watched().then(|| schedule.due_nodes());
        let fact =
            Accepted { state: raw_state, update: raw_update, form, schedule: raw, due, ..noted.clone() };
        writer.add_labels(&noted.labels);
        let summary =
            writer.is_durable().then(|| Summary::new(graph.name(), RunStatus::Running.as_str(), run, now));
        self.shared.keep_leases();
        let facts = before.into_iter().chain([(run, Fact::RunAccepted(Box::new(fact)))]);
        let accepted = match writer.push_each(facts, summary) {
            Ok(seq) => seq,
            Err(error) => {
                self.cell.invalidate();
                return Err(error.into());
            }
        };
        let waits = match durability {
            Durability::Sync => true,
            Durability::Async => ack == AckMode::AfterAccept,
            Durability::Exit => false,
        };
        let fact = Fact::RunAccepted(Box::new(noted));
        projection.apply(Entry { seq: accepted, at: now, run, fact });
        projection.root = FrameProjection::default();
        let init = RunInit {
            projection,
            schedule,
            state: Arc::new(state),
            limits,
            durability,
            active_ms: 0,
            used: BudgetUsage::default(),
            todos: TodoTree::default(),
            records: Default::default(),
            starts: None,
            resumed: false,
        };
        Ok(Box::new(AcceptedRun { graph, instance, writer, init, accepted, waits }))
    }

    /// Waits until the acceptance of a run is stored, if its durability requires it, and creates the run in memory.
    async fn begin_run<S: State>(&self, run: Box<AcceptedRun<S>>) -> Result<StartedRun, SessionError> {
        if run.waits {
            self.wait_durable(&run.writer, run.accepted).await?;
        }
        let AcceptedRun { graph, instance, writer, init, .. } = *run;
        if init.durability == Durability::Async {
            writer.flush_soon();
        }
        self.cell.pending_questions.clear();
        Ok(self.spawn_run(&graph, instance, &writer, init))
    }

    /// Waits until `seq` is stored. After a failure the next command reads the store.
    pub(super) async fn wait_durable(
        &self,
        writer: &Arc<JournalWriter>,
        seq: Seq,
    ) -> Result<(), SessionError> {
        writer.wait_durable(seq).await.map_err(|error| {
            self.cell.invalidate();
            error.into()
        })
    }

    /// Creates the run in memory and the future that drives it.
    pub(super) fn spawn_run<S: State>(
        &self,
        graph: &Graph<S>,
        instance: Arc<dyn DynGraph>,
        writer: &Arc<JournalWriter>,
        init: RunInit<S>,
    ) -> StartedRun {
        let projection = init.projection;
        let span = telemetry::run(self.id(), projection.run, graph.name(), init.resumed);
        telemetry::run_input(&span, &*init.state);
        let span = (!span.is_disabled()).then(|| Box::new(span));
        let env = Arc::new(RunContext {
            session: self.id().clone(),
            run: projection.run,
            writer: Arc::clone(writer),
            pending_questions: Arc::clone(&self.cell.pending_questions),
            deps: Arc::clone(&self.shared.deps),
            clock: Arc::clone(&self.shared.clock),
            durability: init.durability,
            budget: Budget::new(init.limits, init.used, &projection.granted),
            todos: parking_lot::Mutex::new(init.todos),
            control: RunControl::new(init.active_ms),
            tasks: RunTasks::default(),
            traced: telemetry::nodes(),
            pauses: projection.pauses.clone(),
            context: projection.context.clone().map(|context| context.or_live(self.cell.transient())),
            steering: instance.is_agent().then(|| Steering::new(&projection.steered)),
            replay: self.shared.replay.clone().map(|log| log as _),
            unfinished_records: (graph.0.on_stop.is_some() && !writer.is_durable()).then(Default::default),
        });
        let live = Arc::new(LiveRun {
            env: Arc::clone(&env),
            graph: Arc::clone(&projection.graph),
            accepted: projection.accepted,
            accepted_at: projection.accepted_at,
            requests: projection.requests.clone(),
            runs: projection.runs,
            watch: self.cell.remove_queued(projection.run).unwrap_or_else(RunSender::new),
            waits: !init.resumed || std::mem::take(&mut self.cell.inner.lock().in_line),
        });
        let mut frame = Frame::new(graph.clone(), init.state, init.schedule, env, None, init.records)
            .starting(init.starts);
        if writer.is_durable() {
            frame = frame.on_commit(snapshots(&self.shared, &self.cell, &live, graph));
        }
        self.cell.broadcast.set_graph(&live.graph);
        {
            let mut inner = self.cell.inner.lock();
            inner.live = Some(Arc::clone(&live));
            inner.graph = Some(instance);
            inner.lost = None;
        }
        self.shared.live.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        let run = Run::of(Session::clone(self), &live);
        let (shared, cell) = (Arc::clone(&self.shared), Arc::clone(&self.cell));
        let future = run_future(shared, cell, live, Box::new(frame), RunStart { projection, span });
        StartedRun { run, future: Some(future) }
    }
}

/// Returns the future that drives a run, in its span if there is one.
fn run_future<S: State>(
    shared: Arc<Shared>,
    cell: Arc<SessionCell>,
    live: Arc<LiveRun>,
    frame: Box<Frame<S>>,
    start: RunStart,
) -> RunFuture {
    let span = start.span.clone();
    let future: RunFuture = Box::pin(supervise(shared, cell, live, frame, start));
    match span {
        Some(span) => Box::pin(future.instrument(*span)),
        None => future,
    }
}

/// A session without an unfinished run, the entries to store before the acceptance, and the number of the new run.
struct StartPoint<'a> {
    idle: IdleSession<'a>,
    before: Vec<(RunId, Fact)>,
    run: RunId,
}

/// A run with its acceptance queued for the journal. Boxed, because the future that waits for the store holds it.
struct AcceptedRun<S: State> {
    graph: Graph<S>,
    instance: Arc<dyn DynGraph>,
    writer: Arc<JournalWriter>,
    init: RunInit<S>,
    /// The number of the acceptance.
    accepted: Seq,
    /// Whether the run begins only when the acceptance is stored.
    waits: bool,
}

/// Initial values of a run in memory.
pub(super) struct RunInit<S: State> {
    pub(super) projection: Box<Projection>,
    pub(super) schedule: Schedule,
    pub(super) state: Arc<S>,
    pub(super) limits: Limits,
    pub(super) durability: Durability,
    pub(super) active_ms: u64,
    pub(super) used: BudgetUsage,
    pub(super) todos: TodoTree,
    pub(super) records: std::collections::HashMap<u64, crate::journal::projection::TaskRecord>,
    pub(super) starts: Option<Box<Starts<S>>>,
    /// The run is resumed.
    pub(super) resumed: bool,
}
