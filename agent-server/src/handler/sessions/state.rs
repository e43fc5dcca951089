//! `GET /sessions/{session_id}/state?at=SEQ`: the state of a session, now or at a checkpoint.

use agent_core::{Code, ids::Seq};
use hyper::Method;

use crate::{
    api::{
        session_data::{questions, todos},
        sessions::SessionState,
    },
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::map_session_error,
    http::response::{HandlerResult, ok},
};

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(
        Method::GET,
        "/sessions/{session_id}/state",
        "state",
        "sessions",
        "Get the state of a session, now or at a checkpoint",
    )
    .of_session()
    .number("at", false, "Number of the journal entry. Default: the latest state.")
    .codes(&[Code::CheckpointNotFound, Code::GraphNotFound])
    .response::<SessionState>(200, "The state, the todos and the open questions.")
}

pub(in crate::handler) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    let map_error = map_session_error(session.id());
    let (state, status) = match context.query().number("at")?.map(Seq) {
        Some(seq) => {
            let view = session.checkpoint(seq).await.map_err(&map_error)?;
            (view.state, view.status)
        }
        None => {
            (session.state_json().await.map_err(&map_error)?, session.status().await.map_err(&map_error)?)
        }
    };
    Ok(ok(&SessionState {
        session_id: session.id().clone(),
        seq: status.last.0,
        status: status.status.into(),
        state,
        run_context: status.context.clone(),
        todos: todos(&status.todos),
        questions: questions(&status.questions),
    }))
}
