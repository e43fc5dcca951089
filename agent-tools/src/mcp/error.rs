//! Why there is no connection, or no server: one enum for what the operator must see.

use std::{error::Error, io, time::Duration};

/// What went wrong outside of a call. (What goes wrong in a call is a [`ToolError`](agent_core::tool::ToolError).)
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum McpError {
    /// The program could not be started.
    #[error("MCP server `{server}`: `{program}` cannot be started")]
    Start {
        /// The server's name here.
        server: String,
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The address or a header is none, or TLS cannot be set up.
    #[error("MCP server `{server}`: {reason}")]
    Illegal {
        /// The server's name here.
        server: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// It could not be reached, or it did not speak the protocol.
    #[error("MCP server `{server}` cannot be used")]
    Unusable {
        /// The server's name here.
        server: String,
        /// What was seen.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It did not answer in time.
    #[error("MCP server `{server}` did not answer within {limit:?}")]
    TooSlow {
        /// The server's name here.
        server: String,
        /// The time it had.
        limit: Duration,
    },
    /// It dropped a moment ago and is not tried again yet.
    #[error("MCP server `{server}` is not there; it is tried again in {wait:?}")]
    Waiting {
        /// The server's name here.
        server: String,
        /// How long until then.
        wait: Duration,
    },
    /// The client was closed.
    #[error("the client of MCP server `{server}` was closed")]
    Closed {
        /// The server's name here.
        server: String,
    },
    /// Our own server ended because of this.
    #[error("the MCP server ended")]
    Served(#[source] Box<dyn Error + Send + Sync>),
}
