//! Inputs of runs: encoding for the journal, and application to the state.

use super::resume::read_contained;
use super::{Session, SessionError, cell::IdleProjection};
use crate::{
    engine::{RunError, begin, contain, schedule::Schedule},
    graph::Graph,
    journal::entry::Raw,
    json::{self, Form, Stored},
    state::{Input, State},
};
use std::{any::Any, sync::Arc};

/// An `Arc<S>` with an erased state type.
type Erased = Arc<dyn Any + Send + Sync>;

/// Input of a run, encoded for the journal before anything is changed.
pub(super) struct EncodedInput<S: State> {
    input: Input<S>,
    /// `None` without a journal.
    stored: Option<Stored>,
}

/// The journalled form of an input: a state or an update.
pub(super) struct RawInput {
    pub(super) state: Option<Raw>,
    pub(super) update: Option<Raw>,
    pub(super) form: Form,
}

impl<S: State> EncodedInput<S> {
    /// Takes an input. It must be encoded before it is journalled.
    pub(super) const fn new(input: Input<S>) -> Self {
        Self { input, stored: None }
    }

    /// Encodes the input.
    pub(super) fn encode(&mut self, graph: &Graph<S>) -> Result<(), SessionError> {
        if self.stored.is_none() {
            self.stored = Some(encode(graph, &self.input)?);
        }
        Ok(())
    }

    /// Returns the input and its journalled form.
    pub(super) fn into_parts(self) -> (Input<S>, RawInput) {
        let Some(Stored { json, form }) = self.stored else {
            return (self.input, RawInput { state: None, update: None, form: Form::default() });
        };
        let raw = match &self.input {
            Input::State(_) => RawInput { state: Some(json), update: None, form },
            Input::Update(_) => RawInput { state: None, update: Some(json), form },
        };
        (self.input, raw)
    }

    /// Returns the journalled form of the input.
    pub(super) fn into_raw(mut self, graph: &Graph<S>) -> Result<RawInput, SessionError> {
        self.encode(graph)?;
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

pub(super) fn invalid_input<S: State>(graph: &Graph<S>, reason: String) -> SessionError {
    SessionError::InvalidInput { graph: graph.name().to_owned(), reason }
}

/// Returns the state for a new run. A state that is still shared is copied.
fn own_state<S: State>(state: Erased) -> Result<S, (RunError, Erased)> {
    let state = state.downcast::<S>().map_err(|state| {
        let reason = format!("the session's state is not of type `{}`", std::any::type_name::<S>());
        (RunError::StoredState { reason }, state)
    })?;
    match Arc::try_unwrap(state) {
        Ok(state) => Ok(state),
        Err(shared) => copy_state(&*shared).map_err(|error| (error, shared as _)),
    }
}

/// Copies a state through JSON, because states need not be `Clone`.
pub(super) fn copy_state<S: State>(state: &S) -> Result<S, RunError> {
    let unreadable = |reason: String| RunError::StoredState { reason };
    let stored = contain("(state)", || Stored::new(state, json::AGAIN))?
        .map_err(|error| unreadable(error.of("the state").to_string()))?;
    stored.read().map_err(|error| unreadable(error.to_string()))
}

impl Session {
    /// Applies the input to the state and computes the first tasks. An error comes with whether `previous` is unchanged.
    pub(super) fn apply_input<S: State>(
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
        let (mut state, is_read) = match previous.state.take() {
            Some(state) => match own_state::<S>(state) {
                Ok(state) => (state, false),
                Err((error, state)) => {
                    let other = self.check_graph_name(projection, graph.name());
                    previous.state = Some(state);
                    return Err((other.unwrap_or_else(|| invalid_input(graph, error.report())), true));
                }
            },
            None => match read_contained::<S>(&projection.root) {
                Ok(state) => (state, true),
                Err(error) => {
                    let other = self.check_graph_name(projection, graph.name());
                    return Err((other.unwrap_or_else(|| error.into()), false));
                }
            },
        };
        // Restores the state if an update fails halfway. The projection still has a state that was read from it.
        let needs_undo = self.shared.store.is_none() && !is_read;
        let undo = needs_undo.then(|| contain("(state)", || Stored::new(&state, json::AGAIN)));
        let applied = match contain("(input)", || state.apply(update)) {
            Ok(Ok(())) => begin(state),
            Ok(Err(error)) => Err(invalid_input(graph, error.to_string())),
            Err(panicked) => Err(invalid_input(graph, panicked.to_string())),
        };
        applied.map_err(|error| {
            let undone = undo.and_then(Result::ok).and_then(Result::ok);
            let undone = undone.and_then(|stored| stored.read::<S>().ok());
            let kept = is_read || undone.is_some();
            previous.state = undone.map(|state| Arc::new(state) as _);
            (error, kept)
        })
    }
}
