//! Messages of a request for a chat completion.

use agent_core::model::{Content, Message, Part, Reasoning, Role, ToolCall};
use serde_json::Value;
use utoipa::ToSchema;

use super::request::{invalid, present};
use crate::error::ApiError;

/// Maximum number of messages. Their size is limited by that of a body.
const MESSAGES: usize = 4_096;

/// A message of a conversation.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "messages are read by `message`, which accepts more kinds of parts")]
pub(crate) struct CompletionMessage {
    /// Role of the author.
    role: CompletionRole,
    /// Content. May be `null` or absent for an assistant message with tool calls.
    content: CompletionContent,
    /// Id of the call that a `tool` message answers; required for that role.
    #[schema(required = false)]
    tool_call_id: Option<String>,
}

/// A text, or a list of parts.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum CompletionContent {
    /// One text.
    Text(String),
    /// Several parts.
    Parts(Vec<ContentPart>),
}

/// A part of a message. Images (`image_url`) are passed on to the plain model.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct ContentPart {
    /// Kind of the part.
    r#type: PartKind,
    /// Text of the part.
    text: String,
}

/// Kind of a part.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum PartKind {
    Text,
}

/// Role of a message's author.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum CompletionRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// Task of a conversation, for agents that take one message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Turn<'a> {
    /// The message that starts the run.
    pub(crate) task: &'a str,
    /// Questions of the agent since, with the answers of the user.
    pub(crate) answers: Vec<(&'a str, &'a str)>,
}

/// Returns the task of a conversation: the last message of the user that does not answer a question. Questions end with
/// `hint`.
///
/// # Errors
///
/// 400 if the last message is empty, or not the user's.
pub(crate) fn task_of<'a>(texts: &'a [(Role, String)], hint: &str) -> Result<Turn<'a>, ApiError> {
    let dialog: Vec<&(Role, String)> =
        texts.iter().filter(|(role, _)| matches!(role, Role::User | Role::Assistant)).collect();
    let mut answers = Vec::new();
    let mut rest = dialog.as_slice();
    loop {
        match rest {
            [before @ .., (Role::Assistant, question), (Role::User, reply)]
                if question.trim_end().ends_with(hint) && !before.is_empty() =>
            {
                answers.push((question.as_str(), reply.as_str()));
                rest = before;
            }
            [.., (Role::User, task)] if !task.trim().is_empty() => {
                answers.reverse();
                return Ok(Turn { task, answers });
            }
            _ => return Err(invalid("messages", "the last message must be a non-empty message of the user")),
        }
    }
}

/// Reads the messages of a request.
///
/// # Errors
///
/// 400 that names the invalid message.
pub(super) fn messages(value: Option<&Value>) -> Result<Vec<Message>, ApiError> {
    match present(value) {
        None => Err(invalid("messages", "you must provide a messages parameter")),
        Some(Value::Array(list)) if list.is_empty() => {
            Err(invalid("messages", "`messages` must not be empty"))
        }
        Some(Value::Array(list)) if list.len() > MESSAGES => {
            Err(invalid("messages", format!("`messages` may have {MESSAGES} messages")))
        }
        Some(Value::Array(list)) => list.iter().enumerate().map(|(at, value)| message(at, value)).collect(),
        Some(_) => Err(invalid("messages", "`messages` must be a list")),
    }
}

fn message(at: usize, value: &Value) -> Result<Message, ApiError> {
    let location = |field: &str| format!("messages[{at}]{field}");
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let Some(role) = text("role") else {
        return Err(invalid(location(".role"), "a message must have a `role`"));
    };
    let calls = calls(at, value)?;
    let content = match content(value.get("content"), &location(".content"))? {
        Some(content) => content,
        None if role == "assistant" => Content::default(),
        None => return Err(invalid(location(".content"), "a message must have `content`")),
    };
    let mut message = match role {
        // Reasoning models use `developer` instead of `system`.
        "system" | "developer" => Message::system(content),
        "user" => Message::user(content),
        "assistant" => Message::assistant(content).with_tool_calls(calls),
        "tool" => match text("tool_call_id") {
            Some(id) => Message::tool_result(id, content),
            None => {
                return Err(invalid(
                    location(".tool_call_id"),
                    "a `tool` message must have a `tool_call_id`",
                ));
            }
        },
        _ => {
            let message = "`role` must be `system`, `developer`, `user`, `assistant` or `tool`";
            return Err(invalid(location(".role"), message));
        }
    };
    message.name = text("name").map(str::to_owned);
    if role == "assistant"
        && let Some(thought) = text("reasoning_content").or_else(|| text("reasoning"))
    {
        message.reasoning.push(Reasoning { text: thought.to_owned(), ..Reasoning::default() });
    }
    Ok(message)
}

fn content(value: Option<&Value>, location: &str) -> Result<Option<Content>, ApiError> {
    let parts = match present(value) {
        None => return Ok(None),
        Some(Value::String(text)) => return Ok(Some(text.as_str().into())),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(invalid(location, "`content` must be text or a list of parts")),
    };
    let read = |(at, part): (usize, &Value)| {
        let text = |name: &str| part.get(name).and_then(Value::as_str);
        match text("type") {
            Some("text") => text("text").map(Part::text),
            Some("refusal") => text("refusal").map(Part::text),
            Some("image_url") => {
                let url = part.pointer("/image_url/url").and_then(Value::as_str);
                let detail = part.pointer("/image_url/detail").and_then(Value::as_str);
                url.map(|url| Part::Image { url: url.to_owned(), detail: detail.map(str::to_owned) })
            }
            _ => None,
        }
        .ok_or_else(|| invalid(format!("{location}[{at}]"), "a part must be `text` or `image_url`"))
    };
    let parts: Vec<Part> = parts.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    // Texts are joined, because not every endpoint supports parts.
    if parts.iter().all(|part| matches!(part, Part::Text { .. })) {
        return Ok(Some(Message::user(parts).text().into_owned().into()));
    }
    Ok(Some(parts.into()))
}

fn calls(at: usize, value: &Value) -> Result<Vec<ToolCall>, ApiError> {
    let Some(calls) = present(value.get("tool_calls")) else { return Ok(Vec::new()) };
    let error = || {
        invalid(format!("messages[{at}].tool_calls"), "a call must be `{id, function: {name, arguments}}`")
    };
    let Value::Array(calls) = calls else { return Err(error()) };
    let read = |call: &Value| {
        let text = |at: &str| call.pointer(at).and_then(Value::as_str).map(str::to_owned).ok_or_else(error);
        let mut read = ToolCall::new(text("/function/name")?, &Value::Null);
        (read.id, read.arguments) = (text("/id")?, text("/function/arguments")?);
        Ok(read)
    };
    calls.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: &str = "(answer)";

    #[test]
    fn a_message_after_a_question_is_its_answer() {
        let owned = |texts: &[(Role, &str)]| -> Vec<(Role, String)> {
            texts.iter().map(|(role, text)| (*role, (*text).to_owned())).collect()
        };
        let texts = owned(&[
            (Role::System, "be kind"),
            (Role::User, "old"),
            (Role::Assistant, "done"),
            (Role::User, "report"),
            (Role::Assistant, "for whom? (answer)\n"),
            (Role::User, "buyers"),
        ]);
        let turn = task_of(&texts, HINT).unwrap();
        assert_eq!(turn, Turn { task: "report", answers: vec![("for whom? (answer)\n", "buyers")] });
        assert!(task_of(&texts[..5], HINT).is_err(), "the assistant spoke last");
        assert!(task_of(&texts[..1], HINT).is_err());
    }
}
