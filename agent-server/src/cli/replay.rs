//! `replay`: prints the events of a session from its journal, or replays recorded runs with the graphs of this program.

use std::{path::PathBuf, time::Duration};

use agent_core::{Event, Runtime, SessionId, event::EventBody, ids::Seq};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::{Value, json};

use super::{
    error::CliError,
    output::{self, json_arg, short, time},
    setup,
};
use crate::Config;

/// Events read per page.
const PAGE: usize = 1_000;
/// Maximum wait between two events.
const LONGEST: Duration = Duration::from_secs(3);

pub(super) fn command() -> Command {
    let number = |name: &'static str, word: &'static str| {
        Arg::new(name).long(name).value_name(word).value_parser(value_parser!(u64))
    };
    Command::new("replay")
        .about("Prints the events of a session (without tokens, which are not stored), or compares recorded runs")
        .arg(
            Arg::new("session")
                .value_name("SESSION")
                .num_args(1..)
                .required_unless_present("against")
                .help("The session's id; with --against any number, default: all"),
        )
        .arg(
            Arg::new("against")
                .long("against")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with_all(["speed", "after", "run"])
                .help(
                    "Runs the latest run of each session in this SQLite file (of `export`) with the present graphs, on its \
                     recorded results, and prints what differs; exit code 1 if something does. Nothing is called or stored",
                ),
        )
        .arg(Arg::new("speed").long("speed").value_name("FACTOR").value_parser(value_parser!(f64)).help(
            "Replays in time: 1 as recorded, 2 twice as fast; waits are at most 3 s. Default: without waits",
        ))
        .arg(number("after", "SEQ").help("Only events after this number"))
        .arg(number("run", "NUMBER").help("Only events of this run"))
        .arg(json_arg().help("Prints one JSON object per line"))
}

pub(super) async fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    if let Some(file) = args.get_one::<PathBuf>("against") {
        let sessions = args.get_many::<String>("session").unwrap_or_default();
        let sessions = sessions.map(|id| Ok(id.parse()?)).collect::<Result<Vec<SessionId>, CliError>>()?;
        return compare(&setup::recordings(config, file)?, sessions, args.get_flag("json")).await;
    }
    if args.get_many::<String>("session").is_some_and(|sessions| sessions.len() > 1) {
        return Err(CliError::usage("several sessions are only possible with --against"));
    }
    let speed = args.get_one::<f64>("speed").copied();
    if speed.is_some_and(|speed| !(speed > 0.0 && speed.is_finite())) {
        return Err(CliError::usage("--speed must be a number above 0"));
    }
    let session = setup::session(config, args).await?;
    let wanted = args.get_one::<u64>("run").copied();
    let mut after = Seq(args.get_one::<u64>("after").copied().unwrap_or_default());
    let mut before = None;
    loop {
        let page = session.events(after, PAGE).await?;
        for event in page.iter().filter(|event| wanted.is_none_or(|run| event.run.0 == run)) {
            if let (Some(speed), Some(before)) = (speed, before) {
                let ms = u64::try_from(event.at - before).unwrap_or_default();
                tokio::time::sleep(Duration::from_millis(ms).div_f64(speed).min(LONGEST)).await;
            }
            before = Some(event.at);
            let line = if args.get_flag("json") { as_json(event)? } else { line(event) };
            output::print(line)?;
        }
        match page.last().and_then(|event| event.seq) {
            Some(last) if page.len() == PAGE => after = last,
            _ => return Ok(()),
        }
    }
}

/// Replays the latest run of each session and prints the differences.
async fn compare(runtime: &Runtime, mut sessions: Vec<SessionId>, as_json: bool) -> Result<(), CliError> {
    if sessions.is_empty() {
        loop {
            let page = runtime.sessions(sessions.last(), &[], PAGE).await?;
            if page.is_empty() {
                break;
            }
            sessions.extend(page.into_iter().map(|found| found.id));
        }
    }
    let (mut tasks, mut different, mut skipped) = (0, 0_usize, 0_usize);
    for id in &sessions {
        let report = match runtime.session_of(id.clone()).replay().await {
            Ok(report) => report,
            // For example the deliveries of webhooks.
            Err(error) => {
                let is_foreign = error.code() == agent_core::Code::GraphNotFound;
                skipped += usize::from(is_foreign);
                different += usize::from(!is_foreign);
                output::print(match as_json {
                    true => json!({"session": id, "error": error.to_string()}).to_string(),
                    false => format!("{id}: not replayed, {error}"),
                })?;
                continue;
            }
        };
        tasks += report.tasks;
        different += usize::from(!report.differences.is_empty());
        if as_json {
            output::print(json!(report).to_string())?;
            continue;
        }
        for difference in &report.differences {
            output::print(format!("{id} {}: {difference}", report.run))?;
        }
    }
    if !as_json {
        let compared = sessions.len() - skipped;
        let line = format!(
            "compared: {compared} sessions, {tasks} tasks; different: {different}; skipped: {skipped}"
        );
        output::print(line)?;
    }
    match different {
        0 => Ok(()),
        count => Err(CliError::new(format!("{count} sessions behave differently"))),
    }
}

fn as_json(event: &Event) -> Result<String, CliError> {
    serde_json::to_string(event).map_err(|error| CliError::new(error.to_string()))
}

/// `   12  08:58:08.962  node_finished       audience#3  …`
fn line(event: &Event) -> String {
    let seq = event.seq.map(|seq| seq.to_string()).unwrap_or_default();
    let at = time(event.at);
    let clock = at.split(' ').nth(1).unwrap_or_default();
    let task = event.task.as_ref().map(|task| format!("{task}  ")).unwrap_or_default();
    let body = serde_json::to_value(&event.body).unwrap_or_default();
    let kind = body.get("type").and_then(Value::as_str).unwrap_or_default();
    format!("{seq:>6}  {clock}  {kind:<20}  {task}{}", short(&gist(&event.body, &body), 160))
}

/// Returns the summary of an event.
fn gist(event: &EventBody, body: &Value) -> String {
    match event {
        EventBody::RunStarted(started) => format!("{} → {}", started.graph, started.next.join(", ")),
        EventBody::SuperstepCommitted(committed) => match &committed.committed {
            Some(task) => format!("{task} → {}", committed.next.join(", ")),
            None if committed.next.is_empty() => "→ (end)".to_owned(),
            None => format!("→ {}", committed.next.join(", ")),
        },
        EventBody::TodoUpdated(update) => {
            let todo = &update.todo;
            format!("{} {}% {} {}", todo.id, todo.progress, todo.title, todo.message)
        }
        EventBody::QuestionAsked(asked) => asked.open.question.prompt.clone(),
        EventBody::QuestionAnswered(answer) => format!("{} by {}", answer.value, answer.by),
        EventBody::RunFailed(failed) => failed.message.clone(),
        EventBody::RunCompleted(done) => format!("{} ms", done.active_ms),
        EventBody::StepRecorded(step) => format!("{} `{}`, {} ms", step.kind, step.key, step.ms),
        EventBody::NodeFinished(finished) => fields(&finished.update),
        _ => fields(body.get("data").unwrap_or(&Value::Null)),
    }
}

/// Returns the fields of an object with shortened values.
fn fields(value: &Value) -> String {
    let Value::Object(fields) = value else { return value.to_string() };
    let texts = fields.iter().map(|(name, value)| format!("{name}={}", short(&value.to_string(), 40)));
    texts.collect::<Vec<_>>().join(" ")
}
