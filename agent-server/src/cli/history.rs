//! `history`: lists the checkpoints of a session.

use agent_core::{ids::Seq, session::Checkpoint};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::{Value, json};

use super::{
    error::CliError,
    output::{self, json_arg, table, time},
    setup,
};
use crate::Config;

pub(super) fn command() -> Command {
    Command::new("history")
        .about("Lists the checkpoints of a session, for `fork` and `diff`")
        .arg(setup::session_arg())
        .arg(
            Arg::new("after")
                .long("after")
                .value_name("SEQ")
                .default_value("0")
                .value_parser(value_parser!(u64))
                .help("Only checkpoints after this number"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("NUMBER")
                .default_value("1000")
                .value_parser(value_parser!(u64).range(1..=100_000))
                .help("Maximum number"),
        )
        .arg(json_arg())
}

pub(super) async fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    let session = setup::session(config, args).await?;
    let number = |name: &str| args.get_one::<u64>(name).copied().unwrap_or_default();
    let limit = usize::try_from(number("limit")).unwrap_or(1_000);
    let places = session.history(Seq(number("after")), limit).await?;
    if args.get_flag("json") {
        return output::json(&places.iter().map(as_json).collect::<Vec<_>>());
    }
    let rows: Vec<[String; 5]> = places.iter().map(row).collect();
    output::print(table(["SEQ", "RUN", "STEP", "TIME (UTC)", "NEXT"], &rows))
}

fn row(place: &Checkpoint) -> [String; 5] {
    let next = if place.next.is_empty() { "(end)".to_owned() } else { place.next.join(", ") };
    [place.seq.to_string(), place.run.0.to_string(), place.superstep.to_string(), time(place.at), next]
}

fn as_json(place: &Checkpoint) -> Value {
    json!({
        "seq": place.seq,
        "run": place.run,
        "superstep": place.superstep,
        "at": place.at,
        "next": place.next,
    })
}
