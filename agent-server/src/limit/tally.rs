//! How many of a thing each caller has now.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::Key;

type Counts = Mutex<HashMap<Key, usize>>;

/// Counts of what is alive: a caller with nothing takes no place.
#[derive(Default)]
pub(super) struct Tally(Arc<Counts>);

/// One that is counted, until it is dropped.
pub(crate) struct Held(Option<(Arc<Counts>, Key)>);

impl Tally {
    /// `None` when the caller has `most` already; 0: no bound.
    pub(super) fn hold(&self, key: Key, most: usize) -> Option<Held> {
        if most == 0 {
            return Some(Held(None));
        }
        let mut counts = self.0.lock();
        let count = counts.entry(key.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Held(Some((Arc::clone(&self.0), key))))
    }
}

impl Drop for Held {
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
