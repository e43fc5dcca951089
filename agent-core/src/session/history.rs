//! Checkpoints: listing them, reading state at one, forking a session, and editing state as a node.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    Session, SessionError, SessionStatus,
    dyn_graph::DynGraph,
    lock::LockedSession,
    resume::{read_contained, restore_schedule},
    run_end::todo_facts,
    run_input::copy_state,
};
use crate::{
    compute::compute,
    engine::{encode_schedule, read_state, reschedule_after},
    graph::Graph,
    ids::{RunId, Seq, SessionId},
    journal::{
        Head, JournalStore, Summary,
        dedup::read_entries,
        entry::{Dequeued, Edited, Entry, Fact, Forked, Stopped},
        fold,
        projection::Projection,
        stored_schedule::StoredSchedule,
    },
    json::{self, Stored},
    run::RunStatus,
    state::State,
    todo::TodoStatus,
};

/// Entries read at once.
const PAGE: usize = 1_024;

/// A point in the journal of a session that can be read or forked: after a committed superstep, an acceptance, an edit or
/// a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The session.
    pub session: SessionId,
    /// Its number.
    pub seq: Seq,
    /// When it was written, in milliseconds since 1970.
    pub at: i64,
    /// The run.
    pub run: RunId,
    /// Supersteps begun in the run by then.
    pub superstep: u64,
    /// The nodes that are due. In dataflow mode, those that became due then.
    pub next: Vec<String>,
}

/// Status and state of a session as of a checkpoint.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckpointView {
    /// The status of the session.
    pub status: SessionStatus,
    /// The state as of the last commit at or before the checkpoint, as JSON.
    pub state: Value,
}

impl Session {
    pub(super) fn store(&self) -> Result<&Arc<dyn JournalStore>, SessionError> {
        self.cell.check_exists()?;
        self.shared.store.as_ref().ok_or_else(|| SessionError::CannotResume { session: self.id().clone() })
    }

    /// Returns the end of the journal, the summary and the sizes of the session.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`]; [`SessionError::CannotResume`] without a store.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
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
    /// # let session = runtime.session("s-1")?;
    /// session.run(&graph, Count::update()).await?;
    /// let head = session.head().await?;
    /// assert_eq!((head.summary.graph.as_str(), head.summary.status.as_str()), ("count", "completed"));
    /// # Ok(()) }
    /// ```
    pub async fn head(&self) -> Result<Head, SessionError> {
        let head = self.store()?.head(self.id()).await?;
        // Here and below: after a deletion, the store may return a later session of the same id.
        self.cell.check_exists()?;
        head.ok_or_else(|| SessionError::NotFound { session: self.id().clone() })
    }

    /// Returns checkpoints after the number `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotFound`]; [`SessionError::CannotResume`] without a store.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, ids::Seq, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
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
    /// let checkpoints = session.history(Seq::ZERO, 100).await?;
    /// // The acceptance of the run, and its one superstep.
    /// assert_eq!(checkpoints.len(), 2);
    /// assert_eq!(checkpoints[0].next, ["add"]);
    /// # Ok(()) }
    /// ```
    pub async fn history(&self, after: Seq, limit: usize) -> Result<Vec<Checkpoint>, SessionError> {
        let store = self.store()?;
        if store.head(self.id()).await?.is_none() {
            return Err(SessionError::NotFound { session: self.id().clone() });
        }
        let mut after = after;
        let mut found = Vec::new();
        loop {
            let records = store.read(self.id(), after, Seq(u64::MAX >> 1), PAGE).await?;
            self.cell.check_exists()?;
            for record in &records {
                let entry = Entry::decode(self.id(), record)?;
                let schedule = match &entry.fact {
                    Fact::RunAccepted(accepted) => &accepted.schedule,
                    Fact::SuperstepCommitted(committed) if committed.of.is_none() => &committed.schedule,
                    Fact::TaskCommitted(committed) if committed.task.parent().is_none() => {
                        &committed.schedule
                    }
                    Fact::StateEdited(edited) => &edited.schedule,
                    Fact::RunRolledBack(base) => &base.schedule,
                    _ => continue,
                };
                let schedule: StoredSchedule = json::read(schedule.get()).unwrap_or_default();
                found.push(Checkpoint {
                    session: self.id().clone(),
                    seq: record.seq,
                    at: entry.at,
                    run: entry.run,
                    superstep: schedule.superstep,
                    next: schedule.due.into_iter().map(|task| task.1).collect(),
                });
                if found.len() >= limit {
                    return Ok(found);
                }
            }
            match records.last() {
                Some(last) if records.len() == PAGE => after = last.seq,
                _ => return Ok(found),
            }
        }
    }

