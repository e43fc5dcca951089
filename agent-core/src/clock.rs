//! Clocks: the source of the time of day, replaceable in tests.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Source of the time of day.
///
/// Used for what is stored and compared between processes (leases, times to live, time stamps). How long
/// something may take inside a process is measured with tokio's clock, not with this one.
///
/// # Examples
///
/// ```
/// use agent_core::clock::{Clock, WallClock};
///
/// assert!(WallClock.now_ms() > 1_700_000_000_000);
/// ```
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Returns the milliseconds since 1970 (UTC).
    fn now_ms(&self) -> i64;
}

/// Clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that may ask the machine")]
    fn now_ms(&self) -> i64 {
        let now = SystemTime::now();
        // A clock before 1970 counts as 0: leases then never expire early.
        now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The clock of an application with its panics contained: where it panics, the clock of the machine is read.
#[derive(Debug)]
pub(crate) struct ContainedClock {
    clock: Arc<dyn Clock>,
    /// It panicked, which was logged.
    panicked: AtomicBool,
}

impl ContainedClock {
    pub(crate) const fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, panicked: AtomicBool::new(false) }
    }
}

impl Clock for ContainedClock {
    fn now_ms(&self) -> i64 {
        catch_unwind(AssertUnwindSafe(|| self.clock.now_ms())).unwrap_or_else(|panic| {
            if !self.panicked.swap(true, Ordering::Relaxed) {
                let message = crate::util::panic_message(&*panic);
                tracing::error!(
                    message,
                    "the clock panicked, and the machine's was read; further panics are not logged"
                );
            }
            WallClock.now_ms()
        })
    }
}

/// Clock that moves only by [`set`](Self::set) and [`advance`](Self::advance). For tests.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use agent_core::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::new(1_000);
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(clock.now_ms(), 3_000);
/// ```
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Creates a clock at `ms` milliseconds since 1970.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::clock::{Clock, ManualClock};
    /// let clock = ManualClock::new(1_000);
    /// assert_eq!(clock.now_ms(), 1_000);
    /// ```
    #[must_use]
    pub const fn new(ms: i64) -> Self {
        Self(AtomicI64::new(ms))
    }

    /// Sets the clock to `ms` milliseconds since 1970, forwards or backwards.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::clock::{Clock, ManualClock};
    /// let clock = ManualClock::new(0);
    /// clock.set(5_000);
    /// assert_eq!(clock.now_ms(), 5_000);
    /// ```
    pub fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::SeqCst);
    }

    /// Moves the clock forward.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::clock::{Clock, ManualClock};
    /// # use std::time::Duration;
    /// let clock = ManualClock::new(1_000);
    /// clock.advance(Duration::from_secs(2));
    /// assert_eq!(clock.now_ms(), 3_000);
    /// ```
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A duration in whole milliseconds; what is too long to count is cut at `i64::MAX`.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
