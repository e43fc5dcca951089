//! `POST /sessions/{session_id}/fork {at?, session_id?}`: a new session that is this one up to a place.

use agent_core::{
    Code,
    ids::{Seq, SessionId},
};
use serde_json::{Value, json};

use crate::{
    error::{ApiError, Refusal},
    handler::refused,
    http::{
        call::{Call, parse_session},
        reply::{Reply, ok},
    },
    wire::json::{object, text, whole},
};

pub(crate) async fn handle(mut call: Call) -> Reply {
    let session = call.session().await?;
    let body = call.json().await?;
    let fields = if body.iter().all(u8::is_ascii_whitespace) { object(b"{}")? } else { object(&body)? };
    let target = match text(&fields, "session_id")? {
        Some(id) => {
            let id = parse_session(&id)?;
            // First of all, and as for a run: of somebody else's session nothing is told, not even by what else is wrong.
            call.session_of(id.clone()).await?;
            id
        }
        None => SessionId::random(),
    };
    let at = match fields.get("at") {
        None | Some(Value::Null) => session.head().await.map_err(refused(session.id()))?.last,
        Some(at) => Seq(whole(at).ok_or_else(|| {
            ApiError::new(Refusal::InvalidRequest, "`at` must be the number of a place in the journal")
        })?),
    };
    call.admit_session().await?;
    let fork = match session.fork(at, target.clone()).await {
        Ok(fork) => fork,
        Err(error) if error.code() == Code::SessionExists => {
            // Somebody else may have begun it meanwhile.
            call.session_of(target.clone()).await?;
            return Err(refused(&target)(error));
        }
        Err(error) => return Err(refused(session.id())(error)),
    };
    Ok(ok(&json!({"session_id": fork.id(), "forked_from": session.id(), "at": at})))
}
