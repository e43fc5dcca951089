//! Public promises, one module a subject.

mod graph;
mod interrupts;
mod random;
mod resume;
