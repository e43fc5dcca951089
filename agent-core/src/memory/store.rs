//! What a long-term store must promise, and the items, names and bounds it deals in.

use std::{fmt, time::Duration};

use futures::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use super::filter::Filter;
use crate::journal::StoreError;

/// Longest key in bytes.
pub const KEY_BYTES: usize = 512;

/// Largest value in bytes, as JSON; also the longest text that is embedded.
pub const VALUE_BYTES: usize = 1024 * 1024;

/// Most segments of a namespace.
pub const DEPTH: usize = 16;

/// Longest segment of a namespace in bytes.
pub const SEGMENT_BYTES: usize = 128;

/// Most items one search gives.
pub const LIMIT: usize = 1000;

/// Most items a search may skip.
pub const OFFSET: usize = 100_000;

/// Most filters of one search.
pub const FILTERS: usize = 32;

/// Keeps JSON values under names, for as long as they are wanted.
///
/// All methods may be called from many tasks at once. A future that is dropped before it is ready may or may
/// not have taken effect, but never in part. An item whose time ran out is not seen any more, whether or not
/// its bytes are still there. Every store must pass [`conformance`](crate::memory::conformance).
pub trait MemoryStore: Send + Sync + 'static {
    /// Puts an item, replacing what was under the same name (the time of its making stays, its end does not).
    ///
    /// With an embedder, the item's text is embedded first.
    ///
    /// # Errors
    ///
    /// [`MemoryError::TooLarge`] and [`MemoryError::Illegal`] for what breaks a bound; nothing is changed then.
    fn put(&self, put: Put) -> BoxFuture<'_, Result<(), MemoryError>>;

    /// The item under a name.
    fn get(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<Option<Item>, MemoryError>>;

    /// Removes an item. `false`: there was none.
    fn delete(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<bool, MemoryError>>;

    /// Items below a namespace that meet all filters: in the order of their names, or, with a text to look
    /// for, the nearest in meaning first (items without an embedding are not among them).
    ///
    /// # Errors
    ///
    /// [`MemoryError::NoEmbedder`] when a text is looked for in a store without one.
    fn search(&self, search: Search) -> BoxFuture<'_, Result<Vec<Found>, MemoryError>>;
}

/// Turns texts into vectors, so that texts of like meaning are near each other.
pub trait Embedder: Send + Sync + fmt::Debug + 'static {
    /// One vector of [`dimensions`](Embedder::dimensions) numbers for each text, in their order.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Embedder`], without secrets.
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, MemoryError>>;

    /// Length of its vectors. Vectors of another length in a store (of an earlier embedder) are left out of
    /// searches.
    fn dimensions(&self) -> usize;
}

/// Where an item belongs: a path of 0 to [`DEPTH`] segments, each of 1 to [`SEGMENT_BYTES`] bytes without
/// control characters. The empty path is above all others and only good for searching.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Namespace(Vec<String>);

impl Namespace {
    /// The namespace with these segments.
    ///
    /// # Errors
    ///
    /// [`MemoryError::TooLarge`] or [`MemoryError::Illegal`]; the hostile text is not repeated.
    pub fn new<T: Into<String>>(segments: impl IntoIterator<Item = T>) -> Result<Self, MemoryError> {
        // One more than is legal is enough to know that it is too many.
        let segments: Vec<String> = segments.into_iter().take(DEPTH + 1).map(Into::into).collect();
        bound("a namespace's depth", segments.len(), DEPTH)?;
        for segment in &segments {
            bound("a namespace's segment", segment.len(), SEGMENT_BYTES)?;
            if segment.is_empty() || segment.chars().any(char::is_control) {
                let reason = "a namespace's segment is empty or has control characters".to_owned();
                return Err(MemoryError::Illegal { reason });
            }
        }
        Ok(Self(segments))
    }

    /// The path.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The path as bytes that sort like it; those of a namespace below begin with those of the one above.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.iter().map(|segment| segment.len() + 1).sum());
        for segment in &self.0 {
            bytes.extend_from_slice(segment.as_bytes());
            // Below every character of a segment.
            bytes.push(0);
        }
        bytes
    }

    /// The first bytes behind all namespaces that begin with this one. `None`: this one is above all.
    pub(super) fn encoded_end(&self) -> Option<Vec<u8>> {
        let mut bytes = self.encoded();
        *bytes.last_mut()? = 1;
        Some(bytes)
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn decoded(bytes: &[u8]) -> Result<Self, MemoryError> {
        let damaged = || StoreError::Damaged { reason: "an item has an illegal namespace".to_owned() };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
        let text = text.strip_suffix('\0').ok_or_else(damaged)?;
        Self::new(text.split('\0'))
    }
}

impl<'de> Deserialize<'de> for Namespace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<String>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" / "))
    }
}

