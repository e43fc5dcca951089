//! The Model Context Protocol, both ways: tools of other programs as our tools, and our tools for other programs.
//!
//! [`Client`] starts or reaches a server and makes tools of what it offers. [`Server`] offers a registry over stdio and
//! over streamable HTTP. Both are on `rmcp`, which knows the protocol; here are the bounds, what an agent needs of it,
//! and what happens when the other side drops, lies or never answers.
//!
//! ```no_run
//! use agent_core::{secret::Secret, tool::ToolRegistry};
//! use agent_tools::mcp::{Client, Program, Questions, Server};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! // A program of its own, and a server somewhere else. The tools are `files_read`, `shop_order`, and so on.
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

pub use client::{Client, ClientBuilder, Limits, Program, Questions, RemoteTool};
pub use error::McpError;
pub use server::{HttpBody, HttpOptions, HttpService, Server};
