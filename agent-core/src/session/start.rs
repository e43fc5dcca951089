//! Starts and resumes runs: accepts an input, or reads an unfinished run from the journal, and begins to drive it.

use std::{any::Any, collections::BTreeMap, pin::Pin, sync::Arc, task::Poll};

use serde_json::value::{RawValue, to_raw_value};
use tracing::Instrument;

use super::{
    BusyPolicy, Run, RunOptions, Session, SessionError,
    cell::{IdleProjection, LiveRun, SessionCell},
    dyn_graph::DynGraph,
    lock::{IdleSession, LockedSession},
    options::name_of,
    run_watch::RunSender,
    runtime::Shared,
    supervisor::{RunStart, snapshots, supervise, todo_facts},
    takeover::Resumption,
};
use crate::{
    engine::{
        Budget, Frame, RunContext, RunControl, RunError, begin, contain, encode_schedule,
        journal_writer::JournalWriter, read_state, schedule::Schedule,
    },
    graph::Graph,
    ids::{RunId, Seq},
    journal::{
        Summary,
        entry::{Accepted, Base, Closing, Entry, Fact, Queued, Raw, Resumed, Stopped},
        projection::{FrameProjection, Projection},
        store::is_label,
    },
    json::{self, Form, Stored},
    run::{BudgetUsage, Durability, Limits, RunStatus},
    state::{Input, State},
    task_group::TaskGroup,
    telemetry,
    todo::{TodoStatus, TodoTree},
};

/// Bounds of labels: how many, and the bytes of values.
const LABELS: usize = 16;
const LABEL_VALUE: usize = 512;

/// When a start is acknowledged to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckMode {
    /// When the acceptance is stored.
    AfterAccept,
    /// When the run has finished or paused: the acceptance is stored together with what follows it.
    AfterRun,
}

/// A run that was accepted, and the future that drives it.
struct StartedRun {
    run: Run,
    /// `None` for a queued run. To be polled to its end, whatever becomes of the caller.
    future: Option<RunFuture>,
}

/// Drives one run to its end.
type RunFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An `Arc<S>` whose `S` only the graph knows.
type Erased = Arc<dyn Any + Send + Sync>;

impl StartedRun {
    /// Drives the run in a task.
    fn spawn(self, shared: &Shared) -> Run {
        if let Some(future) = self.future {
            shared.runs.spawn_uncancelled(future);
        }
        self.run
    }

    /// Polls the run once here: a short run is finished then, without a task and without waking another thread.
    async fn poll_once(self, shared: &Shared) -> Run {
        if let Some(mut future) = self.future {
            let _counted = shared.runs.guard();
            let first = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx)));
            if first.await.is_pending() {
                shared.runs.spawn_uncancelled(future);
            }
        }
        self.run
    }
}

impl Session {
    /// Accepts a run and begins it.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, the run is
    /// accepted and begun, or refused, without the caller.
    pub(super) async fn accept<S: State>(
        &self,
        graph: &Graph<S>,
        input: Input<S>,
        options: RunOptions,
        ack: AckMode,
    ) -> Result<Run, SessionError> {
        let instance = self.shared.instance(graph);
        let graph = graph.clone();
        let start = async move |locked: LockedSession| {
            let started = locked.start(&graph, instance, input, options, ack).await?;
            let shared = Arc::clone(&locked.shared);
            // The run may end within this poll, and begin a queued one.
            drop(locked);
            Ok(match ack {
                AckMode::AfterAccept => started.spawn(&shared),
                AckMode::AfterRun => started.poll_once(&shared).await,
            })
        };
        self.lock().await.complete(start).await
    }

    /// The error when a graph cannot read the state that another one left.
    fn check_graph_name(&self, projection: &Projection, wanted: &str) -> Option<SessionError> {
        (!projection.graph.is_empty() && *projection.graph != *wanted).then(|| SessionError::OtherGraph {
            session: self.id().clone(),
            graph: projection.graph.to_string(),
            wanted: wanted.to_owned(),
        })
    }

