//! Locks of deliveries: the requests of this process that use a delivery, one at a time.

use std::{collections::HashMap, sync::Arc};

use agent_core::ids::SessionId;
use parking_lot::Mutex;

type Locks = Mutex<HashMap<SessionId, Arc<tokio::sync::Mutex<()>>>>;

/// Locks of the deliveries in use.
#[derive(Default)]
pub(super) struct DeliveryLocks(Arc<Locks>);

/// A user of a delivery. While it exists, no other part of this process deletes the delivery.
pub(super) struct DeliveryUse {
    locks: Arc<Locks>,
    id: SessionId,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl DeliveryLocks {
    /// Adds a user of the delivery.
    pub(super) fn enter(&self, id: &SessionId) -> DeliveryUse {
        let lock = Arc::clone(self.0.lock().entry(id.clone()).or_default());
        DeliveryUse { locks: Arc::clone(&self.0), id: id.clone(), lock }
    }
}

impl DeliveryUse {
    /// Waits for exclusive access between the users of the delivery.
    pub(super) async fn lock(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.lock.lock().await
    }

    /// Returns whether the delivery has no other user.
    pub(super) fn is_only(&self) -> bool {
        let _locks = self.locks.lock();
        // The map has one reference.
        Arc::strong_count(&self.lock) == 2
    }
}

impl Drop for DeliveryUse {
    fn drop(&mut self) {
        let mut locks = self.locks.lock();
        if Arc::strong_count(&self.lock) == 2 {
            locks.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_exists_while_it_has_users() {
        let (locks, id) = (DeliveryLocks::default(), "webhook-1".parse().unwrap());
        let first = locks.enter(&id);
        assert!(first.is_only());
        let second = locks.enter(&id);
        assert!(!first.is_only());
        drop(first);
        assert!(second.is_only());
        drop(second);
        assert!(locks.0.lock().is_empty());
    }
}
