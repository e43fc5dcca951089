//! `POST /run` and `POST /run-async`: begin a run, and wait for it or not. With an `Idempotency-Key`, once.

use std::sync::Arc;

use agent_core::{
    Run, RunStatus, Session, SessionError,
    event::EventBody,
    ids::{RunId, Seq, SessionId},
};
use hyper::HeaderMap;
use serde_json::json;

use super::{Answer, refused, told, told_at};
use crate::{
    auth::OWNER,
    error::{ApiError, Contract, Refusal},
    http::{
        call::Call,
        reply::{Reply, ok},
    },
    owner::{Owner, unknown},
    server::Inner,
    webhook::Prepared,
    wire::task_agent::{RunRequest, response, standing},
};

/// Events read at once.
const PAGE: usize = 1_024;
/// The longest idempotency key, in bytes.
const KEY: usize = 128;

/// A run that this request, or an earlier one with its key, began.
enum Begun {
    Now(Run),
    Before(Session, RunId),
}

/// Starts, and answers at once: the run is stored before the answer leaves.
pub(crate) async fn start(mut call: Call) -> Reply {
    let begun = begin(&mut call, false).await?;
    let (session, run) = match &begun {
        Begun::Now(run) => (run.session(), run.id()),
        Begun::Before(session, run) => (session, *run),
    };
    let message = match session.status().await {
        _ if matches!(begun, Begun::Before(..)) => {
            "the run has started before, by a request with the same key"
        }
        Ok(status) if status.run < run => "the run waits for its turn",
        _ => "the run has started",
    };
    Ok(ok(&response(session.id(), "started", message, Some(json!({"run": run.0})))))
}

/// Runs to the end or to a question. A caller that goes away does not stop the run.
pub(crate) async fn run(mut call: Call) -> Reply {
    let begun = begin(&mut call, true).await?;
    let answer = match begun {
        Begun::Now(run) => end(&call.inner, run).await?,
        Begun::Before(session, run) => end_of_earlier(&call.inner, &session, run).await?,
    };
    Ok(ok(&answer))
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

/// The end of a run that an earlier request began, in this process or in one before.
async fn end_of_earlier(inner: &Inner, session: &Session, run: RunId) -> Answer {
    let mut events = session.subscribe(Some(Seq::ZERO));
    loop {
        let status = session.status().await.map_err(refused(session.id()))?;
        if status.run == run && !matches!(status.status, RunStatus::Running) {
            return match status.failure {
                Some(_) if status.status == RunStatus::Failed => Err(failed_before(session, &status)),
                _ => told(inner, session).await,
            };
        }
        if status.run > run {
            return match ended(session, run).await.map_err(refused(session.id()))? {
                Some(seq) => told_at(inner, session, seq).await,
                None => Ok(response(session.id(), "completed", "the run ended", None)),
            };
        }
        // Until something of it comes to rest.
        loop {
            match events.next().await {
                Ok(event) if event.run == run && (event.body.ends_run() || is_pause(&event.body)) => break,
                Ok(_) => {}
                Err(error) if error.is_final() => return Err(unknown(session)),
                Err(error) => {
                    tracing::warn!(%error, "the journal cannot be read for a caller");
                    return Err(ApiError::new(Refusal::Internal, "the store cannot do this now"));
                }
            }
        }
    }
}

const fn is_pause(body: &EventBody) -> bool {
    matches!(body, EventBody::RunPaused(_))
}

fn failed_before(session: &Session, status: &agent_core::session::SessionStatus) -> ApiError {
    let mut error = ApiError::new(Refusal::Internal, "the run failed").about(session.id());
    if let Some(failure) = &status.failure {
        error.message.clone_from(&failure.message);
        error.node = failure.node.as_deref().map(Box::from);
        if let Some(code) = agent_core::Code::ALL.iter().find(|code| code.name() == failure.code) {
            error.code = code.name();
        }
    }
    error.run_failed = true;
    error.with(standing(status, None))
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

/// `waits`: nothing is said to anybody before the run is at rest.
async fn begin(call: &mut Call, waits: bool) -> Result<Begun, ApiError> {
    let key = key(call.headers())?;
    let body = call.json().await?;
    let request = RunRequest::parse(&body)?;
    let (inner, owner) = (&call.inner, call.owner());
    let id = match (request.session, &key) {
        (Some(id), _) => id,
        // The same key must find the same session.
        (None, Some(key)) => named_by(inner, &owner, key),
        (None, None) => SessionId::random(),
    };
    let session = call.session_of(id).await?;
    let agent = inner.agent(request.agent.as_deref())?;
    let mut options = call.run_options_of(&request.message).on_busy(request.on_busy);
    let input = agent.input(request.message, request.context);
    if let Some(key) = &key {
        options = options.request_of(key, &body);
    }
    let admission = call.admit(&session).await?;
    let webhook = match request.webhook {
        Some(url) => Some(prepare(call, &session, url).await?),
        None => None,
    };
    let begun = match waits {
        true => session.run_json(agent.graph(), input, options).await,
        false => session.start_json(agent.graph(), input, options).await,
    };
    // What the body took up is the run's now, however long it is waited for.
    call.memory.clear();
    match begun {
        Ok(run) => {
            admission.follow(inner, &run);
            if let Some(webhook) = webhook
                && let Err(error) =
                    inner.watcher.bind(&inner.runtime, webhook, run.id(), call.run_options()).await
            {
                tracing::error!(session = %session.id(), %error, "the webhook of a run was lost");
            }
            Ok(Begun::Now(run))
        }
        Err(error) => {
            if let Some(webhook) = webhook {
                inner.watcher.call_off(webhook).await;
            }
            not_begun(session, error)
        }
    }
}

/// Accepts the delivery of a run's webhook, before the run.
async fn prepare(call: &Call, session: &Session, url: String) -> Result<Prepared, ApiError> {
    let inner = &call.inner;
    let Some(webhooks) = &inner.webhooks else {
        return Err(ApiError::new(
            Refusal::InvalidRequest,
            "this server has no webhooks; its operator can set WEBHOOK_SECRET",
        ));
    };
    if !webhooks.post.may_reach(&url) {
        return Err(ApiError::new(
            Refusal::InvalidRequest,
            "`webhook.url` must be a public `http` or `https` address",
        ));
    }
    let prepared = inner.watcher.prepare(&inner.runtime, session, url, call.run_options()).await;
    prepared.map_err(refused(session.id()))
}

/// A run that was not begun: it was before, or it is refused.
fn not_begun(session: Session, error: SessionError) -> Result<Begun, ApiError> {
    match error {
        SessionError::SameRequest { run, .. } => Ok(Begun::Before(session, run)),
        SessionError::LabelDiffers { label, .. } if label == OWNER => Err(unknown(&session)),
        error => Err(refused(session.id())(error)),
    }
}

/// The `Idempotency-Key` of a request.
fn key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let legal =
        |key: &&str| !key.is_empty() && key.len() <= KEY && key.bytes().all(|byte| byte.is_ascii_graphic());
    match key.to_str().ok().map(str::trim).filter(legal) {
        Some(key) => Ok(Some(key.to_owned())),
        None => {
            let told = format!("`Idempotency-Key` must be 1 to {KEY} printable characters");
            Err(ApiError::new(Refusal::InvalidRequest, told))
        }
    }
}

/// The session of a request that names none: the same for the same key of the same caller.
fn named_by(inner: &Inner, owner: &Owner, key: &str) -> SessionId {
    let id = inner.derived.id("key", &[owner.name().unwrap_or_default(), key]);
    format!("key-{id}").parse().expect("these are legal characters")
}
