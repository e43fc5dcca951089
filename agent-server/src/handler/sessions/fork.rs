//! `POST /sessions/{session_id}/fork {at?, session_id?}`: creates a session with the journal up to a checkpoint.

use agent_core::{
    Code,
    ids::{Seq, SessionId},
};
use serde_json::{Value, json};

use crate::{
    api::json::{object, text, whole},
    app::RequestContext,
    error::{ApiError, Rejection, map_session_error},
    handler::access::parse_session_id,
    http::response::{HandlerResult, ok},
};

pub(in crate::handler) async fn handle(mut context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    let body = context.json().await?;
    let fields = if body.iter().all(u8::is_ascii_whitespace) { object(b"{}")? } else { object(&body)? };
    let target = match text(&fields, "session_id")? {
        Some(id) => {
            let id = parse_session_id(&id)?;
            // Checked first, so that other errors reveal nothing about sessions of other subjects.
            context.session_or_new(id.clone()).await?;
            id
        }
        None => SessionId::random(),
    };
    let at = match fields.get("at") {
        None | Some(Value::Null) => session.head().await.map_err(map_session_error(session.id()))?.last,
        Some(at) => Seq(whole(at).ok_or_else(|| {
            ApiError::new(Rejection::InvalidRequest, "`at` must be the number of a journal entry")
        })?),
    };
    context.count_new_session().await?;
    let fork = match session.fork(at, target.clone()).await {
        Ok(fork) => fork,
        Err(error) if error.code() == Code::SessionExists => {
            // Another subject may have created it since the check.
            context.session_or_new(target.clone()).await?;
            return Err(map_session_error(&target)(error));
        }
        Err(error) => return Err(map_session_error(session.id())(error)),
    };
    Ok(ok(&json!({"session_id": fork.id(), "forked_from": session.id(), "at": at})))
}
