//! System 1: runs.

use agent_core::{Code, error::Family};
use hyper::Method;
use serde_json::json;

use super::entry::Entry;
use crate::error::Rejection;

pub(super) fn entries() -> Vec<Entry> {
    vec![
        Entry::new(Method::GET, "/health", "health", "operations", "Whether the server lives")
            .aliased()
            .gives(200, "Health", "It does."),
        Entry::new(Method::GET, "/ready", "ready", "operations", "Whether requests should be sent here")
            .gives(200, "Ready", "They should: the store answers, and the server is not ending.")
            .gives(503, "Ready", "They should not; `reason` says why."),
        Entry::new(Method::GET, "/metrics", "metrics", "operations", "What was counted since the start, for Prometheus")
            .answers(200, json!({"description": "The numbers.", "content": {"text/plain": {"schema": {"type": "string"}}}})),
        run("/run", "run", "Run to the end, or to a question")
            .text(
                "Answers when the run has come to rest: `completed` with its answer, `paused` with its questions, or `stopped`. \
                 A run that fails is a 500 that names the node. A caller that goes away does not stop the run.",
            )
            .codes(&failures())
            .codes(&[Code::SessionNotFound, Code::CheckpointNotFound])
            .gives(200, "RunResponse", "The run has come to rest."),
        run("/run-async", "run_async", "Start a run, answer at once")
            .text("The run is stored before the answer leaves. Follow it over the WebSocket, the event stream or `GET /status`.")
            .gives(200, "StartResponse", "The run has started, or waits for its turn."),
        Entry::new(Method::GET, "/status/{session_id}", "status", "runs", "Where the run stands")
            .aliased()
            .of_session()
            .gives(200, "StatusResponse", "All that is known of the session."),
        Entry::new(Method::POST, "/stop/{session_id}", "stop", "runs", "Stop the run; it can be resumed")
            .aliased()
            .of_session()
            .codes(&[Code::NothingToDo, Code::StaleWriter, Code::SessionBusy])
            .gives(200, "RunResponse", "All is quiet."),
        Entry::new(Method::POST, "/resume/{session_id}", "resume", "runs", "Go on, or answer the open question")
            .aliased()
            .text("Without a body: go on with a stopped or failed run. With `{value, id?}`: answer. Of two racing answers one wins.")
            .of_session()
            .takes(
                "AnswerRequest",
                false,
                &[
                    ("korean", "한국어 답", json!({"value": "마케터"})),
                    ("english", "An answer in English, to a question by its id", json!({"value": "buyers", "id": "QUESTION_ID"})),
                    ("go_on", "Go on with a stopped or failed run", json!({})),
                ],
            )
            .codes(&waits())
            .codes(&values())
            .codes(&[
                Code::InvalidAnswer,
                Code::AmbiguousAnswer,
                Code::AlreadyAnswered,
                Code::QuestionNotFound,
                Code::NothingToDo,
                Code::CannotResume,
            ])
            .refusals(&[Rejection::AnswerNeeded, Rejection::QuotaExceeded])
            .gives(200, "ResumeResponse", "The run goes on."),
        Entry::new(Method::GET, "/ws/{session_id}", "socket", "runs", "The WebSocket of a session")
            .aliased()
            .text("Progress, questions, answers: see [its messages](/docs/websocket). The session need not exist yet; a session has any number of sockets.")
            .names_session()
            .of_store()
            .number("after", false, "Send what came after this number. Default: from the start of the latest run.")
            .parameter(
                "query",
                "events",
                false,
                &json!({"type": "string", "enum": ["", "contract", "status", "all"]}),
                "How much is sent: the messages of the contract (the default); `status` of the run and whole todos as well; or `all`.",
            )
            .refusals(&[Rejection::UpgradeRequired, Rejection::InvalidRequest, Rejection::QuotaExceeded])
            .answers(101, json!({"description": "The connection is a WebSocket from here on."})),
    ]
}

/// What `/run` and `/run-async` have in common.
fn run(path: &str, id: &'static str, summary: &'static str) -> Entry {
    Entry::new(Method::POST, path, id, "runs", summary)
        .aliased()
        .takes(
            "RunRequest",
            true,
            &[
                (
                    "korean",
                    "한국어로",
                    json!({"message": "라네즈 리뷰를 분석해 주세요", "session_id": "laneige-1"}),
                ),
                (
                    "english",
                    "In English, with what would otherwise be asked",
                    json!({"message": "Analyse the Laneige reviews", "context": {"audience": "buyers"}}),
                ),
            ],
        )
        .parameter(
            "header",
            "Idempotency-Key",
            false,
            &json!({"type": "string", "pattern": "^[!-~]{1,128}$"}),
            "The request counts once, however often it is sent with the same key and body. A session remembers its latest 1,024 keys; an older one starts a run again.",
        )
        .codes(&[Code::InvalidSessionId, Code::InvalidInput, Code::GraphNotFound])
        .codes(&values())
        .codes(&waits())
        .codes(&[Code::SessionBusy, Code::RequestDiffers, Code::LabelDiffers, Code::OtherGraph])
        .of_store()
        .codes(&[Code::StoredState])
        .refusals(&[
            Rejection::EmptyMessage,
            Rejection::MessageTooLong,
            Rejection::UnknownAgent,
            Rejection::NoAgent,
            Rejection::QuotaExceeded,
        ])
}

/// Refusals of a value that could not be read back after it was stored.
fn values() -> Vec<Code> {
    vec![Code::ValueTooDeep, Code::ValueTooLarge, Code::ValueReservedKey, Code::ValueNotFinite]
}

/// What may keep a run from going on.
fn waits() -> Vec<Code> {
    vec![Code::GraphChanged, Code::StaleWriter, Code::TooManyRuns, Code::ShuttingDown, Code::GraphNotFound]
}

/// What a run may end with.
fn failures() -> Vec<Code> {
    let of_runs =
        |code: &&Code| matches!(code.family(), Family::Run | Family::Limit | Family::Model | Family::Tool);
    Code::ALL.iter().filter(of_runs).copied().collect()
}
