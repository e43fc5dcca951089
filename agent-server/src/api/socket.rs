//! Messages of the WebSocket, in both directions.

use agent_core::{
    Event,
    event::{EventBody, EventFilter, EventKind, payload::Gap},
    ids::{Seq, SessionId},
    interrupt::{Answers, OpenQuestion},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    json,
    schema::EventJson,
    session_data::{Question, Todo, TodoStatus, iso, seconds, todo_message, todos},
    task_agent::{SteerRequest, answers},
};
use crate::{
    error::{ApiError, Rejection, help, is_retryable, run_message},
    spelling::nearest,
};

/// Serializes a message.
pub(crate) fn to_text(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("messages serialize to JSON")
}

macro_rules! server_messages {
    ($($(#[$meta:meta])* $name:ident: $kind:literal, $pattern:literal, $data:ty;)*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Serialize, ToSchema)]
            pub(crate) struct $name {
                /// Type of the message.
                #[schema(value_type = String, pattern = $pattern)]
                r#type: &'static str,
                /// Content of the message.
                data: $data,
                /// ISO-8601, UTC.
                #[schema(format = DateTime)]
                timestamp: String,
                /// Number of the journal entry; a client that reconnects sends the last one as `?after=`.
                #[serde(skip_serializing_if = "Option::is_none")]
                #[schema(required = false, nullable = false)]
                seq: Option<u64>,
            }

            impl $name {
                pub(crate) fn new(data: $data, at_ms: i64, seq: Option<Seq>) -> Self {
                    Self { r#type: $kind, data, timestamp: iso(at_ms), seq: seq.map(|seq| seq.0) }
                }
            }
        )*
    };
}

server_messages! {
    /// A todo has changed.
    TodoMessage: "todo_update", "^todo_update$", TodoUpdate;
    /// The run has completed.
    Complete: "complete", "^complete$", RunResult;
    /// The run failed, or a message of the client was rejected; the connection stays open.
    Failure: "error", "^error$", FailureData;
    /// The run asks a person. Answer with `input`. Open questions are sent again after a stopped run was resumed.
    HitlRequest: "hitl_request", "^hitl_request$", Question;
    /// The response to `ping`.
    Pong: "pong", "^pong$", Nothing;
    /// A run was queued, started, paused, resumed or stopped. Only with `?events=status` or `all`.
    SocketStatus: "status", "^status$", StatusData;
    /// Any other event. Only with `?events=all`.
    SocketEvent: "event", "^event$", EventJson;
}

macro_rules! client_messages {
    ($($(#[$meta:meta])* $name:ident: $pattern:literal, $data:ty;)*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Deserialize, ToSchema)]
            #[expect(dead_code, reason = "only the type is used")]
            pub(crate) struct $name {
                /// Type of the message.
                #[schema(pattern = $pattern)]
                r#type: String,
                /// Content of the message.
                #[schema(required = false)]
                data: Option<$data>,
                /// ISO-8601; ignored.
                #[schema(value_type = Option<String>, required = false)]
                timestamp: Option<IgnoredAny>,
            }
        )*
    };
}

client_messages! {
    /// Requests a `pong`.
    ClientPing: "^ping$", Nothing;
    /// Stops the run; it can be resumed.
    ClientStop: "^stop$", Nothing;
    /// Resumes a stopped or failed run.
    ClientResume: "^resume$", Nothing;
}

/// The answer to a question.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ClientInput {
    /// Always `input`.
    #[schema(pattern = "^input$")]
    #[expect(dead_code, reason = "known before the message is read")]
    r#type: String,
    /// The answer.
    data: InputData,
    /// ISO-8601; ignored.
    #[schema(value_type = Option<String>, required = false)]
    #[expect(dead_code, reason = "ignored")]
    timestamp: Option<IgnoredAny>,
}

/// An answer.
#[derive(Debug, Deserialize, ToSchema)]
struct InputData {
    /// Any JSON value, including `null`.
    value: Value,
    /// Id of the question; may be omitted if only one is open.
    #[schema(required = false)]
    id: Option<String>,
}

/// A message to the agent at work.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ClientSteer {
    /// Always `steer`.
    #[schema(pattern = "^steer$")]
    #[expect(dead_code, reason = "known before the message is read")]
    r#type: String,
    /// The message.
    data: SteerRequest,
    /// ISO-8601; ignored.
    #[schema(value_type = Option<String>, required = false)]
    #[expect(dead_code, reason = "ignored")]
    timestamp: Option<IgnoredAny>,
}

/// Types of commands.
const COMMANDS: [&str; 5] = ["ping", "input", "steer", "stop", "resume"];

/// A command of a client.
#[derive(Debug)]
pub(crate) enum Command {
    Ping,
    Stop,
    Resume,
    Input(Answers),
    Steer(String),
}

impl Command {
    /// Parses a message.
    ///
    /// # Errors
    ///
    /// `invalid_json`, `too_deep`, `invalid_request`.
    pub(crate) fn parse(frame: &[u8]) -> Result<Self, ApiError> {
        let fields = json::object(frame)?;
        let invalid = |message: &str| Err(ApiError::new(Rejection::InvalidRequest, message));
        let kind = match fields.get("type") {
            None | Some(Value::Null) => {
                // A misspelled name is reported as such.
                json::strict::<ClientPing>(Value::Object(fields))?;
                return invalid("`type` is missing; known: ping, input, steer, stop, resume");
            }
            Some(Value::String(kind)) => kind.clone(),
            Some(_) => return invalid("`type` must be text"),
        };
        let message = Value::Object(fields);
        match kind.as_str() {
            "ping" => json::strict::<ClientPing>(message).map(|_| Self::Ping),
            "stop" => json::strict::<ClientStop>(message).map(|_| Self::Stop),
            "resume" => json::strict::<ClientResume>(message).map(|_| Self::Resume),
            "input" => {
                let ClientInput { data, .. } = json::strict(message)?;
                Ok(Self::Input(answers(data.value, data.id)))
            }
            "steer" => {
                let ClientSteer { data, .. } = json::strict(message)?;
                data.checked().map(Self::Steer)
            }
            other => match nearest(other, COMMANDS) {
                Some(meant) => invalid(&format!("unknown `type`; did you mean `{meant}`?")),
                None => invalid("unknown `type`; known: ping, input, steer, stop, resume"),
            },
        }
    }
}

/// A changed todo.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TodoUpdate {
    /// Id of the todo.
    todo_id: String,
    /// Status of the todo.
    status: TodoStatus,
    /// Progress in percent.
    #[schema(minimum = 0, maximum = 100)]
    progress: u8,
    /// Latest message, or the title.
    message: String,
    /// Title of the todo. Only with `?events=status` or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    title: Option<String>,
    /// Id of the parent. Only with `?events=status` or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    parent: Option<String>,
    /// Run of the todo: each run starts with an empty list. Only with `?events=status` or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    run: Option<u64>,
}

