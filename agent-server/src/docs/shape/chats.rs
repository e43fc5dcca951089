//! Schemas of the streaming chat, the agent with tools, and chat completions. The latter describe only what differs
//! from OpenAI.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Request of the streaming chat.
#[derive(ToSchema)]
pub(in crate::docs) struct ChatRequest {
    /// Message of the user; at most 32 KiB of UTF-8, not blank.
    #[schema(
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    message: String,
    /// Earlier messages, oldest first.
    #[schema(required = false, max_items = 1000)]
    history: Option<Vec<ChatTurn>>,
}

/// An earlier message.
#[derive(ToSchema)]
struct ChatTurn {
    /// Role of the author.
    role: ChatRole,
    /// Text of the message.
    #[schema(max_length = 32_768)]
    content: String,
}

/// Role of a message's author.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum ChatRole {
    User,
    Assistant,
    System,
}

/// Request of the agent with tools.
#[derive(ToSchema)]
pub(in crate::docs) struct TalkRequest {
    /// Message of the user; at most 32 KiB of UTF-8, not blank. If the agent has asked a question, this is the
    /// answer.
    #[schema(
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    content: String,
    /// Id of the conversation to continue. Default: a new one.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$", required = false)]
    conversation_id: Option<String>,
}

/// Response of the agent with tools.
#[derive(ToSchema)]
pub(in crate::docs) struct TalkResponse {
    /// Text of the answer.
    content: String,
    /// Id of the conversation.
    conversation_id: String,
    /// Tools that the agent called; absent if it called none.
    #[schema(required = false, nullable = false)]
    tool_calls: Option<Vec<ToolCall>>,
}

/// A tool call.
#[derive(ToSchema)]
struct ToolCall {
    /// Id of the call.
    id: String,
    /// Name of the tool.
    name: String,
    /// Arguments of the call.
    arguments: Value,
    /// Result of the call; `null` if it failed.
    result: Value,
    /// Error of the call; absent if it succeeded.
    #[schema(required = false, nullable = false)]
    error: Option<String>,
    /// Duration in milliseconds.
    duration_ms: u64,
}

/// Error of the chats.
#[derive(ToSchema)]
pub(in crate::docs) struct ChatError {
    /// Error message; never contains a secret.
    error: String,
    /// Error code.
    code: String,
    /// Id of the conversation.
    #[schema(required = false, nullable = false)]
    conversation_id: Option<String>,
}

/// Request for a completion in OpenAI's format. Unsupported parameters are rejected by name.
#[derive(ToSchema)]
pub(in crate::docs) struct CompletionRequest {
    /// A model of `GET /v1/models`.
    #[schema(min_length = 1)]
    model: String,
    /// The conversation, oldest message first.
    #[schema(min_items = 1, max_items = 4096)]
    messages: Vec<CompletionMessage>,
    /// Whether the answer is streamed.
    #[schema(required = false)]
    stream: Option<bool>,
    /// Maximum number of output tokens.
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295_i64)]
    max_completion_tokens: Option<u64>,
    /// Sampling temperature.
    #[schema(required = false, minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    /// Nucleus sampling.
    #[schema(required = false, minimum = 0.0, maximum = 1.0)]
    top_p: Option<f64>,
}

/// A message of a conversation.
#[derive(ToSchema)]
struct CompletionMessage {
    /// Role of the author.
    role: CompletionRole,
    /// Content. May be `null` or absent for an assistant message with tool calls.
    content: CompletionContent,
    /// Id of the call that a `tool` message answers; required for that role.
    #[schema(required = false)]
    tool_call_id: Option<String>,
}

/// A text, or a list of parts.
#[derive(ToSchema)]
#[serde(untagged)]
enum CompletionContent {
    /// One text.
    Text(String),
    /// Several parts.
    Parts(Vec<ContentPart>),
}

/// A part of a message. Images (`image_url`) are passed on to the plain model.
#[derive(ToSchema)]
struct ContentPart {
    /// Kind of the part.
    r#type: PartKind,
    /// Text of the part.
    text: String,
}

/// Kind of a part.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum PartKind {
    Text,
}

/// Role of a message's author.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum CompletionRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// A completion in OpenAI's format.
#[derive(ToSchema)]
pub(in crate::docs) struct Completion {
    /// Id of the completion.
    id: String,
    /// Always `chat.completion`.
    #[schema(pattern = "^chat.completion$")]
    object: String,
    /// Time of creation, in seconds since 1970.
    created: i64,
    /// The requested model.
    model: String,
    /// The answer; always one.
    #[schema(value_type = Vec<Object>)]
    choices: Vec<Map<String, Value>>,
    /// Token usage.
    #[schema(value_type = Object)]
    usage: Map<String, Value>,
}

