//! Long-term memory: JSON values that outlive a session.
//!
//! An item is a JSON value under a [`Namespace`] (a path such as `users / 42 / preferences`) and a key. It is found
//! by its name, by a filter on its fields, or, if the store has an [`Embedder`](crate::model::Embedder), by its meaning.

pub mod backend;
pub(crate) mod batch;
#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
mod filter;
mod in_memory;
pub(crate) mod search;
pub(crate) mod store;
mod transfer;

pub use filter::{Filter, Test};
pub use in_memory::InMemoryStore;
pub use store::{
    DEPTH, FILTERS, IntoMemory, Item, KEY_BYTES, LIMIT, MemoryError, MemoryStore, Namespace, OFFSET, PUTS,
    Put, SEGMENT_BYTES, Search, SearchHit, VALUE_BYTES,
};
pub use transfer::transfer;
