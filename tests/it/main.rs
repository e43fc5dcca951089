//! Public promises, one module a subject.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test, as the tests themselves do")]

mod architecture;
mod events;
mod failures;
mod golden;
mod graph;
mod interrupts;
mod prose;
mod questions;
mod queue;
mod random;
mod resume;
mod second_go;
mod sessions;
mod shape;
mod why;