    /// A named request that was accepted before starts no second run.
    fn check_request(&self, options: &RunOptions, known: &[(String, RunId)]) -> Result<(), SessionError> {
        let Some(request) = &options.request else { return Ok(()) };
        let inner = self.cell.inner.lock();
        let queued =
            inner.queue.iter().filter_map(|waiting| Some((waiting.queued.request.as_ref()?, waiting.run)));
        let known = known.iter().map(|(known, run)| (known, *run));
        match known.chain(queued).find(|(known, _)| name_of(known) == name_of(request)) {
            Some((known, run)) if known == request => {
                Err(SessionError::SameRequest { session: self.id().clone(), run })
            }
            Some((_, run)) => Err(SessionError::RequestDiffers { session: self.id().clone(), run }),
            None => Ok(()),
        }
    }

    /// Labels that a session has cannot be given another value, and are bounded.
    fn check_labels(
        &self,
        options: &RunOptions,
        known: &BTreeMap<String, String>,
    ) -> Result<(), SessionError> {
        let session = self.id();
        for (name, value) in &options.labels {
            match known.get(name) {
                Some(known) if known == value => {}
                Some(_) => {
                    return Err(SessionError::LabelDiffers { session: session.clone(), label: name.clone() });
                }
                None if !is_label(name) || value.len() > LABEL_VALUE => {
                    return Err(SessionError::TooManyLabels { session: session.clone() });
                }
                None => {}
            }
        }
        let fresh = options.labels.keys().filter(|name| !known.contains_key(*name)).count();
        if fresh > 0 && known.len() + fresh > LABELS {
            return Err(SessionError::TooManyLabels { session: session.clone() });
        }
        Ok(())
    }

    /// The update that closes a run that is not in memory and is being stopped; see
    /// [`GraphBuilder::on_stop`](crate::graph::GraphBuilder::on_stop).
    pub(super) fn closing(&self, projection: &Projection) -> Option<Closing> {
        self.graph_of(&projection.graph).ok()?.closing(projection)
    }

    pub(super) fn check_open(&self) -> Result<(), SessionError> {
        if self.shared.closing.load(std::sync::atomic::Ordering::Acquire) {
            return Err(SessionError::ShuttingDown);
        }
        let limit = self.shared.options.max_runs;
        if self.shared.runs.len() >= limit {
            return Err(SessionError::TooManyRuns { limit });
        }
        Ok(())
    }
}

/// The input of a run, encoded for the journal before anything is changed.
pub(super) struct EncodedInput<S: State> {
    input: Input<S>,
    /// `None` without a journal.
    stored: Option<Stored>,
}

/// An input as it is journalled: a state or an update.
pub(super) struct RawInput {
    pub(super) state: Option<Raw>,
    pub(super) update: Option<Raw>,
    pub(super) form: Form,
}

impl<S: State> EncodedInput<S> {
    fn new(graph: &Graph<S>, input: Input<S>, journalled: bool) -> Result<Self, SessionError> {
        let stored = if journalled { Some(encode(graph, &input)?) } else { None };
        Ok(Self { input, stored })
    }

    /// The input itself, and as it is journalled.
    fn into_parts(self) -> (Input<S>, RawInput) {
        let Some(Stored { json, form }) = self.stored else {
            return (self.input, RawInput { state: None, update: None, form: Form::default() });
        };
        let raw = match &self.input {
            Input::State(_) => RawInput { state: Some(json), update: None, form },
            Input::Update(_) => RawInput { state: None, update: Some(json), form },
        };
        (self.input, raw)
    }

    /// The input as it is journalled. Encodes it if that was not done.
    pub(super) fn into_raw(mut self, graph: &Graph<S>) -> Result<RawInput, SessionError> {
        if self.stored.is_none() {
            self.stored = Some(encode(graph, &self.input)?);
        }
        Ok(self.into_parts().1)
    }
}

