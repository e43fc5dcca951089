//! Keys of steps and questions. Keys that an author chooses and keys that the engine makes never meet.
//!
//! The engine's keys are `q1`, `model-1`, `tool:<call>`, `approve:<call>`, `repeat:<call>` and `ask:<call>/…`, and
//! anything that begins with `=`. An author's key of one of these forms is stored with a `=` before it; every other
//! one is stored as it is.

use std::{borrow::Cow, collections::HashMap};

/// Before an author's key that looks like one of the engine's, and before the engine's keys inside a step.
const MARK: char = '=';

/// Prefixes of the engine's own questions: approvals, repeats, and what a tool asks.
const QUESTIONS: [&str; 3] = ["approve:", "repeat:", "ask:"];

/// The stored form of the step key that an author chose.
pub(crate) fn step(key: String) -> String {
    if is_engine_step(&key) { format!("{MARK}{key}") } else { key }
}

/// The stored form of a step key in a journal of any version: older ones stored every author's key as it is.
pub(crate) fn stored_step(kind: &str, key: String) -> String {
    let is_stored_form = !is_engine_step(&key) || key.strip_prefix(MARK).is_some_and(is_engine_step);
    // The keys of model and tool calls were the engine's in older versions too.
    if kind != "step" || is_stored_form { key } else { format!("{MARK}{key}") }
}

/// The stored form of the question key that an author chose.
pub(crate) fn question(key: &str) -> Cow<'_, str> {
    if is_engine_question(key) { Cow::Owned(format!("{MARK}{key}")) } else { Cow::Borrowed(key) }
}

/// The key of the `n`th question without a key, of the task itself or of one of its steps.
pub(crate) fn unnamed_question(step: Option<&str>, n: u32) -> String {
    within(step, &format!("q{n}"))
}

/// The key of the `n`th model call without a key.
pub(crate) fn unnamed_model(step: Option<&str>, n: u32) -> String {
    within(step, &format!("model-{n}"))
}

/// A name for a tool call that is used once in a try of a task, or in a step of it: its id, with a number when the id
/// was used before. `used` counts the ids.
pub(crate) fn next_call(used: &mut HashMap<String, u32>, step: Option<&str>, id: &str) -> String {
    let id = crate::util::shorten(id, 100);
    let times = used.entry(id.clone()).or_default();
    *times += 1;
    tool_call(step, &id, *times)
}

/// The name of the `n`th tool call with this id.
fn tool_call(step: Option<&str>, id: &str, n: u32) -> String {
    let name = if n == 1 { id.to_owned() } else { format!("{id}~{n}") };
    match step {
        None if id.starts_with(MARK) => format!("{MARK}{name}"),
        _ => within(step, &name),
    }
}

/// Numbers inside a step are the step's own: it is not entered again once it has a record.
fn within(step: Option<&str>, name: &str) -> String {
    step.map_or_else(|| name.to_owned(), |step| format!("{MARK}in:{step}/{name}"))
}

/// The name of the tool call whose tool asks under `key`.
pub(crate) fn asking_call(key: &str) -> Option<&str> {
    Some(key.strip_prefix("ask:")?.rsplit_once('/')?.0)
}

/// Whether the engine asks under such keys, in older versions too.
pub(crate) fn asks_for_engine(key: &str) -> bool {
    QUESTIONS.iter().any(|prefix| key.starts_with(prefix))
}

fn is_engine_question(key: &str) -> bool {
    key.starts_with(MARK) || is_numbered(key, "q") || asks_for_engine(key)
}

fn is_engine_step(key: &str) -> bool {
    key.starts_with(MARK) || key.starts_with("tool:") || is_numbered(key, "model-")
}

fn is_numbered(key: &str, prefix: &str) -> bool {
    let digits = key.strip_prefix(prefix).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_of_an_author_is_one_of_the_engine() {
        let theirs = ["q1", "=q1", "==q1", "approve:x", "ask:x/y", "=in:a/q1", "tone", ""];
        let stored: std::collections::BTreeSet<_> = theirs.iter().map(|key| question(key)).collect();
        assert_eq!(stored.len(), theirs.len());
        let engine = [unnamed_question(None, 1), unnamed_question(Some("a"), 1), "approve:x".to_owned()];
        assert!(engine.iter().all(|key| !stored.contains(key.as_str())), "{stored:?}");
        assert_eq!(question("tone"), "tone");
        for key in ["tool:x", "model-7", "=model-7", "charge", "model-x"] {
            let stored = step(key.to_owned());
            assert!(!["tool:x", "model-7"].contains(&&*stored), "{stored}");
            assert_eq!(stored_step("step", stored.clone()), stored, "stored forms stay");
        }
        assert_eq!(stored_step("step", "tool:x".to_owned()), step("tool:x".to_owned()));
        assert_eq!(stored_step("tool", "tool:x".to_owned()), "tool:x");
    }
}
