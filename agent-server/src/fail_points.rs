//! Fail points: places at which a test ends the process as a crash does (feature `fail-points`).
//!
//! `FAIL_POINT=append.after:3` aborts the process when it reaches that point for the third time; without a number, the first
//! time. Points of the store are around its calls, the others are in the code that they name. Without the feature the points
//! compile to nothing.

#[cfg(feature = "fail-points")]
pub(crate) use enabled::wrap;
#[cfg(feature = "fail-points")]
pub use enabled::{NAMES, reach};

/// Does nothing: this build has no fail points.
#[cfg(not(feature = "fail-points"))]
pub(crate) const fn reach(_: &str) {}

/// Returns the store: this build has no fail points.
#[cfg(all(feature = "cli", not(feature = "fail-points")))]
pub(crate) fn wrap<S>(store: S) -> S {
    store
}

#[cfg(feature = "fail-points")]
mod enabled {
    use std::{
        env, process,
        sync::{
            Arc, LazyLock,
            atomic::{AtomicU32, Ordering},
        },
    };

    use agent_core::{
        journal::{IntoJournal, JournalStore, StoreError},
        testing::{HookedStore, StoreCall, StoreHook},
    };

    /// The names of all points, in the order of a run.
    pub const NAMES: &[&str] = &[
        "webhook.prepare.after",
        "acquire.before",
        "acquire.after",
        "append.before",
        "append.after",
        "webhook.bind.before",
        "webhook.bind.after",
        "acknowledge.before",
        "effect.before",
        "effect.after",
        "renew.before",
        "renew.after",
        "snapshot.before",
        "snapshot.after",
        "release.before",
        "release.after",
        "webhook.send.before",
        "webhook.send.after",
        "copy.before",
        "copy.after",
    ];

    /// The point that the environment names, and how often it is passed before the process ends there.
    static ACTIVE: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let wanted = env::var("FAIL_POINT").ok()?;
        let (name, times) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        let times = times.parse().ok().filter(|times| *times > 0);
        let Some(times) = times.filter(|_| NAMES.contains(&name)) else {
            tracing::error!("FAIL_POINT is NAME or NAME:TIMES, with one of the names {}", NAMES.join(" "));
            process::exit(2);
        };
        Some((name.to_owned(), AtomicU32::new(times)))
    });

    /// Aborts the process if `FAIL_POINT` names this point and it was passed often enough.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::fail_points::{NAMES, reach};
    ///
    /// // In a node, before an effect outside. Without `FAIL_POINT` in the environment nothing happens.
    /// reach("effect.before");
    /// assert!(NAMES.contains(&"effect.before"));
    /// ```
    pub fn reach(name: &str) {
        if let Some((active, left)) = &*ACTIVE
            && active == name
            && left.fetch_sub(1, Ordering::AcqRel) == 1
        {
            tracing::error!("fail point {name}");
            process::abort();
        }
    }

    /// Returns the store with points around its calls, if `FAIL_POINT` is set.
    pub(crate) fn wrap(store: impl IntoJournal) -> Arc<dyn JournalStore> {
        let store = store.into_journal();
        match &*ACTIVE {
            Some(_) => Arc::new(HookedStore::new(store, Points)),
            None => store,
        }
    }

    /// Points around the calls of a store.
    #[derive(Debug)]
    struct Points;

    /// The names of the points before and after a call.
    const fn names(call: StoreCall) -> Option<(&'static str, &'static str)> {
        Some(match call {
            StoreCall::Append => ("append.before", "append.after"),
            StoreCall::Acquire => ("acquire.before", "acquire.after"),
            StoreCall::Renew => ("renew.before", "renew.after"),
            StoreCall::Release => ("release.before", "release.after"),
            StoreCall::PutSnapshot => ("snapshot.before", "snapshot.after"),
            StoreCall::Copy => ("copy.before", "copy.after"),
            _ => return None,
        })
    }

    impl StoreHook for Points {
        async fn before(&self, call: StoreCall) -> Result<(), StoreError> {
            if let Some((before, _)) = names(call) {
                reach(before);
            }
            Ok(())
        }

        async fn after(&self, call: StoreCall) -> Result<(), StoreError> {
            if let Some((_, after)) = names(call) {
                reach(after);
            }
            Ok(())
        }
    }
}
