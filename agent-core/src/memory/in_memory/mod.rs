//! In-memory `MemoryStore`. Contents are lost when the process exits.

#[cfg_attr(not(feature = "vector-index"), path = "no_index.rs")]
mod index;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use futures::future::BoxFuture;
use parking_lot::RwLock;

use self::index::{Index, build_if_due};
use super::{
    batch::Batching,
    search::Picker,
    store::{Item, MemoryError, MemoryStore, Namespace, Put, Search, SearchHit, check_many, check_name},
};
use crate::{
    clock::{Clock, WallClock, millis},
    model::Embedder,
};

/// In-memory store for long-term memory. Contents are lost when the process exits.
///
/// A search by meaning compares all items below its namespace. With the feature `vector-index`, a search among more than
/// 10,000 items uses an approximate index (HNSW); see `index_above`.
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
/// assert!(memory.get(&notes, "tea").await?.is_some());
/// # Ok(()) }
/// ```
pub struct InMemoryStore {
    items: Arc<RwLock<Items>>,
    embedder: Option<Batching>,
    clock: Arc<dyn Clock>,
}

/// Encoded namespace and key.
type Name = (Vec<u8>, String);

#[derive(Default)]
struct Items {
    by_name: BTreeMap<Name, StoredItem>,
    /// Items with a time to live, ordered by expiry.
    ends: BTreeSet<(i64, Name)>,
    index: Index,
}

struct StoredItem {
    item: Item,
    vector: Option<Arc<[f32]>>,
    /// Its number in the index.
    number: u64,
}

impl InMemoryStore {
    /// Creates an empty store.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, memory::InMemoryStore};
    /// let runtime = Runtime::builder().memory(InMemoryStore::new()).build();
    /// # assert_eq!(runtime.live_runs(), 0);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self { items: Arc::default(), embedder: None, clock: Arc::new(WallClock) }
    }

    /// Sets the embedder for items that are put from now on, so that they can be searched by meaning. Default:
    /// none.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{memory::InMemoryStore, model::WordEmbeddings};
    /// use std::sync::Arc;
    ///
    /// let memory = InMemoryStore::new().with_embedder(Arc::new(WordEmbeddings));
    /// # drop(memory);
    /// ```
    #[must_use]
    pub fn with_embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = Some(Batching::new(embedder));
        self
    }

    /// Sets the number of items with vectors above which searches by meaning use an approximate index. Default: 10,000.
    /// `usize::MAX`: never.
    ///
    /// Deleted, replaced and expired items are never found, and namespaces and filters are exact. A search with an offset
    /// and a limit of more than 64 together, of a namespace with fewer items, or with filters that too few of the 512
    /// nearest items match, compares all items.
    ///
    /// A separate thread builds the index, on all processors, and builds it again when more than a tenth of this number and a quarter
    /// of it have changed; until then, new items are compared one by one. It shares the vectors, and takes about 400 bytes
    /// for each item, twice that while it is built again.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{memory::InMemoryStore, model::WordEmbeddings};
    /// use std::sync::Arc;
    ///
    /// let memory = InMemoryStore::new().with_embedder(Arc::new(WordEmbeddings)).index_above(50_000);
    /// # drop(memory);
    /// ```
    #[cfg(feature = "vector-index")]
    #[must_use]
    pub fn index_above(self, items: usize) -> Self {
        self.items.write().index.set_above(items);
        self
    }

    /// Waits until no build of the index runs: after a large import, say, so that the first searches are fast.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::memory::InMemoryStore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let memory = InMemoryStore::new();
    /// memory.wait_index().await;
    /// # }
    /// ```
    #[cfg(feature = "vector-index")]
    pub async fn wait_index(&self) {
        loop {
            let Some(ended) = self.items.read().index.running_build() else { return };
            let notified = ended.notified();
            // A build that ended before `notified` was made is seen here.
            if self.items.read().index.running_build().is_none() {
                return;
            }
            notified.await;
        }
    }

    /// Sets the clock that decides when items expire. Default: [`WallClock`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{clock::ManualClock, memory::{InMemoryStore, MemoryStore, Namespace, Put}};
    /// # use serde_json::json;
    /// # use std::{sync::Arc, time::Duration};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = Arc::new(ManualClock::new(0));
    /// let store = InMemoryStore::new().with_clock(clock.clone());
    /// let place = Namespace::new(["users", "ana"])?;
    /// store.put(Put::new(place.clone(), "code", json!(123)).ttl(Duration::from_secs(60))).await?;
    /// clock.advance(Duration::from_secs(61));
    /// assert!(store.get(&place, "code").await?.is_none());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl Items {
    fn put(&mut self, put: Put, vector: Option<Vec<f32>>, now: i64) {
        self.forget_ended(now);
        let name = (put.namespace.encoded(), put.key.clone());
        let before = self.remove(&name);
        let expires_at = put.ttl.map(|ttl| now.saturating_add(millis(ttl)));
        if let Some(end) = expires_at {
            self.ends.insert((end, name.clone()));
        }
        let item = Item {
            namespace: put.namespace,
            key: put.key,
            value: put.value,
            created_at: before.map_or(now, |kept| kept.item.created_at),
            updated_at: now,
            expires_at,
        };
        let number = self.index.insert(&name, vector.is_some());
        self.by_name.insert(name, StoredItem { item, vector: vector.map(Arc::from), number });
    }

    fn remove(&mut self, name: &Name) -> Option<StoredItem> {
        let kept = self.by_name.remove(name)?;
        self.index.remove(kept.number);
        if let Some(end) = kept.item.expires_at {
            self.ends.remove(&(end, name.clone()));
        }
        Some(kept)
    }

    fn forget_ended(&mut self, now: i64) {
        while self.ends.first().is_some_and(|(end, _)| *end <= now) {
            if let Some((_, name)) = self.ends.pop_first() {
                self.remove(&name);
            }
        }
    }

    fn search(&self, search: &Search, near: Option<Vec<f32>>, now: i64) -> Vec<SearchHit> {
        if search.limit == 0 {
            return Vec::new();
        }
        let start = Bound::Included((search.namespace.encoded(), String::new()));
        let end = search
            .namespace
            .encoded_end()
            .map_or(Bound::Unbounded, |end| Bound::Excluded((end, String::new())));
        let range = (start, end);
        if let Some(near) = &near
            && let Some(found) = self.search_index(search, near, &range, now)
        {
            return found;
        }
        let mut picker = Picker::new(search, near);
        for kept in self.by_name.range(range).map(|(_, kept)| kept) {
            if ended(&kept.item, now) {
                continue;
            }
            let ControlFlow::Continue(score) = picker.score(kept.vector.as_deref()) else { continue };
            // Checked before the copy, because most candidates do not match.
            if !search.filters.iter().all(|filter| filter.matches(&kept.item.value)) {
                continue;
            }
            if picker.offer(kept.item.clone(), score).is_break() {
                break;
            }
        }
        picker.finish()
    }
}

