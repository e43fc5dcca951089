//! Concurrency limit per caller, with permits that are released on drop.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::Key;

type Counts = Mutex<HashMap<Key, usize>>;

/// Counts permits per caller. Callers without permits use no memory.
#[derive(Default)]
pub(super) struct ConcurrencyLimiter(Arc<Counts>);

/// A permit. Dropping it releases it.
pub(crate) struct Permit(Option<(Arc<Counts>, Key)>);

impl ConcurrencyLimiter {
    /// Returns a permit; `None` if the caller has `maximum` permits. A maximum of 0 means no limit.
    pub(super) fn acquire(&self, key: Key, maximum: usize) -> Option<Permit> {
        if maximum == 0 {
            return Some(Permit(None));
        }
        let mut counts = self.0.lock();
        let count = counts.entry(key.clone()).or_default();
        if *count >= maximum {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Permit(Some((Arc::clone(&self.0), key))))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some((counts, key)) = self.0.take() else { return };
        let mut counts = counts.lock();
        if let Some(count) = counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&key);
            }
        }
    }
}
