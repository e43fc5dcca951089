//! Systems 2 and 4, and OpenAI's chat completions: only what is of our own making; OpenAI's is OpenAI's.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A message to the streaming chat.
#[derive(ToSchema)]
pub(in crate::docs) struct ChatRequest {
    /// What the user says; at most 32 KiB of UTF-8, and not blank.
    #[schema(
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    message: String,
    /// What was said before, the oldest first.
    #[schema(required = false, max_items = 1000)]
    history: Option<Vec<ChatTurn>>,
}

/// Something that was said before.
#[derive(ToSchema)]
struct ChatTurn {
    /// Who said it.
    role: ChatRole,
    /// What was said.
    #[schema(max_length = 32_768)]
    content: String,
}

/// Who said something.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum ChatRole {
    User,
    Assistant,
    System,
}

/// A message to the agent with tools.
#[derive(ToSchema)]
pub(in crate::docs) struct TalkRequest {
    /// What the user says; at most 32 KiB of UTF-8, and not blank. When the agent has asked, this is the answer.
    #[schema(
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    content: String,
    /// The conversation to go on with. Default: a new one.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$", required = false)]
    conversation_id: Option<String>,
}

/// What the agent with tools answers.
#[derive(ToSchema)]
pub(in crate::docs) struct TalkResponse {
    /// What it says.
    content: String,
    /// The conversation, to go on with.
    conversation_id: String,
    /// The tools that it called; absent when it called none.
    #[schema(required = false, nullable = false)]
    tool_calls: Option<Vec<ToolCall>>,
}

/// A call of a tool.
#[derive(ToSchema)]
struct ToolCall {
    /// Its id.
    id: String,
    /// The tool.
    name: String,
    /// What it was given.
    arguments: Value,
    /// What it gave; `null` when it failed.
    result: Value,
    /// Why it failed; absent when it did not.
    #[schema(required = false, nullable = false)]
    error: Option<String>,
    /// How long it took, in milliseconds.
    duration_ms: u64,
}

/// A refusal of the chats.
#[derive(ToSchema)]
pub(in crate::docs) struct ChatError {
    /// For people; never holds a secret.
    error: String,
    /// What to branch on.
    code: String,
    /// The conversation it is about.
    #[schema(required = false, nullable = false)]
    conversation_id: Option<String>,
}

/// A request for a completion, as OpenAI's clients send it. Parameters that are not served are refused by name.
#[derive(ToSchema)]
pub(in crate::docs) struct CompletionRequest {
    /// A model of `GET /v1/models`.
    #[schema(min_length = 1)]
    model: String,
    /// The conversation, the oldest first.
    #[schema(min_items = 1, max_items = 4096)]
    messages: Vec<CompletionMessage>,
    /// Whether the answer comes in pieces.
    #[schema(required = false)]
    stream: Option<bool>,
    /// The most tokens of the answer.
    #[schema(required = false, minimum = 1, maximum = 4_294_967_295_i64)]
    max_completion_tokens: Option<u64>,
    /// How freely the model speaks.
    #[schema(required = false, minimum = 0.0, maximum = 2.0)]
    temperature: Option<f64>,
    /// How much of the likely words are considered.
    #[schema(required = false, minimum = 0.0, maximum = 1.0)]
    top_p: Option<f64>,
}

/// A message of a conversation.
#[derive(ToSchema)]
struct CompletionMessage {
    /// Who says it.
    role: CompletionRole,
    /// What is said. May be `null` or absent where an assistant called tools.
    content: CompletionContent,
    /// The call that a message of a `tool` answers; it needs one.
    #[schema(required = false)]
    tool_call_id: Option<String>,
}

/// A text, or a list of parts.
#[derive(ToSchema)]
#[serde(untagged)]
enum CompletionContent {
    /// The whole of it.
    Text(String),
    /// In parts.
    Parts(Vec<ContentPart>),
}

/// A part of a message. Pictures (`image_url`) are handed on to the plain model.
#[derive(ToSchema)]
struct ContentPart {
    /// Its kind.
    r#type: PartKind,
    /// What is said.
    text: String,
}

/// The kind of a part.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum PartKind {
    Text,
}

/// Who says something.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum CompletionRole {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

/// A completion, as OpenAI's clients read it.
#[derive(ToSchema)]
pub(in crate::docs) struct Completion {
    /// Its id.
    id: String,
    /// Always `chat.completion`.
    #[schema(pattern = "^chat.completion$")]
    object: String,
    /// When it was made, in seconds since 1970.
    created: i64,
    /// The model, as it was asked for.
    model: String,
    /// The answer; one.
    #[schema(value_type = Vec<Object>)]
    choices: Vec<Map<String, Value>>,
    /// What was used.
    #[schema(value_type = Object)]
    usage: Map<String, Value>,
}

