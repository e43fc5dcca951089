//! How a run comes into being: accepted with an input, or taken up where it was left. The door must be held.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, task::Poll};

use serde_json::value::{RawValue, to_raw_value};
use tracing::Instrument;

use super::{
    BusyPolicy, Run, RunOptions, Session, SessionError,
    conduct::{Begun, conduct, snapshots, todo_facts},
    options::CONTENT,
    runtime::Shared,
    settled::Teller,
    slot::{LiveRun, Resting, Slot},
};
use crate::{
    engine::{
        Budget, Control, Durability, Frame, Limits, RunEnv, RunError, TaskGroup, Used, begin, plan::Plan,
        raw_plan, read_state,
    },
    graph::Graph,
    ids::{RunId, Seq},
    journal::{
        Summary,
        entry::{Accepted, Base, Closing, Fact, Queued, Raw, Resumed, Stopped},
        image::{FrameImage, Image},
        store::is_label,
        writer::Writer,
    },
    run::RunStatus,
    state::{Input, State},
    telemetry,
    todo::TodoTree,
};

/// Bounds of labels: how many, and the bytes of values.
const LABELS: usize = 16;
const LABEL_VALUE: usize = 512;

impl Session {
    /// Accepts a run and lets it go. `Waits::No`: this is done when the acceptance is stored.
    pub(super) async fn accept<S: State>(
        &self,
        graph: &Graph<S>,
        input: Input<S>,
        options: RunOptions,
        waits: Waits,
    ) -> Result<Run, SessionError> {
        self.shared.register(graph);
        let begun = {
            let _door = self.slot.door.lock().await;
            self.accept_held(graph, input, options, waits == Waits::No).await?
        };
        match (begun.conducting, waits) {
            (Some(mut conducting), Waits::Yes) => {
                // A short run is done after one poll: no task, no wake-up of another thread.
                let _counted = self.shared.runs.hold();
                let first = std::future::poll_fn(|cx| Poll::Ready(conducting.as_mut().poll(cx)));
                if first.await.is_pending() {
                    self.shared.runs.spawn_to_its_end(conducting);
                }
            }
            (Some(conducting), Waits::No) => self.shared.runs.spawn_to_its_end(conducting),
            (None, _) => {}
        }
        Ok(begun.run)
    }

    async fn accept_held<S: State>(
        &self,
        graph: &Graph<S>,
        input: Input<S>,
        mut options: RunOptions,
        durably: bool,
    ) -> Result<SetOff, SessionError> {
        self.check_open()?;
        let mut undone = None;
        if let Some(live) = self.slot.live() {
            let labels = live.env.writer.labels();
            options.settle_labels(&labels);
            self.check_labels(&options, &labels)?;
            self.check_request(&options, &live.requests)?;
            match options.on_busy {
                BusyPolicy::Reject => return Err(self.busy(live.run(), live.status())),
                // Boxed, here and below: what is rare would make every run's future large.
                BusyPolicy::Enqueue => {
                    let run = self.slot.next_run(live.runs);
                    let run = Box::pin(self.enqueue(graph, input, options, &live.env.writer, run)).await?;
                    return Ok(SetOff { run, conducting: None });
                }
                BusyPolicy::Interrupt => {
                    Box::pin(self.stop_held()).await?;
                }
                BusyPolicy::Rollback => {
                    undone = Some(live.accepted);
                    Box::pin(self.stop_held()).await?;
                }
            }
        }
        let (writer, resting) = self.slot.open(&self.shared).await?;
        options.settle_labels(&resting.image.labels);
        if options.on_busy == BusyPolicy::Enqueue
            && (resting.image.status.is_busy() || !self.slot.inner.lock().queue.is_empty())
        {
            let checked = self
                .check_labels(&options, &resting.image.labels)
                .and_then(|()| self.check_request(&options, &resting.image.requests));
            let (run, free) = (self.slot.next_run(resting.image.runs), !resting.image.status.is_busy());
            // The journal knows more than this image from here on.
            self.slot.forget();
            checked?;
            let run = Box::pin(self.enqueue(graph, input, options, &writer, run)).await?;
            if free {
                self.shared.run_ended(&self.slot);
            }
            return Ok(SetOff { run, conducting: None });
        }
        let before = match self.clear_the_way(&writer, resting, &options, undone).await {
            Ok(before) => before,
            Err((error, resting)) => {
                self.slot.inner.lock().rest = resting;
                return Err(error);
            }
        };
        let run = self.slot.next_run(before.image.runs);
        self.begin_run(graph, input, options, durably, Turn { writer, before, run }).await
    }