/// What [`MemoryStore::put`] is asked to do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Put {
    /// Where it belongs; not the empty path.
    pub namespace: Namespace,
    /// Its name there, 1 to [`KEY_BYTES`] bytes.
    pub key: String,
    /// What is kept, at most [`VALUE_BYTES`] as JSON.
    pub value: Value,
    /// How long it is kept. `None`: until it is deleted.
    pub ttl: Option<Duration>,
    /// The text that stands for its meaning. `None`: all texts in the value, one a line.
    pub text: Option<String>,
}

impl Put {
    /// An item that is kept until it is deleted.
    #[must_use]
    pub fn new(namespace: Namespace, key: impl Into<String>, value: Value) -> Self {
        Self { namespace, key: key.into(), value, ttl: None, text: None }
    }

    /// How long it is kept. Default: until it is deleted.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The text that stands for its meaning. Default: all texts in the value, one a line.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// The value as JSON, when the item breaks no bound.
    pub(super) fn checked(&self) -> Result<String, MemoryError> {
        check_name(&self.namespace, &self.key)?;
        bound("the text of an item", self.text.as_ref().map_or(0, String::len), VALUE_BYTES)?;
        let json = self.value.to_string();
        bound("a value", json.len(), VALUE_BYTES)?;
        Ok(json)
    }

    /// The text to embed.
    pub(super) fn meaning(&self) -> String {
        fn collect<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
            match value {
                Value::String(text) => texts.push(text),
                Value::Array(values) => values.iter().for_each(|value| collect(value, texts)),
                Value::Object(fields) => fields.values().for_each(|value| collect(value, texts)),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        self.text.clone().unwrap_or_else(|| {
            let mut texts = Vec::new();
            collect(&self.value, &mut texts);
            texts.join("\n")
        })
    }
}

/// An item as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Item {
    /// Where it belongs.
    pub namespace: Namespace,
    /// Its name there.
    pub key: String,
    /// What is kept.
    pub value: Value,
    /// When the name was first used, in milliseconds since 1970.
    pub created_at: i64,
    /// When it was put, in milliseconds since 1970.
    pub updated_at: i64,
    /// When its time runs out, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// What [`MemoryStore::search`] looks for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Search {
    /// Only items of this namespace and those below it.
    pub namespace: Namespace,
    /// Conditions that must all hold, at most [`FILTERS`].
    pub filters: Vec<Filter>,
    /// A text whose meaning is looked for.
    pub near: Option<String>,
    /// How many items are given at most, up to [`LIMIT`].
    pub limit: usize,
    /// How many items are skipped, up to [`OFFSET`].
    pub offset: usize,
}

impl Search {
    /// All items below a namespace, the first 100.
    #[must_use]
    pub fn new(namespace: Namespace) -> Self {
        Self { namespace, filters: Vec::new(), near: None, limit: 100, offset: 0 }
    }

    /// One more condition. Default: none.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Looks for a meaning. Default: all, in the order of their names.
    #[must_use]
    pub fn near(mut self, text: impl Into<String>) -> Self {
        self.near = Some(text.into());
        self
    }

    /// How many items are given at most. Default: 100.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// How many items are skipped. Default: 0.
    #[must_use]
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    pub(super) fn check(&self) -> Result<(), MemoryError> {
        bound("the limit of a search", self.limit, LIMIT)?;
        bound("the offset of a search", self.offset, OFFSET)?;
        bound("the number of filters of a search", self.filters.len(), FILTERS)?;
        bound("the text of a search", self.near.as_ref().map_or(0, String::len), VALUE_BYTES)
    }
}

/// An item that a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Found {
    /// The item.
    pub item: Item,
    /// How near its meaning is, −1 to 1 (the cosine). `None`: no meaning was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// What a long-term store answers when it cannot do what it is asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The request breaks a bound.
    #[error("{what} is at most {limit}, this one is {size}")]
    TooLarge {
        /// What is bounded.
        what: &'static str,
        /// What was given.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The request breaks a rule.
    #[error("the memory refuses the request: {reason}")]
    Illegal {
        /// Which rule.
        reason: String,
    },
    /// A meaning was looked for in a store without an embedder.
    #[error("this memory has no embedder; search by filter, or give it one")]
    NoEmbedder,
    /// The embedder failed.
    #[error("the embedder failed: {reason}")]
    Embedder {
        /// Why, without secrets.
        reason: String,
    },
    /// The model behind the embedder failed.
    #[error("the embedding model failed")]
    Model(#[from] crate::model::ModelError),
    /// What keeps the items failed.
    #[error("the memory's store failed")]
    Store(#[from] StoreError),
}

pub(super) fn check_name(namespace: &Namespace, key: &str) -> Result<(), MemoryError> {
    bound("a key", key.len(), KEY_BYTES)?;
    // A zero ends a text for some of SQLite's functions.
    if key.is_empty() || key.contains('\0') || namespace.0.is_empty() {
        let reason = "an item has a namespace of one segment or more, and a key without zero characters";
        return Err(MemoryError::Illegal { reason: reason.to_owned() });
    }
    Ok(())
}

fn bound(what: &'static str, size: usize, limit: usize) -> Result<(), MemoryError> {
    if size > limit { Err(MemoryError::TooLarge { what, size, limit }) } else { Ok(()) }
}
