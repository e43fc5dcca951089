//! `graph`: draws the graph of an agent.

use std::fs;

use clap::{Arg, ArgMatches, Command, builder::PossibleValue};
use serde_json::json;

use super::{error::CliError, output, setup};
use crate::Config;

pub(super) fn command() -> Command {
    Command::new("graph")
        .about("Draws an agent's graph")
        .arg(Arg::new("agent").value_name("AGENT").help(format!("The agent; default: {}", setup::first())))
        .arg(
            Arg::new("format")
                .long("format")
                .value_name("FORMAT")
                .value_parser([
                    PossibleValue::new("mermaid"),
                    PossibleValue::new("dot"),
                    PossibleValue::new("json"),
                    // Removed; accepted so that its error can name the way to an SVG.
                    PossibleValue::new("svg").hide(true),
                ])
                .default_value("mermaid")
                .help("Output format"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE")
                .help("Writes to a file instead of stdout"),
        )
}

pub(super) fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    let format = args.get_one::<String>("format").map(String::as_str);
    if format == Some("svg") {
        return Err(CliError::usage("`--format svg` was removed; use `mermaid`, `dot` or `json`")
            .hint("`agent-server graph --format dot | dot -Tsvg` writes an SVG"));
    }
    let runtime = setup::graphs(config)?;
    let name = args.get_one::<String>("agent").cloned().unwrap_or_else(setup::first);
    let name = name.as_str();
    let text = match format {
        Some("dot") => runtime.dot(name),
        Some("json") => runtime.description(name).map(|outline| format!("{:#}", json!(outline))),
        _ => runtime.mermaid(name),
    };
    let text = text.ok_or_else(|| {
        CliError::usage(format!("unknown agent `{}`", output::short(name, 60)))
            .hint(format!("known: {}", runtime.graphs().join(", ")))
    })?;
    match args.get_one::<String>("output") {
        None => output::print(text),
        Some(path) => fs::write(path, text).map_err(|error| {
            CliError::new(format!("{} cannot be written: {error}", output::short(path, 200)))
        }),
    }
}
