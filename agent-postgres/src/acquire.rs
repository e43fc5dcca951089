//! Acquisitions of leases: those that wait at the same time share one statement, one transaction and one round trip.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use agent_core::{
    ids::SessionId,
    journal::{Epoch, Lease, OwnerId, StoreError},
};
use tokio::sync::oneshot;
use tokio_postgres::types::Type;

use crate::{
    connection::{Inner, column},
    journal::millis,
};

/// A lease that is requested.
pub(crate) struct QueuedAcquire {
    session: SessionId,
    owner: OwnerId,
    ttl: Duration,
    reply: oneshot::Sender<Result<Lease, StoreError>>,
}

impl Inner {
    /// Acquires the lease of a session; ready when the transaction is committed.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        session: SessionId,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        let (reply, answer) = oneshot::channel();
        let inner = Arc::downgrade(self);
        self.leases.push(QueuedAcquire { session, owner, ttl, reply }, || write(inner));
        answer
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable { reason: "the executor has ended".to_owned() }))
    }

    async fn acquire_all(
        &self,
        batch: &[QueuedAcquire],
    ) -> Result<Vec<Result<Lease, StoreError>>, StoreError> {
        let names: Vec<&str> = batch.iter().map(|waiting| waiting.session.as_str()).collect();
        let owners: Vec<&str> = batch.iter().map(|waiting| waiting.owner.0.as_str()).collect();
        let ttls: Vec<i64> = batch.iter().map(|waiting| millis(waiting.ttl)).collect();
        let rows = self
            .repeatable(
                &self.sql.acquire,
                &[
                    (&names, Type::TEXT_ARRAY),
                    (&owners, Type::TEXT_ARRAY),
                    (&ttls, Type::INT8_ARRAY),
                    (&self.now(), Type::INT8),
                ],
            )
            .await?;
        if rows.len() != batch.len() {
            let reason = "a function returned the wrong number of results".to_owned();
            return Err(StoreError::Damaged { reason });
        }
        let outcomes =
            batch.iter().zip(&rows).map(|(waiting, row)| match column::<Option<String>>(row, 1)? {
                Some(owner) => Err(StoreError::Leased { session: waiting.session.clone(), owner }),
                None => {
                    let epoch = Epoch(column::<i64>(row, 0)?.unsigned_abs());
                    Ok(Lease::new(waiting.owner.clone(), epoch))
                }
            });
        Ok(outcomes.collect())
    }
}

/// Acquires batches until the queue is empty.
async fn write(inner: Weak<Inner>) {
    loop {
        // Callers hold the store while they wait.
        let Some(inner) = inner.upgrade() else { return };
        let mut batch = inner.leases.take(|_| 0);
        if batch.is_empty() {
            return;
        }
        // Transactions that lock the same rows lock them in one order.
        batch.sort_by(|left, right| left.session.cmp(&right.session));
        let outcomes = match inner.acquire_all(&batch).await {
            Ok(outcomes) => outcomes,
            Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
        };
        for (waiting, outcome) in batch.into_iter().zip(outcomes) {
            // The caller may have stopped waiting.
            waiting.reply.send(outcome).ok();
        }
    }
}
