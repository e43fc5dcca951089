//! One run from its first superstep to its rest: drives the graph, notices pauses, obeys a stop, tells how it ended.

use std::{
    future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    sync::atomic::Ordering,
};

use futures::FutureExt;

use tokio::time::{Instant, sleep, sleep_until};

use super::{
    reopen::LostRun,
    runtime::Shared,
    settled::Settled,
    slot::{LiveRun, Resting, Slot},
};
use crate::{
    engine::{
        Frame, FrameEnd, RunEnv, RunError, closing_update, drive_within_limits, plan::Plan, raw_plan,
        read_state,
    },
    graph::Graph,
    ids::Seq,
    journal::{
        Summary,
        entry::{Closing, Completed, Fact, Failure, Paused, Resumed, Stopped, TodoChange},
        fold,
        image::{FORMAT, FrameImage, Image, Snapshot},
    },
    json::{self, Stored},
    model::ModelError,
    run::RunStatus,
    state::State,
    telemetry,
    todo::{Todo, TodoStatus},
};

/// How the driving of a run ended.
enum End {
    Drive(Result<FrameEnd, RunError>),
    /// Stopped in the middle.
    Stopped,
    /// Put away: the journal has it, memory need not.
    PutAway,
}

/// What a run begins with besides its frame.
pub(crate) struct Begun {
    /// Where the session stood when the run began; becomes its resting image.
    pub(crate) image: Box<Image>,
    /// The run's span.
    pub(crate) span: tracing::Span,
}

/// Conducts a run. Owns it: nothing of it is left when this is done.
pub(crate) async fn conduct<S: State>(
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    live: Arc<LiveRun>,
    mut frame: Frame<S>,
    begun: Begun,
) {
    let env = Arc::clone(&live.env);
    // The last net: whatever of the author's code panics (a `Serialize`, say), the run ends and the session lives.
    let following = AssertUnwindSafe(follow(&shared, &slot, &live, &mut frame)).catch_unwind().await;
    let mut end = following.unwrap_or_else(|panic| {
        let message = crate::util::panic_message(&*panic);
        End::Drive(Err(RunError::Panicked { node: "(state)".to_owned(), message }))
    });
    if env.control.is_handed_over()
        && matches!(end, End::Stopped | End::Drive(Ok(FrameEnd::Interrupted)))
        && env.writer.keeps()
    {
        // Not stopped: the next process finds it running, or paused, and takes it up.
        end = End::PutAway;
    }
    env.group.stop();
    // Most runs leave nobody behind: no timer for them.
    if !env.group.is_empty() && tokio::time::timeout(shared.options.grace, env.group.quiet()).await.is_err() {
        tracing::warn!(session = %slot.id, left = env.group.len(), "tasks hold a thread and could not be stopped");
    }
    env.control.close();
    let put_away = matches!(end, End::PutAway);
    let span = begun.span.clone();
    let ending = async {
        match end {
            End::Drive(Ok(FrameEnd::Completed)) => completed(&shared, &slot, &live, frame, begun).await,
            End::Drive(Ok(FrameEnd::Interrupted)) => {
                let drained = !env.control.stop.is_cancelled();
                stopped(&shared, &slot, &live, frame, begun, drained).await
            }
            End::Stopped => stopped(&shared, &slot, &live, frame, begun, false).await,
            End::Drive(Err(error)) => failed(&shared, &slot, &live, frame, begun, error).await,
            End::PutAway => {
                let left = match live.status() {
                    RunStatus::Running if env.control.is_handed_over() => {
                        let left = summary(&shared, &live, RunStatus::Running);
                        Box::pin(env.writer.summarise(Summary { handed_over: true, ..left })).await
                    }
                    _ => env.writer.all_stored().await,
                };
                if let Err(error) = left {
                    tracing::error!(session = %slot.id, %error, "a paused run could not be stored");
                }
                slot.forget();
                live.settled.settled().unwrap_or_else(|| Arc::new(rest(RunStatus::Paused, None)))
            }
        }
    };
    // The author's code runs here too: an error's `Display`, the `Drop` of a state. What waits for the run's end must be
    // notified whatever it does.
    let settled = match AssertUnwindSafe(ending).catch_unwind().await {
        Ok(settled) => settled,
        Err(panic) => panicked_at_end(&shared, &slot, &live, crate::util::panic_message(&*panic)).await,
    };
    telemetry::run_rests(&span, &settled.status, settled.supersteps, settled.error.as_deref());
    drop(span);
    let lost = match settled.status {
        RunStatus::Failed | RunStatus::Paused => LostRun::of(&slot, &live, &settled),
        _ => None,
    };
    if let Some(lost) = &lost {
        lost.show(&live);
    }
    {
        let mut inner = slot.inner.lock();
        inner.live = None;
        inner.lost = lost;
        if !put_away {
            live.settled.tell(Some(settled));
        }
    }
    shared.live.fetch_sub(1, Ordering::AcqRel);
    live.settled.tell_gone();
    shared.run_ended(&slot);
}

