//! AsyncAPI document of the WebSocket: its messages in both directions, for programs (AsyncAPI 3) and as a page.

use std::{borrow::Cow, fmt::Write as _};

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::api::{
    schema::{Schemas, reference},
    socket::{
        ClientInput, ClientPing, ClientResume, ClientSteer, ClientStop, Complete, Failure, HitlRequest, Pong,
        SocketEvent, SocketStatus, TodoMessage,
    },
};
#[cfg(test)]
use crate::error::Rejection;

/// A WebSocket message.
struct Message {
    /// Value of its field `type`.
    kind: &'static str,
    /// Name of its schema.
    schema: Cow<'static, str>,
    /// Whether the server sends it.
    down: bool,
    text: &'static str,
    example: Value,
}

fn messages() -> Vec<Message> {
    let at = "2026-03-01T09:00:00Z";
    let down = |kind, schema, text, data: Value, seq: Option<u64>| {
        let mut example = json!({"type": kind, "data": data, "timestamp": at});
        if let Some(seq) = seq {
            example["seq"] = json!(seq);
        }
        Message { kind, schema, down: true, text, example }
    };
    let up = |kind, schema, text, data: Value| Message {
        kind,
        schema,
        down: false,
        text,
        example: json!({"type": kind, "data": data, "timestamp": at}),
    };
    let todo =
        json!({"todo_id": "collect", "status": "in_progress", "progress": 40, "message": "리뷰를 모으는 중"});
    let result = json!({
        "response": "라네즈 워터 슬리핑 마스크는 보습에 대한 평이 가장 좋습니다.",
        "todos": [{
            "todo_id": "collect", "status": "completed", "progress": 100, "message": "120 reviews", "title": "Collect reviews",
        }],
        "execution_time": 2.5,
    });
    let event = json!({
        "seq": 7, "session": "s1", "run": 1, "at": 1_772_355_600_000_i64, "type": "node_started",
        "data": {"node": "plan", "attempt": 1},
    });
    vec![
        down("todo_update", TodoMessage::name(), "A todo has changed.", todo, Some(5)),
        down("complete", Complete::name(), "The run has completed.", result, Some(42)),
        down(
            "error",
            Failure::name(),
            "The run failed or was stopped (code `run_stopped`), or a message of the client was rejected (without `seq`); the \
             connection stays open.",
            json!({
                "error": "a JSON object is expected",
                "details": {
                    "code": "invalid_request", "help": "/docs/errors/invalid_request", "retryable": false,
                },
            }),
            None,
        ),
        down(
            "hitl_request",
            HitlRequest::name(),
            "The run asks a person. Answer with `input`: an option, its number from 1, or its label in another language. A client \
             that reconnects gets open questions only; after a stop, they are sent again when the run is resumed.",
            json!({"prompt": "누구를 위한 보고서인가요?", "options": ["소비자", "마케터"], "id": "ask/0"}),
            Some(9),
        ),
        down("pong", Pong::name(), "The response to `ping`.", json!({}), None),
        down(
            "status",
            SocketStatus::name(),
            "A run was queued, started, paused, resumed or stopped. Only with `?events=status` or `all`.",
            json!({"status": "paused", "run": 1}),
            Some(10),
        ),
        down("event", SocketEvent::name(), "Any other event. Only with `?events=all`.", event, Some(7)),
        up("ping", ClientPing::name(), "Requests a `pong`.", json!({})),
        up("stop", ClientStop::name(), "Stops the run; it can be resumed.", json!({})),
        up("resume", ClientResume::name(), "Resumes a stopped or failed run.", json!({})),
        up(
            "input",
            ClientInput::name(),
            "The answer to a question; `id` may be omitted if only one is open.",
            json!({"value": "마케터", "id": "ask/0"}),
        ),
        up(
            "steer",
            ClientSteer::name(),
            "A message to the agent at work, which reads it before its next model call. If no agent runs: `error` with the code \
             `nothing_to_do`.",
            json!({"message": "짧게 써 주세요"}),
        ),
    ]
}

/// Adds the schemas of the messages.
pub(super) fn add_messages(schemas: &mut Schemas) {
    schemas.add::<TodoMessage>();
    schemas.add::<Complete>();
    schemas.add::<Failure>();
    schemas.add::<HitlRequest>();
    schemas.add::<Pong>();
    schemas.add::<SocketStatus>();
    schemas.add::<SocketEvent>();
    schemas.add::<ClientPing>();
    schemas.add::<ClientStop>();
    schemas.add::<ClientResume>();
    schemas.add::<ClientInput>();
    schemas.add::<ClientSteer>();
}

/// Codes of `error` messages. A failed run has a code of `agent-core`.
#[cfg(test)]
pub(crate) fn codes() -> Vec<&'static str> {
    let refused = [Rejection::FrameTooLarge, Rejection::TooManyErrors];
    refused.iter().map(|refusal| refusal.name()).collect()
}

