//! Public promises, one module a subject.

mod events;
mod failures;
mod graph;
mod interrupts;
mod questions;
mod queue;
mod random;
mod resume;
mod sessions;
mod shape;
