//! System 1: the task agent's requests, responses and socket messages, field by field.

use agent_core::{
    BusyPolicy, Event,
    event::{EventBody, payload::Gap},
    ids::{Seq, SessionId},
    interrupt::{Answers, OpenQuestion},
    session::SessionStatus,
    todo::Todo,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::json::{object, session_id, text};
use crate::{
    error::{ApiError, Contract, Rejection},
    webhook,
};

/// The longest message, in bytes.
pub(crate) const MESSAGE_BYTES: usize = 32 * 1024;

/// `{message, session_id?, context?, agent?, on_busy?, webhook?}`.
#[derive(Debug)]
pub(crate) struct RunRequest {
    pub(crate) message: String,
    pub(crate) session: Option<SessionId>,
    pub(crate) context: Map<String, Value>,
    /// The agent's name, when it is not the first.
    pub(crate) agent: Option<String>,
    pub(crate) on_busy: BusyPolicy,
    /// Where to tell that the run has ended.
    pub(crate) webhook: Option<String>,
}

impl RunRequest {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = object(body)?;
        let message = match fields.remove("message") {
            Some(Value::String(message)) => message,
            None | Some(Value::Null) => {
                return Err(ApiError::new(Rejection::EmptyMessage, "`message` is missing"));
            }
            Some(_) => return Err(ApiError::new(Rejection::InvalidRequest, "`message` must be text")),
        };
        if message.trim().is_empty() {
            return Err(ApiError::new(Rejection::EmptyMessage, "`message` is empty"));
        }
        if message.len() > MESSAGE_BYTES {
            let told = format!("`message` has {} bytes, more than {MESSAGE_BYTES}", message.len());
            return Err(ApiError::new(Rejection::MessageTooLong, told));
        }
        let session = text(&fields, "session_id")?.map(|id| session_id(&id)).transpose()?;
        let context = match fields.remove("context") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(context)) => context,
            Some(_) => return Err(ApiError::new(Rejection::InvalidRequest, "`context` must be an object")),
        };
        let on_busy = match text(&fields, "on_busy")?.as_deref() {
            None | Some("reject") => BusyPolicy::Reject,
            Some("enqueue") => BusyPolicy::Enqueue,
            Some("interrupt") => BusyPolicy::Interrupt,
            Some("rollback") => BusyPolicy::Rollback,
            Some(_) => {
                let told = "`on_busy` must be `reject`, `enqueue`, `interrupt` or `rollback`";
                return Err(ApiError::new(Rejection::InvalidRequest, told));
            }
        };
        let webhook = webhook::address(fields.get("webhook"))?;
        Ok(Self { message, session, context, agent: text(&fields, "agent")?, on_busy, webhook })
    }
}

/// The body of `POST /resume/{id}`: nothing, or `{value, id?}`.
pub(crate) fn parse_answer(body: &[u8]) -> Result<Option<Answers>, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let fields = object(body)?;
    if !fields.contains_key("value") && !fields.contains_key("id") {
        return Ok(None);
    }
    answer(&fields).map(Some)
}

/// `{value, id?}`. Every JSON value is an answer, `null` included.
fn answer(fields: &Map<String, Value>) -> Result<Answers, ApiError> {
    let Some(value) = fields.get("value") else {
        return Err(ApiError::new(Rejection::InvalidRequest, "`value` is missing"));
    };
    Ok(match text(fields, "id")? {
        Some(id) => Answers::to(&*id, value.clone()),
        None => Answers::only(value.clone()),
    })
}

/// `{session_id, status, message, data?}`.
pub(crate) fn response(session: &SessionId, status: &str, message: &str, data: Option<Value>) -> Value {
    let mut body = json!({"session_id": session, "status": status, "message": message});
    if let Some(data) = data {
        body["data"] = data;
    }
    body
}

/// What is known of a session: the `data` of a status, of a pause and of an end.
pub(crate) fn standing(status: &SessionStatus, response: Option<&str>) -> Value {
    let mut data = json!({
        "run": status.run.0,
        "todos": todos(&status.todos),
        "questions": questions(&status.questions),
        "execution_time": seconds(status.active_ms),
        "last_seq": status.last,
    });
    if let Some(response) = response {
        data["response"] = json!(response);
    }
    if let Some(failure) = &status.failure {
        data["error"] = json!({"code": failure.code, "message": failure.message, "node": failure.node});
    }
    data
}

/// `{response, todos, execution_time}`.
pub(crate) fn result(response: &str, todos: &[Todo], active_ms: u64) -> Value {
    json!({"response": response, "todos": self::todos(todos), "execution_time": seconds(active_ms)})
}

pub(crate) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

fn todos(todos: &[Todo]) -> Vec<Value> {
    todos.iter().map(whole_todo).collect()
}

fn todo_update(todo: &Todo) -> Value {
    let message = if todo.message.is_empty() { &todo.title } else { &todo.message };
    json!({"todo_id": todo.id, "status": todo.status, "progress": todo.progress, "message": message})
}

/// A todo with its title and its place in the tree.
fn whole_todo(todo: &Todo) -> Value {
    let mut item = todo_update(todo);
    item["title"] = json!(todo.title);
    if let Some(parent) = &todo.parent {
        item["parent"] = json!(parent);
    }
    item
}

/// The open questions, as `hitl_request` shows them.
pub(crate) fn questions(open: &[OpenQuestion]) -> Vec<Value> {
    open.iter().map(question).collect()
}