fn ended(item: &Item, now: i64) -> bool {
    item.expires_at.is_some_and(|end| end <= now)
}

impl MemoryStore for InMemoryStore {
    fn put(&self, put: Put) -> BoxFuture<'_, Result<(), MemoryError>> {
        self.put_many(vec![put])
    }

    fn put_many(&self, puts: Vec<Put>) -> BoxFuture<'_, Result<(), MemoryError>> {
        Box::pin(async move {
            check_many(&puts)?;
            let vectors = match &self.embedder {
                Some(embedder) => embedder.embed(puts.iter().map(Put::meaning).collect()).await?,
                None => Vec::new(),
            };
            let mut vectors = vectors.into_iter();
            let now = self.clock.now_ms();
            let mut items = self.items.write();
            for put in puts {
                items.put(put, vectors.next(), now);
            }
            drop(items);
            build_if_due(&self.items);
            Ok(())
        })
    }

    fn get(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<Option<Item>, MemoryError>> {
        let name = (namespace.encoded(), key.to_owned());
        let checked = check_name(namespace, key);
        Box::pin(async move {
            checked?;
            let now = self.clock.now_ms();
            let items = self.items.read();
            let kept = items.by_name.get(&name).filter(|kept| !ended(&kept.item, now));
            Ok(kept.map(|kept| kept.item.clone()))
        })
    }

    fn delete(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<bool, MemoryError>> {
        let name = (namespace.encoded(), key.to_owned());
        let checked = check_name(namespace, key);
        Box::pin(async move {
            checked?;
            let now = self.clock.now_ms();
            let removed = self.items.write().remove(&name);
            build_if_due(&self.items);
            Ok(removed.is_some_and(|kept| !ended(&kept.item, now)))
        })
    }

    fn search(&self, search: Search) -> BoxFuture<'_, Result<Vec<SearchHit>, MemoryError>> {
        Box::pin(async move {
            search.check()?;
            let near = match (&search.near, &self.embedder) {
                (None, _) => None,
                (Some(_), None) => return Err(MemoryError::NoEmbedder),
                (Some(text), Some(embedder)) => embedder.embed_now(text.clone()).await?,
            };
            Ok(self.items.read().search(&search, near, self.clock.now_ms()))
        })
    }
}

impl Default for InMemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for InMemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemoryStore")
            .field("items", &self.items.read().by_name.len())
            .finish_non_exhaustive()
    }
}
