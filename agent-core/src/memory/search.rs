//! Selection of search results, the same for every store: filters, similarity, offset and limit.

use std::{cmp::Ordering, collections::BinaryHeap, fmt, ops::ControlFlow};

use super::{
    filter::Filter,
    store::{Item, Search, SearchHit},
};

/// Selects results from candidates that are offered in the order of their names.
pub struct Picker {
    filters: Vec<Filter>,
    /// Normalized query vector.
    near: Option<Vec<f32>>,
    offset: usize,
    limit: usize,
    seen: usize,
    /// Without a query vector: the results in order.
    taken: Vec<SearchHit>,
    /// With a query vector: the best results so far, the worst on top.
    best: BinaryHeap<Ranked>,
}

/// Returns the similarity of two normalized vectors of the same length: their dot product.
pub(crate) fn similarity(left: &[f32], right: &[f32]) -> f32 {
    // Eight sums, which the compiler keeps in vector registers. A single sum must be added in order.
    let mut sums = [0.0_f32; 8];
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<8>(), right.as_chunks::<8>());
    for (left, right) in left.iter().zip(right) {
        for (sum, (left, right)) in sums.iter_mut().zip(left.iter().zip(right)) {
            *sum += left * right;
        }
    }
    let rest = left_rest.iter().zip(right_rest).map(|(left, right)| left * right);
    sums.into_iter().chain(rest).sum()
}

struct Ranked {
    score: f32,
    /// Index of the candidate. Candidates with equal scores are ordered by name.
    place: usize,
    item: Item,
}

impl Picker {
    /// Creates a picker. `near`: the normalized vector of the query text.
    #[must_use]
    pub fn new(search: &Search, near: Option<Vec<f32>>) -> Self {
        Self {
            filters: search.filters.clone(),
            near,
            offset: search.offset,
            limit: search.limit,
            seen: 0,
            taken: Vec::new(),
            best: BinaryHeap::new(),
        }
    }

    /// Returns the similarity of a candidate. `Break`: the candidate can be skipped without reading its value.
    pub fn score(&self, vector: Option<&[f32]>) -> ControlFlow<(), Option<f32>> {
        let Some(near) = &self.near else { return ControlFlow::Continue(None) };
        match vector.filter(|vector| vector.len() == near.len()) {
            Some(vector) => {
                let score = similarity(near, vector);
                let full = self.best.len() == self.offset + self.limit;
                let beaten = full && self.best.peek().is_none_or(|worst| score <= worst.score);
                if beaten { ControlFlow::Break(()) } else { ControlFlow::Continue(Some(score)) }
            }
            None => ControlFlow::Break(()),
        }
    }

    /// Adds the candidate if it matches. `Break`: no further candidate is needed.
    pub fn offer(&mut self, item: Item, score: Option<f32>) -> ControlFlow<()> {
        if !self.filters.iter().all(|filter| filter.matches(&item.value)) {
            return ControlFlow::Continue(());
        }
        self.seen += 1;
        match score {
            Some(score) => {
                self.best.push(Ranked { score, place: self.seen, item });
                if self.best.len() > self.offset + self.limit {
                    self.best.pop();
                }
            }
            None if self.seen > self.offset && self.taken.len() < self.limit => {
                self.taken.push(SearchHit { item, score: None });
            }
            None => {}
        }
        let done = self.near.is_none() && self.taken.len() == self.limit;
        if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Returns the results, the best first.
    #[must_use]
    pub fn finish(self) -> Vec<SearchHit> {
        if self.near.is_none() {
            return self.taken;
        }
        let best = self.best.into_sorted_vec().into_iter().skip(self.offset);
        best.map(|ranked| SearchHit { item: ranked.item, score: Some(ranked.score) }).collect()
    }
}

impl Ord for Ranked {
    /// The greatest is the worst, because the heap removes it first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.place.cmp(&other.place))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

impl fmt::Debug for Picker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picker").field("seen", &self.seen).finish_non_exhaustive()
    }
}
