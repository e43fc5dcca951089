//! `POST /resume/{session_id}`: go on with a stopped or failed run, or answer the question of a paused one.

use agent_core::{RunStatus, SessionError};
use serde_json::json;

use super::refused;
use crate::{
    error::{ApiError, Refusal},
    http::{
        call::{Admission, Call},
        reply::{Reply, ok},
    },
    wire::task_agent::{parse_answer, questions, response},
};

/// Who answers, as the journal notes it, where callers have no names.
const BY: &str = "a REST client";

pub(crate) async fn handle(mut call: Call) -> Reply {
    let session = call.session().await?;
    let answers = parse_answer(&call.json().await?)?;
    let admission = Admission::to_go_on(&call.inner, call.key(), &session, answers.is_some()).await?;
    let run = match answers {
        Some(answers) => session.answer_as(answers, call.owner().name().unwrap_or(BY)).await,
        None => session.resume().await,
    };
    match run {
        Ok(run) => {
            admission.follow(&call.inner, &run);
            let status = run.status();
            let data = json!({"run": run.id().0});
            Ok(ok(&response(session.id(), status.as_str(), "the run goes on", Some(data))))
        }
        Err(SessionError::NothingToDo { status: RunStatus::Paused, .. }) => {
            let open = session.status().await.map_err(refused(session.id()))?.questions;
            let told = "the run waits for an answer; send `{\"value\": ..}`, with the `id` when several wait";
            Err(ApiError::new(Refusal::AnswerNeeded, told)
                .about(session.id())
                .with(json!({"questions": questions(&open)})))
        }
        Err(error) => Err(refused(session.id())(error)),
    }
}
