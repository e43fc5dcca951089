//! Systems 2 and 4, and OpenAI's chat completions.

use agent_core::{Code, error::Family};
use hyper::Method;
use serde_json::{Value, json};

use super::entry::Entry;
use crate::error::Refusal;

pub(super) fn entries() -> Vec<Entry> {
    let chat = |method, path: &str, id, summary| Entry::new(method, path, id, "chats", summary);
    vec![
        chat(Method::POST, "/api/chat/stream", "chat_stream", "A model's words as they come")
            .text(STREAM)
            .takes(
                "ChatRequest",
                true,
                &[
                    ("korean", "한국어로", json!({"message": "건성 피부에 맞는 크림을 추천해 주세요"})),
                    (
                        "english",
                        "In English, with what was said before",
                        json!({"message": "And for oily skin?", "history": [
                            {"role": "user", "content": "Which cream suits dry skin?"},
                            {"role": "assistant", "content": "One with ceramides."},
                        ]}),
                    ),
                ],
            )
            .refusals(&[Refusal::EmptyMessage, Refusal::MessageTooLong, Refusal::NoModel, Refusal::QuotaExceeded])
            .answers(200, stream("ChatEvent", STREAM_EXAMPLE)),
        chat(Method::GET, "/api/chat/stream", "chat_stream_get", "The same for a browser's `EventSource`")
            .text("The `done` has the id `done`; an `EventSource` that reconnects with it is told by a 204 that there is no more.")
            .parameter(
                "query",
                "message",
                true,
                &json!({"type": "string", "minLength": 1, "maxLength": 32_768, "pattern": r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"}),
                "What the user says.",
            )
            .raw_parameter(json!({
                "name": "history",
                "in": "query",
                "description": "What was said before: a JSON array of `{role, content}`.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ChatRequest/properties/history"}}},
            }))
            .refusals(&[Refusal::EmptyMessage, Refusal::MessageTooLong, Refusal::NoModel, Refusal::QuotaExceeded])
            .refusals(&[Refusal::InvalidJson, Refusal::InvalidRequest, Refusal::TooDeep])
            .answers(200, stream("ChatEvent", STREAM_EXAMPLE))
            .answers(414, json!({"description": "The address is longer than 64 KiB; use `POST`."}))
            .answers(431, json!({"description": "The head of the request is longer than 64 KiB; use `POST`."}))
            .answers(204, json!({"description": "The client has seen the end."})),
        talk("/api/v1/chat", "talk", "Ask the agent with tools")
            .text("A question of the agent is its `content`; the next message of the conversation is the answer.")
            .gives(200, "TalkResponse", "What it says, and the tools that it called."),
        talk("/api/v1/chat/stream", "talk_stream", "The same as server-sent events")
            .text(TALK)
            .answers(200, stream("TalkEvent", "data: {\"conversation_id\":\"c1\"}\n\ndata: {\"content\":\"안녕\"}\n\ndata: {\"done\":true,\"conversation_id\":\"c1\",\"content\":\"안녕하세요\"}\n\n")),
        chat(Method::GET, "/v1/models", "models", "The agents, as models").gives(200, "ModelList", "By name."),
        chat(Method::GET, "/v1/models/{model}", "model", "An agent, as a model")
            .parameter("path", "model", true, &json!({"type": "string"}), "Its name.")
            .refusals(&[Refusal::ModelNotFound])
            .gives(200, "ModelInfo", "It is there."),
        chat(Method::POST, "/v1/chat/completions", "completions", "Chat completions of OpenAI, over every agent")
            .text("For any OpenAI client, with `/v1` of this server as its base URL. With `stream: true` the answer comes as server-sent events and ends with `[DONE]`.")
            .takes(
                "CompletionRequest",
                true,
                &[
                    ("korean", "한국어로", json!({"model": "trend", "messages": [{"role": "user", "content": "라네즈 리뷰를 분석해 주세요"}]})),
                    ("english", "In English, in pieces", json!({"model": "trend", "stream": true, "messages": [{"role": "user", "content": "Analyse the Laneige reviews for buyers"}]})),
                ],
            )
            .codes(&failures())
            .of_store()
            .refusals(&[Refusal::NoModel, Refusal::ModelNotFound, Refusal::Unsupported, Refusal::Stopped, Refusal::QuotaExceeded])
            .answers(504, faulty("The model did not answer in time.", "OpenAiError"))
            .answers(200, completion()),
    ]
}

fn talk(path: &str, id: &'static str, summary: &'static str) -> Entry {
    Entry::new(Method::POST, path, id, "chats", summary)
        .takes(
            "TalkRequest",
            true,
            &[
                ("korean", "한국어로", json!({"content": "서울은 지금 몇 시인가요?"})),
                (
                    "english",
                    "In English, going on",
                    json!({"content": "And in Berlin?", "conversation_id": "c1"}),
                ),
            ],
        )
        .codes(&failures())
        .codes(&[
            Code::InvalidSessionId,
            Code::SessionNotFound,
            Code::SessionBusy,
            Code::StaleWriter,
            Code::AlreadyAnswered,
        ])
        .codes(&[Code::GraphChanged, Code::InvalidAnswer, Code::CannotResume])
        .of_store()
        .refusals(&[
            Refusal::EmptyMessage,
            Refusal::MessageTooLong,
            Refusal::NoModel,
            Refusal::QuotaExceeded,
            Refusal::Stopped,
        ])
}

/// What a run may end with, and what keeps it from beginning.
fn failures() -> Vec<Code> {
    let of_runs =
        |code: &&Code| matches!(code.family(), Family::Run | Family::Limit | Family::Model | Family::Tool);
    Code::ALL.iter().filter(of_runs).copied().chain([Code::ShuttingDown, Code::GraphNotFound]).collect()
}

/// Each `data` is one object of a schema. OpenAPI 3.2 says so by `itemSchema`; 3.1 has no word for it.
fn stream(schema: &str, example: &str) -> Value {
    let item = json!({"$ref": super::entry::reference(schema)});
    json!({
        "description": format!("The stream: each `data` is a `{schema}`."),
        "content": {"text/event-stream": {"x-item-schema": item, "example": example}},
    })
}

fn faulty(text: &str, schema: &str) -> Value {
    json!({
        "description": text,
        "content": {"application/json": {"schema": {"$ref": super::entry::reference(schema)}}},
    })
}

fn completion() -> Value {
    json!({
        "description": "The completion.",
        "content": {
            "application/json": {"schema": {"$ref": super::entry::reference("Completion")}},
            "text/event-stream": {"x-item-schema": {"$ref": super::entry::reference("CompletionChunk")}},
        },
    })
}

const STREAM: &str = "Events: `data: {\"chunk\": \"..\"}` for each piece, then `data: {\"done\": true}`. What fails after the stream \
     began is one `data: {\"error\": \"..\", \"code\": \"..\"}` before the `done`. A client that goes away cancels the call of the model.";

const STREAM_EXAMPLE: &str =
    "data: {\"chunk\":\"안녕\"}\n\ndata: {\"chunk\":\"하세요\"}\n\ndata: {\"done\":true}\n\n";

const TALK: &str = "Events, each a `data:` with one object: `{conversation_id}` first; `{content}` a piece of the answer; \
     `{tool_call: {id, name, arguments}}`; `{tool_result: {id, name, arguments, result, error?, duration_ms}}`; `{reset: true}` \
     what was said since the last tool call is void; `{question: {id, prompt, options}}`; `{error, code}`; and last \
     `{done: true, conversation_id, content, tool_calls?}`.";
