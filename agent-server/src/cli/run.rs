//! `run`: runs an agent in this process, with progress on the terminal and questions at the prompt.

use std::{
    fs,
    io::{self, IsTerminal},
    sync::Arc,
    time::Duration,
};

use agent_core::{
    Answers, BusyPolicy, Run, RunOptions, RunStatus, Session, SessionError, SessionId,
    event::{EventBody, Subscription},
    interrupt::{AnswerError, OpenQuestion},
};
use clap::{Arg, ArgMatches, Command};
use futures::FutureExt;
use serde_json::{Map, Value, json};

use super::{
    error::CliError,
    output::{self, json_arg},
    progress::Progress,
    prompt::{self, Line, Prompt},
    remote_tools, setup,
    signals::EndSignals,
};
use crate::{Config, TaskAgent, session_title::titled};

/// Maximum size of the context, in bytes.
const CONTEXT: usize = 1024 * 1024;

pub(super) fn command() -> Command {
    Command::new("run")
        .about("Runs an agent, shows its progress, and asks its questions at the prompt")
        .after_help(
            "The answer is printed on stdout, everything else on stderr. Without a terminal, answers are lines of stdin.\n\
             Ctrl-C stops the run; `agent-server run --session ID` continues it.",
        )
        .arg(Arg::new("message").value_name("MESSAGE").help(
            "The task. Without it the session continues: its questions are asked, a stopped or failed run is resumed",
        ))
        .arg(Arg::new("session").long("session").value_name("ID").help("Id of the session; default: a new one"))
        .arg(
            Arg::new("agent")
                .long("agent")
                .value_name("NAME")
                .help(format!("The agent; default: {}", setup::first())),
        )
        .arg(
            Arg::new("context")
                .long("context")
                .value_name("JSON")
                .help("JSON object for the agent, or @FILE"),
        )
        .arg(
            Arg::new("on-busy")
                .long("on-busy")
                .value_name("POLICY")
                .value_parser(["reject", "interrupt", "rollback"])
                .help("Policy if the session has an active run; default: reject"),
        )
        .arg(json_arg().help("Prints the result as JSON: session_id, status, response, todos, execution_time, …"))
}

pub(super) async fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    let message = args.get_one::<String>("message");
    let named = args.get_one::<String>("session").map(|id| id.parse::<SessionId>()).transpose()?;
    let remote = remote_tools::connect(config).await?;
    let runtime = match (message, &named) {
        (None, None) => {
            return Err(
                CliError::usage("`run` needs a message").hint("or --session ID to continue a session")
            );
        }
        (None, Some(_)) => setup::with_agents(config, setup::journals(config).await?, remote.registry())?,
        (Some(_), _) => setup::with_agents(config, setup::runtime(config).await?, remote.registry())?,
    };
    let session = runtime.session_of(named.unwrap_or_else(SessionId::random));
    let mut terminal = Terminal {
        events: session.subscribe(None),
        progress: Progress::new(),
        prompt: Prompt::new(),
        signals: EndSignals::install().map_err(CliError::from_io("signal handlers cannot be installed"))?,
        agents: setup::agents(config, remote.registry())?,
        session,
    };
    let end = match message {
        Some(message) => {
            let started = start(&terminal.session, &terminal.agents, message, args).await;
            terminal.follow(started?).await
        }
        None => terminal.resume().await,
    };
    let result = match end {
        Ok(end) => terminal.report(end, args.get_flag("json")).await,
        Err(failure) => Err(failure),
    };
    drop(terminal);
    runtime.shutdown(config.grace.min(Duration::from_secs(5))).await;
    remote.close().await;
    result
}

async fn start(
    session: &Session,
    agents: &[Arc<dyn TaskAgent>],
    message: &str,
    args: &ArgMatches,
) -> Result<Run, CliError> {
    if message.trim().is_empty() {
        return Err(CliError::usage("the message is empty"));
    }
    let name = args.get_one::<String>("agent").cloned().unwrap_or_else(setup::first);
    let name = name.as_str();
    let agent = agents.iter().find(|agent| agent.graph() == name).ok_or_else(|| {
        let known: Vec<&str> = agents.iter().map(|agent| agent.graph()).collect();
        CliError::usage(format!("unknown agent `{}`", output::short(name, 60)))
            .hint(format!("known: {}", known.join(", ")))
    })?;
    let context = context(args.get_one::<String>("context").map(String::as_str))?;
    let policy = match args.get_one::<String>("on-busy").map(String::as_str) {
        Some("interrupt") => BusyPolicy::Interrupt,
        Some("rollback") => BusyPolicy::Rollback,
        _ => BusyPolicy::Reject,
    };
    let input = agent.input(message.to_owned(), context);
    let options = titled(RunOptions::default().on_busy(policy), message);
    Ok(session.run_json(agent.graph(), input).options(options).start().await?)
}

