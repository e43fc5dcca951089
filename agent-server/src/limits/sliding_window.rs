//! Limit of a program's own: requests per key in a sliding window, stored so that a restart does not reset it.

use std::{
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::Duration,
};

use agent_core::{
    clock::{Clock, WallClock},
    memory::{IntoMemory, MemoryError, MemoryStore, Namespace, Put},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

/// Locks for keys; keys with the same hash share one.
const LOCKS: usize = 64;
/// Longest key that is stored as it is; a longer one is stored by its hash.
const KEY_BYTES: usize = 256;

/// Limit of requests per key, for example per caller or per session, in a sliding window of time.
///
/// The times of admitted requests are in a [`MemoryStore`], so the limit survives reconnects and restarts, and processes on
/// one store share it. Refused requests do not count. The limit is exact within a process; several processes that check a
/// key at the same instant may each admit the last request.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use agent_core::memory::InMemoryStore;
/// use agent_server::{Admission, SlidingWindow};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limit = SlidingWindow::new("answers", 2, Duration::from_secs(60), InMemoryStore::new())?;
/// assert_eq!(limit.admit("session-1").await?, Admission::Admitted);
/// assert_eq!(limit.admit("session-1").await?, Admission::Admitted);
/// assert!(matches!(limit.admit("session-1").await?, Admission::Refused { .. }));
/// assert_eq!(limit.admit("session-2").await?, Admission::Admitted);
/// # Ok(()) }
/// ```
pub struct SlidingWindow {
    maximum: usize,
    window: Duration,
    namespace: Namespace,
    store: Arc<dyn MemoryStore>,
    clock: Arc<dyn Clock>,
    locks: [Mutex<()>; LOCKS],
}

/// Result of [`SlidingWindow::admit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The request is within the limit and was counted.
    Admitted,
    /// The request exceeds the limit and was not counted.
    Refused {
        /// Time until a request is admitted again.
        retry_after: Duration,
    },
}

impl SlidingWindow {
    /// Creates a limit of `maximum` requests per `window`; 0: no limit. `name` separates limits in one store.
    ///
    /// # Errors
    ///
    /// [`MemoryError`] if the name is empty, longer than 128 bytes, or contains control characters.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use agent_core::memory::InMemoryStore;
    /// use agent_server::SlidingWindow;
    ///
    /// let hour = Duration::from_secs(3_600);
    /// assert!(SlidingWindow::new("answers", 100, hour, InMemoryStore::new()).is_ok());
    /// assert!(SlidingWindow::new("", 100, hour, InMemoryStore::new()).is_err());
    /// ```
    pub fn new(
        name: &str,
        maximum: u32,
        window: Duration,
        store: impl IntoMemory,
    ) -> Result<Self, MemoryError> {
        Ok(Self {
            maximum: usize::try_from(maximum).unwrap_or(usize::MAX),
            window,
            namespace: Namespace::new(["limits", name])?,
            store: store.into_memory(),
            clock: Arc::new(WallClock),
            locks: [const { Mutex::const_new(()) }; LOCKS],
        })
    }

    /// Sets the clock. Default: the clock of the machine.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{sync::Arc, time::Duration};
    ///
    /// use agent_core::{clock::ManualClock, memory::InMemoryStore};
    /// use agent_server::{Admission, SlidingWindow};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let clock = Arc::new(ManualClock::new(0));
    /// let limit = SlidingWindow::new("answers", 1, Duration::from_secs(60), InMemoryStore::new())?.clock(clock.clone());
    /// limit.admit("a").await?;
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(limit.admit("a").await?, Admission::Admitted);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Counts a request of `key`, unless it exceeds the limit.
    ///
    /// # Errors
    ///
    /// Errors of the store. The request was not counted then.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the request may have been counted.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use agent_core::memory::InMemoryStore;
    /// use agent_server::{Admission, SlidingWindow};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let limit = SlidingWindow::new("answers", 1, Duration::from_secs(60), InMemoryStore::new())?;
    /// limit.admit("session-1").await?;
    /// if let Admission::Refused { retry_after } = limit.admit("session-1").await? {
    ///     println!("wait for {retry_after:?}");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn admit(&self, key: &str) -> Result<Admission, MemoryError> {
        if self.maximum == 0 {
            return Ok(Admission::Admitted);
        }
        let stored = stored_key(key);
        let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(&stored);
        let lock = usize::try_from(hash % LOCKS as u64).unwrap_or_default();
        let _locked = self.locks[lock].lock().await;
        let window = i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX);
        let now = self.clock.now_ms();
        let item = self.store.get(&self.namespace, &stored).await?;
        let mut times = item.map(|item| times(&item.value)).unwrap_or_default();
        // A time in the future is one of a clock that was set back: it must not block for longer than the window.
        times.retain(|time| now.saturating_sub(*time) < window && *time <= now.saturating_add(window));
        if times.len() >= self.maximum {
            let frees = times[times.len() - self.maximum].saturating_add(window).saturating_sub(now);
            let retry_after = Duration::from_millis(u64::try_from(frees).unwrap_or_default());
            return Ok(Admission::Refused { retry_after });
        }
        times.push(now);
        times.sort_unstable();
        let put = Put::new(self.namespace.clone(), stored, json!({"at": times})).ttl(self.window);
        self.store.put(put).await?;
        Ok(Admission::Admitted)
    }
}