/// A panic while the last facts of a run were written: the run fails, unless its end is stored already.
async fn panicked_at_end(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    live: &Arc<LiveRun>,
    message: String,
) -> Arc<Settled> {
    tracing::error!(session = %slot.id, run = %live.run(), message, "a run panicked while it ended");
    let error = RunError::Panicked { node: "(end of the run)".to_owned(), message };
    if !live.env.control.has_ended() {
        let changed = live.env.todos.lock().settle(TodoStatus::Failed, "the run failed");
        let mut facts: Vec<Fact> = todo_facts(changed).collect();
        facts.push(Fact::RunFailed(Failure {
            code: error.code().name().to_owned(),
            message: crate::util::shorten(&error.to_string(), 2_000),
            node: error.node().map(str::to_owned),
            task: None,
            closing: None,
        }));
        if let Err(error) = close(live, facts, summary(shared, live, RunStatus::Failed)).await {
            tracing::error!(session = %slot.id, %error, "the failure of a run was not stored");
        }
    }
    slot.forget();
    Arc::new(rest(RunStatus::Failed, Some(Arc::new(error))))
}

fn rest(status: RunStatus, error: Option<Arc<RunError>>) -> Settled {
    Settled { status, questions: Vec::new(), state: None, supersteps: 0, error }
}

/// Drives the graph until it ends or is to end. A pause is a state of this loop, not an end.
async fn follow<S: State>(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    live: &Arc<LiveRun>,
    frame: &mut Frame<S>,
) -> End {
    let env = &live.env;
    let mut driving = pin!(drive_within_limits(frame));
    // Dropped before the driving is: from then on, questions whose tasks go away stay asked.
    let _put_away = PutAway(env);
    let mut stop = pin!(env.control.stop.cancelled());
    let mut parked: Option<Instant> = None;
    let mut place = Parked { shared, counted: false };
    loop {
        // A timer is made only when it is looked at.
        let park = async {
            match parked {
                Some(at) => sleep_until(at).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased; // an end that came in the same poll wins over a stop
            end = driving.as_mut() => return End::Drive(end),
            () = stop.as_mut() => {
                // Tasks that do not listen are dropped by the next poll (see `engine::task`); once the others have
                // ended, so has the driving.
                if env.control.listeners.load(Ordering::Acquire) > 0 {
                    tokio::select! {
                        biased;
                        end = driving.as_mut() => return End::Drive(end),
                        () = sleep(shared.options.grace) => {}
                    }
                }
                return End::Stopped;
            }
            () = env.control.awake.notified(), if parked.is_some() => {
                if let Err(error) = goes_on(shared, slot, live) {
                    return End::Drive(Err(error));
                }
            }
            () = env.control.idle.notified() => {
                if env.control.has_store_failed() {
                    return store_failed(live);
                }
                if !env.control.is_idle() {
                    continue;
                }
                if env.control.drain.load(Ordering::Acquire) {
                    return End::Drive(Ok(FrameEnd::Interrupted));
                }
                if !env.board.any_open() {
                    continue;
                }
                match pause(shared, slot, live).await {
                    Ok(true) => parked = Some(Instant::now() + shared.options.park),
                    Ok(false) => continue,
                    Err(error) => return End::Drive(Err(error)),
                }
                if place.take() > shared.options.parked && may_be_put_away(env) {
                    return End::PutAway;
                }
            }
            () = park, if parked.is_some() && may_be_put_away(env) => {
                // An answer may have come in the same moment.
                if live.status() == RunStatus::Paused && env.control.is_idle() {
                    return End::PutAway;
                }
                parked = None;
                place.leave();
            }
        }
    }
}

/// Ends a run whose journal cannot be written. One that waits for answers has lost nothing.
fn store_failed(live: &LiveRun) -> End {
    match live.env.writer.failure() {
        Some(error) if live.status() != RunStatus::Paused => End::Drive(Err(error.into())),
        _ => End::PutAway,
    }
}

/// Whether a paused run can leave memory: the journal has it, and no question of it runs out of time.
fn may_be_put_away(env: &RunEnv) -> bool {
    env.writer.keeps() && !env.board.any_deadline()
}

/// A run's place among those that wait for a person in memory. An answered run leaves it when it next looks.
struct Parked<'a> {
    shared: &'a Shared,
    counted: bool,
}

