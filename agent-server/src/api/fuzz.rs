//! Bodies and frames of any kind are parsed or rejected with a 4xx, and never panic.

use tests::Mutations;

use super::{
    chat::ChatRequest,
    openai::CompletionRequest,
    sessions::ForkRequest,
    socket::Command,
    task_agent::{AnswerRequest, RunRequest},
    tool_chat::TalkRequest,
    ui::UiRequest,
};
use crate::error::ApiError;

const EXAMPLES: [&str; 10] = [
    r#"{"message": "라네즈 리뷰", "session_id": "s-1", "context": {"audience": "buyers"}, "on_busy": "enqueue"}"#,
    r#"{"message": "hi", "webhook": {"url": "https://a.example/hook"}}"#,
    r#"{"value": "yes", "id": "ask#1:q1"}"#,
    r#"{"type": "input", "data": {"value": "1", "id": "q"}, "timestamp": "2026-01-01T00:00:00Z"}"#,
    r#"{"type": "ping", "data": {}}"#,
    r#"{"content": "hi", "conversation_id": "c-1"}"#,
    r#"{"message": "hi", "history": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
    r#"{"model": "chat", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "stream": true,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}], "n": 2,
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}, "temperature": 0.5}"#,
    r#"{"id": "u", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}"#,
    r#"{"seq": 3, "session_id": "fork-1"}"#,
];

const WORDS: [&str; 34] = [
    "message",
    "session_id",
    "context",
    "on_busy",
    "webhook",
    "url",
    "value",
    "id",
    "type",
    "data",
    "input",
    "ping",
    "stop",
    "resume",
    "content",
    "conversation_id",
    "history",
    "role",
    "user",
    "assistant",
    "model",
    "messages",
    "tools",
    "function",
    "parameters",
    "response_format",
    "stream",
    "tool_calls",
    "tool_call_id",
    "parts",
    "text",
    "seq",
    "image_url",
    "agent",
];

/// Runs a parser on all inputs.
fn fuzz<T>(seed: u64, parse: impl Fn(&[u8]) -> Result<T, ApiError>) {
    let (mut accepted, mut rejected) = (0, 0);
    Mutations::of(seed, EXAMPLES, WORDS).try_all(|input| match parse(input) {
        Ok(_) => accepted += 1,
        Err(error) => {
            assert!(error.status.is_client_error(), "{error:?}");
            assert!(!error.message.is_empty());
            rejected += 1;
        }
    });
    assert!(accepted > 0 && rejected > 0, "{accepted} accepted, {rejected} rejected");
}

#[test]
fn runs_and_answers() {
    fuzz(1, RunRequest::parse);
    fuzz(2, AnswerRequest::parse);
    fuzz(3, ForkRequest::parse);
}

#[test]
fn frames_of_web_sockets() {
    fuzz(4, Command::parse);
}

#[test]
fn chats() {
    fuzz(5, ChatRequest::parse);
    fuzz(6, TalkRequest::parse);
    fuzz(7, UiRequest::parse);
}

#[test]
fn completions() {
    fuzz(8, CompletionRequest::parse);
}
