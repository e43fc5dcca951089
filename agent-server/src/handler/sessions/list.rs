//! `GET /sessions?limit=&before=&status=&agent=`: sessions, the most recently changed first.

use agent_core::{
    RunStatus,
    journal::{Recent, RecentCursor},
    schedule,
};
use hyper::Method;
use serde_json::json;

use crate::{
    api::sessions::{SessionPage, SessionSummary},
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::{ApiError, Contract, Rejection},
    handler::access::parse_session_id,
    http::response::{HandlerResult, ok},
    session_title::TITLE,
    webhook,
};

/// Default and maximum number of sessions per page.
const PAGE: (u64, u64) = (50, 500);

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(
        Method::GET,
        "/sessions",
        "sessions",
        "sessions",
        "List sessions, the most recently changed first",
    )
    .number("limit", false, "Page size, 1 to 500; larger values count as 500. Default: 50.")
    .parameter(
        "query",
        "before",
        false,
        &json!({"type": "string", "pattern": "^([0-9]{1,15}~[A-Za-z0-9._:-]{1,128})?$"}),
        "The `next` value of the previous page.",
    )
    .raw_parameter(json!({
        "name": "status",
        "in": "query",
        "description": "Only sessions with one of these statuses, separated by commas.",
        "style": "form",
        "explode": false,
        "schema": {"type": "array", "items": {"enum": ["running", "paused", "completed", "failed", "stopped"]}},
    }))
    .parameter(
        "query",
        "agent",
        false,
        &json!({"type": "string"}),
        "Only sessions of this agent, by the latest run. Default: all except `webhook`, the deliveries of webhooks, and `schedule`, the schedules.",
    )
    .of_store()
    .response::<SessionPage>(200, "A page.")
}

pub(in crate::handler) async fn handle(context: RequestContext) -> HandlerResult {
    let query = context.query();
    let limit = query.number("limit")?.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let mut filter = Recent {
        limit: usize::try_from(limit).unwrap_or(1),
        label: context.scope().label(),
        ..Recent::default()
    };
    match query.get("agent").filter(|agent| !agent.is_empty()) {
        Some(agent) => filter.graph = Some(agent.to_owned()),
        // Webhook deliveries and schedules are listed only on request.
        None => filter.without = vec![webhook::GRAPH.to_owned(), schedule::GRAPH.to_owned()],
    }
    if let Some(text) = query.get("before").filter(|text| !text.is_empty()) {
        filter.before = Some(parse_cursor(text)?);
    }
    for status in query.get("status").unwrap_or_default().split(',').filter(|status| !status.is_empty()) {
        filter.statuses.push(parse_status(status)?.to_owned());
    }
    let page = context
        .app
        .runtime
        .recent(filter)
        .await
        .map_err(|error| ApiError::of(Contract::TaskAgent, &error))?;
    let full = page.len() as u64 == limit;
    let next = page.last().filter(|_| full).map(|last| format!("{}~{}", last.head.summary.at, last.id));
    let sessions = page.into_iter().map(|info| {
        let summary = info.head.summary;
        SessionSummary {
            session_id: info.id,
            title: summary.labels.get(TITLE).cloned(),
            agent: summary.graph.to_string(),
            status: summary.status.to_string(),
            questions: summary.questions,
            run: summary.run.0,
            at: summary.at,
            last_seq: info.head.last.0,
            started_by: summary.labels.get("started_by").cloned(),
            scheduled_by: summary.labels.get("scheduled_by").cloned(),
            bytes: info.head.journal_bytes + info.head.snapshot_bytes,
        }
    });
    Ok(ok(&SessionPage { sessions: sessions.collect(), next }))
}

/// Parses `AT~SESSION_ID`, the `next` of a page.
fn parse_cursor(text: &str) -> Result<RecentCursor, ApiError> {
    let invalid =
        || ApiError::new(Rejection::InvalidRequest, "`before` must be the `next` of the previous page");
    let (at, id) = text.split_once('~').ok_or_else(invalid)?;
    let at = at.parse().map_err(|_| invalid())?;
    Ok(RecentCursor { at, session: parse_session_id(id).map_err(|_| invalid())? })
}

fn parse_status(status: &str) -> Result<&'static str, ApiError> {
    use RunStatus::{Completed, Failed, Paused, Running, Stopped};
    let all = [Running, Paused, Completed, Failed, Stopped].map(RunStatus::as_str);
    all.into_iter().find(|known| *known == status).ok_or_else(|| {
        ApiError::new(Rejection::InvalidRequest, format!("`status` must be one of {}", all.join(", ")))
    })
}
