//! What outlives a session: the long-term store that nodes and models put facts into and find them in; and what a
//! model reads of a [`conversation`].
//!
//! An item is a JSON value under a [`Namespace`] (a path such as `users / 42 / preferences`) and a key. It is
//! found again by its name, by a filter on its fields, or, when the store has an [`Embedder`], by its meaning.

#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
pub mod conversation;
mod filter;
mod in_memory;
mod search;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "static-embeddings")]
mod static_embeddings;
mod store;
mod tools;

pub use filter::{Filter, Test};
pub use in_memory::InMemory;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteMemory;
#[cfg(feature = "static-embeddings")]
pub use static_embeddings::StaticEmbeddings;
pub use store::{
    DEPTH, Embedder, FILTERS, Found, Item, KEY_BYTES, LIMIT, MemoryError, MemoryStore, Namespace, OFFSET,
    Put, SEGMENT_BYTES, Search, VALUE_BYTES,
};
pub use tools::MemoryTools;
