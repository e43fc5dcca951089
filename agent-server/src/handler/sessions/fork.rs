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
    let body = call.body().await?;
    let fields = if body.iter().all(u8::is_ascii_whitespace) { object(b"{}")? } else { object(&body)? };
    let at = match fields.get("at") {
        None | Some(Value::Null) => session.head().await.map_err(refused(session.id()))?.last,
        Some(at) => Seq(whole(at).ok_or_else(|| {
            ApiError::new(Refusal::InvalidRequest, "`at` must be the number of a place in the journal")
        })?),
    };
    let target = match text(&fields, "session_id")? {
        Some(id) => parse_session(&id)?,
        None => SessionId::random(),
    };
    call.admit_session().await?;
    let fork = session.fork(at, target.clone()).await;
    let fork = fork.map_err(|error| {
        // The refusal is about the session that its text names.
        let about = if error.code() == Code::SessionExists { &target } else { session.id() };
        refused(about)(error)
    })?;
    Ok(ok(&json!({"session_id": fork.id(), "forked_from": session.id(), "at": at})))
}
