//! `GET /sessions/{session_id}/diff?from=SEQ&to=SEQ`: what changed in the state between two places.

use agent_core::ids::Seq;
use serde_json::{Value, json};

use crate::{
    error::{ApiError, Refusal},
    handler::refused,
    http::{
        call::Call,
        reply::{Reply, written},
    },
};

/// The most changes that are told, and bytes of their values, about.
const CHANGES: usize = 10_000;
const BYTES: usize = 4 * 1024 * 1024;

pub(crate) async fn handle(call: Call) -> Reply {
    let session = call.session().await?;
    let query = call.query();
    let place = |name: &str| {
        let told =
            || ApiError::new(Refusal::InvalidRequest, format!("`{name}` must be the number of a place"));
        query.number(name)?.map(Seq).ok_or_else(told)
    };
    let (from, to) = (place("from")?, place("to")?);
    let refused = refused(session.id());
    // One at a time for a few: two states and their difference are in memory meanwhile.
    let _place = call.inner.heavy.acquire().await;
    let before = session.state_json_at(from).await.map_err(&refused)?;
    let after = session.state_json_at(to).await.map_err(&refused)?;
    let compare = move || {
        let changes = Changes::between(&before, &after);
        let mut answer = json!({"from": from, "to": to, "changes": changes.told});
        if changes.cut {
            answer["cut"] = json!(true);
        }
        answer.to_string()
    };
    let told = tokio::task::spawn_blocking(compare).await;
    let text = told.map_err(|error| {
        tracing::error!(%error, "two states could not be compared");
        ApiError::new(Refusal::Internal, "the server made a mistake")
    })?;
    Ok(written(text))
}

/// Changes in the form of JSON Patch (RFC 6902), each with what was there before. Applied in order they lead from one
/// state to the other, unless they are cut.
///
/// Lists are compared place by place between what they have in common at their ends, so the work is linear in the size of
/// the states.
#[derive(Debug, Default)]
struct Changes {
    told: Vec<Value>,
    /// Bytes of values told.
    bytes: usize,
    /// There are more.
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
                        None => self.tell(path, Some(old), None),
                    });
                }
                for (name, new) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                    within(path, name, |path| self.tell(path, None, Some(new)));
                }
            }
            (Value::Array(a), Value::Array(b)) => self.compare_lists(path, a, b),
            _ if before == after => {}
            _ => self.tell(path, Some(before), Some(after)),
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
        // From the end, so that each is told at its own place.
        for (at, old) in a.iter().enumerate().skip(both).rev() {
            within(path, &(head + at).to_string(), |path| self.tell(path, Some(old), None));
        }
        for (at, new) in b.iter().enumerate().skip(both) {
            within(path, &(head + at).to_string(), |path| self.tell(path, None, Some(new)));
        }
    }

    fn tell(&mut self, path: &str, from: Option<&Value>, to: Option<&Value>) {
        if self.cut || self.told.len() >= CHANGES {
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
            (Some(_), Some(_)) => "replace",
            (Some(_), None) => "remove",
            _ => "add",
        };
        let mut told = json!({"op": op, "path": path});
        if let Some(from) = from {
            told["from"] = from.clone();
        }
        if let Some(to) = to {
            told["to"] = to.clone();
        }
        self.told.push(told);
    }
}

/// Does something one step further down.
fn within(path: &mut String, step: &str, act: impl FnOnce(&mut String)) {
    let above = path.len();
    path.push('/');
    path.push_str(&step.replace('~', "~0").replace('/', "~1"));
    act(path);
    path.truncate(above);
}

/// About the size of a value in bytes, if it is at most `most`. No more of it is looked at than that takes.
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

    use super::*;

    /// Follows the changes from one state, and demands that each tells what is there.
    fn follow(before: &Value, changes: &[Value]) -> Value {
        let mut now = before.clone();
        for change in changes {
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
    fn a_change_says_what_was_there_also_behind_a_removal_in_the_same_list() {
        let (before, after) =
            (json!({"a": [1, 2, 3], "b": "가"}), json!({"a": [2, 4], "b": "나", "c": null}));
        let changes = Changes::between(&before, &after);
        let told = |change: Value| assert!(changes.told.contains(&change), "{changes:?}");
        told(json!({"op": "replace", "path": "/b", "from": "가", "to": "나"}));
        told(json!({"op": "add", "path": "/c", "to": null}));
        assert_eq!(follow(&before, &changes.told), after);
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
                assert_eq!(follow(before, &changes.told), *after, "{before} {after} {changes:?}");
                assert_eq!(changes.told.is_empty(), before == after);
            }
        }
        let grown = Changes::between(&json!([1, 2, 3]), &json!([1, 2, 3, 4]));
        assert_eq!(grown.told, [json!({"op": "add", "path": "/3", "to": 4})]);
    }

    #[test]
    fn many_changes_and_large_values_are_cut() {
        let numbers = |step: u64| (0..50_000).map(|number| number * step).collect::<Vec<u64>>();
        let many = Changes::between(&json!(numbers(1)), &json!(numbers(2)));
        assert_eq!((many.told.len(), many.cut), (CHANGES, true));
        let large = json!({"a": 1, "text": "x".repeat(BYTES)});
        let changes = Changes::between(&json!({"a": 2}), &large);
        assert_eq!((changes.told.len(), changes.cut), (1, true));
    }
}