fn encode<S: State>(graph: &Graph<S>, input: &Input<S>) -> Result<Stored, SessionError> {
    let stored = contain("(input)", || match input {
        Input::State(given) => Stored::new(given, json::NEW),
        Input::Update(given) => Stored::update(given, json::NEW),
    });
    let stored = stored.map_err(|panicked| invalid_input(graph, panicked.to_string()))?;
    Ok(stored.map_err(|error| error.of("the input"))?)
}

fn invalid_input<S: State>(graph: &Graph<S>, reason: String) -> SessionError {
    SessionError::InvalidInput { graph: graph.name().to_owned(), reason }
}

/// A graph, erased and not.
pub(super) struct RunGraph<'a, S: State> {
    pub(super) graph: &'a Graph<S>,
    pub(super) instance: Arc<dyn DynGraph>,
}

/// Where a session was before a run that is undone, as the journal will say.
struct Rollback {
    version: u32,
    state: Stored,
    schedule: crate::journal::stored_schedule::StoredSchedule,
}

impl LockedSession {
    async fn start<S: State>(
        &self,
        graph: &Graph<S>,
        instance: Arc<dyn DynGraph>,
        input: Input<S>,
        mut options: RunOptions,
        ack: AckMode,
    ) -> Result<StartedRun, SessionError> {
        self.check_open()?;
        let input = EncodedInput::new(graph, input, self.shared.store.is_some())?;
        let graph = RunGraph { graph, instance };
        let mut rollback = None;
        if let Some(live) = self.live_run().await {
            let labels = live.env.writer.labels();
            options.resolve_default_labels(&labels);
            self.check_labels(&options, &labels)?;
            self.check_request(&options, &live.requests)?;
            match options.on_busy {
                BusyPolicy::Reject => return Err(self.busy(live.run(), live.status())),
                // Boxed, here and below: what is rare would make the future of every run large.
                BusyPolicy::Enqueue => {
                    let run = self.cell.next_run(live.runs);
                    let run = Box::pin(self.enqueue(graph, input, options, &live.env.writer, run)).await?;
                    return Ok(StartedRun { run, future: None });
                }
                BusyPolicy::Interrupt => {
                    Box::pin(self.stop_live(&live)).await;
                }
                BusyPolicy::Rollback => {
                    rollback = Some(Box::pin(self.rollback_to(&live.graph, live.accepted)).await?);
                    Box::pin(self.stop_live(&live)).await;
                }
            }
        }
        let idle = self.idle().await?;
        options.resolve_default_labels(&idle.projection().labels);
        self.check_labels(&options, &idle.projection().labels)?;
        self.check_request(&options, &idle.projection().requests)?;
        let queue_is_empty = self.cell.inner.lock().queue.is_empty();
        if options.on_busy == BusyPolicy::Enqueue && (idle.projection().status.is_busy() || !queue_is_empty) {
            let run = self.cell.next_run(idle.projection().runs);
            let writer = Arc::clone(idle.writer());
            // The journal has more than this projection from here on.
            idle.invalidate();
            let run = Box::pin(self.enqueue(graph, input, options, &writer, run)).await?;
            return Ok(StartedRun { run, future: None });
        }
        let first_queued = self.cell.inner.lock().queue.front().map(|queued| queued.run);
        if let (BusyPolicy::Reject, Some(run)) = (options.on_busy, first_queued) {
            // It is the queued run's turn.
            return Err(self.busy(run, RunStatus::Running));
        }
        let (idle, before) = self.resolve_previous_run(idle, &options, rollback).await?;
        let run = self.cell.next_run(idle.projection().runs);
        self.begin_run(graph, input, options, ack, StartPoint { idle, before, run }).await
    }

    /// Begins a queued run. The session must have no unfinished run.
    pub(super) async fn start_queued<S: State>(
        &self,
        graph: &Graph<S>,
        instance: Arc<dyn DynGraph>,
        run: RunId,
        queued: Queued,
    ) -> Result<Run, SessionError> {
        let input =
            EncodedInput::new(graph, super::queue::queued_input::<S>(&queued)?, self.shared.store.is_some())?;
        // Its request name was checked when it was queued.
        let (limits, durability, labels) = (queued.limits, queued.durability, queued.labels);
        let options = RunOptions { limits, durability, labels, ..RunOptions::default() };
        let start = StartPoint { idle: self.idle().await?, before: Vec::new(), run };
        let graph = RunGraph { graph, instance };
        let started = self.begin_run(graph, input, options, AckMode::AfterAccept, start).await?;
        Ok(started.spawn(&self.shared))
    }

