//! MCP: our client against our server, over pipes, HTTP and processes, and against servers that misbehave.
#![cfg(feature = "mcp")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[path = "mcp/support.rs"]
mod support;

#[path = "mcp/calls.rs"]
mod calls;
#[path = "mcp/hostile.rs"]
mod hostile;
#[path = "mcp/http.rs"]
mod http;
#[path = "mcp/program.rs"]
mod program;
#[path = "mcp/questions.rs"]
mod questions;
