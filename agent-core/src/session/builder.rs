//! [`RuntimeBuilder`].

use super::RuntimeOptions;
use super::{
    eviction::IdleMemory,
    replicas::Replicas,
    runtime::{KnownGraph, Runtime, Shared},
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

    /// Adds a dependency that nodes get by its type with [`Context::get`](crate::Context::get).
    pub fn provide<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.deps.typed.insert(TypeId::of::<T>(), Arc::new(value));
        self
    }

    /// Sets the model that nodes get with [`Context::model`](crate::Context::model). Default: none.
    pub fn model(mut self, model: Model) -> Self {
        self.deps.model = Some(model);
        self
    }

    /// Sets the prices of models, so that usage has a cost and [`Limits::cost_micros`] can limit it. A reply is priced by the
    /// model name in it, else by the name of the model. Default: none; every cost is 0.
    pub fn prices(mut self, prices: PriceTable) -> Self {
        self.deps.prices = Some(prices);
        self
    }

    /// Sets the tools that nodes get with [`Context::tools`](crate::Context::tools). Default: none.
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
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.options.durability = durability;
        self
    }

    /// Sets the limits of each run. Default: those of the graph.
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Changes other options.
    pub fn options(mut self, set: impl FnOnce(&mut RuntimeOptions)) -> Self {
        set(&mut self.options);
        self
    }

    /// Sets the clock. Default: the system clock, which is also used if this one panics.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Builds the runtime. Call [`Runtime::recover`] at the start of a process to resume interrupted runs.
    #[must_use]
    pub fn build(self) -> Runtime {
        let crowded = self.options.max_idle_sessions * 2;
        let owner = OwnerId::random();
        let channel = self.store.as_ref().and_then(|store| store.channel());
        let replicas = channel.map(|channel| Arc::new(Replicas::new(channel, owner.clone())));
        Runtime(Arc::new_cyclic(|me| Shared {
            store: self.store,
            owner,
            replicas,
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
