//! The `MemoryStore` trait: items, names, limits and errors of long-term memory.

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

use super::filter::Filter;
use crate::{
    journal::StoreError,
    json::{self, ValueError},
    model::EmbedError,
};

/// Maximum length of a key in bytes.
pub const KEY_BYTES: usize = 512;

/// Maximum size of a value in bytes, as JSON, and of a text that is embedded.
pub const VALUE_BYTES: usize = 1024 * 1024;

/// Maximum number of segments of a namespace.
pub const DEPTH: usize = 16;

/// Maximum length of a segment of a namespace in bytes.
pub const SEGMENT_BYTES: usize = 128;

/// Maximum number of items that one search returns.
pub const LIMIT: usize = 1000;

/// Maximum number of items that a search may skip.
pub const OFFSET: usize = 100_000;

/// Maximum number of filters of one search.
pub const FILTERS: usize = 32;

/// Most items that are put at once.
pub const PUTS: usize = 1000;

/// Store for JSON values under names: the long-term memory of agents.
///
/// All methods may be called from many tasks at once. A future that is dropped before it is ready may or may not
/// have taken effect, but never partially. Expired items are not returned, even if they are still stored. Every
/// store must pass [`conformance`](crate::memory::conformance).
///
/// # Examples
///
/// ```
/// use agent_core::memory::{InMemoryStore, MemoryStore, Namespace, Put, Search};
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let memory = InMemoryStore::new();
/// let notes = Namespace::new(["users", "42", "notes"])?;
/// memory.put(Put::new(notes.clone(), "tea", json!({ "likes": "green tea" }))).await?;
/// let found = memory.search(Search::new(notes)).await?;
/// assert_eq!(found[0].item.value["likes"], "green tea");
/// # Ok(()) }
/// ```
pub trait MemoryStore: Send + Sync + 'static {
    /// Puts an item, replacing the item with the same name. The creation time is kept, the expiry is not.
    ///
    /// With an embedder, the text of the item is embedded first.
    ///
    /// # Errors
    ///
    /// [`MemoryError::TooLarge`], [`MemoryError::Value`] and [`MemoryError::Illegal`] for what breaks a bound; nothing is changed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::{InMemoryStore, MemoryStore, Namespace, Put};
    /// use serde_json::json;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let memory = InMemoryStore::new();
    /// let notes = Namespace::new(["users", "42", "notes"])?;
    /// memory.put(Put::new(notes.clone(), "tea", json!({ "likes": "green tea" }))).await?;
    ///
    /// # Ok(()) }
    /// ```
    fn put(&self, put: Put) -> BoxFuture<'_, Result<(), MemoryError>>;

    /// Puts several items, in their order; a later one replaces an earlier one of the same name.
    ///
    /// At most [`PUTS`]. With an embedder, their texts are embedded together. All items are checked before the first
    /// is put. The stores of this crate put all or none; the default puts one after another and may leave a part when
    /// the store fails.
    ///
    /// # Errors
    ///
    /// As [`put`](MemoryStore::put).
    ///
    /// # Examples
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use agent_core::memory::{InMemoryStore, MemoryStore, Namespace, Put};
    /// use serde_json::json;
    ///
    /// let memory = InMemoryStore::new();
    /// let notes = Namespace::new(["users", "42", "notes"])?;
    /// let puts = ["tea", "coffee"].map(|drink| Put::new(notes.clone(), drink, json!({ "likes": drink })));
    /// memory.put_many(puts.into()).await?;
    /// assert!(memory.get(&notes, "coffee").await?.is_some());
    /// # Ok::<_, agent_core::memory::MemoryError>(())
    /// # }).unwrap();
    /// ```
    fn put_many(&self, puts: Vec<Put>) -> BoxFuture<'_, Result<(), MemoryError>> {
        Box::pin(async move {
            check_many(&puts)?;
            for put in puts {
                self.put(put).await?;
            }
            Ok(())
        })
    }

    /// Returns the item with this name.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::{InMemoryStore, MemoryStore, Namespace, Put};
    /// use serde_json::json;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let memory = InMemoryStore::new();
    /// let notes = Namespace::new(["users", "42", "notes"])?;
    /// memory.put(Put::new(notes.clone(), "tea", json!({ "likes": "green tea" }))).await?;
    /// let item = memory.get(&notes, "tea").await?;
    /// assert!(item.is_some());
    /// # Ok(()) }
    /// ```
    fn get(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<Option<Item>, MemoryError>>;

    /// Deletes an item. Returns `false` if there was none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::{InMemoryStore, MemoryStore, Namespace, Put};
    /// use serde_json::json;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let memory = InMemoryStore::new();
    /// let notes = Namespace::new(["users", "42", "notes"])?;
    /// memory.put(Put::new(notes.clone(), "tea", json!({ "likes": "green tea" }))).await?;
    /// assert!(memory.delete(&notes, "tea").await?);
    /// # Ok(()) }
    /// ```
    fn delete(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<bool, MemoryError>>;

    /// Returns the items in a namespace and below it that match all filters.
    ///
    /// Without a query text they are in the order of their names. With one, the most similar come first; items
    /// without an embedding are left out.
    ///
    /// # Errors
    ///
    /// [`MemoryError::NoEmbedder`] for a query text in a store without an embedder.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::{InMemoryStore, MemoryStore, Namespace, Put, Search};
    /// use serde_json::json;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let memory = InMemoryStore::new();
    /// let notes = Namespace::new(["users", "42", "notes"])?;
    /// memory.put(Put::new(notes.clone(), "tea", json!({ "likes": "green tea" }))).await?;
    /// let found = memory.search(Search::new(Namespace::new(["users"])?).limit(10)).await?;
    /// assert_eq!(found.len(), 1);
    /// # Ok(()) }
    /// ```
    fn search(&self, search: Search) -> BoxFuture<'_, Result<Vec<SearchHit>, MemoryError>>;
}

/// A value that [`RuntimeBuilder::memory`](crate::session::RuntimeBuilder::memory) accepts: a [`MemoryStore`] or an `Arc`
/// of one.
pub trait IntoMemory {
    /// Converts the value into a shared store.
    fn into_memory(self) -> Arc<dyn MemoryStore>;
}

impl<S: MemoryStore> IntoMemory for S {
    fn into_memory(self) -> Arc<dyn MemoryStore> {
        Arc::new(self)
    }
}

impl<S: MemoryStore> IntoMemory for Arc<S> {
    fn into_memory(self) -> Arc<dyn MemoryStore> {
        self
    }
}

impl IntoMemory for Arc<dyn MemoryStore> {
    fn into_memory(self) -> Arc<dyn MemoryStore> {
        self
    }
}

/// Location of an item: a path of 0 to [`DEPTH`] segments, each of 1 to [`SEGMENT_BYTES`] bytes without control
/// characters. The empty path contains all others and is valid only in searches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Namespace(Vec<String>);

impl Namespace {
    /// Creates a namespace from its segments.
    ///
    /// # Errors
    ///
    /// [`MemoryError::TooLarge`] or [`MemoryError::Illegal`]; the rejected text is not repeated.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::Namespace;
    ///
    /// let notes = Namespace::new(["users", "42", "notes"])?;
    /// assert_eq!(notes.to_string(), "users / 42 / notes");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new<T: Into<String>>(segments: impl IntoIterator<Item = T>) -> Result<Self, MemoryError> {
        // One segment more than allowed is enough to detect the error.
        let segments: Vec<String> = segments.into_iter().take(DEPTH + 1).map(Into::into).collect();
        bound("the depth of a namespace", segments.len(), DEPTH)?;
        for segment in &segments {
            bound("a segment of a namespace", segment.len(), SEGMENT_BYTES)?;
            if segment.is_empty() || segment.chars().any(char::is_control) {
                let reason = "a segment of a namespace is empty or contains control characters".to_owned();
                return Err(MemoryError::Illegal { reason });
            }
        }
        Ok(Self(segments))
    }

    /// Returns the segments of the path.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::memory::Namespace;
    /// assert_eq!(Namespace::new(["users", "ana"])?.segments(), ["users", "ana"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// Encodes the path as bytes with the same order; the encoding of a namespace is a prefix of those below it. For stores.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.iter().map(|segment| segment.len() + 1).sum());
        for segment in &self.0 {
            bytes.extend_from_slice(segment.as_bytes());
            // Less than every character of a segment.
            bytes.push(0);
        }
        bytes
    }

    /// Returns the first bytes after all namespaces that begin with this one; `None` for the empty namespace. For stores.
    #[must_use]
    pub fn encoded_end(&self) -> Option<Vec<u8>> {
        let mut bytes = self.encoded();
        *bytes.last_mut()? = 1;
        Some(bytes)
    }

    /// Decodes the bytes of [`encoded`](Namespace::encoded). For stores.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], or an error of [`new`](Namespace::new).
    pub fn decoded(bytes: &[u8]) -> Result<Self, MemoryError> {
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

/// Argument of [`MemoryStore::put`].
///
/// # Examples
///
/// ```
/// use agent_core::memory::{Namespace, Put};
/// use std::time::Duration;
///
/// let put = Put::new(Namespace::new(["users", "mina"])?, "city", "Seoul".into()).ttl(Duration::from_secs(3600));
/// assert_eq!(put.key, "city");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Put {
    /// Namespace of the item; not the empty path.
    pub namespace: Namespace,
    /// Key of the item, 1 to [`KEY_BYTES`] bytes.
    pub key: String,
    /// Value, at most [`VALUE_BYTES`] bytes as JSON.
    pub value: Value,
    /// Time to live. `None`: until it is deleted.
    pub ttl: Option<Duration>,
    /// Text that is embedded. `None`: all texts in the value, one per line.
    pub text: Option<String>,
}

