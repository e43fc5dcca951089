//! Tools of the MCP servers in the settings, for the assistant.

#[cfg(feature = "mcp")]
mod servers;

use super::error::CliError;
use crate::Config;

#[cfg(feature = "mcp")]
pub(super) use servers::RemoteTools;

/// Connects to the MCP servers in the settings.
#[cfg(feature = "mcp")]
pub(super) async fn connect(config: &Config) -> Result<RemoteTools, CliError> {
    let servers = config.mcp_servers.as_deref().unwrap_or_default();
    if !servers.is_empty() && !config.has_assistant() {
        tracing::warn!(
            "MCP_SERVERS has no effect: USE_MOCK_DATA is set without a model, which disables the assistant"
        );
        return Ok(RemoteTools::default());
    }
    RemoteTools::connect(servers).await.map_err(|error| {
        CliError::new(error.to_string()).hint("MCP_SERVERS has the servers; `required` makes one necessary")
    })
}

/// Returns the tools of this program, which it serves to MCP clients.
#[cfg(feature = "mcp")]
pub(super) fn own() -> Result<agent_core::tool::ToolRegistry, CliError> {
    let failed = |error: agent_core::agent::AgentError| CliError::new(error.to_string());
    #[cfg(feature = "demo")]
    let tools = crate::demo::own_tools().map_err(failed)?;
    #[cfg(not(feature = "demo"))]
    let tools = crate::assistant::basic_tools().build().map_err(|error| failed(error.into()))?;
    Ok(tools)
}

/// Replacement of the tools in a build without MCP.
#[cfg(not(feature = "mcp"))]
#[derive(Default)]
pub(super) struct RemoteTools(agent_core::tool::ToolRegistry);

#[cfg(not(feature = "mcp"))]
impl RemoteTools {
    pub(super) const fn registry(&self) -> &agent_core::tool::ToolRegistry {
        &self.0
    }

    pub(super) async fn close(&self) {}
}

/// Rejects servers in the settings.
#[cfg(not(feature = "mcp"))]
pub(super) async fn connect(config: &Config) -> Result<RemoteTools, CliError> {
    match &config.mcp_servers {
        Some(_) => Err(CliError::usage("MCP_SERVERS is set, but this build does not have the feature `mcp`")
            .hint("build with `--features mcp`, or remove MCP_SERVERS")),
        None => Ok(RemoteTools::default()),
    }
}
