//! Durable agent graphs.

// The paths that the macros write begin with `::agent_core`; inside this crate that is ourselves.
extern crate self as agent_core;

pub mod graph;
pub mod ids;
pub mod journal;
pub mod model;
pub mod secret;
pub mod state;
pub mod tool;

#[doc(inline)]
pub use agent_core_macros::{State, tool};
