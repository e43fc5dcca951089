//! [`Runtime`]: stores, graphs, dependencies and the sessions in memory.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use super::{
    RunOptions, RuntimeOptions, Session, SessionError,
    cell::{LiveRun, SessionCell},
    deadlines::Deadlines,
    dyn_graph::{DynGraph, ErasedGraph, Identity},
};
use super::{
    builder::RuntimeBuilder, eviction::IdleMemory, replay::ReplayLog, replicas::Replicas, slots::Slots,
    suspects::Suspects,
};
use crate::{
    clock::Clock,
    engine::Deps,
    event::{Observer, ObserverCells},
    graph::{Graph, GraphDescription},
    ids::{Seq, SessionId},
    journal::{Append, Epoch, Head, JournalStore, OwnerId, Recent, Record, SharedLimits},
    run::{Durability, RunStatus},
    state::State,
    task_group::TaskGroup,
};

/// Bytes that a check of the store writes.
const CHECK_BYTES: usize = 16 * 1024;
/// Poll interval of a shutdown for runs that were accepted late.
const SHUTDOWN_POLL: Duration = Duration::from_millis(50);

/// State shared by all sessions of a runtime.
pub(crate) struct Shared {
    pub(crate) store: Option<Arc<dyn JournalStore>>,
    pub(crate) owner: OwnerId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) deps: Arc<Deps>,
    pub(crate) options: RuntimeOptions,
    pub(crate) group: TaskGroup,
    pub(crate) runs: TaskGroup,
    /// Number of runs in memory.
    pub(crate) live: AtomicUsize,
    pub(super) graphs: RwLock<HashMap<String, KnownGraph>>,
    pub(crate) cells: Mutex<HashMap<SessionId, Arc<SessionCell>>>,
    /// Number of cells above which idle ones are evicted.
    pub(super) crowded: AtomicUsize,
    pub(crate) closing: AtomicBool,
    pub(super) renewing: AtomicBool,
    pub(super) deadlines: Arc<Deadlines>,
    /// Runs that are taken over one at a time.
    pub(super) suspects: Suspects,
    /// The processes that share the store, if it has a channel.
    pub(super) replicas: Option<Arc<Replicas>>,
    /// Itself.
    pub(super) me: Weak<Self>,
    /// The observer of all entries.
    pub(crate) observed: Arc<ObserverCells>,
    /// Slots of executing runs, if their number is limited.
    pub(crate) slots: Option<Arc<Slots>>,
    /// The log of a replay. Steps without a record are noted there and not executed.
    pub(super) replay: Option<Arc<ReplayLog>>,
    /// Number of suspended runs: paused runs in memory.
    pub(crate) suspended_runs: AtomicUsize,
    /// Memory of idle sessions.
    pub(crate) idle_memory: IdleMemory,
}

/// A graph known by name.
#[derive(Clone)]
pub(super) struct KnownGraph {
    graph: Arc<dyn DynGraph>,
    origin: Origin,
}

/// Origin of a known graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Registered by the program: continues runs of its name that began in another process.
    Registered,
    /// Known because it was run.
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

/// An entry in a list of sessions.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// End and summary of its journal.
    pub head: Head,
}

