//! Durable agent graphs.
pub mod clock;
pub mod ids;
pub mod journal;
pub mod memory;
pub mod state;