    /// Ends an unfinished run that is not in memory, as the policy says. The facts that end it are stored with the
    /// acceptance of the new run, in one append.
    async fn resolve_previous_run<'a>(
        &self,
        idle: IdleSession<'a>,
        options: &RunOptions,
        mut rollback: Option<Rollback>,
    ) -> Result<(IdleSession<'a>, Vec<(RunId, Fact)>), SessionError> {
        let mut before = Vec::new();
        let (run, status) = (idle.projection().run, idle.projection().status);
        if status.is_busy() {
            match options.on_busy {
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
                    rollback = Some(Box::pin(self.rollback_to(&graph, accepted)).await?);
                }
            }
        }
        if let Some(Rollback { version, state, mut schedule }) = rollback {
            // Task numbers are never used twice, those of the run that is undone included.
            schedule.next = schedule
                .next
                .max(idle.projection().root.schedule.as_ref().map_or(0, |schedule| schedule.next));
            let schedule = to_raw_value(&schedule).expect("a schedule is numbers, names and JSON");
            let Stored { json, form } = state;
            before.push((run, Fact::RunRolledBack(Base { version, state: json, form, schedule })));
        }
        Ok((idle, before))
    }

    /// Where the session was before the entry `accepted`.
    async fn rollback_to(&self, graph: &str, accepted: Seq) -> Result<Rollback, SessionError> {
        let Some(store) = &self.shared.store else {
            return Err(SessionError::CannotResume { session: self.id().clone() });
        };
        let before = Seq(accepted.0.saturating_sub(1));
        let graph = self.graph_to_read(graph)?;
        let earlier = crate::journal::fold(&**store, self.id(), before).await?.unwrap_or_default();
        let (version, state) = graph.stored_state(&earlier)?;
        let mut schedule = earlier.root.schedule.clone().unwrap_or_default();
        schedule.due.clear();
        schedule.deferred.clear();
        schedule.joins.clear();
        Ok(Rollback { version, state, schedule })
    }

    async fn begin_run<S: State>(
        &self,
        graph: RunGraph<'_, S>,
        input: EncodedInput<S>,
        options: RunOptions,
        ack: AckMode,
        start: StartPoint<'_>,
    ) -> Result<StartedRun, SessionError> {
        let RunGraph { graph, instance } = graph;
        let (input, RawInput { state: raw_state, update: raw_update, form }) = input.into_parts();
        let StartPoint { idle, before, run } = start;
        let (writer, mut previous) = idle.into_parts();
        let now = self.shared.clock.now_ms();
        for (run, fact) in &before {
            let seq = previous.projection.last.next();
            if matches!(fact, Fact::RunRolledBack(_) | Fact::RunStopped(Stopped { closing: Some(_), .. })) {
                // The state of the journal is another one from here on.
                previous.state = None;
            }
            previous.projection.apply(Entry { seq, at: now, run: *run, fact: fact.clone() });
        }
        let (state, schedule) = match self.apply_input(graph, input, &mut previous) {
            Ok(applied) => applied,
            Err((error, kept)) => {
                // An projection with facts that are not stored, or without its state, is no longer that of the journal.
                if before.is_empty() && kept {
                    self.cell.inner.lock().idle = Some(previous);
                } else {
                    self.cell.invalidate();
                }
                return Err(error);
            }
        };
        let IdleProjection { mut projection, .. } = previous;
        let limits = options.limits.unwrap_or(self.shared.options.limits);
        let durability = self.shared.durability(&options);
        // What the projection keeps of it: neither state nor schedule, which the run has from here on.
        let noted = Accepted {
            graph: graph.name().into(),
            hash: graph.hash().into(),
            version: S::VERSION,
            state: None,
            update: None,
            form: Form::default(),
            schedule: Raw::from(RawValue::NULL.to_owned()),
            limits: options.limits,
            durability: options.durability,
            request: options.request,
            labels: options.labels,
        };
        // Without a store or a watcher nothing reads the schedule.
        let raw = if writer.has_consumers() { encode_schedule(&schedule) } else { noted.schedule.clone() };
        let fact = Accepted { state: raw_state, update: raw_update, form, schedule: raw, ..noted.clone() };
        writer.add_labels(&noted.labels);
        let summary = Summary::new(graph.name(), RunStatus::Running.as_str(), run, now);
        self.shared.keep_leases();
        if !before.is_empty() {
            // One append: nothing else may be in the writer's batch that could split it.
            self.wait_durable(&writer, writer.last()).await?;
        }
        let facts = before.into_iter().chain([(run, Fact::RunAccepted(fact))]);
        let accepted = match writer.push_each(facts, Some(summary)) {
            Ok(seq) => seq,
            Err(error) => {
                self.cell.invalidate();
                return Err(error.into());
            }
        };
        let wait = match durability {
            Durability::Sync => true,
            Durability::Async => ack == AckMode::AfterAccept,
            Durability::Exit => false,
        };
        if wait {
            self.wait_durable(&writer, accepted).await?;
        }
        if durability == Durability::Async {
            writer.flush_soon();
        }
        let fact = Fact::RunAccepted(noted);
        projection.apply(Entry { seq: accepted, at: now, run, fact });
        projection.root = FrameProjection::default();
        self.cell.board.clear();
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
            resumed: false,
        };
        Ok(self.spawn_run(graph, instance, &writer, init))
    }

    /// Waits until `seq` is stored. On failure the next command reads the store.
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

    /// Applies the input to the session's state and computes the first tasks. With an error comes whether `previous`
    /// is unchanged.
    fn apply_input<S: State>(
        &self,
        graph: &Graph<S>,
        input: Input<S>,
        previous: &mut IdleProjection,
    ) -> Result<(S, Schedule), (SessionError, bool)> {
        let projection = &previous.projection;
        let first = projection.root.schedule.as_ref().map_or(1, |schedule| schedule.next.max(1));
        let begin = |state: S| match contain("(input)", || begin(graph, &state, first)) {
            Ok(Ok(schedule)) => Ok((state, schedule)),
            Ok(Err(error)) => Err(SessionError::from(error)),
            Err(panicked) => Err(invalid_input(graph, panicked.to_string())),
        };
        let update = match input {
            Input::State(given) => return begin(given).map_err(|error| (error, true)),
            Input::Update(update) => update,
        };
        let mut state = match previous.state.take() {
            Some(state) => match own_state::<S>(state) {
                Ok(state) => state,
                Err((error, state)) => {
                    let other = self.check_graph_name(projection, graph.name());
                    previous.state = Some(state);
                    return Err((other.unwrap_or_else(|| invalid_input(graph, error.report())), true));
                }
            },
            None => match read_contained::<S>(&projection.root) {
                Ok(state) => state,
                Err(error) => {
                    let other = self.check_graph_name(projection, graph.name());
                    return Err((other.unwrap_or_else(|| error.into()), false));
                }
            },
        };
        // Without a journal, an update that is refused half-way is undone from this.
        let undo =
            self.shared.store.is_none().then(|| contain("(state)", || Stored::new(&state, json::AGAIN)));
        let applied = match contain("(input)", || state.apply(update)) {
            Ok(Ok(())) => begin(state),
            Ok(Err(error)) => Err(invalid_input(graph, error.to_string())),
            Err(panicked) => Err(invalid_input(graph, panicked.to_string())),
        };
        applied.map_err(|error| {
            let undone = undo.and_then(Result::ok).and_then(Result::ok);
            let undone = undone.and_then(|stored| stored.read::<S>().ok());
            let kept = undone.is_some();
            previous.state = undone.map(|state| Arc::new(state) as _);
            (error, kept)
        })
    }

    /// Resumes a run that has no task in memory and is not completed.
    pub(super) async fn resume(&self, limits: Option<Limits>, why: Resumption) -> Result<Run, SessionError> {
        self.check_open()?;
        if let Some(live) = self.live_run().await {
            return Err(self.nothing_to_resume(live.status()));
        }
        let idle = self.idle().await?;
        if idle.projection().last == Seq::ZERO {
            return Err(SessionError::NotFound { session: self.id().clone() });
        }
        match idle.projection().status {
            // Only an answer continues a paused run.
            status @ (RunStatus::Idle | RunStatus::Completed | RunStatus::Paused) => {
                return Err(self.nothing_to_resume(status));
            }
            RunStatus::Running | RunStatus::Failed | RunStatus::Stopped => {}
        }
        if !idle.writer().is_durable() {
            return Err(SessionError::CannotResume { session: self.id().clone() });
        }
        let run = self.graph_of(&idle.projection().graph)?.read_run(idle.projection())?;
        let takeover = self.is_takeover(why, idle.projection()).await?;
        if takeover && idle.projection().takeovers >= self.shared.options.max_takeovers {
            return Err(Box::pin(self.fail_crash_loop(idle)).await);
        }
        run.resume(self, Resumed { limits, takeover }, idle).await
    }

    fn nothing_to_resume(&self, status: RunStatus) -> SessionError {
        SessionError::NothingToDo { session: self.id().clone(), status, verb: "resume" }
    }

    /// Resumes a run whose state and schedule were read.
    pub(super) async fn resume_read<S: State>(
        &self,
        graph: &Graph<S>,
        instance: Arc<dyn DynGraph>,
        read: ReadRun<S>,
        resumed: Resumed,
        idle: IdleSession<'_>,
    ) -> Result<Run, SessionError> {
        let ReadRun { state, schedule } = read;
        let (writer, IdleProjection { mut projection, .. }) = idle.into_parts();
        let mut frame_projection = std::mem::take(&mut projection.root);
        if projection.status == RunStatus::Failed {
            // As the fold of the resumption will say.
            frame_projection.reset_attempts();
        }
        let mut todos = std::mem::take(&mut projection.todos);
        let mut facts: Vec<Fact> = todo_facts(todos.restore(&["stopped", "the run failed"])).collect();
        facts.push(Fact::RunResumed(resumed));
        let (run, now) = (projection.run, self.shared.clock.now_ms());
        let summary = Summary::new(graph.name(), RunStatus::Running.as_str(), run, now);
        self.shared.keep_leases();
        let seq = match writer.push_with(run, facts, Some(summary)) {
            Ok(seq) => seq,
            Err(error) => {
                self.cell.invalidate();
                return Err(error.into());
            }
        };
        self.wait_durable(&writer, seq).await?;
        projection.last = seq;
        projection.resume_limits(resumed.limits);
        let open = std::mem::take(&mut projection.open);
        self.cell.board.restore(open, &projection.answered);
        projection.graph = graph.name().into();
        projection.hash = graph.hash().into();
        let init = RunInit {
            limits: projection.limits.unwrap_or(self.shared.options.limits),
            durability: projection.durability.unwrap_or(self.shared.options.durability),
            active_ms: projection.active_ms,
            used: projection.used,
            todos,
            records: frame_projection.tasks,
            projection,
            schedule,
            state: Arc::new(state),
            resumed: true,
        };
        Ok(self.spawn_run(graph, instance, &writer, init).spawn(&self.shared))
    }

    /// Puts a run into memory.
    fn spawn_run<S: State>(
        &self,
        graph: &Graph<S>,
        instance: Arc<dyn DynGraph>,
        writer: &Arc<JournalWriter>,
        init: RunInit<S>,
    ) -> StartedRun {
        let projection = init.projection;
        let span = telemetry::run(self.id(), projection.run, graph.name(), init.resumed);
        let env = Arc::new(RunContext {
            session: self.id().clone(),
            run: projection.run,
            writer: Arc::clone(writer),
            board: Arc::clone(&self.cell.board),
            deps: Arc::clone(&self.shared.deps),
            clock: Arc::clone(&self.shared.clock),
            durability: init.durability,
            budget: Budget::new(init.limits, init.used, &projection.granted),
            todos: parking_lot::Mutex::new(init.todos),
            control: RunControl::new(init.active_ms),
            group: TaskGroup::default(),
            traced: telemetry::nodes(),
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
        });
        let mut frame = Frame::new(graph.clone(), init.state, init.schedule, env, None, init.records);
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
        let future = run_future(shared, cell, live, frame, RunStart { projection, span });
        StartedRun { run, future: Some(future) }
    }
}

