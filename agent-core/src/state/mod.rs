//! State of a graph, updates, and reducers.

#[doc(hidden)]
pub mod field;
mod reducer;

pub use crate::json::Shared;
pub use field::{IntoOption, Reduced};
pub use reducer::{Keyed, Merge, Write, reduce};

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// State of a run. A node reads the state and returns an [`Update`](State::Update), never a state.
///
/// Write `#[derive(State)]` and get the update type, its builder and a reducer for each field, or implement
/// the trait by hand. Stored data is the JSON of the state and of its updates; reading it can construct nothing else.
///
/// # Examples
///
/// ```
/// use agent_core::state::{ApplyError, State};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Count { n: u64 }
///
/// impl State for Count {
///     type Update = u64;
///     fn apply(&mut self, update: u64) -> Result<(), ApplyError> {
///         self.n = self.n.checked_add(update).ok_or_else(|| ApplyError::new("n", "overflow"))?;
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a graph state",
    note = "derive it with `#[derive(State)]`, or write `type Update` and `apply` by hand"
)]
pub trait State: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Changes made by one node. The `Default` changes nothing.
    type Update: Default + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Version of the stored form. Raise it when stored JSON of older states no longer reads, and write
    /// [`migrate`](State::migrate). Default: 1.
    const VERSION: u32 = 1;

    /// Whether the JSON of an update names its overwritten fields beside them. Written by the derive.
    #[doc(hidden)]
    const MARKS_OVERWRITES: bool = false;

    /// Merges one update. Called in task order, once for each finished task, at the end of a superstep.
    ///
    /// # Errors
    ///
    /// Whatever makes the update illegal; the superstep then fails as a whole and the journal keeps the
    /// state from before it.
    fn apply(&mut self, update: Self::Update) -> Result<(), ApplyError>;

    /// Names the fields that `update` sets in a way that admits one writer a superstep.
    ///
    /// Two tasks of one superstep that claim the same field are an error that names the field and both nodes.
    /// The default claims nothing.
    #[expect(unused_variables, reason = "the names are for those who write their own")]
    fn claims(update: &Self::Update, claim: &mut dyn FnMut(&'static str)) {}

    /// Copies an update, for a subscriber in this process that wants it [typed](crate::event::UpdateForm::Typed) and
    /// not as JSON. Called only while there is such a subscriber.
    ///
    /// The default copies nothing, and the subscriber gets JSON. The derive copies updates of which all fields that
    /// are set are `Clone`.
    #[expect(unused_variables, reason = "the names are for those who write their own")]
    fn copy_update(update: &Self::Update) -> Option<Self::Update> {
        None
    }

    /// Turns a stored state of version `from` into the present form.
    ///
    /// # Errors
    ///
    /// The default refuses every older version; a run on such a session then fails with the two versions named.
    #[expect(unused_variables, reason = "the names are for those who write their own")]
    fn migrate(from: u32, stored: Value) -> Result<Value, ApplyError> {
        Err(ApplyError::new(
            "(state)",
            format!("stored as version {from}, and no `migrate` turns it into {}", Self::VERSION),
        ))
    }

    /// As [`migrate`](State::migrate), for a stored update. The default refuses.
    ///
    /// # Errors
    ///
    /// See [`migrate`](State::migrate).
    fn migrate_update(from: u32, stored: Value) -> Result<Value, ApplyError> {
        Self::migrate(from, stored)
    }
}

/// An update that could not be applied: the field and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {reason}")]
pub struct ApplyError {
    /// The field that refused.
    pub field: String,
    /// Why, in plain words, without the data.
    pub reason: String,
}

impl ApplyError {
    /// Creates an error of `field` with a `reason`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::state::ApplyError;
    ///
    /// assert_eq!(ApplyError::new("n", "overflow").to_string(), "field `n`: overflow");
    /// ```
    #[must_use]
    pub fn new(field: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { field: field.into(), reason: reason.to_string() }
    }
}

/// Input of a run: a complete state, or an update of the state of the session.
///
/// # Examples
///
/// ```
/// use agent_core::{Input, State};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(State, Default, Serialize, Deserialize)]
/// struct Count { #[state(add)] n: u32 }
///
/// let replaced: Input<Count> = Count { n: 1 }.into();
/// let updated: Input<Count> = Count::update().n(1u32).into();
/// assert!(matches!((replaced, updated), (Input::State(_), Input::Update(_))));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<S: State> {
    /// The state is replaced.
    State(S),
    /// The update is applied to the session's state, or to `S::default()` in a new session.
    Update(S::Update),
}

impl<S: State> Default for Input<S> {
    /// Nothing new: the run starts with the state as it is.
    fn default() -> Self {
        Self::Update(S::Update::default())
    }
}
