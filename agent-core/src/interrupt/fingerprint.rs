//! Fingerprint of a question as a person saw it. An answer applies to exactly this fingerprint.

use serde_json::Value;

use super::{OpenQuestion, Question};
use crate::ids::{QuestionId, TaskId};

/// Bytes of a question in an error.
const TEXT: usize = 400;

/// A question as it was shown, to compare with the one that is asked under the same id later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QuestionFingerprint {
    fingerprint: String,
    /// For people.
    pub(crate) text: String,
}

impl QuestionFingerprint {
    /// Computes the fingerprint of `question`. Prompts and schemas of the engine's own questions may change with its version, so
    /// those are compared by their details: the tool and its arguments.
    pub(crate) fn of(question: &Question, is_engine: bool) -> Self {
        let mut text = Canonical(String::new());
        if !is_engine {
            text.string(&question.prompt);
            text.list(&question.options);
            text.value(&Value::Bool(question.open));
            text.value(question.schema.as_ref().unwrap_or(&Value::Null));
        }
        text.value(question.details.as_ref().unwrap_or(&Value::Null));
        Self { fingerprint: crate::util::fingerprint(&text.0), text: describe(question) }
    }

    /// Returns the recorded fingerprint. Journals of older versions have none; it is computed from the whole question.
    pub(crate) fn before(open: &OpenQuestion) -> Self {
        let is_engine = key_of(&open.id, &open.task).is_some_and(asks_for_approval);
        let mut shown = Self::of(&open.question, is_engine);
        if !open.fingerprint.is_empty() {
            shown.fingerprint.clone_from(&open.fingerprint);
        }
        shown
    }

    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns whether both show the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

/// Returns `true` if the engine, not a tool, wrote the question with this stored key.
fn asks_for_approval(key: &str) -> bool {
    key.starts_with("approve:") || key.starts_with("repeat:")
}

/// The stored key in a question's id; see [`keys`](crate::engine::keys).
pub(crate) fn key_of<'a>(id: &'a QuestionId, task: &TaskId) -> Option<&'a str> {
    id.0.strip_prefix(&*task.to_string())?.strip_prefix(':')
}

fn describe(question: &Question) -> String {
    let mut text = question.prompt.clone();
    if !question.options.is_empty() {
        text = format!("{text} {}", Value::Array(question.options.clone()));
    }
    if let Some(details) = &question.details {
        text = format!("{text} {details}");
    }
    crate::util::shorten(&text, TEXT)
}

/// JSON with the members of objects in the order of their names, whatever features serde_json is built with.
struct Canonical(String);

impl Canonical {
    fn string(&mut self, text: &str) {
        // Quoted, so that two texts cannot run together.
        self.0.push_str(&Value::from(text).to_string());
    }

    fn list(&mut self, values: &[Value]) {
        self.0.push('[');
        for value in values {
            self.value(value);
            self.0.push(',');
        }
        self.0.push(']');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                self.0.push('{');
                for (name, value) in members {
                    self.string(name);
                    self.0.push(':');
                    self.value(value);
                    self.0.push(',');
                }
                self.0.push('}');
            }
            Value::Array(values) => self.list(values),
            Value::String(text) => self.string(text),
            plain => self.0.push_str(&plain.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_a_person_sees_is_in_the_fingerprint_and_the_order_of_members_is_not() {
        let base = || Question::choose("a", ["x", "y"]).details(json!({ "n": 1, "m": [2.5] }));
        let same: Question = serde_json::from_str(
            r#"{"details":{"m":[2.5],"n":1},"prompt":"a","options":["x","y"],"key":"k"}"#,
        )
        .unwrap();
        let shown = QuestionFingerprint::of(&base(), false);
        assert!(shown.is(&QuestionFingerprint::of(&same, false)));
        let mut others = vec![Question { prompt: "b".into(), ..base() }, base().or_anything()];
        others.push(base().schema(json!({ "type": "string" })));
        others.push(base().details(json!({ "n": 2, "m": [2.5] })));
        others.push(Question { options: vec![json!("y"), json!("x")], ..base() });
        for other in others {
            assert!(!shown.is(&QuestionFingerprint::of(&other, false)), "{other:?}");
        }
        let worded = Question { prompt: "another version's words".into(), ..base() };
        assert!(QuestionFingerprint::of(&base(), true).is(&QuestionFingerprint::of(&worded, true)));
    }
}