fn question(open: &OpenQuestion) -> Value {
    let mut data = json!({"prompt": open.question.prompt, "options": open.question.options, "id": open.id});
    if let Some(schema) = &open.question.schema {
        data["schema"] = schema.clone();
    }
    if let Some(details) = &open.question.details {
        data["details"] = details.clone();
    }
    if open.question.open {
        data["open"] = json!(true);
    }
    if let Some(deadline) = open.question.deadline {
        let until = open.asked_at.saturating_add(i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX));
        data["deadline"] = json!(iso(until));
    }
    data
}

/// What a client says over the socket.
#[derive(Debug)]
pub(crate) enum Command {
    Ping,
    Stop,
    Resume,
    Input(Answers),
}

impl Command {
    pub(crate) fn parse(frame: &[u8]) -> Result<Self, ApiError> {
        let fields = object(frame)?;
        let data = match fields.get("data") {
            None | Some(Value::Null) => &Map::new(),
            Some(Value::Object(data)) => data,
            Some(_) => return Err(ApiError::new(Rejection::InvalidRequest, "`data` must be an object")),
        };
        match text(&fields, "type")?.as_deref() {
            Some("ping") => Ok(Self::Ping),
            Some("stop") => Ok(Self::Stop),
            Some("resume") => Ok(Self::Resume),
            Some("input") => answer(data).map(Self::Input),
            Some(_) => {
                let told = "unknown `type`; known: ping, input, stop, resume";
                Err(ApiError::new(Rejection::InvalidRequest, told))
            }
            None => Err(ApiError::new(Rejection::InvalidRequest, "`type` is missing")),
        }
    }
}

/// How much a subscriber wants to see beyond the contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum EventDetail {
    /// The message types of the contract.
    #[default]
    Contract,
    /// And `status` whenever a run starts, pauses, goes on or stops; todos with their titles and parents.
    Status,
    /// And `event` for everything else.
    All,
}

impl EventDetail {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "contract" => Some(Self::Contract),
            "status" => Some(Self::Status),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// A message to a client: `{type, data, timestamp}`, and `seq` when it stands for a journal entry.
pub(crate) fn message(kind: &str, data: &Value, at_ms: i64, seq: Option<Seq>) -> String {
    let mut message = json!({"type": kind, "data": data, "timestamp": iso(at_ms)});
    if let Some(seq) = seq {
        message["seq"] = json!(seq);
    }
    message.to_string()
}

/// The `error` message of a refusal.
pub(crate) fn rejection(error: &ApiError, now_ms: i64) -> String {
    let mut details = error.body(Contract::TaskAgent);
    if let Some(fields) = details.as_object_mut() {
        fields.remove("message");
    }
    message("error", &json!({"error": error.message, "details": details}), now_ms, None)
}

/// The message for an event; `None`: a subscriber of this extent gets none, or (a completed run) the message needs the
/// run's result.
pub(crate) fn to_server_message(event: &Event, extent: EventDetail) -> Option<String> {
    let send = |kind: &str, data: &Value| Some(message(kind, data, event.at, event.seq));
    let status = |status: &str| match extent {
        EventDetail::Contract => None,
        _ => send("status", &json!({"status": status, "run": event.run.0})),
    };
    match &event.body {
        EventBody::TodoUpdated(moved) if extent == EventDetail::Contract => {
            send("todo_update", &todo_update(&moved.todo))
        }
        EventBody::TodoUpdated(moved) => {
            // Each run has a list of its own: without it, the items of a run that was rolled back would seem to stay.
            let mut todo = whole_todo(&moved.todo);
            todo["run"] = json!(event.run.0);
            send("todo_update", &todo)
        }
        EventBody::QuestionAsked(asked) => send("hitl_request", &question(&asked.open)),
        EventBody::RunCompleted(_) => None,
        EventBody::RunFailed(failed) => {
            let details = json!({"code": failed.code, "node": failed.node});
            send("error", &json!({"error": failed.message, "details": details}))
        }
        EventBody::RunDequeued(refused) => {
            send("error", &json!({"error": refused.message, "details": {"code": refused.code}}))
        }
        EventBody::RunQueued(_) => status("queued"),
        EventBody::RunStarted(_) => status("started"),
        EventBody::RunResumed(_) => status("running"),
        EventBody::RunPaused(_) => status("paused"),
        EventBody::RunStopped(_) => status("stopped"),
        EventBody::Gap(Gap { upto, ahead: Some(ahead), .. }) => {
            let text = format!(
                "message {ahead} is not in this session, which ends at {upto}; connect with `after=0` to read it from its start"
            );
            let details = json!({"code": "seq_ahead", "after": ahead, "last": upto});
            send("error", &json!({"error": text, "details": details}))
        }
        EventBody::RunRolledBack(_) => status("rolled_back"),
        EventBody::Gap(gap) if gap.upto > gap.after => {
            let told = format!("messages {} to {} are no longer kept", gap.after.next(), gap.upto);
            let details = json!({"code": "gap", "after": gap.after, "upto": gap.upto});
            send("error", &json!({"error": told, "details": details}))
        }
        _ if extent == EventDetail::All => {
            let data = serde_json::to_value(event).ok()?;
            send("event", &data)
        }
        _ => None,
    }
}

/// Milliseconds since 1970 as ISO-8601 in UTC, always with three decimals, so that texts sort as times do.
fn iso(ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or_default())
}
