//! One live connection per key: a new connection replaces the older one.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Holders by key.
type Holders = Mutex<HashMap<String, CancellationToken>>;

/// Registry that allows one live connection per key, for example per session: the newest one. Cheap to clone; clones
/// share the registry.
///
/// A client that lost its network and reconnects gets through, although the server still considers its old connection
/// open. The registry belongs to one process.
///
/// # Examples
///
/// ```no_run
/// use agent_server::custom_routes::{LatestConnections, PathParams};
///
/// # fn of(builder: agent_server::ServerBuilder) -> agent_server::ServerBuilder {
/// let connections = LatestConnections::default();
/// builder.socket("/rooms/{id}", move |request, mut socket| {
///     let claim = connections.claim(PathParams::of(&request).get("id"));
///     async move {
///         loop {
///             tokio::select! {
///                 () = claim.replaced() => return socket.close(4001, "replaced by a newer connection").await,
///                 message = socket.next() => match message {
///                     Some(_) => {} // handle the message
///                     None => return,
///                 },
///             }
///         }
///     }
/// })
/// # }
/// ```
#[derive(Clone, Default)]
pub struct LatestConnections(Arc<Holders>);

impl LatestConnections {
    /// Makes the caller the holder of `key`. The earlier holder is [replaced](LatestClaim::replaced).
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::LatestConnections;
    ///
    /// let connections = LatestConnections::default();
    /// let older = connections.claim("session-1");
    /// let newer = connections.claim("session-1");
    /// assert!(older.is_replaced() && !newer.is_replaced());
    /// ```
    #[must_use = "dropping the claim releases the key"]
    pub fn claim(&self, key: impl Into<String>) -> LatestClaim {
        let (key, token) = (key.into(), CancellationToken::new());
        let replaced = self.0.lock().insert(key.clone(), token.clone());
        if let Some(older) = replaced {
            older.cancel();
        }
        LatestClaim { key, token, holders: Arc::downgrade(&self.0) }
    }

    /// Returns the number of live connections.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::LatestConnections;
    ///
    /// let connections = LatestConnections::default();
    /// let claim = connections.claim("session-1");
    /// assert_eq!(connections.len(), 1);
    /// drop(claim);
    /// assert!(connections.is_empty());
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Returns whether there is no live connection.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::LatestConnections;
    ///
    /// assert!(LatestConnections::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for LatestConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestConnections").field("len", &self.len()).finish()
    }
}

/// Claim of a connection to its key. Dropping it releases the key, unless a newer connection holds it.
///
/// # Examples
///
/// ```
/// use agent_server::custom_routes::LatestConnections;
///
/// let connections = LatestConnections::default();
/// let claim = connections.claim("session-1");
/// drop(claim);
/// assert_eq!(connections.len(), 0);
/// ```
pub struct LatestClaim {
    key: String,
    /// Cancelled when a newer connection claims the key.
    token: CancellationToken,
    holders: Weak<Holders>,
}

impl LatestClaim {
    /// Completes when a newer connection has claimed the key.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::LatestConnections;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let connections = LatestConnections::default();
    /// let older = connections.claim("session-1");
    /// let _newer = connections.claim("session-1");
    /// older.replaced().await;
    /// # }
    /// ```
    pub async fn replaced(&self) {
        self.token.cancelled().await;
    }

    /// Returns whether a newer connection has claimed the key.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_server::custom_routes::LatestConnections;
    ///
    /// let claim = LatestConnections::default().claim("session-1");
    /// assert!(!claim.is_replaced());
    /// ```
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.token.is_cancelled()
    }
}

impl Drop for LatestClaim {
    fn drop(&mut self) {
        // A newer connection holds the key and its own token.
        let Some(holders) = self.holders.upgrade() else { return };
        let mut holders = holders.lock();
        if !self.token.is_cancelled() {
            holders.remove(&self.key);
        }
    }
}

impl fmt::Debug for LatestClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatestClaim").field("replaced", &self.is_replaced()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_claim_that_is_dropped_later_does_not_release_the_key_of_the_newer_one() {
        let connections = LatestConnections::default();
        let older = connections.claim("a");
        let other = connections.claim("b");
        let newer = connections.claim("a");
        assert!(older.is_replaced() && !newer.is_replaced() && !other.is_replaced());
        drop(older);
        assert_eq!(connections.len(), 2);
        let newest = connections.claim("a");
        assert!(newer.is_replaced() && !newest.is_replaced());
        drop((newer, newest, other));
        assert!(connections.is_empty());
    }
}
