//! Models for tests and demonstrations: one that follows a script, and HTTP calls on tape.

#[cfg(feature = "openai")]
mod cassette;
mod scripted;

#[cfg(feature = "openai")]
pub use cassette::Cassette;
pub use scripted::{Chunking, Scripted, Turn};
