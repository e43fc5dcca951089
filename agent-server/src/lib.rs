//! The server.

pub mod trend;
