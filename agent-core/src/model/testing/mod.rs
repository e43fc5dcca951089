//! Models for tests and demonstrations: a scripted model, an offline model, and HTTP cassettes.

#[cfg(feature = "openai")]
mod cassette;
mod offline;
mod scripted;

#[cfg(feature = "openai")]
pub use cassette::Cassette;
pub use offline::Offline;
pub use scripted::{Chunking, Scripted, Turn};
