//! Acquisitions of leases: those that wait at the same time share one statement, one transaction and one round trip.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use agent_core::{
    ids::SessionId,
    journal::{Epoch, Lease, OwnerId, StoreError},
};
use tokio_postgres::types::Type;

use crate::{
    connection::{Inner, column, wrong_number_of_results},
    journal::millis,
    queue::{Call, Reply},
};

/// A lease that is requested.
pub(crate) struct QueuedAcquire {
    session: SessionId,
    owner: OwnerId,
    ttl: Duration,
    reply: Reply<Lease>,
}

impl Call for QueuedAcquire {
    fn session(&self) -> &SessionId {
        &self.session
    }

    fn bytes(&self) -> usize {
        0
    }

    /// A statement is for one owner, because it locks the owner's row before those of the sessions.
    fn fits(&self, other: &Self) -> bool {
        (&self.owner, self.ttl) == (&other.owner, other.ttl)
    }
}

impl Inner {
    /// Acquires the lease of a session; ready when the transaction is committed.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        session: SessionId,
        owner: OwnerId,
        ttl: Duration,
    ) -> Result<Lease, StoreError> {
        let inner = Arc::downgrade(self);
        self.leases.call(|reply| QueuedAcquire { session, owner, ttl, reply }, || write(inner)).await
    }

    async fn acquire_all(
        &self,
        batch: &[QueuedAcquire],
    ) -> Result<Vec<Result<Lease, StoreError>>, StoreError> {
        let Some(QueuedAcquire { owner, ttl, .. }) = batch.first() else { return Ok(Vec::new()) };
        let names: Vec<&str> = batch.iter().map(|waiting| waiting.session.as_str()).collect();
        let (owner, ttl) = (owner.0.as_str(), millis(*ttl));
        let rows = self
            .repeatable(
                &self.sql.acquire,
                &[
                    (&names, Type::TEXT_ARRAY),
                    (&owner, Type::TEXT),
                    (&ttl, Type::INT8),
                    (&self.now(), Type::INT8),
                ],
            )
            .await?;
        if rows.len() != batch.len() {
            return Err(wrong_number_of_results());
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
        let batch = inner.leases.next().await;
        if batch.is_empty() {
            return;
        }
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
