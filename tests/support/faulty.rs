//! A store whose appends fail in chosen ways.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use agent_core::{
    journal::{JournalStore, StoreError},
    testing::{HookedStore, StoreCall, StoreHook},
};
use parking_lot::Mutex;

/// How one append fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused; nothing is stored.
    Refused,
    /// It is stored, and reported as failed.
    StoredButReported,
    /// It takes many polls, before and behind the work.
    Slow,
}

/// A store that fails as planned, and works otherwise. Its leases end at once.
#[derive(Debug, Default)]
pub struct Faulty {
    /// By the number of the append, further tries counted, from 0.
    plan: Mutex<BTreeMap<u64, Fault>>,
    appends: AtomicU64,
    down: AtomicBool,
    /// Appends under way that are stored and reported as failed.
    reported: AtomicU64,
    /// Appends under way that take many polls.
    slow: AtomicU64,
}

impl Faulty {
    /// A store on `inner` that works until a fault is planned.
    #[must_use]
    pub fn on(inner: Arc<dyn JournalStore>) -> Arc<HookedStore<Self>> {
        Arc::new(HookedStore::new(inner, Self::default()))
    }

    /// A store whose appends fail by their number; see [`plan`](Self::plan).
    #[must_use]
    pub fn planned(
        inner: Arc<dyn JournalStore>,
        faults: impl IntoIterator<Item = (u64, Fault)>,
    ) -> Arc<HookedStore<Self>> {
        let store = Self::on(inner);
        store.plan(faults);
        store
    }

    /// Lets appends fail by their number, counted from 0 over all sessions, further tries included.
    pub fn plan(&self, faults: impl IntoIterator<Item = (u64, Fault)>) {
        self.plan.lock().extend(faults);
    }

    /// Lets the next `count` appends fail.
    pub fn fail_next(&self, count: u64, fault: Fault) {
        let next = self.appends();
        self.plan.lock().extend((next..next + count).map(|at| (at, fault)));
    }

    /// Fails every call until it is up again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// How many appends were asked for.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.appends.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::SeqCst) { Err(refused()) } else { Ok(()) }
    }
}

fn refused() -> StoreError {
    StoreError::Unavailable { reason: "the test refuses it".into() }
}

impl StoreHook for Faulty {
    async fn before(&self, call: StoreCall) -> Result<(), StoreError> {
        let fault = match call {
            StoreCall::Append => {
                let at = self.appends.fetch_add(1, Ordering::SeqCst);
                self.plan.lock().remove(&at)
            }
            // Those work while the store is down, so that a process can end.
            StoreCall::Release | StoreCall::Trim | StoreCall::Copy | StoreCall::List | StoreCall::Delete => {
                return Ok(());
            }
            _ => None,
        };
        self.check()?;
        match fault {
            None => Ok(()),
            Some(Fault::Refused) => Err(refused()),
            Some(Fault::StoredButReported) => {
                self.reported.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
            Some(Fault::Slow) => {
                self.slow.fetch_add(1, Ordering::SeqCst);
                yield_often().await;
                Ok(())
            }
        }
    }

    async fn after(&self, call: StoreCall) -> Result<(), StoreError> {
        if call != StoreCall::Append {
            return Ok(());
        }
        if take_one(&self.slow) {
            yield_often().await;
        }
        if take_one(&self.reported) { Err(refused()) } else { Ok(()) }
    }

    fn lease(&self, _ttl: Duration) -> Duration {
        Duration::ZERO
    }
}

fn take_one(count: &AtomicU64) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

async fn yield_often() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