/// Result of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunResult {
    /// The answer.
    response: String,
    /// Todos of the run.
    todos: Vec<Todo>,
    /// Time spent running, in seconds.
    execution_time: f64,
}

impl RunResult {
    pub(crate) fn new(response: String, items: &[agent_core::todo::Todo], active_ms: u64) -> Self {
        Self { response, todos: todos(items), execution_time: seconds(active_ms) }
    }
}

/// An error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailureData {
    /// Error message.
    error: String,
    /// Error code and details.
    details: FailureDetails,
}

/// Error code and details.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct FailureDetails {
    /// Error code; each has a page under `/docs/errors`. `run_stopped`: the run was stopped, and can be resumed. `gap`: the messages after `after`, up to `upto`, were deleted.
    /// `seq_ahead`: the number `after` that the client sent is not in the session, which ends at `last`.
    code: String,
    /// Path of the page about the code.
    help: String,
    /// Whether the same message or run may succeed later.
    retryable: bool,
    /// Name of the node that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    node: Option<Option<String>>,
    /// Id of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false, nullable = false)]
    session_id: Option<SessionId>,
    /// With `gap`: the number before the gap. With `seq_ahead`: the number that the client sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    after: Option<u64>,
    /// With `gap`: the last deleted number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    upto: Option<u64>,
    /// With `seq_ahead`: the last number of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    last: Option<u64>,
}

impl FailureDetails {
    fn new(code: &str) -> Self {
        Self { code: code.to_owned(), help: help(code), retryable: is_retryable(code), ..Self::default() }
    }
}

/// Status of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusData {
    /// `queued`, `started`, `running`, `paused`, `stopped` or `rolled_back`.
    status: SocketRunStatus,
    /// Number of the run.
    run: u64,
    /// With `started`: nodes of the graph before which the run pauses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    break_before: Vec<String>,
    /// With `started`: nodes of the graph after which the run pauses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    break_after: Vec<String>,
}

/// Status of a run.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SocketRunStatus {
    Queued,
    Started,
    Running,
    Paused,
    Stopped,
    /// The run was reverted, including its todos.
    RolledBack,
}

/// An empty object.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Nothing {}

/// Which events a subscriber gets in addition to those of the contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum EventDetail {
    /// None.
    #[default]
    Contract,
    /// `status` whenever a run starts, pauses, resumes or stops; todos have titles and parents.
    Status,
    /// Also `event` for all other events.
    All,
}

impl EventDetail {
    /// Parses the query parameter `events`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "contract" => Some(Self::Contract),
            "status" => Some(Self::Status),
            "all" => Some(Self::All),
            _ => None,
        }
    }

    /// Returns the events that the messages of a subscriber are made of, and those that access is checked at.
    pub(crate) const fn filter(self) -> EventFilter {
        let contract = EventFilter::none()
            .with(EventKind::TodoUpdated)
            .with(EventKind::QuestionAsked)
            .with(EventKind::RunQueued)
            .with(EventKind::RunStarted)
            .with(EventKind::RunDequeued)
            .with(EventKind::RunResumed)
            .with(EventKind::QuestionAnswered)
            .with(EventKind::QuestionWithdrawn)
            .with(EventKind::Gap)
            .with_ends();
        match self {
            Self::Contract => contract,
            Self::Status => contract.with(EventKind::RunRolledBack),
            Self::All => EventFilter::all(),
        }
    }
}

