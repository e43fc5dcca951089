//! Search by meaning with pgvector, where the database has the extension.
//!
//! The vectors of `memory` stay in their own column, which every database has. With the extension there is a second column
//! that a trigger computes from it, so that older programs and those without the extension write and read as before. The
//! column is added, and rows from before are filled in, by whichever process finds the extension first.

use std::{
    sync::{
        Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::Object;
use tokio_postgres::{
    Row,
    error::SqlState,
    types::{ToSql, Type},
};

use crate::{
    connection::{Inner, Param},
    error::reason,
    migrate,
    tables::QueryError,
};

const SCRIPT: &str = include_str!("sql/vectors.sql");
/// Most numbers of a vector.
pub(crate) const NUMBERS: usize = 16_000;
/// Rows that are filled in by one statement.
const ROWS: i64 = 200;
const WAIT: Duration = Duration::from_secs(1);

/// What the database has of pgvector.
#[derive(Debug, Default)]
pub(crate) struct Vectors {
    /// The schema of the extension.
    extension: Option<String>,
    /// Whether every row has its embedding.
    complete: AtomicBool,
}

impl Vectors {
    /// Returns the schema of the extension if searches can use it.
    pub(crate) fn usable(&self) -> Option<&str> {
        self.extension.as_deref().filter(|_| self.complete.load(Ordering::Acquire))
    }

    /// Returns whether rows must be filled in before searches can use the extension.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.extension.is_some() && !self.complete.load(Ordering::Relaxed)
    }

    fn set_complete(&self, complete: bool) {
        self.complete.store(complete, Ordering::Release);
    }

    /// Returns whether an error means that the extension was removed; searches then do without.
    pub(crate) fn ended_by(&self, error: &tokio_postgres::Error) -> bool {
        let gone = [
            SqlState::UNDEFINED_COLUMN,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::UNDEFINED_OBJECT,
            SqlState::UNDEFINED_FILE,
            SqlState::INVALID_SCHEMA_NAME,
        ];
        let ended = error.code().is_some_and(|code| gone.contains(code));
        if ended {
            tracing::warn!(error = reason(error), "pgvector was removed; memory is searched without it");
            self.set_complete(false);
        }
        ended
    }
}

/// Finds the extension, creates it if this user may, and adds the column. Anything that is refused leaves the search to the
/// process.
pub(crate) async fn prepare(client: &mut Object, schema: &str) -> Vectors {
    match try_prepare(client, schema).await {
        Ok(vectors) => vectors,
        Err(error) => {
            tracing::info!(reason = reason(&error), "pgvector cannot be used; memory is searched without it");
            Vectors::default()
        }
    }
}

async fn try_prepare(client: &mut Object, schema: &str) -> Result<Vectors, tokio_postgres::Error> {
    let sql = find(schema);
    let mut found = Found::read(&client.query_typed(&sql, &[]).await?)?;
    if !found.is_ready() {
        let available = "SELECT FROM pg_available_extensions WHERE name = 'vector'";
        if client.query_typed(available, &[]).await?.is_empty() {
            return Ok(Vectors::default());
        }
        let transaction = client.transaction().await?;
        let lock: [(&(dyn ToSql + Sync), Type); 1] = [(&migrate::LOCK, Type::INT8)];
        transaction.query_typed("SELECT pg_advisory_xact_lock($1)", &lock).await?;
        // The lock of the table would wait for every statement on it, and others for the lock.
        transaction
            .batch_execute("SET LOCAL lock_timeout = '3s'; CREATE EXTENSION IF NOT EXISTS vector")
            .await?;
        found = Found::read(&transaction.query_typed(&sql, &[]).await?)?;
        if let (Some(extension), false) = (&found.extension, found.has_column) {
            let script = SCRIPT.replace('@', schema).replace("^.", &format!("{extension}."));
            transaction.batch_execute(&script).await?;
            found = Found::read(&transaction.query_typed(&sql, &[]).await?)?;
        }
        transaction.commit().await?;
    }
    Ok(Vectors { extension: found.extension, complete: AtomicBool::new(found.complete) })
}

struct Found {
    /// The schema of the extension, as an identifier.
    extension: Option<String>,
    has_column: bool,
    complete: bool,
}

impl Found {
    fn read(rows: &[Row]) -> Result<Self, tokio_postgres::Error> {
        let Some(row) = rows.first() else {
            return Ok(Self { extension: None, has_column: false, complete: false });
        };
        Ok(Self { extension: row.try_get(0)?, has_column: row.try_get(1)?, complete: row.try_get(2)? })
    }

    const fn is_ready(&self) -> bool {
        self.extension.is_some() && self.has_column
    }
}

/// The statement that finds the extension.
fn find(schema: &str) -> String {
    format!(
        "SELECT (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                 WHERE e.extname = 'vector'),
             EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass('{schema}.memory')
                 AND a.attname = 'embedding' AND NOT a.attisdropped),
             EXISTS (SELECT FROM {schema}.setting WHERE name = 'memory_embedding' AND value = 'complete')"
    )
}

/// Fills in the embeddings of rows from before the column, in the order of their names; searches use it afterwards.
pub(crate) async fn fill(inner: Weak<Inner>) {
    let mut last = (Vec::new(), String::new());
    loop {
        let Some(strong) = inner.upgrade() else { return };
        match strong.fill_next(&last).await {
            Ok(Some(next)) => last = next,
            Ok(None) => {
                strong.vectors.set_complete(true);
                return;
            }
            Err(error) if error.is_transient() => {
                tracing::debug!(%error, "embeddings are filled in later");
                drop(strong);
                tokio::time::sleep(WAIT).await;
            }
            Err(error) => {
                tracing::warn!(%error, "embeddings cannot be filled in; memory is searched without pgvector");
                return;
            }
        }
    }
}

impl Inner {
    /// Fills in a few rows after `last`, and returns the name of the last of them; `None` at the end.
    async fn fill_next(&self, last: &(Vec<u8>, String)) -> Result<Option<(Vec<u8>, String)>, QueryError> {
        let schema = &self.sql.schema;
        // The trigger computes the value.
        let sql = format!(
            "WITH batch AS (
                 SELECT namespace, key FROM {schema}.memory WHERE (namespace, key) > ($1, $2)
                 ORDER BY namespace, key LIMIT $3 FOR NO KEY UPDATE
             ), filled AS (
                 UPDATE {schema}.memory m SET embedding = NULL FROM batch b
                 WHERE m.namespace = b.namespace AND m.key = b.key AND m.vector IS NOT NULL AND m.embedding IS NULL
             )
             SELECT namespace, key FROM batch ORDER BY namespace DESC, key DESC LIMIT 1"
        );
        let params: [Param<'_>; 3] = [(&last.0, Type::BYTEA), (&last.1, Type::TEXT), (&ROWS, Type::INT8)];
        if let Some(row) = self.query(&sql, &params).await?.first() {
            let read = |error| QueryError::database(error);
            return Ok(Some((row.try_get(0).map_err(read)?, row.try_get(1).map_err(read)?)));
        }
        let sql = format!(
            "INSERT INTO {schema}.setting (name, value) VALUES ('memory_embedding', 'complete')
             ON CONFLICT (name) DO NOTHING"
        );
        self.query(&sql, &[]).await?;
        Ok(None)
    }
}
