//! Type erasure of graphs: graphs by name, with JSON input and output.

use std::{
    any::{Any, TypeId},
    sync::Arc,
};

use futures::future::BoxFuture;
use serde_json::Value;

use super::{
    Run, RunOptions, Session, SessionError,
    lock::{IdleSession, LockedSession},
    resume::{ReadRun, read_run},
    start::{AckMode, NewRun},
};
use crate::{
    agent::AgentState,
    engine::{RunError, closing_update, contain, read_state},
    graph::{CodeIdentity, Graph, GraphDescription},
    ids::RunId,
    journal::{
        entry::{Closing, Queued, Resumed},
        projection::Projection,
    },
    json::{self, Stored},
    state::{Input, State},
};

/// A graph with an erased state type.
pub(crate) trait DynGraph: Send + Sync {
    fn name(&self) -> &str;
    fn identity(&self) -> Identity<'_>;
    /// Returns whether the graph is an agent, which can be steered.
    fn is_agent(&self) -> bool;
    /// Returns the maximum number of takeovers without progress, if the graph has its own.
    fn max_takeovers(&self) -> Option<u32>;
    fn mermaid(&self) -> String;
    fn dot(&self) -> String;
    fn description(&self) -> GraphDescription;
    fn start<'a>(
        &'a self,
        session: &'a Session,
        update: Value,
        options: RunOptions,
        ack: AckMode,
    ) -> BoxFuture<'a, Result<Run, SessionError>>;
    /// Starts a queued run.
    fn start_queued<'a>(
        self: Arc<Self>,
        session: &'a LockedSession,
        run: RunId,
        queued: Queued,
    ) -> BoxFuture<'a, Result<Run, SessionError>>;
    /// Reads the unfinished run of `projection`. Everything that can be refused is refused here, before anything is stored.
    fn read_run(self: Arc<Self>, projection: &Projection) -> Result<Box<dyn UnfinishedRun>, SessionError>;
    fn state_json(
        &self,
        projection: &Projection,
        state: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Result<Value, SessionError>;
    /// Returns the closing update of a run that is stopped while it is not in memory.
    fn closing(&self, projection: &Projection) -> Option<Closing>;
    /// Returns the stored form of the folded state, with its version.
    fn stored_state(&self, projection: &Projection) -> Result<(u32, Stored), SessionError>;
}

/// An unfinished run that was read from the journal.
pub(crate) trait UnfinishedRun: Send + Sync {
    /// Resumes the run. `idle` is the session that it was read from.
    fn resume<'a>(
        self: Box<Self>,
        session: &'a LockedSession,
        resumed: Resumed,
        idle: IdleSession<'a>,
    ) -> BoxFuture<'a, Result<Run, SessionError>>;
}

/// Identity of a graph's behaviour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    address: usize,
    hash: &'a str,
    code: &'a CodeIdentity,
}

impl<'a> Identity<'a> {
    pub(crate) fn of<S: State>(graph: &'a Graph<S>) -> Self {
        let address = Arc::as_ptr(&graph.0).cast::<()>() as usize;
        Self { address, hash: graph.hash(), code: &graph.0.code }
    }

    /// Returns whether both are the same graph, or have the same shape and code without captured data.
    pub(crate) fn is(&self, other: &Identity<'_>) -> bool {
        self.address == other.address
            || (self.code.is_known() && self.hash == other.hash && self.code == other.code)
    }

    /// Returns whether all graphs built by the same code behave alike.
    pub(crate) const fn is_known(&self) -> bool {
        self.code.is_known()
    }
}

pub(crate) struct ErasedGraph<S: State>(pub(crate) Graph<S>);

impl<S: State> DynGraph for ErasedGraph<S> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn identity(&self) -> Identity<'_> {
        Identity::of(&self.0)
    }

    fn is_agent(&self) -> bool {
        TypeId::of::<S>() == TypeId::of::<AgentState>()
    }

    fn max_takeovers(&self) -> Option<u32> {
        self.0.0.max_takeovers
    }

    fn mermaid(&self) -> String {
        self.0.to_mermaid()
    }

    fn dot(&self) -> String {
        self.0.to_dot()
    }

    fn description(&self) -> GraphDescription {
        self.0.description()
    }

    fn start<'a>(
        &'a self,
        session: &'a Session,
        update: Value,
        options: RunOptions,
        ack: AckMode,
    ) -> BoxFuture<'a, Result<Run, SessionError>> {
        Box::pin(async move {
            if let Err(error) = json::check(&update) {
                // Dropped like this, because it may be deep.
                json::dismantle(update);
                return Err(error.of("the input").into());
            }
            let update: S::Update = serde_json::from_value(update).map_err(|error| {
                SessionError::InvalidInput { graph: self.0.name().to_owned(), reason: error.to_string() }
            })?;
            session.accept(NewRun::new(&self.0, Input::Update(update), options, ack)).await
        })
    }

    fn start_queued<'a>(
        self: Arc<Self>,
        session: &'a LockedSession,
        run: RunId,
        queued: Queued,
    ) -> BoxFuture<'a, Result<Run, SessionError>> {
        let instance: Arc<dyn DynGraph> = Arc::clone(&self) as _;
        Box::pin(async move { session.start_queued(&self.0, instance, run, queued).await })
    }

    fn read_run(self: Arc<Self>, projection: &Projection) -> Result<Box<dyn UnfinishedRun>, SessionError> {
        let read = read_run(&self.0, projection)?;
        Ok(Box::new(ErasedRun { graph: self, read }))
    }

    fn state_json(
        &self,
        projection: &Projection,
        state: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Result<Value, SessionError> {
        let json = match state.and_then(|state| state.downcast::<S>().ok()) {
            Some(state) => contain("(state)", || json::shown(&*state))?,
            None => {
                let state = read_state::<S>(&projection.root)?;
                contain("(state)", || json::shown(&state))?
            }
        };
        json.map_err(|error| RunError::StoredState { reason: error.to_string() }.into())
    }

    fn closing(&self, projection: &Projection) -> Option<Closing> {
        self.0.0.on_stop.as_ref()?;
        let state = read_state::<S>(&projection.root).ok()?;
        let (closing, _) =
            closing_update(&self.0, &state, projection.root.schedule.as_ref()?, &projection.root.tasks)?;
        Some(closing)
    }

    fn stored_state(&self, projection: &Projection) -> Result<(u32, Stored), SessionError> {
        let state = read_state::<S>(&projection.root)?;
        let stored = Stored::new(&state, json::AGAIN).map_err(|error| error.of("the state"))?;
        Ok((S::VERSION, stored))
    }
}

struct ErasedRun<S: State> {
    graph: Arc<ErasedGraph<S>>,
    read: ReadRun<S>,
}

impl<S: State> UnfinishedRun for ErasedRun<S> {
    fn resume<'a>(
        self: Box<Self>,
        session: &'a LockedSession,
        resumed: Resumed,
        idle: IdleSession<'a>,
    ) -> BoxFuture<'a, Result<Run, SessionError>> {
        let Self { graph, read } = *self;
        let instance: Arc<dyn DynGraph> = Arc::clone(&graph) as _;
        Box::pin(async move { session.resume_read(&graph.0, instance, read, resumed, idle).await })
    }
}
