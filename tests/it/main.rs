//! Public promises, one module a subject.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test, as the tests themselves do")]

mod architecture;
mod cancel_safety;
mod caps;
mod deadlines;
mod deletion;
mod detached;
mod events;
mod failures;
mod forks;
mod fuzz;
mod golden;
mod graph;
mod graph_identity;
mod interrupts;
mod panics;
mod partial;
mod prose;
mod questions;
mod queue;
mod random;
mod resume;
mod resume_after_failure;
mod sessions;
mod graph_build;
mod simulation;
mod steps;
mod stopping;
mod store_faults;
mod takeovers;
mod transfer;
mod turn_calls;
mod values;
mod why;
