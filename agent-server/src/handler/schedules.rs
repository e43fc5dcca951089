//! `/schedules`: runs that start at a time or by a cron expression.

use agent_core::{
    Code,
    journal::Recent,
    schedule::{self, ScheduledRun},
};
use hyper::{Method, StatusCode};
use serde_json::json;

use super::value_codes;
use crate::{
    ContextField,
    api::schedules::{Schedule, SchedulePage, ScheduleRequest, schedule_error},
    app::RequestContext,
    auth::{
        OWNER,
        ownership::{AccessScope, SessionAccess},
    },
    docs::openapi::RouteDoc,
    error::{ApiError, Contract, Rejection},
    http::response::{HandlerResult, empty, ok},
    session_title::titled,
};

/// Maximum number of schedules of a caller, and of those in a list.
const MAXIMUM: usize = 200;

pub(super) fn docs() -> [RouteDoc; 4] {
    let id = |doc: RouteDoc| {
        let schema = json!({"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,96}$"});
        doc.parameter("path", "schedule_id", true, &schema, "Id of the schedule.")
    };
    let path = "/schedules/{schedule_id}";
    [
        RouteDoc::new(Method::POST, "/schedules", "create_schedule", "schedules", "Create a schedule")
            .text(
                "Starts runs of an agent at the times of a cron expression, or once. The schedule is stored, and each time starts \
                 one run, also over restarts and with several servers on one database. Times that passed while no server ran \
                 start one run, late.",
            )
            .request_body::<ScheduleRequest>(
                true,
                &[
                    (
                        "korean",
                        "평일 오전 9시",
                        json!({
                            "schedule_id": "daily", "cron": "0 9 * * MON-FRI", "time_zone": "Asia/Seoul",
                            "message": "라네즈 리뷰를 분석해 주세요", "context": {"audience": "marketers"},
                        }),
                    ),
                    (
                        "english",
                        "Once",
                        json!({"run_at": "2030-12-24T09:00:00+09:00", "message": "Analyse the Laneige reviews"}),
                    ),
                ],
            )
            .of_store()
            .codes(&[Code::InvalidSessionId, Code::InvalidInput, Code::GraphNotFound, Code::CannotResume])
            .codes(&[Code::SessionNotFound, Code::SessionBusy, Code::StaleWriter])
            .codes(&[Code::TooManyRuns, Code::ShuttingDown, Code::LabelDiffers])
            .codes(&value_codes())
            .rejections(&[
                Rejection::EmptyMessage,
                Rejection::MessageTooLong,
                Rejection::UnknownAgent,
                Rejection::NoAgent,
                Rejection::QuotaExceeded,
                Rejection::InvalidSchedule,
                Rejection::ScheduleExists,
            ])
            .response::<Schedule>(200, "The schedule is stored."),
        RouteDoc::new(Method::GET, "/schedules", "schedules", "schedules", "List the schedules")
            .text("The most recently changed first, at most 200.")
            .of_store()
            .response::<SchedulePage>(200, "The schedules."),
        id(RouteDoc::new(Method::GET, path, "schedule", "schedules", "Get a schedule"))
            .of_store()
            .rejections(&[Rejection::ScheduleNotFound, Rejection::InvalidRequest])
            .response::<Schedule>(200, "The schedule."),
        id(RouteDoc::new(Method::DELETE, path, "delete_schedule", "schedules", "Delete a schedule"))
            .text("Runs that it has started continue.")
            .of_store()
            .codes(&[Code::SessionBusy, Code::StaleWriter])
            .rejections(&[Rejection::ScheduleNotFound, Rejection::InvalidRequest])
            .responds(204, json!({"description": "The schedule is deleted."})),
    ]
}

