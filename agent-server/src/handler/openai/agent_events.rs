//! Activity of an agent for clients of a chat: as a line of its reasoning, and as data.

use agent_core::{interrupt::OpenQuestion, todo::Todo};
use serde_json::{Value, json};

use super::deltas::Piece;
use crate::conversation::ToolCallRecord;

/// Characters of a result in a line. The data has all of it.
const SHOWN: usize = 300;

/// Returns the event of a tool call that began.
pub(super) fn tool_call(call: &ToolCallRecord) -> Piece {
    let line = format!("{}({})\n", call.name, short(&call.arguments));
    let event = json!({"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments});
    Piece::Event(line, event)
}

/// Returns the event of a tool call that ended.
pub(super) fn tool_result(call: &ToolCallRecord) -> Piece {
    let (result, failed) = match (&call.error, &call.result) {
        (Some(error), _) => (Value::from(error.as_str()), true),
        (None, result) => (result.clone().unwrap_or_default(), false),
    };
    let line = format!("{}: {}\n", call.name, short(&result));
    let event = json!({
        "type": "tool_result", "id": call.id, "name": call.name, "result": result, "failed": failed,
        "duration_ms": call.ms,
    });
    Piece::Event(line, event)
}

/// Returns the event of a step.
pub(super) fn todo(todo: &Todo) -> Piece {
    let event = json!({
        "type": "todo_update", "todo_id": todo.id, "title": todo.title, "status": todo.status,
        "progress": todo.progress, "message": todo.message,
    });
    let status = event["status"].as_str().unwrap_or_default().replace('_', " ");
    let line = match &*todo.message {
        "" => format!("{}: {status}\n", todo.title),
        message => format!("{}: {status} ({message})\n", todo.title),
    };
    Piece::Event(line, event)
}

/// Returns the event of a question. Its text is the answer, so it has no line.
pub(super) fn question(open: &OpenQuestion) -> Piece {
    let event = json!({
        "type": "question", "id": open.id, "prompt": open.question.prompt, "options": open.question.options,
    });
    Piece::Event(String::new(), event)
}

fn short(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