    /// Returns journal entries after the number `after` as events, oldest first, at most `limit`, and never more than 10,000. A
    /// session that does not exist yet has none.
    ///
    /// # Errors
    ///
    /// As [`history`](Session::history), but a session that never existed is not an error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State};
    /// # use agent_core::{event::EventBody, ids::Seq, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
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
    /// let events = session.events(Seq::ZERO, 100).await?;
    /// assert!(matches!(events[0].body, EventBody::RunStarted(_)));
    /// # Ok(()) }
    /// ```
    pub async fn events(&self, after: Seq, limit: usize) -> Result<Vec<crate::Event>, SessionError> {
        let entries = read_entries(&**self.store()?, self.id(), after, limit.min(10_000)).await?;
        self.cell.check_exists()?;
        Ok(entries.iter().map(|entry| crate::Event::of(self.id(), entry)).collect())
    }

    async fn projection_at(&self, seq: Seq) -> Result<Projection, SessionError> {
        let store = self.store()?;
        let head = self.head().await?;
        let nowhere = || SessionError::NoSuchCheckpoint {
            session: self.id().clone(),
            seq,
            first: head.first,
            last: head.last,
        };
        if seq > head.last || seq == Seq::ZERO {
            return Err(nowhere());
        }
        let projection = fold(&**store, self.id(), seq).await;
        self.cell.check_exists()?;
        match projection {
            Ok(Some(projection)) if projection.last == seq => Ok(projection),
            // Retention removed entries that the fold needs.
            Ok(_) | Err(crate::journal::StoreError::Corrupt { .. }) => Err(nowhere()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the status of the session as of a checkpoint.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoSuchCheckpoint`] and as [`history`](Session::history).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State};
    /// # use agent_core::{ids::Seq, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
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
    /// let first = &session.history(Seq::ZERO, 1).await?[0];
    /// assert_eq!(session.status_at(first.seq).await?.status, RunStatus::Running);
    /// # Ok(()) }
    /// ```
    pub async fn status_at(&self, seq: Seq) -> Result<SessionStatus, SessionError> {
        Ok(self.status_of(self.projection_at(seq).await?))
    }

    /// Returns the state as of a checkpoint: the last commit at or before `seq`.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoSuchCheckpoint`] and as [`history`](Session::history).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, ids::Seq, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
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
    /// let first = &session.history(Seq::ZERO, 1).await?[0];
    /// let (before, now): (Count, Count) = (session.state_at(first.seq).await?, session.state().await?);
    /// assert_eq!((before.n, now.n), (0, 1));
    /// # Ok(()) }
    /// ```
    pub async fn state_at<S: State>(&self, seq: Seq) -> Result<S, SessionError> {
        let projection = self.projection_at(seq).await?;
        Ok(compute(projection.root.state_bytes(), move || read_state::<S>(&projection.root)).await?)
    }

    /// As [`state_at`](Session::state_at), as JSON.
    ///
    /// # Errors
    ///
    /// See [`state_at`](Session::state_at), and [`SessionError::GraphNotFound`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, ids::Seq, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
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
    /// let first = &session.history(Seq::ZERO, 1).await?[0];
    /// assert_eq!(session.state_json_at(first.seq).await?["n"], 0);
    /// # Ok(()) }
    /// ```
    pub async fn state_json_at(&self, seq: Seq) -> Result<Value, SessionError> {
        let projection = self.projection_at(seq).await?;
        let graph = self.graph_to_read(&projection.graph)?;
        compute(projection.root.state_bytes(), move || graph.state_json(&projection, None)).await
    }

    /// Returns status and state as of a checkpoint. At the end of a run that has just completed they are in memory;
    /// otherwise the journal is read once.
    ///
    /// # Errors
    ///
    /// As [`state_json_at`](Session::state_json_at).
    ///
    /// # Cancel safety
    ///
    /// Only reads.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Session, SessionError, ids::Seq};
    /// # async fn example(session: &Session) -> Result<(), SessionError> {
    /// let then = session.checkpoint(Seq(12)).await?;
    /// println!("{} after {} ms: {}", then.status.status, then.status.active_ms, then.state);
    /// # Ok(()) }
    /// ```
    pub async fn checkpoint(&self, seq: Seq) -> Result<CheckpointView, SessionError> {
        if let Some((projection, state)) = self.completed_at(seq).await {
            // A state that JSON cannot express is folded from the journal.
            if let Ok(view) = self.view(projection, Some(state), self.cell.footprint()).await {
                return Ok(view);
            }
        }
        let projection = self.projection_at(seq).await?;
        let bytes = projection.root.state_bytes();
        self.view(projection, None, bytes).await
    }

    /// Returns the projection and the state of a run that completed with the entry `seq`, while they are in memory.
    async fn completed_at(&self, seq: Seq) -> Option<(Projection, Arc<dyn Any + Send + Sync>)> {
        if let Some(live) = self.cell.live()
            && live.env.writer.last() == seq
        {
            // The entry is published before the session is idle.
            self.wait_published(&live).await;
        }
        self.cell.check_exists().ok()?;
        let inner = self.cell.inner.lock();
        let idle = inner.idle.as_ref().filter(|idle| idle.projection.last == seq)?;
        Some((idle.projection.without_state(), Arc::clone(idle.state.as_ref()?)))
    }

    async fn view(
        &self,
        projection: Projection,
        state: Option<Arc<dyn Any + Send + Sync>>,
        bytes: usize,
    ) -> Result<CheckpointView, SessionError> {
        let graph = self.graph_to_read(&projection.graph)?;
        let (state, projection) =
            compute(bytes, move || graph.state_json(&projection, state).map(|state| (state, projection)))
                .await?;
        Ok(CheckpointView { status: self.status_of(projection), state })
    }

    /// Forks the session: creates a session with the entries of this one up to and including `seq`.
    ///
    /// The fork can be resumed, answered, edited or run again. Finished tasks are not repeated; queued runs stay with this
    /// session.
    ///
    /// # Errors
    ///
    /// [`SessionError::NoSuchCheckpoint`], [`SessionError::Exists`].
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the target, nothing happens. Dropped later, it completes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, RunStatus, Runtime, START, State};
    /// # use agent_core::{ids::Seq, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
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
    /// let first = &session.history(Seq::ZERO, 1).await?[0];
    /// // A new session that continues from the acceptance of the run.
    /// let fork = session.fork(first.seq, "s-1-again".parse()?).await?;
    /// fork.resume().await?;
    /// assert_eq!(fork.wait_status().await?, RunStatus::Completed);
    /// assert_eq!(fork.state::<Count>().await?.n, 1);
    /// # Ok(()) }
    /// ```
    pub async fn fork(&self, seq: Seq, target: SessionId) -> Result<Session, SessionError> {
        if let Some(live) = self.cell.live() {
            live.env.writer.wait_all_durable().await?;
        }
        let projection = self.projection_at(seq).await?;
        let fork = crate::session::Runtime(Arc::clone(&self.shared)).session_of(target);
        let source = self.clone();
        let copy = async move |locked: LockedSession| locked.copy_from(source, seq, projection).await;
        fork.lock().await.complete(copy).await
    }

    /// Applies `update` as if `node` had just returned it: it replaces a pending activation of the node, and the successors
    /// of the node become due. The session then waits to be resumed or answered.
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] while the run is running; [`SessionError::InvalidInput`] when the node is unknown or
    /// the update is refused. Nothing has changed then.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, it completes.
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
    /// session.run(&graph, Greeting::update()).await?;
    /// // Answers in the place of the node: its question is withdrawn.
    /// session.edit(&graph, "ask", Greeting::update().name("Ana")).await?;
    /// session.resume().await?;
    /// session.wait_status().await?;
    /// assert_eq!(session.state::<Greeting>().await?.name, "Ana");
    /// # Ok(()) }
    /// ```
    pub async fn edit<S: State>(
        &self,
        graph: &Graph<S>,
        node: &str,
        update: S::Update,
    ) -> Result<Seq, SessionError> {
        let instance = self.shared.instance(graph);
        self.store()?;
        let (graph, node) = (graph.clone(), node.to_owned());
        let edit = async move |locked: LockedSession| locked.edit(&graph, instance, &node, update).await;
        self.lock().await.complete(edit).await
    }
}

impl LockedSession {
    /// Copies another session up to `seq` into this one. `projection` is that session as of `seq`.
    async fn copy_from(
        &self,
        source: Session,
        seq: Seq,
        projection: Projection,
    ) -> Result<Session, SessionError> {
        let now = self.shared.clock.now_ms();
        // An executing run must not continue in two sessions.
        let status =
            if projection.status == RunStatus::Running { RunStatus::Stopped } else { projection.status };
        let mut summary = Summary::new(&*projection.graph, status.as_str(), projection.run, now)
            .with_questions(&projection.open);
        summary.labels = BTreeMap::clone(&projection.labels);
        let store = self.store()?;
        // If the process dies before the end of the fork is stored, recovery finds the copy by this status.
        let mut unfinished = summary.clone();
        (unfinished.status, unfinished.questions, unfinished.due) =
            (RunStatus::Idle.as_str().to_owned(), 0, None);
        store.copy(source.id(), self.id(), seq, unfinished).await?;
        if let Err(deleted) = source.cell.check_exists() {
            // The copy may be one of a session that was made under the same id since.
            store.delete(self.id()).await?;
            return Err(deleted);
        }
        self.cell.invalidate();
        // The fork continues with what the source continues with.
        let graph = source.cell.inner.lock().graph.clone();
        self.cell.inner.lock().graph = graph;
        let mut idle = self.idle().await?;
        let mut facts =
            vec![(projection.run, Fact::SessionForked(Forked { from: source.id().clone(), seq }))];
        let message = "it stays with the session that was forked";
        for (run, _) in &projection.queue {
            let fact = Dequeued { code: "forked".to_owned(), message: message.to_owned() };
            facts.push((*run, Fact::RunDequeued(fact)));
        }
        if projection.status == RunStatus::Running {
            let changed = projection.todos.clone().settle(TodoStatus::Cancelled, "stopped");
            facts.extend(todo_facts(changed).map(|fact| (projection.run, fact)));
            let closing = self.closing(&projection);
            facts.push((projection.run, Fact::RunStopped(Stopped { drained: false, closing })));
        }
        let stored = match idle.writer().push_each(facts.clone(), Some(summary)) {
            Ok(last) => idle.writer().wait_durable(last).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            idle.invalidate();
            return Err(error.into());
        }
        for (run, fact) in facts {
            let seq = idle.projection().last.next();
            idle.projection_mut().apply(Entry { seq, at: now, run, fact });
            if run != projection.run {
                self.cell.remove_queued(run);
            }
        }
        Ok(Session::clone(self))
    }

