//! `GET /sessions/{session_id}/state?at=SEQ`: the state of a session, now or at a checkpoint.

use agent_core::ids::Seq;
use serde_json::json;

use crate::{
    api::task_agent::standing,
    app::RequestContext,
    error::map_session_error,
    http::response::{HandlerResult, ok},
};

pub(crate) async fn handle(context: RequestContext) -> HandlerResult {
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
    let data = standing(&status, None);
    Ok(ok(&json!({
        "session_id": session.id(),
        "seq": status.last,
        "status": status.status,
        "state": state,
        "todos": data["todos"],
        "questions": data["questions"],
    })))
}
