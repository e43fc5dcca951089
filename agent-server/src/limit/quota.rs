//! How many sessions a subject has: remembered, and counted anew before anybody is refused.

use std::collections::HashMap;

use agent_core::{Runtime, journal::Recent};
use parking_lot::Mutex;

use crate::{
    auth::{OWNER, Subject},
    error::ApiError,
    handler::refused_by_store,
    webhook,
};

/// Subjects whose count is remembered.
const KNOWN: usize = 10_000;
/// Sessions counted at once.
const PAGE: usize = 1_000;

/// What is remembered: sessions as of the last count, and those begun since. Those removed since are not known, so a
/// count that is too high is looked at again.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<Subject, u32>>);

impl Sessions {
    /// Whether the subject may have another one.
    pub(super) async fn take(
        &self,
        runtime: &Runtime,
        subject: &Subject,
        most: u32,
    ) -> Result<bool, ApiError> {
        if let Some(count) = self.0.lock().get_mut(subject)
            && *count < most
        {
            *count += 1;
            return Ok(true);
        }
        let count = count(runtime, subject, most).await?;
        let mut known = self.0.lock();
        if known.len() >= KNOWN {
            known.clear();
        }
        let room = count < most;
        known.insert(subject.clone(), count + u32::from(room));
        Ok(room)
    }
}

/// The sessions of a subject, counted up to `most`.
async fn count(runtime: &Runtime, subject: &Subject, most: u32) -> Result<u32, ApiError> {
    let mut wanted = Recent {
        limit: PAGE,
        label: Some((OWNER.to_owned(), subject.as_str().to_owned())),
        // Deliveries of webhooks go by themselves.
        without: Some(webhook::GRAPH.to_owned()),
        ..Recent::default()
    };
    let mut count = 0_u32;
    loop {
        let page = runtime.recent(wanted.clone()).await.map_err(|error| refused_by_store(&error))?;
        count = count.saturating_add(u32::try_from(page.len()).unwrap_or(u32::MAX));
        match page.last() {
            Some(last) if page.len() == PAGE && count < most => {
                wanted.before = Some((last.head.summary.at, last.id.clone()));
            }
            _ => return Ok(count),
        }
    }
}
