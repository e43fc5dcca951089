//! `/sessions` and `/agents`.

use agent_core::Code;
use hyper::Method;
use serde_json::json;

use super::entry::{Entry, SESSION};
use crate::error::Refusal;

pub(super) fn entries() -> Vec<Entry> {
    let of = |path: &str, id, summary| Entry::new(Method::GET, path, id, "sessions", summary);
    vec![
        Entry::new(Method::GET, "/agents", "agents", "agents", "The agents that can be run").gives(
            200,
            "Agents",
            "The first one runs what names none.",
        ),
        Entry::new(Method::GET, "/agents/{agent}/graph", "agent_graph", "agents", "The graph of an agent")
            .parameter("path", "agent", true, &json!({"type": "string"}), "The agent, by name.")
            .codes(&[Code::GraphNotFound])
            .gives(200, "Graph", "Its nodes and edges."),
        of("/sessions", "sessions", "Sessions, those that changed last first")
            .number("limit", false, "Sessions on a page, 1 to 500; more is taken as 500. Default: 50.")
            .parameter(
                "query",
                "before",
                false,
                &json!({"type": "string", "pattern": "^([0-9]{1,15}~[A-Za-z0-9._:-]{1,128})?$"}),
                "The `next` of the page before.",
            )
            .raw_parameter(json!({
                "name": "status",
                "in": "query",
                "description": "Only these, with commas between them.",
                "style": "form",
                "explode": false,
                "schema": {"type": "array", "items": {"enum": ["running", "paused", "completed", "failed", "stopped"]}},
            }))
            .parameter(
                "query",
                "agent",
                false,
                &json!({"type": "string"}),
                "Only those on which this agent ran last. Default: all but `webhook`, the deliveries of webhooks.",
            )
            .of_store()
            .gives(200, "SessionPage", "A page."),
        of("/sessions/{session_id}", "session", "Where a session stands")
            .text("The same as `GET /status/{session_id}`.")
            .of_session()
            .gives(200, "StatusResponse", "All that is known of it."),
        Entry::new(Method::DELETE, "/sessions/{session_id}", "remove", "sessions", "Remove a session for good")
            .names_session()
            .of_store()
            .codes(&[Code::SessionNotFound, Code::SessionBusy, Code::StaleWriter])
            .answers(204, json!({"description": "It is gone."})),
        of("/sessions/{session_id}/journal", "journal", "What happened, in pages, as events")
            .of_session()
            .number("after", false, "Entries after this number. Default: 0.")
            .number("limit", false, "Entries on a page, 1 to 1,000; more is taken as 1,000. Default: 200.")
            .gives(200, "JournalPage", "A page."),
        of("/sessions/{session_id}/state", "state", "What a session knew at a place, or knows now")
            .of_session()
            .number("at", false, "The place in the journal. Default: now.")
            .codes(&[Code::CheckpointNotFound, Code::GraphNotFound])
            .gives(200, "SessionState", "The state, the todos and the open questions."),
        of("/sessions/{session_id}/diff", "diff", "What changed in the state between two places")
            .of_session()
            .number("from", true, "The place before.")
            .number("to", true, "The place after.")
            .codes(&[Code::CheckpointNotFound, Code::GraphNotFound])
            .gives(200, "Diff", "The changes."),
        of("/sessions/{session_id}/graph", "session_graph", "The graph of a session's latest run")
            .of_session()
            .codes(&[Code::GraphNotFound])
            .gives(200, "Graph", "Its nodes and edges."),
        of("/sessions/{session_id}/events", "events", "Everything that happens, as server-sent events")
            .text("Never ends by itself. `data` of each is an event (schema `Event`), `id` its number; an `EventSource` that reconnects names the last one and misses nothing.")
            .names_session()
            .of_store()
            .number("after", false, "Send what came after this number. Default: from the start of the latest run.")
            .parameter(
                "header",
                "Last-Event-ID",
                false,
                &json!({"type": "string", "pattern": "^[0-9]{1,18}$"}),
                "As `after`, and stronger.",
            )
            .refusals(&[Refusal::QuotaExceeded])
            .answers(
                200,
                json!({"description": "The stream.", "content": {"text/event-stream": {}}}),
            ),
        Entry::new(Method::POST, "/sessions/{session_id}/fork", "fork", "sessions", "Go another way from a place")
            .text("A new session that is this one up to a place of its journal. Run or resume it to go on from there.")
            .of_session()
            .takes(
                "ForkRequest",
                false,
                &[
                    ("latest", "A copy of what is there", json!({})),
                    ("earlier", "From an earlier place, with a name", json!({"at": 12, "session_id": "another-way"})),
                ],
            )
            .codes(&[Code::SessionExists, Code::CheckpointNotFound, Code::SessionBusy, Code::GraphNotFound])
            .codes(&[Code::CannotResume, Code::StaleWriter])
            .refusals(&[Refusal::InvalidRequest, Refusal::QuotaExceeded])
            .gives(200, "Fork", &format!("The new session; its id is of the form `{SESSION}`.")),
    ]
}
