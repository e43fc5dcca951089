//! `GET /sessions/{session_id}/diff?from=SEQ&to=SEQ`: the changes of the state between two checkpoints.

use agent_core::{Code, ids::Seq};
use hyper::Method;
use serde_json::Value;

use crate::{
    api::sessions::{Change, ChangeKind, Diff},
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::{ApiError, Rejection, map_session_error},
    http::response::{HandlerResult, json_text},
};

/// Maximum number of changes, and approximate maximum size of their values in bytes.
const CHANGES: usize = 10_000;
const BYTES: usize = 4 * 1024 * 1024;

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(
        Method::GET,
        "/sessions/{session_id}/diff",
        "diff",
        "sessions",
        "Compare the state at two checkpoints",
    )
    .of_session()
    .number("from", true, "Number of the earlier entry.")
    .number("to", true, "Number of the later entry.")
    .codes(&[Code::CheckpointNotFound, Code::GraphNotFound])
    .response::<Diff>(200, "The changes.")
}

pub(in crate::handler) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    let query = context.query();
    let checkpoint = |name: &str| {
        let missing = || {
            let message = format!("`{name}` must be the number of a journal entry");
            ApiError::new(Rejection::InvalidRequest, message)
        };
        query.number(name)?.map(Seq).ok_or_else(missing)
    };
    let (from, to) = (checkpoint("from")?, checkpoint("to")?);
    let map_error = map_session_error(session.id());
    // Limits the number of states that are in memory.
    let _permit = context.app.heavy_permits.acquire().await;
    let before = session.state_json_at(from).await.map_err(&map_error)?;
    let after = session.state_json_at(to).await.map_err(&map_error)?;
    let compare = move || {
        let changes = Changes::between(&before, &after);
        let cut = changes.cut.then_some(true);
        let diff = Diff { from: from.0, to: to.0, changes: changes.list, cut };
        serde_json::to_string(&diff).expect("changes serialize to JSON")
    };
    let compared = tokio::task::spawn_blocking(compare).await;
    let text = compared.map_err(|error| {
        tracing::error!(%error, "two states could not be compared");
        ApiError::internal()
    })?;
    Ok(json_text(text))
}

/// Changes in the form of JSON Patch (RFC 6902), each with the previous value. Applied in order, they transform one state
/// into the other, unless they are cut.
///
/// Lists are compared index by index between their common prefix and suffix, so the time is linear in the size of the
/// states.
#[derive(Debug, Default)]
struct Changes {
    list: Vec<Change>,
    /// Bytes of the values in the list.
    bytes: usize,
    /// Whether there are more changes.
    cut: bool,
}

impl Changes {
    fn between(before: &Value, after: &Value) -> Self {
        let mut changes = Self::default();
        changes.compare(&mut String::new(), before, after);
        changes
    }

    fn compare(&mut self, path: &mut String, before: &Value, after: &Value) {
        if self.cut {
            return;
        }
        match (before, after) {
            (Value::Object(a), Value::Object(b)) => {
                for (name, old) in a {
                    within(path, name, |path| match b.get(name) {
                        Some(new) => self.compare(path, old, new),
                        None => self.push(path, Some(old), None),
                    });
                }
                for (name, new) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                    within(path, name, |path| self.push(path, None, Some(new)));
                }
            }
            (Value::Array(a), Value::Array(b)) => self.compare_lists(path, a, b),
            _ if before == after => {}
            _ => self.push(path, Some(before), Some(after)),
        }
    }

    fn compare_lists(&mut self, path: &mut String, a: &[Value], b: &[Value]) {
        let same = |(x, y): &(&Value, &Value)| x == y;
        let head = a.iter().zip(b).take_while(same).count();
        let (a, b) = (&a[head..], &b[head..]);
        let tail = a.iter().rev().zip(b.iter().rev()).take_while(same).count();
        let (a, b) = (&a[..a.len() - tail], &b[..b.len() - tail]);
        let both = a.len().min(b.len());
        for (at, (old, new)) in a.iter().zip(b).enumerate() {
            within(path, &(head + at).to_string(), |path| self.compare(path, old, new));
        }
        // From the end, so that each path is valid.
        for (at, old) in a.iter().enumerate().skip(both).rev() {
            within(path, &(head + at).to_string(), |path| self.push(path, Some(old), None));
        }
        for (at, new) in b.iter().enumerate().skip(both) {
            within(path, &(head + at).to_string(), |path| self.push(path, None, Some(new)));
        }
    }

    fn push(&mut self, path: &str, from: Option<&Value>, to: Option<&Value>) {
        if self.cut || self.list.len() >= CHANGES {
            self.cut = true;
            return;
        }
        let room = BYTES.saturating_sub(self.bytes);
        let sizes = [from, to].map(|value| value.map_or(Some(0), |value| size(value, room)));
        let [Some(old), Some(new)] = sizes else {
            self.cut = true;
            return;
        };
        self.bytes += old + new + path.len();
        let op = match (from, to) {
            (Some(_), Some(_)) => ChangeKind::Replace,
            (Some(_), None) => ChangeKind::Remove,
            _ => ChangeKind::Add,
        };
        self.list.push(Change { op, path: path.to_owned(), from: from.cloned(), to: to.cloned() });
    }
}

