//! `GET /status/{session_id}` and `GET /sessions/{session_id}`: the status of a session, its state and usage.

use agent_core::session::StateView;
use hyper::Method;

use super::{session_data, status_message};
use crate::{
    api::{
        session_data::{SessionDetails, Sizes},
        task_agent::StatusResponse,
    },
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::map_session_error,
    http::response::{HandlerResult, ok},
    session_title::TITLE,
};

pub(super) fn docs() -> [RouteDoc; 2] {
    [
        RouteDoc::new(Method::GET, "/status/{session_id}", "status", "runs", "Get the status of a session")
            .aliased()
            .of_session()
            .response::<StatusResponse>(200, "The status of the session."),
        RouteDoc::new(
            Method::GET,
            "/sessions/{session_id}",
            "session",
            "sessions",
            "Get the status of a session",
        )
        .text("The same as `GET /status/{session_id}`.")
        .of_session()
        .response::<StatusResponse>(200, "The status of the session."),
    ]
}

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    // Read once, so that all fields are consistent.
    let status = session.status().await.map_err(map_session_error(session.id()))?;
    // If the state cannot be read, for example because its graph is not registered, the rest is still returned.
    let StateView { state, active_tasks, .. } = session.state_and_active_tasks().await.unwrap_or_default();
    let data = session_data(&context.app, &status, &state);
    let title = status.labels.get(TITLE).cloned();
    let running = if status.status.is_busy() {
        active_tasks.iter().map(ToString::to_string).collect()
    } else {
        Vec::new()
    };
    let sizes = session.head().await.ok().map(|head| Sizes {
        entries: head.last.0.saturating_sub(head.first.0.saturating_sub(1)),
        journal_bytes: head.journal_bytes,
        snapshot_bytes: head.snapshot_bytes,
    });
    Ok(ok(&StatusResponse {
        session_id: session.id().clone(),
        status: status.status.into(),
        message: status_message(&status),
        data: SessionDetails::new(data, &status, title, running, state, sizes),
    }))
}
