//! Messages between the processes that share a store.

use futures::{future::BoxFuture, stream::BoxStream};

use super::StoreError;

/// A channel between the processes that share a store ([`JournalStore::channel`](super::JournalStore::channel)).
///
/// Messages are JSON texts of the runtime. A message may be lost, for example while a connection is broken: what it
/// announced is then found in the journal a little later. Messages of one sender arrive in their order.
pub trait ReplicaChannel: Send + Sync + 'static {
    /// Sends messages to all processes. The sender may receive them as well.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    fn send(&self, messages: Vec<String>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Returns the messages from now on. Called once by a runtime. The stream ends with the channel.
    fn receive(&self) -> BoxStream<'static, String>;
}
