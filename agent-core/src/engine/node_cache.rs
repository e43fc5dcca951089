//! Cache of node outcomes; see [`NodeExt::cache`](crate::graph::NodeExt::cache).

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{journal::entry::Raw, json::Stored};

/// Kept outcomes of nodes, bounded in number and time.
#[derive(Default)]
pub(crate) struct NodeCache(Mutex<HashMap<String, (Instant, Arc<CachedOutcome>)>>);

/// An outcome as it was journalled.
#[derive(Debug, Clone)]
pub(crate) struct CachedOutcome {
    pub(crate) update: Option<Stored>,
    pub(crate) goto: Vec<String>,
    pub(crate) sends: Vec<(String, Raw)>,
    pub(crate) parent: Vec<String>,
    pub(crate) parent_sends: Vec<(String, Raw)>,
}

impl NodeCache {
    const KEPT: usize = 10_000;

    pub(crate) fn get(&self, key: &str) -> Option<Arc<CachedOutcome>> {
        let kept = self.0.lock();
        let (until, outcome) = kept.get(key)?;
        (*until > Instant::now()).then(|| Arc::clone(outcome))
    }

    pub(crate) fn put(&self, key: String, ttl: Duration, outcome: CachedOutcome) {
        let mut kept = self.0.lock();
        let now = Instant::now();
        if kept.len() >= Self::KEPT {
            kept.retain(|_, (until, _)| *until > now);
        }
        if kept.len() < Self::KEPT {
            kept.insert(key, (now + crate::util::bounded(ttl), Arc::new(outcome)));
        }
    }
}
