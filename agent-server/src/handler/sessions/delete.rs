//! `DELETE /sessions/{session_id}`: deletes a session permanently.

use hyper::StatusCode;

use crate::{
    app::RequestContext,
    error::map_session_error,
    http::response::{HandlerResult, empty},
};

pub(in crate::handler) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    session.delete().await.map_err(map_session_error(session.id()))?;
    Ok(empty(StatusCode::NO_CONTENT))
}
