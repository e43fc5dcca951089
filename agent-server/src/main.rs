//! The server binary: environment in, K-beauty agent on SQLite, journals taken up, served until told to end.

use std::{error::Error, net::SocketAddr, process::ExitCode};

use agent_core::{
    Runtime,
    journal::{InMemory, Sqlite},
    model::{Model, openai::OpenAi},
};
use agent_server::{
    Config, Server,
    config::Database,
    trend::{
        agent::TrendAgent,
        graph::{Desk, trend_graph},
    },
};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let config = Config::load();
    let debug = config.as_ref().is_ok_and(|config| config.debug);
    let level = if debug { tracing::Level::DEBUG } else { tracing::Level::INFO };
    tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(std::io::stderr).init();
    let config = config?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }

    let mut runtime =
        Runtime::builder().graph(&trend_graph()?).provide(Desk { model: config.model, pace: config.pace });
    runtime = match &config.database {
        Database::File(path) => runtime.store(Sqlite::open(path)?),
        Database::Memory => runtime.store(InMemory::new()),
    };
    if config.model {
        runtime = runtime.model(Model::new(OpenAi::from_env()?));
    }
    let server = Server::builder(runtime.build())
        .agent(TrendAgent)
        .options(|options| {
            options.origins = config.origins.clone();
            options.connections = config.connections;
        })
        .bind(SocketAddr::new(config.host, config.port))
        .await?;
    let analyst = if config.model { "a model" } else { "the built-in offline analyst" };
    tracing::info!("listening on http://{}, reports by {analyst}", server.address());

    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    server
        .serve(async {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            tracing::info!("ending");
        })
        .await;
    Ok(())
}
