//! What happened: the append-only record of a session, and the stores that keep it.

pub mod store;

pub use store::{Append, Epoch, Head, JournalStore, Lease, OwnerId, Record, StoreError, StoredSnapshot, Summary};
