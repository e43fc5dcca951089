//! The process's side of sessions: stores, graphs, dependencies, and every run that is in memory.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use super::{
    RunOptions, RuntimeOptions, Session, SessionError,
    cell::{LiveRun, SessionCell},
    deadlines::Deadlines,
    dyn_graph::{DynGraph, ErasedGraph, Identity},
    takeover::Takeover,
};
use crate::{
    clock::{Clock, ContainedClock, WallClock},
    engine::Deps,
    event::{Observer, ObserverCell},
    graph::{Graph, GraphDescription},
    ids::{Seq, SessionId},
    journal::{Append, Epoch, Head, IntoJournal, JournalStore, Lease, OwnerId, Recent, Record},
    memory::IntoMemory,
    model::{Model, PriceTable},
    run::{Durability, Limits, RunStatus},
    state::State,
    task_group::TaskGroup,
    tool::ToolRegistry,
};

/// Bytes that a check of the store writes.
const CHECK_BYTES: usize = 16 * 1024;
/// How often a runtime that ends looks for runs that came late.
const SHUTDOWN_POLL: Duration = Duration::from_millis(50);

/// What all sessions of a runtime share.
pub(crate) struct Shared {
    pub(crate) store: Option<Arc<dyn JournalStore>>,
    pub(crate) owner: OwnerId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) deps: Arc<Deps>,
    pub(crate) options: RuntimeOptions,
    pub(crate) group: TaskGroup,
    pub(crate) runs: TaskGroup,
    /// Runs in memory.
    pub(crate) live: AtomicUsize,
    graphs: RwLock<HashMap<String, KnownGraph>>,
    pub(crate) cells: Mutex<HashMap<SessionId, Arc<SessionCell>>>,
    /// So many cells are a reason to look for those that can leave.
    crowded: AtomicUsize,
    pub(crate) closing: AtomicBool,
    renewing: AtomicBool,
    pub(super) deadlines: Arc<Deadlines>,
    /// Itself.
    pub(super) me: Weak<Self>,
    /// Who is told of every entry.
    pub(crate) observed: Arc<ObserverCell>,
    /// Runs that wait for a person in memory.
    pub(crate) suspended_runs: AtomicUsize,
    /// Memory of sessions at rest.
    pub(crate) idle_memory: IdleMemory,
}

/// When memory of sessions at rest is measured: a measurement looks at each of them, so it follows a certain growth.
#[derive(Debug, Default)]
pub(crate) struct IdleMemory {
    /// Bytes read and journalled since the last measurement.
    grown: AtomicU64,
}

impl IdleMemory {
    /// Notes bytes that were read or journalled.
    pub(crate) fn grow(&self, bytes: u64) {
        self.grown.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether it is time to measure, with so many bytes allowed.
    fn is_due(&self, most: u64) -> bool {
        let due = self.grown.load(Ordering::Relaxed) > most / 8;
        if due {
            self.grown.store(0, Ordering::Relaxed);
        }
        due
    }
}

/// A graph that a runtime knows by name.
struct KnownGraph {
    graph: Arc<dyn DynGraph>,
    origin: Origin,
}

/// How a graph became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The program registered it: it continues runs of its name that began in another process.
    Registered,
    /// It was run.
    Run,
}

/// Runs graphs on durable sessions. Cheap to clone; all clones are one runtime.
///
/// # Examples
///
/// ```
/// use agent_core::{Context, Runtime, State, graph::{END, Graph, START}, journal::InMemoryJournal};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Count { #[state(add)] n: u32 }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let graph = Graph::<Count>::builder("count")
///     .node("one", async |_: &Count, _: &Context| Ok(Count::update().n(1u32)))
///     .edge(START, "one")
///     .edge("one", END)
///     .build()?;
/// let runtime = Runtime::builder().journal(InMemoryJournal::new()).build();
/// let session = runtime.session("s1")?;
/// session.run(&graph, Count::update()).await?;
/// let outcome = session.run(&graph, Count::update()).await?;
/// assert_eq!(outcome.state().map(|state| state.n), Some(2));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Runtime(pub(crate) Arc<Shared>);

/// What a runtime is made of.
#[must_use = "a builder does nothing until `build`"]
#[derive(Default)]
pub struct RuntimeBuilder {
    store: Option<Arc<dyn JournalStore>>,
    clock: Option<Arc<dyn Clock>>,
    deps: Deps,
    options: RuntimeOptions,
    graphs: HashMap<String, KnownGraph>,
}

