//! `GET /sessions?limit=&before=&status=&agent=`: sessions, those that changed last first.

use agent_core::{RunStatus, journal::Recent};
use serde_json::{Value, json};

use crate::{
    error::{ApiError, Refusal},
    handler::refused_by_store,
    http::{
        call::{Call, parse_session},
        reply::{Reply, ok},
    },
    title::TITLE,
    webhook,
};

/// Sessions on a page when nothing is said, and at most.
const PAGE: (u64, u64) = (50, 500);

pub(crate) async fn handle(call: Call) -> Reply {
    let query = call.query();
    let limit = query.number("limit")?.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let mut wanted = Recent {
        limit: usize::try_from(limit).unwrap_or(1),
        label: call.owner().label(),
        ..Recent::default()
    };
    match query.get("agent").filter(|agent| !agent.is_empty()) {
        Some(agent) => wanted.graph = Some(agent.to_owned()),
        // Deliveries are the server's business; who wants to see them asks for them.
        None => wanted.without = Some(webhook::GRAPH.to_owned()),
    }
    if let Some(text) = query.get("before").filter(|text| !text.is_empty()) {
        wanted.before = Some(place(text)?);
    }
    for status in query.get("status").unwrap_or_default().split(',').filter(|status| !status.is_empty()) {
        wanted.statuses.push(known(status)?.to_owned());
    }
    let page = call.inner.runtime.recent(wanted).await.map_err(|error| refused_by_store(&error))?;
    let full = page.len() as u64 == limit;
    let next = page.last().filter(|_| full).map(|last| format!("{}~{}", last.head.summary.at, last.id));
    let sessions: Vec<Value> = page
        .iter()
        .map(|info| {
            let summary = &info.head.summary;
            json!({
                "session_id": info.id,
                "title": summary.labels.get(TITLE),
                "agent": summary.graph,
                "status": summary.status,
                "questions": summary.questions,
                "run": summary.run.0,
                "at": summary.at,
                "last_seq": info.head.last,
                "bytes": info.head.journal_bytes + info.head.snapshot_bytes,
            })
        })
        .collect();
    Ok(ok(&json!({"sessions": sessions, "next": next})))
}

/// `AT~SESSION_ID`, as a page's `next` said.
fn place(text: &str) -> Result<(i64, agent_core::SessionId), ApiError> {
    let wrong = || ApiError::new(Refusal::InvalidRequest, "`before` must be the `next` of the page before");
    let (at, id) = text.split_once('~').ok_or_else(wrong)?;
    Ok((at.parse().map_err(|_| wrong())?, parse_session(id).map_err(|_| wrong())?))
}

fn known(status: &str) -> Result<&'static str, ApiError> {
    use RunStatus::{Completed, Failed, Paused, Running, Stopped};
    let all = [Running, Paused, Completed, Failed, Stopped].map(RunStatus::as_str);
    all.into_iter().find(|known| *known == status).ok_or_else(|| {
        ApiError::new(Refusal::InvalidRequest, format!("`status` must be of {}", all.join(", ")))
    })
}