impl Parked<'_> {
    /// How many there are, this one included.
    fn take(&mut self) -> usize {
        let more = usize::from(!std::mem::replace(&mut self.counted, true));
        self.shared.parked.fetch_add(more, Ordering::AcqRel) + more
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.shared.parked.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Tells dropped questions that it is the run that goes away, and not a node that lost interest.
struct PutAway<'a>(&'a RunEnv);

impl Drop for PutAway<'_> {
    fn drop(&mut self) {
        self.0.control.put_away();
    }
}

/// Everything waits for a person: says so, once it is stored. `false`: an answer came meanwhile.
async fn pause(shared: &Arc<Shared>, slot: &Arc<Slot>, live: &Arc<LiveRun>) -> Result<bool, RunError> {
    let env = &live.env;
    let questions = env.board.open();
    if env.writer.matters() {
        let ids = questions.iter().map(|open| open.id.clone()).collect();
        let summary = summary(shared, live, RunStatus::Paused).with_questions(&questions);
        let seq =
            env.writer.push_with(env.run, [Fact::RunPaused(Paused { questions: ids })], Some(summary))?;
        env.writer.stored(seq).await?;
    }
    // Under the slot's lock, as is the delivery of answers: one of the two sees the other.
    let _inner = slot.inner.lock();
    if !env.control.is_idle() {
        return Ok(false);
    }
    env.control.hold();
    // Some of them may have been answered meanwhile.
    let questions = env.board.open();
    live.settled.tell(Some(Arc::new(Settled { questions, ..rest(RunStatus::Paused, None) })));
    Ok(true)
}

/// A paused run may go on without an answer: a deadline passed, or the node waits for something else too.
fn goes_on(shared: &Arc<Shared>, slot: &Arc<Slot>, live: &Arc<LiveRun>) -> Result<(), RunError> {
    let env = &live.env;
    {
        // Under the slot's lock, as is the delivery of answers, which does the same.
        let _inner = slot.inner.lock();
        if live.status() != RunStatus::Paused || env.control.is_idle() {
            return Ok(());
        }
        env.control.go_on();
        live.settled.tell(None);
    }
    if env.writer.matters() {
        let summary = summary(shared, live, RunStatus::Running);
        env.writer.push_with(env.run, [Fact::RunResumed(Resumed::default())], Some(summary))?;
        env.note([])?;
    }
    Ok(())
}

