//! [`JournalStore`] on PostgreSQL.

use std::{fmt::Write, sync::Arc, time::Duration};

use agent_core::{
    ids::{Seq, SessionId},
    journal::{
        Append, Epoch, Head, JournalStore, Label, Lease, OwnerId, Recent, Record, ReplayStart,
        ReplicaChannel, SharedLimits, StoreError, StoredSnapshot, Summary,
        store::{check_records, is_label},
    },
};
use futures::future::BoxFuture;
use tokio_postgres::types::Type;

use crate::{
    Postgres,
    channel::Channel,
    connection::{Param, column, single},
    limits::Limits,
    summary::{Columns, HEAD, head_of, label, number, plain, quoted, seq},
};

/// Statuses that a list may ask for at once.
const STATUSES: usize = 64;

/// Longest time to live of a lease: ten years.
const LONGEST: Duration = Duration::from_secs(315_360_000);

pub(crate) fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.min(LONGEST).as_millis()).unwrap_or(i64::MAX)
}

fn rows_at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl JournalStore for Postgres {
    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            check_records(&append)?;
            self.inner.append(append).await
        })
    }

    fn read(
        &self,
        session: &SessionId,
        after: Seq,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            let (name, after, upto, limit) =
                (session.as_str(), number(after), number(upto), rows_at_most(limit));
            let params: [Param<'_>; 4] =
                [(&name, Type::TEXT), (&after, Type::INT8), (&upto, Type::INT8), (&limit, Type::INT8)];
            let rows = self.inner.repeatable(&self.inner.sql.read, &params).await?;
            rows.iter().map(|row| Ok(Record::new(seq(column(row, 0)?), column(row, 1)?))).collect()
        })
    }

    fn head(&self, session: &SessionId) -> BoxFuture<'_, Result<Option<Head>, StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            let name = session.as_str();
            let rows = self.inner.repeatable(&self.inner.sql.head, &[(&name, Type::TEXT)]).await?;
            rows.first().map(|row| Ok(head_of(row)?.1)).transpose()
        })
    }

    fn acquire(
        &self,
        session: &SessionId,
        owner: &OwnerId,
        ttl: Duration,
    ) -> BoxFuture<'_, Result<Lease, StoreError>> {
        Box::pin(self.inner.acquire(session.clone(), owner.clone(), ttl))
    }

    fn renew(&self, owner: &OwnerId, ttl: Duration) -> BoxFuture<'_, Result<(), StoreError>> {
        let owner = owner.clone();
        Box::pin(async move {
            let (id, ttl, now) = (owner.0.as_str(), millis(ttl), self.inner.now());
            let params: [Param<'_>; 3] = [(&id, Type::TEXT), (&ttl, Type::INT8), (&now, Type::INT8)];
            self.inner.repeatable(&self.inner.sql.renew, &params).await.map(drop)
        })
    }

    fn release(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<(), StoreError>> {
        let (session, lease) = (session.clone(), lease.clone());
        Box::pin(async move {
            let Ok(epoch) = i64::try_from(lease.epoch.0) else { return Ok(()) };
            let (name, owner) = (session.as_str(), lease.owner.0.as_str());
            let params: [Param<'_>; 3] = [(&name, Type::TEXT), (&owner, Type::TEXT), (&epoch, Type::INT8)];
            self.inner.repeatable(&self.inner.sql.release, &params).await.map(drop)
        })
    }

    fn put_snapshot(
        &self,
        session: &SessionId,
        snapshot: StoredSnapshot,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            let (name, at) = (session.as_str(), number(snapshot.seq));
            let params: [Param<'_>; 3] =
                [(&name, Type::TEXT), (&at, Type::INT8), (&snapshot.body, Type::BYTEA)];
            let row = self.inner.one(&self.inner.sql.put_snapshot, &params).await?;
            match column::<i32>(&row, 0)? {
                0 => Ok(()),
                2 => {
                    let last = seq(column(&row, 1)?);
                    Err(StoreError::Conflict { session, expected: snapshot.seq, last })
                }
                _ => Err(StoreError::NotFound { session }),
            }
        })
    }

    fn snapshot(
        &self,
        session: &SessionId,
        upto: Seq,
    ) -> BoxFuture<'_, Result<Option<StoredSnapshot>, StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            let (name, upto) = (session.as_str(), number(upto));
            let params: [Param<'_>; 2] = [(&name, Type::TEXT), (&upto, Type::INT8)];
            let rows = self.inner.repeatable(&self.inner.sql.snapshot, &params).await?;
            let found = rows.first();
            found.map(|row| Ok(StoredSnapshot::new(seq(column(row, 0)?), column(row, 1)?))).transpose()
        })
    }

    fn replay_start(
        &self,
        session: &SessionId,
        upto: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<ReplayStart, StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            let (name, upto, limit) = (session.as_str(), number(upto), rows_at_most(limit));
            let params: [Param<'_>; 3] = [(&name, Type::TEXT), (&upto, Type::INT8), (&limit, Type::INT8)];
            let rows = self.inner.repeatable(&self.inner.sql.replay_start, &params).await?;
            let (mut snapshot, mut records) = (None, Vec::with_capacity(rows.len()));
            for row in &rows {
                let (at, body) = (seq(column(row, 1)?), column(row, 2)?);
                if column(row, 0)? {
                    snapshot = Some(StoredSnapshot::new(at, body));
                } else {
                    records.push(Record::new(at, body));
                }
            }
            // The order of the parts of a union is not promised.
            records.sort_unstable_by_key(|record| record.seq);
            Ok(ReplayStart::new(snapshot, records))
        })
    }

    fn trim(&self, session: &SessionId, before: Seq) -> BoxFuture<'_, Result<(), StoreError>> {
        let session = session.clone();
        Box::pin(async move {
            let (name, before) = (session.as_str(), number(before));
            let params: [Param<'_>; 2] = [(&name, Type::TEXT), (&before, Type::INT8)];
            self.inner.repeatable(&self.inner.sql.trim, &params).await.map(drop)
        })
    }

    fn copy(
        &self,
        source: &SessionId,
        target: &SessionId,
        upto: Seq,
        summary: Summary,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let (source, target) = (source.clone(), target.clone());
        Box::pin(async move {
            let (from, to, last) = (source.as_str(), target.as_str(), number(upto));
            let it = Columns::of(&summary)?;
            let params: [Param<'_>; 10] = [
                (&from, Type::TEXT),
                (&to, Type::TEXT),
                (&last, Type::INT8),
                (&it.status, Type::TEXT),
                (&it.graph, Type::TEXT),
                (&it.at, Type::INT8),
                (&it.due, Type::INT8),
                (&it.owner, Type::TEXT),
                (&it.labels, Type::TEXT),
                (&it.summary, Type::TEXT),
            ];
            let row = single(self.inner.rows(&self.inner.sql.copy, &params).await?)?;
            match column::<i32>(&row, 0)? {
                0 => Ok(()),
                4 => Err(StoreError::Exists { session: target }),
                5 => Err(StoreError::Trimmed { session: source, upto, first: seq(column(&row, 1)?) }),
                _ => Err(StoreError::NotFound { session: source }),
            }
        })
    }

    fn list(
        &self,
        after: Option<&SessionId>,
        statuses: &[String],
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        let (after, statuses) = (after.cloned(), statuses.to_vec());
        Box::pin(async move {
            let mut statuses = stored_statuses(&statuses)?;
            statuses.sort_unstable();
            statuses.dedup();
            // Every id is above the empty text.
            let (after, limit) = (after.as_ref().map_or("", SessionId::as_str), rows_at_most(limit));
            let mut params: Vec<Param<'_>> = vec![(&after, Type::TEXT), (&limit, Type::INT8)];
            let sql = if statuses.is_empty() {
                &self.inner.sql.list
            } else {
                params.push((&statuses, Type::TEXT_ARRAY));
                &self.inner.sql.list_by_status
            };
            self.inner.repeatable(sql, &params).await?.iter().map(head_of).collect()
        })
    }

    fn orphans(
        &self,
        owner: &OwnerId,
        after: Option<&SessionId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        let (owner, after) = (owner.clone(), after.cloned());
        Box::pin(async move {
            let (after, limit) = (after.as_ref().map_or("", SessionId::as_str), rows_at_most(limit));
            let (id, now) = (owner.0.as_str(), self.inner.now());
            let params: [Param<'_>; 4] =
                [(&after, Type::TEXT), (&id, Type::TEXT), (&now, Type::INT8), (&limit, Type::INT8)];
            self.inner.repeatable(&self.inner.sql.orphans, &params).await?.iter().map(head_of).collect()
        })
    }

    fn channel(&self) -> Option<Arc<dyn ReplicaChannel>> {
        Some(Arc::new(Channel(Arc::clone(&self.inner))))
    }

    fn shared_limits(&self) -> Option<Arc<dyn SharedLimits>> {
        Some(Arc::new(Limits(Arc::clone(&self.inner))))
    }

    fn recent(&self, wanted: &Recent) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        let wanted = wanted.clone();
        Box::pin(async move {
            let limit = rows_at_most(wanted.limit);
            let mut params: Vec<Param<'_>> = vec![(&limit, Type::INT8)];
            let schema = &self.inner.sql.schema;
            let mut sql = format!("SELECT {HEAD} FROM {schema}.session WHERE summary IS NOT NULL");
            let (at, name);
            if let Some(before) = &wanted.before {
                (at, name) = (before.at, before.session.as_str());
                sql.push_str(" AND (at, name) < ($2, $3)");
                params.push((&at, Type::INT8));
                params.push((&name, Type::TEXT));
            }
            let value;
            if let Some(Label { name, value: text }) = &wanted.label {
                if !is_label(name) {
                    return Err(StoreError::Illegal {
                        reason: "a label's name is of `a-z 0-9 _ . -`".to_owned(),
                    });
                }
                let place = params.len() + 1;
                let condition = match &**name {
                    "owner" => {
                        value = quoted(text);
                        format!(" AND owner_label = ${place}")
                    }
                    _ => {
                        value = label(name, text);
                        format!(" AND labels @> ARRAY[${place}]::text[]")
                    }
                };
                sql.push_str(&condition);
                params.push((&value, Type::TEXT));
            }
            let only = wanted.graph.iter().map(|graph| (plain(graph), "="));
            let without = wanted.without.iter().map(|graph| (plain(graph), "<>"));
            let graphs: Vec<_> = only.chain(without).collect();
            for (graph, relation) in &graphs {
                let place = params.len() + 1;
                write!(sql, " AND graph {relation} ${place}").expect("writing to a string cannot fail");
                params.push((graph, Type::TEXT));
            }
            let statuses = stored_statuses(&wanted.statuses)?;
            if !statuses.is_empty() {
                let place = params.len() + 1;
                write!(sql, " AND status = ANY(${place})").expect("writing to a string cannot fail");
                params.push((&statuses, Type::TEXT_ARRAY));
            }
            sql.push_str(" ORDER BY at DESC, name DESC LIMIT $1");
            self.inner.repeatable(&sql, &params).await?.iter().map(head_of).collect()
        })
    }

    fn due(
        &self,
        after: Option<(i64, SessionId)>,
        until: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(SessionId, Head)>, StoreError>> {
        Box::pin(async move {
            // Every id is above the empty text.
            let (due, name) =
                after.as_ref().map_or((i64::MIN, ""), |(due, session)| (*due, session.as_str()));
            let limit = rows_at_most(limit);
            let params: [Param<'_>; 4] =
                [(&due, Type::INT8), (&name, Type::TEXT), (&until, Type::INT8), (&limit, Type::INT8)];
            let rows = self.inner.repeatable(&self.inner.sql.due, &params).await?;
            let parse = |row| {
                let (session, mut head) = head_of(row)?;
                head.summary.due = Some(column(row, 7)?);
                Ok((session, head))
            };
            rows.iter().map(parse).collect()
        })
    }

    fn delete(&self, session: &SessionId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let session = session.clone();
        Box::pin(async move { self.delete_if(session, None).await })
    }

    fn delete_held(&self, session: &SessionId, lease: &Lease) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (session, epoch) = (session.clone(), lease.epoch);
        Box::pin(async move { self.delete_if(session, Some(epoch)).await })
    }
}

impl Postgres {
    async fn delete_if(&self, session: SessionId, held: Option<Epoch>) -> Result<bool, StoreError> {
        let name = session.as_str();
        let epoch = held.map(|epoch| i64::try_from(epoch.0).unwrap_or(i64::MAX));
        let params: [Param<'_>; 2] = [(&name, Type::TEXT), (&epoch, Type::INT8)];
        let row = single(self.inner.rows(&self.inner.sql.delete, &params).await?)?;
        match column::<i32>(&row, 0)? {
            0 => Ok(true),
            1 => {
                let current = Epoch(column::<i64>(&row, 1)?.unsigned_abs());
                Err(StoreError::StaleWriter { session, epoch: held.unwrap_or_default(), current })
            }
            _ => Ok(false),
        }
    }
}

fn stored_statuses(statuses: &[String]) -> Result<Vec<String>, StoreError> {
    if statuses.len() > STATUSES {
        return Err(StoreError::Illegal { reason: format!("a list asks for at most {STATUSES} statuses") });
    }
    Ok(statuses.iter().map(|status| plain(status)).collect())
}
