//! System 1: requests, responses and refusals.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A run to begin.
#[derive(ToSchema)]
pub(in crate::docs) struct RunRequest {
    /// What the agent shall do, in any language; at most 32 KiB of UTF-8, and not blank.
    #[schema(
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    message: String,
    /// The session to run on; one that is new begins empty. Default: a new one with a random id.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$", required = false)]
    session_id: Option<String>,
    /// What the agent shall know besides; reaches the state of the graph.
    #[schema(value_type = Option<Object>, required = false)]
    context: Option<Map<String, Value>>,
    /// The agent, by name (see `GET /agents`). Default: the first.
    #[schema(required = false)]
    agent: Option<String>,
    /// What happens when the session is busy. Default: `reject`.
    #[schema(required = false)]
    on_busy: Option<OnBusy>,
}

/// What happens when the session is busy: `reject` answers 409, `enqueue` waits its turn, `interrupt` stops the run and
/// keeps what it did, `rollback` stops it and undoes it.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum OnBusy {
    Reject,
    Enqueue,
    Interrupt,
    Rollback,
}

/// Nothing (an empty body or object) to go on with a stopped or failed run, or the answer to an open question.
#[derive(ToSchema)]
pub(in crate::docs) struct AnswerRequest {
    /// The answer; any JSON value, `null` included.
    #[schema(value_type = Value, required = false)]
    value: Option<Value>,
    /// The question that is answered; may be left out when one is open.
    #[schema(required = false)]
    id: Option<String>,
}

/// What a run came to: its end, or the question that it waits with.
#[derive(ToSchema)]
pub(in crate::docs) struct RunResponse {
    /// The session.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$")]
    session_id: String,
    /// Where the run stands.
    status: RunStatus,
    /// The same in a sentence, for people.
    message: String,
    /// More of it.
    #[schema(required = false, nullable = false)]
    data: Option<Standing>,
}

/// Where a run stands: `paused` waits for a person, `idle` means that nothing was run yet.
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

/// What is known of a session.
#[derive(ToSchema)]
struct Standing {
    /// The number of its latest run.
    run: u64,
    /// Its todos.
    todos: Vec<Todo>,
    /// What a person is asked, and has not answered.
    questions: Vec<Question>,
    /// The time the run was at work, in seconds; pauses do not count.
    #[schema(minimum = 0.0)]
    execution_time: f64,
    /// The last number in its journal.
    last_seq: u64,
    /// The answer; only at completion.
    #[schema(required = false, nullable = false)]
    response: Option<String>,
    /// What went wrong; only after a failure.
    #[schema(required = false, nullable = false)]
    error: Option<RunFailure>,
}

/// Why a run failed.
#[derive(ToSchema)]
struct RunFailure {
    /// What to branch on.
    code: String,
    /// The same for people; names the node or tool, never a secret.
    message: String,
    /// The node at fault.
    #[schema(required = true)]
    node: Option<String>,
}

/// A todo with its title and its place in the tree.
#[derive(ToSchema)]
pub(super) struct Todo {
    /// Its id.
    todo_id: String,
    /// Where it stands.
    status: TodoStatus,
    /// Percent.
    #[schema(minimum = 0, maximum = 100)]
    progress: u8,
    /// What goes on, or else its title.
    message: String,
    /// Its title.
    title: String,
    /// The todo that it is a part of.
    #[schema(required = false, nullable = false)]
    parent: Option<String>,
}

/// Where a todo stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(super) enum TodoStatus {
    Pending,
    InProgress,
    Completed,
    Failed,
    Cancelled,
}

/// A question that waits for a person.
#[derive(ToSchema)]
pub(super) struct Question {
    /// What the person reads.
    prompt: String,
    /// Answers to choose from; empty: any.
    options: Vec<Value>,
    /// What an answer names when several questions are open.
    id: String,
    /// JSON Schema that an answer must meet.
    #[schema(required = false)]
    schema: Option<Value>,
    /// What is shown beside the prompt: the tool call to approve, say.
    #[schema(required = false)]
    details: Option<Value>,
    /// Whether an answer beside the options is accepted; absent: no.
    #[schema(required = false, nullable = false)]
    open: Option<bool>,
    /// Until when an answer is waited for.
    #[schema(required = false, nullable = false, format = DateTime)]
    deadline: Option<String>,
}

