//! `POST /sessions/{session_id}/fork {at?, session_id?}`: creates a session with the journal up to a checkpoint.

use agent_core::{
    Code,
    ids::{Seq, SessionId},
};
use hyper::Method;
use serde_json::json;

use crate::{
    api::sessions::{Fork, ForkRequest},
    app::RequestContext,
    docs::openapi::{RouteDoc, SESSION_ID},
    error::{Rejection, map_session_error},
    http::response::{HandlerResult, ok},
};

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(
        Method::POST,
        "/sessions/{session_id}/fork",
        "fork",
        "sessions",
        "Fork a session at a checkpoint",
    )
    .text("Creates a session with a copy of the journal up to an entry. Run or resume it to continue from there.")
    .of_session()
    .request_body::<ForkRequest>(
        false,
        &[
            ("latest", "A copy of the whole session", json!({})),
            ("earlier", "At an earlier checkpoint, with an id", json!({"at": 12, "session_id": "another-way"})),
        ],
    )
    .codes(&[Code::SessionExists, Code::CheckpointNotFound, Code::SessionBusy, Code::GraphNotFound])
    .codes(&[Code::CannotResume, Code::StaleWriter])
    .rejections(&[Rejection::InvalidRequest, Rejection::QuotaExceeded])
    .response::<Fork>(200, &format!("The new session; its id is of the form `{SESSION_ID}`."))
}

pub(in crate::handler) async fn handle(mut context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    let request = ForkRequest::parse(&context.json().await?)?;
    let target = match request.session()? {
        Some(id) => {
            // Checked first, so that other errors reveal nothing about sessions of other subjects.
            context.session_or_new(id.clone()).await?;
            id
        }
        None => SessionId::random(),
    };
    let at = match request.at {
        None => session.head().await.map_err(map_session_error(session.id()))?.last,
        Some(at) => Seq(at),
    };
    context.count_new_session(&target).await?;
    let fork = match session.fork(at, target.clone()).await {
        Ok(fork) => fork,
        Err(error) if error.code() == Code::SessionExists => {
            // Another subject may have created it since the check.
            context.session_or_new(target.clone()).await?;
            return Err(map_session_error(&target)(error));
        }
        Err(error) => return Err(map_session_error(session.id())(error)),
    };
    Ok(ok(&Fork { session_id: fork.id().clone(), forked_from: session.id().clone(), at: at.0 }))
}
