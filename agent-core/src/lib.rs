//! Durable agent graphs.
pub mod ids;
pub mod journal;
pub mod state;
