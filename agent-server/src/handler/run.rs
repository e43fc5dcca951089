//! `POST /run` and `POST /run-async`: begin a run, and wait for it or not.

use std::sync::Arc;

use agent_core::{
    Run, RunOptions, RunStatus, Session, SessionError,
    ids::{RunId, Seq, SessionId},
};
use serde_json::json;

use super::{Answer, refused, told, told_at};
use crate::{
    error::{ApiError, Contract},
    http::{
        call::Call,
        reply::{Reply, ok},
    },
    server::Inner,
    wire::task_agent::{RunRequest, response, standing},
};

/// Events read at once.
const PAGE: usize = 1_024;

/// Starts, and answers at once: the run is stored before the answer leaves.
pub(crate) async fn start(mut call: Call) -> Reply {
    let run = begin(&mut call).await?;
    let session = run.session();
    let message = match session.status().await {
        Ok(status) if status.run < run.id() => "the run waits for its turn",
        _ => "the run has started",
    };
    Ok(ok(&response(session.id(), "started", message, Some(json!({"run": run.id().0})))))
}

/// Runs to the end or to a question. A caller that goes away does not stop the run.
pub(crate) async fn run(mut call: Call) -> Reply {
    let run = begin(&mut call).await?;
    Ok(ok(&end(&call.inner, run).await?))
}

async fn end(inner: &Inner, mut run: Run) -> Answer {
    let (rest, _, error) = run.rest().await;
    let session = run.session();
    if let Some(error) = error {
        let error = SessionError::Run(Arc::clone(&error));
        let failed = ApiError::of(Contract::TaskAgent, &error).about(session.id());
        return Err(match session.status().await {
            Ok(status) if status.run == run.id() => failed.with(standing(&status, None)),
            _ => failed,
        });
    }
    if rest == RunStatus::Running {
        // The process ends; the next one goes on with the run.
        return Err(refused(session.id())(SessionError::ShuttingDown));
    }
    let status = session.status().await.map_err(refused(session.id()))?;
    if status.run == run.id() {
        return told(inner, session).await;
    }
    // Another run has begun since: what this one came to is in the journal.
    match ended(session, run.id()).await.map_err(refused(session.id()))? {
        Some(seq) => told_at(inner, session, seq).await,
        None => Ok(response(session.id(), rest.as_str(), "the run ended", None)),
    }
}

/// Where a run came to rest.
async fn ended(session: &Session, run: RunId) -> Result<Option<Seq>, SessionError> {
    let mut after = Seq::ZERO;
    let mut found = None;
    loop {
        let page = session.events(after, PAGE).await?;
        let ends = page.iter().filter(|event| event.run == run && event.body.ends_run());
        found = ends.filter_map(|event| event.seq).next_back().or(found);
        match page.last().and_then(|event| event.seq) {
            Some(last) if page.len() == PAGE => after = last,
            _ => return Ok(found),
        }
    }
}

async fn begin(call: &mut Call) -> Result<Run, ApiError> {
    let request = RunRequest::parse(&call.body().await?)?;
    let inner = &call.inner;
    let id = request.session.unwrap_or_else(SessionId::random);
    let session = inner.runtime.session_of(id);
    let agent = inner.agent(request.agent.as_deref())?;
    let input = agent.input(request.message, request.context);
    let options = RunOptions::default().on_busy(request.on_busy);
    session.start_json(agent.graph(), input, options).await.map_err(refused(session.id()))
}
