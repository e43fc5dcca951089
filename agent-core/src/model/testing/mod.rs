//! Models for tests and demonstrations: one that follows a script, and HTTP calls on tape.

mod scripted;

pub use scripted::{Chunking, Scripted, Turn};
