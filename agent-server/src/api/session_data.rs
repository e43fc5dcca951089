//! Data of a session: status, todos, questions, usage.

use agent_core::{interrupt::OpenQuestion, session::SessionStatus};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Status of a run: `paused` waits for an answer, `idle` means that there was no run yet.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunStatus {
    Idle,
    Running,
    Paused,
    Completed,
    Failed,
    Stopped,
}

impl From<agent_core::RunStatus> for RunStatus {
    fn from(status: agent_core::RunStatus) -> Self {
        match status {
            agent_core::RunStatus::Idle => Self::Idle,
            agent_core::RunStatus::Running => Self::Running,
            agent_core::RunStatus::Paused => Self::Paused,
            agent_core::RunStatus::Completed => Self::Completed,
            agent_core::RunStatus::Failed => Self::Failed,
            agent_core::RunStatus::Stopped => Self::Stopped,
        }
    }
}

/// Details of a session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Standing)]
pub(crate) struct SessionData {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    response: Option<String>,
    /// The error; only for a failed run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    error: Option<RunFailure>,
}

impl SessionData {
    /// Returns the details of a status, with the answer of a completed run.
    pub(crate) fn new(status: &SessionStatus, response: Option<String>) -> Self {
        Self {
            run: status.run.0,
            todos: todos(&status.todos),
            questions: questions(&status.questions),
            execution_time: seconds(status.active_ms),
            last_seq: status.last.0,
            response,
            error: status.failure.as_ref().map(|failure| RunFailure {
                code: failure.code.to_string(),
                message: failure.message.clone(),
                node: failure.node.clone(),
            }),
        }
    }
}

/// Error of a failed run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunFailure {
    /// Error code.
    code: String,
    /// Error message; names the node or tool, never contains a secret.
    message: String,
    /// Name of the node that failed.
    #[schema(required = true)]
    node: Option<String>,
}

/// A todo with its title and its parent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Todo {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    parent: Option<String>,
}

impl From<&agent_core::todo::Todo> for Todo {
    fn from(todo: &agent_core::todo::Todo) -> Self {
        Self {
            todo_id: todo.id.clone(),
            status: todo.status.into(),
            progress: todo.progress,
            message: todo_message(todo).to_owned(),
            title: todo.title.clone(),
            parent: todo.parent.clone(),
        }
    }
}

/// Returns the latest message of a todo, or its title.
pub(super) fn todo_message(todo: &agent_core::todo::Todo) -> &str {
    if todo.message.is_empty() { &todo.title } else { &todo.message }
}

/// Returns todos with their titles and parents.
pub(crate) fn todos(todos: &[agent_core::todo::Todo]) -> Vec<Todo> {
    todos.iter().map(Todo::from).collect()
}

/// Status of a todo.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TodoStatus {
    Pending,
    InProgress,
    Completed,
    Failed,
    Cancelled,
}

impl From<agent_core::todo::TodoStatus> for TodoStatus {
    fn from(status: agent_core::todo::TodoStatus) -> Self {
        match status {
            agent_core::todo::TodoStatus::Pending => Self::Pending,
            agent_core::todo::TodoStatus::InProgress => Self::InProgress,
            agent_core::todo::TodoStatus::Completed => Self::Completed,
            agent_core::todo::TodoStatus::Failed => Self::Failed,
            agent_core::todo::TodoStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// An open question.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Question {
    /// Text of the question.
    prompt: String,
    /// Answers to choose from; empty: any answer.
    options: Vec<Value>,
    /// Id of the question, which an answer must contain if several are open.
    id: String,
    /// JSON Schema of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    schema: Option<Value>,
    /// Additional information for the person, for example the tool call to approve.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    details: Option<Value>,
    /// Whether answers other than the options are accepted. Default: no.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    open: Option<bool>,
    /// Deadline for the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false, format = DateTime)]
    deadline: Option<String>,
    /// What waits, if it is not a person's decision: a timer or a breakpoint. Any answer continues the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    kind: Option<QuestionKind>,
}

/// What waits, if it is not a person's decision.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum QuestionKind {
    /// The run sleeps until the deadline.
    Timer,
    /// The run was started with a breakpoint.
    Breakpoint,
}

impl QuestionKind {
    fn of(open: &OpenQuestion) -> Option<Self> {
        if open.question.timer {
            return Some(Self::Timer);
        }
        open.id.0.contains(":=break:").then_some(Self::Breakpoint)
    }
}

impl From<&OpenQuestion> for Question {
    fn from(open: &OpenQuestion) -> Self {
        let question = &open.question;
        let deadline = question.deadline.map(|deadline| {
            let millis = i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX);
            iso(open.asked_at.saturating_add(millis))
        });
        Self {
            prompt: question.prompt.clone(),
            options: question.options.clone(),
            id: open.id.to_string(),
            schema: question.schema.clone(),
            details: question.details.clone(),
            open: question.open.then_some(true),
            deadline,
            kind: QuestionKind::of(open),
        }
    }
}

/// Returns open questions.
pub(crate) fn questions(open: &[OpenQuestion]) -> Vec<Question> {
    open.iter().map(Question::from).collect()
}

/// Details of a session, including its state, usage and size.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WholeStanding)]
pub(crate) struct SessionDetails {
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
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    response: Option<String>,
    /// The error; only for a failed run.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    /// Context of the run, if the program that started it gave one that is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    run_context: Option<Value>,
    /// Size in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    sizes: Option<Sizes>,
}

impl SessionDetails {
    /// Adds the remaining details to the data of a session.
    pub(crate) fn new(
        data: SessionData,
        status: &SessionStatus,
        title: Option<String>,
        running: Vec<String>,
        state: Value,
        sizes: Option<Sizes>,
    ) -> Self {
        let SessionData { run, todos, questions, execution_time, last_seq, response, error } = data;
        let usage = Usage {
            model_calls: status.used.model_calls,
            tool_calls: status.used.tool_calls,
            input_tokens: status.used.input_tokens,
            output_tokens: status.used.output_tokens,
            cost_micros: status.used.cost_micros,
        };
        let agent = status.graph.clone();
        Self {
            run,
            todos,
            questions,
            execution_time,
            last_seq,
            response,
            error,
            agent,
            title,
            running,
            usage,
            state,
            run_context: status.context.clone(),
            sizes,
        }
    }
}

/// Usage of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
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
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sizes {
    /// Number of journal entries.
    pub(crate) entries: u64,
    /// Bytes of the journal entries.
    pub(crate) journal_bytes: u64,
    /// Bytes of the snapshots.
    pub(crate) snapshot_bytes: u64,
}

/// Returns milliseconds as seconds.
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// Returns milliseconds since 1970 as ISO-8601 in UTC, always with three decimals, so that texts sort as times do.
pub(super) fn iso(ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or_default())
}
