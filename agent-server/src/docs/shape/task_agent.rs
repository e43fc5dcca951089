//! Schemas of the task agent's requests, responses and errors.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Request to start a run.
#[derive(ToSchema)]
pub(in crate::docs) struct RunRequest {
    /// Task for the agent, in any language; at most 32 KiB of UTF-8, not blank.
    #[schema(
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    message: String,
    /// Session of the run; a new session begins empty. Default: a new one with a random id.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$", required = false)]
    session_id: Option<String>,
    /// Additional input, which is passed to the state of the graph.
    #[schema(value_type = Option<Object>, required = false)]
    context: Option<Map<String, Value>>,
    /// Name of the agent (see `GET /agents`). Default: the first one.
    #[schema(required = false)]
    agent: Option<String>,
    /// Policy if the session is busy. Default: `reject`.
    #[schema(required = false)]
    on_busy: Option<OnBusy>,
}

/// Policy if the session is busy: `reject` responds with 409, `enqueue` starts the run after the current one,
/// `interrupt` stops the current run and keeps its commits, `rollback` stops it and reverts its commits.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum OnBusy {
    Reject,
    Enqueue,
    Interrupt,
    Rollback,
}

/// An empty body or object resumes a stopped or failed run; otherwise this is the answer to an open question.
#[derive(ToSchema)]
pub(in crate::docs) struct AnswerRequest {
    /// The answer: any JSON value, including `null`.
    #[schema(value_type = Value, required = false)]
    value: Option<Value>,
    /// Id of the question; may be omitted if only one is open.
    #[schema(required = false)]
    id: Option<String>,
}

/// Result of a run: its end, or the question on which it is paused.
#[derive(ToSchema)]
pub(in crate::docs) struct RunResponse {
    /// Id of the session.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$")]
    session_id: String,
    /// Status of the run.
    status: RunStatus,
    /// Description of the status.
    message: String,
    /// Details.
    #[schema(required = false, nullable = false)]
    data: Option<Standing>,
}

/// Status of a run: `paused` waits for an answer, `idle` means that there was no run yet.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum RunStatus {
    Idle,
    Running,
    Paused,
    Completed,
    Failed,
    Stopped,
}

/// Details of a session.
#[derive(ToSchema)]
struct Standing {
    /// Number of the latest run.
    run: u64,
    /// Todos of the run.
    todos: Vec<Todo>,
    /// Open questions.
    questions: Vec<Question>,
    /// Time spent running in seconds, without pauses.
    #[schema(minimum = 0.0)]
    execution_time: f64,
    /// Number of the last journal entry.
    last_seq: u64,
    /// The answer; only for a completed run.
    #[schema(required = false, nullable = false)]
    response: Option<String>,
    /// The error; only for a failed run.
    #[schema(required = false, nullable = false)]
    error: Option<RunFailure>,
}

/// Error of a failed run.
#[derive(ToSchema)]
struct RunFailure {
    /// Error code.
    code: String,
    /// Error message; names the node or tool, never contains a secret.
    message: String,
    /// Name of the node that failed.
    #[schema(required = true)]
    node: Option<String>,
}

/// A todo with its title and its parent.
#[derive(ToSchema)]
pub(super) struct Todo {
    /// Id of the todo.
    todo_id: String,
    /// Status of the todo.
    status: TodoStatus,
    /// Progress in percent.
    #[schema(minimum = 0, maximum = 100)]
    progress: u8,
    /// Latest message, or the title.
    message: String,
    /// Title of the todo.
    title: String,
    /// Id of the parent.
    #[schema(required = false, nullable = false)]
    parent: Option<String>,
}

/// Status of a todo.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum TodoStatus {
    Pending,
    InProgress,
    Completed,
    Failed,
    Cancelled,
}

/// An open question.
#[derive(ToSchema)]
pub(super) struct Question {
    /// Text of the question.
    prompt: String,
    /// Answers to choose from; empty: any answer.
    options: Vec<Value>,
    /// Id of the question, which an answer must contain if several are open.
    id: String,
    /// JSON Schema of the answer.
    #[schema(required = false)]
    schema: Option<Value>,
    /// Additional information for the person, for example the tool call to approve.
    #[schema(required = false)]
    details: Option<Value>,
    /// Whether answers other than the options are accepted. Default: no.
    #[schema(required = false, nullable = false)]
    open: Option<bool>,
    /// Deadline for the answer.
    #[schema(required = false, nullable = false, format = DateTime)]
    deadline: Option<String>,
}

