//! Tests of `agent_core::model`, against scripts and a real HTTP server on the loop-back address.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking, as a test does")]

mod wrappers;
#[cfg(feature = "openai")]
mod cassette;
mod data;
#[cfg(all(feature = "openai", feature = "sqlite"))]
mod embeddings;
#[cfg(feature = "openai")]
mod fuzz;
#[cfg(feature = "native")]
mod genai;
#[cfg(feature = "openai")]
mod key_order;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "openai")]
mod server;
mod text_tool_calls;
#[cfg(feature = "openai")]
mod tool_images;
#[cfg(feature = "tiktoken")]
mod tokens;
