//! Without the feature `vector-index`: each search compares all items.

use std::{ops::Bound, sync::Arc};

use parking_lot::RwLock;

use super::{Items, Name};
use crate::memory::store::{Search, SearchHit};

/// No index.
#[derive(Default)]
pub(super) struct Index;

impl Index {
    #[expect(clippy::unused_self, reason = "as the index")]
    pub(super) const fn insert(&self, _: &Name, _: bool) -> u64 {
        0
    }

    #[expect(clippy::unused_self, reason = "as the index")]
    pub(super) const fn remove(&self, _: u64) {}
}

pub(super) const fn build_if_due(_: &Arc<RwLock<Items>>) {}

impl Items {
    #[expect(clippy::unused_self, reason = "as the index")]
    pub(super) const fn search_index(
        &self,
        _: &Search,
        _: &[f32],
        _: &(Bound<Name>, Bound<Name>),
        _: i64,
    ) -> Option<Vec<SearchHit>> {
        None
    }
}
