//! Model Context Protocol: a client that uses tools of other programs, and a server that offers tools to them.
//!
//! [`Client`] starts or connects to a server and creates tools from its list. [`Server`] offers a registry over
//! stdio and over streamable HTTP. Both use `rmcp` for the protocol and add limits, approvals and questions, and
//! the handling of lost, misbehaving or unresponsive peers.
//!
//! ```no_run
//! use agent_core::{secret::Secret, tool::ToolRegistry};
//! use agent_tools::mcp::{Client, Program, Questions, Server};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // A child process, and a remote server. The tools are `files_read`, `shop_order`, and so on.
//! let files = Client::program("files", Program::new("mcp-files").arg("/srv/docs")).connect().await?;
//! let shop = Client::http("shop", "https://shop.example/mcp")
//!     .bearer(Secret::from_env("SHOP_TOKEN").ok_or("SHOP_TOKEN is not set")?)
//!     .questions(Questions::Asked)
//!     .connect()
//!     .await?;
//! let tools: ToolRegistry = files.registry().await?.join(&shop.registry().await?)?;
//!
//! // And ours for others, over stdin and stdout.
//! Server::new("demo", "1.0.0", tools).serve_stdio().await?;
//! # Ok(()) }
//! ```

mod client;
mod content;
mod error;
mod server;

pub use client::{Client, ClientBuilder, ClientLimits, Program, Questions, RemoteTool};
pub use error::McpError;
pub use server::{HttpBody, HttpOptions, HttpService, Server};