/// `--context`: an object, or `@FILE` with one.
fn context(argument: Option<&str>) -> Result<Map<String, Value>, CliError> {
    let text = match argument.map(|text| (text, text.strip_prefix('@'))) {
        None => return Ok(Map::new()),
        Some((_, Some(path))) => fs::read_to_string(path)
            .map_err(|error| CliError::usage(format!("--context: {path} cannot be read: {error}")))?,
        Some((text, None)) => text.to_owned(),
    };
    if text.len() > CONTEXT {
        return Err(CliError::usage(format!("--context exceeds {CONTEXT} bytes")));
    }
    serde_json::from_str(&text)
        .map_err(|error| CliError::usage(format!("--context must be a JSON object: {error}")))
}

/// Why the command ends.
enum CommandEnd {
    /// The run has ended: completed, failed, or stopped by another process.
    Finished(RunStatus),
    /// The run is paused, and stdin has ended.
    Unanswered,
    /// A signal arrived.
    Interrupted,
}

/// A session at a terminal.
struct Terminal {
    session: Session,
    agents: Vec<Arc<dyn TaskAgent>>,
    events: Subscription,
    progress: Progress,
    prompt: Prompt,
    signals: EndSignals,
}

impl Terminal {
    /// Continues a session.
    async fn resume(&mut self) -> Result<CommandEnd, CliError> {
        let status = self.session.status().await?;
        match status.status {
            RunStatus::Paused => {
                prompt::say(&format!("session {} waits for an answer\n", self.session.id()));
                match self.ask(status.questions).await? {
                    AskResult::Answered(run) => self.follow(run).await,
                    AskResult::Withdrawn => {
                        Err(CliError::new("the question was withdrawn").hint("run the command again"))
                    }
                    AskResult::EndOfInput => Ok(CommandEnd::Unanswered),
                    AskResult::Interrupted => Ok(CommandEnd::Interrupted),
                }
            }
            RunStatus::Completed | RunStatus::Idle => Ok(CommandEnd::Finished(status.status)),
            RunStatus::Running | RunStatus::Failed | RunStatus::Stopped => {
                let run = self.session.resume().await?;
                self.follow(run).await
            }
        }
    }

    /// Shows a run until it ends.
    async fn follow(&mut self, mut run: Run) -> Result<CommandEnd, CliError> {
        prompt::say(&format!("session {} ({})\n", self.session.id(), run.id()));
        loop {
            let report = loop {
                tokio::select! {
                    biased;
                    () = self.signals.next() => return self.interrupt().await,
                    event = self.events.next() => match event {
                        Ok(event) => self.progress.show(&event),
                        Err(error) => return Err(CliError::new(error.to_string())),
                    },
                    report = run.wait() => break report,
                }
            };
            while let Some(Ok(event)) = self.events.next().now_or_never() {
                self.progress.show(&event);
            }
            if report.status != RunStatus::Paused {
                return Ok(CommandEnd::Finished(report.status));
            }
            match self.ask(report.questions).await? {
                AskResult::Answered(next) => run = next,
                AskResult::Withdrawn => {}
                AskResult::EndOfInput => return Ok(CommandEnd::Unanswered),
                AskResult::Interrupted => return Ok(CommandEnd::Interrupted),
            }
        }
    }

