//! What to do about a request, as a list of todos: our own list, and a patient reader of a model's.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::Request;
use super::review::Language;
use super::text::head;

/// The most todos of a plan; what a model lists beyond is left out.
pub const TODOS: usize = 12;

/// The most characters of a title; the rest is cut.
pub const TITLE_CHARS: usize = 120;

/// The most characters of an id; the rest is cut.
pub const ID_CHARS: usize = 48;

/// The most bytes of a model's answer that are read.
pub const ANSWER_BYTES: usize = 64 * 1024;

/// How many places of an answer are tried as the beginning of the list.
const ATTEMPTS: usize = 64;

/// One item of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTodo {
    /// Unique in the plan: `[a-z0-9._:-]`, at most [`ID_CHARS`] characters.
    pub id: String,
    /// One line for a person, at most [`TITLE_CHARS`] characters.
    pub title: String,
}

/// Why a model's answer is not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The answer is longer than [`ANSWER_BYTES`].
    #[error("the plan is {bytes} bytes long, more than {ANSWER_BYTES}")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The answer has no JSON list of todos.
    #[error("the answer holds no JSON list of todos")]
    NoList,
}

/// The plan of the built-in analyst, in the language of the request: collect and analyse each brand, then write. Ids are
/// `collect:SLUG`, `analyse:SLUG` and `write`.
#[must_use]
pub fn offline_plan(request: &Request) -> Vec<PlannedTodo> {
    let todo = |id: String, title: String| PlannedTodo { id, title };
    let mut plan = Vec::new();
    for brand in &request.brands {
        let (slug, name) = (brand.slug(), brand.name(request.language));
        let (collect, analyse) = match request.language {
            Language::Korean => (format!("{name} 리뷰 수집"), format!("{name} 주제와 감성 분석")),
            Language::English => {
                (format!("Collect the {name} reviews"), format!("Find topics and sentiment for {name}"))
            }
        };
        plan.push(todo(format!("collect:{slug}"), collect));
        plan.push(todo(format!("analyse:{slug}"), analyse));
    }
    let write = match request.language {
        Language::Korean => "보고서 작성",
        Language::English => "Write the report",
    };
    plan.push(todo("write".into(), write.into()));
    plan
}

/// Reads a model's plan: a JSON list of `{id, title}`, anywhere in the answer (in a fence, inside an object, between other
/// text). Items may be bare strings, ids may be missing or repeated; what has no title is skipped.
///
/// # Errors
///
/// [`PlanError`] if the answer is too long or holds no list with at least one title; take [`offline_plan`] then.
pub fn parse_plan(answer: &str) -> Result<Vec<PlannedTodo>, PlanError> {
    if answer.len() > ANSWER_BYTES {
        return Err(PlanError::TooLong { bytes: answer.len() });
    }
    answer
        .match_indices(['[', '{'])
        .take(ATTEMPTS)
        .filter_map(|(at, _)| {
            serde_json::Deserializer::from_str(&answer[at..]).into_iter::<Value>().next()?.ok()
        })
        .find_map(|value| todos(list(&value)?))
        .ok_or(PlanError::NoList)
}

/// The list itself, or the first list in an object.
fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        Value::Object(fields) => fields.values().find_map(|field| field.as_array().map(Vec::as_slice)),
        _ => None,
    }
}

fn todos(items: &[Value]) -> Option<Vec<PlannedTodo>> {
    let mut plan: Vec<PlannedTodo> = Vec::new();
    for item in items {
        let text = |names: &[&str]| names.iter().find_map(|name| item.get(name)?.as_str());
        let title = item.as_str().or_else(|| text(&["title", "task", "name", "content", "description"]));
        let Some(title) = title.map(one_line).filter(|title| !title.is_empty()) else { continue };
        if plan.len() == TODOS {
            break;
        }
        let number = item.get("id").and_then(Value::as_u64).map(|number| format!("step-{number}"));
        let mut id = number.unwrap_or_else(|| legal_id(text(&["id"]).unwrap_or_default()));
        if id.is_empty() || plan.iter().any(|todo| todo.id == id) {
            id = (plan.len() + 1..)
                .map(|number| format!("step-{number}"))
                .find(|id| plan.iter().all(|todo| todo.id != *id))
                .unwrap_or_default();
        }
        plan.push(PlannedTodo { id, title: head(&title, TITLE_CHARS).to_owned() });
    }
    (!plan.is_empty()).then_some(plan)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn legal_id(text: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    let id: String = text
        .trim()
        .chars()
        .map(|c| if legal(c) { c.to_ascii_lowercase() } else { '-' })
        .take(ID_CHARS)
        .collect();
    if id.bytes().any(|byte| byte.is_ascii_alphanumeric()) { id } else { String::new() }
}
