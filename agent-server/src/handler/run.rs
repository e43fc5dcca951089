//! `POST /run` and `POST /run-async`: start a run, and wait for its end or not. Idempotent with an `Idempotency-Key`.

use agent_core::{
    Code, Run, RunStatus, Session, SessionError,
    event::{EventFilter, EventKind},
    ids::{RunId, Seq, SessionId},
    session::SessionStatus,
};
use hyper::{HeaderMap, Method};
use serde_json::json;

use super::{run_failure_codes, session_response_at, session_response_for, start_codes, value_codes};
use crate::{
    api::{
        session_data::SessionData,
        task_agent::{RunNumber, RunRequest, RunResponse, StartResponse},
    },
    app::{AppState, RequestContext},
    auth::{OWNER, ownership::AccessScope},
    docs::openapi::RouteDoc,
    error::{ApiError, Contract, Rejection, map_session_error, session_not_found},
    fail_points,
    http::response::{HandlerResult, ok},
    run_progress::{RunProgress, for_each_event},
    task_agent::ContextField,
    webhook::PreparedDelivery,
};

/// Maximum length of an idempotency key, in bytes.
const KEY_BYTES: usize = 128;

/// The run of a request.
enum RunStart {
    /// Started by this request.
    New(Run),
    /// Started by an earlier request with the same key.
    Existing(Session, RunId),
}

/// When the response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitFor {
    /// When the run is stored.
    Acceptance,
    /// When the run ends or pauses.
    Result,
}

/// Operations on the session of a run.
const LINKS: &[&str] = &["status", "stop", "resume", "journal", "state", "events"];

pub(super) fn docs() -> [RouteDoc; 2] {
    [
        base_doc("/run", "run", "Run an agent until it ends, or asks a question")
            .text(
                "Responds when the run ends or pauses: `completed` with its answer, `paused` with its questions, or \
                 `stopped`. A failed run is a 500 that names the node. A disconnect does not stop the run.",
            )
            .codes(&run_failure_codes())
            .codes(&[Code::SessionNotFound, Code::CheckpointNotFound])
            .response::<RunResponse>(200, "The run has ended or is paused.")
            .links(200, LINKS),
        base_doc("/run-async", "run_async", "Start a run without waiting for it")
            .text(
                "The run is stored before the response is sent. Follow it over the WebSocket, the event stream or \
                 `GET /status`.",
            )
            .response::<StartResponse>(200, "The run has started or is queued.")
            .links(200, LINKS),
    ]
}

fn base_doc(path: &str, id: &'static str, summary: &'static str) -> RouteDoc {
    RouteDoc::new(Method::POST, path, id, "runs", summary)
        .aliased()
        .request_body::<RunRequest>(
            true,
            &[
                (
                    "korean",
                    "한국어로",
                    json!({"message": "라네즈 리뷰를 분석해 주세요", "session_id": "laneige-1"}),
                ),
                (
                    "english",
                    "In English, with the answer to a question that would be asked",
                    json!({"message": "Analyse the Laneige reviews", "context": {"audience": "buyers"}}),
                ),
            ],
        )
        .parameter(
            "header",
            "Idempotency-Key",
            false,
            &json!({"type": "string", "pattern": "^[!-~]{1,128}$"}),
            "Requests with the same key and body start one run. A session remembers its latest 1,024 keys; an older key \
             starts a run again.",
        )
        .codes(&[Code::InvalidSessionId, Code::InvalidInput, Code::GraphNotFound])
        .codes(&value_codes())
        .codes(&start_codes())
        .codes(&[Code::SessionBusy, Code::RequestDiffers, Code::LabelDiffers, Code::OtherGraph])
        .of_store()
        .codes(&[Code::StoredState])
        .rejections(&[
            Rejection::EmptyMessage,
            Rejection::MessageTooLong,
            Rejection::UnknownAgent,
            Rejection::NoAgent,
            Rejection::QuotaExceeded,
        ])
}

/// `POST /run-async`: responds when the run is stored.
pub(super) async fn start(mut context: RequestContext) -> HandlerResult {
    let started = start_run(&mut context, WaitFor::Acceptance).await?;
    let (session, run) = match &started {
        RunStart::New(run) => (run.session(), run.id()),
        RunStart::Existing(session, run) => (session, *run),
    };
    let message = match session.status().await {
        _ if matches!(started, RunStart::Existing(..)) => {
            "the run was started by an earlier request with the same key"
        }
        Ok(status) if status.run != run => "the run is queued",
        _ => "the run has started",
    };
    Ok(ok(&StartResponse {
        session_id: session.id().clone(),
        status: "started",
        message,
        data: RunNumber { run: run.0 },
    }))
}

/// `POST /run`: responds when the run ends or pauses. A disconnect does not stop the run.
pub(super) async fn run(mut context: RequestContext) -> HandlerResult {
    let result = match start_run(&mut context, WaitFor::Result).await? {
        RunStart::New(run) => wait_for_result(&context.app, run).await?,
        RunStart::Existing(session, run) => wait_for_existing(&context.app, &session, run).await?,
    };
    Ok(ok(&result))
}

