//! Conversations in the embedded store: items of the long-term memory.
//!
//! The key of an exchange sorts later ones first, so that the latest are the first page of the namespace.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use agent_core::{
    clock::{Clock, WallClock},
    memory::{MemoryStore, Namespace, Put, Search},
};
use serde_json::json;

use super::{Exchange, HistoryError, RECENT, SaveMode};

/// Exchanges that are compared before one is saved again.
const COMPARED: usize = 100;

pub(super) struct Embedded {
    store: Arc<dyn MemoryStore>,
    /// Number of the last exchange: the time of the clock in microseconds, or one more than the number before.
    last: AtomicU64,
}

impl Embedded {
    pub(super) fn new(store: Arc<dyn MemoryStore>) -> Self {
        Self { store, last: AtomicU64::new(0) }
    }

    pub(super) async fn has_session(&self, session: &str) -> Result<bool, HistoryError> {
        Ok(self.store.get(&sessions()?, session).await?.is_some())
    }

    pub(super) async fn create_session(&self, session: &str) -> Result<bool, HistoryError> {
        if self.has_session(session).await? {
            return Ok(false);
        }
        self.store.put(Put::new(sessions()?, session, json!({"session_id": session}))).await?;
        Ok(true)
    }

    pub(super) async fn recent(&self, session: &str) -> Result<Vec<Exchange>, HistoryError> {
        let mut latest = self.latest(session, RECENT).await?;
        latest.reverse();
        Ok(latest)
    }

    pub(super) async fn save(
        &self,
        session: &str,
        exchange: &Exchange,
        mode: SaveMode,
    ) -> Result<(), HistoryError> {
        if mode == SaveMode::Again && self.latest(session, COMPARED).await?.contains(exchange) {
            return Ok(());
        }
        let value = serde_json::to_value(exchange).map_err(|error| damaged(&error))?;
        let key = key(exchange.timestamp, self.next_number());
        self.store.put(Put::new(conversation(session)?, key, value)).await?;
        Ok(())
    }

    /// Returns the latest exchanges, the latest one first.
    async fn latest(&self, session: &str, limit: usize) -> Result<Vec<Exchange>, HistoryError> {
        let found = self.store.search(Search::new(conversation(session)?).limit(limit)).await?;
        let read = |found: agent_core::memory::SearchHit| {
            serde_json::from_value(found.item.value).map_err(|error| damaged(&error))
        };
        found.into_iter().map(read).collect()
    }

    fn next_number(&self) -> u64 {
        let now = u64::try_from(WallClock.now_ms()).unwrap_or_default().saturating_mul(1_000);
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        now.max(last.unwrap_or_default() + 1)
    }
}

fn key(timestamp: i64, number: u64) -> String {
    // From the lowest number for the latest time to the highest for the earliest.
    let later_first = timestamp.cast_unsigned() ^ (1 << 63);
    format!("{:020}.{:020}", u64::MAX - later_first, u64::MAX - number)
}

fn sessions() -> Result<Namespace, HistoryError> {
    Ok(Namespace::new(["counselling", "sessions"])?)
}

fn conversation(session: &str) -> Result<Namespace, HistoryError> {
    Ok(Namespace::new(["counselling", "conversations", session])?)
}

fn damaged(error: &serde_json::Error) -> HistoryError {
    HistoryError::Damaged { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_exchanges_have_lower_keys() {
        let mut keys = [
            key(i64::MAX, 1),
            key(1_704_902_400_001, 5),
            key(1_704_902_400_000, 9),
            key(1_704_902_400_000, 8),
            key(0, 1),
            key(-1, 1),
            key(i64::MIN, 1),
        ];
        let expected = keys.clone();
        keys.sort_unstable();
        assert_eq!(keys, expected);
    }
}
