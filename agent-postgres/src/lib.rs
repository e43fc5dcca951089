//! PostgreSQL store for [`agent_core`]: journals, snapshots, leases and long-term memory in one database, for any number
//! of processes.
//!
//! [`Postgres::connect`] opens a pool, creates or updates the tables under an advisory lock, and returns a
//! [`JournalStore`](agent_core::journal::JournalStore). [`Postgres::memory`] is the long-term memory in the same database.
//!
//! - An append is one statement and one round trip. Appends that wait at the same time share a transaction.
//! - The epoch of the writer is compared in the statement that appends, so a process that lost its lease writes nothing.
//! - Leases use the clock of the database.
//! - Long-term memory is searched by pgvector where the database has the extension, and in the process otherwise.
//! - Rate limits and quotas of `agent-server` hold over all processes ([`SharedLimits`](agent_core::journal::SharedLimits)).
//! - A program can keep its own tables in the database ([`Postgres::query`], [`Postgres::migrate`]).
//! - No statement depends on the state of a connection, so PgBouncer in transaction mode works.
//!
//! # Examples
//!
//! ```no_run
//! use agent_core::{Runtime, secret::Secret};
//! use agent_postgres::Postgres;
//!
//! # async fn start() -> Result<(), Box<dyn std::error::Error>> {
//! let address = Secret::new("postgres://agent:password@db.internal/agents");
//! let store = Postgres::connect(&address).await?;
//! let runtime = Runtime::builder().journal(store.clone()).memory(store.memory()).build();
//! # drop(runtime);
//! # Ok(()) }
//! ```

mod acquire;
mod address;
mod append;
mod channel;
mod connection;
mod error;
mod journal;
mod limits;
mod memory;
mod migrate;
mod queries;
mod queue;
mod summary;
mod tables;
#[cfg(feature = "test-util")]
pub mod testing;
mod tls;
mod vectors;

pub use address::AddressError;
pub use connection::{Postgres, PostgresBuilder, StatementCache};
pub use error::ConnectError;
pub use memory::PostgresMemory;
pub use tables::QueryError;
/// A row of a result, and the types of parameters.
pub use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};
