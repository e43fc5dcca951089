//! `POST /resume/{session_id}`: resumes a stopped or failed run, or answers the question of a paused one.

use agent_core::{Code, RunStatus, SessionError};
use hyper::Method;
use serde_json::json;

use super::{start_codes, value_codes};
use crate::{
    api::{
        session_data::questions,
        task_agent::{AnswerRequest, ResumeResponse, RunNumber},
    },
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::{ApiError, Rejection, map_session_error},
    http::response::{HandlerResult, ok},
    limits::run_permit::RunPermit,
};

/// Author of answers in the journal, if callers are anonymous.
const ANSWERED_BY: &str = "a REST client";

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(Method::POST, "/resume/{session_id}", "resume", "runs", "Resume a run, or answer its question")
        .aliased()
        .text(
            "Without a body: resumes a stopped or failed run. With `{value, id?}`: answers a question. Of two concurrent \
             answers one is accepted.",
        )
        .of_session()
        .request_body::<AnswerRequest>(
            false,
            &[
                ("korean", "한국어 답", json!({"value": "마케터"})),
                (
                    "english",
                    "An answer in English, to a question by its id",
                    json!({"value": "buyers", "id": "QUESTION_ID"}),
                ),
                ("go_on", "Resume a stopped or failed run", json!({})),
            ],
        )
        .codes(&start_codes())
        .codes(&value_codes())
        .codes(&[
            Code::InvalidAnswer,
            Code::AmbiguousAnswer,
            Code::AlreadyAnswered,
            Code::QuestionNotFound,
            Code::NothingToDo,
            Code::CannotResume,
        ])
        .rejections(&[Rejection::AnswerNeeded, Rejection::QuotaExceeded])
        .response::<ResumeResponse>(200, "The run has resumed.")
}

pub(super) async fn handle(mut context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    let answers = AnswerRequest::parse(&context.json().await?)?;
    let limits = &context.app.limits;
    let permit = RunPermit::for_resume(limits, context.key(), &session, answers.is_some()).await?;
    let run = match answers {
        Some(answers) => session.answer(answers).by(context.scope().name().unwrap_or(ANSWERED_BY)).await,
        None => session.resume().await,
    };
    match run {
        Ok(run) => {
            context.release_when_idle(permit, &run);
            Ok(ok(&ResumeResponse {
                session_id: session.id().clone(),
                status: run.status().into(),
                message: "the run has resumed",
                data: RunNumber { run: run.id().0 },
            }))
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