    /// Begins the run that is first in line. The door must be held, and the session be free.
    pub(super) async fn accept_queued<S: State>(
        &self,
        graph: &Graph<S>,
        run: RunId,
        queued: Queued,
    ) -> Result<Run, SessionError> {
        let input = super::queue::queued_input::<S>(&queued)?;
        // It was checked for a second of its name when it was put in line.
        let (limits, durability, labels) = (queued.limits, queued.durability, queued.labels);
        let options = RunOptions { limits, durability, labels, ..RunOptions::default() };
        let (writer, before) = self.slot.open(&self.shared).await?;
        let begun = self.begin_run(graph, input, options, true, Turn { writer, before, run }).await?;
        Ok(self.spawned(begun))
    }

    /// What is wrong when a graph cannot read the state that another one left.
    fn of_other_graph(&self, image: &Image, wanted: &str) -> Option<SessionError> {
        (!image.graph.is_empty() && *image.graph != *wanted).then(|| SessionError::OtherGraph {
            session: self.id().clone(),
            graph: image.graph.to_string(),
            wanted: wanted.to_owned(),
        })
    }

    /// A named request that was accepted before starts no second run.
    fn check_request(&self, options: &RunOptions, known: &[(String, RunId)]) -> Result<(), SessionError> {
        let Some(request) = &options.request else { return Ok(()) };
        let queued = self.slot.inner.lock();
        let in_line =
            queued.queue.iter().filter_map(|waiting| Some((waiting.queued.request.as_ref()?, waiting.run)));
        let known = known.iter().map(|(known, run)| (known, *run));
        let name = |text: &'_ str| text.split(CONTENT).next().map(str::to_owned);
        let wanted = name(request);
        match known.chain(in_line).find(|(known, _)| name(known) == wanted) {
            Some((known, run)) if known == request => {
                Err(SessionError::SameRequest { session: self.id().clone(), run })
            }
            Some((_, run)) => Err(SessionError::RequestDiffers { session: self.id().clone(), run }),
            None => Ok(()),
        }
    }

    /// Marks that a session has cannot be given another value, and are bounded.
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

    pub(super) fn check_open(&self) -> Result<(), SessionError> {
        if self.shared.closing.load(std::sync::atomic::Ordering::Acquire) {
            return Err(SessionError::ShuttingDown);
        }
        let limit = self.shared.options.runs;
        if self.shared.runs.len() >= limit {
            return Err(SessionError::TooManyRuns { limit });
        }
        Ok(())
    }

    /// Deals with what the journal says of an earlier run that is not in memory.
    async fn clear_the_way(
        &self,
        writer: &Arc<Writer>,
        mut resting: Resting,
        options: &RunOptions,
        undone: Option<Seq>,
    ) -> Result<Resting, (SessionError, Option<Resting>)> {
        let image = &resting.image;
        let checked = self.check_labels(options, &image.labels);
        if let Err(error) = checked.and_then(|()| self.check_request(options, &image.requests)) {
            return Err((error, Some(resting)));
        }
        let mut undo = undone;
        if image.status.is_busy() {
            match options.on_busy {
                BusyPolicy::Reject | BusyPolicy::Enqueue => {
                    let busy = self.busy(image.run, image.status);
                    return Err((busy, Some(resting)));
                }
                BusyPolicy::Interrupt => {
                    let closing = self.closing(image);
                    if closing.is_some() {
                        // The state of the journal is the one that is closed.
                        resting.state = None;
                    }
                    let image = &mut resting.image;
                    let fact = Fact::RunStopped(Stopped { drained: false, closing });
                    match writer.push(image.run, [fact.clone()]) {
                        Ok(seq) => {
                            let (at, run) = (self.shared.clock.now_ms(), image.run);
                            image.take(crate::journal::entry::Entry { seq, at, run, fact });
                        }
                        Err(error) => return Err((error.into(), None)),
                    }
                }
                BusyPolicy::Rollback => undo = Some(image.accepted),
            }
        }
        if let Some(accepted) = undo {
            resting =
                Box::pin(self.roll_back(writer, resting, accepted)).await.map_err(|error| (error, None))?;
        }
        Ok(resting)
    }

