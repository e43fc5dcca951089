//! `GET /sessions/{session_id}/journal?after=&limit=`: what happened, in pages, as events.

use agent_core::ids::Seq;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    handler::refused,
    http::{
        call::Call,
        reply::{Reply, written},
    },
};

/// Entries on a page when nothing is said, and at most.
const PAGE: (u64, u64) = (200, 1_000);
/// Bytes of entries after which a page ends.
const BYTES: usize = 8 * 1024 * 1024;
/// Entries read at once.
const AT_ONCE: usize = 32;

pub(crate) async fn handle(call: Call) -> Reply {
    let session = call.session().await?;
    let query = call.query();
    let after = Seq(query.number("after")?.unwrap_or_default());
    let limit = query.number("limit")?.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    // An unknown session is a 404 rather than an empty page.
    let head = session.head().await.map_err(refused(session.id()))?;
    let limit = usize::try_from(limit).unwrap_or(1);
    let mut page = Page { entries: Vec::new(), next: None, first: head.first, last: head.last };
    let (mut bytes, mut last) = (0, after);
    while page.entries.len() < limit && bytes < BYTES {
        let wanted = (limit - page.entries.len()).min(AT_ONCE);
        let events = session.events(last, wanted).await.map_err(refused(session.id()))?;
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
    Ok(written(serde_json::to_string(&page).expect("a page is JSON")))
}

/// A page of a journal.
#[derive(Serialize)]
struct Page {
    entries: Vec<Box<RawValue>>,
    next: Option<Seq>,
    first: Seq,
    last: Seq,
}
