//! `GET /sessions/{session_id}/journal?after=&limit=`: the journal as events, in pages.

use agent_core::ids::Seq;
use hyper::Method;

use crate::{
    api::{schema::EventJson, sessions::JournalPage},
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::map_session_error,
    http::response::{HandlerResult, ok},
};

/// Default and maximum number of entries per page.
const PAGE: (u64, u64) = (200, 1_000);
/// Size in bytes after which a page ends.
const BYTES: usize = 8 * 1024 * 1024;
/// Entries read at a time.
const BATCH: usize = 32;

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(
        Method::GET,
        "/sessions/{session_id}/journal",
        "journal",
        "sessions",
        "Read the journal as events, in pages",
    )
    .of_session()
    .number("after", false, "Entries after this number. Default: 0.")
    .number("limit", false, "Page size, 1 to 1,000; larger values count as 1,000. Default: 200.")
    .response::<JournalPage>(200, "A page.")
}

pub(in crate::handler) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    let query = context.query();
    let after = Seq(query.number("after")?.unwrap_or_default());
    let limit = query.number("limit")?.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    // Returns 404 for an unknown session, instead of an empty page.
    let head = session.head().await.map_err(map_session_error(session.id()))?;
    let limit = usize::try_from(limit).unwrap_or(1);
    let mut page = JournalPage { entries: Vec::new(), next: None, first: head.first.0, last: head.last.0 };
    let (mut bytes, mut last) = (0, after);
    while page.entries.len() < limit && bytes < BYTES {
        let wanted = (limit - page.entries.len()).min(BATCH);
        let events = session.events(last, wanted).await.map_err(map_session_error(session.id()))?;
        let is_end = events.len() < wanted;
        for event in events {
            let entry = EventJson::new(&event);
            bytes += entry.len();
            last = event.seq.unwrap_or(last);
            page.entries.push(entry);
            if bytes >= BYTES {
                break;
            }
        }
        page.next = Some(last.0).filter(|last| *last < head.last.0 && !(is_end && bytes < BYTES));
        if is_end {
            break;
        }
    }
    Ok(ok(&page))
}
