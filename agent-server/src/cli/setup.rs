//! Creates a runtime from settings: agents, store, models.

use std::{path::Path, sync::Arc};

use agent_core::{
    Runtime, Session,
    journal::InMemoryJournal,
    model::{Model, RetryModel},
    session::RuntimeBuilder,
    sqlite::Sqlite,
    tool::ToolRegistry,
};
use clap::{Arg, ArgMatches};

use super::{error::CliError, program::own};
#[cfg(feature = "demo")]
use crate::demo::{self, TrendAgent};
use crate::{Assistant, Chat, Config, TaskAgent, config::Database, fail_points};

/// Returns the name of the default agent.
pub(super) fn first() -> String {
    match own().and_then(|agents| agents.task_agents().next()) {
        Some(agent) => agent.graph().to_owned(),
        None if cfg!(feature = "demo") => "trend".to_owned(),
        None => "assistant".to_owned(),
    }
}

/// Returns the agents of this program. The first one is the default.
pub(super) fn agents(config: &Config, tools: &ToolRegistry) -> Result<Vec<Arc<dyn TaskAgent>>, CliError> {
    if let Some(agents) = own() {
        return Ok(agents.task_agents().collect());
    }
    let mut agents: Vec<Arc<dyn TaskAgent>> = Vec::new();
    #[cfg(feature = "demo")]
    agents.push(Arc::new(TrendAgent));
    if let Some(assistant) = assistant(config, tools)? {
        agents.push(Arc::new(assistant));
    }
    if agents.is_empty() { Err(no_agent()) } else { Ok(agents) }
}

/// Returns the error of a build without agents.
pub(super) fn no_agent() -> CliError {
    CliError::usage(
        "there is no agent: this build does not have the feature `demo`, and USE_MOCK_DATA is set without a model",
    )
    .hint("build with `--features demo`, set OPENAI_API_KEY, OPENAI_BASE_URL or VLLM_BASE_URL, or remove USE_MOCK_DATA")
}

/// Registers the graphs of all agents, as a server does.
pub(super) fn with_agents(
    config: &Config,
    runtime: Runtime,
    tools: &ToolRegistry,
) -> Result<Runtime, CliError> {
    if let Some(assistant) = assistant(config, tools)? {
        runtime.register(assistant.agent());
    }
    Ok(runtime)
}

/// Returns a runtime with the graphs, without a store or a model.
pub(super) fn graphs(config: &Config) -> Result<Runtime, CliError> {
    with_agents(config, builder(config)?.build(), &ToolRegistry::default())
}

fn builder(config: &Config) -> Result<RuntimeBuilder, CliError> {
    let runtime = match own() {
        Some(agents) => agents.register(Runtime::builder()),
        None => sample_agents(config, Runtime::builder())?,
    };
    Ok(runtime.durability(config.durability).limits(config.run_limits()).options(|options| {
        options.retention = config.retention;
        options.grace = config.grace;
        options.evict_paused_after = config.evict_paused_after;
        options.max_runs = config.runs;
        options.max_active_runs = config.active_runs;
        options.lease_ttl = config.lease_ttl();
    }))
}

/// Registers the sample agents, if this build has them.
#[cfg_attr(
    not(feature = "demo"),
    expect(clippy::unnecessary_wraps, unused_variables, reason = "there are none")
)]
fn sample_agents(config: &Config, runtime: RuntimeBuilder) -> Result<RuntimeBuilder, CliError> {
    #[cfg(feature = "demo")]
    let runtime = {
        let desk = trend_agent::Desk {
            model: config.model().is_some(),
            pace: config.pace,
            answer_timeout: config.answer_time,
        };
        TrendAgent::register(runtime, desk).map_err(|error| CliError::new(error.to_string()))?
    };
    Ok(runtime)
}

/// Returns the configured runtime.
pub(super) async fn runtime(config: &Config) -> Result<Runtime, CliError> {
    let mut runtime = builder(config)?;
    if let Some(model) = config.model() {
        runtime = runtime.model(Model::new(RetryModel::new(model.open()?)));
    }
    Ok(match config.store() {
        Database::File(path) => {
            let store = Sqlite::open(&path).map_err(|error| {
                CliError::new(format!("{}: {error}", path.display()))
                    .hint("DATABASE_PATH (--database-path) names the file")
            })?;
            runtime.journal(fail_points::wrap(store)).build()
        }
        Database::Memory => runtime.journal(InMemoryJournal::new()).build(),
        #[cfg(feature = "postgres")]
        Database::Postgres { journals, memory } => {
            let store = postgres::connect(config, &journals).await?;
            let memory = match memory == journals {
                true => store.memory(),
                false => postgres::connect(config, &memory).await?.memory(),
            };
            runtime.journal(fail_points::wrap(store)).memory(memory).build()
        }
        #[cfg(not(feature = "postgres"))]
        Database::Postgres { .. } => return Err(without_postgres()),
    })
}