impl Put {
    /// Creates a put without a time to live.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::memory::{Namespace, Put};
    /// # use serde_json::json;
    /// let put = Put::new(Namespace::new(["users", "ana"])?, "tone", json!("friendly"));
    /// assert_eq!(put.key, "tone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(namespace: Namespace, key: impl Into<String>, value: Value) -> Self {
        Self { namespace, key: key.into(), value, ttl: None, text: None }
    }

    /// Sets the time to live. Default: until the item is deleted.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use agent_core::memory::{Namespace, Put};
    ///
    /// let put = Put::new(Namespace::new(["codes"])?, "42", 1234.into()).ttl(Duration::from_secs(600));
    /// assert!(put.ttl.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the text that is embedded. Default: all texts in the value, one per line.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::{Namespace, Put};
    ///
    /// let put = Put::new(Namespace::new(["notes"])?, "tea", true.into()).text("likes green tea");
    /// assert_eq!(put.text.as_deref(), Some("likes green tea"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Validates the limits and returns the value as JSON.
    pub(crate) fn checked(&self) -> Result<String, MemoryError> {
        check_name(&self.namespace, &self.key)?;
        bound("the text of an item", self.text.as_ref().map_or(0, String::len), VALUE_BYTES)?;
        json::check(&self.value).map_err(|error| error.of("the value of an item"))?;
        let json = self.value.to_string();
        bound("a value", json.len(), VALUE_BYTES)?;
        Ok(json)
    }

    /// Returns the text to embed. For stores.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::{Namespace, Put};
    /// use serde_json::json;
    ///
    /// let put = Put::new(Namespace::new(["notes"])?, "tea", json!({ "drink": "green tea", "cups": 3, "at": ["9 h"] }));
    /// assert_eq!(put.meaning(), "green tea\n9 h");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn meaning(&self) -> String {
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

