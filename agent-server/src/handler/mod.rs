//! Request handlers: one file per route.
//!
//! `access` has the ownership checks and permits that they share.

mod access;
mod chat;
mod dashboard;
mod docs;
mod health;
#[cfg(feature = "mcp")]
mod mcp;
mod metrics;
mod openai;
mod ready;
mod resume;
mod run;
mod schedules;
mod sessions;
mod status;
mod stop;
mod tool_chat;
mod ui;
mod ws;

use std::{collections::HashMap, sync::LazyLock};

use agent_core::{Code, RunStatus, Session, SessionError, error::Family, ids::Seq, session::SessionStatus};
use hyper::Method;
use serde_json::Value;

use crate::{
    api::{session_data::SessionData, task_agent::RunResponse},
    app::{AppState, Handler},
    docs::openapi::RouteDoc,
    error::{ApiError, Contract, map_session_error},
    http::router::{AuthPolicy, Route, Router, handler},
};

/// Returns all built-in routes.
///
/// # Errors
///
/// Two routes have the same method and path.
pub(crate) fn routes() -> Result<Router<AppState>, String> {
    use AuthPolicy::{Authenticated, AuthenticatedSameOrigin, Public};
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const DELETE: Method = Method::DELETE;
    let mut router = Router::default();
    let mut add = |method: Method, path: &str, auth, contract, handler: Handler| {
        router.add(Route {
            method,
            path: path.to_owned(),
            auth,
            query_token: false,
            contract,
            query: query_names,
            handler,
        })
    };
    add(POST, "/api/chat/stream", Authenticated, Contract::Chat, handler(chat::post))?;
    // Same origin, because a `GET` from a foreign page would already call the model.
    add(GET, "/api/chat/stream", AuthenticatedSameOrigin, Contract::Chat, handler(chat::get))?;
    add(POST, "/api/chat/ui", Authenticated, Contract::Chat, handler(ui::chat))?;
    let stream = "/api/chat/ui/{session_id}/stream";
    add(GET, stream, AuthenticatedSameOrigin, Contract::Chat, handler(ui::reconnect))?;
    add(POST, "/api/v1/chat", Authenticated, Contract::ToolChat, handler(tool_chat::respond))?;
    add(POST, "/api/v1/chat/stream", Authenticated, Contract::ToolChat, handler(tool_chat::streamed))?;
    add(GET, "/v1/models", Authenticated, Contract::OpenAi, handler(openai::list))?;
    add(GET, "/v1/models/{model}", Authenticated, Contract::OpenAi, handler(openai::one))?;
    add(POST, "/v1/chat/completions", Authenticated, Contract::OpenAi, handler(openai::create))?;
    #[cfg(feature = "mcp")]
    for method in [GET, POST, DELETE] {
        // Same origin, because a page must not read the stream of a session.
        add(method, mcp::PATH, AuthenticatedSameOrigin, Contract::TaskAgent, handler(mcp::handle))?;
    }
    let mut task = |method: Method, path: &str, auth, handler: Handler| {
        add(method, path, auth, Contract::TaskAgent, handler)
    };
    task(GET, "/", Public, handler(dashboard::handle))?;
    task(GET, "/static/{file}", Public, handler(dashboard::handle))?;
    docs::routes(|path, handler| task(GET, path, Public, handler))?;
    task(GET, "/ready", Public, handler(ready::handle))?;
    task(GET, "/metrics", Authenticated, handler(metrics::handle))?;
    for prefix in ["", "/api/agent"] {
        task(GET, &format!("{prefix}/health"), Public, handler(health::handle))?;
        task(POST, &format!("{prefix}/run"), Authenticated, handler(run::run))?;
        task(POST, &format!("{prefix}/run-async"), Authenticated, handler(run::start))?;
        task(GET, &format!("{prefix}/status/{{session_id}}"), Authenticated, handler(status::handle))?;
        task(POST, &format!("{prefix}/stop/{{session_id}}"), Authenticated, handler(stop::handle))?;
        task(POST, &format!("{prefix}/resume/{{session_id}}"), Authenticated, handler(resume::handle))?;
        task(GET, &format!("{prefix}/ws/{{session_id}}"), AuthenticatedSameOrigin, handler(ws::upgrade))?;
    }
    task(GET, "/schedules", Authenticated, handler(schedules::list))?;
    task(POST, "/schedules", Authenticated, handler(schedules::create))?;
    task(GET, "/schedules/{schedule_id}", Authenticated, handler(schedules::get))?;
    task(DELETE, "/schedules/{schedule_id}", Authenticated, handler(schedules::delete))?;
    task(GET, "/agents", Authenticated, handler(sessions::graph::agents))?;
    task(GET, "/agents/{agent}/graph", Authenticated, handler(sessions::graph::of_agent))?;
    task(GET, "/sessions", Authenticated, handler(sessions::list::handle))?;
    task(GET, "/sessions/{session_id}", Authenticated, handler(status::handle))?;
    task(DELETE, "/sessions/{session_id}", Authenticated, handler(sessions::delete::handle))?;
    task(GET, "/sessions/{session_id}/journal", Authenticated, handler(sessions::journal::handle))?;
    task(GET, "/sessions/{session_id}/state", Authenticated, handler(sessions::state::handle))?;
    task(GET, "/sessions/{session_id}/diff", Authenticated, handler(sessions::diff::handle))?;
    task(GET, "/sessions/{session_id}/graph", Authenticated, handler(sessions::graph::of_session))?;
    task(GET, "/sessions/{session_id}/events", AuthenticatedSameOrigin, handler(sessions::events::handle))?;
    task(POST, "/sessions/{session_id}/fork", Authenticated, handler(sessions::fork::handle))?;
    task(POST, "/sessions/{session_id}/steer", Authenticated, handler(sessions::steer::handle))?;
    Ok(router)
}