    /// The update that closes a run that is not in memory and is being stopped; see
    /// [`GraphBuilder::on_stop`](crate::graph::GraphBuilder::on_stop).
    pub(super) fn closing(&self, image: &Image) -> Option<Closing> {
        self.shared.graph(&image.graph).ok()?.closing(image)
    }

    /// Takes the session back to before the entry `accepted`.
    async fn roll_back(
        &self,
        writer: &Arc<Writer>,
        resting: Resting,
        accepted: Seq,
    ) -> Result<Resting, SessionError> {
        let Some(store) = &self.shared.store else {
            return Err(SessionError::CannotResume { session: self.id().clone() });
        };
        let before = Seq(accepted.0.saturating_sub(1));
        let graph = self.shared.graph(&resting.image.graph)?;
        let earlier = crate::journal::fold(&**store, self.id(), before).await?.unwrap_or_default();
        let (version, state) = graph.stored_state(&earlier)?;
        let mut plan = earlier.root.plan.clone().unwrap_or_default();
        // Numbers of tasks are never used twice, those of the run that is undone included.
        plan.next = plan.next.max(resting.image.root.plan.as_ref().map_or(0, |plan| plan.next));
        plan.due.clear();
        plan.held.clear();
        plan.joins.clear();
        let raw = to_raw_value(&plan).expect("a plan is numbers, names and JSON");
        let fact = Fact::RunRolledBack(Base { version, state, plan: raw });
        let seq = writer.push(resting.image.run, [fact.clone()])?;
        writer.stored(seq).await?;
        let mut image = resting.image;
        image.take(crate::journal::entry::Entry {
            seq,
            at: self.shared.clock.now_ms(),
            run: image.run,
            fact,
        });
        Ok(Resting { image, state: None })
    }

