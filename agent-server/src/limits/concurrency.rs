//! Concurrency limit per caller, with permits that are released on drop.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{Key, replicated::Replicated};

type Counts = Mutex<HashMap<Key, usize>>;

/// Counts permits per caller. Callers without permits use no memory.
#[derive(Default)]
pub(super) struct ConcurrencyLimiter {
    counts: Arc<Counts>,
    /// The counts of the other replicas.
    replicated: Option<Arc<Replicated>>,
}

/// A permit. Dropping it releases it.
pub(crate) struct Permit(Option<Held>);

struct Held {
    counts: Arc<Counts>,
    key: Key,
    /// Where the release is published.
    replicated: Option<Arc<Replicated>>,
}

impl ConcurrencyLimiter {
    /// Creates a limit that holds over all replicas.
    pub(super) fn over(replicated: Option<Arc<Replicated>>) -> Self {
        Self { counts: Arc::default(), replicated }
    }

    /// Returns a permit; `None` if the caller has `maximum` permits in this process. A maximum of 0 means no limit.
    pub(super) fn acquire(&self, key: Key, maximum: usize) -> Option<Permit> {
        if maximum == 0 {
            return Some(Permit(None));
        }
        let mut counts = self.counts.lock();
        let count = counts.entry(key.clone()).or_default();
        if *count >= maximum {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Permit(Some(Held { counts: Arc::clone(&self.counts), key, replicated: None })))
    }

    /// Returns a permit without a maximum. It counts for other permits, on all replicas a moment later.
    pub(super) fn acquire_always(&self, key: Key) -> Option<Permit> {
        let mut permit = self.acquire(key.clone(), usize::MAX)?;
        if let Some(replicated) = &self.replicated {
            permit.publish_to(Some(replicated));
            replicated.mark(key);
        }
        Some(permit)
    }

    /// Returns a permit; `None` if the caller has `maximum` permits on all replicas together.
    pub(super) async fn acquire_everywhere(&self, key: Key, maximum: usize) -> Option<Permit> {
        let Some(replicated) = &self.replicated else { return self.acquire(key, maximum) };
        // Held until the count is stored, so that counts are stored in the order in which they change.
        let _order = replicated.order(&key).await;
        let mut permit = self.acquire(key.clone(), maximum)?;
        // Before the count is stored: a caller that is dropped in between publishes its release.
        permit.publish_to(Some(replicated));
        let count = self.count(&key);
        if replicated.hold(&key, count, maximum).await == Some(false) {
            permit.publish_to(None);
            return None;
        }
        Some(permit)
    }

    /// Returns the number of permits of a caller in this process.
    pub(super) fn count(&self, key: &Key) -> usize {
        self.counts.lock().get(key).copied().unwrap_or_default()
    }

    /// Returns the callers with permits.
    pub(super) fn callers(&self) -> Vec<Key> {
        self.counts.lock().keys().cloned().collect()
    }
}

impl Permit {
    fn publish_to(&mut self, replicated: Option<&Arc<Replicated>>) {
        if let Some(held) = &mut self.0 {
            held.replicated = replicated.cloned();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(Held { counts, key, replicated }) = self.0.take() else { return };
        let mut counts = counts.lock();
        if let Some(count) = counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&key);
            }
        }
        drop(counts);
        if let Some(replicated) = replicated {
            replicated.mark(key);
        }
    }
}