    async fn edit<S: State>(
        &self,
        graph: &Graph<S>,
        instance: Arc<dyn DynGraph>,
        node: &str,
        update: S::Update,
    ) -> Result<Seq, SessionError> {
        if let Some(live) = self.cell.live() {
            if live.status() != RunStatus::Paused {
                return Err(self.busy(live.run(), live.status()));
            }
            // The suspended futures hold the old state. The journal has everything they recorded.
            live.env.control.drain_for_restart();
            self.wait_removed(&live).await;
        }
        let invalid = |reason: String| SessionError::InvalidInput { graph: graph.name().to_owned(), reason };
        let mut idle = self.existing().await?;
        let projection = idle.projection();
        let schedule = restore_schedule(graph, projection)?;
        let mut state = match idle.state().and_then(|state| Arc::clone(state).downcast::<S>().ok()) {
            Some(state) => copy_state(&*state)?,
            None => read_contained::<S>(&projection.root)?,
        };
        let stored = Stored::update(&update, json::NEW).map_err(|error| error.of("the update"))?;
        state.apply(update).map_err(|error| invalid(error.to_string()))?;
        let ix = graph.0.index.get(node).copied();
        let ix =
            ix.ok_or_else(|| invalid(format!("it has no node `{}`", crate::util::shorten(node, 128))))?;
        let schedule = reschedule_after(graph, &state, schedule, ix)?;
        let fact = Fact::StateEdited(Edited {
            node: node.to_owned(),
            version: S::VERSION,
            update: stored.json,
            form: stored.form,
            schedule: encode_schedule(&schedule),
            graph: graph.name().into(),
            hash: graph.hash().into(),
        });
        let (run, now) = (projection.run, self.shared.clock.now_ms());
        let projection = idle.projection_mut();
        projection.apply(Entry { seq: projection.last.next(), at: now, run, fact: fact.clone() });
        let summary =
            Summary::new(graph.name(), projection.status.as_str(), run, now).with_questions(&projection.open);
        let writer = Arc::clone(idle.writer());
        // The next command reads the journal.
        idle.invalidate();
        let seq = writer.push_with(run, [fact], Some(summary))?;
        writer.wait_durable(seq).await?;
        self.cell.inner.lock().graph = Some(instance);
        Ok(seq)
    }
}