fn times(value: &Value) -> Vec<i64> {
    value["at"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect()
}

fn stored_key(key: &str) -> String {
    match key.len() {
        1..=KEY_BYTES if !key.contains('\0') => format!("={key}"),
        _ => format!("#{}", hex::encode(Sha256::digest(key.as_bytes()))),
    }
}

impl fmt::Debug for SlidingWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlidingWindow")
            .field("maximum", &self.maximum)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use agent_core::{clock::ManualClock, memory::InMemoryStore, sqlite::Sqlite};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_window_slides_and_refused_requests_do_not_count() {
        let clock = Arc::new(ManualClock::new(1_000));
        let limit = SlidingWindow::new("t", 2, MINUTE, InMemoryStore::new()).unwrap().clock(clock.clone());
        let wait = |seconds| Admission::Refused { retry_after: Duration::from_secs(seconds) };
        assert_eq!(limit.admit("a").await.unwrap(), Admission::Admitted);
        clock.advance(Duration::from_secs(30));
        assert_eq!(limit.admit("a").await.unwrap(), Admission::Admitted);
        for _ in 0..5 {
            assert_eq!(limit.admit("a").await.unwrap(), wait(30));
        }
        clock.advance(Duration::from_secs(29));
        assert_eq!(limit.admit("a").await.unwrap(), wait(1));
        clock.advance(Duration::from_secs(1));
        assert_eq!(limit.admit("a").await.unwrap(), Admission::Admitted, "the first one is a minute old");
        assert_eq!(limit.admit("a").await.unwrap(), wait(30), "the second one is not");
    }

    #[tokio::test]
    async fn the_limit_survives_a_restart() {
        let home = tempfile::TempDir::new().unwrap();
        let open = || Sqlite::open(home.path().join("agent.db")).unwrap();
        let limit = |store: &Sqlite| SlidingWindow::new("t", 1, MINUTE, store.memory()).unwrap();
        let store = open();
        assert_eq!(limit(&store).admit("a").await.unwrap(), Admission::Admitted);
        drop(store);
        let store = open();
        assert!(matches!(limit(&store).admit("a").await.unwrap(), Admission::Refused { .. }));
        assert_eq!(limit(&store).admit("b").await.unwrap(), Admission::Admitted);
    }

    #[tokio::test]
    async fn concurrent_requests_of_a_key_never_exceed_the_limit() {
        let limit = SlidingWindow::new("t", 10, MINUTE, InMemoryStore::new()).unwrap();
        let all = futures::future::join_all((0..100).map(|_| limit.admit("a"))).await;
        let admitted = all.into_iter().filter(|one| matches!(one, Ok(Admission::Admitted))).count();
        assert_eq!(admitted, 10);
    }

    #[tokio::test]
    async fn any_text_is_a_key() {
        let limit = SlidingWindow::new("t", 1, MINUTE, InMemoryStore::new()).unwrap();
        for key in ["", "\0", "\u{d55c}\u{ae00}", &"k".repeat(10_000), "#x"] {
            assert_eq!(limit.admit(key).await.unwrap(), Admission::Admitted, "{key:?}");
            assert_ne!(limit.admit(key).await.unwrap(), Admission::Admitted, "{key:?}");
        }
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_blocks_for_no_longer_than_the_window() {
        let clock = Arc::new(ManualClock::new(3_600_000));
        let limit = SlidingWindow::new("t", 1, MINUTE, InMemoryStore::new()).unwrap().clock(clock.clone());
        limit.admit("a").await.unwrap();
        clock.set(1_000);
        assert_eq!(limit.admit("a").await.unwrap(), Admission::Admitted);
    }
}
