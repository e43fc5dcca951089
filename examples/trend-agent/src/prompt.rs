//! Prompts for a model that reads the message and writes the report. The words are in `prompts/*.md`.

use serde::{Deserialize, Serialize};

use super::audience::Audience;
use super::extraction;
use super::findings::Findings;
use super::plan::TODOS;
use super::report::facts;
use super::request::{MESSAGE_CHARS, Request, known_brands};
use super::review::{Language, newest_day, oldest_day};
use super::text::head;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Standing instructions.
    System,
    /// The task at hand.
    User,
}

/// One message to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// Asks a model what a message asks for and which steps that takes; [`read_answer`](super::extraction::read_answer) reads its
/// answer.
#[must_use]
pub fn plan_messages(message: &str, request: &Request, previous: Option<&Request>) -> Vec<PromptMessage> {
    let previous = previous.map_or_else(|| "none".to_owned(), Request::summary);
    let values = [
        ("limit", TODOS.to_string()),
        ("language", language_name(request.language).to_owned()),
        ("known_brands", known_brands(Language::English)),
        ("schema", extraction::schema().to_string()),
        ("today", newest_day().to_string()),
        ("oldest", oldest_day().to_string()),
        ("newest", newest_day().to_string()),
        ("previous", previous),
        ("understood", request.summary()),
        ("message", head(message, MESSAGE_CHARS).to_owned()),
    ];
    pair(include_str!("../prompts/plan.system.md"), include_str!("../prompts/plan.user.md"), &values)
}

/// Shows a model what is wrong with its answer and asks for another one.
#[must_use]
pub fn repair_message(faults: &str) -> String {
    format!(
        "That answer cannot be used: {faults}.\nAnswer again, corrected, in the same form and with nothing else."
    )
}

/// Asks a model to write the report from what was found.
#[must_use]
pub fn report_messages(message: &str, findings: &Findings, audience: Audience) -> Vec<PromptMessage> {
    let language = findings.request.language;
    let values = [
        ("language", language_name(language).to_owned()),
        ("audience", audience.label(Language::English).to_owned()),
        ("reviews", findings.reviews().to_string()),
        ("facts", facts(findings)),
        ("understood", findings.request.summary()),
        ("message", head(message, MESSAGE_CHARS).to_owned()),
    ];
    pair(include_str!("../prompts/report.system.md"), include_str!("../prompts/report.user.md"), &values)
}

fn pair(system: &str, user: &str, values: &[(&str, String)]) -> Vec<PromptMessage> {
    vec![
        PromptMessage { role: Role::System, content: fill(system, values) },
        PromptMessage { role: Role::User, content: fill(user, values) },
    ]
}

const fn language_name(language: Language) -> &'static str {
    match language {
        Language::Korean => "Korean",
        Language::English => "English",
    }
}

/// Puts values in place of `{{name}}`, in one pass: braces inside a value are text, so a message cannot pull in another
/// value. A name without a value stays as it is.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let found = after.split_once("}}").and_then(|(name, tail)| {
            values.iter().find(|(known, _)| *known == name.trim()).map(|(_, value)| (value, tail))
        });
        match found {
            Some((value, tail)) => {
                out.push_str(value);
                rest = tail;
            }
            None => {
                out.push_str("{{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}