pub(super) async fn create(mut context: RequestContext) -> HandlerResult {
    let request = ScheduleRequest::parse(&context.json().await?)?;
    let timing = request.timing()?;
    let session = request.session()?;
    if let Some(session) = &session {
        context.session_or_new(session.clone()).await?;
    }
    let app = &context.app;
    let agent = app.agent(request.agent.as_deref())?;
    ContextField::check_all(agent.context_fields(), &request.context)?;
    let name = match &request.schedule_id {
        Some(name) => {
            // Schedules of other callers are not shown.
            check_owner(&context, name).await?;
            name.clone()
        }
        None => agent_core::SessionId::random().to_string(),
    };
    count(&context).await?;
    let waits_in = schedule::session_id(&name).map_err(schedule_error)?;
    context.count_new_session(&waits_in).await?;
    let options = titled(context.run_options(), &request.message);
    let mut run = ScheduledRun::new(agent.graph(), agent.input(request.message, request.context));
    match (context.scope(), &session) {
        // Of an administrator who schedules runs in a session of another subject.
        (AccessScope::Unrestricted, _) | (AccessScope::Admin(_), Some(_)) => {}
        (AccessScope::Admin(subject) | AccessScope::Subject(subject), _) => {
            run = run.label(OWNER, subject.as_str());
        }
    }
    if let Some(session) = session {
        run = run.session(session);
    }
    if let Some(policy) = request.on_busy {
        run = run.on_busy(policy.into());
    }
    show(&context, app.schedules.create_with(&name, timing, run, options).await)
}

pub(super) async fn list(context: RequestContext) -> HandlerResult {
    let label = context.scope().label();
    let schedules = &context.app.schedules;
    let found = schedules.list(label, MAXIMUM).await.map_err(schedule_error)?;
    let shown = found.into_iter().map(|info| {
        let session = schedules.session(&info.name).map_err(schedule_error)?;
        Ok(Schedule::new(info, session.id().clone()))
    });
    Ok(ok(&SchedulePage { schedules: shown.collect::<Result<_, ApiError>>()? }))
}

pub(super) async fn get(context: RequestContext) -> HandlerResult {
    let name = context.path_param("schedule_id").to_owned();
    check_owner(&context, &name).await?;
    show(&context, context.app.schedules.get(&name).await)
}

pub(super) async fn delete(context: RequestContext) -> HandlerResult {
    let name = context.path_param("schedule_id").to_owned();
    check_owner(&context, &name).await?;
    context.app.schedules.delete(&name).await.map_err(schedule_error)?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn show(
    context: &RequestContext,
    info: Result<schedule::ScheduleInfo, schedule::ScheduleError>,
) -> HandlerResult {
    let info = info.map_err(schedule_error)?;
    let session = context.app.schedules.session(&info.name).map_err(schedule_error)?;
    Ok(ok(&Schedule::new(info, session.id().clone())))
}

/// Checks that the caller may use the schedule, or that it does not exist.
///
/// # Errors
///
/// `schedule_not_found` for a schedule of another subject; errors of the store.
async fn check_owner(context: &RequestContext, name: &str) -> Result<(), ApiError> {
    let session = context.app.schedules.session(name).map_err(schedule_error)?;
    match context.scope().check(&session).await {
        Ok(SessionAccess::Granted | SessionAccess::Missing) => Ok(()),
        Err(error) if error.code == Code::SessionNotFound.name() => {
            let missing = schedule::ScheduleError::NotFound { name: name.to_owned() };
            Err(schedule_error(missing))
        }
        Err(error) => Err(error),
    }
}

/// Refuses a further schedule of a caller who has too many.
async fn count(context: &RequestContext) -> Result<(), ApiError> {
    let filter = Recent {
        graph: Some(schedule::GRAPH.to_owned()),
        label: context.scope().label(),
        limit: MAXIMUM,
        ..Recent::default()
    };
    let found = context.app.runtime.recent(filter).await;
    if found.map_err(|error| ApiError::of(Contract::TaskAgent, &error))?.len() < MAXIMUM {
        return Ok(());
    }
    let message = format!("there are {MAXIMUM} schedules already; delete one");
    Err(ApiError::new(Rejection::QuotaExceeded, message))
}
