//! Stand-in until the graph module lands: what `#[derive(State)]` names.

use crate::state::State;

/// What a node gives back.
pub struct Outcome<S: State> {
    /// The update.
    pub update: Option<S::Update>,
}

impl<S: State> Outcome<S> {
    /// Only an update.
    pub fn update(update: S::Update) -> Self {
        Self { update: Some(update) }
    }
}

impl<S: State> std::fmt::Debug for Outcome<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcome").finish_non_exhaustive()
    }
}

/// What becomes an outcome.
pub trait IntoOutcome<S: State> {
    /// As an outcome.
    fn into_outcome(self) -> Outcome<S>;
}