/// A run that was accepted.
#[derive(ToSchema)]
pub(in crate::docs) struct StartResponse {
    /// Id of the session.
    session_id: String,
    /// The run has started or is queued; it is stored in both cases.
    #[schema(pattern = "^started$")]
    status: String,
    /// Description of the status.
    message: String,
    /// Number of the run.
    data: RunNumber,
}

/// Number of a run.
#[derive(ToSchema)]
struct RunNumber {
    /// Counted from 1 in each session.
    run: u64,
}

/// A run that was resumed.
#[derive(ToSchema)]
pub(in crate::docs) struct ResumeResponse {
    /// Id of the session.
    session_id: String,
    /// Status of the run.
    status: RunStatus,
    /// Description of the status.
    message: String,
    /// Number of the run.
    data: RunNumber,
}

/// Status of a session with all details.
#[derive(ToSchema)]
pub(in crate::docs) struct StatusResponse {
    /// Id of the session.
    session_id: String,
    /// Status of the latest run.
    status: RunStatus,
    /// Description of the status.
    message: String,
    /// Details.
    data: WholeStanding,
}

/// Details of a session, including its state, usage and size.
#[derive(ToSchema)]
struct WholeStanding {
    /// Number of the latest run.
    run: u64,
    /// Todos of the run.
    todos: Vec<Todo>,
    /// Open questions.
    questions: Vec<Question>,
    /// Time spent running in seconds, without pauses.
    #[schema(minimum = 0.0)]
    execution_time: f64,
    /// Number of the last journal entry.
    last_seq: u64,
    /// The answer; only for a completed run.
    #[schema(required = false, nullable = false)]
    response: Option<String>,
    /// The error; only for a failed run.
    #[schema(required = false, nullable = false)]
    error: Option<RunFailure>,
    /// Name of the agent.
    agent: String,
    /// Beginning of the first message; `null` if there was none.
    #[schema(required = true)]
    title: Option<String>,
    /// Unfinished tasks of the run by the stored journal, each as `node#number`: executing, or waiting for an
    /// answer. Tasks inside a subgraph are represented by the task that contains it. Empty after the end of a run.
    running: Vec<String>,
    /// Usage of the run.
    usage: Usage,
    /// State of the graph; `null` if this process cannot read it.
    state: Value,
    /// Size in the store.
    #[schema(required = false, nullable = false)]
    sizes: Option<Sizes>,
}

/// Usage of a run.
#[derive(ToSchema)]
struct Usage {
    /// Number of model calls.
    model_calls: u64,
    /// Number of tool calls.
    tool_calls: u64,
    /// Input tokens.
    input_tokens: u64,
    /// Output tokens.
    output_tokens: u64,
    /// Cost in millionths of the currency of the prices.
    cost_micros: u64,
}

/// Size of a session in the store.
#[derive(ToSchema)]
struct Sizes {
    /// Number of journal entries.
    entries: u64,
    /// Bytes of the journal entries.
    journal_bytes: u64,
    /// Bytes of the snapshots.
    snapshot_bytes: u64,
}

/// Health of the server.
#[derive(ToSchema)]
pub(in crate::docs) struct Health {
    /// Always `healthy`.
    #[schema(pattern = "^healthy$")]
    status: String,
    /// Version of the server.
    version: String,
    /// Name of the default agent.
    #[schema(required = true)]
    agent: Option<String>,
    /// Number of live runs in this process.
    live_runs: u64,
}

/// Error of a request or of a run.
#[derive(ToSchema)]
pub(in crate::docs) struct Error {
    /// Error code; each has a page under `/docs/errors`.
    code: String,
    /// Error message; never contains a secret.
    message: String,
    /// Id of the session.
    #[schema(required = false, nullable = false)]
    session_id: Option<String>,
    /// `failed` if the run failed, rather than the request.
    #[schema(required = false, nullable = false, pattern = "^failed$")]
    status: Option<String>,
    /// Location in the graph.
    #[schema(required = false, nullable = false)]
    r#where: Option<Place>,
    /// Details of the session, if they are useful.
    #[schema(value_type = Object, required = false)]
    data: Option<Value>,
}

/// Location in a graph.
#[derive(ToSchema)]
struct Place {
    /// Name of the node that failed.
    node: String,
}
