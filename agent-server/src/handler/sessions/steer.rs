//! `POST /sessions/{session_id}/steer {message}`: sends a message to the agent at work.

use agent_core::Code;
use hyper::Method;
use serde_json::json;

use crate::{
    api::task_agent::{RunResponse, SteerRequest},
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::{Rejection, map_session_error},
    handler::{session_response, value_codes},
    http::response::{HandlerResult, ok},
};

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(
        Method::POST,
        "/sessions/{session_id}/steer",
        "steer",
        "runs",
        "Send a message to the agent at work",
    )
    .text(
        "The agent reads the message before its next model call; one that was about to answer makes another call, and a paused \
         one reads it when it continues. The message is stored before the response is sent. 409 with `nothing_to_do` if no \
         run can read it: none is running or paused, it is about to end, or its graph is not an agent.",
    )
    .of_session()
    .request_body::<SteerRequest>(
        true,
        &[
            ("korean", "한국어로", json!({"message": "짧게 써 주세요"})),
            ("english", "In English", json!({"message": "Keep it short"})),
        ],
    )
    .codes(&value_codes())
    .codes(&[Code::NothingToDo, Code::SessionBusy, Code::StaleWriter, Code::GraphNotFound])
    .rejections(&[Rejection::EmptyMessage, Rejection::MessageTooLong])
    .response::<RunResponse>(200, "The message is stored.")
}

pub(in crate::handler) async fn handle(mut context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    let message = SteerRequest::parse(&context.json().await?)?;
    session.steer(message).await.map_err(map_session_error(session.id()))?;
    Ok(ok(&session_response(&context.app, &session).await?))
}
