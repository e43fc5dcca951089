//! SQLite backend: one file for journals ([`JournalStore`](crate::journal::JournalStore)) and long-term memory
//! ([`MemoryStore`](crate::memory::MemoryStore)).
//!
//! One connection writes. Its thread takes all waiting appends into one transaction, so that sessions share the cost
//! of a commit, and completes each append separately. If no other append waits and the disk is fast, the caller commits
//! in place. Reader threads have their own connections and do not block the writer.

mod connection;
mod error;
mod journal;
mod memory;
mod owner_lock;
mod queries;
mod queue;
mod schema;
mod statements;
mod vacuum;
mod writer_thread;

pub use connection::{Sqlite, SqliteOptions, Synchronous};
pub use memory::SqliteMemory;
