//! One file a path: its request, its answer.

pub(crate) mod health;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod stop;

use agent_core::{
    RunStatus, Session, SessionError,
    ids::{Seq, SessionId},
    session::SessionStatus,
};
use serde_json::Value;

use crate::{
    error::{ApiError, Contract},
    server::Inner,
    wire::task_agent::{response, standing},
};

pub(crate) type Answer = Result<Value, ApiError>;

/// A failure of a call on a session, with its id.
pub(crate) fn refused(session: &SessionId) -> impl Fn(SessionError) -> ApiError + '_ {
    |error| ApiError::of(Contract::TaskAgent, &error).about(session)
}

/// The response that tells where a session stands.
async fn told(inner: &Inner, session: &Session) -> Answer {
    let status = session.status().await.map_err(refused(session.id()))?;
    let data = standing_data(inner, session, &status).await?;
    Ok(response(session.id(), status.status.as_str(), &words(&status), Some(data)))
}

/// The same as of a place in the journal.
async fn told_at(inner: &Inner, session: &Session, seq: Seq) -> Answer {
    let status = session.status_at(seq).await.map_err(refused(session.id()))?;
    let state = session.state_json_at(seq).await.map_err(refused(session.id()))?;
    let answer = (status.status == RunStatus::Completed).then(|| inner.agent.response(&state));
    let data = standing(&status, answer.as_deref());
    Ok(response(session.id(), status.status.as_str(), &words(&status), Some(data)))
}

/// `data` of where a session stands; with the answer when it is completed.
async fn standing_data(inner: &Inner, session: &Session, status: &SessionStatus) -> Answer {
    if status.status != RunStatus::Completed {
        return Ok(standing(status, None));
    }
    let state = session.state_json().await.map_err(refused(session.id()))?;
    Ok(standing(status, Some(&inner.agent.response(&state))))
}

/// A status in a sentence.
fn words(status: &SessionStatus) -> String {
    let done = status.todos.iter().filter(|todo| todo.status.is_final()).count();
    let todos = format!("{done} of {} todos ended", status.todos.len());
    match status.status {
        RunStatus::Idle => "nothing was run yet".to_owned(),
        RunStatus::Running => format!("running, {todos}"),
        RunStatus::Paused => match status.questions.first() {
            Some(open) => format!("waiting for an answer: {}", open.question.prompt),
            None => format!("waiting for a person, {todos}"),
        },
        RunStatus::Completed => "completed".to_owned(),
        RunStatus::Failed => match &status.failure {
            Some(failure) => failure.message.clone(),
            None => "failed".to_owned(),
        },
        RunStatus::Stopped => format!("stopped, {todos}; resume it to go on"),
    }
}