impl Runtime {
    /// Returns a builder.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, journal::InMemoryJournal};
    /// let runtime = Runtime::builder().journal(InMemoryJournal::new()).build();
    /// # assert!(runtime.has_journal());
    /// ```
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// Returns a session by its id. It exists once a run was accepted on it.
    ///
    /// # Errors
    ///
    /// [`InvalidSessionId`](crate::ids::InvalidSessionId).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Runtime;
    /// let runtime = Runtime::builder().build();
    /// let session = runtime.session("order-7")?;
    /// assert!(runtime.session("no spaces").is_err());
    /// # assert_eq!(session.id().as_str(), "order-7");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn session(&self, id: &str) -> Result<Session, crate::ids::InvalidSessionId> {
        Ok(self.session_of(id.parse()?))
    }

    /// Returns a session by its parsed id.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, SessionId};
    /// let runtime = Runtime::builder().build();
    /// let session = runtime.session_of(SessionId::random());
    /// # assert_eq!(session.id().as_str().len(), SessionId::random().as_str().len());
    /// ```
    #[must_use]
    pub fn session_of(&self, id: SessionId) -> Session {
        let known = self.0.cells.lock().get(&id).cloned();
        let (cell, crowded) = match known {
            Some(cell) => (cell, false),
            None => {
                // Created without the lock, which all sessions share.
                let new = Arc::new(SessionCell::new(id.clone(), Arc::clone(&self.0.observed)));
                let mut cells = self.0.cells.lock();
                let cell = Arc::clone(cells.entry(id).or_insert(new));
                (cell, cells.len() > self.0.crowded.load(Ordering::Relaxed))
            }
        };
        // Ids that were only looked up must not fill the memory. Leases are released by a task, which needs an executor.
        if crowded && tokio::runtime::Handle::try_current().is_ok() {
            self.0.evict_cells();
        }
        Session { shared: Arc::clone(&self.0), cell }
    }

    /// Returns whether the runtime has a journal store. Without one, sessions end with the runtime and are not listed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, journal::InMemoryJournal};
    /// assert!(!Runtime::builder().build().has_journal());
    /// assert!(Runtime::builder().journal(InMemoryJournal::new()).build().has_journal());
    /// ```
    #[must_use]
    pub fn has_journal(&self) -> bool {
        self.0.store.is_some()
    }

    /// Returns the counters that all processes on the store share, if the store has them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, journal::InMemoryJournal};
    /// let runtime = Runtime::builder().journal(InMemoryJournal::new()).build();
    /// assert!(runtime.shared_limits().is_none());
    /// ```
    #[must_use]
    pub fn shared_limits(&self) -> Option<Arc<dyn SharedLimits>> {
        self.0.store.as_ref()?.shared_limits()
    }

    /// Registers an observer for every journal entry that this runtime writes from now on. Observers are called in the
    /// order of their registration.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{Runtime, event::{JournalNotice, Observer}};
    ///
    /// struct Log;
    ///
    /// impl Observer for Log {
    ///     fn on_entry(&self, notice: &JournalNotice<'_>) {
    ///         println!("{} {:?}", notice.session, notice.kind);
    ///     }
    /// }
    ///
    /// Runtime::builder().build().observe(Log);
    /// ```
    pub fn observe(&self, observer: impl Observer) {
        self.0.observed.add(observer);
    }

    /// Registers a graph by its name, in place of an earlier graph of that name.
    ///
    /// The registered graph continues runs that began in another process, and runs that are started by name. A run that
    /// began in this process continues with the graph it began with. A graph that was only run, and that captures data
    /// (values, tools), does not continue runs of other sessions, because it may belong to another user: such a run is
    /// refused with [`SessionError::GraphNotRegistered`].
    ///
    /// Registering is the statement that this graph continues every run of its name. Graphs that differ by user, tenant or
    /// credentials need names that differ in the same way. A graph that replaces one of other code is logged as a warning.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// let runtime = Runtime::builder().journal(InMemoryJournal::new()).build();
    /// runtime.register(&graph);
    /// assert_eq!(runtime.graphs(), ["count"]);
    /// # Ok(()) }
    /// ```
    pub fn register<S: State>(&self, graph: &Graph<S>) {
        let replaced = self.0.graphs.write().insert(graph.name().to_owned(), KnownGraph::registered(graph));
        if let Some(replaced) = replaced
            && replaced.origin == Origin::Registered
            && !replaced.graph.identity().is(&Identity::of(graph))
        {
            tracing::warn!(
                graph = graph.name(),
                "the registered graph was replaced by another one of its name"
            );
        }
    }

    /// Returns the names of the known graphs, sorted.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// assert_eq!(runtime.graphs(), ["count"]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn graphs(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.graphs.read().keys().cloned().collect();
        names.sort();
        names
    }

    /// Renders a known graph as a Mermaid flow chart.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// let chart = runtime.mermaid("count").ok_or("unknown graph")?;
    /// assert!(chart.contains("add"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn mermaid(&self, graph: &str) -> Option<String> {
        self.0.graphs.read().get(graph).map(|known| known.graph.mermaid())
    }

    /// Renders a known graph in Graphviz' DOT language.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// let drawing = runtime.dot("count").ok_or("unknown graph")?;
    /// assert!(drawing.starts_with("digraph"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn dot(&self, graph: &str) -> Option<String> {
        self.0.graphs.read().get(graph).map(|known| known.graph.dot())
    }

    /// Returns a known graph as plain data.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// let description = runtime.description("count").ok_or("unknown graph")?;
    /// assert_eq!(description.nodes.len(), 3); // with start and end
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn description(&self, graph: &str) -> Option<GraphDescription> {
        self.0.graphs.read().get(graph).map(|known| known.graph.description())
    }

    /// Lists sessions in the order of their ids, after `after`, at most `limit` (1,000 at most).
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// for id in ["a", "b", "c"] {
    ///     runtime.session(id)?.run(&graph, Count::update()).await?;
    /// }
    /// let page = runtime.sessions(None, &[], 2).await?;
    /// let next = runtime.sessions(Some(&page[1].id), &[RunStatus::Completed], 2).await?;
    /// assert_eq!(next[0].id.as_str(), "c");
    /// # Ok(()) }
    /// ```
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

    /// Lists sessions by their last change, newest first; see [`JournalStore::recent`]. At most 1,000 at once.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::{InMemoryJournal, Recent}};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Greeting { name: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Greeting>::builder("greet")
    /// #     .node("ask", async |_: &Greeting, cx: &Context| {
    /// #         Ok(Greeting::update().name(cx.ask::<String>("Name?").await?))
    /// #     })
    /// #     .edge(START, "ask").edge("ask", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// runtime.session("a")?.run(&graph, Greeting::update()).await?;
    /// let mut wanted = Recent::default();
    /// wanted.statuses = vec!["paused".to_owned()];
    /// wanted.limit = 20;
    /// assert_eq!(runtime.recent(wanted).await?[0].id.as_str(), "a");
    /// # Ok(()) }
    /// ```
    pub async fn recent(&self, mut wanted: Recent) -> Result<Vec<SessionInfo>, SessionError> {
        let Some(store) = &self.0.store else { return Ok(Vec::new()) };
        wanted.limit = wanted.limit.min(1_000);
        let page = store.recent(&wanted).await?;
        Ok(page.into_iter().map(|(id, head)| SessionInfo { id, head }).collect())
    }

    /// Returns the size of idle sessions in memory, estimated in bytes from their journals. Limited by
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

    /// Checks that the store can be written: appends an entry to a session of a random name and deletes it. Does nothing
    /// without a store.
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

    /// Returns the number of runs in memory, including suspended ones.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Greeting { name: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Greeting>::builder("greet")
    /// #     .node("ask", async |_: &Greeting, cx: &Context| {
    /// #         Ok(Greeting::update().name(cx.ask::<String>("Name?").await?))
    /// #     })
    /// #     .edge(START, "ask").edge("ask", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// assert_eq!(runtime.live_runs(), 0);
    /// session.run(&graph, Greeting::update()).await?;
    /// // The paused run is suspended in memory until it is evicted.
    /// assert_eq!(runtime.live_runs(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn live_runs(&self) -> usize {
        self.0.live.load(Ordering::Acquire)
    }

    /// Returns the number of runs in this process that wait for a slot; see
    /// [`RuntimeOptions::max_active_runs`](super::RuntimeOptions::max_active_runs).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Runtime;
    /// let runtime = Runtime::builder().options(|options| options.max_active_runs = 8).build();
    /// assert_eq!(runtime.waiting_runs(), 0);
    /// ```
    #[must_use]
    pub fn waiting_runs(&self) -> usize {
        self.0.slots.as_ref().map_or(0, |slots| slots.waiting())
    }

    /// Shuts the runtime down: refuses new runs, lets running ones reach their next superstep, and stops those that have not
    /// after `grace`. Accepted runs continue in the next process; callers that await a queued one get
    /// [`SessionError::ShuttingDown`].
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, the runtime refuses new runs and those in memory still end. Call it again to wait for them.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, SessionError, START, State};
    /// # use agent_core::journal::InMemoryJournal;
    /// # use serde::{Deserialize, Serialize};
    /// # use std::time::Duration;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// # let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// # let session = runtime.session("s-1")?;
    /// session.run(&graph, Count::update()).await?;
    /// runtime.shutdown(Duration::from_secs(5)).await;
    /// let refused = session.run(&graph, Count::update()).await;
    /// assert!(matches!(refused, Err(SessionError::ShuttingDown)));
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(&self, grace: Duration) {
        self.0.closing.store(true, Ordering::Release);
        if tokio::time::timeout(grace, self.wind_down(LiveRun::drain_for_restart)).await.is_err() {
            self.wind_down(LiveRun::stop_for_restart).await;
        }
        self.0.group.stop();
        self.0.group.wait_idle().await;
        // Queued runs begin in the next process. Their handles keep the sessions in memory, and with them the senders.
        let cells: Vec<_> = self.0.cells.lock().values().cloned().collect();
        for cell in cells {
            cell.inner.lock().queue.iter().for_each(|queued| queued.watch.close());
        }
        // Release all leases, so that another process can resume the sessions at once.
        if let Some(store) = &self.0.store
            && let Err(error) = store.renew(&self.0.owner, Duration::ZERO).await
        {
            tracing::debug!(%error, "leases were not given back");
        }
    }
}

