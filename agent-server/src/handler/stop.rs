//! `POST /stop/{session_id}`: stops the run. It can be resumed.

use agent_core::Code;
use hyper::Method;

use super::session_response;
use crate::{
    api::task_agent::RunResponse,
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::map_session_error,
    http::response::{HandlerResult, ok},
};

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(Method::POST, "/stop/{session_id}", "stop", "runs", "Stop the run; it can be resumed")
        .aliased()
        .of_session()
        .codes(&[Code::NothingToDo, Code::StaleWriter, Code::SessionBusy])
        .response::<RunResponse>(200, "The run is stopped.")
}

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    session.stop().await.map_err(map_session_error(session.id()))?;
    Ok(ok(&session_response(&context.app, &session).await?))
}
