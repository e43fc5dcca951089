//! `fork`: creates a session from another one at a checkpoint.

use agent_core::{SessionId, ids::Seq};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::json;

use super::{
    error::CliError,
    output::{self, json_arg},
    setup,
};
use crate::Config;

pub(super) fn command() -> Command {
    Command::new("fork")
        .about("Creates a session with the journal of SESSION up to entry SEQ")
        .arg(setup::session_arg())
        .arg(
            Arg::new("seq")
                .value_name("SEQ")
                .required(true)
                .value_parser(value_parser!(u64))
                .help("The checkpoint; see `history`"),
        )
        .arg(Arg::new("new").value_name("NEW").help("Id of the new session; default: a random one"))
        .arg(json_arg())
}

pub(super) async fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    let runtime = setup::journals(config).await?;
    let id = args.get_one::<String>("session").map(String::as_str).unwrap_or_default();
    let seq = Seq(args.get_one::<u64>("seq").copied().unwrap_or_default());
    let new = args.get_one::<String>("new").map(|id| id.parse::<SessionId>()).transpose()?;
    let new = new.unwrap_or_else(SessionId::random);
    let fork = runtime.session(id)?.fork(seq, new.clone()).await?;
    let status = fork.status().await?.status;
    drop(fork);
    // Releases the lease of the new session.
    runtime.shutdown(config.grace).await;
    if args.get_flag("json") {
        return output::json(&json!({"session_id": new, "from": id, "seq": seq, "status": status}));
    }
    output::print(format!(
        "{new} is {id} up to {seq} ({status}); `agent-server run --session {new}` continues it"
    ))
}