impl RuntimeBuilder {
    /// Sets the journal store: a [`JournalStore`] or an `Arc` of one.
    ///
    /// Default: none. Sessions then last only as long as the process.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Runtime, journal::InMemoryJournal};
    ///
    /// let runtime = Runtime::builder().journal(InMemoryJournal::new()).build();
    /// assert!(runtime.has_journal());
    /// ```
    pub fn journal(mut self, store: impl IntoJournal) -> Self {
        self.store = Some(store.into_journal());
        self
    }

    /// Registers a graph by its name, so that its sessions can be resumed and answered after a restart. See
    /// [`Runtime::register`].
    pub fn graph<S: State>(mut self, graph: &Graph<S>) -> Self {
        self.graphs.insert(graph.name().to_owned(), KnownGraph::registered(graph));
        self
    }

    /// A dependency that nodes get by its type with [`Context::get`](crate::Context::get).
    pub fn provide<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.deps.typed.insert(TypeId::of::<T>(), Arc::new(value));
        self
    }

    /// The model that nodes get with [`Context::model`](crate::Context::model).
    pub fn model(mut self, model: Model) -> Self {
        self.deps.model = Some(model);
        self
    }

    /// What models cost, so that what a run used has a cost and [`Limits::cost_micros`] can bound it. An answer is
    /// priced by the name that the endpoint gives, else by the model's own. Default: none; the cost of all is 0.
    pub fn prices(mut self, prices: PriceTable) -> Self {
        self.deps.prices = Some(prices);
        self
    }

    /// The tools that nodes get with [`Context::tools`](crate::Context::tools).
    pub fn tools(mut self, tools: ToolRegistry) -> Self {
        self.deps.tools = Some(tools);
        self
    }

    /// Sets the long-term memory that nodes get with [`Context::memory`](crate::Context::memory): a [`MemoryStore`] or an
    /// `Arc` of one. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Runtime, memory::InMemoryStore};
    ///
    /// let runtime = Runtime::builder().memory(InMemoryStore::new()).build();
    /// # assert!(!runtime.has_journal());
    /// ```
    pub fn memory(mut self, store: impl IntoMemory) -> Self {
        self.deps.memory = Some(store.into_memory());
        self
    }

    /// When commits are stored. Default: [`Durability::Async`].
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// What each run may use.
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Every other setting.
    pub fn options(mut self, set: impl FnOnce(&mut RuntimeOptions)) -> Self {
        set(&mut self.options);
        self
    }

    /// The clock. Default: the machine's, which is also read where this one panics.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The runtime. It does nothing by itself; call [`Runtime::recover`] at the start of a process.
    #[must_use]
    pub fn build(self) -> Runtime {
        let crowded = self.options.max_idle_sessions * 2;
        Runtime(Arc::new_cyclic(|me| Shared {
            store: self.store,
            owner: OwnerId::random(),
            clock: match self.clock {
                Some(clock) => Arc::new(ContainedClock::new(clock)),
                None => Arc::new(WallClock),
            },
            deps: Arc::new(self.deps),
            options: self.options,
            group: TaskGroup::default(),
            runs: TaskGroup::default(),
            live: AtomicUsize::new(0),
            graphs: RwLock::new(self.graphs),
            cells: Mutex::default(),
            crowded: AtomicUsize::new(crowded),
            closing: AtomicBool::new(false),
            renewing: AtomicBool::new(false),
            deadlines: Arc::default(),
            me: Weak::clone(me),
            observed: Arc::default(),
            suspended_runs: AtomicUsize::new(0),
            idle_memory: IdleMemory::default(),
        }))
    }
}

impl fmt::Debug for RuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A session in a list.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// Where its journal ends and what it is about.
    pub head: Head,
}

/// What a [`Runtime::recover`] found and did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Sessions whose run goes on.
    pub resumed: Vec<SessionId>,
    /// Sessions that wait for a person, as they did before.
    pub paused: Vec<SessionId>,
    /// Sessions that could not be taken up, and why. They stay as they are.
    pub skipped: Vec<(SessionId, SessionError)>,
    /// Sessions whose run ended one process after another and has failed now; see
    /// [`RuntimeOptions::max_takeovers`].
    pub failed: Vec<(SessionId, SessionError)>,
}