#[cfg(not(feature = "postgres"))]
pub(super) fn without_postgres() -> CliError {
    CliError::usage("this build does not have the feature `postgres`")
        .hint("build with `--features postgres`")
}

/// Connections to PostgreSQL.
#[cfg(feature = "postgres")]
pub(super) mod postgres {
    use agent_core::secret::Secret;
    use agent_postgres::{Postgres, StatementCache};

    use crate::{Config, cli::error::CliError};

    pub(in crate::cli) async fn connect(config: &Config, address: &Secret) -> Result<Postgres, CliError> {
        let cache = match config.database_statement_cache {
            true => StatementCache::PerConnection,
            false => StatementCache::None,
        };
        let builder = Postgres::builder()
            .schema(&*config.database_schema)
            .max_connections(config.database_connections)
            .statement_cache(cache);
        let builder = match &config.database_listen_url {
            Some(address) => builder.listen_at(address.clone()),
            None => builder,
        };
        builder.connect(address).await.map_err(|error| {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            CliError::new(format!("{error}{cause}"))
                .hint("CHECKPOINT_DB_URI and DATABASE_URL have the addresses of the databases")
        })
    }
}

/// Returns the runtime of ephemeral conversations: the same agents without a store.
pub(super) fn ephemeral_runtime(config: &Config) -> Result<Runtime, CliError> {
    let runtime = builder(config)?;
    Ok(match config.model() {
        Some(model) => runtime.model(Model::new(RetryModel::new(model.open()?))).build(),
        None => runtime.build(),
    })
}

/// Returns the model of the chat, if one is configured.
pub(super) fn chat(config: &Config) -> Result<Option<Chat>, CliError> {
    let Some(model) = config.chat_endpoint() else { return Ok(None) };
    let chat = Chat::new(Model::new(RetryModel::new(model.open()?)));
    Ok(Some(chat.max_output_tokens(config.chat_tokens).temperature(config.temperature)))
}

/// Returns the agent with tools, unless `USE_MOCK_DATA` is set without a model. Without both, the agent uses the vLLM server at
/// its default URL, and requests fail if there is none. `tools` are those of MCP servers.
pub(super) fn assistant(config: &Config, tools: &ToolRegistry) -> Result<Option<Assistant>, CliError> {
    if !config.has_assistant() || own().is_some() {
        return Ok(None);
    }
    let model = Model::new(RetryModel::new(config.assistant_endpoint().open()?));
    #[cfg(feature = "demo")]
    let assistant = demo::assistant_with(model, tools);
    #[cfg(not(feature = "demo"))]
    let assistant = Assistant::built_in_with(model, tools);
    assistant.map(Some).map_err(|error| CliError::new(error.to_string()))
}

/// Returns a runtime for reading journals, which must exist.
pub(super) async fn journals(config: &Config) -> Result<Runtime, CliError> {
    match config.store() {
        Database::File(path) if path.is_file() => {
            with_agents(config, runtime(config).await?, &ToolRegistry::default())
        }
        Database::Postgres { .. } => with_agents(config, runtime(config).await?, &ToolRegistry::default()),
        Database::File(path) => Err(CliError::new(format!("`{}` does not exist", path.display()))
            .hint("--database-path names the file, `agent-server run` creates one")),
        Database::Memory => Err(CliError::usage("journals in memory cannot be read by another process")
            .hint("--database-path names a file")),
    }
}

/// Returns a runtime with the present graphs on the journals of a file, which must exist.
pub(super) fn recordings(config: &Config, path: &Path) -> Result<Runtime, CliError> {
    if !path.is_file() {
        return Err(CliError::new(format!("`{}` does not exist", path.display()))
            .hint("`agent-server export FILE` writes one"));
    }
    let store = Sqlite::open(path).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    let mut runtime = builder(config)?.journal(store);
    if let Some(model) = config.model() {
        runtime = runtime.model(Model::new(RetryModel::new(model.open()?)));
    }
    with_agents(config, runtime.build(), &ToolRegistry::default())
}

/// The argument `SESSION`.
pub(super) fn session_arg() -> Arg {
    Arg::new("session").value_name("SESSION").required(true).help("The session's id")
}

/// Returns the session in the arguments, which must exist.
pub(super) async fn session(config: &Config, args: &ArgMatches) -> Result<Session, CliError> {
    let id = args.get_one::<String>("session").map(String::as_str).unwrap_or_default();
    let session = journals(config).await?.session(id)?;
    // Fails for an unknown session, instead of an empty output.
    session.status().await?;
    Ok(session)
}