/// The future that drives a run, in the run's span if there is one.
fn run_future<S: State>(
    shared: Arc<Shared>,
    cell: Arc<SessionCell>,
    live: Arc<LiveRun>,
    frame: Frame<S>,
    begun: RunStart,
) -> RunFuture {
    let span = begun.span.clone();
    let future: RunFuture = Box::pin(supervise(shared, cell, live, frame, begun));
    if span.is_disabled() { future } else { Box::pin(future.instrument(span)) }
}

/// A session without an unfinished run, what is to be stored before the acceptance, and the number of the new run.
struct StartPoint<'a> {
    idle: IdleSession<'a>,
    before: Vec<(RunId, Fact)>,
    run: RunId,
}

/// What a run is driven with.
struct RunInit<S: State> {
    projection: Box<Projection>,
    schedule: Schedule,
    state: Arc<S>,
    limits: Limits,
    durability: Durability,
    active_ms: u64,
    used: BudgetUsage,
    todos: TodoTree,
    records: std::collections::HashMap<u64, crate::journal::projection::TaskRecord>,
    /// It was begun before.
    resumed: bool,
}

/// An unfinished run as the journal has it, readable by the present program.
pub(super) struct ReadRun<S: State> {
    state: S,
    schedule: Schedule,
}

/// Reads an unfinished run with `graph`. Everything about it that can be refused is refused here.
pub(super) fn read_run<S: State>(
    graph: &Graph<S>,
    projection: &Projection,
) -> Result<ReadRun<S>, SessionError> {
    let schedule = restore_plan(graph, projection)?;
    Ok(ReadRun { state: read_contained(&projection.root)?, schedule })
}

