//! `run`: one run in this process, watched on the terminal and answered at the prompt.

use std::{
    fs,
    io::{self, IsTerminal},
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
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    error::CliError,
    output::{self, json_arg},
    progress::Progress,
    prompt::{self, Line, Prompt},
    setup::{self, FIRST},
};
use crate::{Config, TaskAgent, session_title::titled};

/// The largest context, in bytes.
const CONTEXT: usize = 1024 * 1024;

pub(super) fn command() -> Command {
    Command::new("run")
        .about("Runs an agent here, shows its progress, and answers its questions at the prompt")
        .after_help(
            "The answer goes to stdout, everything else to stderr. Without a terminal, answers are lines of stdin.\n\
             Ctrl-C stops the run; `agent-server run --session ID` goes on with it.",
        )
        .arg(Arg::new("message").value_name("MESSAGE").help(
            "What to do. Without it the session goes on: its questions are asked, a stopped or failed run is resumed",
        ))
        .arg(Arg::new("session").long("session").value_name("ID").help("The session; default: a new one"))
        .arg(
            Arg::new("agent")
                .long("agent")
                .value_name("NAME")
                .help(format!("The agent; default: {FIRST}")),
        )
        .arg(
            Arg::new("context")
                .long("context")
                .value_name("JSON")
                .help("An object for the agent, or @FILE with it"),
        )
        .arg(
            Arg::new("on-busy")
                .long("on-busy")
                .value_name("POLICY")
                .value_parser(["reject", "interrupt", "rollback"])
                .help("What becomes of a run that the session has: default reject"),
        )
        .arg(json_arg().help("Prints the result as JSON: session_id, status, response, todos, execution_time, …"))
}

pub(super) async fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    let message = args.get_one::<String>("message");
    let named = args.get_one::<String>("session").map(|id| id.parse::<SessionId>()).transpose()?;
    let runtime = match (message, &named) {
        (None, None) => {
            return Err(
                CliError::usage("`run` needs a message").hint("or --session ID to go on with a session")
            );
        }
        (None, Some(_)) => setup::journals(config)?,
        (Some(_), _) => setup::knowing(config, setup::runtime(config)?)?,
    };
    let session = runtime.session_of(named.unwrap_or_else(SessionId::random));
    let mut desk = Desk {
        events: session.subscribe(None),
        progress: Progress::new(),
        prompt: Prompt::new(),
        int: signal(SignalKind::interrupt()).map_err(CliError::from_io("signals cannot be heard"))?,
        term: signal(SignalKind::terminate()).map_err(CliError::from_io("signals cannot be heard"))?,
        agents: setup::agents(config)?,
        session,
    };
    let end = match message {
        Some(message) => {
            let started = start(&desk.session, &desk.agents, message, args).await;
            desk.follow(started?).await
        }
        None => desk.go_on().await,
    };
    let told = match end {
        Ok(end) => desk.tell(end, args.get_flag("json")).await,
        Err(failure) => Err(failure),
    };
    drop(desk);
    runtime.shutdown(config.grace.min(Duration::from_secs(5))).await;
    told
}

