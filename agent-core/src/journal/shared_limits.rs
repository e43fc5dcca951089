//! Limits that hold over all processes on a store.

use std::{fmt, time::Duration};

use futures::future::BoxFuture;

use super::{OwnerId, StoreError};
use crate::ids::SessionId;

/// Counters that the processes on a store share ([`JournalStore::shared_limits`](super::JournalStore::shared_limits)).
///
/// Counters are not part of the journal: a store may lose them in a crash, and then counts from the beginning. A future
/// that is dropped before it is ready may have counted.
pub trait SharedLimits: Send + Sync + 'static {
    /// Counts a request of `key`, unless there were more than `per_minute` in the last minute. Returns `None` if it was
    /// counted, else the time to wait.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    fn request(&self, key: &str, per_minute: u32) -> BoxFuture<'_, Result<Option<Duration>, StoreError>>;

    /// Sets the number of permits of `key` that the process `holder` has, if those of all processes are then at most
    /// `maximum`. Returns whether it was set. They expire after `ttl` unless they are [kept](SharedLimits::keep).
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    fn hold(
        &self,
        holder: &OwnerId,
        permit: &SharedPermit,
        maximum: u32,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Sets the numbers of permits that the process `holder` has, without a maximum, and extends them to `ttl` from now. A
    /// number of 0 removes the entry.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    fn keep(
        &self,
        holder: &OwnerId,
        permits: Vec<SharedPermit>,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Reserves a new session for an owner, if the owner has fewer than `maximum` sessions, reserved ones included. Returns
    /// whether it was reserved. A reservation ends when the session is stored, or after `ttl`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    fn reserve(
        &self,
        reservation: &SessionReservation,
        maximum: u32,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;
}

/// Permits of one process for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPermit {
    /// What is limited, for example the runs of a caller.
    pub key: String,
    /// Number of permits.
    pub count: u32,
}

/// A session that is about to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReservation {
    /// Its label `owner`.
    pub owner: String,
    /// Its id.
    pub session: SessionId,
    /// Sessions of this graph do not count.
    pub without: String,
}

impl fmt::Debug for dyn SharedLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedLimits")
    }
}
