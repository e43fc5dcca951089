//! Durable agent graphs.

pub mod model;
pub mod secret;
