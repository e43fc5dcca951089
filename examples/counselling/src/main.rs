//! The binary `counselling`: settings, stores, model, server.

use std::{error::Error, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use agent_core::{
    journal::{InMemoryJournal, JournalStore},
    memory::{InMemoryStore, MemoryStore},
    model::{Model, RetryModel},
    retry::RetryPolicy,
    secret::Secret,
    sqlite::Sqlite,
};
use agent_postgres::{Postgres, StatementCache};
use agent_server::{
    Config, cli,
    config::{Database, Sources},
};
use counselling::{Conversations, Counselling, Settings, Stores, offline::OfflineCounsellor};

/// Model of Gemini where no other is configured.
const GEMINI: &str = "gemini-1.5-pro";
/// Connections to PostgreSQL.
const POOL: (usize, usize) = (5, 20);
/// Largest frame that is read, so that a message which is too long can be refused in words.
const FRAME_BYTES: usize = 1024 * 1024;

fn main() -> ExitCode {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = threads.map_err(Into::into).and_then(|threads| threads.block_on(run()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            tracing::error!("{error}{cause}");
            eprintln!("counselling: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let sources = Sources::process();
    let mut config = Config::read(&sources)?;
    let settings = Settings::read(&sources)?;
    if !config.is_set("DEFAULT_LLM_MODEL") && config.gemini_key.is_some() {
        GEMINI.clone_into(&mut config.model_name);
        // The model of the server would not use the key; this one does.
        config.warnings.retain(|warning| !warning.starts_with("GEMINI_API_KEY"));
    }
    if !config.is_set("DATABASE_PATH") {
        config.database = "counselling.db".into();
    }
    if !config.is_set("FRAME_BYTES") {
        config.frame_bytes = FRAME_BYTES;
    }
    cli::init_log(&config);
    let settings =
        Settings { lease_ttl: Some(config.lease_ttl()), temperature: config.temperature, ..settings };
    let (stores, place) = stores(&config).await?;
    let model = model(&config, &settings)?;
    tracing::info!("answers by {}, conversations in {place}", model.name());
    let service = Counselling::new(settings, stores, model)?;
    let address = SocketAddr::new(config.host, config.port);
    let server = cli::configure(&config, service.server()).await?;
    let server = server.bind(address).await?;
    tracing::info!("listening on http://{}, page at /counselling, dashboard at /", server.address());
    service.serve(server, cli::shutdown_signal()?).await;
    Ok(())
}

fn model(config: &Config, settings: &Settings) -> Result<Model, Box<dyn Error>> {
    let Some(endpoint) = config.model() else {
        tracing::warn!(
            "no model is configured: answers come from a script. Set GEMINI_API_KEY, or OPENAI_API_KEY, or OPENAI_BASE_URL \
             with DEFAULT_LLM_MODEL"
        );
        return Ok(Model::new(OfflineCounsellor::new(settings.language)));
    };
    let limit = settings.answer_limit;
    let model = endpoint.builder().first_token_timeout(limit).idle_timeout(limit).build()?;
    // A client waits: one further attempt, soon.
    let policy =
        RetryPolicy::attempts(2).first_wait(Duration::from_millis(200)).longest_wait(Duration::from_secs(1));
    Ok(Model::new(RetryModel::new(model).policy(policy)))
}

/// Opens the stores: PostgreSQL if its address is set, otherwise the embedded store.
async fn stores(config: &Config) -> Result<(Stores, String), Box<dyn Error>> {
    let embedded = |journal: Arc<dyn JournalStore>, memory: Arc<dyn MemoryStore>| Stores {
        journal,
        conversations: Conversations::embedded(Arc::clone(&memory)),
        memory,
    };
    Ok(match config.store() {
        Database::Memory => {
            (embedded(Arc::new(InMemoryJournal::new()), Arc::new(InMemoryStore::new())), "memory".to_owned())
        }
        Database::File(path) => {
            let store = Sqlite::open(&path)?;
            let memory = Arc::new(store.memory());
            (embedded(Arc::new(store), memory), path.display().to_string())
        }
        Database::Postgres { journals, memory } => {
            let database = connect(config, &memory).await?;
            let journal =
                if journals == memory { database.clone() } else { connect(config, &journals).await? };
            let stores = Stores {
                journal: Arc::new(journal),
                memory: Arc::new(database.memory()),
                conversations: Conversations::postgres(database.clone()).await?,
            };
            (stores, database.place().to_owned())
        }
    })
}

async fn connect(config: &Config, address: &Secret) -> Result<Postgres, Box<dyn Error>> {
    let most = if config.is_set("DATABASE_MAX_CONNECTIONS") { config.database_connections } else { POOL.1 };
    let cache = match config.database_statement_cache {
        true => StatementCache::PerConnection,
        false => StatementCache::None,
    };
    let builder = Postgres::builder()
        .schema(&*config.database_schema)
        .min_connections(POOL.0)
        .max_connections(most)
        .statement_cache(cache);
    let builder = match &config.database_listen_url {
        Some(address) => builder.listen_at(address.clone()),
        None => builder,
    };
    Ok(builder.connect(address).await?)
}