impl Runtime {
    /// Begins a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// A session by its id, existing or not: it exists once a run was accepted on it.
    ///
    /// # Errors
    ///
    /// [`InvalidSessionId`](crate::ids::InvalidSessionId).
    pub fn session(&self, id: &str) -> Result<Session, crate::ids::InvalidSessionId> {
        Ok(self.session_of(id.parse()?))
    }

    /// A session by its parsed id.
    #[must_use]
    pub fn session_of(&self, id: SessionId) -> Session {
        let (cell, crowded) = {
            let mut cells = self.0.cells.lock();
            match cells.get(&id) {
                Some(cell) => (Arc::clone(cell), false),
                None => {
                    let cell = Arc::new(SessionCell::new(id.clone(), Arc::clone(&self.0.observed)));
                    cells.insert(id, Arc::clone(&cell));
                    (cell, cells.len() > self.0.crowded.load(Ordering::Relaxed))
                }
            }
        };
        // Ids that somebody only asked about must not fill the memory.
        // Leases are given back by a task, which needs an executor.
        if crowded && tokio::runtime::Handle::try_current().is_ok() {
            self.0.evict_cells();
        }
        Session { shared: Arc::clone(&self.0), cell }
    }

    /// Whether it has a store: without one, its sessions last as long as it does and are in no list.
    #[must_use]
    pub fn has_journal(&self) -> bool {
        self.0.store.is_some()
    }

    /// Has somebody told of every entry of every session that this runtime writes, from now on. One can be; `false`:
    /// there is one already.
    pub fn observe(&self, observer: Arc<dyn Observer>) -> bool {
        self.0.observed.set(observer)
    }

    /// Registers a graph by its name. It replaces the graph that was registered under the name before.
    ///
    /// The registered graph continues runs that this process did not begin, and runs that are started by name. A run
    /// that began in this process continues with the graph it began with, also after another one was registered. A graph
    /// that was only run, and whose code carries data (captured values, tools), continues no other session's run: it
    /// may belong to another user. Such a run is refused with [`SessionError::GraphNotRegistered`].
    pub fn register<S: State>(&self, graph: &Graph<S>) {
        self.0.graphs.write().insert(graph.name().to_owned(), KnownGraph::registered(graph));
    }

    /// The names of the known graphs, sorted.
    #[must_use]
    pub fn graphs(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.graphs.read().keys().cloned().collect();
        names.sort();
        names
    }

    /// A known graph as a Mermaid flow chart.
    #[must_use]
    pub fn mermaid(&self, graph: &str) -> Option<String> {
        self.0.graphs.read().get(graph).map(|known| known.graph.mermaid())
    }

    /// A known graph in Graphviz' DOT language.
    #[must_use]
    pub fn dot(&self, graph: &str) -> Option<String> {
        self.0.graphs.read().get(graph).map(|known| known.graph.dot())
    }

    /// A known graph as plain data.
    #[must_use]
    pub fn description(&self, graph: &str) -> Option<GraphDescription> {
        self.0.graphs.read().get(graph).map(|known| known.graph.description())
    }

    /// Takes over what a process that ended left behind: accepted runs continue, paused ones wait as before.
    /// Sessions of other living processes stay as they are. Call it at the start of a process, and
    /// [`sweep`](Runtime::sweep) from time to time.
    ///
    /// A run that was taken over [`max_takeovers`](RuntimeOptions::max_takeovers) times in a row without any progress
    /// fails with the code `crash_loop`.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`] when the list of sessions cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends it between two sessions; a session whose run is being taken over is taken over. Call it again.
    pub async fn recover(&self) -> Result<RecoveryReport, SessionError> {
        let mut recovered = self.sweep().await?;
        let Some(store) = &self.0.store else { return Ok(recovered) };
        let paused = [RunStatus::Paused.as_str().to_owned()];
        let known: HashSet<SessionId> = recovered.paused.iter().cloned().collect();
        let (mut after, mut unindexed) = (None, Vec::new());
        loop {
            let page = store.list(after.as_ref(), &paused, 256).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let cells = self.0.cells.lock();
            for (id, head) in page {
                if cells.get(&id).is_some_and(|cell| cell.live().is_some()) {
                    continue;
                }
                if head.summary.due.is_none() {
                    unindexed.push(id.clone());
                }
                if !known.contains(&id) {
                    recovered.paused.push(id);
                }
            }
        }
        if !unindexed.is_empty() {
            self.0.watch_unindexed(unindexed);
        }
        Ok(recovered)
    }