    async fn begin_run<S: State>(
        &self,
        graph: &Graph<S>,
        input: Input<S>,
        options: RunOptions,
        durably: bool,
        turn: Turn,
    ) -> Result<SetOff, SessionError> {
        let Turn { writer, before: Resting { mut image, state }, run } = turn;
        let invalid = |reason: String| SessionError::InvalidInput { graph: graph.name().to_owned(), reason };
        let mut state = match (&input, state) {
            (Input::State(_), _) => None,
            (Input::Update(_), Some(state)) => match own_state::<S>(state) {
                Ok(state) => Some(state),
                Err((error, state)) => {
                    let other = self.of_other_graph(&image, graph.name());
                    self.slot.inner.lock().rest = Some(Resting { image, state: Some(state) });
                    return Err(other.unwrap_or_else(|| invalid(error.report())));
                }
            },
            (Input::Update(_), None) => Some(match read_state::<S>(&image.root) {
                Ok(state) => state,
                Err(error) => {
                    self.slot.inner.lock().rest = None;
                    return Err(self.of_other_graph(&image, graph.name()).unwrap_or_else(|| error.into()));
                }
            }),
        };
        // Without a journal, an update that is refused half-way is undone from this.
        let undo = match &state {
            Some(state) if self.shared.store.is_none() => serde_json::to_string(state).ok(),
            _ => None,
        };
        let (mut raw_state, mut raw_update) = (None, None);
        let keeps = writer.keeps();
        let applied: Result<(S, Plan), SessionError> = (|| {
            let state = match input {
                Input::State(given) => {
                    if keeps {
                        raw_state = Some(to_raw_value(&given).map_err(|error| invalid(error.to_string()))?);
                    }
                    given
                }
                Input::Update(update) => {
                    if keeps {
                        raw_update = Some(to_raw_value(&update).map_err(|error| invalid(error.to_string()))?);
                    }
                    let mut state = state.take().unwrap_or_default();
                    let applied =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| state.apply(update)));
                    match applied {
                        Ok(Ok(())) => state,
                        Ok(Err(error)) => return Err(invalid(error.to_string())),
                        Err(panic) => return Err(invalid(crate::text::panic_message(&*panic))),
                    }
                }
            };
            let first = image.root.plan.as_ref().map_or(1, |plan| plan.next.max(1));
            let plan = begin(graph, &state, first)?;
            Ok((state, plan))
        })();
        let (state, plan) = match applied {
            Ok(begun) => begun,
            // The state in memory may have been changed in part: the journal has the right one.
            Err(error) => {
                if self.shared.store.is_some() {
                    self.slot.forget();
                } else if let Some(state) = undo.and_then(|text| serde_json::from_str::<S>(&text).ok()) {
                    self.slot.inner.lock().rest = Some(Resting { image, state: Some(Arc::new(state)) });
                }
                return Err(error);
            }
        };
        let limits = options.limits.unwrap_or(self.shared.options.limits);
        let durability = self.shared.durability(&options);
        // What the image notes of it: neither state nor plan, which the run has from here on.
        let noted = Accepted {
            graph: graph.name().into(),
            hash: graph.hash().into(),
            version: S::VERSION,
            state: None,
            update: None,
            plan: Raw::from(RawValue::NULL.to_owned()),
            limits: options.limits,
            durability: options.durability,
            request: options.request,
            labels: options.labels,
        };
        // Without a store or a watcher nobody ever reads the plan.
        let raw = if writer.matters() { raw_plan(&plan) } else { noted.plan.clone() };
        let fact = Accepted { state: raw_state, update: raw_update, plan: raw, ..noted.clone() };
        let now = self.shared.clock.now_ms();
        writer.mark(&noted.labels);
        let summary = Summary::new(graph.name(), RunStatus::Running.as_str(), run, now);
        self.shared.keep_leases();
        let accepted = match writer.push_with(run, [Fact::RunAccepted(fact)], Some(summary)) {
            Ok(seq) => seq,
            Err(error) => {
                self.slot.forget();
                return Err(error.into());
            }
        };
        let wait = match durability {
            Durability::Sync => true,
            Durability::Async => durably,
            Durability::Exit => false,
        };
        if wait && let Err(error) = writer.stored(accepted).await {
            self.slot.forget();
            return Err(error.into());
        }
        if durability == Durability::Async {
            writer.kick();
        }
        let fact = Fact::RunAccepted(noted);
        image.take(crate::journal::entry::Entry { seq: accepted, at: now, run, fact });
        image.root = FrameImage::default();
        self.slot.board.clear();
        let begun = Beginning {
            image,
            plan,
            state: Arc::new(state),
            limits,
            durability,
            active_ms: 0,
            used: Used::default(),
            todos: TodoTree::default(),
            records: Default::default(),
            resumed: false,
        };
        Ok(self.set_off(graph, &writer, begun))
    }

    /// Takes up a run whose answers were just stored, if that lets a task go on.
    pub(super) async fn take_up_answered<S: State>(&self, graph: &Graph<S>) -> Result<Run, SessionError> {
        let waits = {
            let inner = self.slot.inner.lock();
            let waiting = inner.rest.as_ref().filter(|rest| rest.image.status == RunStatus::Paused);
            waiting.map(|rest| (rest.image.run, rest.image.open.clone()))
        };
        match waits {
            // Its task has other questions still.
            Some((run, questions)) => Ok(Run::waiting(self.clone(), run, questions)),
            None => self.take_up(graph, None).await,
        }
    }

    /// Takes up a run that is not in memory and not at its end.
    pub(super) async fn take_up<S: State>(
        &self,
        graph: &Graph<S>,
        limits: Option<Limits>,
    ) -> Result<Run, SessionError> {
        self.check_open()?;
        let nothing =
            |status| SessionError::NothingToDo { session: self.id().clone(), status, verb: "resume" };
        if let Some(live) = self.slot.live() {
            return Err(nothing(live.status()));
        }
        let (writer, resting) = self.slot.open(&self.shared).await?;
        let result = self.prepare(graph, &writer, &resting.image);
        if let Err(error) = result {
            let found = resting.image.last > Seq::ZERO;
            self.slot.inner.lock().rest = Some(resting);
            return Err(if found { error } else { SessionError::NotFound { session: self.id().clone() } });
        }
        let Resting { mut image, state } = resting;
        let mut frame_image = std::mem::take(&mut image.root);
        if image.status == RunStatus::Failed {
            // As the fold of the resumption will say.
            frame_image.forgive();
        }
        let state = match state {
            Some(state) => own_state::<S>(state).map_err(|(error, _)| error)?,
            None => match read_state::<S>(&frame_image) {
                Ok(state) => state,
                Err(error) => {
                    self.slot.forget();
                    return Err(error.into());
                }
            },
        };
        let stored = frame_image.plan.clone().unwrap_or_default();
        let plan = Plan::restore(Arc::clone(&graph.0.topology), &stored)
            .map_err(|missing| RunError::GraphChanged { graph: graph.name().to_owned(), missing })?;
        let mut todos = std::mem::take(&mut image.todos);
        let mut facts: Vec<Fact> = todo_facts(todos.restore(&["stopped", "the run failed"])).collect();
        facts.push(Fact::RunResumed(Resumed { limits }));
        let (run, now) = (image.run, self.shared.clock.now_ms());
        let summary = Summary::new(graph.name(), RunStatus::Running.as_str(), run, now);
        self.shared.keep_leases();
        let stored = match writer.push_with(run, facts, Some(summary)) {
            Ok(seq) => writer.stored(seq).await.map(|()| seq),
            Err(error) => Err(error),
        };
        match stored {
            Ok(seq) => image.last = seq,
            Err(error) => {
                self.slot.forget();
                return Err(error.into());
            }
        }
        image.resume_limits(limits);
        let open = std::mem::take(&mut image.open);
        self.slot.board.restore(open, &image.answered);
        image.graph = graph.name().into();
        image.hash = graph.hash().into();
        let begun = Beginning {
            limits: image.limits.unwrap_or(self.shared.options.limits),
            durability: image.durability.unwrap_or(self.shared.options.durability),
            active_ms: image.active_ms,
            used: image.used,
            todos,
            records: frame_image.tasks,
            image,
            plan,
            state: Arc::new(state),
            resumed: true,
        };
        let begun = self.set_off(graph, &writer, begun);
        Ok(self.spawned(begun))
    }

    /// Whether the run of `image` can be taken up with `graph`. Changes nothing.
    fn prepare<S: State>(
        &self,
        graph: &Graph<S>,
        writer: &Arc<Writer>,
        image: &Image,
    ) -> Result<(), SessionError> {
        let nothing =
            |status| SessionError::NothingToDo { session: self.id().clone(), status, verb: "resume" };
        match image.status {
            RunStatus::Idle | RunStatus::Completed => return Err(nothing(image.status)),
            // Only an answer makes it go on.
            RunStatus::Paused => return Err(nothing(image.status)),
            RunStatus::Running | RunStatus::Failed | RunStatus::Stopped => {}
        }
        if !writer.keeps() {
            return Err(SessionError::CannotResume { session: self.id().clone() });
        }
        check_graph(graph, image)
    }

    /// Puts a run into memory and lets it go.
    fn set_off<S: State>(&self, graph: &Graph<S>, writer: &Arc<Writer>, begun: Beginning<S>) -> SetOff {
        let image = begun.image;
        let span = telemetry::run(self.id(), image.run, graph.name(), begun.resumed);
        let env = Arc::new(RunEnv {
            session: self.id().clone(),
            run: image.run,
            writer: Arc::clone(writer),
            board: Arc::clone(&self.slot.board),
            deps: Arc::clone(&self.shared.deps),
            clock: Arc::clone(&self.shared.clock),
            durability: begun.durability,
            budget: Budget::new(begun.limits, begun.used, &image.granted),
            todos: parking_lot::Mutex::new(begun.todos),
            control: Control::new(begun.active_ms),
            group: TaskGroup::default(),
            traced: telemetry::nodes(),
            ledger: (graph.0.on_stop.is_some() && !writer.keeps()).then(Default::default),
        });
        let live = Arc::new(LiveRun {
            env: Arc::clone(&env),
            graph: Arc::clone(&image.graph),
            accepted: image.accepted,
            accepted_at: image.accepted_at,
            requests: image.requests.clone(),
            runs: image.runs,
            settled: self.slot.in_line(image.run).unwrap_or_else(Teller::new),
        });
        let mut frame = Frame::new(graph.clone(), begun.state, begun.plan, env, None, begun.records);
        if writer.keeps() {
            frame = frame.on_commit(snapshots(&self.shared, &self.slot, &live, graph));
        }
        self.slot.feed.runs(&live.graph);
        self.slot.inner.lock().live = Some(Arc::clone(&live));
        self.shared.live.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        let run = Run::of(self.clone(), &live);
        let (shared, slot) = (Arc::clone(&self.shared), Arc::clone(&self.slot));
        let conducting = conducted(shared, slot, live, frame, Begun { image, span });
        SetOff { run, conducting: Some(conducting) }
    }

    fn spawned(&self, begun: SetOff) -> Run {
        if let Some(conducting) = begun.conducting {
            self.shared.runs.spawn_to_its_end(conducting);
        }
        begun.run
    }
}

