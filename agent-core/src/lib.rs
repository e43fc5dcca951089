//! Durable agent graphs.
pub mod clock;
pub mod ids;
pub mod journal;
pub mod model;
pub mod secret;
pub mod state;