pub(crate) fn summary(shared: &Shared, live: &LiveRun, status: RunStatus) -> Summary {
    Summary::new(&*live.graph, status.as_str(), live.run(), shared.clock.now_ms())
}

pub(crate) fn todo_facts(changed: Vec<Todo>) -> impl Iterator<Item = Fact> {
    changed.into_iter().map(|todo| Fact::TodoChanged(TodoChange { todo, by: None }))
}

/// Writes the last facts of a run and waits until they are stored.
async fn close(live: &LiveRun, facts: Vec<Fact>, summary: Summary) -> Result<Seq, RunError> {
    let env = &live.env;
    let seq = env.writer.push_with(env.run, facts, Some(summary))?;
    env.control.end_noted();
    env.writer.stored(seq).await?;
    Ok(seq)
}

async fn completed<S: State>(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    live: &Arc<LiveRun>,
    frame: Frame<S>,
    begun: Begun,
) -> Arc<Settled> {
    let env = &live.env;
    let (active_ms, supersteps) = (env.control.active_ms(), frame.plan.superstep);
    let fact = Fact::RunCompleted(Completed { active_ms, supersteps });
    let seq = match close(live, vec![fact], summary(shared, live, RunStatus::Completed)).await {
        Ok(seq) => seq,
        Err(error) => return failed(shared, slot, live, frame, begun, error).await,
    };
    let state = Arc::clone(&frame.state);
    let mut image = begun.image;
    settle_image(&mut image, slot, live, &frame, RunStatus::Completed, seq);
    image.active_ms = active_ms;
    env.board.clear();
    if env.writer.keeps() && env.writer.wants_snapshot(shared.options.snapshot_bytes) {
        keep_snapshot(shared, live, &image, &*frame.state, seq);
    }
    slot.inner.lock().rest = Some(Resting { image, state: Some(Arc::clone(&frame.state) as _) });
    Arc::new(Settled { state: Some(state), supersteps, ..rest(RunStatus::Completed, None) })
}

async fn stopped<S: State>(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    live: &Arc<LiveRun>,
    mut frame: Frame<S>,
    begun: Begun,
    drained: bool,
) -> Arc<Settled> {
    let changed = live.env.todos.lock().settle(TodoStatus::Cancelled, "stopped");
    let mut facts: Vec<Fact> = todo_facts(changed).collect();
    let closing = Box::pin(close_state(live, &mut frame)).await;
    facts.push(Fact::RunStopped(Stopped { drained, closing }));
    match close(live, facts, summary(shared, live, RunStatus::Stopped)).await {
        Ok(seq) => {
            let supersteps = frame.plan.superstep;
            let state = leave(slot, live, frame, begun, RunStatus::Stopped, seq);
            Arc::new(Settled { state, supersteps, ..rest(RunStatus::Stopped, None) })
        }
        Err(error) => failed(shared, slot, live, frame, begun, error).await,
    }
}

async fn failed<S: State>(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    live: &Arc<LiveRun>,
    mut frame: Frame<S>,
    begun: Begun,
    error: RunError,
) -> Arc<Settled> {
    // What an endpoint says may repeat what a person said: no more of it is logged than of that.
    let detail = error.model().and_then(ModelError::detail).map(|detail| crate::util::shorten(detail, 50));
    tracing::warn!(session = %slot.id, run = %live.run(), code = %error.code(), detail, "run failed");
    let supersteps = frame.plan.superstep;
    let error = Arc::new(error);
    let stored = if matches!(*error, RunError::Store(_)) {
        None
    } else {
        let closing = Box::pin(close_state(live, &mut frame)).await;
        let changed = live.env.todos.lock().settle(TodoStatus::Failed, "the run failed");
        let mut facts: Vec<Fact> = todo_facts(changed).collect();
        facts.push(Fact::RunFailed(Failure {
            code: error.code().name().to_owned(),
            message: crate::util::shorten(&error.report(), 2_000),
            node: error.node().map(str::to_owned),
            task: None,
            closing,
        }));
        close(live, facts, summary(shared, live, RunStatus::Failed)).await.ok()
    };
    let state = match stored {
        Some(seq) if !frame.torn => leave(slot, live, frame, begun, RunStatus::Failed, seq),
        _ => {
            slot.forget();
            None
        }
    };
    Arc::new(Settled { state, supersteps, ..rest(RunStatus::Failed, Some(error)) })
}

