//! REST: meetings and principles.

use agent_server::custom_routes::{Body, PathParams};
use bytes::Bytes;
use hyper::{Request, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    markdown,
    principles::{PrincipleError, PrincipleName},
    record::Setup,
    service::{MeetingError, Meetings},
    state::{MeetingState, Phase},
    store::MeetingId,
    wire::{ClientFault, SetupData},
};

/// Most meetings in a list.
const LIST: usize = 200;

type Answer = Response<Body>;

/// A request is refused.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, code, message } = refusal;
        json_answer(status, &json!({"code": code, "message": message, "detail": message}))
    }
}

impl From<MeetingError> for Refusal {
    fn from(error: MeetingError) -> Self {
        let message = error.to_string();
        match error {
            MeetingError::NotFound => Self::new(StatusCode::NOT_FOUND, "meeting_not_found", message),
            MeetingError::Exists => Self::new(StatusCode::CONFLICT, "meeting_exists", message),
            MeetingError::Busy | MeetingError::Invalid(ClientFault::Busy) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
            }
            MeetingError::Invalid(ClientFault::Storage) | MeetingError::Storage(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the files of meetings cannot be used"
                );
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage", message)
            }
            MeetingError::Invalid(fault) => Self::new(StatusCode::BAD_REQUEST, fault.code(), message),
        }
    }
}

impl From<PrincipleError> for Refusal {
    fn from(error: PrincipleError) -> Self {
        let message = error.to_string();
        match error {
            PrincipleError::NotFound => Self::new(StatusCode::NOT_FOUND, "principle_not_found", message),
            PrincipleError::Name | PrincipleError::Size => Self::bad(message),
            PrincipleError::TooMany => Self::new(StatusCode::CONFLICT, "too_many_principles", message),
            PrincipleError::Io(error) => {
                tracing::error!(%error, "the folder of principles cannot be used");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage", message)
            }
        }
    }
}

fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let text = value.to_string().replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    answer(status, "application/json", text)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Answer {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

fn finish(result: Result<Answer, Refusal>) -> Answer {
    result.unwrap_or_else(Answer::from)
}

fn meeting_id(request: &Request<Bytes>) -> Result<MeetingId, Refusal> {
    PathParams::of(request)
        .get("id")
        .parse()
        .map_err(|error: crate::store::InvalidMeetingId| Refusal::bad(error.to_string()))
}

fn principle_name(request: &Request<Bytes>) -> Result<PrincipleName, Refusal> {
    Ok(PathParams::of(request).get("name").parse()?)
}

pub(super) fn health() -> Answer {
    json_answer(StatusCode::OK, &json!({"status": "healthy", "service": "meeting"}))
}

/// Body of `POST /api/v1/meetings`.
#[derive(Deserialize)]
struct Create {
    #[serde(default)]
    meeting_id: Option<String>,
    #[serde(flatten)]
    setup: SetupData,
}

pub(super) async fn create(meetings: Meetings, request: Request<Bytes>) -> Answer {
    let work = async {
        let body = request.body();
        let body: &[u8] = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
        let create: Create = serde_json::from_slice(body).map_err(|error| {
            Refusal::bad(format!("the body is not valid: {}", crate::limits::cut(&error.to_string(), 200)))
        })?;
        let id = match create.meeting_id.as_deref() {
            None | Some("") => MeetingId::random(),
            Some(id) => {
                id.parse().map_err(|error: crate::store::InvalidMeetingId| Refusal::bad(error.to_string()))?
            }
        };
        let setup = create.setup.check().map_err(MeetingError::from)?.apply_to(&Setup::default());
        meetings.create(id.clone(), setup).await?;
        let state = meetings.state(&id).await?.ok_or(MeetingError::NotFound)?;
        let mut response = json_answer(StatusCode::CREATED, &head(&id, &state));
        if let Ok(location) = format!("/api/v1/meetings/{id}").try_into() {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    };
    finish(work.await)
}

pub(super) async fn list(meetings: Meetings, _: Request<Bytes>) -> Answer {
    let work = async {
        let mut found = Vec::new();
        for id in meetings.ids(LIST).await? {
            // A meeting with unreadable files does not hide the others.
            match meetings.state(&id).await {
                Ok(Some(state)) => found.push(head(&id, &state)),
                Ok(None) => {}
                Err(error) => tracing::warn!(meeting = %id, %error, "a meeting is left out of the list"),
            }
        }
        Ok(json_answer(StatusCode::OK, &json!({"meetings": found})))
    };
    finish(work.await)
}

async fn find(meetings: &Meetings, request: &Request<Bytes>) -> Result<(MeetingId, MeetingState), Refusal> {
    let id = meeting_id(request)?;
    let state = meetings.state(&id).await?.ok_or(MeetingError::NotFound)?;
    Ok((id, state))
}

pub(super) async fn get(meetings: Meetings, request: Request<Bytes>) -> Answer {
    let work = async {
        let (id, state) = find(&meetings, &request).await?;
        let mut value = head(&id, &state);
        let turns: Vec<Value> = state
            .turns
            .iter()
            .map(|turn| {
                json!({
                    "item_id": turn.item_id, "speaker": turn.speaker, "confidence": turn.confidence, "text": turn.text,
                    "start_ms": turn.start_ms, "end_ms": turn.end_ms, "source": turn.source,
                })
            })
            .collect();
        value["transcript"] = turns.into();
        value["decisions"] = json!(state.decisions);
        value["action_items"] = json!(state.action_items);
        value["questions"] = json!(state.questions);
        value["interventions"] =
            json!(state.interventions.iter().map(|(_, remark)| remark).collect::<Vec<_>>());
        value["minutes"] = json!(state.minutes);
        Ok(json_answer(StatusCode::OK, &value))
    };
    finish(work.await)
}

pub(super) async fn markdown(meetings: Meetings, request: Request<Bytes>) -> Answer {
    let work = async {
        let (id, state) = find(&meetings, &request).await?;
        let text = markdown::render(id.as_str(), &state);
        Ok(answer(StatusCode::OK, "text/markdown; charset=utf-8", text))
    };
    finish(work.await)
}

/// What every answer about a meeting has.
fn head(id: &MeetingId, state: &MeetingState) -> Value {
    let setup = &state.setup;
    json!({
        "meeting_id": id.as_str(), "title": setup.title, "status": state.phase.name(), "language": setup.language,
        "participants": setup.participants, "principles": setup.principles, "planned_minutes": setup.planned_minutes,
        "started_at": (state.phase != Phase::New).then(|| markdown::iso(state.started_at)),
        "ended_at": state.ended_at.map(markdown::iso), "turns": state.turns.len(),
    })
}

/// Runs file operations where they may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PrincipleError> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "a file operation failed")
    })??)
}

