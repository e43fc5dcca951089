//! `GET /sessions/{session_id}/journal?after=&limit=`: what happened, in pages, as events.

use agent_core::ids::Seq;
use serde_json::json;

use crate::{
    handler::refused,
    http::{
        call::Call,
        reply::{Reply, ok},
    },
};

/// Entries on a page when nothing is said, and at most.
const PAGE: (u64, u64) = (200, 1_000);

pub(crate) async fn handle(call: Call) -> Reply {
    let session = call.session().await?;
    let query = call.query();
    let after = Seq(query.number("after")?.unwrap_or_default());
    let limit = query.number("limit")?.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    // An unknown session is a 404 rather than an empty page.
    let head = session.head().await.map_err(refused(session.id()))?;
    let limit = usize::try_from(limit).unwrap_or(1);
    let entries = session.events(after, limit).await.map_err(refused(session.id()))?;
    let last = entries.last().and_then(|event| event.seq).filter(|_| entries.len() == limit);
    let next = last.filter(|last| *last < head.last);
    Ok(ok(&json!({"entries": entries, "next": next, "first": head.first, "last": head.last})))
}
