//! Copies a long-term memory to another store.

use std::time::Duration;

use super::{LIMIT, MemoryError, MemoryStore, Namespace, OFFSET, Put, Search};
use crate::clock::{Clock, WallClock};

/// Copies all items to another store. Returns their number.
///
/// Items with the same name are replaced. The time at which an item expires stays; the times of its creation and last
/// change become the time of the copy. Meanings are computed by the embedder of the target, if it has one.
///
/// # Errors
///
/// [`MemoryError::TooLarge`] if there are more than [`OFFSET`] items; those up to there have been copied. Errors of both
/// stores.
///
/// # Cancel safety
///
/// If the future is dropped, some items have been copied. Repeat the call.
///
/// # Examples
///
/// ```
/// # use agent_core::memory::{InMemoryStore, MemoryStore, Namespace, Put, transfer};
/// # use serde_json::json;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (old, new) = (InMemoryStore::new(), InMemoryStore::new());
/// let notes = Namespace::new(["users", "42"])?;
/// old.put(Put::new(notes.clone(), "color", json!("green"))).await?;
///
/// assert_eq!(transfer(&old, &new).await?, 1);
/// assert_eq!(new.get(&notes, "color").await?.unwrap().value, "green");
/// # Ok(()) }
/// ```
pub async fn transfer(from: &dyn MemoryStore, to: &dyn MemoryStore) -> Result<usize, MemoryError> {
    let mut copied = 0;
    loop {
        let all = Search::new(Namespace::new(Vec::<String>::new())?).limit(LIMIT).offset(copied);
        let found = from.search(all).await?;
        for found in &found {
            let item = &found.item;
            let mut put = Put::new(item.namespace.clone(), item.key.clone(), item.value.clone());
            if let Some(expires) = item.expires_at {
                let left = u64::try_from(expires - WallClock.now_ms()).unwrap_or_default();
                if left == 0 {
                    continue;
                }
                put = put.ttl(Duration::from_millis(left));
            }
            to.put(put).await?;
        }
        copied += found.len();
        if found.len() < LIMIT {
            return Ok(copied);
        }
        if copied > OFFSET {
            let what = "the number of items of a memory that is copied";
            return Err(MemoryError::TooLarge { what, size: copied, limit: OFFSET });
        }
    }
}