/// Returns the names of the query parameters of a built-in route, from its documentation, which the first request with a
/// query builds.
fn query_names(method: &Method, path: &str) -> &'static [String] {
    type Names = HashMap<(Method, String), Vec<String>>;
    static NAMES: LazyLock<Names> = LazyLock::new(|| {
        let docs = route_docs();
        let of = |doc: &RouteDoc| {
            doc.paths().iter().map(|path| (doc.method().clone(), path.clone())).collect::<Vec<_>>()
        };
        docs.iter().flat_map(|doc| of(doc).into_iter().map(|key| (key, doc.query_names()))).collect()
    });
    NAMES.get(&(method.clone(), path.to_owned())).map(Vec::as_slice).unwrap_or_default()
}

/// Returns the documentation of all built-in routes.
pub(crate) fn route_docs() -> Vec<RouteDoc> {
    let mut docs = vec![health::doc(), ready::doc(), metrics::doc()];
    docs.extend(run::docs());
    docs.extend(status::docs());
    docs.extend([stop::doc(), resume::doc(), ws::doc()]);
    docs.extend(sessions::docs());
    docs.extend(schedules::docs());
    docs.extend(chat::docs());
    docs.extend(ui::docs());
    docs.extend(tool_chat::docs());
    docs.extend(openai::docs());
    #[cfg(feature = "mcp")]
    docs.extend(mcp::docs());
    docs.extend(dashboard::docs());
    docs.extend(docs::docs());
    docs
}

/// Codes of values that could not be read again after they were stored.
fn value_codes() -> [Code; 4] {
    [Code::ValueTooDeep, Code::ValueTooLarge, Code::ValueReservedKey, Code::ValueNotFinite]
}

/// Codes of runs that cannot start or resume.
fn start_codes() -> [Code; 5] {
    [Code::GraphChanged, Code::StaleWriter, Code::TooManyRuns, Code::ShuttingDown, Code::GraphNotFound]
}

/// Codes of failed runs.
fn run_failure_codes() -> Vec<Code> {
    let of_runs =
        |code: &&Code| matches!(code.family(), Family::Run | Family::Limit | Family::Model | Family::Tool);
    Code::ALL.iter().filter(of_runs).copied().collect()
}