impl Runtime {
    /// Applies `end` to every run until there is none. A run that is accepted concurrently appears a little later.
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
    /// Stops the background tasks.
    fn drop(&mut self) {
        self.group.stop();
    }
}

impl Shared {
    /// Returns the erased form of a graph that is run, and adds it to the known graphs if its name is new.
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

    /// Returns a graph by name, to start a run.
    pub(crate) fn graph(&self, name: &str) -> Result<Arc<dyn DynGraph>, SessionError> {
        let graphs = self.graphs.read();
        let known = graphs.get(name).map(|known| Arc::clone(&known.graph));
        known.ok_or_else(|| SessionError::GraphNotFound { graph: crate::util::shorten(name, 128) })
    }

    /// Returns the graph that continues a run of another process.
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

    /// Starts the task that renews the leases of this process.
    pub(crate) fn keep_leases(self: &Arc<Self>) {
        let Some(store) = self.store.clone() else { return };
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        self.join_replicas();
        let (owner, ttl, shared) = (self.owner.clone(), self.options.lease_ttl, self.me.clone());
        self.group.spawn(async move {
            let mut renewed = tokio::time::Instant::now();
            loop {
                tokio::time::sleep(ttl / 3).await;
                match store.renew(&owner, ttl).await {
                    Err(error) => tracing::warn!(%error, "leases could not be renewed"),
                    Ok(()) => {
                        // The process was suspended or cut off: another one may have taken sessions over.
                        let late = renewed.elapsed() >= ttl;
                        renewed = tokio::time::Instant::now();
                        let Some(shared) = shared.upgrade() else { return };
                        if late {
                            shared.check_leases().await;
                        }
                    }
                }
            }
        });
    }

    /// Removes the cell of a deleted session: its subscriptions end, its handles return `NotFound`, and the next session of
    /// the id gets another cell. Callers hold `command_lock`.
    pub(crate) fn retire(&self, cell: &Arc<SessionCell>) {
        cell.broadcast.close();
        let mut cells = self.cells.lock();
        if cells.get(&cell.id).is_some_and(|known| Arc::ptr_eq(known, cell)) {
            cells.remove(&cell.id);
        }
    }
}

impl KnownGraph {
    pub(super) fn registered<S: State>(graph: &Graph<S>) -> Self {
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
