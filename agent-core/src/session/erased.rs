//! Where the type of the state ends: a graph by its name, JSON in and out.

use std::{any::Any, sync::Arc};

use futures::future::BoxFuture;
use serde_json::{Value, value::to_raw_value};

use super::{
    Run, RunOptions, Session, SessionError,
    launch::{self, Waits},
};
use crate::{
    engine::{Limits, RunError, closing_update, read_state},
    graph::{Graph, Outline},
    ids::RunId,
    journal::{
        entry::{Closing, Queued, Raw},
        image::Image,
    },
    state::{Input, State},
};

/// A graph whose state's type is not known to the caller.
pub(crate) trait DynGraph: Send + Sync {
    /// Whether it is the graph with this hash.
    fn is(&self, hash: &str) -> bool;
    fn mermaid(&self) -> String;
    fn dot(&self) -> String;
    fn outline(&self) -> Outline;
    fn start<'a>(
        &'a self,
        session: &'a Session,
        update: Value,
        options: RunOptions,
        waits: Waits,
    ) -> BoxFuture<'a, Result<Run, SessionError>>;
    fn resume<'a>(
        &'a self,
        session: &'a Session,
        limits: Option<Limits>,
    ) -> BoxFuture<'a, Result<Run, SessionError>>;
    /// As `resume`, with the door held.
    fn resume_held<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, Result<Run, SessionError>>;
    /// Begins a run that waited in line, with the door held.
    fn start_queued<'a>(
        &'a self,
        session: &'a Session,
        run: RunId,
        queued: Queued,
    ) -> BoxFuture<'a, Result<Run, SessionError>>;
    /// Whether what is pending in `image` exists in this graph.
    fn check(&self, image: &Image) -> Result<(), SessionError>;
    fn state_json(
        &self,
        image: &Image,
        state: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Result<Value, SessionError>;
    /// The update that closes a run that is stopped while it is not in memory.
    fn closing(&self, image: &Image) -> Option<Closing>;
    /// The folded state as it is stored, with its version.
    fn stored_state(&self, image: &Image) -> Result<(u32, Raw), SessionError>;
}

pub(crate) struct Registered<S: State>(pub(crate) Graph<S>);

impl<S: State> DynGraph for Registered<S> {
    fn is(&self, hash: &str) -> bool {
        self.0.hash() == hash
    }

    fn mermaid(&self) -> String {
        self.0.to_mermaid()
    }

    fn dot(&self) -> String {
        self.0.to_dot()
    }

    fn outline(&self) -> Outline {
        self.0.outline()
    }

    fn start<'a>(
        &'a self,
        session: &'a Session,
        update: Value,
        options: RunOptions,
        waits: Waits,
    ) -> BoxFuture<'a, Result<Run, SessionError>> {
        Box::pin(async move {
            let update: S::Update = serde_json::from_value(update).map_err(|error| {
                SessionError::InvalidInput { graph: self.0.name().to_owned(), reason: error.to_string() }
            })?;
            session.accept(&self.0, Input::Update(update), options, waits).await
        })
    }

    fn resume<'a>(
        &'a self,
        session: &'a Session,
        limits: Option<Limits>,
    ) -> BoxFuture<'a, Result<Run, SessionError>> {
        Box::pin(async move {
            let _door = session.slot.door.lock().await;
            session.take_up(&self.0, limits).await
        })
    }

    fn resume_held<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, Result<Run, SessionError>> {
        Box::pin(session.take_up_answered(&self.0))
    }

    fn start_queued<'a>(
        &'a self,
        session: &'a Session,
        run: RunId,
        queued: Queued,
    ) -> BoxFuture<'a, Result<Run, SessionError>> {
        Box::pin(session.accept_queued(&self.0, run, queued))
    }

    fn check(&self, image: &Image) -> Result<(), SessionError> {
        launch::check_graph(&self.0, image)
    }

    fn state_json(
        &self,
        image: &Image,
        state: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Result<Value, SessionError> {
        let json = match state.and_then(|state| state.downcast::<S>().ok()) {
            Some(state) => serde_json::to_value(&*state),
            None => serde_json::to_value(read_state::<S>(&image.root)?),
        };
        json.map_err(|error| RunError::StoredState { reason: error.to_string() }.into())
    }

    fn closing(&self, image: &Image) -> Option<Closing> {
        self.0.0.on_stop.as_ref()?;
        let state = read_state::<S>(&image.root).ok()?;
        let (closing, _) = closing_update(&self.0, &state, image.root.plan.as_ref()?, &image.root.tasks)?;
        Some(closing)
    }

    fn stored_state(&self, image: &Image) -> Result<(u32, Raw), SessionError> {
        let state = read_state::<S>(&image.root)?;
        let raw =
            to_raw_value(&state).map_err(|error| RunError::StoredState { reason: error.to_string() })?;
        Ok((S::VERSION, raw))
    }
}
