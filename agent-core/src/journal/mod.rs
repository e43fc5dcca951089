//! What happened: the append-only record of a session, and the stores that keep it.

#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
pub(crate) mod entry;
mod fold;
pub(crate) mod holes;
pub(crate) mod image;
pub mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod store;
pub(crate) mod writer;

pub(crate) use fold::fold;
pub use memory::InMemoryJournal;
#[cfg(feature = "sqlite")]
pub use sqlite::Sqlite;
pub use store::{
    Append, Epoch, Head, IntoJournal, JournalStore, Lease, OwnerId, Recent, Record, StoreError,
    StoredSnapshot, Summary,
};
pub use writer::StoreRetry;