/// Returns the AsyncAPI 3 document.
pub(crate) fn document(schemas: Map<String, Value>) -> Value {
    let messages = messages();
    let named: Map<String, Value> = messages
        .iter()
        .map(|message| {
            let object = json!({
                "name": message.kind,
                "title": message.kind,
                "summary": message.text,
                "contentType": "application/json",
                "payload": {"$ref": reference(&message.schema)},
                "examples": [{"name": message.kind, "payload": message.example}],
            });
            (message.kind.to_owned(), object)
        })
        .collect();
    let of = |down: bool| -> Vec<Value> {
        let ours = messages.iter().filter(|message| message.down == down);
        ours.map(|message| json!({"$ref": format!("#/channels/session/messages/{}", message.kind)})).collect()
    };
    let in_channel: Map<String, Value> = messages
        .iter()
        .map(|message| {
            (message.kind.to_owned(), json!({"$ref": format!("#/components/messages/{}", message.kind)}))
        })
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "agent-server: the WebSocket of a session",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
        },
        "defaultContentType": "application/json",
        "servers": {"here": {"host": "localhost:8000", "protocol": "ws", "description": "The server of this document."}},
        "channels": {
            "session": {
                "address": "/ws/{session_id}",
                "title": "The WebSocket of a session",
                "description": "Also at `/api/agent/ws/{session_id}`.",
                "parameters": {"session_id": {"description": "Id of the session, which need not exist yet."}},
                "messages": in_channel,
                "bindings": {"ws": {"method": "GET", "query": {
                    "type": "object",
                    "properties": {
                        "after": {"type": "integer", "minimum": 0, "description": "Send the events after this number."},
                        "events": {"enum": ["contract", "status", "all"], "description": "Events to send."},
                    },
                }}},
            },
        },
        "operations": {
            "tell": {"action": "send", "channel": {"$ref": "#/channels/session"}, "messages": of(true), "summary": "Messages of the server."},
            "hear": {"action": "receive", "channel": {"$ref": "#/channels/session"}, "messages": of(false), "summary": "Messages of the client."},
        },
        "components": {"schemas": schemas, "messages": named},
    })
}

const ABOUT: &str = "Every message is a JSON object `{type, data, timestamp}` in a text frame; messages for a journal entry have its number as `seq`. \
     Clients may connect before, during or after a run, and any number of times. \
     A client that reconnects sends the last number as `?after=` and receives the missed messages, once and in order. \
     An invalid message is answered with `error`, and the connection stays open.";

/// Returns the page as Markdown.
pub(crate) fn markdown() -> String {
    let mut text = format!(
        "# WebSocket messages\n\n`WS /ws/{{session_id}}?after=SEQ&events=contract|status|all`\n\n{ABOUT}\n\n"
    );
    let mut write = |title: &str, down: bool| {
        writeln!(text, "## {title}\n").expect("writing to a string cannot fail");
        for message in messages().iter().filter(|message| message.down == down) {
            let example = serde_json::to_string_pretty(&message.example).unwrap_or_default();
            writeln!(text, "### `{}`\n\n{}\n\n```json\n{example}\n```\n", message.kind, message.text)
                .expect("writing to a string cannot fail");
        }
    };
    write("From the server", true);
    write("From the client", false);
    text.push_str(CLOSES);
    text
}

const CLOSES: &str = "## Close codes\n\n\
    | Close code | Reason |\n|---|---|\n\
    | 1000 | the client closed the connection |\n\
    | 1001 | the server is shutting down; connect again with `?after=` |\n\
    | 1007 | a frame was not UTF-8 |\n\
    | 1008 | more than 1,000 messages were rejected, or access to the session is denied |\n\
    | 1009 | a frame was too large |\n\
    | 1013 | no memory is available for the message; try again |\n\
    | 4404 | the session was deleted |\n\n\
    Frames of up to 64 KiB are accepted (unless the operator has configured another limit). The server sends a ping every 20 s; a \
    client that sends nothing for three intervals is disconnected. The `code` of an `error` has a \
    [page](/docs/errors). For programs: [asyncapi.json](/asyncapi.json).\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_matches_its_schema() {
        let mut schemas = Schemas::default();
        add_messages(&mut schemas);
        let schemas = schemas.into_json();
        for message in messages() {
            let schema = json!({
                "$ref": format!("#/components/schemas/{}", message.schema),
                "components": {"schemas": schemas},
            });
            let schema = jsonschema::validator_for(&schema).unwrap();
            let faults: Vec<String> =
                schema.iter_errors(&message.example).map(|fault| fault.to_string()).collect();
            assert!(faults.is_empty(), "{}: {faults:?}", message.kind);
        }
    }

    #[test]
    fn the_page_contains_every_message() {
        let text = markdown();
        for message in messages() {
            assert!(text.contains(&format!("### `{}`", message.kind)), "{}", message.kind);
        }
    }
}
