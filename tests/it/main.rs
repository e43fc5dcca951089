//! Public promises, one module a subject.

mod events;
mod failures;
mod graph;
mod interrupts;
mod questions;
mod random;
mod resume;
mod sessions;
mod shape;