/// Calls a function with the path extended by a step.
fn within(path: &mut String, step: &str, act: impl FnOnce(&mut String)) {
    let above = path.len();
    path.push('/');
    path.push_str(&step.replace('~', "~0").replace('/', "~1"));
    act(path);
    path.truncate(above);
}

/// Returns the approximate size of a value in bytes, if it is at most `most`. Stops as soon as it is larger.
fn size(value: &Value, most: usize) -> Option<usize> {
    let sum = match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => {
            items.iter().try_fold(2_usize, |sum, item| Some(sum + 1 + size(item, most.checked_sub(sum)?)?))?
        }
        Value::Object(fields) => fields.iter().try_fold(2_usize, |sum, (name, field)| {
            Some(sum + name.len() + 4 + size(field, most.checked_sub(sum)?)?)
        })?,
        _ => 8,
    };
    (sum <= most).then_some(sum)
}

#[cfg(test)]
mod tests {
    use json_patch::jsonptr::Pointer;
    use serde_json::json;

    use super::*;

    /// Applies the changes to a state, and checks the previous value of each.
    fn follow(before: &Value, changes: &[Change]) -> Value {
        let mut now = before.clone();
        for change in changes.iter().map(|change| json!(change)) {
            if change["op"] != "add" {
                let path = Pointer::parse(change["path"].as_str().unwrap()).unwrap().to_owned();
                assert_eq!(path.resolve(&now).unwrap(), &change["from"], "{change}");
            }
            let mut step = change.clone();
            step["value"] = step["to"].clone();
            let step: json_patch::Patch = serde_json::from_value(json!([step])).unwrap();
            json_patch::patch(&mut now, &step).unwrap();
        }
        now
    }

    #[test]
    fn a_change_has_the_previous_value_also_after_a_removal_in_the_same_list() {
        let (before, after) =
            (json!({"a": [1, 2, 3], "b": "가"}), json!({"a": [2, 4], "b": "나", "c": null}));
        let changes = Changes::between(&before, &after);
        let list: Vec<Value> = changes.list.iter().map(|change| json!(change)).collect();
        let contains = |change: Value| assert!(list.contains(&change), "{changes:?}");
        contains(json!({"op": "replace", "path": "/b", "from": "가", "to": "나"}));
        contains(json!({"op": "add", "path": "/c", "to": null}));
        assert_eq!(follow(&before, &changes.list), after);
    }

    #[test]
    fn changes_lead_from_any_state_to_any_other() {
        let states = [
            json!(null),
            json!([]),
            json!([1, 2, 3, 4, 5]),
            json!([1, 3, 4, 5]),
            json!([0, 1, 2, 3, 4, 5]),
            json!([1, 2, 9, 9, 9, 4, 5]),
            json!([[1, [2, 3]], {"x": [1]}, "y"]),
            json!([[1, [2]], {"x": [1, 2], "z": {}}, "y", "y"]),
            json!({"a/b": {"~": [1]}, "": 1}),
            json!({"a/b": {"~": [2, 1]}, "": {"": ""}}),
            json!({"list": [{"id": 1, "text": "하나"}, {"id": 2, "text": "둘"}]}),
            json!({"list": [{"id": 2, "text": "둘"}]}),
        ];
        for before in &states {
            for after in &states {
                let changes = Changes::between(before, after);
                assert!(!changes.cut);
                assert_eq!(follow(before, &changes.list), *after, "{before} {after} {changes:?}");
                assert_eq!(changes.list.is_empty(), before == after);
            }
        }
        let grown = Changes::between(&json!([1, 2, 3]), &json!([1, 2, 3, 4]));
        assert_eq!(json!(grown.list), json!([{"op": "add", "path": "/3", "to": 4}]));
    }

    #[test]
    fn many_changes_and_large_values_are_cut() {
        let numbers = |step: u64| (0..50_000).map(|number| number * step).collect::<Vec<u64>>();
        let many = Changes::between(&json!(numbers(1)), &json!(numbers(2)));
        assert_eq!((many.list.len(), many.cut), (CHANGES, true));
        let large = json!({"a": 1, "text": "x".repeat(BYTES)});
        let changes = Changes::between(&json!({"a": 2}), &large);
        assert_eq!((changes.list.len(), changes.cut), (1, true));
    }
}
