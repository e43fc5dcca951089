//! `POST /resume/{session_id}`: resumes a stopped or failed run, or answers the question of a paused one.

use agent_core::{RunStatus, SessionError};
use serde_json::json;

use crate::{
    api::task_agent::{parse_answer, questions, response},
    app::RequestContext,
    error::{ApiError, Rejection, map_session_error},
    http::response::{HandlerResult, ok},
    limits::run_permit::RunPermit,
};

/// Author of answers in the journal, if callers are anonymous.
const ANSWERED_BY: &str = "a REST client";

pub(super) async fn handle(mut context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    let answers = parse_answer(&context.json().await?)?;
    let limits = &context.app.limits;
    let permit = RunPermit::for_resume(limits, context.key(), &session, answers.is_some()).await?;
    let run = match answers {
        Some(answers) => session.answer_as(answers, context.scope().name().unwrap_or(ANSWERED_BY)).await,
        None => session.resume().await,
    };
    match run {
        Ok(run) => {
            context.release_when_idle(permit, &run);
            let status = run.status();
            let data = json!({"run": run.id().0});
            Ok(ok(&response(session.id(), status.as_str(), "the run has resumed", Some(data))))
        }
        Err(SessionError::NothingToDo { status: RunStatus::Paused, .. }) => {
            let open = session.status().await.map_err(map_session_error(session.id()))?.questions;
            let message = "the run waits for an answer; send `{\"value\": ..}`, with the `id` if several questions are open";
            Err(ApiError::new(Rejection::AnswerNeeded, message)
                .about(session.id())
                .with(json!({"questions": questions(&open)})))
        }
        Err(error) => Err(map_session_error(session.id())(error)),
    }
}
