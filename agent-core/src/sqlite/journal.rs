//! [`JournalStore`] on SQLite.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{
    Sqlite, queries,
    queue::{FREES, LONG, cost},
    statements,
};
use crate::{
    ids::{Seq, SessionId},
    journal::{
        Append, Head, JournalStore, Lease, OwnerId, Recent, Record, StoreError, StoredSnapshot, Summary,
    },
};

impl JournalStore for Sqlite {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        let cost = cost(append.records.iter().map(|record| record.body.len()).sum());
        Box::pin(self.write(cost, move |db| statements::append(db, &append)))
    }

    fn read(
        &self,
        session: &SessionId,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let session = session.clone();
        Box::pin(self.read(move |db| queries::read(db, &session, after, upto, limit)))
    }

    fn head(&self, session: &SessionId) -> BoxFuture<'_, Result<Option<Head>, StoreError>> {
        let session = session.clone();
        Box::pin(self.read(move |db| queries::head(db, &session)))
    }

    fn acquire(
        &self,
        session: &SessionId,
        owner: &OwnerId,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Lease, StoreError>> {
        let (session, owner) = (session.clone(), owner.clone());
        let (owners, clock) = (Arc::clone(&self.inner.owners), Arc::clone(&self.inner.clock));
        Box::pin(
            self.write(LONG, move |db| {
                statements::acquire(db, &owners, &session, &owner, clock.now_ms(), ttl)
            }),
        )
    }

    fn renew(&self, owner: &OwnerId, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        let (owner, clock) = (owner.clone(), Arc::clone(&self.inner.clock));
        Box::pin(self.write(LONG, move |db| statements::renew(db, &owner, clock.now_ms(), ttl)))
    }

    fn release(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<(), StoreError>> {
        let (session, lease) = (session.clone(), lease.clone());
        Box::pin(self.write(cost(0), move |db| statements::release(db, &session, &lease)))
    }

    fn put_snapshot(
        &self,
        session: &SessionId,
        snapshot: StoredSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let session = session.clone();
        let cost = cost(snapshot.body.len());
        Box::pin(self.write(cost, move |db| statements::put_snapshot(db, &session, &snapshot)))
    }

    fn snapshot(
        &self,
        session: &SessionId,
        upto: Seq,
    ) -> BoxFuture<'_, Result<Option<StoredSnapshot>, StoreError>> {
        let session = session.clone();
        Box::pin(self.read(move |db| queries::snapshot(db, &session, upto)))
    }

    fn trim(&self, session: &SessionId, before: Seq) -> BoxFuture<'_, Result<(), StoreError>> {
        let session = session.clone();
        Box::pin(self.write(FREES, move |db| statements::trim(db, &session, before)))
    }

    fn copy(
        &self,
        source: &SessionId,
        target: &SessionId,
        upto: Seq,
        summary: Summary,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let (source, target) = (source.clone(), target.clone());
        Box::pin(self.write(LONG, move |db| statements::copy(db, &source, &target, upto, &summary)))
    }

    fn list(
        &self,
        after: Option<&SessionId>,
        statuses: &[String],
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        let (after, statuses) = (after.cloned(), statuses.to_vec());
        Box::pin(self.read(move |db| queries::list(db, after.as_ref(), &statuses, limit)))
    }

    fn recent(&self, wanted: &Recent) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        let wanted = wanted.clone();
        Box::pin(self.read(move |db| queries::recent(db, &wanted)))
    }

    fn delete(&self, session: &SessionId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let session = session.clone();
        Box::pin(self.write(FREES, move |db| statements::delete(db, &session, None)))
    }

    fn delete_held(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (session, epoch) = (session.clone(), lease.epoch);
        Box::pin(self.write(FREES, move |db| statements::delete(db, &session, Some(epoch))))
    }

    fn due(
        &self,
        after: Option<(i64, SessionId)>,
        until: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        Box::pin(self.read(move |db| queries::due(db, after.as_ref(), until, limit)))
    }

    fn durable(&self) -> bool {
        self.inner.path.is_some()
    }
}
