//! Test support: a store that dies at a chosen append, and ways to read what a session's journal says.

mod mutation;
mod yielding;

pub use mutation::Mutations;
pub use yielding::{Yielding, drop_after};
mod faulty;

pub use faulty::{Fault, Faulty};
pub mod golden;
pub mod golden_v2;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use agent_core::{
    Runtime, Session,
    ids::Seq,
    journal::{InMemoryJournal, StoreError},
    session::RuntimeBuilder,
    testing::{HookedStore, StoreCall, StoreHook},
};
use parking_lot::Mutex;
use serde_json::Value;

/// The store of a process that dies: from its `appends`-th append on it writes nothing more, as if the process
/// had been killed. What was written before is in the journal inside, for the next process. Its leases end at once.
#[derive(Debug)]
pub struct Dying {
    left: AtomicI64,
    /// Yields to other tasks before each append, so that commits really overlap the next superstep.
    slow: bool,
    /// Appends wait while this is held.
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Dying {
    /// Dies at its append number `appends` (counted from 0).
    #[must_use]
    pub fn at(inner: &Arc<InMemoryJournal>, appends: u64, slow: bool) -> Arc<HookedStore<Self>> {
        let left = AtomicI64::new(i64::try_from(appends).unwrap_or(i64::MAX));
        Arc::new(HookedStore::new(inner.clone(), Self { left, slow, gate: Arc::default() }))
    }

    /// Lives as long as the test.
    #[must_use]
    pub fn never(inner: &Arc<InMemoryJournal>) -> Arc<HookedStore<Self>> {
        Self::at(inner, u64::MAX, false)
    }

    /// Holds every append from here on, until what is returned is dropped.
    pub async fn hold(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.gate).lock_owned().await
    }

    /// Dies now.
    pub fn kill(&self) {
        self.left.store(0, Ordering::SeqCst);
    }

    /// Whether it is dead.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.is_dead() {
            // Not `Unavailable`: a dead process tries nothing again.
            Err(StoreError::Damaged { reason: "the process is dead".into() })
        } else {
            Ok(())
        }
    }
}

impl StoreHook for Dying {
    async fn before(&self, call: StoreCall) -> Result<(), StoreError> {
        match call {
            StoreCall::Append => {
                if self.slow {
                    tokio::task::yield_now().await;
                }
                drop(self.gate.lock().await);
                self.check()?;
                self.left.fetch_sub(1, Ordering::SeqCst);
                self.check()
            }
            StoreCall::Acquire | StoreCall::PutSnapshot => self.check(),
            _ => Ok(()),
        }
    }

    fn lease(&self, _ttl: Duration) -> Duration {
        Duration::ZERO
    }
}

/// A runtime on a journal that other runtimes of the test share; its leases end at once.
pub fn on(journal: &Arc<InMemoryJournal>) -> RuntimeBuilder {
    Runtime::builder().journal(Dying::never(journal))
}

/// A journal to share.
#[must_use]
pub fn journal() -> Arc<InMemoryJournal> {
    Arc::new(InMemoryJournal::new())
}

/// Effects on the outside world, counted by name; they survive every restart.
#[derive(Debug, Default)]
pub struct World(Mutex<BTreeMap<String, u32>>);

impl World {
    /// Something happens once more; how often it happened by now.
    pub fn happens(&self, what: impl Into<String>) -> u32 {
        let mut all = self.0.lock();
        let count = all.entry(what.into()).or_default();
        *count += 1;
        *count
    }

    /// How often it happened.
    #[must_use]
    pub fn times(&self, what: &str) -> u32 {
        self.0.lock().get(what).copied().unwrap_or(0)
    }

    /// Everything that happened.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, u32> {
        self.0.lock().clone()
    }
}

/// The journal as events in JSON, without numbers and times.
///
/// # Panics
///
/// When the journal cannot be read.
pub async fn facts(session: &Session) -> Vec<Value> {
    let events = session.events(Seq::ZERO, 10_000).await.expect("the journal reads");
    events
        .into_iter()
        .map(|event| {
            let mut json = serde_json::to_value(event).expect("events are JSON");
            strip(&mut json);
            json
        })
        .collect()
}

fn strip(json: &mut Value) {
    match json {
        Value::Object(map) => {
            for key in ["seq", "at", "asked_at", "ms", "active_ms"] {
                map.remove(key);
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The names of the events in the journal, in order.
pub async fn kinds(session: &Session) -> Vec<String> {
    facts(session).await.iter().map(|fact| fact["type"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Waits for a call that must be ready soon.
///
/// # Panics
///
/// After 200 seconds.
pub async fn soon<F: IntoFuture>(call: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(200), call).await.expect("it hangs")
}

/// Waits as [`soon`], for a test with a paused clock in which hours may pass.
///
/// # Panics
///
/// After an hour.
pub async fn within_an_hour<F: IntoFuture>(call: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(3_600), call).await.expect("it hangs")
}
