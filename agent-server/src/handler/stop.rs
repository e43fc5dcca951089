//! `POST /stop/{session_id}`: stops the run. It can be resumed.

use super::session_response;
use crate::{
    app::RequestContext,
    error::map_session_error,
    http::response::{HandlerResult, ok},
};

pub(super) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    session.stop().await.map_err(map_session_error(session.id()))?;
    Ok(ok(&session_response(&context.app, &session).await?))
}