    /// Takes over accepted runs of processes that ended, and watches the deadlines of questions in sessions that are not in
    /// memory. Does not list sessions that wait for a person, so [`RecoveryReport::paused`] is incomplete.
    ///
    /// The cost grows with the runs at work and the deadlines that are over, not with the sessions in the store. Call it
    /// from time to time: leases of other processes run out late.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`] when the list of sessions cannot be read.
    ///
    /// # Cancel safety
    ///
    /// As [`recover`](Runtime::recover).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, journal::InMemoryJournal};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), agent_core::SessionError> {
    /// let runtime = Runtime::builder().journal(InMemoryJournal::new()).build();
    /// let found = runtime.sweep().await?;
    /// assert!(found.resumed.is_empty());
    /// # Ok(()) }
    /// ```
    pub async fn sweep(&self) -> Result<RecoveryReport, SessionError> {
        let mut recovered = RecoveryReport::default();
        let Some(store) = &self.0.store else { return Ok(recovered) };
        let running = [RunStatus::Running.as_str().to_owned()];
        let mut after = None;
        loop {
            let page = store.list(after.as_ref(), &running, 256).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (id, _) in page {
                let session = self.session_of(id.clone());
                if session.cell.live().is_some() {
                    continue;
                }
                match session.take_over().await {
                    Ok(Takeover::Executing) => {}
                    Ok(Takeover::Resumed) => recovered.resumed.push(id),
                    Ok(Takeover::Waiting) => recovered.paused.push(id),
                    // Its run had ended; others wait in line.
                    Ok(Takeover::Free) => {
                        session.begin_next().await;
                        recovered.resumed.push(id);
                    }
                    Err(error) if error.code() == crate::Code::CrashLoop => {
                        recovered.failed.push((id, error))
                    }
                    Err(error) => recovered.skipped.push((id, error)),
                }
            }
        }
        self.0.watch_deadlines();
        Ok(recovered)
    }

    /// Sessions in the order of their ids, after `after`, at most `limit` (1,000 at most).
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn sessions(
        &self,
        after: Option<&SessionId>,
        statuses: &[RunStatus],
        limit: usize,
    ) -> Result<Vec<SessionInfo>, SessionError> {
        let Some(store) = &self.0.store else { return Ok(Vec::new()) };
        let statuses: Vec<String> = statuses.iter().map(|status| status.as_str().to_owned()).collect();
        let page = store.list(after, &statuses, limit.min(1_000)).await?;
        Ok(page.into_iter().map(|(id, head)| SessionInfo { id, head }).collect())
    }

    /// Sessions that changed last, first; see [`JournalStore::recent`]. At most 1,000 at once.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub async fn recent(&self, mut wanted: Recent) -> Result<Vec<SessionInfo>, SessionError> {
        let Some(store) = &self.0.store else { return Ok(Vec::new()) };
        wanted.limit = wanted.limit.min(1_000);
        let page = store.recent(&wanted).await?;
        Ok(page.into_iter().map(|(id, head)| SessionInfo { id, head }).collect())
    }

    /// Bytes that sessions at rest take up in memory, estimated from their journals. Bounded by
    /// [`RuntimeOptions::max_idle_bytes`].
    ///
    /// # Examples
    ///
    /// ```
    /// let runtime = agent_core::Runtime::builder().build();
    /// assert_eq!(runtime.idle_bytes(), 0);
    /// ```
    #[must_use]
    pub fn idle_bytes(&self) -> u64 {
        self.0.cells.lock().values().map(|cell| cell.footprint() as u64).sum()
    }

    /// Checks that the store can be written: appends a small entry to a session of a random name and removes it again.
    /// Without a store it does nothing.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, it may leave the session behind, which is in no list by time.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Runtime, journal::InMemoryJournal};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), agent_core::SessionError> {
    /// Runtime::builder().journal(InMemoryJournal::new()).build().check_journal().await?;
    /// # Ok(()) }
    /// ```
    pub async fn check_journal(&self) -> Result<(), SessionError> {
        let Some(store) = &self.0.store else { return Ok(()) };
        let id: SessionId =
            format!("store-check-{:032x}", fastrand::u128(..)).parse().expect("these are legal characters");
        // As large as some pages: a full disk may have room left for a few bytes.
        let body = format!("\"{}\"", "-".repeat(CHECK_BYTES)).into_bytes();
        let records = vec![Record::new(Seq(1), body)];
        store.append(Append::new(id.clone(), Epoch(0), Seq::ZERO, records)).await?;
        store.delete(&id).await?;
        Ok(())
    }

    /// How many runs are in memory, those that wait for a person included.
    #[must_use]
    pub fn live_runs(&self) -> usize {
        self.0.live.load(Ordering::Acquire)
    }

    /// Ends: no new runs; running ones stop at their next superstep and go on at the next start; whatever is still
    /// there after `grace` is stopped where it is. Nothing that was accepted is lost.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the runtime accepts no runs, and those in memory still end; nothing waits for them. Call it again to wait.
    pub async fn shutdown(&self, grace: Duration) {
        self.0.closing.store(true, Ordering::Release);
        if tokio::time::timeout(grace, self.wind_down(LiveRun::drain_for_restart)).await.is_err() {
            self.wind_down(LiveRun::stop_for_restart).await;
        }
        self.0.group.stop();
        self.0.group.wait_idle().await;
        // Another process may take the sessions up at once, those that were put away included.
        if let Some(store) = &self.0.store
            && let Err(error) = store.renew(&self.0.owner, Duration::ZERO).await
        {
            tracing::debug!(%error, "leases were not given back");
        }
    }
}

