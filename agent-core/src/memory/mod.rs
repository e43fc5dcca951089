//! Long-term memory that outlives a session, and the part of a [`conversation`] that a model reads.
//!
//! An item is a JSON value under a [`Namespace`] (a path such as `users / 42 / preferences`) and a key. It is found
//! by its name, by a filter on its fields, or, if the store has an [`Embedder`], by its meaning.

pub(crate) mod batch;
#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
pub mod conversation;
mod filter;
mod in_memory;
mod results;
pub(crate) mod search;
#[cfg(feature = "static-embeddings")]
mod static_embeddings;
pub(crate) mod store;
mod tools;

pub use filter::{Filter, Test};
pub use in_memory::InMemory;
pub(crate) use results::keep_result;
pub use results::{ReadResult, ReadResultArgs};
#[cfg(feature = "static-embeddings")]
pub use static_embeddings::StaticEmbeddings;
pub use store::{
    DEPTH, Embedder, FILTERS, Found, Item, KEY_BYTES, LIMIT, MemoryError, MemoryStore, Namespace, OFFSET,
    PUTS, Put, SEGMENT_BYTES, Search, VALUE_BYTES,
};
pub use tools::MemoryTools;
