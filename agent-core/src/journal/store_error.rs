//! Errors of journal stores.

use super::store::Epoch;
use crate::ids::{Seq, SessionId};

/// Error of a journal store.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The writer's epoch is old: another writer took the session over. Nothing was written.
    #[error("session `{session}` has a newer writer (epoch {current}, this one has {epoch})")]
    StaleWriter {
        /// The session.
        session: SessionId,
        /// The epoch of the refused writer.
        epoch: Epoch,
        /// The epoch in force.
        current: Epoch,
    },
    /// The end of the journal is not the expected one. Nothing was written.
    #[error("the journal of session `{session}` ends at {last}, not at {expected}")]
    Conflict {
        /// The session.
        session: SessionId,
        /// The end that the writer expected.
        expected: Seq,
        /// The end.
        last: Seq,
    },
    /// Retention removed the requested entry.
    #[error(
        "the journal of session `{session}` begins at {first}; what led to {upto} was removed by retention"
    )]
    Trimmed {
        /// The session.
        session: SessionId,
        /// The entry asked for.
        upto: Seq,
        /// The oldest entry that is left.
        first: Seq,
    },
    /// Another living process is the writer.
    #[error("session `{session}` is held by another process ({owner})")]
    Leased {
        /// The session.
        session: SessionId,
        /// Its writer.
        owner: String,
    },
    /// The target of a copy exists.
    #[error("session `{session}` exists already")]
    Exists {
        /// The session.
        session: SessionId,
    },
    /// No such session.
    #[error("there is no session `{session}`")]
    NotFound {
        /// The session.
        session: SessionId,
    },
    /// The store is unreachable or cannot write at the moment; the same call may succeed later.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// Why, without secrets.
        reason: String,
    },
    /// The call violates the contract and can never succeed.
    #[error("the store refuses the request: {reason}")]
    Illegal {
        /// The rule that was broken.
        reason: String,
    },
    /// The store cannot be read as a whole, or is not a journal store. Restore a backup or use another path.
    #[error("the store is damaged: {reason}")]
    Damaged {
        /// The damage, without secrets.
        reason: String,
    },
    /// A stored entry cannot be read.
    #[error("entry {seq} of session `{session}` cannot be read: {reason}")]
    Corrupt {
        /// The session.
        session: SessionId,
        /// The entry.
        seq: Seq,
        /// Why.
        reason: String,
    },
    /// The data was written by a newer program.
    #[error("the data has format {found}, this program knows up to {known}; use a newer program")]
    FormatTooNew {
        /// Format of the data.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
}

impl StoreError {
    /// Converts a panic of a store into an error.
    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        Self::Unavailable { reason: format!("it panicked: {}", crate::util::panic_message(panic)) }
    }

    /// Returns whether the same call may succeed later.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::journal::StoreError;
    ///
    /// assert!(StoreError::Unavailable { reason: "disk full".to_owned() }.is_transient());
    /// ```
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
