//! Operations of `/sessions` and `/agents`.

use agent_core::Code;
use hyper::Method;
use serde_json::json;

use super::entry::{Entry, SESSION};
use crate::error::Rejection;

pub(super) fn entries() -> Vec<Entry> {
    let of = |path: &str, id, summary| Entry::new(Method::GET, path, id, "sessions", summary);
    vec![
        Entry::new(Method::GET, "/agents", "agents", "agents", "List the agents").gives(
            200,
            "Agents",
            "The first agent is the default.",
        ),
        Entry::new(Method::GET, "/agents/{agent}/graph", "agent_graph", "agents", "Get the graph of an agent")
            .parameter("path", "agent", true, &json!({"type": "string"}), "Name of the agent.")
            .codes(&[Code::GraphNotFound])
            .gives(200, "Graph", "The nodes and edges."),
        of("/sessions", "sessions", "List sessions, the most recently changed first")
            .number("limit", false, "Page size, 1 to 500; larger values count as 500. Default: 50.")
            .parameter(
                "query",
                "before",
                false,
                &json!({"type": "string", "pattern": "^([0-9]{1,15}~[A-Za-z0-9._:-]{1,128})?$"}),
                "The `next` value of the previous page.",
            )
            .raw_parameter(json!({
                "name": "status",
                "in": "query",
                "description": "Only sessions with one of these statuses, separated by commas.",
                "style": "form",
                "explode": false,
                "schema": {"type": "array", "items": {"enum": ["running", "paused", "completed", "failed", "stopped"]}},
            }))
            .parameter(
                "query",
                "agent",
                false,
                &json!({"type": "string"}),
                "Only sessions whose latest run is of this agent. Default: all except `webhook`, the deliveries of webhooks.",
            )
            .of_store()
            .gives(200, "SessionPage", "A page."),
        of("/sessions/{session_id}", "session", "Get the status of a session")
            .text("The same as `GET /status/{session_id}`.")
            .of_session()
            .gives(200, "StatusResponse", "The status of the session."),
        Entry::new(Method::DELETE, "/sessions/{session_id}", "remove", "sessions", "Delete a session permanently")
            .names_session()
            .of_store()
            .codes(&[Code::SessionNotFound, Code::SessionBusy, Code::StaleWriter])
            .answers(204, json!({"description": "The session is deleted."})),
        of("/sessions/{session_id}/journal", "journal", "Read the journal as events, in pages")
            .of_session()
            .number("after", false, "Entries after this number. Default: 0.")
            .number("limit", false, "Page size, 1 to 1,000; larger values count as 1,000. Default: 200.")
            .gives(200, "JournalPage", "A page."),
        of("/sessions/{session_id}/state", "state", "Get the state of a session, now or at a checkpoint")
            .of_session()
            .number("at", false, "Number of the journal entry. Default: the latest state.")
            .codes(&[Code::CheckpointNotFound, Code::GraphNotFound])
            .gives(200, "SessionState", "The state, the todos and the open questions."),
        of("/sessions/{session_id}/diff", "diff", "Compare the state at two checkpoints")
            .of_session()
            .number("from", true, "Number of the earlier entry.")
            .number("to", true, "Number of the later entry.")
            .codes(&[Code::CheckpointNotFound, Code::GraphNotFound])
            .gives(200, "Diff", "The changes."),
        of("/sessions/{session_id}/graph", "session_graph", "Get the graph of a session's latest run")
            .of_session()
            .codes(&[Code::GraphNotFound])
            .gives(200, "Graph", "The nodes and edges."),
        of("/sessions/{session_id}/events", "events", "Subscribe to the events of a session as server-sent events")
            .text("The stream does not end. `data` of each is an event (schema `Event`), `id` its number; an `EventSource` that reconnects sends the last number and misses no event.")
            .names_session()
            .of_store()
            .number("after", false, "Send the events after this number. Default: from the start of the latest run.")
            .parameter(
                "header",
                "Last-Event-ID",
                false,
                &json!({"type": "string", "pattern": "^[0-9]{1,18}$"}),
                "Like `after`, which it overrides.",
            )
            .refusals(&[Rejection::QuotaExceeded])
            .answers(
                200,
                json!({"description": "The stream.", "content": {"text/event-stream": {}}}),
            ),
        Entry::new(Method::POST, "/sessions/{session_id}/fork", "fork", "sessions", "Fork a session at a checkpoint")
            .text("Creates a session with a copy of the journal up to an entry. Run or resume it to continue from there.")
            .of_session()
            .takes(
                "ForkRequest",
                false,
                &[
                    ("latest", "A copy of the whole session", json!({})),
                    ("earlier", "At an earlier checkpoint, with an id", json!({"at": 12, "session_id": "another-way"})),
                ],
            )
            .codes(&[Code::SessionExists, Code::CheckpointNotFound, Code::SessionBusy, Code::GraphNotFound])
            .codes(&[Code::CannotResume, Code::StaleWriter])
            .refusals(&[Rejection::InvalidRequest, Rejection::QuotaExceeded])
            .gives(200, "Fork", &format!("The new session; its id is of the form `{SESSION}`.")),
    ]
}