/// A piece of a completion, as OpenAI's clients read it; or the `error` that ends it.
#[derive(ToSchema)]
pub(in crate::docs) struct CompletionChunk {
    /// The same for all pieces.
    #[schema(required = false, nullable = false)]
    id: Option<String>,
    /// Always `chat.completion.chunk`.
    #[schema(pattern = "^chat.completion.chunk$", required = false, nullable = false)]
    object: Option<String>,
    /// When it was made, in seconds since 1970.
    #[schema(required = false, nullable = false)]
    created: Option<i64>,
    /// The model, as it was asked for.
    #[schema(required = false, nullable = false)]
    model: Option<String>,
    /// What is new of the answer; none in the piece that tells what was used.
    #[schema(value_type = Option<Vec<Object>>, required = false, nullable = false)]
    choices: Option<Vec<Map<String, Value>>>,
    /// What was used: in the last piece, where `stream_options.include_usage` asks for it; `null` before.
    #[schema(value_type = Option<Object>, required = false)]
    usage: Option<Map<String, Value>>,
    /// What went wrong.
    #[schema(required = false, nullable = false)]
    error: Option<OpenAiFault>,
}

/// An event of the streaming chat: a piece, what went wrong, or the end.
#[derive(ToSchema)]
pub(in crate::docs) struct ChatEvent {
    /// A piece of the answer.
    #[schema(required = false, nullable = false)]
    chunk: Option<String>,
    /// What went wrong, for people.
    #[schema(required = false, nullable = false)]
    error: Option<String>,
    /// What went wrong, to branch on.
    #[schema(required = false, nullable = false)]
    code: Option<String>,
    /// `true`: the last event.
    #[schema(required = false, nullable = false)]
    done: Option<bool>,
}

/// An event of the agent with tools.
#[derive(ToSchema)]
pub(in crate::docs) struct TalkEvent {
    /// The conversation: first, and with the end.
    #[schema(required = false, nullable = false)]
    conversation_id: Option<String>,
    /// A piece of the answer; with `done`, the whole of its last part.
    #[schema(required = false, nullable = false)]
    content: Option<String>,
    /// A tool is called.
    #[schema(required = false, nullable = false)]
    tool_call: Option<ToolCallBegun>,
    /// A tool gave its result.
    #[schema(required = false, nullable = false)]
    tool_result: Option<ToolCall>,
    /// `true`: what was said since the last call is void.
    #[schema(required = false, nullable = false)]
    reset: Option<bool>,
    /// The agent asks; the next message of the conversation is the answer.
    #[schema(required = false, nullable = false)]
    question: Option<TalkQuestion>,
    /// What went wrong, for people.
    #[schema(required = false, nullable = false)]
    error: Option<String>,
    /// What went wrong, to branch on.
    #[schema(required = false, nullable = false)]
    code: Option<String>,
    /// `true`: the last event.
    #[schema(required = false, nullable = false)]
    done: Option<bool>,
    /// With `done`: the tools that were called; absent when none were.
    #[schema(required = false, nullable = false)]
    tool_calls: Option<Vec<ToolCall>>,
}

/// A call of a tool that has begun.
#[derive(ToSchema)]
struct ToolCallBegun {
    /// Its id.
    id: String,
    /// The tool.
    name: String,
    /// What it is given.
    arguments: Value,
}

/// What an agent with tools asks.
#[derive(ToSchema)]
struct TalkQuestion {
    /// Its id.
    id: String,
    /// The words.
    prompt: String,
    /// What can be answered; empty: anything.
    options: Vec<Value>,
}

/// Models by name.
#[derive(ToSchema)]
pub(in crate::docs) struct ModelList {
    /// Always `list`.
    #[schema(pattern = "^list$")]
    object: String,
    /// The models.
    data: Vec<ModelInfo>,
}

/// A model: an agent of this server, or the plain model behind it.
#[derive(ToSchema)]
pub(in crate::docs) struct ModelInfo {
    /// Its name.
    id: String,
    /// Always `model`.
    #[schema(pattern = "^model$")]
    object: String,
    /// Since when, in seconds since 1970.
    created: i64,
    /// Who owns it.
    owned_by: String,
}

/// A refusal, as OpenAI's clients read it.
#[derive(ToSchema)]
pub(in crate::docs) struct OpenAiError {
    /// What was refused.
    error: OpenAiFault,
}

/// What was refused.
#[derive(ToSchema)]
struct OpenAiFault {
    /// For people; never holds a secret.
    message: String,
    /// The kind of refusal.
    r#type: String,
    /// The parameter at fault.
    #[schema(required = true)]
    param: Option<String>,
    /// What to branch on.
    code: String,
}

/// Whether requests should be sent here.
#[derive(ToSchema)]
pub(in crate::docs) struct Ready {
    /// `ready` or `not_ready`.
    #[schema(pattern = "^(not_)?ready$")]
    status: String,
    /// Why not.
    #[schema(required = false, nullable = false)]
    reason: Option<String>,
}
