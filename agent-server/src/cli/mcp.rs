//! `mcp`: serves the tools and agents over stdin and stdout, as a program that an MCP client starts.

use std::time::Duration;

use clap::Command;
use tokio_util::task::TaskTracker;

use super::{error::CliError, remote_tools, setup};
use crate::Config;

pub(super) fn command() -> Command {
    Command::new("mcp")
        .about("Serves the tools and agents to an MCP client, over stdin and stdout")
        .after_help(
            "For the settings of a client, for example {\"mcpServers\": {\"agents\": {\"command\": \"agent-server\", \"args\": [\"mcp\"]}}}.\n\
             The log goes to stderr. Runs are not stored.",
        )
}

pub(super) async fn run(config: &Config) -> Result<(), CliError> {
    let remote = remote_tools::connect(config).await?;
    let agents = setup::agents(config, remote.registry())?;
    let runtime = setup::with_agents(config, setup::ephemeral_runtime(config)?, remote.registry())?;
    let tasks = TaskTracker::new();
    let server = crate::mcp::server(&remote_tools::own()?, &agents, &runtime, &tasks);
    let server = server.map_err(|error| CliError::new(error.to_string()))?;
    let served = server.serve_stdio().await;
    tasks.close();
    // Runs that the client left are stopped.
    if tokio::time::timeout(config.grace, tasks.wait()).await.is_err() {
        tracing::warn!("runs did not stop in time");
    }
    runtime.shutdown(config.grace.min(Duration::from_secs(5))).await;
    remote.close().await;
    served.map_err(|error| CliError::new(error.to_string()))
}
