//! Public promises, one module a subject.

mod graph;
mod interrupts;
mod queue;
mod random;
mod resume;
