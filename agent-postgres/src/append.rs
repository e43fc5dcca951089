//! Appends: those that wait at the same time share one statement, one transaction and one round trip.

use std::sync::{Arc, Weak};

use agent_core::{
    ids::SessionId,
    journal::{Append, Epoch, StoreError},
};
use tokio_postgres::types::Type;

use crate::{
    connection::{Inner, column, single, wrong_number_of_results},
    queue::{Call, Reply},
    summary::{Columns, number, seq},
};

/// An append that waits for its transaction.
pub(crate) struct QueuedAppend {
    append: Append,
    columns: Columns,
    bytes: usize,
    reply: Reply<()>,
}

impl Call for QueuedAppend {
    fn session(&self) -> &SessionId {
        &self.append.session
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn fits(&self, _: &Self) -> bool {
        true
    }
}

impl Inner {
    /// Appends; ready when the transaction is committed.
    pub(crate) async fn append(self: &Arc<Self>, append: Append) -> Result<(), StoreError> {
        let columns = append.summary.as_ref().map(Columns::of).transpose()?.unwrap_or_default();
        let bytes = append.records.iter().map(|record| record.body.len()).sum();
        let inner = Arc::downgrade(self);
        self.appends.call(|reply| QueuedAppend { append, columns, bytes, reply }, || write(inner)).await
    }

    async fn store(&self, batch: Vec<QueuedAppend>) {
        let outcome = self.store_all(&batch).await;
        match outcome {
            Ok(outcomes) => {
                for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                    // The caller may have stopped waiting.
                    waiting.reply.send(outcome).ok();
                }
            }
            // One append may be the cause (too large, say): each gets its own transaction.
            Err(StoreError::Illegal { .. }) if batch.len() > 1 => {
                for waiting in batch {
                    let mut outcome = self.store_all(std::slice::from_ref(&waiting)).await;
                    let outcome = outcome.as_mut().map(Vec::pop).map_err(|error| error.clone());
                    waiting.reply.send(outcome.and_then(|outcome| outcome.unwrap_or(Ok(())))).ok();
                }
            }
            Err(error) => {
                for waiting in batch {
                    waiting.reply.send(Err(error.clone())).ok();
                }
            }
        }
    }

    /// Stores one append without a summary. Returns `false` if nothing was stored, because the writer or the end of the journal is
    /// another one.
    async fn store_one(&self, waiting: &QueuedAppend) -> Result<bool, StoreError> {
        let name = waiting.append.session.as_str();
        let epoch = i64::try_from(waiting.append.epoch.0).unwrap_or(i64::MAX);
        let expected = number(waiting.append.expected);
        let bytes = waiting.bytes as i64;
        let bodies: Vec<&[u8]> = waiting.append.records.iter().map(|record| &*record.body).collect();
        let rows = self
            .rows(
                &self.sql.append_one,
                &[
                    (&name, Type::TEXT),
                    (&epoch, Type::INT8),
                    (&expected, Type::INT8),
                    (&bytes, Type::INT8),
                    (&bodies, Type::BYTEA_ARRAY),
                ],
            )
            .await?;
        column(&single(rows)?, 0)
    }

    async fn store_all(&self, batch: &[QueuedAppend]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        if let [waiting] = batch
            && waiting.append.summary.is_none()
            && !waiting.append.records.is_empty()
            && self.store_one(waiting).await?
        {
            return Ok(vec![Ok(())]);
        }
        let names: Vec<&str> = batch.iter().map(|waiting| waiting.append.session.as_str()).collect();
        let epochs: Vec<i64> =
            batch.iter().map(|waiting| i64::try_from(waiting.append.epoch.0).unwrap_or(i64::MAX)).collect();
        let expected: Vec<i64> = batch.iter().map(|waiting| number(waiting.append.expected)).collect();
        let counts: Vec<i32> = batch
            .iter()
            .map(|waiting| i32::try_from(waiting.append.records.len()).unwrap_or(i32::MAX))
            .collect();
        let bytes: Vec<i64> = batch.iter().map(|waiting| waiting.bytes as i64).collect();
        let bodies: Vec<&[u8]> =
            batch.iter().flat_map(|waiting| &waiting.append.records).map(|record| &*record.body).collect();
        let texts = |of: fn(&Columns) -> &Option<String>| -> Vec<Option<&str>> {
            batch.iter().map(|waiting| of(&waiting.columns).as_deref()).collect()
        };
        let numbers = |of: fn(&Columns) -> Option<i64>| -> Vec<Option<i64>> {
            batch.iter().map(|waiting| of(&waiting.columns)).collect()
        };
        let (statuses, graphs) = (texts(|it| &it.status), texts(|it| &it.graph));
        let (ats, dues) = (numbers(|it| it.at), numbers(|it| it.due));
        let (owners, labels, summaries) =
            (texts(|it| &it.owner), texts(|it| &it.labels), texts(|it| &it.summary));
        let rows = self
            .rows(
                &self.sql.append,
                &[
                    (&names, Type::TEXT_ARRAY),
                    (&epochs, Type::INT8_ARRAY),
                    (&expected, Type::INT8_ARRAY),
                    (&counts, Type::INT4_ARRAY),
                    (&bytes, Type::INT8_ARRAY),
                    (&bodies, Type::BYTEA_ARRAY),
                    (&statuses, Type::TEXT_ARRAY),
                    (&graphs, Type::TEXT_ARRAY),
                    (&ats, Type::INT8_ARRAY),
                    (&dues, Type::INT8_ARRAY),
                    (&owners, Type::TEXT_ARRAY),
                    (&labels, Type::TEXT_ARRAY),
                    (&summaries, Type::TEXT_ARRAY),
                ],
            )
            .await?;
        let row = single(rows)?;
        let (codes, found): (Vec<i32>, Vec<i64>) = (column(&row, 0)?, column(&row, 1)?);
        if codes.len() != batch.len() {
            return Err(wrong_number_of_results());
        }
        let outcomes = batch.iter().zip(codes.into_iter().zip(found));
        Ok(outcomes.map(|(waiting, (code, found))| outcome(&waiting.append, code, found)).collect())
    }
}

/// Stores batches until the queue is empty.
async fn write(inner: Weak<Inner>) {
    loop {
        // Callers hold the store while they wait.
        let Some(inner) = inner.upgrade() else { return };
        let batch = inner.appends.next().await;
        if batch.is_empty() {
            return;
        }
        inner.store(batch).await;
    }
}

fn outcome(append: &Append, code: i32, found: i64) -> Result<(), StoreError> {
    let session = append.session.clone();
    match code {
        0 => Ok(()),
        1 => Err(StoreError::StaleWriter {
            session,
            epoch: append.epoch,
            current: Epoch(found.unsigned_abs()),
        }),
        2 => Err(StoreError::Conflict { session, expected: append.expected, last: seq(found) }),
        _ => Err(StoreError::NotFound { session }),
    }
}
