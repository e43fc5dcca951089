//! Approximate index of vectors (HNSW) for searches by meaning among many items.
//!
//! The index proposes candidates, and the items decide which of them are results, so a deleted, replaced or expired item is
//! never a result. It is built on its own thread from the vectors that there are; items that were put since then are
//! compared one by one, until a later build contains them.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    ops::{Bound, ControlFlow, RangeBounds},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
};

use instant_distance::{Builder, HnswMap, Point};
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::{Items, Name, StoredItem, ended};
use crate::memory::{
    search::{Picker, similarity},
    store::{Search, SearchHit},
};

/// Number of items with vectors above which there is an index.
const ABOVE: usize = 10_000;
/// Candidates of a search. More of them find more of the nearest items.
const CANDIDATES: usize = 512;
/// Results for which an index search has enough candidates.
const RESULTS: usize = CANDIDATES / 8;
/// Entries that are examined when one is added.
const EXAMINED: usize = 200;
/// Index of the items with vectors.
pub(super) struct Index {
    above: usize,
    /// Items with vectors by number. Each put has its own number.
    names: BTreeMap<u64, Name>,
    next: u64,
    built: Option<Built>,
    building: Option<Building>,
    /// Notified when a build has ended.
    ended: Arc<Notify>,
}

struct Built {
    map: HnswMap<Vector, u64>,
    dimension: usize,
    /// Items with lower numbers are in the map.
    below: u64,
    /// Number of entries without an item.
    removed: usize,
}

struct Building {
    below: u64,
    removed: usize,
}

/// A normalized vector.
#[derive(Clone)]
struct Vector(Arc<[f32]>);

impl Point for Vector {
    fn distance(&self, other: &Self) -> f32 {
        1.0 - similarity(&self.0, &other.0)
    }
}

impl Default for Index {
    fn default() -> Self {
        let names = BTreeMap::new();
        Self { above: ABOVE, names, next: 0, built: None, building: None, ended: Arc::default() }
    }
}

impl Index {
    pub(super) fn set_above(&mut self, items: usize) {
        self.above = items;
    }

    /// Adds an item and returns its number.
    pub(super) fn insert(&mut self, name: &Name, has_vector: bool) -> u64 {
        let number = self.next;
        self.next += 1;
        if has_vector {
            self.names.insert(number, name.clone());
        }
        number
    }

    pub(super) fn remove(&mut self, number: u64) {
        if self.names.remove(&number).is_none() {
            return;
        }
        if let Some(built) = self.built.as_mut().filter(|built| number < built.below) {
            built.removed += 1;
        }
        if let Some(building) = self.building.as_mut().filter(|building| number < building.below) {
            building.removed += 1;
        }
        if self.names.len() <= self.above / 2 {
            self.built = None;
        }
    }

    fn must_build(&self) -> bool {
        if self.building.is_some() || self.names.len() <= self.above {
            return false;
        }
        let Some(built) = &self.built else { return true };
        let count = built.map.values.len();
        let new = self.names.len().saturating_sub(count.saturating_sub(built.removed));
        // New items are compared one by one, and removed ones take memory.
        let most = (self.above / 10).max(count / 4);
        new > most || built.removed > most
    }

    /// Returns the notification of the end of a build, while one runs.
    pub(super) fn running_build(&self) -> Option<Arc<Notify>> {
        self.building.as_ref().map(|_| Arc::clone(&self.ended))
    }
}

/// Starts a build on its own thread if one is due.
pub(super) fn build_if_due(items: &Arc<RwLock<Items>>) {
    if !items.read().index.must_build() {
        return;
    }
    let mut locked = items.write();
    if !locked.index.must_build() {
        return;
    }
    let below = locked.index.next;
    locked.index.building = Some(Building { below, removed: 0 });
    let weak = Arc::downgrade(items);
    let thread = std::thread::Builder::new().name("memory-index".to_owned());
    if thread.spawn(move || build(&weak, below)).is_err() {
        locked.index.building = None;
    }
}

