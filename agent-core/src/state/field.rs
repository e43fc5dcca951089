//! What the code written by `#[derive(State)]` calls: one field of an update, set, combined and applied.

use serde::{Deserialize, Deserializer};

use super::{ApplyError, Write};

#[doc(hidden)]
pub use serde;
#[doc(hidden)]
pub use serde_json::Value;

/// A value for a field of type `Option<T>`: a `T`, an `Option<T>`, or a `&str` where `T` is `String`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be set on a field of type `Option<{T}>`",
    note = "pass a `{T}`, `Some(..)` or `None`"
)]
pub trait IntoOption<T> {
    /// The value of the field.
    fn into_option(self) -> Option<T>;
}

impl<T> IntoOption<T> for T {
    fn into_option(self) -> Option<T> {
        Some(self)
    }
}

impl<T> IntoOption<T> for Option<T> {
    fn into_option(self) -> Self {
        self
    }
}

impl IntoOption<String> for &str {
    fn into_option(self) -> Option<String> {
        Some(self.to_owned())
    }
}

/// What a custom reducer returns: nothing, or a `Result` with an [`ApplyError`].
#[diagnostic::on_unimplemented(
    message = "a reducer cannot return `{Self}`",
    note = "`#[state(reduce = path)]` names a `fn(&mut T, T)` or a `fn(&mut T, T) -> Result<(), ApplyError>`"
)]
pub trait Reduced {
    /// As a result.
    ///
    /// # Errors
    ///
    /// The reducer's own.
    fn reduced(self) -> Result<(), ApplyError>;
}

impl Reduced for () {
    fn reduced(self) -> Result<(), ApplyError> {
        Ok(())
    }
}

impl Reduced for Result<(), ApplyError> {
    fn reduced(self) -> Result<(), ApplyError> {
        self
    }
}

/// Reads a field that is there, so that a `null` is a value and only absence is "not set".
///
/// # Errors
///
/// Those of `T`.
#[doc(hidden)]
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Builder: combines `value` with what the builder already holds.
#[doc(hidden)]
pub fn combine<T>(slot: &mut Option<Write<T>>, value: T, reduce: impl FnOnce(&mut T, T)) {
    match slot {
        None => *slot = Some(Write::Reduce(value)),
        Some(Write::Reduce(held) | Write::Overwrite(held)) => reduce(held, value),
    }
}

/// Apply: `value` goes into the field through `reduce`, or past it.
///
/// # Errors
///
/// Those of `reduce`.
#[doc(hidden)]
pub fn write<T>(
    field: &mut T,
    value: Option<Write<T>>,
    reduce: impl FnOnce(&mut T, T) -> Result<(), ApplyError>,
) -> Result<(), ApplyError> {
    match value {
        None => Ok(()),
        Some(Write::Reduce(value)) => reduce(field, value),
        Some(Write::Overwrite(value)) => {
            *field = value;
            Ok(())
        }
    }
}
