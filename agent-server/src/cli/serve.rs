//! `serve`: runs the server until a signal.

use std::{net::SocketAddr, sync::OnceLock, time::Instant};

use super::{
    error::CliError,
    program::own,
    remote_tools, security, setup,
    signals::{EndSignals, ReloadSignal},
};
use crate::{Config, Server, Tls, server::ServerBuilder};

pub(super) async fn run(config: &Config, ending: &OnceLock<Instant>) -> Result<(), CliError> {
    let remote = remote_tools::connect(config).await?;
    let assistant = setup::assistant(config, remote.registry())?;
    if own().is_none() && assistant.is_none() && cfg!(not(feature = "demo")) {
        return Err(setup::no_agent());
    }
    let runtime = setup::runtime(config).await?;
    let address = SocketAddr::new(config.host, config.port);
    let server = match own() {
        Some(agents) => Server::builder(runtime).task_agents(agents.task_agents()),
        None => with_samples(Server::builder(runtime)),
    };
    let mut server = server
        .ephemeral_runtime(setup::ephemeral_runtime(config)?)
        .auth(security::auth(config)?)
        .options(|options| config.apply(options));
    if let Some(secret) = security::secret(config).await? {
        server = server.secret(secret);
    }
    let tls = security::tls(config)?;
    if let Some(tls) = &tls {
        server = server.tls(tls.clone());
    }
    if let Some(webhooks) = security::webhooks(config)? {
        server = server.webhooks(webhooks);
    }
    if let Some(chat) = setup::chat(config)? {
        let refusal = config.chat_endpoint().and_then(|endpoint| config.own_endpoint(&endpoint, address));
        server = server.chat(chat.refuse(refusal.as_deref()));
    }
    if let Some(assistant) = assistant {
        let refusal = config.own_endpoint(&config.assistant_endpoint(), address);
        if let Some(reason) = refusal.as_deref().filter(|_| config.is_set("VLLM_BASE_URL")) {
            tracing::warn!("{reason}");
        }
        server = server.assistant(assistant.refuse(refusal.as_deref()));
    }
    #[cfg(feature = "mcp")]
    let server = server.mcp(remote_tools::own()?);
    let server = server.bind(address).await.map_err(|error| {
        CliError::new(format!("cannot listen on {address}: {error}"))
            .hint("API_HOST and API_PORT (--api-host, --api-port) choose another")
    })?;
    let analyst = match config.model() {
        _ if own().is_some() => "agents of this program",
        _ if cfg!(not(feature = "demo")) => "built without the sample agents",
        Some(_) => "reports by a model",
        None => "reports by the built-in offline analyst",
    };
    if let Some(warning) = config.guard_warning() {
        tracing::warn!("{warning}");
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{}, {analyst}", server.address());

    let failed = CliError::from_io;
    let mut signals = EndSignals::install().map_err(failed("signal handlers cannot be installed"))?;
    let mut hangup = ReloadSignal::install().map_err(failed("signal handlers cannot be installed"))?;
    server
        .serve(async {
            loop {
                tokio::select! {
                    () = signals.next() => break,
                    () = hangup.next() => reload(tls.as_ref()),
                }
            }
            ending.get_or_init(Instant::now);
            tracing::info!("shutting down");
        })
        .await;
    remote.close().await;
    Ok(())
}

fn with_samples(server: ServerBuilder) -> ServerBuilder {
    #[cfg(feature = "demo")]
    let server = server.agent(crate::demo::TrendAgent);
    server
}

/// Reads the certificate again, on `SIGHUP`.
fn reload(tls: Option<&Tls>) {
    match tls.map(Tls::reload) {
        None => tracing::info!("there is no certificate to reload"),
        Some(Ok(())) => tracing::info!("the certificate was reloaded"),
        Some(Err(error)) => tracing::error!(%error, "the certificate could not be reloaded"),
    }
}

#[cfg(all(test, not(feature = "demo")))]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[tokio::test]
    async fn a_build_without_an_agent_does_not_start_and_names_the_feature() {
        let config = Config::read(&Sources::none().flag("USE_MOCK_DATA", "true")).unwrap();
        let failure = run(&config, &OnceLock::new()).await.unwrap_err();
        assert!(format!("{failure:?}").contains("--features demo"), "{failure:?}");
    }
}