/// Whether the caller waits for the run's rest before it says anything to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    Yes,
    No,
}

/// A run that was accepted, and what conducts it: to be polled to its end, whatever becomes of the caller.
struct SetOff {
    run: Run,
    conducting: Option<Conducting>,
}

/// What conducts a run.
type Conducting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What conducts a run, in the run's span if there is one.
fn conducted<S: State>(
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    live: Arc<LiveRun>,
    frame: Frame<S>,
    begun: Begun,
) -> Conducting {
    let span = begun.span.clone();
    let conducting: Conducting = Box::pin(conduct(shared, slot, live, frame, begun));
    if span.is_disabled() { conducting } else { Box::pin(conducting.instrument(span)) }
}

/// A session that is free, and the number of the run whose turn it is.
struct Turn {
    writer: Arc<Writer>,
    before: Resting,
    run: RunId,
}

/// All that a run is set off with.
struct Beginning<S: State> {
    image: Box<Image>,
    plan: Plan,
    state: Arc<S>,
    limits: Limits,
    durability: Durability,
    active_ms: u64,
    used: Used,
    todos: TodoTree,
    records: std::collections::HashMap<u64, crate::journal::image::TaskRecord>,
    /// It was begun before.
    resumed: bool,
}

/// Whether everything that is pending exists in the present graph.
pub(super) fn check_graph<S: State>(graph: &Graph<S>, image: &Image) -> Result<(), SessionError> {
    let plan = image.root.plan.clone().unwrap_or_default();
    Plan::restore(Arc::clone(&graph.0.topology), &plan)
        .map_err(|missing| RunError::GraphChanged { graph: graph.name().to_owned(), missing })?;
    Ok(())
}

/// The state for a run of its own. One that somebody still holds is copied.
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

/// An `Arc<S>` whose `S` only the graph knows.
type Erased = Arc<dyn std::any::Any + Send + Sync>;

/// A copy by way of JSON: states need not be `Clone`.
pub(super) fn copy_state<S: State>(state: &S) -> Result<S, RunError> {
    serde_json::to_string(state)
        .and_then(|text| serde_json::from_str(&text))
        .map_err(|error| RunError::StoredState { reason: error.to_string() })
}