/// A stored item.
///
/// # Examples
///
/// ```
/// use agent_core::memory::{InMemoryStore, MemoryStore, Namespace, Put};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (memory, users) = (InMemoryStore::new(), Namespace::new(["users"])?);
/// memory.put(Put::new(users.clone(), "city", "Seoul".into())).await?;
/// let item = memory.get(&users, "city").await?.ok_or("no such item")?;
/// assert_eq!(item.value, "Seoul");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Item {
    /// Namespace of the item.
    pub namespace: Namespace,
    /// Key of the item.
    pub key: String,
    /// Value of the item.
    pub value: Value,
    /// Time at which the name was first used, in milliseconds since 1970.
    pub created_at: i64,
    /// Time of the latest put, in milliseconds since 1970.
    pub updated_at: i64,
    /// Expiry, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

impl Item {
    /// Creates an item without times. For stores.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::{Item, Namespace};
    ///
    /// let mut item = Item::new(Namespace::new(["users"])?, "city", "Seoul".into());
    /// item.updated_at = 1_767_225_600_000;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(namespace: Namespace, key: impl Into<String>, value: Value) -> Self {
        Self { namespace, key: key.into(), value, created_at: 0, updated_at: 0, expires_at: None }
    }
}

/// Argument of [`MemoryStore::search`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Search {
    /// Namespace; items below it are included.
    pub namespace: Namespace,
    /// Conditions that must all hold, at most [`FILTERS`].
    pub filters: Vec<Filter>,
    /// Query text for a search by meaning.
    pub near: Option<String>,
    /// Maximum number of returned items, up to [`LIMIT`].
    pub limit: usize,
    /// Number of skipped items, up to [`OFFSET`].
    pub offset: usize,
}

