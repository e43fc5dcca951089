//! Models for tests and demonstrations: a scripted model, and HTTP cassettes.

#[cfg(feature = "openai")]
mod cassette;
mod scripted;

#[cfg(feature = "openai")]
pub use cassette::Cassette;
pub use scripted::{Chunking, Scripted, Turn};
