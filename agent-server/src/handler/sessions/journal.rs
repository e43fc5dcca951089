//! `GET /sessions/{session_id}/journal?after=&limit=`: the journal as events, in pages.

use agent_core::ids::Seq;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    app::RequestContext,
    error::map_session_error,
    http::response::{HandlerResult, json_text},
};

/// Default and maximum number of entries per page.
const PAGE: (u64, u64) = (200, 1_000);
/// Size in bytes after which a page ends.
const BYTES: usize = 8 * 1024 * 1024;
/// Entries read at a time.
const BATCH: usize = 32;

pub(crate) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session().await?;
    let query = context.query();
    let after = Seq(query.number("after")?.unwrap_or_default());
    let limit = query.number("limit")?.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    // Returns 404 for an unknown session, instead of an empty page.
    let head = session.head().await.map_err(map_session_error(session.id()))?;
    let limit = usize::try_from(limit).unwrap_or(1);
    let mut page = Page { entries: Vec::new(), next: None, first: head.first, last: head.last };
    let (mut bytes, mut last) = (0, after);
    while page.entries.len() < limit && bytes < BYTES {
        let wanted = (limit - page.entries.len()).min(BATCH);
        let events = session.events(last, wanted).await.map_err(map_session_error(session.id()))?;
        let is_end = events.len() < wanted;
        for event in events {
            let entry = to_raw_value(&event).expect("an event is JSON");
            bytes += entry.get().len();
            last = event.seq.unwrap_or(last);
            page.entries.push(entry);
            if bytes >= BYTES {
                break;
            }
        }
        page.next = Some(last).filter(|last| *last < head.last && !(is_end && bytes < BYTES));
        if is_end {
            break;
        }
    }
    Ok(json_text(serde_json::to_string(&page).expect("a page is JSON")))
}

/// A page of a journal.
#[derive(Serialize)]
struct Page {
    entries: Vec<Box<RawValue>>,
    next: Option<Seq>,
    first: Seq,
    last: Seq,
}
