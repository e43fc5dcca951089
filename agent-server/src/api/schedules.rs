//! Schedules: requests to create them, and what is shown of them.

use agent_core::{
    ids::SessionId,
    run::RunStatus as CoreStatus,
    schedule::{Firing, ScheduleError, ScheduleInfo, Timing},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    json,
    session_data::{RunStatus, iso},
    task_agent::{OnBusy, check_text},
};
use crate::{
    error::{ApiError, Contract, Rejection},
    session_title::TITLE,
};

/// Request to create a schedule. Either `cron` or `run_at` is required.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct ScheduleRequest {
    /// Id of the schedule. Default: a random one.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,96}$", required = false)]
    pub(crate) schedule_id: Option<String>,
    /// Cron expression: minute, hour, day of month, month, day of week.
    #[schema(max_length = 128, required = false)]
    cron: Option<String>,
    /// Time zone of the cron expression, an IANA name such as `Asia/Seoul`. Default: `UTC`.
    #[schema(max_length = 128, required = false)]
    time_zone: Option<String>,
    /// Time of a single run: ISO-8601 with an offset.
    #[schema(format = DateTime, required = false)]
    run_at: Option<String>,
    /// Task for the agent, as in `POST /run`.
    #[serde(default)]
    #[schema(
        required = true,
        min_length = 1,
        max_length = 32_768,
        pattern = r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
    )]
    pub(crate) message: String,
    /// Additional input, as in `POST /run`.
    #[serde(default)]
    #[schema(value_type = Option<Object>, required = false)]
    pub(crate) context: Map<String, Value>,
    /// Name of the agent (see `GET /agents`). Default: the first one.
    #[schema(required = false)]
    pub(crate) agent: Option<String>,
    /// Session of every run. Default: a new session for each run, `SCHEDULE_ID-TIME`.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$", required = false)]
    session_id: Option<String>,
    /// Policy if the session is busy at a time of the schedule. Default: `reject`, which skips this time.
    #[schema(required = false)]
    pub(crate) on_busy: Option<OnBusy>,
}

impl ScheduleRequest {
    /// Parses a request.
    ///
    /// # Errors
    ///
    /// 400 that names the invalid field.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let request: Self = json::strict_message(body)?;
        check_text("message", &request.message)?;
        Ok(request)
    }

    /// Returns the session that the request names.
    ///
    /// # Errors
    ///
    /// 400 for an invalid id.
    pub(crate) fn session(&self) -> Result<Option<SessionId>, ApiError> {
        self.session_id.as_deref().map(json::session_id).transpose()
    }

    /// Returns the times.
    ///
    /// # Errors
    ///
    /// `invalid_schedule`.
    pub(crate) fn timing(&self) -> Result<Timing, ApiError> {
        let invalid = |message: String| ApiError::new(Rejection::InvalidSchedule, message);
        match (&self.cron, &self.run_at) {
            (Some(cron), None) => {
                let zone = self.time_zone.as_deref().unwrap_or("UTC");
                Timing::cron(cron, zone).map_err(|error| invalid(error.to_string()).at("cron"))
            }
            (None, Some(_)) if self.time_zone.is_some() => {
                Err(invalid("`time_zone` belongs to `cron`; `run_at` has its own offset".to_owned()))
            }
            (None, Some(run_at)) => match run_at.parse::<jiff::Timestamp>() {
                Ok(at) => Ok(Timing::at(at.as_millisecond())),
                Err(_) => {
                    let message = "`run_at` must be a time such as `2026-12-24T09:00:00+09:00`";
                    Err(invalid(message.to_owned()).at("run_at"))
                }
            },
            _ => Err(invalid("either `cron` or `run_at` is required".to_owned())),
        }
    }
}

/// Schedules, the most recently changed first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SchedulePage {
    /// The schedules.
    pub(crate) schedules: Vec<Schedule>,
}

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Schedule {
    /// Id of the schedule.
    schedule_id: String,
    /// Beginning of the message.
    #[schema(required = true)]
    title: Option<String>,
    /// Agent of the runs.
    agent: String,
    /// Cron expression; `null` for a single run.
    #[schema(required = true)]
    cron: Option<String>,
    /// Time zone of the cron expression.
    #[schema(required = true)]
    time_zone: Option<String>,
    /// Time of the next run, ISO-8601, UTC; `null` if there is none.
    #[schema(format = DateTime, required = true)]
    next_run_at: Option<String>,
    /// How often it has fired.
    fired: u64,
    /// The latest run.
    #[schema(required = true)]
    last: Option<ScheduledStart>,
    /// `paused` while it waits for its next time, `completed` after its last, `stopped` if it was stopped.
    status: RunStatus,
    /// Session of the schedule itself: `POST /stop` suspends the schedule, `POST /resume` continues it.
    #[schema(value_type = String)]
    session_id: SessionId,
}

/// A start of a scheduled run.
#[derive(Debug, Serialize, ToSchema)]
struct ScheduledStart {
    /// The time at which it was due, ISO-8601, UTC.
    #[schema(format = DateTime)]
    due_at: String,
    /// The time at which it was started.
    #[schema(format = DateTime)]
    started_at: String,
    /// Session of the run.
    #[schema(value_type = String)]
    session_id: SessionId,
    /// Why the run was not started; absent if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    error: Option<String>,
}

impl Schedule {
    /// Returns what is shown of a schedule in the session `session`.
    pub(crate) fn new(info: ScheduleInfo, session: SessionId) -> Self {
        let (cron, time_zone) =
            info.timing.as_cron().map(|cron| (cron.expression.to_owned(), cron.zone.to_owned())).unzip();
        let next = info.next.filter(|_| info.status != CoreStatus::Completed);
        Self {
            title: info.labels.get(TITLE).cloned(),
            agent: info.run.graph().to_owned(),
            cron,
            time_zone,
            next_run_at: next.map(iso),
            fired: info.fired,
            last: info.last.map(ScheduledStart::from),
            status: info.status.into(),
            session_id: session,
            schedule_id: info.name,
        }
    }
}

impl From<Firing> for ScheduledStart {
    fn from(firing: Firing) -> Self {
        Self {
            due_at: iso(firing.due),
            started_at: iso(firing.at),
            session_id: firing.session,
            error: firing.error,
        }
    }
}

/// Maps the error of a schedule.
pub(crate) fn schedule_error(error: ScheduleError) -> ApiError {
    let rejection = match &error {
        ScheduleError::Session(error) => return ApiError::of(Contract::TaskAgent, error),
        ScheduleError::Name { .. } => Rejection::InvalidRequest,
        ScheduleError::Exists { .. } => Rejection::ScheduleExists,
        ScheduleError::NotFound { .. } => Rejection::ScheduleNotFound,
        _ => Rejection::InvalidSchedule,
    };
    ApiError::new(rejection, error.to_string())
}
