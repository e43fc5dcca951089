//! Operations of the streaming chat, the agent with tools, and OpenAI's chat completions.

use agent_core::{Code, error::Family};
use hyper::Method;
use serde_json::{Value, json};

use super::entry::Entry;
use crate::error::Rejection;

pub(super) fn entries() -> Vec<Entry> {
    let chat = |method, path: &str, id, summary| Entry::new(method, path, id, "chats", summary);
    vec![
        chat(Method::POST, "/api/chat/stream", "chat_stream", "Stream the answer of a model")
            .text(STREAM)
            .takes(
                "ChatRequest",
                true,
                &[
                    ("korean", "한국어로", json!({"message": "건성 피부에 맞는 크림을 추천해 주세요"})),
                    (
                        "english",
                        "In English, with a history",
                        json!({"message": "And for oily skin?", "history": [
                            {"role": "user", "content": "Which cream suits dry skin?"},
                            {"role": "assistant", "content": "One with ceramides."},
                        ]}),
                    ),
                ],
            )
            .refusals(&[Rejection::EmptyMessage, Rejection::MessageTooLong, Rejection::NoModel, Rejection::QuotaExceeded])
            .answers(200, stream("ChatEvent", STREAM_EXAMPLE)),
        chat(Method::GET, "/api/chat/stream", "chat_stream_get", "Stream the answer of a model to an `EventSource`")
            .text("The `done` event has the id `done`. An `EventSource` that reconnects with this id gets a 204, which ends it.")
            .parameter(
                "query",
                "message",
                true,
                &json!({"type": "string", "minLength": 1, "maxLength": 32_768, "pattern": r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"}),
                "Message of the user.",
            )
            .raw_parameter(json!({
                "name": "history",
                "in": "query",
                "description": "Earlier messages: a JSON array of `{role, content}`.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ChatRequest/properties/history"}}},
            }))
            .refusals(&[Rejection::EmptyMessage, Rejection::MessageTooLong, Rejection::NoModel, Rejection::QuotaExceeded])
            .refusals(&[Rejection::InvalidJson, Rejection::InvalidRequest, Rejection::TooDeep])
            .answers(200, stream("ChatEvent", STREAM_EXAMPLE))
            .answers(414, json!({"description": "The URL exceeds 64 KiB; use `POST`."}))
            .answers(431, json!({"description": "The request headers exceed 64 KiB; use `POST`."}))
            .answers(204, json!({"description": "The client has received the end of the stream."})),
        talk("/api/v1/chat", "talk", "Send a message to the agent with tools")
            .text("If the agent asks a question, it is the `content` of the response; the next message of the conversation is the answer.")
            .gives(200, "TalkResponse", "The answer, and the tools that the agent called."),
        talk("/api/v1/chat/stream", "talk_stream", "Send a message to the agent with tools, streamed as server-sent events")
            .text(TALK)
            .answers(200, stream("TalkEvent", "data: {\"conversation_id\":\"c1\"}\n\ndata: {\"content\":\"안녕\"}\n\ndata: {\"done\":true,\"conversation_id\":\"c1\",\"content\":\"안녕하세요\"}\n\n")),
        chat(Method::GET, "/v1/models", "models", "List the agents as models").gives(200, "ModelList", "The models, by name."),
        chat(Method::GET, "/v1/models/{model}", "model", "Get an agent as a model")
            .parameter("path", "model", true, &json!({"type": "string"}), "Name of the model.")
            .refusals(&[Rejection::ModelNotFound])
            .gives(200, "ModelInfo", "The model."),
        chat(Method::POST, "/v1/chat/completions", "completions", "Create a chat completion with any agent or model")
            .text("For any OpenAI client, with `/v1` of this server as its base URL. With `stream: true` the answer is sent as server-sent events and ends with `[DONE]`.")
            .takes(
                "CompletionRequest",
                true,
                &[
                    ("korean", "한국어로", json!({"model": "trend", "messages": [{"role": "user", "content": "라네즈 리뷰를 분석해 주세요"}]})),
                    ("english", "In English, streamed", json!({"model": "trend", "stream": true, "messages": [{"role": "user", "content": "Analyse the Laneige reviews for buyers"}]})),
                ],
            )
            .codes(&failures())
            .of_store()
            .refusals(&[Rejection::NoModel, Rejection::ModelNotFound, Rejection::Unsupported, Rejection::Stopped, Rejection::QuotaExceeded])
            .answers(504, faulty("The model did not respond in time.", "OpenAiError"))
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
                    "In English, in the same conversation",
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
            Rejection::EmptyMessage,
            Rejection::MessageTooLong,
            Rejection::NoModel,
            Rejection::QuotaExceeded,
            Rejection::Stopped,
        ])
}

/// Codes of failed runs, and of runs that cannot start.
fn failures() -> Vec<Code> {
    let of_runs =
        |code: &&Code| matches!(code.family(), Family::Run | Family::Limit | Family::Model | Family::Tool);
    Code::ALL.iter().filter(of_runs).copied().chain([Code::ShuttingDown, Code::GraphNotFound]).collect()
}

/// Response with a stream in which each `data` is an object of a schema. OpenAPI 3.2 has `itemSchema` for this, 3.1
/// has no keyword.
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

const STREAM: &str = "Events: `data: {\"chunk\": \"..\"}` for each delta, then `data: {\"done\": true}`. An error after the beginning of the stream \
     is one `data: {\"error\": \"..\", \"code\": \"..\"}` before the `done`. If the client disconnects, the model call is cancelled.";

const STREAM_EXAMPLE: &str =
    "data: {\"chunk\":\"안녕\"}\n\ndata: {\"chunk\":\"하세요\"}\n\ndata: {\"done\":true}\n\n";

const TALK: &str = "Events, each a `data:` with one object: `{conversation_id}` first; `{content}` a piece of the answer; \
     `{tool_call: {id, name, arguments}}`; `{tool_result: {id, name, arguments, result, error?, duration_ms}}`; `{reset: true}` \
     what was said since the last tool call is void; `{question: {id, prompt, options}}`; `{error, code}`; and last \
     `{done: true, conversation_id, content, tool_calls?}`.";