/// The tasks that are pending in `projection`, in the present graph.
pub(super) fn restore_plan<S: State>(
    graph: &Graph<S>,
    projection: &Projection,
) -> Result<Schedule, SessionError> {
    let stored = projection.root.schedule.clone().unwrap_or_default();
    let schedule = Schedule::restore(Arc::clone(&graph.0.topology), &stored)
        .map_err(|missing| RunError::GraphChanged { graph: graph.name().to_owned(), missing })?;
    Ok(schedule)
}

/// Reads a stored state. A panic of the author's code (a migration, say) is an error.
pub(super) fn read_contained<S: State>(projection: &FrameProjection) -> Result<S, RunError> {
    contain("(state)", || read_state(projection))?
}

/// The state for a new run. One that is still referenced is copied.
fn own_state<S: State>(state: Erased) -> Result<S, (RunError, Erased)> {
    let state = state.downcast::<S>().map_err(|state| {
        let reason = format!("the session's state is no `{}`", std::any::type_name::<S>());
        (RunError::StoredState { reason }, state)
    })?;
    match Arc::try_unwrap(state) {
        Ok(state) => Ok(state),
        Err(shared) => copy_state(&*shared).map_err(|error| (error, shared as _)),
    }
}

/// A copy by way of JSON: states need not be `Clone`.
pub(super) fn copy_state<S: State>(state: &S) -> Result<S, RunError> {
    let unreadable = |reason: String| RunError::StoredState { reason };
    let stored = contain("(state)", || Stored::new(state, json::AGAIN))?
        .map_err(|error| unreadable(error.of("the state").to_string()))?;
    stored.read().map_err(|error| unreadable(error.to_string()))
}
