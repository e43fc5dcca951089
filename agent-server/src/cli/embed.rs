//! Parts of the command line for a program with its own `main`: access, limits and secrets from settings, log, signals.

use std::io;

use super::{error::CliError, log, program::ServeError, security, signals::EndSignals};
use crate::{Config, server::ServerBuilder};

/// Applies settings to a server: who may use it, limits, TLS, the server's secret, webhooks.
///
/// # Errors
///
/// [`ServeError`]. The reason was printed to standard error.
///
/// # Examples
///
/// ```no_run
/// use agent_core::Runtime;
/// use agent_server::{Config, Server, TaskAgent, cli};
///
/// # async fn serve(runtime: Runtime, agent: impl TaskAgent) -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::load()?;
/// cli::init_log(&config);
/// let server = cli::configure(&config, Server::builder(runtime).agent(agent)).await?;
/// let server = server.bind((config.host, config.port)).await?;
/// server.serve(cli::shutdown_signal()?).await;
/// # Ok(()) }
/// ```
pub async fn configure(config: &Config, server: ServerBuilder) -> Result<ServerBuilder, ServeError> {
    apply(config, server).await.map_err(|error| ServeError::Command { code: error.print() })
}

async fn apply(config: &Config, server: ServerBuilder) -> Result<ServerBuilder, CliError> {
    let mut server = server.auth(security::auth(config)?).options(|options| config.apply(options));
    if let Some(secret) = security::secret(config).await? {
        server = server.secret(secret);
    }
    if let Some(tls) = security::tls(config)? {
        server = server.tls(tls);
    }
    if let Some(webhooks) = security::webhooks(config)? {
        server = server.webhooks(webhooks);
    }
    Ok(server)
}

/// Installs the log on standard error with the level and format of the settings, and logs their warnings. Call it once.
///
/// # Panics
///
/// If a subscriber is installed already.
///
/// # Examples
///
/// ```no_run
/// use agent_server::{Config, cli};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = Config::load()?;
/// cli::init_log(&config);
/// # Ok(()) }
/// ```
pub fn init_log(config: &Config) {
    log::begin(config, true, None);
    if let Some(warning) = config.guard_warning() {
        tracing::warn!("{warning}");
    }
}

/// Returns a future that resolves at `SIGTERM` or `SIGINT` (Ctrl+C or Ctrl+Break on Windows). The handlers are installed before it returns.
///
/// # Errors
///
/// The handlers cannot be installed.
///
/// # Examples
///
/// ```no_run
/// use agent_server::{Server, cli};
///
/// # async fn serve(server: Server) -> std::io::Result<()> {
/// server.serve(cli::shutdown_signal()?).await;
/// # Ok(()) }
/// ```
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send> {
    let mut signals = EndSignals::install()?;
    Ok(async move {
        signals.next().await;
        tracing::info!("shutting down");
    })
}
