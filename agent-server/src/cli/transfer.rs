//! `export`, `import` and `migrate`: copy sessions between databases.

use std::{path::PathBuf, sync::Arc};

use agent_core::{
    ids::{Seq, SessionId},
    journal::{JournalStore, TransferOutcome, transfer},
    memory::{self, MemoryStore},
    sqlite::Sqlite,
};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::json;

use super::{
    error::CliError,
    output::{self, json_arg},
    setup,
};
use crate::{Config, config::Database};

/// Sessions listed per page.
const PAGE: usize = 256;

pub(super) fn commands() -> [Command; 3] {
    let file = |help: &'static str| {
        Arg::new("file").value_name("FILE").required(true).value_parser(value_parser!(PathBuf)).help(help)
    };
    let sessions = || {
        Arg::new("sessions")
            .value_name("SESSION")
            .action(ArgAction::Append)
            .help("Only these sessions; default: all")
    };
    [
        Command::new("export")
            .about("Copies sessions to an SQLite file, which is created if it does not exist")
            .arg(file("The file to write"))
            .arg(sessions())
            .arg(json_arg()),
        Command::new("import")
            .about("Copies sessions of an SQLite file into the configured database")
            .arg(file("The file to read"))
            .arg(sessions())
            .arg(json_arg()),
        Command::new("migrate")
            .about("Copies all sessions and the long-term memory of an SQLite file into PostgreSQL")
            .long_about(
                "Copies all sessions and the long-term memory of an SQLite file into the configured PostgreSQL \
                 database. Every copy is verified. Stop the server that uses the file first. The command can be \
                 repeated: what was copied is compared and not copied again.",
            )
            .arg(file("The file to read"))
            .arg(json_arg()),
    ]
}

/// A database with its journals and its long-term memory.
struct Stores {
    journals: Arc<dyn JournalStore>,
    memory: Arc<dyn MemoryStore>,
}

impl Stores {
    fn file(path: &PathBuf, must_exist: bool) -> Result<Self, CliError> {
        if must_exist && !path.is_file() {
            return Err(CliError::new(format!("`{}` does not exist", path.display())));
        }
        let store =
            Sqlite::open(path).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
        Ok(Self { memory: Arc::new(store.memory()), journals: Arc::new(store) })
    }

    async fn configured(config: &Config, must_exist: bool) -> Result<Self, CliError> {
        match config.store() {
            Database::File(path) => Self::file(&path, must_exist)
                .map_err(|error| error.hint("DATABASE_PATH (--database-path) names the file")),
            Database::Memory => {
                Err(CliError::usage("journals in memory cannot be copied by another process")
                    .hint("--database-path names a file"))
            }
            #[cfg(feature = "postgres")]
            Database::Postgres { journals, memory } => {
                let store = setup::postgres::connect(config, &journals).await?;
                let memory = match memory == journals {
                    true => store.memory(),
                    false => setup::postgres::connect(config, &memory).await?.memory(),
                };
                Ok(Self { journals: Arc::new(store), memory: Arc::new(memory) })
            }
            #[cfg(not(feature = "postgres"))]
            Database::Postgres { .. } => Err(setup::without_postgres()),
        }
    }
}

pub(super) async fn run(name: &str, config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    let path = args.get_one::<PathBuf>("file").expect("clap requires it");
    let (from, to) = match name {
        "export" => (Stores::configured(config, true).await?, Stores::file(path, false)?),
        "import" => (Stores::file(path, true)?, Stores::configured(config, false).await?),
        _ if !matches!(config.store(), Database::Postgres { .. }) => {
            return Err(CliError::usage("no PostgreSQL database is configured").hint(
                "CHECKPOINT_DB_URI or DATABASE_URL has its address; `import` copies into another SQLite file",
            ));
        }
        _ => (Stores::file(path, true)?, Stores::configured(config, false).await?),
    };
    let ids = match args.try_get_many::<String>("sessions").ok().flatten() {
        Some(named) => named.map(|id| Ok(id.parse()?)).collect::<Result<Vec<SessionId>, CliError>>()?,
        None => all(&*from.journals).await?,
    };
    let (mut copied, mut unchanged, mut empty, mut entries) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut failed: Vec<(SessionId, String)> = Vec::new();
    for id in ids {
        match transfer(&*from.journals, &*to.journals, &id).await {
            Ok(TransferOutcome::Copied(verified)) => {
                copied += 1;
                entries += verified.entries;
            }
            Ok(TransferOutcome::Unchanged) => unchanged += 1,
            Ok(_) => empty += 1,
            Err(error) => failed.push((id, error.to_string())),
        }
    }
    let items =
        match name {
            "migrate" => {
                let moved = memory::transfer(&*from.memory, &*to.memory).await;
                Some(moved.map_err(|error| {
                    CliError::new(format!("the long-term memory cannot be copied: {error}"))
                })?)
            }
            _ => None,
        };
    if args.get_flag("json") {
        let failed: Vec<_> =
            failed.iter().map(|(id, error)| json!({"session_id": id, "error": error})).collect();
        output::json(&json!({
            "copied": copied, "unchanged": unchanged, "empty": empty, "entries": entries,
            "memory_items": items, "failed": failed,
        }))?;
    } else {
        for (id, error) in &failed {
            output::print(format!("{id}: {error}"))?;
        }
        let memory = items.map(|items| format!(", {items} items of the memory")).unwrap_or_default();
        output::print(format!(
            "copied and verified: {copied} sessions ({entries} entries){memory}; already there: {unchanged}; \
             without entries: {empty}; failed: {}",
            failed.len()
        ))?;
    }
    match failed.len() {
        0 => Ok(()),
        count => Err(CliError::new(format!("{count} sessions were not copied"))
            .hint("a session that is held is executed by a server: stop it, and repeat the command")),
    }
}

/// Returns the ids of all sessions with entries. A session that was only locked has none.
pub(super) async fn all(store: &dyn JournalStore) -> Result<Vec<SessionId>, CliError> {
    let (mut ids, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(after.as_ref(), &[], PAGE).await;
        let page = page.map_err(|error| CliError::new(error.to_string()))?;
        let full = page.len() == PAGE;
        after = page.last().map(|(id, _)| id.clone());
        ids.extend(page.into_iter().filter(|(_, head)| head.last > Seq::ZERO).map(|(id, _)| id));
        if !full {
            return Ok(ids);
        }
    }
}

/// Opens the journals of the configured database, which must exist.
pub(super) async fn journals(config: &Config) -> Result<Arc<dyn JournalStore>, CliError> {
    Ok(Stores::configured(config, true).await?.journals)
}
