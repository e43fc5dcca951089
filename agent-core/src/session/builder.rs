//! [`RuntimeBuilder`].

use super::RuntimeOptions;
use super::{
    eviction::IdleMemory,
    replay::ReplayLog,
    replicas::Replicas,
    runtime::{KnownGraph, Runtime, Shared},
    slots::Slots,
    suspects::Suspects,
};
use crate::{
    clock::{Clock, ContainedClock, WallClock},
    engine::Deps,
    graph::Graph,
    journal::{IntoJournal, JournalStore, OwnerId},
    memory::IntoMemory,
    model::{Model, PriceTable},
    run::{Durability, Limits},
    state::State,
    task_group::TaskGroup,
    tool::ToolRegistry,
};
use parking_lot::{Mutex, RwLock};
use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize},
    },
};

/// Builder of a [`Runtime`].
///
/// # Examples
///
/// ```
/// use agent_core::{Runtime, journal::InMemoryJournal, memory::InMemoryStore};
///
/// let builder = Runtime::builder().journal(InMemoryJournal::new()).memory(InMemoryStore::new());
/// let runtime = builder.build();
/// assert!(runtime.has_journal());
/// ```
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
    /// let runtime = Runtime::builder().journal(InMemoryJournal::new()).graph(&graph).build();
    /// assert_eq!(runtime.graphs(), ["count"]);
    /// # Ok(()) }
    /// ```
    pub fn graph<S: State>(mut self, graph: &Graph<S>) -> Self {
        self.graphs.insert(graph.name().to_owned(), KnownGraph::registered(graph));
        self
    }

    /// Adds a dependency that nodes get by its type with [`Context::get`](crate::Context::get).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Draft { text: String }
    /// struct Limit(usize);
    ///
    /// async fn write(_: &Draft, cx: &Context) -> agent_core::Result<()> {
    ///     // The runtime was built with `.provide(Limit(3))`.
    ///     let limit = cx.get::<Limit>()?;
    ///     assert_eq!(limit.0, 3);
    ///     Ok(())
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Draft>::builder("draft").node("write", write)
    /// #     .edge(START, "write").edge("write", END).build()?;
    /// # let session = Runtime::builder().provide(Limit(3)).build().session("essay-1")?;
    /// # session.run(&graph, Draft::update()).await?;
    /// # Ok(()) }
    /// ```
    pub fn provide<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.deps.typed.insert(TypeId::of::<T>(), Arc::new(value));
        self
    }

    /// Sets the model that nodes get with [`Context::model`](crate::Context::model). Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Agent, Runtime, model::{Model, testing::{Scripted, Turn}}};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let agent = Agent::builder("clock").build()?;
    /// let model = Scripted::new([Turn::text("It is noon.")]);
    /// let runtime = Runtime::builder().model(Model::new(model)).build();
    /// let outcome = runtime.session("s-1")?.run(&agent, "What time is it?").await?;
    /// assert_eq!(outcome.state().ok_or("paused")?.answer(), "It is noon.");
    /// # Ok(()) }
    /// ```
    pub fn model(mut self, model: Model) -> Self {
        self.deps.model = Some(model);
        self
    }

    /// Sets the prices of models, so that usage has a cost and [`Limits::cost_micros`] can limit it. A reply is priced by the
    /// model name in it, else by the name of the model. Default: none; every cost is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, model::{Price, PriceTable}, run::Limits};
    /// let mut price = Price::default();
    /// // 0.15 USD per million tokens read, 0.60 USD per million tokens written.
    /// (price.input, price.output) = (150_000, 600_000);
    /// let runtime = Runtime::builder()
    ///     .prices(PriceTable::new().with("gpt-4o-mini", price))
    ///     .limits(Limits::default().cost_micros(50_000))
    ///     .build();
    /// # assert_eq!(runtime.live_runs(), 0);
    /// ```
    pub fn prices(mut self, prices: PriceTable) -> Self {
        self.deps.prices = Some(prices);
        self
    }

    /// Sets the tools that nodes get with [`Context::tools`](crate::Context::tools). Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, tool, tool::{ToolError, ToolRegistry}};
    /// # /// The weather of a city.
    /// # #[tool]
    /// # async fn weather(city: String) -> Result<String, ToolError> { Ok(format!("{city}: sunny")) }
    /// let tools = ToolRegistry::builder().tool(weather).build()?;
    /// let runtime = Runtime::builder().tools(tools).build();
    /// # assert_eq!(runtime.live_runs(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tools(mut self, tools: ToolRegistry) -> Self {
        self.deps.tools = Some(tools);
        self
    }

    /// Sets the long-term memory that nodes get with [`Context::memory`](crate::Context::memory): a [`MemoryStore`](crate::memory::MemoryStore) or an
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

    /// Sets when commits are stored. Default: [`Durability::Async`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Durability, Runtime, journal::InMemoryJournal};
    /// let runtime = Runtime::builder()
    ///     .journal(InMemoryJournal::new())
    ///     .durability(Durability::Sync)
    ///     .build();
    /// # assert!(runtime.has_journal());
    /// ```
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// Sets the limits of each run. Default: those of the graph.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, run::Limits};
    /// # use std::time::Duration;
    /// let runtime = Runtime::builder()
    ///     .limits(Limits::default().model_calls(20).active(Duration::from_secs(600)))
    ///     .build();
    /// # assert_eq!(runtime.live_runs(), 0);
    /// ```
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Changes other options.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Runtime;
    /// # use std::time::Duration;
    /// let runtime = Runtime::builder()
    ///     .options(|options| {
    ///         options.max_runs = 1_000;
    ///         options.evict_paused_after = Duration::from_secs(60);
    ///     })
    ///     .build();
    /// # assert_eq!(runtime.live_runs(), 0);
    /// ```
    pub fn options(mut self, set: impl FnOnce(&mut RuntimeOptions)) -> Self {
        set(&mut self.options);
        self
    }

    /// Sets the clock. Default: the system clock, which is also used if this one panics.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, clock::ManualClock};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::sync::Arc;
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Count { #[state(add)] n: u64 }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Count>::builder("count")
    /// #     .node("add", async |_: &Count, _: &Context| Ok(Count::update().n(1)))
    /// #     .edge(START, "add").edge("add", END).build()?;
    /// let clock = Arc::new(ManualClock::new(1_000));
    /// let runtime = Runtime::builder().clock(clock).build();
    /// let session = runtime.session("s-1")?;
    /// session.run(&graph, Count::update()).await?;
    /// assert_eq!(session.status().await?.accepted_at, 1_000);
    /// # Ok(()) }
    /// ```
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Builds the runtime. Call [`Runtime::recover`] at the start of a process to resume interrupted runs.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, journal::InMemoryJournal};
    /// let runtime = Runtime::builder().journal(InMemoryJournal::new()).build();
    /// assert!(runtime.has_journal());
    /// ```
    #[must_use]
    pub fn build(self) -> Runtime {
        let clock: Arc<dyn Clock> = match self.clock {
            Some(clock) => Arc::new(ContainedClock::new(clock)),
            None => Arc::new(WallClock),
        };
        runtime(self.store, self.graphs, Arc::new(self.deps), clock, self.options, None)
    }
}

