//! `DELETE /sessions/{session_id}`: a session with all it has is gone for good.

use hyper::StatusCode;

use crate::{
    handler::refused,
    http::{
        call::Call,
        reply::{Reply, empty},
    },
};

pub(crate) async fn handle(call: Call) -> Reply {
    let session = call.session().await?;
    session.delete().await.map_err(refused(session.id()))?;
    Ok(empty(StatusCode::NO_CONTENT))
}