/// A run that has begun.
#[derive(ToSchema)]
pub(in crate::docs) struct StartResponse {
    /// The session.
    session_id: String,
    /// It has begun, or waits for its turn; it is stored either way.
    #[schema(pattern = "^started$")]
    status: String,
    /// The same in a sentence, for people.
    message: String,
    /// Which run it is.
    data: RunNumber,
}

/// A run by its number.
#[derive(ToSchema)]
struct RunNumber {
    /// Counted from 1 in each session.
    run: u64,
}

/// A run that goes on.
#[derive(ToSchema)]
pub(in crate::docs) struct ResumeResponse {
    /// The session.
    session_id: String,
    /// Where the run stands.
    status: RunStatus,
    /// The same in a sentence, for people.
    message: String,
    /// Which run it is.
    data: RunNumber,
}

/// Where a session stands, with all that is known of it.
#[derive(ToSchema)]
pub(in crate::docs) struct StatusResponse {
    /// The session.
    session_id: String,
    /// Where its latest run stands.
    status: RunStatus,
    /// The same in a sentence, for people.
    message: String,
    /// More of it.
    data: WholeStanding,
}

/// What is known of a session, its state, costs and sizes included.
#[derive(ToSchema)]
struct WholeStanding {
    /// The number of its latest run.
    run: u64,
    /// Its todos.
    todos: Vec<Todo>,
    /// What a person is asked, and has not answered.
    questions: Vec<Question>,
    /// The time the run was at work, in seconds; pauses do not count.
    #[schema(minimum = 0.0)]
    execution_time: f64,
    /// The last number in its journal.
    last_seq: u64,
    /// The answer; only at completion.
    #[schema(required = false, nullable = false)]
    response: Option<String>,
    /// What went wrong; only after a failure.
    #[schema(required = false, nullable = false)]
    error: Option<RunFailure>,
    /// The agent that ran.
    agent: String,
    /// The first words of its first message; `null` where it began without one.
    #[schema(required = true)]
    title: Option<String>,
    /// The tasks that the run is at, as of what is stored, each `node#number`: at work, or waiting for a person. Those inside a
    /// subgraph are not told, the one that holds it is. None when the run is at rest.
    running: Vec<String>,
    /// What the session used up.
    usage: Usage,
    /// The state of the graph; `null` when this process cannot read it.
    state: Value,
    /// What it takes up in the store.
    #[schema(required = false, nullable = false)]
    sizes: Option<Sizes>,
}

/// What was used up.
#[derive(ToSchema)]
struct Usage {
    /// Calls of models.
    model_calls: u64,
    /// Calls of tools.
    tool_calls: u64,
    /// Tokens that went to models.
    input_tokens: u64,
    /// Tokens that came from models.
    output_tokens: u64,
    /// Millionths of the currency that prices are set in.
    cost_micros: u64,
}

/// What a session takes up in the store.
#[derive(ToSchema)]
struct Sizes {
    /// Entries of the journal that are kept.
    entries: u64,
    /// Their bytes.
    journal_bytes: u64,
    /// Bytes of the snapshots.
    snapshot_bytes: u64,
}

/// The server lives.
#[derive(ToSchema)]
pub(in crate::docs) struct Health {
    /// Always `healthy`.
    #[schema(pattern = "^healthy$")]
    status: String,
    /// The version of the server.
    version: String,
    /// The agent that runs what names none.
    #[schema(required = true)]
    agent: Option<String>,
    /// Runs at work in this process.
    live_runs: u64,
}

/// A refused or failed request.
#[derive(ToSchema)]
pub(in crate::docs) struct Error {
    /// What to branch on; each has a page under `/docs/errors`.
    code: String,
    /// The same for people; never holds a secret.
    message: String,
    /// The session it is about.
    #[schema(required = false, nullable = false)]
    session_id: Option<String>,
    /// `failed` when a run failed rather than the request.
    #[schema(required = false, nullable = false, pattern = "^failed$")]
    status: Option<String>,
    /// Where in the graph.
    #[schema(required = false, nullable = false)]
    r#where: Option<Place>,
    /// What is known of the session, if that helps.
    #[schema(value_type = Object, required = false)]
    data: Option<Value>,
}

/// A place in a graph.
#[derive(ToSchema)]
struct Place {
    /// The node at fault.
    node: String,
}
