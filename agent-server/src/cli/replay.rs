//! `replay`: the event stream of a session again, as it is in the journal.

use std::time::Duration;

use agent_core::{Event, event::EventBody, ids::Seq};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::Value;

use super::{
    error::CliError,
    output::{self, json_arg, short, time},
    setup,
};
use crate::Config;

/// Events read at once.
const PAGE: usize = 1_000;
/// The longest wait between two events.
const LONGEST: Duration = Duration::from_secs(3);

pub(super) fn command() -> Command {
    let number = |name: &'static str, word: &'static str| {
        Arg::new(name).long(name).value_name(word).value_parser(value_parser!(u64))
    };
    Command::new("replay")
        .about("Shows the events of a session again (tokens are not kept)")
        .arg(setup::session_arg())
        .arg(
            Arg::new("speed")
                .long("speed")
                .value_name("FACTOR")
                .value_parser(value_parser!(f64))
                .help("In time: 1 as it was, 2 twice as fast; waits are 3 s at most. Default: all at once"),
        )
        .arg(number("after", "SEQ").help("Only events behind this number"))
        .arg(number("run", "NUMBER").help("Only events of this run"))
        .arg(json_arg().help("Prints one JSON object a line"))
}

pub(super) async fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
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

/// What is worth a line of it.
fn gist(event: &EventBody, body: &Value) -> String {
    match event {
        EventBody::RunStarted(started) => format!("{} → {}", started.graph, started.next.join(", ")),
        EventBody::SuperstepCommitted(committed) if committed.next.is_empty() => "→ (end)".to_owned(),
        EventBody::SuperstepCommitted(committed) => format!("→ {}", committed.next.join(", ")),
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

/// The names of an object's fields with the short ones' values.
fn fields(value: &Value) -> String {
    let Value::Object(fields) = value else { return value.to_string() };
    let told = fields.iter().map(|(name, value)| format!("{name}={}", short(&value.to_string(), 40)));
    told.collect::<Vec<_>>().join(" ")
}
