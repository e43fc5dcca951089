//! `sessions`: lists sessions.

use agent_core::{RunStatus, SessionId, session::SessionInfo};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::{Value, json};

use super::{
    error::CliError,
    output::{self, Paint, json_arg, paint, size, table, time},
    setup,
};
use crate::{Config, session_title::TITLE};

/// Maximum length of a title in the table.
const TITLE_SHOWN: usize = 40;

const STATUSES: [RunStatus; 5] =
    [RunStatus::Running, RunStatus::Paused, RunStatus::Completed, RunStatus::Failed, RunStatus::Stopped];

pub(super) fn command() -> Command {
    Command::new("sessions")
        .about("Lists sessions, in the order of their ids")
        .arg(
            Arg::new("status")
                .long("status")
                .value_name("STATUS")
                .action(ArgAction::Append)
                .value_parser(STATUSES.map(RunStatus::as_str))
                .help("Only sessions with this status; may be repeated"),
        )
        .arg(Arg::new("after").long("after").value_name("ID").help("Only sessions after this id"))
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("NUMBER")
                .default_value("100")
                .value_parser(value_parser!(u64).range(1..=1_000))
                .help("Maximum number"),
        )
        .arg(json_arg())
}

pub(super) async fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    let runtime = setup::journals(config).await?;
    let after = args.get_one::<String>("after").map(|id| id.parse::<SessionId>()).transpose()?;
    let statuses: Vec<&String> = args.get_many("status").into_iter().flatten().collect();
    let statuses: Vec<RunStatus> =
        STATUSES.into_iter().filter(|status| statuses.iter().any(|word| *word == status.as_str())).collect();
    let limit = args.get_one::<u64>("limit").copied().unwrap_or(100);
    let limit = usize::try_from(limit).unwrap_or(100);
    let found = runtime.sessions(after.as_ref(), &statuses, limit).await?;
    if args.get_flag("json") {
        return output::json(&found.iter().map(as_json).collect::<Vec<_>>());
    }
    let rows: Vec<[String; 8]> = found.iter().map(row).collect();
    output::print(table(
        ["SESSION", "STATUS", "RUN", "AGENT", "ENTRIES", "SIZE", "CHANGED (UTC)", "TITLE"],
        &rows,
    ))?;
    if let Some(last) = found.last().filter(|_| found.len() == limit) {
        output::print(paint(Paint::Faint, &format!("more: --after {}", last.id)))?;
    }
    Ok(())
}

fn row(info: &SessionInfo) -> [String; 8] {
    let (head, summary) = (&info.head, &info.head.summary);
    [
        info.id.to_string(),
        summary.status.clone(),
        summary.run.0.to_string(),
        summary.graph.clone(),
        entries(info).to_string(),
        size(head.journal_bytes + head.snapshot_bytes),
        time(summary.at),
        summary.labels.get(TITLE).map(|title| title.chars().take(TITLE_SHOWN).collect()).unwrap_or_default(),
    ]
}

const fn entries(info: &SessionInfo) -> u64 {
    (info.head.last.0 + 1).saturating_sub(info.head.first.0)
}

fn as_json(info: &SessionInfo) -> Value {
    let (head, summary) = (&info.head, &info.head.summary);
    json!({
        "session_id": info.id,
        "title": summary.labels.get(TITLE),
        "status": summary.status,
        "run": summary.run,
        "agent": summary.graph,
        "entries": entries(info),
        "last_seq": head.last,
        "journal_bytes": head.journal_bytes,
        "snapshot_bytes": head.snapshot_bytes,
        "at": summary.at,
        "labels": summary.labels,
    })
}
