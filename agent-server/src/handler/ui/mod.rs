//! `/api/chat/ui`: the AI SDK's UI message stream, so that `useChat` is a client of every agent.
//!
//! The chat is a session. A page that is closed does not stop its run: it opens the stream again, and `/stop` stops it.

mod stream;

use std::sync::Arc;

use self::stream::{UiStart, UiStream};

use agent_core::{
    AgentState, BusyPolicy, Code, RunStatus, Session, SessionError,
    interrupt::OpenQuestion,
    model::{Content, Message, Messages},
};
use hyper::{Method, StatusCode, header::HeaderValue};
use serde_json::{Map, json};

use super::{access::parse_session_id, default_cursor, run_failure_codes};
use crate::{
    TaskAgent,
    api::{
        tool_chat::parse_answer,
        ui::{UiRequest, UiTurn, answers},
    },
    app::{AppState, RequestContext},
    auth::OWNER,
    conversation::{ConversationStream, ModelText},
    docs::openapi::RouteDoc,
    error::{ApiError, Contract, Rejection, session_not_found},
    http::response::{HandlerResult, empty, sse, with_keep_alive},
    limits::run_permit::RunPermit,
};

/// Header by which clients recognise the protocol.
const PROTOCOL: &str = "x-vercel-ai-ui-message-stream";
/// Recorded author of answers.
const ANSWERED_BY: &str = "a page";

pub(super) fn docs() -> [RouteDoc; 2] {
    let example = json!({
        "id": "chat-1", "trigger": "submit-message",
        "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "서울은 지금 몇 시인가요?"}]}],
    });
    let stream = json!({
        "description": "The UI message stream of the AI SDK, version 1.",
        "content": {"text/event-stream": {"x-item-schema": {"type": "object"}}},
    });
    let chat = RouteDoc::new(Method::POST, "/api/chat/ui", "ui_chat", "chats", "Chat with an agent through the AI SDK")
        .text(
            "For `useChat` of the AI SDK: `new DefaultChatTransport({api: \"/api/chat/ui\"})`. The id of the chat is the \
             session. Text, reasoning, tool calls, todos (`data-todo`) and questions (`data-question`, \
             `tool-approval-request`) are parts of the message.",
        )
        .request_body::<UiRequest>(true, &[("korean", "한국어로", example)])
        .codes(&run_failure_codes())
        .codes(&[Code::ShuttingDown, Code::GraphNotFound, Code::InvalidSessionId, Code::SessionNotFound])
        .codes(&[Code::SessionBusy, Code::StaleWriter, Code::GraphChanged, Code::InvalidAnswer, Code::CannotResume])
        .codes(&[Code::AlreadyAnswered])
        .of_store()
        .rejections(&[Rejection::OwnEndpoint,
            Rejection::UnknownAgent, Rejection::NoAgent, Rejection::QuotaExceeded, Rejection::Stopped])
        .responds(200, stream.clone());
    let again = RouteDoc::new(
        Method::GET,
        "/api/chat/ui/{session_id}/stream",
        "ui_chat_stream",
        "chats",
        "Open the stream of a running chat again",
    )
    .names_session()
    .codes(&[Code::InvalidSessionId, Code::SessionNotFound])
    .of_store()
    .responds(204, json!({"description": "Nothing runs in this chat."}))
    .responds(200, stream);
    [chat, again]
}

