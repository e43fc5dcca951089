//! Tests of programs: simulated crashes, delays and store errors, and stores that fail as planned.
//!
//! [`Simulation`] runs a scenario many times, each time with other crashes, delays and errors, which a seed determines.
//! [`HookedStore`] is a store with a hook around every call, for a test of one particular fault.
//! [`model::testing`](crate::model::testing) has models with scripted answers.

mod effects;
mod hooked_store;
mod simulation;

pub use effects::Effects;
pub use hooked_store::{HookedStore, StoreCall, StoreHook};
pub use simulation::{SeedResult, SimulatedProcess, Simulation, SimulationReport};