impl Search {
    /// Creates a search for all items in and below a namespace, limited to 100.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::memory::Namespace;
    /// use agent_core::memory::Search;
    ///
    /// let search = Search::new(Namespace::new(["users"])?);
    /// assert!(search.filters.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(namespace: Namespace) -> Self {
        Self { namespace, filters: Vec::new(), near: None, limit: 100, offset: 0 }
    }

    /// Adds a condition. Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::{InMemoryStore, MemoryStore, Namespace, Put, Search, Filter, Test};
    /// use serde_json::json;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let memory = InMemoryStore::new();
    /// let notes = Namespace::new(["users", "42", "notes"])?;
    /// memory.put(Put::new(notes.clone(), "tea", json!({ "likes": "green tea" }))).await?;
    /// let tea = Filter::new("likes", Test::Eq(json!("green tea")));
    /// assert_eq!(memory.search(Search::new(notes).filter(tea)).await?.len(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Searches by meaning. Default: all items in the order of their names.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::memory::{Namespace, Search};
    ///
    /// let search = Search::new(Namespace::new(["notes"])?).near("hot drinks").limit(5);
    /// assert_eq!(search.limit, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn near(mut self, text: impl Into<String>) -> Self {
        self.near = Some(text.into());
        self
    }

    /// Limits the number of returned items. Default: 100.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::memory::Namespace;
    /// use agent_core::memory::Search;
    ///
    /// assert_eq!(Search::new(Namespace::new(["users"])?).limit(5).limit, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Skips items. Default: 0.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::memory::Namespace;
    /// use agent_core::memory::Search;
    ///
    /// assert_eq!(Search::new(Namespace::new(["users"])?).offset(10).offset, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn offset(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// Checks the limits. For stores.
    ///
    /// # Errors
    ///
    /// [`MemoryError::TooLarge`].
    pub fn check(&self) -> Result<(), MemoryError> {
        bound("the limit of a search", self.limit, LIMIT)?;
        bound("the offset of a search", self.offset, OFFSET)?;
        bound("the number of filters of a search", self.filters.len(), FILTERS)?;
        bound("the text of a search", self.near.as_ref().map_or(0, String::len), VALUE_BYTES)
    }
}

/// A search result.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SearchHit {
    /// The item.
    pub item: Item,
    /// Similarity of the item and the query text, −1 to 1 (cosine). `None`: no query text was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f32>,
}

/// Error of a long-term memory.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The request exceeds a limit.
    #[error("{what} is limited to {limit}, but is {size}")]
    TooLarge {
        /// Name of the limited quantity.
        what: &'static str,
        /// The given size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A value cannot be stored: it nests too deep, say.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The request is invalid.
    #[error("invalid memory request: {reason}")]
    Illegal {
        /// The violated rule.
        reason: String,
    },
    /// A query text was given, but the store has no embedder.
    #[error("the memory has no embedder; search by filter, or configure an embedder")]
    NoEmbedder,
    /// The embedder failed.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The underlying store failed.
    #[error("the store of the memory failed")]
    Store(#[from] StoreError),
}

/// Checks items that are put together, and returns their values as JSON.
///
/// # Errors
///
/// As [`MemoryStore::put`].
pub fn check_many(puts: &[Put]) -> Result<Vec<String>, MemoryError> {
    bound("the number of items put at once", puts.len(), PUTS)?;
    puts.iter().map(Put::checked).collect()
}

/// Checks the name of an item.
///
/// # Errors
///
/// [`MemoryError::TooLarge`]; [`MemoryError::Illegal`].
pub fn check_name(namespace: &Namespace, key: &str) -> Result<(), MemoryError> {
    bound("a key", key.len(), KEY_BYTES)?;
    // Some of SQLite's functions stop at a zero character.
    if key.is_empty() || key.contains('\0') || namespace.0.is_empty() {
        let reason = "an item needs a namespace with at least one segment and a key without zero characters";
        return Err(MemoryError::Illegal { reason: reason.to_owned() });
    }
    Ok(())
}

fn bound(what: &'static str, size: usize, limit: usize) -> Result<(), MemoryError> {
    if size > limit { Err(MemoryError::TooLarge { what, size, limit }) } else { Ok(()) }
}
