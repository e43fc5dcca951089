//! MCP server: the tools and agents of this server, for clients of the Model Context Protocol.

mod agent_tool;

use std::sync::Arc;

use agent_core::{
    Runtime,
    tool::{RegistryError, ToolRegistry},
};
use agent_tools::mcp::{HttpOptions, HttpService, Server};
use tokio_util::task::TaskTracker;

use crate::TaskAgent;

/// Name of the server, for its clients.
const NAME: &str = "agent-server";
const INSTRUCTIONS: &str = "Tools, and agents as tools: give an agent its whole task in `message`. An agent may take minutes, \
    reports progress, and may ask the user a question.";

/// Creates an MCP server of tools and agents.
///
/// # Errors
///
/// Two of them have the same name.
pub(crate) fn server(
    tools: &ToolRegistry,
    agents: &[Arc<dyn TaskAgent>],
    runtime: &Runtime,
    tasks: &TaskTracker,
) -> Result<Server, RegistryError> {
    let mut registry = ToolRegistry::builder();
    for agent in agents {
        registry = registry.tool(agent_tool::new(Arc::clone(agent), runtime.clone(), tasks.clone()));
    }
    let registry = tools.join(&registry.build()?)?;
    Ok(Server::new(NAME, env!("CARGO_PKG_VERSION"), registry).instructions(INSTRUCTIONS))
}

/// Returns the service behind `/mcp`. Hosts and origins are checked before requests reach it.
pub(crate) fn service(server: Server, body_bytes: usize) -> HttpService {
    let mut options = HttpOptions::default();
    options.hosts = Vec::new();
    options.check_origins = false;
    options.body = body_bytes;
    server.http(options)
}