/// Returns the `error` message for a rejected message.
pub(crate) fn rejection(error: &ApiError, now_ms: i64) -> String {
    let details = FailureDetails { session_id: error.session.clone(), ..FailureDetails::new(error.code) };
    to_text(&Failure::new(FailureData { error: error.message.clone(), details }, now_ms, None))
}

/// Returns the `error` message for a result that cannot be read.
pub(crate) fn result_error(error: &ApiError, event: &Event) -> String {
    let details = FailureDetails::new(error.code);
    to_text(&Failure::new(FailureData { error: error.message.clone(), details }, event.at, event.seq))
}

/// Returns the message that a run was stopped. Subscribers that also get the `status` of the run get it without a number.
pub(crate) fn stopped(event: &Event, seq: Option<Seq>) -> String {
    let data = FailureData { error: "stopped".to_owned(), details: FailureDetails::new("run_stopped") };
    to_text(&Failure::new(data, event.at, seq))
}

/// Returns the message of a question that is open again after the run was resumed.
pub(crate) fn open_question(open: &OpenQuestion, event: &Event, seq: Option<Seq>) -> String {
    to_text(&HitlRequest::new(Question::from(open), event.at, seq))
}

/// Returns an event as a message for subscribers of all events.
pub(crate) fn any_event(event: &Event) -> String {
    to_text(&SocketEvent::new(EventJson::new(event), event.at, event.seq))
}

/// Returns the message for an event; `None` if the subscriber gets none, or if the message needs the result of the run.
pub(crate) fn to_server_message(event: &Event, detail: EventDetail) -> Option<String> {
    let failure = |error: String, details: FailureDetails| {
        Some(to_text(&Failure::new(FailureData { error, details }, event.at, event.seq)))
    };
    let status = |status: SocketRunStatus| match detail {
        EventDetail::Contract => None,
        _ => {
            let (break_before, break_after) = match &event.body {
                EventBody::RunStarted(started) => (started.break_before.clone(), started.break_after.clone()),
                _ => (Vec::new(), Vec::new()),
            };
            let data = StatusData { status, run: event.run.0, break_before, break_after };
            Some(to_text(&SocketStatus::new(data, event.at, event.seq)))
        }
    };
    match &event.body {
        EventBody::TodoUpdated(updated) => {
            let todo = &updated.todo;
            let all = detail != EventDetail::Contract;
            let update = TodoUpdate {
                todo_id: todo.id.clone(),
                status: todo.status.into(),
                progress: todo.progress,
                message: todo_message(todo).to_owned(),
                title: all.then(|| todo.title.clone()),
                parent: todo.parent.clone().filter(|_| all),
                // Each run has its own list: the number identifies the todos that a rollback removes.
                run: all.then_some(event.run.0),
            };
            Some(to_text(&TodoMessage::new(update, event.at, event.seq)))
        }
        EventBody::QuestionAsked(asked) => {
            Some(to_text(&HitlRequest::new(Question::from(&*asked.open), event.at, event.seq)))
        }
        EventBody::RunCompleted(_) => None,
        EventBody::RunFailed(failed) => {
            let details =
                FailureDetails { node: Some(failed.node.clone()), ..FailureDetails::new(&failed.code) };
            failure(run_message(&failed.code, &failed.message), details)
        }
        EventBody::RunDequeued(dequeued) => {
            failure(dequeued.message.clone(), FailureDetails::new(&dequeued.code))
        }
        EventBody::RunQueued(_) => status(SocketRunStatus::Queued),
        EventBody::RunStarted(_) => status(SocketRunStatus::Started),
        EventBody::RunResumed(_) => status(SocketRunStatus::Running),
        EventBody::RunPaused(_) => status(SocketRunStatus::Paused),
        EventBody::RunStopped(_) if detail == EventDetail::Contract => Some(stopped(event, event.seq)),
        EventBody::RunStopped(_) => status(SocketRunStatus::Stopped),
        EventBody::RunRolledBack(_) => status(SocketRunStatus::RolledBack),
        EventBody::Gap(Gap { upto, ahead: Some(ahead), .. }) => {
            let text = format!(
                "message {ahead} is not in this session, which ends at {upto}; connect with `after=0` to read it from its start"
            );
            let details = FailureDetails {
                after: Some(ahead.0),
                last: Some(upto.0),
                ..FailureDetails::new("seq_ahead")
            };
            failure(text, details)
        }
        EventBody::Gap(gap) if gap.upto > gap.after => {
            let text = format!("messages {} to {} were deleted", gap.after.next(), gap.upto);
            let details = FailureDetails {
                after: Some(gap.after.0),
                upto: Some(gap.upto.0),
                ..FailureDetails::new("gap")
            };
            failure(text, details)
        }
        _ if detail == EventDetail::All => Some(any_event(event)),
        _ => None,
    }
}
