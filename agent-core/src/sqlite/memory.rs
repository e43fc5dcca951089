//! SQLite `MemoryStore`. Can share the database file with the journals.

use std::{ops::ControlFlow, sync::Arc};

use futures::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    Sqlite,
    error::Fault,
    queue::{FREES, cost},
};
use crate::{
    clock::millis,
    journal::StoreError,
    memory::{
        Item, MemoryError, MemoryStore, Namespace, Put, Search, SearchHit,
        batch::Batching,
        search::Picker,
        store::{check_many, check_name},
    },
    model::Embedder,
};

/// Maximum number of expired items that one put removes, so that no put is slow.
const SWEEP: u32 = 100;

/// Long-term memory in the file of a [`Sqlite`]. Cheap to clone.
///
/// # Examples
///
/// ```no_run
/// use agent_core::{Runtime, sqlite::Sqlite};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Sqlite::open("agents.db")?;
/// let runtime = Runtime::builder().journal(store.clone()).memory(store.memory()).build();
/// # drop(runtime);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SqliteMemory {
    sqlite: Sqlite,
    embedder: Option<Arc<Batching>>,
}

impl Sqlite {
    /// Returns the long-term memory in the same file. It keeps the file open.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::Runtime;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use agent_core::sqlite::Sqlite;
    ///
    /// let sqlite = Sqlite::open(":memory:")?;
    /// let runtime = Runtime::builder().memory(sqlite.memory()).journal(sqlite).build();
    /// assert!(runtime.has_journal());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn memory(&self) -> SqliteMemory {
        SqliteMemory { sqlite: self.clone(), embedder: None }
    }
}

impl SqliteMemory {
    /// Sets the embedder for items that are put from now on, so that they can be searched by meaning. Default:
    /// none.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::{model::WordEmbeddings, sqlite::Sqlite};
    /// use std::sync::Arc;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let memory = Sqlite::open("agents.db")?.memory().with_embedder(Arc::new(WordEmbeddings));
    /// # drop(memory);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = Some(Arc::new(Batching::new(embedder)));
        self
    }
}

/// Columns of an item: key, value, created, updated, expires, namespace.
const ITEM: &str = "key, value, created, updated, expires, namespace";

struct Stored {
    key: String,
    value: String,
    created: i64,
    updated: i64,
    expires: Option<i64>,
    namespace: Vec<u8>,
}

fn stored(row: &Row<'_>) -> Result<Stored, rusqlite::Error> {
    Ok(Stored {
        key: row.get(0)?,
        value: row.get(1)?,
        created: row.get(2)?,
        updated: row.get(3)?,
        expires: row.get(4)?,
        namespace: row.get(5)?,
    })
}

impl Stored {
    fn item(self) -> Result<Item, MemoryError> {
        let value = crate::json::read(&self.value).map_err(|error| StoreError::Damaged {
            reason: format!("the value of an item is not valid JSON: {error}"),
        })?;
        Ok(Item {
            namespace: Namespace::decoded(&self.namespace)?,
            key: self.key,
            value,
            created_at: self.created,
            updated_at: self.updated,
            expires_at: self.expires,
        })
    }
}

struct NewRow {
    namespace: Vec<u8>,
    key: String,
    value: String,
    vector: Option<Vec<u8>>,
    now: i64,
    expires: Option<i64>,
}

fn put(db: &Connection, row: &NewRow) -> Result<(), Fault> {
    db.prepare_cached("DELETE FROM memory WHERE id IN (SELECT id FROM memory WHERE expires <= ?1 LIMIT ?2)")?
        .execute(params![row.now, SWEEP])?;
    db.prepare_cached(
        "INSERT INTO memory (namespace, key, value, vector, created, updated, expires)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)
         ON CONFLICT (namespace, key) DO UPDATE SET
             -- An expired item is another item, even if it was not swept yet.
             created = iif(memory.expires <= ?5, ?5, memory.created),
             value = ?3, vector = ?4, updated = ?5, expires = ?6",
    )?
    .execute(params![row.namespace, row.key, row.value, row.vector, row.now, row.expires])?;
    Ok(())
}

fn get(db: &Connection, namespace: &[u8], key: &str, now: i64) -> Result<Option<Stored>, Fault> {
    let row = db
        .prepare_cached(&format!(
            "SELECT {ITEM} FROM memory
             WHERE namespace = ?1 AND key = ?2 AND (expires IS NULL OR expires > ?3)"
        ))?
        .query_row(params![namespace, key, now], stored)
        .optional()?;
    Ok(row)
}

