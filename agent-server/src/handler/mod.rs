//! One file a path: its request, its answer.

mod docs;
mod chat;
mod health;
mod openai;
mod metrics;
mod page;
pub(crate) mod ready;
mod resume;
mod run;
mod sessions;
mod status;
mod stop;
mod tool_chat;

use agent_core::{
    RunStatus, Session, SessionError,
    ids::{Seq, SessionId},
    session::SessionStatus,
};
use hyper::Method;
use serde_json::Value;

use crate::{
    error::{ApiError, Contract},
    http::routes::{Access, Handler, Route, Routes, handler},
    server::Inner,
    wire::task_agent::{response, standing},
    ws,
};

/// Every path of the server.
///
/// # Errors
///
/// Two routes at one place: a mistake of ours.
pub(crate) fn routes() -> Result<Routes, String> {
    use Access::{Known, Open, Socket};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const DELETE: Method = Method::DELETE;
    let mut routes = Routes::default();
    let mut add = |method: Method, path: &str, access, contract, handler: Handler| {
        routes.add(Route { method, path: path.to_owned(), access, contract, handler })
    };
    add(POST, "/api/chat/stream", Known, Contract::Chat, handler(chat::post))?;
    // As with a socket: a page elsewhere must not even make the model work.
    add(GET, "/api/chat/stream", Socket, Contract::Chat, handler(chat::get))?;
    add(POST, "/api/v1/chat", Known, Contract::ToolChat, handler(tool_chat::whole))?;
    add(POST, "/api/v1/chat/stream", Known, Contract::ToolChat, handler(tool_chat::streamed))?;
    add(GET, "/v1/models", Known, Contract::OpenAi, handler(openai::list))?;
    add(GET, "/v1/models/{model}", Known, Contract::OpenAi, handler(openai::one))?;
    add(POST, "/v1/chat/completions", Known, Contract::OpenAi, handler(openai::create))?;
    let mut own = |method: Method, path: &str, access, handler: Handler| {
        add(method, path, access, Contract::TaskAgent, handler)
    };
    own(GET, "/", Open, handler(page::handle))?;
    own(GET, "/static/{file}", Open, handler(page::handle))?;
    docs::routes(|path, handler| own(GET, path, Open, handler))?;
    own(GET, "/ready", Open, handler(ready::handle))?;
    own(GET, "/metrics", Known, handler(metrics::handle))?;
    for at in ["", "/api/agent"] {
        own(GET, &format!("{at}/health"), Open, handler(health::handle))?;
        own(POST, &format!("{at}/run"), Known, handler(run::run))?;
        own(POST, &format!("{at}/run-async"), Known, handler(run::start))?;
        own(GET, &format!("{at}/status/{{session_id}}"), Known, handler(status::handle))?;
        own(POST, &format!("{at}/stop/{{session_id}}"), Known, handler(stop::handle))?;
        own(POST, &format!("{at}/resume/{{session_id}}"), Known, handler(resume::handle))?;
        own(GET, &format!("{at}/ws/{{session_id}}"), Socket, handler(ws::upgrade))?;
    }
    own(GET, "/agents", Known, handler(sessions::graph::agents))?;
    own(GET, "/agents/{agent}/graph", Known, handler(sessions::graph::of_agent))?;
    own(GET, "/sessions", Known, handler(sessions::list::handle))?;
    own(GET, "/sessions/{session_id}", Known, handler(status::handle))?;
    own(DELETE, "/sessions/{session_id}", Known, handler(sessions::remove::handle))?;
    own(GET, "/sessions/{session_id}/journal", Known, handler(sessions::journal::handle))?;
    own(GET, "/sessions/{session_id}/state", Known, handler(sessions::state::handle))?;
    own(GET, "/sessions/{session_id}/diff", Known, handler(sessions::changes::handle))?;
    own(GET, "/sessions/{session_id}/graph", Known, handler(sessions::graph::of_session))?;
    own(GET, "/sessions/{session_id}/events", Socket, handler(sessions::events::handle))?;
    own(POST, "/sessions/{session_id}/fork", Known, handler(sessions::fork::handle))?;
    Ok(routes)
}

pub(crate) type Answer = Result<Value, ApiError>;

/// A failure of a call on a session, with its id.
pub(crate) fn refused(session: &SessionId) -> impl Fn(SessionError) -> ApiError + '_ {
    |error| ApiError::of(Contract::TaskAgent, &error).about(session)
}

/// A failure of a call on no session in particular.
pub(crate) fn refused_by_store(error: &SessionError) -> ApiError {
    ApiError::of(Contract::TaskAgent, error)
}

/// The response that tells where a session stands.
async fn told(inner: &Inner, session: &Session) -> Answer {
    let status = session.status().await.map_err(refused(session.id()))?;
    let data = standing_data(inner, session, &status).await?;
    Ok(response(session.id(), status.status.as_str(), &words(&status), Some(data)))
}

/// The same as of a place in the journal.
async fn told_at(inner: &Inner, session: &Session, seq: Seq) -> Answer {
    let status = session.status_at(seq).await.map_err(refused(session.id()))?;
    let state = session.state_json_at(seq).await.map_err(refused(session.id()))?;
    let data = standing_of(inner, &status, &state);
    Ok(response(session.id(), status.status.as_str(), &words(&status), Some(data)))
}

/// `data` of where a session stands; with the answer when it is completed.
async fn standing_data(inner: &Inner, session: &Session, status: &SessionStatus) -> Answer {
    if status.status != RunStatus::Completed {
        return Ok(standing(status, None));
    }
    let state = session.state_json().await.map_err(refused(session.id()))?;
    Ok(standing_of(inner, status, &state))
}

/// `data` of where a session stands in a state; with the answer when it is completed.
fn standing_of(inner: &Inner, status: &SessionStatus, state: &Value) -> Value {
    let answer = (status.status == RunStatus::Completed).then(|| inner.response(&status.graph, state));
    standing(status, answer.as_deref())
}

/// A status in a sentence.
fn words(status: &SessionStatus) -> String {
    let done = status.todos.iter().filter(|todo| todo.status.is_final()).count();
    let todos = format!("{done} of {} todos ended", status.todos.len());
    match status.status {
        RunStatus::Idle => "nothing was run yet".to_owned(),
        RunStatus::Running => format!("running, {todos}"),
        RunStatus::Paused => match status.questions.first() {
            Some(open) => format!("waiting for an answer: {}", open.question.prompt),
            None => format!("waiting for a person, {todos}"),
        },
        RunStatus::Completed => "completed".to_owned(),
        RunStatus::Failed => match &status.failure {
            Some(failure) => failure.message.clone(),
            None => "failed".to_owned(),
        },
        RunStatus::Stopped => format!("stopped, {todos}; resume it to go on"),
    }
}
