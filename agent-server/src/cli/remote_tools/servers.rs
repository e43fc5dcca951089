//! Connections to the MCP servers in the settings, and their tools.

use agent_core::tool::{Approval, Effect, ToolPolicy, ToolRegistry};
use agent_tools::mcp::{Client, McpError, Program, Questions, RemoteTool};

use crate::config::{McpApproval, McpServer, McpTransport};

/// The tools of all configured servers, and their sessions.
#[derive(Debug, Default)]
pub(in crate::cli) struct RemoteTools {
    clients: Vec<Client>,
    registry: ToolRegistry,
}

/// A server that cannot be used, and must be.
#[derive(Debug, thiserror::Error)]
#[error("the MCP server `{name}` cannot be used: {reason}")]
pub(in crate::cli) struct McpServerError {
    name: String,
    reason: String,
}

impl RemoteTools {
    /// Connects to all servers at once. A server that cannot be used is logged and left out, unless it is required.
    ///
    /// # Errors
    ///
    /// A required server cannot be used.
    pub(in crate::cli) async fn connect(servers: &[McpServer]) -> Result<Self, McpServerError> {
        let connecting = servers.iter().map(|server| async move { (server, connected(server).await) });
        let mut tools = Self::default();
        for (server, connected) in futures::future::join_all(connecting).await {
            let added = connected.and_then(|(client, registry)| {
                let registry = tools.registry.join(&registry).map_err(|error| error.to_string())?;
                Ok((client, registry))
            });
            match added {
                Ok((client, registry)) => {
                    let added = registry.names().count() - tools.registry.names().count();
                    tracing::info!(server = server.name, tools = added, "an MCP server is connected");
                    tools.clients.push(client);
                    tools.registry = registry;
                }
                Err(reason) if server.required => {
                    return Err(McpServerError { name: server.name.clone(), reason });
                }
                Err(reason) => {
                    tracing::error!(
                        server = server.name,
                        reason,
                        "an MCP server cannot be used; its tools are missing"
                    );
                }
            }
        }
        Ok(tools)
    }

    /// Returns the tools.
    pub(in crate::cli) const fn registry(&self) -> &ToolRegistry {
        &self.registry
    }

    /// Ends the sessions, and the processes.
    pub(in crate::cli) async fn close(&self) {
        futures::future::join_all(self.clients.iter().map(Client::close)).await;
    }
}

async fn connected(server: &McpServer) -> Result<(Client, ToolRegistry), String> {
    let builder = match &server.transport {
        McpTransport::Stdio { command, args, env, cwd } => {
            let mut program = args.iter().fold(Program::new(command), Program::arg);
            for (name, value) in env {
                program = program.env(name, value.clone());
            }
            if let Some(cwd) = cwd {
                program = program.dir(cwd);
            }
            Client::program(&server.name, program)
        }
        McpTransport::Http { url, headers } => {
            let builder = Client::http(&server.name, url.expose());
            headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value.clone()))
        }
    };
    let approval = server.approval;
    let mut builder = builder.policy(move |tool, policy| policy_of(approval, tool, policy));
    if let Some(timeout) = server.timeout {
        builder = builder.timeout(timeout);
    }
    if server.questions {
        builder = builder.questions(Questions::Asked);
    }
    let client = builder.connect().await.map_err(|error| chain(&error))?;
    let registry = client.registry().await.map_err(|error| chain(&error))?;
    let registry = match &server.tools {
        None => registry,
        Some(names) => {
            let prefixed = names.iter().map(|name| format!("{}_{name}", server.name));
            registry.allow(prefixed).map_err(|error| error.to_string())?
        }
    };
    Ok((client, registry))
}

/// An approval counts for one call.
fn policy_of(approval: McpApproval, tool: &RemoteTool, policy: ToolPolicy) -> ToolPolicy {
    let asks = match approval {
        McpApproval::Always => true,
        McpApproval::Writes => tool.effect != Effect::ReadOnly,
        McpApproval::Never => false,
    };
    if asks { policy.approval(Approval::Always) } else { policy }
}

/// The error and its causes. They contain neither headers nor the environment.
fn chain(error: &McpError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
