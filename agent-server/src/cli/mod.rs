//! The command line: `agent-server [serve]`, and tools for its journals.
//!
//! One file per command: `serve`, `run`, `sessions`, `history`, `replay`, `fork`, `diff`, `graph`, `why`, `mcp`. Also `flags`
//! (settings as flags), `setup` (a runtime from settings), `security` (keys, TLS, webhooks), `error`, `output` (tables and
//! JSON), and for `run` `prompt` and `progress`.

mod diff;
mod embed;
mod error;
mod flags;
mod fork;
mod graph;
mod security;
mod history;
mod log;
#[cfg(feature = "mcp")]
mod mcp;
mod setup;
mod output;
mod program;
mod progress;
mod prompt;
mod remote_tools;
mod replay;
mod run;
mod serve;
mod sessions;
mod signals;
mod transfer;
mod verify;
mod why;

use std::{
    ffi::OsString,
    process::ExitCode,
    sync::OnceLock,
    time::{Duration, Instant},
};

use clap::{Arg, ArgAction, ArgMatches, Command, error::ErrorKind};

use self::error::CliError;
pub use self::{
    embed::{configure, init_log, shutdown_signal},
    program::{IntoAgents, ServeError, serve},
};
use crate::{config::Config, otlp::Traces};

const ABOUT: &str = "Durable agents over REST and WebSocket, and tools for their journals.";

const AFTER: &str = "\
Without a command it serves. Settings come from .env, the environment, a TOML file and flags; later ones override earlier ones.
Exit codes: 0 success, 1 failed or incomplete, 2 invalid arguments or configuration.

  agent-server --api-port 9000                     serve
  agent-server run \"라네즈 리뷰를 분석해줘\"           run an agent, answer its questions at the prompt
  agent-server sessions                            list sessions
  agent-server mcp                                 serve tools and agents to an MCP client over stdio
  agent-server why SESSION FIELD                   list the entries that set a value";

/// Runs the command line.
///
/// Exit codes: 0 success; 1 failed or incomplete; 2 invalid arguments or configuration.
///
/// # Examples
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     agent_server::cli::main()
/// }
/// ```
#[must_use]
pub fn main() -> ExitCode {
    match start(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn start(words: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => {
            let done = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if done { output::print(error.render()) } else { Err(CliError::misuse(&error)) };
        }
    };
    let (name, args) = matches.subcommand().unwrap_or(("serve", &matches));
    let config = Config::read(&flags::sources(&matches, args))?;
    if matches.get_flag(PRINT) || (name == "serve" && args.get_flag(PRINT)) {
        return match matches.get_flag("json") || (name == "serve" && args.get_flag("json")) {
            true => output::json(&config.to_json()),
            false => output::print(config.to_text()),
        };
    }
    let mut threads = match name {
        "serve" | "run" | "mcp" => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = threads.enable_all().build().map_err(CliError::from_io("threads cannot be created"))?;
    let traces = match name {
        "serve" | "run" | "mcp" => {
            Traces::open(config.traces().as_ref(), runtime.handle()).map_err(CliError::usage)?
        }
        _ => None,
    };
    log::begin(&config, name == "serve", traces.as_ref());
    content(&config, traces.is_some());
    runtime.block_on(async {
        let ending = OnceLock::new();
        let done = act(name, &config, args, &ending).await;
        if let Some(traces) = traces {
            let passed = ending.get().map_or(Duration::ZERO, Instant::elapsed);
            traces.close(config.grace.saturating_sub(passed).max(FLUSH)).await;
        }
        done
    })
}

/// Turns on the content of traces and of model requests in journals, if the settings say so.
fn content(config: &Config, has_traces: bool) {
    let pattern = config.content_redact.clone();
    let redact = move |text: &str| match &pattern {
        Some(pattern) => pattern.replace_all(text, "[redacted]").into_owned(),
        None => text.to_owned(),
    };
    if config.trace_content && has_traces && agent_core::telemetry::capture_content(redact.clone()) {
        tracing::warn!("TRACE_CONTENT is on: traces contain messages, arguments and results");
    }
    if config.journal_requests && agent_core::telemetry::journal_requests(redact) {
        tracing::warn!("JOURNAL_REQUESTS is on: journals contain the requests of model calls");
    }
}

/// Runs a command. `ending` receives the time of a shutdown signal.
async fn act(
    name: &str,
    config: &Config,
    args: &ArgMatches,
    ending: &OnceLock<Instant>,
) -> Result<(), CliError> {
    match name {
        "run" => run::run(config, args).await,
        "sessions" => sessions::run(config, args).await,
        "history" => history::run(config, args).await,
        "replay" => replay::run(config, args).await,
        "fork" => fork::run(config, args).await,
        "diff" => diff::run(config, args).await,
        "graph" => graph::run(config, args),
        "why" => why::run(config, args).await,
        "verify" => verify::run(config, args).await,
        "export" | "import" | "migrate" => transfer::run(name, config, args).await,
        #[cfg(feature = "mcp")]
        "mcp" => mcp::run(config).await,
        _ => serve::run(config, ending).await,
    }
}

/// Minimum time for the export of the last traces.
const FLUSH: Duration = Duration::from_millis(500);

const PRINT: &str = "print-config";

fn command() -> Command {
    let mut tools = vec![
        run::command(),
        sessions::command(),
        history::command(),
        replay::command(),
        fork::command(),
        diff::command(),
        graph::command(),
        why::command(),
        verify::command(),
        #[cfg(feature = "mcp")]
        mcp::command(),
    ];
    tools.extend(transfer::commands());
    let serve = Command::new("serve").about("Serves; the default");
    Command::new("agent-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER)
        .args(print_args())
        .args(flags::args(true))
        // Deferred: a start makes a hundred flags once and not for each command.
        .subcommand(serve.defer(|serve| serve.args(print_args()).args(flags::args(true))))
        .subcommands(tools.into_iter().map(|tool| tool.defer(|tool| tool.args(flags::args(false)))))
        .disable_help_subcommand(true)
        .max_term_width(110)
}

fn print_args() -> [Arg; 2] {
    [
        Arg::new(PRINT)
            .long(PRINT)
            .action(ArgAction::SetTrue)
            .help("Prints the effective settings and their sources, without secrets"),
        Arg::new("json").long("json").action(ArgAction::SetTrue).help("With --print-config: as JSON"),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_arguments_of_all_commands_are_consistent() {
        super::command().debug_assert();
    }
}
