//! `POST /resume/{session_id}`: go on with a stopped or failed run, or answer the question of a paused one.

use agent_core::{RunStatus, SessionError, ids::SessionId};
use serde_json::json;

use super::{Answer, refused};
use crate::{
    error::{ApiError, Refusal},
    server::Inner,
    wire::task_agent::{parse_answer, questions, response},
};

/// Who answers, as the journal notes it.
const BY: &str = "a REST client";

pub(crate) async fn handle(inner: &Inner, id: SessionId, body: &[u8]) -> Answer {
    let session = inner.runtime.session_of(id);
    let run = match parse_answer(body)? {
        Some(answers) => session.answer_as(answers, BY).await,
        None => session.resume().await,
    };
    match run {
        Ok(run) => {
            let status = run.status();
            Ok(response(session.id(), status.as_str(), "the run goes on", Some(json!({"run": run.id().0}))))
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