async fn start(
    session: &Session,
    agents: &[Box<dyn TaskAgent>],
    message: &str,
    args: &ArgMatches,
) -> Result<Run, CliError> {
    if message.trim().is_empty() {
        return Err(CliError::usage("the message is empty"));
    }
    let name = args.get_one::<String>("agent").map_or(FIRST, String::as_str);
    let agent = agents.iter().find(|agent| agent.graph() == name).ok_or_else(|| {
        let known: Vec<&str> = agents.iter().map(|agent| agent.graph()).collect();
        CliError::usage(format!("there is no agent `{}`", output::short(name, 60)))
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
    Ok(session.start_json(agent.graph(), input, options).await?)
}

/// `--context`: an object, or `@FILE` with one.
fn context(said: Option<&str>) -> Result<Map<String, Value>, CliError> {
    let text = match said.map(|said| (said, said.strip_prefix('@'))) {
        None => return Ok(Map::new()),
        Some((_, Some(path))) => fs::read_to_string(path)
            .map_err(|error| CliError::usage(format!("--context: {path} cannot be read: {error}")))?,
        Some((said, None)) => said.to_owned(),
    };
    if text.len() > CONTEXT {
        return Err(CliError::usage(format!("--context has more than {CONTEXT} bytes")));
    }
    serde_json::from_str(&text)
        .map_err(|error| CliError::usage(format!("--context must be a JSON object: {error}")))
}

/// How it ended here.
enum End {
    /// It rests: completed, failed, stopped from elsewhere.
    Rested(RunStatus),
    /// It waits for answers, and nobody is here to give them.
    Unanswered,
    /// It was told to stop.
    Interrupted,
}

/// One session at one terminal.
struct Desk {
    session: Session,
    agents: Vec<Box<dyn TaskAgent>>,
    events: Subscription,
    progress: Progress,
    prompt: Prompt,
    int: Signal,
    term: Signal,
}

impl Desk {
    /// Takes a session up where it is.
    async fn go_on(&mut self) -> Result<End, CliError> {
        let status = self.session.status().await?;
        match status.status {
            RunStatus::Paused => {
                prompt::say(&format!("session {} waits for an answer\n", self.session.id()));
                match self.ask(status.questions).await? {
                    Asked::Answered(run) => self.follow(run).await,
                    Asked::GoneOn => {
                        Err(CliError::new("the question is no longer asked").hint("start the command again"))
                    }
                    Asked::Nobody => Ok(End::Unanswered),
                    Asked::Interrupted => Ok(End::Interrupted),
                }
            }
            RunStatus::Completed | RunStatus::Idle => Ok(End::Rested(status.status)),
            RunStatus::Running | RunStatus::Failed | RunStatus::Stopped => {
                let run = self.session.resume().await?;
                self.follow(run).await
            }
        }
    }

    /// Shows a run until it rests for good.
    async fn follow(&mut self, mut run: Run) -> Result<End, CliError> {
        prompt::say(&format!("session {} ({})\n", self.session.id(), run.id()));
        loop {
            let rest = loop {
                tokio::select! {
                    biased;
                    _ = self.int.recv() => return self.interrupt().await,
                    _ = self.term.recv() => return self.interrupt().await,
                    event = self.events.next() => match event {
                        Ok(event) => self.progress.show(&event),
                        Err(error) => return Err(CliError::new(error.to_string())),
                    },
                    rest = run.rest() => break rest,
                }
            };
            while let Some(Ok(event)) = self.events.next().now_or_never() {
                self.progress.show(&event);
            }
            let (status, questions, _) = rest;
            if status != RunStatus::Paused {
                return Ok(End::Rested(status));
            }
            match self.ask(questions).await? {
                Asked::Answered(next) => run = next,
                Asked::GoneOn => {}
                Asked::Nobody => return Ok(End::Unanswered),
                Asked::Interrupted => return Ok(End::Interrupted),
            }
        }
    }

    /// Asks until every open question has its answer.
    async fn ask(&mut self, questions: Vec<OpenQuestion>) -> Result<Asked, CliError> {
        self.progress.rest();
        let mut run = None;
        for asked in questions {
            prompt::show(&asked.question);
            loop {
                prompt::sign();
                let line = tokio::select! {
                    biased;
                    _ = self.int.recv() => return Ok(Asked::Interrupted),
                    _ = self.term.recv() => return Ok(Asked::Interrupted),
                    line = self.prompt.line() => line,
                    // Its deadline passed.
                    () = withdrawn(&mut self.events, &asked) => {
                        prompt::say("\n  the question is no longer asked\n");
                        break;
                    }
                };
                let text = match line {
                    Line::Text(text) => text,
                    Line::Unusable(why) => {
                        prompt::say(&format!("  {why}\n"));
                        continue;
                    }
                    Line::End => return Ok(Asked::Nobody),
                };
                if !io::stdin().is_terminal() {
                    prompt::say(&format!("{}\n", output::short(&text, 200)));
                }
                let value = match prompt::meaning(&asked.question, &text) {
                    Ok(value) => value,
                    Err(told) => {
                        prompt::say(&format!("  {told}\n"));
                        continue;
                    }
                };
                let id = asked.id.clone();
                match self.session.answer_as(Answers::to(id, value), "the terminal").await {
                    Ok(next) => {
                        run = Some(next);
                        break;
                    }
                    Err(SessionError::Answer(AnswerError::Invalid { path, expected, .. })) => {
                        let at = if path.is_empty() { String::new() } else { format!(" at {path}") };
                        prompt::say(&format!("  that does not fit{at}: {expected}\n"));
                    }
                    Err(SessionError::Answer(
                        AnswerError::AlreadyAnswered { .. } | AnswerError::Unknown { .. },
                    )) => {
                        prompt::say("  the question is no longer asked\n");
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(run.map_or(Asked::GoneOn, Asked::Answered))
    }

    /// Stops the run. What was told twice to end ends at once.
    async fn interrupt(&mut self) -> Result<End, CliError> {
        self.progress.rest();
        prompt::say("\nstopping; once more ends at once\n");
        tokio::select! {
            biased;
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
            stopped = self.session.stop() => match stopped {
                Ok(_) | Err(SessionError::NothingToDo { .. }) => {}
                Err(error) => return Err(error.into()),
            },
        }
        Ok(End::Interrupted)
    }

    /// Tells how it ended: the answer on stdout, how to go on otherwise.
    async fn tell(&mut self, end: End, as_json: bool) -> Result<(), CliError> {
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
        let go_on = format!("`agent-server run --session {id}`");
        match end {
            End::Rested(RunStatus::Completed) => {
                let took = status.active_ms as f64 / 1_000.0;
                prompt::say(&format!("session {id} completed in {took:.1} s\n"));
                if as_json { Ok(()) } else { output::print(response) }
            }
            End::Rested(RunStatus::Failed) => {
                let told = status.failure.map_or_else(|| "unknown".to_owned(), |failure| failure.message);
                Err(CliError::new(format!("the run failed: {told}")).hint(format!("{go_on} tries again")))
            }
            End::Rested(status) => {
                Err(CliError::new(format!("session {id} is {status}"))
                    .hint(format!("{go_on} goes on with it")))
            }
            End::Unanswered => Err(CliError::new(format!("session {id} waits for an answer"))
                .hint(format!("{go_on} asks again"))),
            End::Interrupted => {
                let told = format!("session {id} is {}", status.status);
                Err(CliError::new(told).hint(format!("{go_on} goes on with it")))
            }
        }
    }
}

/// What came of asking.
enum Asked {
    Answered(Run),
    /// All of them were withdrawn.
    GoneOn,
    /// Stdin is at its end.
    Nobody,
    Interrupted,
}

/// Ready when the question is no longer asked.
async fn withdrawn(events: &mut Subscription, asked: &OpenQuestion) {
    loop {
        match events.next().await {
            Ok(event) => match &event.body {
                EventBody::QuestionWithdrawn(gone) if gone.id == asked.id => return,
                _ => {}
            },
            // What happens to the journal shows when the answer is given.
            Err(_) => std::future::pending::<()>().await,
        }
    }
}
