//! What the code written by `#[derive(State)]` calls: one field of an update, set, combined and applied.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};

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

/// The names in an update's `$overwrite`.
#[doc(hidden)]
pub type Names = Vec<String>;

/// The counts in an update's `$some`.
#[doc(hidden)]
pub type Counts = BTreeMap<String, usize>;

/// Marks beside the fields of an update in JSON.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Marks {
    /// Fields that bypass their reducer.
    pub overwrite: Vec<&'static str>,
    /// Fields with a nested option that is `None` inside this number of `Some`s.
    pub some: Vec<(&'static str, usize)>,
}

impl Marks {
    /// How many keys they take.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(!self.overwrite.is_empty()) + usize::from(!self.some.is_empty())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes them behind the fields.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn write<S: SerializeStruct>(self, mut fields: S) -> Result<S::Ok, S::Error> {
        if !self.overwrite.is_empty() {
            fields.serialize_field("$overwrite", &self.overwrite)?;
        }
        if !self.some.is_empty() {
            fields.serialize_field("$some", &Somes(&self.some))?;
        }
        fields.end()
    }
}

struct Somes<'a>(&'a [(&'static str, usize)]);

impl Serialize for Somes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// The value of a field of an update, however it is applied.
#[doc(hidden)]
pub const fn value<T>(write: &Write<T>) -> &T {
    match write {
        Write::Reduce(value) | Write::Overwrite(value) => value,
    }
}

/// Makes what a field is given an overwrite. `false`: it is given nothing.
#[doc(hidden)]
pub fn overwrite<T>(slot: &mut Option<Write<T>>) -> bool {
    match slot.take() {
        Some(Write::Reduce(value) | Write::Overwrite(value)) => {
            *slot = Some(Write::Overwrite(value));
            true
        }
        None => false,
    }
}

/// A field of an update, for a copy if its type is `Clone`: the method of this type wins over that of
/// [`CopyNothing`].
#[doc(hidden)]
#[derive(Debug)]
pub struct Copy<'a, T>(pub &'a T);

/// Copies a field.
#[doc(hidden)]
pub trait CopyByClone {
    /// The type of the field.
    type Field;
    /// Returns a copy.
    fn copied(&self) -> Option<Self::Field>;
}

impl<T: Clone> CopyByClone for &Copy<'_, T> {
    type Field = T;
    fn copied(&self) -> Option<T> {
        Some(self.0.clone())
    }
}

/// Copies a field that is not set.
#[doc(hidden)]
pub trait CopyNothing {
    /// The type of the field.
    type Field;
    /// Returns `None` if the field is set.
    fn copied(&self) -> Option<Self::Field>;
}

impl<T> CopyNothing for Copy<'_, Option<T>> {
    type Field = Option<T>;
    fn copied(&self) -> Option<Option<T>> {
        self.0.is_none().then_some(None)
    }
}

/// Error of an update with a mark of a field that it does not set.
#[doc(hidden)]
pub fn unset<E: de::Error>(key: &str, name: &str) -> E {
    let name = crate::util::shorten(name, 64);
    E::custom(format_args!("`{key}` names `{name}`, which is no field of this kind that the update sets"))
}
