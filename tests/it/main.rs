//! Public promises, one module a subject.

mod failures;
mod graph;
mod interrupts;
mod random;
mod resume;