fn build(items: &Weak<RwLock<Items>>, below: u64) {
    let Some(snapshot) = items.upgrade().map(|items| items.read().vectors(below)) else { return };
    let built = snapshot.and_then(|(dimension, numbers, vectors)| {
        let builder = Builder::default().ef_construction(EXAMINED).ef_search(CANDIDATES).seed(below);
        let map = catch_unwind(AssertUnwindSafe(|| builder.build(vectors, numbers))).ok()?;
        Some(Built { map, dimension, below, removed: 0 })
    });
    let Some(items) = items.upgrade() else { return };
    let mut locked = items.write();
    let index = &mut locked.index;
    let removed = index.building.take().map_or(0, |building| building.removed);
    match built {
        Some(built) if index.names.len() > index.above / 2 => index.built = Some(Built { removed, ..built }),
        Some(_) => {}
        // It would fail again: all items are compared from now on.
        None => index.above = usize::MAX,
    }
    index.ended.notify_waiters();
    drop(locked);
    build_if_due(&items);
}

impl Items {
    /// Returns the vectors of the items with lower numbers, if they have as many dimensions as the newest, with their numbers.
    fn vectors(&self, below: u64) -> Option<(usize, Vec<u64>, Vec<Vector>)> {
        let stored = |(number, name): (&u64, &Name)| {
            let stored = self.by_name.get(name)?;
            (stored.number == *number).then_some((*number, stored.vector.as_ref()?))
        };
        let dimension = self.index.names.range(..below).rev().find_map(stored)?.1.len();
        let all = self.index.names.range(..below).filter_map(stored);
        let same = all.filter(|(_, vector)| vector.len() == dimension);
        let (numbers, vectors) = same.map(|(number, vector)| (number, Vector(Arc::clone(vector)))).unzip();
        Some((dimension, numbers, vectors))
    }

    /// Searches by the index. `None`: all items must be compared, because they are few, or too few candidates match.
    pub(super) fn search_index(
        &self,
        search: &Search,
        near: &[f32],
        range: &(Bound<Name>, Bound<Name>),
        now: i64,
    ) -> Option<Vec<SearchHit>> {
        let needed = search.offset + search.limit;
        let built = self.index.built.as_ref().filter(|built| built.dimension == near.len())?;
        if needed > RESULTS || !self.has_more_than(self.index.above, range) {
            return None;
        }
        let scored = |number: &u64, name: &Name| {
            let stored = self.by_name.get(name).filter(|stored| stored.number == *number)?;
            let vector = stored.vector.as_ref().filter(|vector| vector.len() == near.len())?;
            (range.contains(name) && !ended(&stored.item, now)).then(|| (similarity(near, vector), stored))
        };
        let matches = |stored: &StoredItem| search.filters.iter().all(|f| f.matches(&stored.item.value));
        let mut cursor = instant_distance::Search::default();
        let candidates = built.map.search(&Vector(Arc::from(near)), &mut cursor);
        let mut best: Vec<(f32, &StoredItem)> = candidates
            .filter_map(|candidate| scored(candidate.value, self.index.names.get(candidate.value)?))
            .filter(|(_, stored)| matches(stored))
            .collect();
        if best.len() < needed {
            return None;
        }
        best.sort_unstable_by(|left, right| right.0.total_cmp(&left.0));
        let worst = best.get(needed.checked_sub(1)?)?.0;
        let new = self.index.names.range(built.below..);
        best.extend(new.filter_map(|(number, name)| {
            scored(number, name).filter(|(score, stored)| *score >= worst && matches(stored))
        }));
        best.retain(|(score, _)| score.total_cmp(&worst) != Ordering::Less);
        // Candidates are offered in the order of their names, which decides between equal scores.
        best.sort_unstable_by(|(_, left), (_, right)| {
            let name = |stored: &StoredItem| (stored.item.namespace.encoded(), stored.item.key.clone());
            name(left).cmp(&name(right))
        });
        let mut picker = Picker::new(search, Some(near.to_vec()));
        for (_, stored) in best {
            if let ControlFlow::Continue(score) = picker.score(stored.vector.as_deref())
                && picker.offer(stored.item.clone(), score).is_break()
            {
                break;
            }
        }
        Some(picker.finish())
    }

    fn has_more_than(&self, count: usize, range: &(Bound<Name>, Bound<Name>)) -> bool {
        // Most searches are of a namespace with all items: without a walk.
        let is_all = |name: Option<(&Name, &StoredItem)>| name.is_some_and(|(name, _)| range.contains(name));
        let all = is_all(self.by_name.first_key_value()) && is_all(self.by_name.last_key_value());
        if all {
            return self.by_name.len() > count;
        }
        self.by_name.range(range.clone()).nth(count).is_some()
    }
}
