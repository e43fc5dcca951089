//! Messages of the socket, both ways.

use serde_json::Value;
use utoipa::ToSchema;

use super::{
    EventRef,
    task_agent::{Question, TodoStatus},
};

macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident: $kind:literal, $data:ty;)*) => {
        $(
            $(#[$meta])*
            #[derive(ToSchema)]
            pub(in crate::docs) struct $name {
                /// The kind of the message.
                #[schema(pattern = $kind)]
                r#type: String,
                /// What it carries.
                data: $data,
                /// ISO-8601, UTC.
                #[schema(format = DateTime)]
                timestamp: String,
                /// The number of the journal entry that it stands for; name the last one as `?after=` when you come back.
                #[schema(required = false, nullable = false)]
                seq: Option<u64>,
            }
        )*
    };
}

messages! {
    /// A todo moved.
    TodoMessage: "^todo_update$", TodoUpdate;
    /// The run is at its end.
    Complete: "^complete$", RunResult;
    /// The run failed, or what the client said was refused; the connection stays open.
    Failure: "^error$", FailureData;
    /// A person is asked. Answer with `input`.
    HitlRequest: "^hitl_request$", Question;
    /// The answer to `ping`.
    Pong: "^pong$", Nothing;
    /// A run waits for its turn, starts, pauses, goes on or stops. Only with `?events=status` or `all`.
    SocketStatus: "^status$", StatusData;
    /// Anything else that happens. Only with `?events=all`.
    SocketEvent: "^event$", EventRef;
}

macro_rules! commands {
    ($($(#[$meta:meta])* $name:ident: $kind:literal, $data:ty;)*) => {
        $(
            $(#[$meta])*
            #[derive(ToSchema)]
            pub(in crate::docs) struct $name {
                /// The kind of the message.
                #[schema(pattern = $kind)]
                r#type: String,
                /// What it carries.
                #[schema(required = false)]
                data: Option<$data>,
                /// ISO-8601; not read.
                #[schema(required = false)]
                timestamp: Option<String>,
            }
        )*
    };
}

commands! {
    /// Are you there? Answered by `pong`.
    ClientPing: "^ping$", Nothing;
    /// Stop the run; it can be resumed.
    ClientStop: "^stop$", Nothing;
    /// Go on with a stopped or failed run.
    ClientResume: "^resume$", Nothing;
}

/// The answer to a question.
#[derive(ToSchema)]
pub(in crate::docs) struct ClientInput {
    /// Always `input`.
    #[schema(pattern = "^input$")]
    r#type: String,
    /// The answer.
    data: InputData,
    /// ISO-8601; not read.
    #[schema(required = false)]
    timestamp: Option<String>,
}

/// An answer.
#[derive(ToSchema)]
struct InputData {
    /// Any JSON value, `null` included.
    value: Value,
    /// The question; may be left out when one is open.
    #[schema(required = false)]
    id: Option<String>,
}

/// A todo's new standing.
#[derive(ToSchema)]
struct TodoUpdate {
    /// Its id.
    todo_id: String,
    /// Where it stands.
    status: TodoStatus,
    /// Percent.
    #[schema(minimum = 0, maximum = 100)]
    progress: u8,
    /// What goes on, or else its title.
    message: String,
    /// Its title. Only with `?events=status` or `all`.
    #[schema(required = false, nullable = false)]
    title: Option<String>,
    /// The todo that it is a part of. Only with `?events=status` or `all`.
    #[schema(required = false, nullable = false)]
    parent: Option<String>,
    /// The run whose list it is in: each run begins with an empty one. Only with `?events=status` or `all`.
    #[schema(required = false, nullable = false)]
    run: Option<u64>,
}

/// What a run came to.
#[derive(ToSchema)]
struct RunResult {
    /// The answer.
    response: String,
    /// The todos.
    todos: Vec<super::task_agent::Todo>,
    /// The time the run was at work, in seconds.
    execution_time: f64,
}

/// What went wrong.
#[derive(ToSchema)]
struct FailureData {
    /// For people.
    error: String,
    /// To branch on: `code`, and whatever belongs to it.
    details: FailureDetails,
}

/// What to branch on.
#[derive(ToSchema)]
struct FailureDetails {
    /// The code; each has a page under `/docs/errors`. `gap`: messages after `after`, up to `upto`, are no longer kept.
    /// `seq_ahead`: the number that the client named, `after`, is not in the session, which ends at `last`.
    code: String,
    /// The node at fault.
    #[schema(required = false)]
    node: Option<String>,
    /// The session it is about.
    #[schema(required = false, nullable = false)]
    session_id: Option<String>,
    /// With `gap`: the last number before. With `seq_ahead`: the number that was named.
    #[schema(required = false, nullable = false)]
    after: Option<u64>,
    /// With `gap`: the last number that is missing.
    #[schema(required = false, nullable = false)]
    upto: Option<u64>,
    /// With `seq_ahead`: the last number of the session.
    #[schema(required = false, nullable = false)]
    last: Option<u64>,
}

/// Where a run stands.
#[derive(ToSchema)]
struct StatusData {
    /// `queued`, `started`, `running`, `paused`, `stopped` or `rolled_back`.
    status: SocketRunStatus,
    /// Which run.
    run: u64,
}

/// Where a run stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum SocketRunStatus {
    Queued,
    Started,
    Running,
    Paused,
    Stopped,
    /// The run was undone, its list of todos included.
    RolledBack,
}

/// An empty object.
#[derive(ToSchema)]
struct Nothing {}
