//! `verify`: checks that every stored session can be read and continued.

use agent_core::{SessionId, journal};
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;

use super::{
    error::CliError,
    output::{self, json_arg, size},
    transfer,
};
use crate::Config;

pub(super) fn command() -> Command {
    Command::new("verify")
        .about("Checks that sessions can be read and continued; exit code 1 if one cannot")
        .arg(
            Arg::new("sessions")
                .value_name("SESSION")
                .action(ArgAction::Append)
                .help("Only these sessions; default: all"),
        )
        .arg(json_arg())
}

pub(super) async fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    let store = transfer::journals(config).await?;
    let ids = match args.get_many::<String>("sessions") {
        Some(named) => named.map(|id| Ok(id.parse()?)).collect::<Result<Vec<SessionId>, CliError>>()?,
        None => transfer::all(&*store).await?,
    };
    let (mut sessions, mut entries, mut bytes) = (0_u64, 0_u64, 0_u64);
    let mut faults = Vec::new();
    for id in ids {
        match journal::verify(&*store, &id).await {
            Ok(found) => {
                sessions += 1;
                entries += found.entries;
                bytes += found.bytes;
            }
            Err(error) => faults.push((id, error.to_string())),
        }
    }
    if args.get_flag("json") {
        let faults: Vec<_> =
            faults.iter().map(|(id, error)| json!({"session_id": id, "error": error})).collect();
        output::json(&json!({"sessions": sessions, "entries": entries, "bytes": bytes, "faults": faults}))?;
    } else {
        for (id, error) in &faults {
            output::print(format!("{id}: {error}"))?;
        }
        let bytes = size(bytes);
        output::print(format!(
            "readable: {sessions} sessions, {entries} entries, {bytes}; faults: {}",
            faults.len()
        ))?;
    }
    match faults.len() {
        0 => Ok(()),
        count => Err(CliError::new(format!("{count} sessions have faults"))),
    }
}