/// Applies the update that the graph makes for a run that is cut short, and returns it as it is stored with the end.
///
/// With a store, the unfinished tasks are read from the journal, which knows more than the tasks that were dropped.
async fn close_state<S: State>(live: &LiveRun, frame: &mut Frame<S>) -> Option<Closing> {
    frame.graph.0.on_stop.as_ref()?;
    let env = &live.env;
    let (closing, update) = match env.writer.store() {
        Some(store) => {
            let folded = match env.writer.all_stored().await {
                Ok(()) => fold(&**store, &env.session, Seq(u64::MAX >> 1)).await,
                Err(error) => Err(error),
            };
            let root = folded
                .inspect_err(|error| tracing::warn!(session = %env.session, %error, "a state was not closed"))
                .ok()??
                .root;
            let torn = if frame.torn { Some(read_state::<S>(&root).ok()?) } else { None };
            let state = torn.as_ref().unwrap_or(&*frame.state);
            closing_update(&frame.graph, state, root.plan.as_ref()?, &root.tasks)?
        }
        None if frame.torn => return None,
        None => {
            let tasks = env.ledger.as_ref().map(|ledger| std::mem::take(&mut *ledger.lock()));
            let plan = serde_json::from_str(raw_plan(&frame.plan).get()).expect("a plan reads back");
            closing_update(&frame.graph, &*frame.state, &plan, &tasks.unwrap_or_default())?
        }
    };
    if frame.torn {
        return Some(closing);
    }
    if Arc::get_mut(&mut frame.state).is_none() {
        // A task that could not be stopped holds the state.
        frame.state = Arc::new(super::launch::copy_state(&*frame.state).ok()?);
    }
    let state = Arc::get_mut(&mut frame.state)?;
    match catch_unwind(AssertUnwindSafe(|| state.apply(update))) {
        Ok(Ok(())) => Some(closing),
        Ok(Err(error)) => {
            tracing::error!(session = %env.session, %error, "the update for a run that was cut short was refused");
            None
        }
        Err(_) => {
            // It may have been applied in part: the journal has the state from before it.
            frame.torn = true;
            None
        }
    }
}

/// Leaves a run that is not at its end: the journal has all of it. Without one, what can be kept is kept.
fn leave<S: State>(
    slot: &Arc<Slot>,
    live: &Arc<LiveRun>,
    frame: Frame<S>,
    begun: Begun,
    status: RunStatus,
    seq: Seq,
) -> Option<Arc<dyn std::any::Any + Send + Sync>> {
    let resting = (!live.env.writer.keeps()).then(|| {
        let mut image = begun.image;
        settle_image(&mut image, slot, live, &frame, status, seq);
        Resting { image, state: Some(Arc::clone(&frame.state) as _) }
    });
    slot.inner.lock().rest = resting;
    Some(frame.state as _)
}

fn settle_image<S: State>(
    image: &mut Image,
    slot: &Slot,
    live: &LiveRun,
    frame: &Frame<S>,
    status: RunStatus,
    seq: Seq,
) {
    image.last = seq;
    image.status = status;
    image.todos = live.env.todos.lock().clone();
    image.used = live.env.budget.used();
    image.open.clear();
    image.answered = live.env.board.answered();
    let queue = queued_until(live, slot, seq);
    (image.runs, image.queue) = (queue.runs, queue.queue);
    image.root =
        FrameImage { plan: Some(image_of(&frame.plan)), version: S::VERSION, ..FrameImage::default() };
}