async fn wait_for_result(app: &AppState, mut run: Run) -> Result<RunResponse, ApiError> {
    let report = run.wait().await;
    let run_status = report.status;
    let session = run.session();
    if let Some(error) = report.error {
        let error = SessionError::Run(error);
        let failed = ApiError::of(Contract::TaskAgent, &error).about(session.id());
        return Err(match session.status().await {
            Ok(status) if status.run == run.id() => failed.with(json!(SessionData::new(&status, None))),
            _ => failed,
        });
    }
    if run_status == RunStatus::Running {
        // The process shuts down; the next one resumes the run.
        return Err(map_session_error(session.id())(SessionError::ShuttingDown));
    }
    let status = session.status().await.map_err(map_session_error(session.id()))?;
    if status.run == run.id() {
        return session_response_for(app, session, &status).await;
    }
    // Another run has started since. The journal has the result of this one.
    match find_end(session, run.id()).await.map_err(map_session_error(session.id()))? {
        Some(seq) => session_response_at(app, session, seq).await,
        None => Ok(ended_response(session, run_status)),
    }
}

/// Waits for the result of a run that an earlier request started, in this process or an earlier one.
async fn wait_for_existing(app: &AppState, session: &Session, run: RunId) -> Result<RunResponse, ApiError> {
    let ends = EventFilter::none().with_ends().with(EventKind::RunDequeued);
    let mut events = session.subscribe_to(Some(Seq::ZERO), ends);
    loop {
        let status = session.status().await.map_err(map_session_error(session.id()))?;
        if status.run == run && status.status != RunStatus::Running {
            check_failure(session, &status)?;
            return session_response_for(app, session, &status).await;
        }
        if status.run != run {
            let progress = RunProgress::read(session, run).await.map_err(map_session_error(session.id()))?;
            match progress {
                RunProgress::Ended(seq) => {
                    let status = session.status_at(seq).await.map_err(map_session_error(session.id()))?;
                    check_failure(session, &status)?;
                    return session_response_at(app, session, seq).await;
                }
                RunProgress::Removed => return Ok(ended_response(session, RunStatus::Stopped)),
                RunProgress::Trimmed => return Err(result_not_kept(session, run)),
                RunProgress::Unfinished | RunProgress::Unknown => {}
            }
        }
        // Until the run ends, pauses, or is removed from the queue.
        loop {
            match events.next().await {
                Ok(event) if event.run == run => break,
                Ok(_) => {}
                Err(error) if error.is_final() => return Err(session_not_found(session)),
                Err(error) => {
                    tracing::warn!(%error, "the journal could not be read for a caller");
                    return Err(ApiError::store_unavailable());
                }
            }
        }
    }
}

/// Returns the response for a run without a result in the journal.
fn ended_response(session: &Session, status: RunStatus) -> RunResponse {
    RunResponse {
        session_id: session.id().clone(),
        status: status.into(),
        message: "the run has ended".to_owned(),
        data: None,
    }
}

/// Returns the error for a result that the journal no longer has.
fn result_not_kept(session: &Session, run: RunId) -> ApiError {
    let message = format!("the result of run {} is no longer in the journal", run.0);
    let mut error = ApiError::new(Rejection::NotFound, message).about(session.id());
    error.code = Code::CheckpointNotFound.name();
    error
}

/// Fails if the run has failed.
fn check_failure(session: &Session, status: &SessionStatus) -> Result<(), ApiError> {
    match (status.status, &status.failure) {
        (RunStatus::Failed, Some(_)) => Err(stored_failure(session, status)),
        _ => Ok(()),
    }
}

fn stored_failure(session: &Session, status: &SessionStatus) -> ApiError {
    let mut error = ApiError::new(Rejection::Internal, "the run failed").about(session.id());
    if let Some(failure) = &status.failure {
        error.message.clone_from(&failure.message);
        error.node = failure.node.as_deref().map(Box::from);
        if let Some(code) = Code::ALL.iter().find(|code| code.name() == failure.code) {
            error.code = code.name();
        }
    }
    error.run_failed = true;
    error.with(json!(SessionData::new(status, None)))
}

/// Finds the journal entry with the last end or pause of a run.
async fn find_end(session: &Session, run: RunId) -> Result<Option<Seq>, SessionError> {
    let mut found = None;
    for_each_event(session, run, |event| {
        if event.body.ends_run() {
            found = event.seq;
        }
    })
    .await?;
    Ok(found)
}

