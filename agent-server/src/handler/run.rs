//! `POST /run` and `POST /run-async`: begin a run, and wait for it or not.

use std::sync::Arc;

use agent_core::{Run, RunOptions, RunStatus, ids::SessionId};

use super::{Answer, refused, told};
use crate::{
    error::{ApiError, Contract},
    server::Inner,
    wire::task_agent::{RunRequest, response, standing},
};

/// Starts, and answers at once: the run is stored before the answer leaves.
pub(crate) async fn start(inner: &Inner, body: &[u8]) -> Answer {
    let run = begin(inner, body).await?;
    let id = run.session().id();
    Ok(response(id, "started", "the run has started", Some(serde_json::json!({"run": run.id().0}))))
}

/// Runs to the end or to a question. A caller that goes away does not stop the run.
pub(crate) async fn run(inner: &Inner, body: &[u8]) -> Answer {
    let mut run = begin(inner, body).await?;
    let (_, _, error) = run.rest().await;
    let session = run.session();
    let Some(error) = error else { return told(inner, session).await };
    let error = agent_core::SessionError::Run(Arc::clone(&error));
    let failed = ApiError::of(Contract::TaskAgent, &error).about(session.id());
    Err(match session.status().await {
        Ok(status) if status.status == RunStatus::Failed => failed.with(standing(&status, None)),
        _ => failed,
    })
}

async fn begin(inner: &Inner, body: &[u8]) -> Result<Run, ApiError> {
    let request = RunRequest::parse(body)?;
    let id = request.session.unwrap_or_else(SessionId::random);
    let session = inner.runtime.session_of(id);
    let input = inner.agent.input(request.message, request.context);
    let options = RunOptions::default().on_busy(request.on_busy);
    session.start_json(inner.agent.graph(), input, options).await.map_err(refused(session.id()))
}
