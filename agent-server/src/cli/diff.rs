//! `diff`: compares a session at two checkpoints.

use agent_core::{Session, ids::Seq};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    error::CliError,
    output::{self, Paint, json_arg, paint, short},
    setup,
};
use crate::Config;

pub(super) fn command() -> Command {
    let place = |name: &'static str, word: &'static str| {
        Arg::new(name).value_name(word).required(true).value_parser(value_parser!(u64))
    };
    Command::new("diff")
        .about("Compares the state, the todos and the status of a session at two checkpoints")
        .arg(setup::session_arg())
        .arg(place("from", "FROM").help("The first checkpoint; see `history`"))
        .arg(place("to", "TO").help("The second checkpoint"))
        .arg(json_arg())
}

pub(super) async fn run(config: &Config, args: &ArgMatches) -> Result<(), CliError> {
    let session = setup::session(config, args).await?;
    let place = |name: &str| Seq(args.get_one::<u64>(name).copied().unwrap_or_default());
    let (from, to) = (compared(&session, place("from")).await?, compared(&session, place("to")).await?);
    let mut changes = Vec::new();
    compare(&mut String::new(), &from, &to, &mut changes);
    if args.get_flag("json") {
        return output::json(&changes);
    }
    if changes.is_empty() {
        return output::print("no changes");
    }
    changes.iter().try_for_each(|change| output::print(line(change)))
}

/// Returns the compared values.
async fn compared(session: &Session, seq: Seq) -> Result<Value, CliError> {
    let status = session.status_at(seq).await?;
    let state = session.state_json_at(seq).await?;
    let todos: serde_json::Map<String, Value> = status
        .todos
        .iter()
        .map(|todo| {
            let value = json!({"title": todo.title, "status": todo.status, "progress": todo.progress, "message": todo.message});
            (todo.id.clone(), value)
        })
        .collect();
    let questions: Vec<String> = status.questions.iter().map(|open| open.id.to_string()).collect();
    Ok(json!({
        "state": state,
        "todos": todos,
        "run": {"number": status.run, "status": status.status, "questions": questions},
    }))
}

/// A difference; `path` is a JSON Pointer.
#[derive(Debug, Serialize, PartialEq)]
struct Change {
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Value>,
}

fn compare(path: &mut String, from: &Value, to: &Value, changes: &mut Vec<Change>) {
    let within = path.len();
    let mut each = |step: &str, from: Option<&Value>, to: Option<&Value>, changes: &mut Vec<Change>| {
        path.push('/');
        path.push_str(&step.replace('~', "~0").replace('/', "~1"));
        match (from, to) {
            (Some(from), Some(to)) => compare(path, from, to, changes),
            (from, to) => {
                let op = if from.is_some() { "remove" } else { "add" };
                changes.push(Change { op, path: path.clone(), from: from.cloned(), to: to.cloned() });
            }
        }
        path.truncate(within);
    };
    match (from, to) {
        (Value::Object(a), Value::Object(b)) => {
            for (name, value) in a {
                each(name, Some(value), b.get(name), changes);
            }
            for (name, value) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                each(name, None, Some(value), changes);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for at in 0..a.len().max(b.len()) {
                each(&at.to_string(), a.get(at), b.get(at), changes);
            }
        }
        _ if from == to => {}
        _ => changes.push(Change {
            op: "replace",
            path: path.clone(),
            from: Some(from.clone()),
            to: Some(to.clone()),
        }),
    }
}

fn line(change: &Change) -> String {
    let text = |value: &Option<Value>| short(&value.as_ref().map(Value::to_string).unwrap_or_default(), 100);
    let (path, from, to) = (&change.path, text(&change.from), text(&change.to));
    match change.op {
        "add" => paint(Paint::Good, &format!("+ {path}  {to}")),
        "remove" => paint(Paint::Bad, &format!("- {path}  {from}")),
        _ => format!("~ {path}  {from} → {to}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_their_path() {
        let from = json!({"a": 1, "list": [1, 2], "gone": null, "x/y": {"한": 1}});
        let to = json!({"a": 1, "list": [1, 3, 4], "x/y": {"한": 2}});
        let mut changes = Vec::new();
        compare(&mut String::new(), &from, &to, &mut changes);
        let found: Vec<(&str, &str)> = changes.iter().map(|change| (change.op, &*change.path)).collect();
        let wanted =
            [("replace", "/list/1"), ("add", "/list/2"), ("remove", "/gone"), ("replace", "/x~1y/한")];
        assert_eq!(found, wanted);
        assert_eq!(changes[2].from, Some(Value::Null), "a removed null has a previous value");
    }
}
