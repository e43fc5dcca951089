//! Built-in tools for agents, each bounded and safe by default.
//!
//! | tool | what it does | by default |
//! |---|---|---|
//! | [`Calculator`] | arithmetic with exact decimals and units | one second |
//! | [`DateTime`] | now, time zones, adding, differences | |
//! | [`http::Fetch`] | a web page as Markdown | public addresses only, 2 MiB, 20 s |
//! | [`files::Files`] | list, read, write, search files under a root | nothing outside of the root, writing off |
//! | [`MemoryTools`] | save, search and forget notes of the long-term memory | one namespace |
//! | [`SqlQuery`] | a query of a SQLite database | reading only, 200 rows of 100 columns, values of 256 KiB, 10 s |
//! | `PostgresQuery` (feature `sql-postgres`) | a query of a PostgreSQL database | reading only, 200 rows of 100 columns, 10 s |
//! | `retrieval::Documents` (feature `retrieval`) | search in a folder of documents | passages of 1,200 characters, 5 a search |
//! | `mcp::Client` (feature `mcp`) | tools of MCP servers | 60 s a call, bounded lists and results |
//! | [`Shell`] | a command | on Unix; off unless added, asks a person each time, isolated where the machine permits |
//!
//! A tool is in a registry only if you add it: there is no "all of them".

#[cfg(any(feature = "calculator", feature = "files", feature = "sql"))]
mod blocking;
#[cfg(feature = "calculator")]
mod calculator;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "calculator")]
#[doc = include_str!("guide.md")]
pub mod guide {}
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "mcp")]
pub mod mcp;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "mcp")]
mod process_group;
#[cfg(feature = "retrieval")]
pub mod retrieval;
#[cfg(all(feature = "shell", unix))]
mod shell;
#[cfg(any(feature = "sql", feature = "sql-postgres"))]
mod sql;
#[cfg(feature = "time")]
mod time;

#[cfg(feature = "calculator")]
pub use calculator::Calculator;
#[cfg(feature = "memory")]
pub use memory::MemoryTools;
#[cfg(all(feature = "shell", unix))]
pub use shell::{Isolation, Shell};
#[cfg(feature = "sql")]
pub use sql::SqlQuery;
#[cfg(feature = "sql-postgres")]
pub use sql::{PostgresAddressError, PostgresQuery};
#[cfg(feature = "time")]
pub use time::DateTime;