/// Returns the response that describes the status of a session.
async fn session_response(app: &AppState, session: &Session) -> Result<RunResponse, ApiError> {
    let status = session.status().await.map_err(map_session_error(session.id()))?;
    session_response_for(app, session, &status).await
}

/// Returns the response that describes a status of a session.
async fn session_response_for(
    app: &AppState,
    session: &Session,
    status: &SessionStatus,
) -> Result<RunResponse, ApiError> {
    let data = load_session_data(app, session, status).await?;
    Ok(run_response(session, status, data))
}

/// Returns the same at a checkpoint.
async fn session_response_at(app: &AppState, session: &Session, seq: Seq) -> Result<RunResponse, ApiError> {
    let view = session.checkpoint(seq).await.map_err(map_session_error(session.id()))?;
    let data = session_data(app, &view.status, &view.state);
    Ok(run_response(session, &view.status, data))
}

fn run_response(session: &Session, status: &SessionStatus, data: SessionData) -> RunResponse {
    RunResponse {
        session_id: session.id().clone(),
        status: status.status.into(),
        message: status_message(status),
        data: Some(data),
    }
}

/// Returns `data` for the status of a session, with the answer if the run is completed.
async fn load_session_data(
    app: &AppState,
    session: &Session,
    status: &SessionStatus,
) -> Result<SessionData, ApiError> {
    if status.status != RunStatus::Completed {
        return Ok(SessionData::new(status, None));
    }
    let state = session.state_json().await.map_err(map_session_error(session.id()))?;
    Ok(session_data(app, status, &state))
}

/// Returns `data` for a status and a state, with the answer if the run is completed.
fn session_data(app: &AppState, status: &SessionStatus, state: &Value) -> SessionData {
    let answer = (status.status == RunStatus::Completed).then(|| app.response(&status.graph, state));
    SessionData::new(status, answer)
}

/// Returns a status as a sentence.
fn status_message(status: &SessionStatus) -> String {
    let ended = status.todos.iter().filter(|todo| todo.status.is_final()).count();
    let todos = format!("{ended} of {} todos ended", status.todos.len());
    match status.status {
        RunStatus::Idle => "no run was started yet".to_owned(),
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
        RunStatus::Stopped => format!("stopped, {todos}; resume it to continue"),
    }
}

/// Returns the default cursor of a subscription: the start of the latest run.
async fn default_cursor(session: &Session) -> Result<Seq, ApiError> {
    match session.status().await {
        Ok(status) => Ok(default_cursor_at(&status)),
        Err(SessionError::NotFound { .. }) => Ok(Seq::ZERO),
        Err(error) => Err(map_session_error(session.id())(error)),
    }
}

const fn default_cursor_at(status: &SessionStatus) -> Seq {
    Seq(status.accepted.0.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::router::RouteMatch;

    #[test]
    fn every_path_has_an_alias_and_an_encoded_colon_is_decoded() {
        let routes = routes().unwrap();
        for prefix in ["", "/api/agent"] {
            let at = |method: Method, path: &str| match routes.find(&method, &format!("{prefix}{path}")) {
                Ok(RouteMatch::Route(route, _, params)) => Ok((route.path.clone(), params)),
                Ok(RouteMatch::Preflight(_)) => panic!("not a preflight"),
                Err(error) => Err(error),
            };
            assert_eq!(at(Method::POST, "/run").unwrap().0, format!("{prefix}/run"));
            assert_eq!(at(Method::GET, "/status/a%3Ab").unwrap().1.get("session_id"), "a:b");
            assert_eq!(at(Method::GET, "/run").unwrap_err().allow.unwrap().to_str().unwrap(), "POST");
            assert_eq!(at(Method::POST, "/run/").unwrap().0, format!("{prefix}/run"));
            assert_eq!(at(Method::GET, "/run//").unwrap_err().code, "not_found");
            assert_eq!(
                at(Method::POST, "/runasync").unwrap_err().message,
                format!("there is no route for this path; the nearest is `{prefix}/run-async` (POST)")
            );
        }
        assert!(routes.find(&Method::GET, "/api/agentx/run").is_err());
    }
}