async fn start_run(context: &mut RequestContext, wait_for: WaitFor) -> Result<RunStart, ApiError> {
    let key = idempotency_key(context.headers())?;
    let body = context.json().await?;
    let request = RunRequest::parse(&body)?;
    let (app, scope) = (&context.app, context.scope());
    let id = match (request.session()?, &key) {
        (Some(id), _) => id,
        // Requests with the same key must use the same session.
        (None, Some(key)) => session_id_for_key(app, &scope, key),
        (None, None) => SessionId::random(),
    };
    let session = context.session_or_new(id).await?;
    let agent = app.agent(request.agent.as_deref())?;
    ContextField::check_all(agent.context_fields(), &request.context)?;
    let mut options =
        context.conversation_options(&request.message).on_busy(request.on_busy.unwrap_or_default().into());
    let input = agent.input(request.message, request.context);
    if let Some(key) = &key {
        options = options.request_of(key, &body);
    }
    let permit = context.run_permit(&session).await?;
    let delivery = match request.webhook {
        Some(webhook) => {
            // The webhook finds its run by the name of the request.
            let name = match key {
                Some(key) => key,
                None => {
                    let name = format!("webhook-{:032x}", fastrand::u128(..));
                    options = options.request(&name);
                    name
                }
            };
            Some(prepare_delivery(context, &session, &name, webhook.url).await?)
        }
        None => None,
    };
    let started = match wait_for {
        WaitFor::Result => {
            session.run_json(agent.graph(), input).options(options).start_unacknowledged().await
        }
        WaitFor::Acceptance => session.run_json(agent.graph(), input).options(options).start().await,
    };
    // The run now owns the input, however long the response takes.
    context.memory = None;
    let app = &context.app;
    match started {
        Ok(run) => {
            context.release_when_idle(permit, &run);
            if let Some(delivery) = delivery {
                bind_delivery(context, delivery, &session, run.id()).await?;
            }
            Ok(RunStart::New(run))
        }
        Err(error) => {
            match (delivery, &error) {
                (None, _) => {}
                // The run may have been stored. The next sweep finds the delivery, and deletes it if there is no run.
                (Some(delivery), SessionError::Store(_)) => drop(delivery),
                // The process of the earlier request may have died before the webhook was bound, and the run may have ended
                // since. A webhook that another process delivered is sent once more, under the same id.
                (Some(delivery), SessionError::SameRequest { run, .. }) => {
                    bind_delivery(context, delivery, &session, *run).await?;
                }
                (Some(delivery), _) => app.deliveries.cancel(delivery).await,
            }
            map_start_error(session, error)
        }
    }
}

/// Binds a webhook to its run. If that fails, the request is not acknowledged: repeated with its key, it binds the webhook.
async fn bind_delivery(
    context: &RequestContext,
    delivery: PreparedDelivery,
    session: &Session,
    run: RunId,
) -> Result<(), ApiError> {
    let app = &context.app;
    fail_points::reach("webhook.bind.before");
    let bound = app.deliveries.bind(&app.runtime, delivery, run).await;
    fail_points::reach("webhook.bind.after");
    bound.map_err(map_session_error(session.id()))
}

/// Accepts the webhook delivery of a run, before the run.
async fn prepare_delivery(
    context: &RequestContext,
    session: &Session,
    request: &str,
    url: String,
) -> Result<PreparedDelivery, ApiError> {
    let app = &context.app;
    let Some(webhooks) = &app.webhooks else {
        return Err(ApiError::new(
            Rejection::InvalidRequest,
            "this server has no webhooks; its operator can set WEBHOOK_SECRET",
        ));
    };
    if !webhooks.client.may_reach(&url) {
        return Err(ApiError::new(
            Rejection::InvalidRequest,
            "`webhook.url` must be a public `http` or `https` address",
        ));
    }
    let prepared = app.deliveries.prepare(&app.runtime, session, request, url, context.run_options()).await;
    fail_points::reach("webhook.prepare.after");
    prepared.map_err(map_session_error(session.id()))
}

/// Maps the error of a start: a repeated request is not an error.
fn map_start_error(session: Session, error: SessionError) -> Result<RunStart, ApiError> {
    match error {
        SessionError::SameRequest { run, .. } => Ok(RunStart::Existing(session, run)),
        SessionError::LabelDiffers { label, .. } if label == OWNER => Err(session_not_found(&session)),
        error => Err(map_session_error(session.id())(error)),
    }
}

/// Reads the `Idempotency-Key` header.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let legal = |key: &&str| {
        !key.is_empty() && key.len() <= KEY_BYTES && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match key.to_str().ok().map(str::trim).filter(legal) {
        Some(key) => Ok(Some(key.to_owned())),
        None => {
            let message = format!("`Idempotency-Key` must be 1 to {KEY_BYTES} printable characters");
            Err(ApiError::new(Rejection::InvalidRequest, message))
        }
    }
}

/// Returns the session id of a request without one: the same for the same key of the same caller.
fn session_id_for_key(app: &AppState, scope: &AccessScope, key: &str) -> SessionId {
    let id = app.derived.id("key", &[scope.name().unwrap_or_default(), key]);
    format!("key-{id}").parse().expect("hexadecimal digits are valid in ids")
}
