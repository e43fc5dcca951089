//! Journal: the append-only record of a session, and the stores of journals.

mod channel;
#[cfg(any(test, feature = "test-util"))]
pub mod conformance;
pub(crate) mod dedup;
pub(crate) mod entry;
mod frame_projection;
mod in_memory;
pub(crate) mod keys;
pub(crate) mod projection;
mod replay;
mod shared_limits;
pub(crate) mod snapshot;
pub mod store;
mod store_error;
mod store_retry;
pub(crate) mod stored_schedule;
mod transfer;
mod verify;

pub use channel::ReplicaChannel;
pub use in_memory::InMemoryJournal;
pub(crate) use replay::fold;
pub use shared_limits::{SessionReservation, SharedLimits, SharedPermit};
pub use store::{
    Append, Epoch, Head, IntoJournal, JournalStore, Label, Lease, OwnerId, Recent, RecentCursor, Record,
    ReplayStart, StoreError, StoredSnapshot, Summary,
};
pub use store_retry::StoreRetry;
pub use transfer::{TransferError, TransferOutcome, transfer};
pub use verify::{VerifyReport, verify};
