//! Counts over all replicas on a store, with a fallback to the counts of this process.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::Duration,
};

use agent_core::{
    SessionId,
    journal::{OwnerId, SessionReservation, SharedLimits, SharedPermit, StoreError},
};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{MutexGuard, Notify},
    time::{Instant, timeout},
};

use super::{Key, concurrency::ConcurrencyLimiter};

/// Timeout of a count. A slower store is treated as one that does not respond.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time for which a store that did not respond is not asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// Time after which the permits of a process that died are free.
const TTL: Duration = Duration::from_secs(15);
/// Longest time between the check of a session and its creation.
const RESERVED: Duration = Duration::from_secs(30);
/// Locks for keys; keys with the same hash share one.
const LOCKS: usize = 64;
/// Longest subject that is stored as it is; a longer one is stored by its hash.
const SUBJECT_BYTES: usize = 256;

/// Counters in the store of the runtime.
pub(super) struct Replicated {
    limits: Arc<dyn SharedLimits>,
    /// This process.
    holder: OwnerId,
    locks: [tokio::sync::Mutex<()>; LOCKS],
    /// Callers with a number of permits that is not stored yet.
    changed: Mutex<HashSet<Key>>,
    notify: Notify,
    /// The store did not respond: it is asked again from then on.
    retry_at: Mutex<Option<Instant>>,
}

impl Replicated {
    pub(super) fn new(limits: Arc<dyn SharedLimits>) -> Self {
        Self {
            limits,
            holder: OwnerId::random(),
            locks: [const { tokio::sync::Mutex::const_new(()) }; LOCKS],
            changed: Mutex::default(),
            notify: Notify::new(),
            retry_at: Mutex::default(),
        }
    }

    /// Counts a request. Returns the time to wait if it exceeds the rate; `None` also if the store does not respond.
    pub(super) async fn request(&self, key: &Key, per_minute: u32) -> Option<Duration> {
        self.ask(self.limits.request(&text(key), per_minute)).await.flatten()
    }

    /// Stores the number of permits of a caller. `Some(false)`: they would exceed the maximum with those of other replicas.
    pub(super) async fn hold(&self, key: &Key, count: usize, maximum: usize) -> Option<bool> {
        let maximum = u32::try_from(maximum).unwrap_or(u32::MAX);
        let held = self.ask(self.limits.hold(&self.holder, &permit(key, count), maximum, TTL)).await;
        if held.is_none() {
            self.changed.lock().insert(key.clone());
        }
        held
    }

    /// Reserves a session. There is no fallback: a session cannot be stored either.
    pub(super) async fn reserve(
        &self,
        owner: &str,
        session: &SessionId,
        without: &str,
        maximum: u32,
    ) -> Result<bool, StoreError> {
        let (owner, session, without) = (owner.to_owned(), session.clone(), without.to_owned());
        self.limits.reserve(&SessionReservation { owner, session, without }, maximum, RESERVED).await
    }

    /// Waits until no other count of the caller is being stored.
    pub(super) async fn order(&self, key: &Key) -> MutexGuard<'_, ()> {
        self.locks[place(key)].lock().await
    }

    /// Notes that the number of permits of a caller changed.
    pub(super) fn mark(&self, key: Key) {
        self.changed.lock().insert(key);
        self.notify.notify_one();
    }

    /// Stores the numbers of permits that changed, and all of them before they expire. Never completes.
    pub(super) async fn publish(&self, permits: &ConcurrencyLimiter) {
        let mut beat = tokio::time::interval(TTL / 3);
        loop {
            let mut keys: HashSet<Key> = HashSet::new();
            tokio::select! {
                () = self.notify.notified() => {}
                _ = beat.tick() => keys.extend(permits.callers()),
            }
            keys.extend(self.changed.lock().drain());
            self.store(keys, |key| permits.count(key)).await;
        }
    }

    /// Removes the permits of this process.
    pub(super) async fn leave(&self, permits: &ConcurrencyLimiter) {
        let keys = permits.callers().into_iter().chain(self.changed.lock().drain()).collect();
        self.store(keys, |_| 0).await;
    }

    async fn store(&self, keys: HashSet<Key>, count: impl Fn(&Key) -> usize) {
        let mut places: BTreeMap<usize, Vec<Key>> = BTreeMap::new();
        for key in keys {
            places.entry(place(&key)).or_default().push(key);
        }
        for (place, keys) in places {
            let order = self.locks[place].lock().await;
            let permits = keys.iter().map(|key| permit(key, count(key))).collect();
            let stored = self.ask(self.limits.keep(&self.holder, permits, TTL)).await;
            drop(order);
            if stored.is_none() {
                // With the next beat.
                self.changed.lock().extend(keys);
            }
        }
    }

    /// Returns the result, or `None` if the store does not respond.
    async fn ask<T>(&self, question: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
        if self.retry_at.lock().is_some_and(|at| at > Instant::now()) {
            return None;
        }
        let result = timeout(PATIENCE, question).await;
        let mut retry_at = self.retry_at.lock();
        let reason = match result {
            Ok(Ok(value)) => {
                if retry_at.take().is_some() {
                    tracing::info!("limits are counted over all replicas again");
                }
                return Some(value);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no response within {PATIENCE:?}"),
        };
        if retry_at.replace(Instant::now() + PAUSE).is_none() {
            tracing::warn!(reason, "the store does not respond: this replica counts limits for itself");
        }
        None
    }
}

fn place(key: &Key) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(key);
    usize::try_from(hash % LOCKS as u64).unwrap_or_default()
}

fn permit(key: &Key, count: usize) -> SharedPermit {
    SharedPermit { key: format!("runs/{}", text(key)), count: u32::try_from(count).unwrap_or(u32::MAX) }
}

/// The key as the store has it.
fn text(key: &Key) -> String {
    match key {
        Key::Subject(subject) if subject.as_str().len() > SUBJECT_BYTES => {
            format!("#{}", hex::encode(Sha256::digest(subject.as_str().as_bytes())))
        }
        Key::Subject(subject) => format!("={}", subject.as_str()),
        Key::V4(address) => format!("4{address:08x}"),
        Key::V6(network) => format!("6{network:016x}"),
        Key::Overflow(bucket) => format!("o{bucket:04x}"),
    }
}
