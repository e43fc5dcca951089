//! `GET /sessions/{session_id}/state?at=SEQ`: what the session knew at a place, or knows now.

use agent_core::ids::Seq;
use serde_json::json;

use crate::{
    handler::refused,
    http::{
        call::Call,
        reply::{Reply, ok},
    },
    wire::task_agent::standing,
};

pub(crate) async fn handle(call: Call) -> Reply {
    let session = call.session().await?;
    let refused = refused(session.id());
    let (state, status) = match call.query().number("at")?.map(Seq) {
        Some(seq) => (
            session.state_json_at(seq).await.map_err(&refused)?,
            session.status_at(seq).await.map_err(&refused)?,
        ),
        None => (session.state_json().await.map_err(&refused)?, session.status().await.map_err(&refused)?),
    };
    let told = standing(&status, None);
    Ok(ok(&json!({
        "session_id": session.id(),
        "seq": status.last,
        "status": status.status,
        "state": state,
        "todos": told["todos"],
        "questions": told["questions"],
    })))
}
