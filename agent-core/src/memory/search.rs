//! Choosing what a search gives, the same for every store: filters, nearness, offset and limit.

use std::{cmp::Ordering, collections::BinaryHeap, ops::ControlFlow};

use super::{
    filter::Filter,
    store::{Embedder, Found, Item, MemoryError, Search},
};

/// Takes candidates in the order of their names and keeps what the search wants.
pub(super) struct Picker {
    filters: Vec<Filter>,
    /// What is looked for, of length 1.
    near: Option<Vec<f32>>,
    offset: usize,
    limit: usize,
    seen: usize,
    /// Without a meaning: what was taken, in order.
    taken: Vec<Found>,
    /// With one: the best so far, the worst of them on top.
    best: BinaryHeap<Ranked>,
}

struct Ranked {
    score: f32,
    /// Which candidate it was: of equals, the first by name comes first.
    place: usize,
    item: Item,
}

impl Picker {
    pub(super) fn new(search: &Search, near: Option<Vec<f32>>) -> Self {
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

    /// How near a candidate is: `Break` when it can be passed over without reading its value.
    pub(super) fn score(&self, vector: Option<&[f32]>) -> ControlFlow<(), Option<f32>> {
        let Some(near) = &self.near else { return ControlFlow::Continue(None) };
        match vector.filter(|vector| vector.len() == near.len()) {
            Some(vector) => {
                let score = near.iter().zip(vector).map(|(left, right)| left * right).sum();
                let full = self.best.len() == self.offset + self.limit;
                let beaten = full && self.best.peek().is_none_or(|worst| score <= worst.score);
                if beaten { ControlFlow::Break(()) } else { ControlFlow::Continue(Some(score)) }
            }
            None => ControlFlow::Break(()),
        }
    }

    /// Takes the candidate if it is wanted. `Break`: no further one is.
    pub(super) fn offer(&mut self, item: Item, score: Option<f32>) -> ControlFlow<()> {
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
                self.taken.push(Found { item, score: None });
            }
            None => {}
        }
        let done = self.near.is_none() && self.taken.len() == self.limit;
        if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    pub(super) fn finish(self) -> Vec<Found> {
        if self.near.is_none() {
            return self.taken;
        }
        let best = self.best.into_sorted_vec().into_iter().skip(self.offset);
        best.map(|ranked| Found { item: ranked.item, score: Some(ranked.score) }).collect()
    }
}

impl Ord for Ranked {
    /// The greatest is the worst, as the heap gives it up first.
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

/// The vector of one text, of length 1, so that the cosine of two is their product.
pub(super) async fn embed(embedder: &dyn Embedder, text: String) -> Result<Vec<f32>, MemoryError> {
    let mut vectors = embedder.embed(&[text]).await?;
    let (count, wanted) = (vectors.len(), embedder.dimensions());
    let mut vector = match vectors.pop() {
        Some(vector) if count == 1 && vector.len() == wanted => vector,
        other => {
            let length = other.map_or(0, |vector| vector.len());
            let reason =
                format!("it gave {count} vectors of {length} numbers for one text, not 1 of {wanted}");
            return Err(MemoryError::Embedder { reason });
        }
    };
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if !length.is_finite() {
        return Err(MemoryError::Embedder { reason: "it gave numbers that are not finite".to_owned() });
    }
    // A text without any meaning (an empty one, say) stays at zero and is near to nothing.
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    Ok(vector)
}
