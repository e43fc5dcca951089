//! `why`: lists the journal entries that set a value.

use agent_core::session::{Provenance, ProvenanceKind};
use clap::{Arg, ArgMatches, Command};

use super::{
    error::CliError,
    output::{self, Paint, json_arg, paint, short, time},
    setup,
};
use crate::Config;

pub(super) fn command() -> Command {
    Command::new("why")
        .about("Lists the entries that set a state field, a todo, a step or a question")
        .arg(setup::session_arg())
        .arg(
            Arg::new("key")
                .value_name("KEY")
                .required(true)
                .help("A field of the state (`audience`), or the id or key of a todo, step or question"),
        )
        .arg(json_arg())
}

pub(super) async fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    let session = setup::session(config, args).await?;
    let key = args.get_one::<String>("key").map(String::as_str).unwrap_or_default();
    let causes = session.provenance(key).await?;
    if args.get_flag("json") {
        return output::json(&causes);
    }
    if causes.is_empty() {
        let line = format!("the journal of {} has no entry for `{}`", session.id(), short(key, 80));
        return Err(
            CliError::new(line).hint(format!("`agent-server replay {}` shows all entries", session.id()))
        );
    }
    let last = causes.len() - 1;
    for (at, cause) in causes.iter().enumerate() {
        let line = format!("{:>6}  {}  {}  {}", cause.seq, time(cause.at), cause.run, describe(cause));
        output::print(if at == last { paint(Paint::Strong, &line) } else { line })?;
        output::print(format!("        = {}", short(&cause.value.to_string(), 160)))?;
        for source in &cause.from {
            output::print(format!("        from {}: {}", source.seq, source.description))?;
        }
    }
    Ok(())
}

fn describe(cause: &Provenance) -> String {
    let by = cause.by.as_deref().unwrap_or_default();
    match cause.kind {
        ProvenanceKind::Input => "the input of the run set it".to_owned(),
        ProvenanceKind::Node => format!("task {by} set it"),
        ProvenanceKind::Edit => format!("an edit in the name of node {by} set it"),
        ProvenanceKind::Stop => "the stop or failure of the run set it".to_owned(),
        ProvenanceKind::Todo if by.is_empty() => "the todo changed with the run".to_owned(),
        ProvenanceKind::Todo => format!("task {by} changed the todo"),
        ProvenanceKind::Step => format!("task {by} recorded the step"),
        ProvenanceKind::Question => format!("task {by} asked"),
        ProvenanceKind::Answer => format!("{by} answered"),
        _ => by.to_owned(),
    }
}