    /// Asks all open questions.
    async fn ask(&mut self, questions: Vec<OpenQuestion>) -> Result<AskResult, CliError> {
        self.progress.rest();
        let mut run = None;
        for asked in questions {
            prompt::show(&asked.question);
            loop {
                prompt::prompt();
                let line = tokio::select! {
                    biased;
                    () = self.signals.next() => return Ok(AskResult::Interrupted),
                    line = self.prompt.line() => line,
                    // The deadline passed.
                    () = withdrawn(&mut self.events, &asked) => {
                        prompt::say("\n  the question was withdrawn\n");
                        break;
                    }
                };
                let text = match line {
                    Line::Text(text) => text,
                    Line::Unusable(why) => {
                        prompt::say(&format!("  {why}\n"));
                        continue;
                    }
                    Line::End => return Ok(AskResult::EndOfInput),
                };
                if !io::stdin().is_terminal() {
                    prompt::say(&format!("{}\n", output::short(&text, 200)));
                }
                let value = match prompt::parse_answer(&asked.question, &text) {
                    Ok(value) => value,
                    Err(message) => {
                        prompt::say(&format!("  {message}\n"));
                        continue;
                    }
                };
                let id = asked.id.clone();
                match self.session.answer(Answers::to(id, value)).by("the terminal").await {
                    Ok(next) => {
                        run = Some(next);
                        break;
                    }
                    Err(SessionError::Answer(AnswerError::Invalid { path, expected, .. })) => {
                        let at = if path.is_empty() { String::new() } else { format!(" at {path}") };
                        prompt::say(&format!("  invalid answer{at}: {expected}\n"));
                    }
                    Err(SessionError::Answer(
                        AnswerError::AlreadyAnswered { .. } | AnswerError::Unknown { .. },
                    )) => {
                        prompt::say("  the question was withdrawn\n");
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(run.map_or(AskResult::Withdrawn, AskResult::Answered))
    }

    /// Stops the run. A second signal ends the command at once.
    async fn interrupt(&mut self) -> Result<CommandEnd, CliError> {
        self.progress.rest();
        prompt::say("\nstopping; press Ctrl-C again to exit at once\n");
        tokio::select! {
            biased;
            () = self.signals.next() => {}
            stopped = self.session.stop() => match stopped {
                Ok(_) | Err(SessionError::NothingToDo { .. }) => {}
                Err(error) => return Err(error.into()),
            },
        }
        Ok(CommandEnd::Interrupted)
    }

    /// Reports the end: the answer on stdout, or how to continue.
    async fn report(&mut self, end: CommandEnd, as_json: bool) -> Result<(), CliError> {
        self.progress.rest();
        let status = self.session.status().await?;
        let id = self.session.id();
        let response = match status.status {
            RunStatus::Completed => {
                let state = self.session.state_json().await?;
                let agent = self.agents.iter().find(|agent| agent.graph() == status.graph);
                agent.map(|agent| agent.response(&state)).unwrap_or_default()
            }
            _ => String::new(),
        };
        if as_json {
            let failure = status.failure.as_ref();
            let error = failure.map(|it| json!({"code": it.code, "message": it.message, "node": it.node}));
            output::json(&json!({
                "session_id": id,
                "status": status.status,
                "response": response,
                "todos": status.todos,
                "questions": status.questions,
                "execution_time": status.active_ms as f64 / 1_000.0,
                "error": error,
            }))?;
        }
        let command = format!("`agent-server run --session {id}`");
        match end {
            CommandEnd::Finished(RunStatus::Completed) => {
                let took = status.active_ms as f64 / 1_000.0;
                prompt::say(&format!("session {id} completed in {took:.1} s\n"));
                if as_json { Ok(()) } else { output::print(response) }
            }
            CommandEnd::Finished(RunStatus::Failed) => {
                let message = status.failure.map_or_else(|| "unknown".to_owned(), |failure| failure.message);
                Err(CliError::new(format!("the run failed: {message}")).hint(format!("{command} retries it")))
            }
            CommandEnd::Finished(status) => {
                Err(CliError::new(format!("session {id} is {status}"))
                    .hint(format!("{command} continues it")))
            }
            CommandEnd::Unanswered => Err(CliError::new(format!("session {id} waits for an answer"))
                .hint(format!("{command} asks again"))),
            CommandEnd::Interrupted => {
                let message = format!("session {id} is {}", status.status);
                Err(CliError::new(message).hint(format!("{command} continues it")))
            }
        }
    }
}

/// Result of asking questions.
enum AskResult {
    Answered(Run),
    /// All questions were withdrawn.
    Withdrawn,
    /// Stdin has ended.
    EndOfInput,
    Interrupted,
}

/// Resolves when the question is withdrawn.
async fn withdrawn(events: &mut Subscription, asked: &OpenQuestion) {
    loop {
        match events.next().await {
            Ok(event) => match &event.body {
                EventBody::QuestionWithdrawn(gone) if gone.id == asked.id => return,
                _ => {}
            },
            // The error is reported when the answer is given.
            Err(_) => std::future::pending::<()>().await,
        }
    }
}