pub(super) async fn principles(meetings: Meetings, _: Request<Bytes>) -> Answer {
    let folder = meetings.principles().clone();
    let work = async {
        let found = blocking(move || folder.list()).await?;
        let heads: Vec<Value> =
            found.iter().map(|found| json!({"name": found.name, "title": found.title})).collect();
        Ok(json_answer(StatusCode::OK, &json!({"principles": heads})))
    };
    finish(work.await)
}

pub(super) async fn principle(meetings: Meetings, request: Request<Bytes>) -> Answer {
    let folder = meetings.principles().clone();
    let work = async {
        let name = principle_name(&request)?;
        let found = blocking(move || folder.get(&name)).await?;
        Ok(json_answer(StatusCode::OK, &json!(found)))
    };
    finish(work.await)
}

pub(super) async fn put_principle(meetings: Meetings, request: Request<Bytes>) -> Answer {
    #[derive(Deserialize)]
    struct Put {
        content: String,
    }
    let folder = meetings.principles().clone();
    let work = async {
        let name = principle_name(&request)?;
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content = match content_type {
            Some(kind) if kind.starts_with("text/") => String::from_utf8(request.body().to_vec())
                .map_err(|_| Refusal::bad("the body is not UTF-8"))?,
            _ => {
                let put: Put = serde_json::from_slice(request.body()).map_err(|_| {
                    Refusal::bad(
                        "the body must be {\"content\": \"…\"}, or Markdown with Content-Type: text/markdown",
                    )
                })?;
                put.content
            }
        };
        let is_new = blocking({
            let name = name.clone();
            let folder = folder.clone();
            move || folder.put(&name, &content)
        })
        .await?;
        let found = blocking(move || folder.get(&name)).await?;
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok(json_answer(status, &json!(found)))
    };
    finish(work.await)
}

pub(super) async fn delete_principle(meetings: Meetings, request: Request<Bytes>) -> Answer {
    let folder = meetings.principles().clone();
    let work = async {
        let name = principle_name(&request)?;
        blocking(move || folder.delete(&name)).await?;
        let mut response = Response::new(Body::from(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    };
    finish(work.await)
}