/// `POST /api/chat/ui`.
pub(super) async fn chat(mut context: RequestContext) -> HandlerResult {
    let request = UiRequest::parse(&context.json().await?)?;
    let app = Arc::clone(&context.app);
    let agent = agent(&app, request.agent.as_deref())?;
    if let Some(reason) = agent.as_assistant().and_then(crate::Assistant::refusal) {
        return Err(ApiError::new(Rejection::OwnEndpoint, reason));
    }
    let session = context.session_or_new(request.session()?).await?;
    let stream_permit = context.stream_permit()?;
    let map_error = |error: SessionError| match error {
        SessionError::LabelDiffers { label, .. } if label == OWNER => session_not_found(&session),
        error => ApiError::of(Contract::Chat, &error).about(session.id()),
    };
    let status = match session.status().await {
        Ok(status) => Some(status),
        Err(SessionError::NotFound { .. }) => None,
        Err(error) => return Err(map_error(error)),
    };
    let open = status.as_ref().filter(|status| status.status == RunStatus::Paused);
    let open: Vec<OpenQuestion> = open.map(|status| status.questions.clone()).unwrap_or_default();
    let answer = match (request.turn()?, open.first()) {
        (UiTurn::Decides(decisions), Some(_)) => {
            let answers = answers(&open, decisions);
            Turn::Answers(answers.ok_or_else(|| {
                ApiError::new(Rejection::InvalidRequest, "the questions of these decisions are not open")
                    .at("messages")
            })?)
        }
        (UiTurn::Decides(_), None) => {
            let message = "the chat waits for no decision";
            return Err(ApiError::new(Rejection::InvalidRequest, message).at("messages"));
        }
        (UiTurn::Says(content), Some(open)) if !request.replaces() => {
            Turn::Answers(parse_answer(open, &text_of(&content)))
        }
        (UiTurn::Says(content), _) => Turn::Message(content),
    };
    let (permit, events, run, begins) = match answer {
        Turn::Answers(answers) => {
            let permit = RunPermit::for_resume(&app.limits, context.key(), &session, true).await?;
            let (events, scope) = (session.subscribe(None), context.scope());
            let by = scope.name().unwrap_or(ANSWERED_BY);
            let run = session.answer(answers).by(by).await.map_err(map_error)?;
            (permit, events, run, UiStart::Continued)
        }
        Turn::Message(content) => {
            let permit = context.run_permit(&session).await?;
            let events = session.subscribe(None);
            let text = text_of(&content);
            // A page that stopped to listen and sends the next message does not wait for the last answer.
            let options = context.conversation_options(&text).on_busy(BusyPolicy::Interrupt);
            let run = match agent.as_assistant() {
                Some(assistant) => {
                    let whole = || request.conversation();
                    let input = match (request.replaces(), &status) {
                        (true, _) => {
                            AgentState::says([]).overwrite_messages(whole().into_iter().collect::<Messages>())
                        }
                        (false, None) => AgentState::says(whole()),
                        (false, Some(_)) => AgentState::says([Message::user(content)]),
                    };
                    session.run(assistant.agent(), input).options(options).start().await
                }
                None => {
                    let input = agent.input(text, Map::new());
                    session.run_json(agent.graph(), input).options(options).start().await
                }
            };
            let run = run.map_err(map_error)?;
            let begins = UiStart::Message(message_id(&run));
            (permit, events, run, begins)
        }
    };
    context.release_when_idle(permit, &run);
    context.memory = None;
    let conversation = ConversationStream::new(run, events, Contract::Chat, text_mode(&**agent));
    let conversation = conversation.with_earlier_calls(earlier_calls(&session, &begins).await);
    let stream = UiStream::new(Arc::clone(&app), Arc::clone(agent), conversation, begins, stream_permit);
    Ok(respond(&app, stream))
}

enum Turn {
    Answers(agent_core::Answers),
    Message(Content),
}

/// `GET /api/chat/ui/{session_id}/stream`.
pub(super) async fn reconnect(context: RequestContext) -> HandlerResult {
    let id = parse_session_id(context.path_param("session_id"))?;
    let session = context.session_or_new(id).await?;
    let map_error = |error: SessionError| ApiError::of(Contract::Chat, &error).about(session.id());
    let run = match session.current_run().await {
        Ok(Some(run)) if run.status() == RunStatus::Running => run,
        Ok(_) | Err(SessionError::NotFound { .. }) => return Ok(empty(StatusCode::NO_CONTENT)),
        Err(error) => return Err(map_error(error)),
    };
    let status = session.status().await.map_err(map_error)?;
    let app = Arc::clone(&context.app);
    let agent = agent(&app, Some(&status.graph))?;
    let stream_permit = context.stream_permit()?;
    let events = session.subscribe(Some(default_cursor(&session).await?));
    let begins = UiStart::Message(message_id(&run));
    let conversation = ConversationStream::new(run, events, Contract::Chat, text_mode(&**agent));
    let stream = UiStream::new(Arc::clone(&app), Arc::clone(agent), conversation, begins, stream_permit);
    Ok(respond(&app, stream))
}

fn respond(app: &AppState, stream: UiStream) -> hyper::Response<crate::http::response::Body> {
    let mut response = sse(with_keep_alive(stream.into_events(), app.options.ping));
    response.headers_mut().insert(PROTOCOL, HeaderValue::from_static("v1"));
    response
}

/// Returns the agent with this name, else the assistant, else the first agent.
fn agent<'a>(app: &'a AppState, name: Option<&str>) -> Result<&'a Arc<dyn TaskAgent>, ApiError> {
    let assistant = || app.assistant.as_ref().map(|assistant| assistant.agent().name());
    let name = name.or_else(assistant);
    let found = match name {
        Some(name) => app.agents.iter().find(|agent| agent.graph() == name),
        None => app.agents.first(),
    };
    found.ok_or_else(|| match app.agents.is_empty() {
        true => ApiError::new(Rejection::NoAgent, "this server has no agent"),
        false => {
            let known: Vec<&str> = app.agents.iter().map(|agent| agent.graph()).collect();
            let message = format!("unknown agent; known agents: {}", known.join(", "));
            ApiError::new(Rejection::UnknownAgent, message).at("agent")
        }
    })
}

fn text_mode(agent: &dyn TaskAgent) -> ModelText {
    if agent.as_assistant().is_some() { ModelText::Forward } else { ModelText::Ignore }
}

/// The same for every stream of a run.
fn message_id(run: &agent_core::Run) -> String {
    format!("{}-{}", run.session().id(), run.id())
}

fn text_of(content: &Content) -> String {
    Message::user(content.clone()).text().into_owned()
}

/// Returns the calls that a continued run made before its pause.
async fn earlier_calls(session: &Session, begins: &UiStart) -> Vec<agent_core::model::ToolCall> {
    match begins {
        UiStart::Message(_) => Vec::new(),
        UiStart::Continued => match session.state::<AgentState>().await {
            Ok(state) => super::tool_chat::open_calls(&state),
            Err(_) => Vec::new(),
        },
    }
}