fn delete(db: &Connection, namespace: &[u8], key: &str, now: i64) -> Result<bool, Fault> {
    let seen = get(db, namespace, key, now)?.is_some();
    db.prepare_cached("DELETE FROM memory WHERE namespace = ?1 AND key = ?2")?
        .execute(params![namespace, key])?;
    Ok(seen)
}

fn search(
    db: &Connection,
    search: &Search,
    near: Option<&Vec<f32>>,
    now: i64,
) -> Result<Result<Vec<SearchHit>, MemoryError>, Fault> {
    if search.limit == 0 {
        return Ok(Ok(Vec::new()));
    }
    let mut picker = Picker::new(search, near.cloned());
    // Greater than every encoded namespace: no UTF-8 text begins with this byte.
    let end = search.namespace.encoded_end().unwrap_or_else(|| vec![0xff]);
    // Vectors may be larger than the values and are read only if the search needs them.
    let vector = if near.is_some() { "vector" } else { "NULL" };
    let mut statement = db.prepare_cached(&format!(
        "SELECT {ITEM}, {vector} FROM memory
         WHERE namespace >= ?1 AND namespace < ?2 AND (expires IS NULL OR expires > ?3)
         ORDER BY namespace, key"
    ))?;
    let mut rows = statement.query(params![search.namespace.encoded(), end, now])?;
    let mut buffer = Vec::new();
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(6)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
        let vector = bytes.map(|bytes| {
            buffer.clear();
            buffer.extend(bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)));
            buffer.as_slice()
        });
        let ControlFlow::Continue(score) = picker.score(vector) else { continue };
        let item = match stored(row)?.item() {
            Ok(item) => item,
            Err(error) => return Ok(Err(error)),
        };
        if picker.offer(item, score).is_break() {
            break;
        }
    }
    Ok(Ok(picker.finish()))
}

impl MemoryStore for SqliteMemory {
    fn put(&self, item: Put) -> BoxFuture<'_, Result<(), MemoryError>> {
        self.put_many(vec![item])
    }

    fn put_many(&self, items: Vec<Put>) -> BoxFuture<'_, Result<(), MemoryError>> {
        Box::pin(async move {
            let values = check_many(&items)?;
            if items.is_empty() {
                return Ok(());
            }
            let vectors = match &self.embedder {
                Some(embedder) => embedder.embed(items.iter().map(Put::meaning).collect()).await?,
                None => Vec::new(),
            };
            let mut vectors = vectors.into_iter();
            let now = self.sqlite.clock().now_ms();
            let bytes = values.iter().map(String::len).sum();
            let rows: Vec<NewRow> = items
                .into_iter()
                .zip(values)
                .map(|(item, value)| NewRow {
                    namespace: item.namespace.encoded(),
                    key: item.key,
                    value,
                    vector: vectors
                        .next()
                        .map(|vector| vector.iter().flat_map(|x| x.to_le_bytes()).collect()),
                    now,
                    expires: item.ttl.map(|ttl| now.saturating_add(millis(ttl))),
                })
                .collect();
            let put_all = move |db: &Connection| rows.iter().try_for_each(|row| put(db, row));
            Ok(self.sqlite.write(cost(bytes), put_all).await?)
        })
    }

    fn get(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<Option<Item>, MemoryError>> {
        let checked = check_name(namespace, key);
        let (namespace, key) = (namespace.encoded(), key.to_owned());
        Box::pin(async move {
            checked?;
            let now = self.sqlite.clock().now_ms();
            let row = self.sqlite.read(move |db| get(db, &namespace, &key, now)).await?;
            row.map(Stored::item).transpose()
        })
    }

    fn delete(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<bool, MemoryError>> {
        let checked = check_name(namespace, key);
        let (namespace, key) = (namespace.encoded(), key.to_owned());
        Box::pin(async move {
            checked?;
            let now = self.sqlite.clock().now_ms();
            Ok(self.sqlite.write(FREES, move |db| delete(db, &namespace, &key, now)).await?)
        })
    }

    fn search(&self, wanted: Search) -> BoxFuture<'_, Result<Vec<SearchHit>, MemoryError>> {
        Box::pin(async move {
            wanted.check()?;
            let near = match (&wanted.near, &self.embedder) {
                (None, _) => None,
                (Some(_), None) => return Err(MemoryError::NoEmbedder),
                (Some(text), Some(embedder)) => embedder.embed_now(text.clone()).await?,
            };
            let now = self.sqlite.clock().now_ms();
            self.sqlite.read(move |db| search(db, &wanted, near.as_ref(), now)).await?
        })
    }
}