impl Runtime {
    /// Tells every run how to end, until there is none. A run that was accepted in the same moment comes into memory a
    /// little later: it is told, too.
    async fn wind_down(&self, tell: impl Fn(&LiveRun)) {
        loop {
            let live: Vec<_> = self.0.cells.lock().values().filter_map(|cell| cell.live()).collect();
            live.iter().for_each(|run| tell(run));
            if tokio::time::timeout(SHUTDOWN_POLL, self.0.runs.wait_idle()).await.is_ok() {
                return;
            }
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    /// Nobody can use the runtime any more: its background tasks end.
    fn drop(&mut self) {
        self.group.stop();
    }
}

impl Shared {
    /// The erased form of a graph that is run, and makes it known if no graph of its name is.
    pub(crate) fn instance<S: State>(&self, graph: &Graph<S>) -> Arc<dyn DynGraph> {
        if let Some(known) = self.graphs.read().get(graph.name()) {
            return match known.graph.identity().is(&Identity::of(graph)) {
                true => Arc::clone(&known.graph),
                false => Arc::new(ErasedGraph(graph.clone())),
            };
        }
        let instance: Arc<dyn DynGraph> = Arc::new(ErasedGraph(graph.clone()));
        let known = KnownGraph { graph: Arc::clone(&instance), origin: Origin::Run };
        self.graphs.write().entry(graph.name().to_owned()).or_insert(known);
        instance
    }

    /// A graph to start a run with, by name.
    pub(crate) fn graph(&self, name: &str) -> Result<Arc<dyn DynGraph>, SessionError> {
        let graphs = self.graphs.read();
        let known = graphs.get(name).map(|known| Arc::clone(&known.graph));
        known.ok_or_else(|| SessionError::GraphNotFound { graph: crate::util::shorten(name, 128) })
    }

    /// The graph that continues a run which this process did not begin.
    pub(crate) fn graph_to_resume(
        &self,
        name: &str,
        session: &SessionId,
    ) -> Result<Arc<dyn DynGraph>, SessionError> {
        let graph = self.graph(name)?;
        let registered = self.graphs.read().get(name).is_some_and(|known| known.origin == Origin::Registered);
        if registered || graph.identity().is_known() {
            return Ok(graph);
        }
        Err(SessionError::GraphNotRegistered { session: session.clone(), graph: name.to_owned() })
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn durability(&self, options: &RunOptions) -> Durability {
        options.durability.unwrap_or(self.options.durability)
    }

    /// Keeps the leases of this process alive for as long as it lives.
    pub(crate) fn keep_leases(self: &Arc<Self>) {
        let Some(store) = self.store.clone() else { return };
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (owner, ttl) = (self.owner.clone(), self.options.lease_ttl);
        self.group.spawn(async move {
            loop {
                tokio::time::sleep(ttl / 3).await;
                if let Err(error) = store.renew(&owner, ttl).await {
                    tracing::warn!(%error, "leases could not be renewed");
                }
            }
        });
    }

    /// Parts a deleted session from its id: its subscriptions end, its handles answer that it does not exist, and
    /// the next session of the id has a cell of its own. The door of the cell must be held.
    pub(crate) fn retire(&self, cell: &Arc<SessionCell>) {
        cell.broadcast.close();
        let mut cells = self.cells.lock();
        if cells.get(&cell.id).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            cells.remove(&cell.id);
        }
    }

    /// A run is gone from memory. Sessions at rest beyond the bound leave too.
    pub(crate) fn run_ended(self: &Arc<Self>, cell: &Arc<SessionCell>) {
        if !cell.inner.lock().queue.is_empty() && !self.closing.load(Ordering::Acquire) {
            let session = Session { shared: Arc::clone(self), cell: Arc::clone(cell) };
            self.runs.spawn_uncancelled(async move { session.begin_next().await });
            return;
        }
        if let Some(writer) = cell.inner.lock().writer.as_ref().filter(|(writer, _)| writer.is_durable()) {
            self.idle_memory.grow(writer.0.take_bytes_written());
        }
        self.evict_cells();
        self.evict_idle_sessions();
    }

    /// Takes the largest sessions at rest out of memory while all of them take up more than `max_idle_bytes`. Their cells
    /// stay, for those who hold or watch them.
    fn evict_idle_sessions(&self) {
        let most = self.options.max_idle_bytes;
        if self.store.is_none() || !self.idle_memory.is_due(most) {
            return;
        }
        let mut idle_memory: Vec<(u64, Arc<SessionCell>)> = self
            .cells
            .lock()
            .values()
            .map(|cell| (cell.footprint() as u64, Arc::clone(cell)))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        let mut all: u64 = idle_memory.iter().map(|(bytes, _)| bytes).sum();
        idle_memory.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, cell) in idle_memory {
            if all <= most {
                return;
            }
            if cell.evict_idle().is_some() {
                all -= bytes;
            }
        }
    }

    /// Sessions at rest beyond the bound leave memory.
    fn evict_cells(self: &Arc<Self>) {
        let mut cells = self.cells.lock();
        if cells.len() <= self.options.max_idle_sessions {
            return;
        }
        // Nobody else holds a cell with a count of one, and the lock keeps it so.
        let spare: Vec<SessionId> = cells
            .iter()
            .filter(|(_, cell)| Arc::strong_count(cell) == 1 && cell.is_evictable())
            .map(|(id, _)| id.clone())
            .take(cells.len() - self.options.max_idle_sessions)
            .collect();
        let mut leases = Vec::new();
        for id in spare {
            if let Some(cell) = cells.remove(&id)
                && let Some((_, Some(lease))) = cell.inner.lock().writer.take()
            {
                leases.push((id, lease));
            }
        }
        // Looked at again when there are twice as many, so that the search costs little a session.
        self.crowded.store(cells.len().max(self.options.max_idle_sessions) * 2, Ordering::Relaxed);
        drop(cells);
        if !leases.is_empty() {
            let shared = Arc::clone(self);
            self.group.spawn_uncancelled(async move { shared.release_leases(leases).await });
        }
    }

    async fn release_leases(&self, leases: Vec<(SessionId, Lease)>) {
        let Some(store) = &self.store else { return };
        for (id, lease) in leases {
            if let Err(error) = store.release(&id, &lease).await {
                tracing::debug!(session = %id, %error, "a lease was not given back");
            }
        }
    }
}

impl KnownGraph {
    fn registered<S: State>(graph: &Graph<S>) -> Self {
        Self { graph: Arc::new(ErasedGraph(graph.clone())), origin: Origin::Registered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ids_that_are_only_asked_about_do_not_fill_the_memory() {
        let runtime = Runtime::builder().options(|options| options.max_idle_sessions = 10).build();
        let kept = runtime.session("kept").unwrap();
        for number in 0..1_000 {
            drop(runtime.session(&format!("s{number}")).unwrap());
        }
        assert!(runtime.0.cells.lock().len() <= 21);
        assert!(
            Arc::ptr_eq(&kept.cell, &runtime.session("kept").unwrap().cell),
            "one that is held stays the same"
        );
    }
}
