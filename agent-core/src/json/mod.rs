//! JSON of stored values: the bounds, the checks before writing, and reading of what any version stored.
//!
//! Every value that a user, a program or a model hands to a run is written through this module, so that what is
//! stored can be read back: bounded in depth and size, without NaN and infinity, and without the keys that serde_json
//! reads as commands. Reading is more liberal than writing: older versions had no bounds.

mod check;
mod event_value;
mod form;
mod fragment;
mod marked;
mod shared;
mod sorted;
mod tree;
mod write;

pub use check::check;
pub(crate) use check::{check_within, depth, dismantle, size};
pub use event_value::EventValue;
pub(crate) use form::{Form, Stored, has_overwrite, read_stored};
pub use shared::Shared;
pub(crate) use sorted::{Sorted, sorted};
pub use tree::parse;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::error::Code;

/// Maximum nesting depth of a value that is written: 96 levels of arrays and objects.
///
/// Entries wrap a value in up to ten further levels, and serde_json refuses JSON deeper than 128 levels when it
/// reads: events stay readable for programs with the usual parser.
pub const MAX_DEPTH: usize = 96;

/// Maximum size of a value that is written, in bytes of JSON: 64 MiB.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Maximum nesting depth of stored JSON that is read. Versions without [`MAX_DEPTH`] could write such values.
pub(crate) const READ_DEPTH: usize = 1_024;

/// A value that is refused because it could not be read back after it was stored.
///
/// # Examples
///
/// ```
/// use agent_core::{error::Code, graph::Dispatch};
///
/// // A send with an input that cannot be stored fails the node that returns it, with the place in the value.
/// let dispatch = Dispatch::new("rate", &[1.0, f64::NAN]);
/// assert!(format!("{dispatch:?}").contains("`/1`"));
/// # assert_eq!(Code::ValueNotFinite.name(), "value_not_finite");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ValueError {
    /// Description of the value, for example `the update`.
    pub of: String,
    /// Place in the value, as a JSON Pointer; empty: the value itself.
    pub place: String,
    /// The reason.
    pub fault: ValueFault,
}

/// Why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ValueFault {
    /// It nests deeper than [`MAX_DEPTH`].
    TooDeep {
        /// Maximum depth.
        limit: usize,
    },
    /// It is larger than [`MAX_BYTES`].
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// Maximum size in bytes.
        limit: usize,
    },
    /// A number is NaN or infinite, which JSON cannot express.
    NotFinite,
    /// The key of a map is reserved by the JSON library.
    ReservedKey,
    /// It cannot be written as JSON (a map with keys that are not strings, or an error of its `Serialize`).
    NotJson {
        /// The reason serde gave.
        reason: String,
    },
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => f.write_str(&self.of)?,
            place => write!(f, "`{}` of {}", crate::util::shorten(place, 200), self.of)?,
        }
        match &self.fault {
            ValueFault::TooDeep { limit } => {
                write!(
                    f,
                    " is nested deeper than {limit} levels; flatten it, or store the inner part as text"
                )
            }
            ValueFault::TooLarge { bytes, limit } => {
                write!(f, " has {bytes} bytes of JSON, the maximum is {limit}; store a reference instead")
            }
            ValueFault::NotFinite => {
                f.write_str(" is NaN or infinite, which JSON cannot express; use an `Option` or another type")
            }
            ValueFault::ReservedKey => {
                f.write_str(" has a key that the JSON library reserves (`$serde_json::private::`); rename it")
            }
            ValueFault::NotJson { reason } => write!(f, " is not valid JSON: {reason}"),
        }
    }
}

impl std::error::Error for ValueError {}

impl ValueError {
    /// The stable name of the reason; none for an error of the value's own `Serialize`.
    pub(crate) const fn code(&self) -> Option<Code> {
        match self.fault {
            ValueFault::TooDeep { .. } => Some(Code::ValueTooDeep),
            ValueFault::TooLarge { .. } => Some(Code::ValueTooLarge),
            ValueFault::NotFinite => Some(Code::ValueNotFinite),
            ValueFault::ReservedKey => Some(Code::ValueReservedKey),
            ValueFault::NotJson { .. } => None,
        }
    }

    pub(crate) fn new(place: String, fault: ValueFault) -> Self {
        Self { of: "the value".to_owned(), place, fault }
    }

    /// Names the value.
    #[must_use]
    pub(crate) fn of(mut self, what: impl Into<String>) -> Self {
        self.of = what.into();
        self
    }
}

/// Bounds of what is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    depth: usize,
    bytes: usize,
}

/// For new values.
pub(crate) const NEW: Bounds = Bounds { depth: MAX_DEPTH, bytes: MAX_BYTES };
/// For values that were accepted before and are written again: they must not be refused for what they are.
pub(crate) const AGAIN: Bounds = Bounds { depth: READ_DEPTH, bytes: usize::MAX };

/// Writes a new value. Nested options are written as plain JSON has them; see [`Stored`] for typed values.
pub(crate) fn to_raw<T: Serialize + ?Sized>(value: &T) -> Result<Arc<RawValue>, ValueError> {
    Ok(Stored::new(value, NEW)?.json)
}

/// Turns a new value into a JSON tree.
pub(crate) fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, ValueError> {
    let check = write::Check::new(NEW.depth);
    let json = serde_json::to_value(check.root(value)).map_err(|error| check.fault(&error))?;
    check::check_size(&json)?;
    Ok(json)
}

/// The JSON tree of a value, for showing: what JSON cannot express is shown as `null`, an integer of 128 bits as the
/// nearest number.
pub(crate) fn shown<T: Serialize>(value: &T) -> serde_json::Result<Value> {
    serde_json::to_value(value).or_else(|_| read(&serde_json::to_string(value)?))
}

/// Reads stored JSON of any version, also deeply nested. For stores.
///
/// # Errors
///
/// As [`serde_json::from_str`].
pub fn read<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(text).or_else(|error| read_deep(text, error, |de| T::deserialize(de)))
}

/// Reads a stored entry or snapshot of any version. As text, because serde_json's reader of bytes would be compiled for every
/// type too (0.2 MB).
pub(crate) fn read_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    read(std::str::from_utf8(bytes).map_err(serde::de::Error::custom)?)
}

type Text<'a> = serde_json::Deserializer<serde_json::de::StrRead<'a>>;

/// Reads JSON without serde_json's recursion limit, after `error` of the usual parser, when its depth is the reason.
fn read_deep<T>(
    text: &str,
    error: serde_json::Error,
    deserialize: impl FnOnce(&mut Text<'_>) -> serde_json::Result<T>,
) -> serde_json::Result<T> {
    /// Levels that serde_json reads without help.
    const USUAL: usize = 127;
    match depth(text.as_bytes()) {
        ..=USUAL => Err(error),
        // Recursion is bounded by the scan: a deeper text would be a risk for the stack.
        depth if depth > READ_DEPTH => Err(serde::de::Error::custom(format_args!(
            "it is nested {depth} levels deep, at most {READ_DEPTH} can be read"
        ))),
        _ => {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            deserializer.disable_recursion_limit();
            let value = deserialize(&mut deserializer)?;
            deserializer.end()?;
            Ok(value)
        }
    }
}
