//! Parts that implementations of [`MemoryStore`](super::MemoryStore) share: checks, embedding in batches, and the selection of
//! results.

pub use super::{
    batch::Batching,
    search::Picker,
    store::{check_many, check_name},
};
