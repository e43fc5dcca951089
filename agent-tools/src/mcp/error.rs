//! Errors of MCP connections and servers, for operators.

use std::{error::Error, io, time::Duration};

/// Error outside of a call. Errors of a call are [`ToolError`](agent_core::tool::ToolError)s.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum McpError {
    /// The program could not be started.
    #[error("MCP server `{server}`: `{program}` cannot be started")]
    Start {
        /// Name of the server in this process.
        server: String,
        /// Path of the program.
        program: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The URL or a header is invalid, or TLS cannot be set up.
    #[error("MCP server `{server}`: {reason}")]
    Illegal {
        /// Name of the server in this process.
        server: String,
        /// The invalid part.
        reason: &'static str,
    },
    /// The server cannot be reached, or does not speak the protocol.
    #[error("the connection to MCP server `{server}` failed")]
    Unusable {
        /// Name of the server in this process.
        server: String,
        /// Cause of the failure.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server did not respond in time.
    #[error("MCP server `{server}` did not respond within {limit:?}")]
    TooSlow {
        /// Name of the server in this process.
        server: String,
        /// The timeout.
        limit: Duration,
    },
    /// The connection was lost, and the wait before the next attempt has not elapsed.
    #[error("MCP server `{server}` is not connected; the next attempt is in {wait:?}")]
    Waiting {
        /// Name of the server in this process.
        server: String,
        /// Remaining wait.
        wait: Duration,
    },
    /// The client was closed.
    #[error("the client of MCP server `{server}` was closed")]
    Closed {
        /// Name of the server in this process.
        server: String,
    },
    /// The server of this process failed.
    #[error("the MCP server failed")]
    Served(#[source] Box<dyn Error + Send + Sync>),
}
