//! Conversion of a server's elicitation to a question, and of the answer to its result.

use agent_core::interrupt::Question;
use rmcp::model::{ElicitRequestParams, ElicitResult, ElicitationAction};
use serde_json::{Value, json};

const MAX_PROMPT: usize = 4_000;

const DECLINE: &str = "decline";
const CANCEL: &str = "cancel";
const ACCEPT: &str = "accept";

/// Returns the question, or `None` if it cannot be represented.
pub(super) fn question(
    asked: &ElicitRequestParams,
    server: &str,
    tool: &str,
    max_schema: usize,
) -> Option<Question> {
    match asked {
        ElicitRequestParams::FormElicitationParams { message, requested_schema, .. } => {
            let schema = serde_json::to_value(requested_schema).ok()?;
            if schema.to_string().len() > max_schema {
                return None;
            }
            let answer = json!({ "anyOf": [{ "enum": [DECLINE, CANCEL] }, schema] });
            let details = json!({ "kind": "elicitation", "server": server, "tool": tool, "form": schema });
            let question = Question::choose(prompt(server, message), [DECLINE, CANCEL]).or_anything();
            Some(question.schema(answer).details(details))
        }
        ElicitRequestParams::UrlElicitationParams { message, url, .. } => {
            // A URL that a person is asked to open is shown completely or not at all.
            let web = url.starts_with("https://") || url.starts_with("http://");
            if url.len() > MAX_PROMPT || !web {
                return None;
            }
            let details = json!({ "kind": "elicitation", "server": server, "tool": tool, "url": url });
            let prompt = format!("{} ({url})", prompt(server, message));
            Some(Question::choose(prompt, [ACCEPT, DECLINE, CANCEL]).details(details))
        }
        _ => None,
    }
}

/// Names the server that asks, because a server could impersonate another one.
fn prompt(server: &str, message: &str) -> String {
    let message: String = message.chars().take(MAX_PROMPT).collect();
    format!("`{server}` asks: {message}")
}

pub(super) fn answer(answer: Value) -> ElicitResult {
    match answer.as_str() {
        Some(DECLINE) => ElicitResult::new(ElicitationAction::Decline),
        Some(ACCEPT) => ElicitResult::new(ElicitationAction::Accept),
        Some(_) => ElicitResult::new(ElicitationAction::Cancel),
        None => ElicitResult::new(ElicitationAction::Accept).with_content(answer),
    }
}
