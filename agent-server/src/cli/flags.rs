//! Settings as flags, made from the table of settings.

use clap::{Arg, ArgAction, ArgMatches, parser::ValueSource};

use crate::config::{Setting, Sources, table};

const CONFIG: &str = "config";
/// Settings in the short help.
const USUAL: [&str; 5] = ["API_HOST", "API_PORT", "DATABASE_PATH", "ALLOWED_ORIGINS", "API_KEYS"];

/// Returns one flag per setting. Tools accept them too, but do not show them.
pub(super) fn args(shown: bool) -> Vec<Arg> {
    let file = Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("FILE")
        .help("TOML file with settings [AGENT_CONFIG, or agent-server.toml if it exists]")
        .hide(!shown);
    let of = |setting: Setting| {
        let default = setting.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
        let help = match setting.is_secret() {
            true => format!("File with {}. {} [secret]", setting.name, setting.help),
            false => format!("{} [{}]{default}", setting.help, setting.name),
        };
        let arg = Arg::new(setting.name)
            .long(setting.flag())
            .value_name(setting.word())
            .action(ArgAction::Set)
            .help(help)
            .help_heading(format!("Settings: {}", setting.section))
            .hide_short_help(!USUAL.contains(&setting.name))
            .hide(!shown && setting.name != "DATABASE_PATH");
        match setting.is_switch() {
            true => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            false => arg,
        }
    };
    std::iter::once(file).chain(table().into_iter().map(of)).collect()
}

/// Returns the sources of the process, and the flags before and after the command's name.
pub(super) fn sources(root: &ArgMatches, args: &ArgMatches) -> Sources {
    let mut sources = Sources::process();
    let text_of = |name: &str| {
        [args, root].into_iter().find_map(|matches| match matches.try_get_one::<String>(name) {
            Ok(Some(text)) if matches.value_source(name) == Some(ValueSource::CommandLine) => {
                Some(text.clone())
            }
            _ => None,
        })
    };
    if let Some(file) = text_of(CONFIG) {
        sources = sources.file(file);
    }
    for setting in table() {
        if let Some(text) = text_of(setting.name) {
            sources = sources.flag(setting.flag_variable(), text);
        }
    }
    sources
}
