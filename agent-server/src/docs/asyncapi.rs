//! AsyncAPI document of the WebSocket: its messages in both directions, for programs (AsyncAPI 3) and as a page.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::shape;
#[cfg(test)]
use crate::error::Rejection;

/// A WebSocket message.
struct Message {
    /// Value of its field `type`.
    kind: &'static str,
    schema: &'static str,
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
        down("todo_update", "TodoMessage", "A todo moved.", todo, Some(5)),
        down("complete", "Complete", "The run is at its end.", result, Some(42)),
        down(
            "error",
            "Failure",
            "The run failed (with `seq`), or what the client said was refused (without); the connection stays open.",
            json!({"error": "a JSON object is expected", "details": {"code": "invalid_request"}}),
            None,
        ),
        down(
            "hitl_request",
            "HitlRequest",
            "A person is asked. Answer with `input`.",
            json!({"prompt": "누구를 위한 보고서인가요?", "options": ["소비자", "마케터"], "id": "ask/0"}),
            Some(9),
        ),
        down("pong", "Pong", "The answer to `ping`.", json!({}), None),
        down(
            "status",
            "SocketStatus",
            "A run waits for its turn, starts, pauses, goes on or stops. Only with `?events=status` or `all`.",
            json!({"status": "paused", "run": 1}),
            Some(10),
        ),
        down("event", "SocketEvent", "Anything else that happens. Only with `?events=all`.", event, Some(7)),
        up("ping", "ClientPing", "Are you there? Answered by `pong`.", json!({})),
        up("stop", "ClientStop", "Stop the run; it can be resumed.", json!({})),
        up("resume", "ClientResume", "Go on with a stopped or failed run.", json!({})),
        up(
            "input",
            "ClientInput",
            "The answer to a question; `id` may be left out when one is open.",
            json!({"value": "마케터", "id": "ask/0"}),
        ),
    ]
}

/// Codes of `error` messages. A failed run has a code of `agent-core`.
#[cfg(test)]
pub(crate) fn codes() -> Vec<&'static str> {
    let refused = [Rejection::FrameTooLarge, Rejection::TooManyErrors];
    refused.iter().map(|refusal| refusal.name()).collect()
}

/// Returns the AsyncAPI 3 document.
pub(crate) fn document() -> Value {
    let messages = messages();
    let named: Map<String, Value> = messages
        .iter()
        .map(|message| {
            let told = json!({
                "name": message.kind,
                "title": message.kind,
                "summary": message.text,
                "contentType": "application/json",
                "payload": {"$ref": format!("#/components/schemas/{}", message.schema)},
                "examples": [{"name": message.kind, "payload": message.example}],
            });
            (message.kind.to_owned(), told)
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
            "title": "agent-server: the socket of a session",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
        },
        "defaultContentType": "application/json",
        "servers": {"here": {"host": "localhost:8000", "protocol": "ws", "description": "The server that gave this document."}},
        "channels": {
            "session": {
                "address": "/ws/{session_id}",
                "title": "The socket of a session",
                "description": "Also at `/api/agent/ws/{session_id}`.",
                "parameters": {"session_id": {"description": "The session; it need not exist yet."}},
                "messages": in_channel,
                "bindings": {"ws": {"method": "GET", "query": {
                    "type": "object",
                    "properties": {
                        "after": {"type": "integer", "minimum": 0, "description": "Send what came after this number."},
                        "events": {"enum": ["contract", "status", "all"], "description": "How much is sent."},
                    },
                }}},
            },
        },
        "operations": {
            "tell": {"action": "send", "channel": {"$ref": "#/channels/session"}, "messages": of(true), "summary": "What the server says."},
            "hear": {"action": "receive", "channel": {"$ref": "#/channels/session"}, "messages": of(false), "summary": "What the server understands."},
        },
        "components": {"schemas": shape::all(), "messages": named},
    })
}

const ABOUT: &str = "Every message, either way, is a JSON object `{type, data, timestamp}` in a text frame; messages that stand for \
     an entry of the journal have its number as `seq`. Connect before, during or after a run, as often as you like. \
     Whoever comes back names the last number it saw as `?after=` and gets what it missed, once and in order. \
     A message that is not understood is answered by `error`, and the connection stays open.";

/// Returns the page as Markdown.
pub(crate) fn markdown() -> String {
    let mut text = format!(
        "# WebSocket messages\n\n`WS /ws/{{session_id}}?after=SEQ&events=contract|status|all`\n\n{ABOUT}\n\n"
    );
    let mut write = |title: &str, down: bool| {
        writeln!(text, "## {title}\n").expect("a string takes what it is given");
        for message in messages().iter().filter(|message| message.down == down) {
            let example = serde_json::to_string_pretty(&message.example).unwrap_or_default();
            writeln!(text, "### `{}`\n\n{}\n\n```json\n{example}\n```\n", message.kind, message.text)
                .expect("a string takes what it is given");
        }
    };
    write("From the server", true);
    write("From the client", false);
    text.push_str(CLOSES);
    text
}

const CLOSES: &str = "## How it ends\n\n\
    | Close code | When |\n|---|---|\n\
    | 1000 | the client said goodbye |\n\
    | 1001 | the server is ending; connect again with `?after=` |\n\
    | 1007 | a frame was not UTF-8 |\n\
    | 1008 | more than 1,000 messages were refused |\n\
    | 1009 | a frame was larger than is read at all |\n\n\
    Frames of 64 KiB and less are understood (unless the operator chose otherwise). The server pings every 20 s; a \
    client that gives no sign of life for three times as long is closed. The `code` of an `error` has a \
    [page](/docs/errors). For machines: [asyncapi.json](/asyncapi.json).\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_what_its_schema_says() {
        let schemas = shape::all();
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
    fn the_page_shows_every_message() {
        let text = markdown();
        for message in messages() {
            assert!(text.contains(&format!("### `{}`", message.kind)), "{}", message.kind);
        }
    }
}