fn image_of(plan: &Plan) -> crate::engine::plan::PlanImage {
    plan.image_when_done().unwrap_or_else(|| json::read(raw_plan(plan).get()).expect("a plan reads back"))
}

/// Keeps a snapshot of a session at rest, or in a run's commit.
fn keep_snapshot<S: State>(shared: &Shared, live: &LiveRun, image: &Image, state: &S, seq: Seq) {
    // The journal has the updates; a state that JSON cannot express (NaN of a custom reducer) is folded from them.
    let state = match catch_unwind(AssertUnwindSafe(|| Stored::new(state, json::AGAIN))) {
        Ok(Ok(state)) => state,
        Ok(Err(error)) => {
            tracing::warn!(session = %live.env.session, error = %error.of("the state"), "no snapshot was kept");
            return;
        }
        Err(_) => {
            tracing::warn!(session = %live.env.session, "the state's serializer panicked; no snapshot was kept");
            return;
        }
    };
    let snapshot = Snapshot {
        format: FORMAT,
        run: image.run,
        status: image.status,
        graph: Arc::clone(&image.graph),
        hash: Arc::clone(&image.hash),
        version: S::VERSION,
        state: state.json,
        form: state.form,
        plan: image.root.plan.clone(),
        answered: image.answered.clone(),
        todos: image.todos.items().to_vec(),
        used: image.used,
        limits: image.limits,
        durability: image.durability,
        accepted: image.accepted,
        accepted_at: image.accepted_at,
        active_ms: image.active_ms,
        last_at: shared.clock.now_ms(),
        requests: image.requests.clone(),
        labels: Arc::clone(&image.labels),
        runs: image.runs,
        queue: image.queue.clone(),
    };
    let Ok(body) = serde_json::to_vec(&snapshot) else { return };
    let trim = seq.0.checked_sub(shared.options.retention.entries).map(Seq);
    live.env.writer.snapshot(seq, body, trim);
}

/// Called after each commit: keeps a snapshot when much was journalled since the last one.
pub(crate) fn snapshots<S: State>(
    shared: &Arc<Shared>,
    slot: &Arc<Slot>,
    live: &Arc<LiveRun>,
    graph: &Graph<S>,
) -> crate::engine::OnCommit<S> {
    let shared = Arc::clone(shared);
    let live = Arc::downgrade(live);
    let slot = Arc::clone(slot);
    let hash: Arc<str> = graph.hash().into();
    Box::new(move |state: &S, plan: &Plan, seq: Seq| {
        let Some(live) = live.upgrade() else { return };
        let env = &live.env;
        if !env.writer.wants_snapshot(shared.options.snapshot_bytes) {
            return;
        }
        let image = Image {
            run: env.run,
            status: RunStatus::Running,
            graph: Arc::clone(&live.graph),
            hash: Arc::clone(&hash),
            root: FrameImage { plan: Some(image_of(plan)), ..FrameImage::default() },
            answered: env.board.answered(),
            todos: env.todos.lock().clone(),
            used: env.budget.used(),
            limits: Some(env.budget.limits()),
            durability: Some(env.durability),
            accepted: live.accepted,
            accepted_at: live.accepted_at,
            active_ms: env.control.active_ms(),
            requests: live.requests.clone(),
            labels: env.writer.labels(),
            ..queued_until(&live, &slot, seq)
        };
        keep_snapshot(&shared, &live, &image, state, seq);
    })
}

/// The runs that are queued as of an entry, for a snapshot there. Runs queued later are read from their entries.
fn queued_until(live: &LiveRun, slot: &Slot, seq: Seq) -> Image {
    let inner = slot.inner.lock();
    let queued = inner.queue.iter().filter(|queued| queued.seq <= seq);
    let queue = queued.map(|queued| (queued.run, queued.queued.clone())).collect::<Vec<_>>();
    drop(inner);
    let runs = queue.iter().map(|(run, _)| *run).max().unwrap_or_default().max(live.runs);
    Image { runs, queue, ..Image::default() }
}