impl Runtime {
    /// Returns a runtime with the graphs and dependencies of another one. It does not execute steps without a record.
    pub(super) fn replaying(other: &Shared, store: Arc<dyn JournalStore>, log: Arc<ReplayLog>) -> Self {
        let graphs = other.graphs.read().clone();
        let options = RuntimeOptions { max_active_runs: 0, ..other.options.clone() };
        runtime(Some(store), graphs, Arc::clone(&other.deps), Arc::clone(&other.clock), options, Some(log))
    }
}

fn runtime(
    store: Option<Arc<dyn JournalStore>>,
    graphs: HashMap<String, KnownGraph>,
    deps: Arc<Deps>,
    clock: Arc<dyn Clock>,
    options: RuntimeOptions,
    replay: Option<Arc<ReplayLog>>,
) -> Runtime {
    let crowded = options.max_idle_sessions.saturating_mul(2);
    let owner = OwnerId::random();
    let channel = store.as_ref().and_then(|store| store.channel());
    let replicas = channel.map(|channel| Arc::new(Replicas::new(channel, owner.clone())));
    Runtime(Arc::new_cyclic(|me| Shared {
        store,
        owner,
        replicas,
        slots: (options.max_active_runs > 0)
            .then(|| Arc::new(Slots::new(options.max_active_runs, Weak::clone(me)))),
        clock,
        deps,
        options,
        replay,
        group: TaskGroup::default(),
        runs: TaskGroup::default(),
        live: AtomicUsize::new(0),
        graphs: RwLock::new(graphs),
        cells: Mutex::default(),
        crowded: AtomicUsize::new(crowded),
        closing: AtomicBool::new(false),
        renewing: AtomicBool::new(false),
        deadlines: Arc::default(),
        suspects: Suspects::default(),
        me: Weak::clone(me),
        observed: Arc::default(),
        suspended_runs: AtomicUsize::new(0),
        idle_memory: IdleMemory::default(),
    }))
}

impl fmt::Debug for RuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}
