//! `DELETE /sessions/{session_id}`: deletes a session permanently.

use agent_core::Code;
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::{
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::map_session_error,
    http::response::{HandlerResult, empty},
};

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(
        Method::DELETE,
        "/sessions/{session_id}",
        "remove",
        "sessions",
        "Delete a session permanently",
    )
    .names_session()
    .of_store()
    .codes(&[Code::SessionNotFound, Code::SessionBusy, Code::StaleWriter])
    .responds(204, json!({"description": "The session is deleted."}))
}

pub(in crate::handler) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    session.delete().await.map_err(map_session_error(session.id()))?;
    Ok(empty(StatusCode::NO_CONTENT))
}
