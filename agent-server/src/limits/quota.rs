//! Sessions per subject. The counts are cached and checked against the store before a session is denied.

use std::collections::HashMap;

use agent_core::{
    Runtime,
    journal::{Label, Recent, RecentCursor},
};
use parking_lot::Mutex;

use crate::{
    auth::{OWNER, Subject},
    error::{ApiError, Contract},
};

/// Maximum number of cached counts.
const CACHED: usize = 10_000;
/// Sessions read per page while counting.
const PAGE: usize = 1_000;

/// Cached counts: sessions at the last count, and those created since. Deleted sessions are not subtracted, so a count
/// at the limit is checked again.
pub(super) struct Sessions {
    counts: Mutex<HashMap<Subject, u32>>,
    uncounted_graph: &'static str,
}

impl Sessions {
    pub(super) fn new(uncounted_graph: &'static str) -> Self {
        Self { counts: Mutex::default(), uncounted_graph }
    }

    /// Returns the name of the graph that does not count.
    pub(super) const fn uncounted_graph(&self) -> &'static str {
        self.uncounted_graph
    }

    /// Counts a new session. Returns whether the subject may have it.
    pub(super) async fn acquire(
        &self,
        runtime: &Runtime,
        subject: &Subject,
        maximum: u32,
    ) -> Result<bool, ApiError> {
        if let Some(count) = self.counts.lock().get_mut(subject)
            && *count < maximum
        {
            *count += 1;
            return Ok(true);
        }
        let count = self.count(runtime, subject, maximum).await?;
        let mut counts = self.counts.lock();
        if counts.len() >= CACHED {
            counts.clear();
        }
        let allowed = count < maximum;
        counts.insert(subject.clone(), count + u32::from(allowed));
        Ok(allowed)
    }

    /// Counts the sessions of a subject, up to `maximum`.
    async fn count(&self, runtime: &Runtime, subject: &Subject, maximum: u32) -> Result<u32, ApiError> {
        let mut query = Recent {
            limit: PAGE,
            label: Some(Label::new(OWNER, subject.as_str())),
            // Webhook deliveries are deleted automatically.
            without: vec![self.uncounted_graph.to_owned()],
            ..Recent::default()
        };
        let mut count = 0_u32;
        loop {
            let page = runtime.recent(query.clone()).await;
            let page = page.map_err(|error| ApiError::of(Contract::TaskAgent, &error))?;
            count = count.saturating_add(u32::try_from(page.len()).unwrap_or(u32::MAX));
            match page.last() {
                Some(last) if page.len() == PAGE && count < maximum => {
                    query.before = Some(RecentCursor { at: last.head.summary.at, session: last.id.clone() });
                }
                _ => return Ok(count),
            }
        }
    }
}