/// A chunk of a completion in OpenAI's format, or the `error` that ends the stream.
#[derive(ToSchema)]
pub(in crate::docs) struct CompletionChunk {
    /// Id of the completion, the same for all chunks.
    #[schema(required = false, nullable = false)]
    id: Option<String>,
    /// Always `chat.completion.chunk`.
    #[schema(pattern = "^chat.completion.chunk$", required = false, nullable = false)]
    object: Option<String>,
    /// Time of creation, in seconds since 1970.
    #[schema(required = false, nullable = false)]
    created: Option<i64>,
    /// The requested model.
    #[schema(required = false, nullable = false)]
    model: Option<String>,
    /// New parts of the answer; empty in the chunk with the usage.
    #[schema(value_type = Option<Vec<Object>>, required = false, nullable = false)]
    choices: Option<Vec<Map<String, Value>>>,
    /// Token usage: in the last chunk if `stream_options.include_usage` is set; `null` before.
    #[schema(value_type = Option<Object>, required = false)]
    usage: Option<Map<String, Value>>,
    /// Error that ended the stream.
    #[schema(required = false, nullable = false)]
    error: Option<OpenAiFault>,
}

/// Event of the streaming chat: a delta, an error, or the end.
#[derive(ToSchema)]
pub(in crate::docs) struct ChatEvent {
    /// Delta of the answer.
    #[schema(required = false, nullable = false)]
    chunk: Option<String>,
    /// Error message.
    #[schema(required = false, nullable = false)]
    error: Option<String>,
    /// Error code.
    #[schema(required = false, nullable = false)]
    code: Option<String>,
    /// `true` for the last event.
    #[schema(required = false, nullable = false)]
    done: Option<bool>,
}

/// Event of the agent with tools.
#[derive(ToSchema)]
pub(in crate::docs) struct TalkEvent {
    /// Id of the conversation: in the first and the last event.
    #[schema(required = false, nullable = false)]
    conversation_id: Option<String>,
    /// Delta of the answer; with `done`, the whole text of the last message.
    #[schema(required = false, nullable = false)]
    content: Option<String>,
    /// A tool call began.
    #[schema(required = false, nullable = false)]
    tool_call: Option<ToolCallBegun>,
    /// A tool call ended.
    #[schema(required = false, nullable = false)]
    tool_result: Option<ToolCall>,
    /// `true`: the text since the last tool call is void.
    #[schema(required = false, nullable = false)]
    reset: Option<bool>,
    /// Question of the agent; the next message of the conversation is the answer.
    #[schema(required = false, nullable = false)]
    question: Option<TalkQuestion>,
    /// Error message.
    #[schema(required = false, nullable = false)]
    error: Option<String>,
    /// Error code.
    #[schema(required = false, nullable = false)]
    code: Option<String>,
    /// `true` for the last event.
    #[schema(required = false, nullable = false)]
    done: Option<bool>,
    /// With `done`: the tools that were called; absent if there were none.
    #[schema(required = false, nullable = false)]
    tool_calls: Option<Vec<ToolCall>>,
}

/// A tool call that began.
#[derive(ToSchema)]
struct ToolCallBegun {
    /// Id of the call.
    id: String,
    /// Name of the tool.
    name: String,
    /// Arguments of the call.
    arguments: Value,
}

/// Question of an agent with tools.
#[derive(ToSchema)]
struct TalkQuestion {
    /// Id of the question.
    id: String,
    /// Text of the question.
    prompt: String,
    /// Answers to choose from; empty: any answer.
    options: Vec<Value>,
}

/// List of models.
#[derive(ToSchema)]
pub(in crate::docs) struct ModelList {
    /// Always `list`.
    #[schema(pattern = "^list$")]
    object: String,
    /// The models.
    data: Vec<ModelInfo>,
}

/// A model: an agent of this server, or its plain model.
#[derive(ToSchema)]
pub(in crate::docs) struct ModelInfo {
    /// Name of the model.
    id: String,
    /// Always `model`.
    #[schema(pattern = "^model$")]
    object: String,
    /// Time of creation, in seconds since 1970.
    created: i64,
    /// Owner of the model.
    owned_by: String,
}

/// Error in OpenAI's format.
#[derive(ToSchema)]
pub(in crate::docs) struct OpenAiError {
    /// The error.
    error: OpenAiFault,
}

/// The error.
#[derive(ToSchema)]
struct OpenAiFault {
    /// Error message; never contains a secret.
    message: String,
    /// Type of the error.
    r#type: String,
    /// The invalid parameter.
    #[schema(required = true)]
    param: Option<String>,
    /// Error code.
    code: String,
}

/// Readiness of the server.
#[derive(ToSchema)]
pub(in crate::docs) struct Ready {
    /// `ready` or `not_ready`.
    #[schema(pattern = "^(not_)?ready$")]
    status: String,
    /// Reason if it is not ready.
    #[schema(required = false, nullable = false)]
    reason: Option<String>,
}
