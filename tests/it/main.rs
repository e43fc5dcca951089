//! Public promises, one module a subject.

mod failures;
mod graph;
mod interrupts;
mod questions;
mod random;
mod resume;
