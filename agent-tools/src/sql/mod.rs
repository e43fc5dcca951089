//! Tools that read SQL databases: one of SQLite, one of PostgreSQL.

#[cfg(feature = "sql-postgres")]
mod postgres;
mod rows;
#[cfg(feature = "sql")]
mod sqlite;
#[cfg(feature = "sql")]
mod unfold;

#[cfg(feature = "sql-postgres")]
pub use postgres::{PostgresAddressError, PostgresQuery};
#[cfg(feature = "sql")]
pub use sqlite::SqlQuery;
