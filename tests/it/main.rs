//! Public promises, one module a subject.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test, as the tests themselves do")]

mod caps;
mod deadlines;
mod detached;
mod events;
mod failures;
mod graph;
mod interrupts;
mod questions;
mod queue;
mod random;
mod resume;
mod second_go;
mod sessions;
mod shape;
mod steps;
mod turn_calls;
mod why;
