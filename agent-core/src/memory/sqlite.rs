//! Keeps items in an SQLite file, the same one as the journals when that is wanted.

use std::{ops::ControlFlow, sync::Arc};

use futures::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    search::{Picker, embed},
    store::{Embedder, Found, Item, MemoryError, MemoryStore, Namespace, Put, Search, check_name},
};
use crate::{
    clock::millis,
    journal::{
        StoreError,
        sqlite::{FREES, Sqlite, cost, fault::Fault},
    },
};

/// Items whose time ran out that one put removes at most, so that no put is slow.
const SWEEP: u32 = 100;

/// The long-term store in the file of a [`Sqlite`]. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SqliteMemory {
    sqlite: Sqlite,
    embedder: Option<Arc<dyn Embedder>>,
}

impl Sqlite {
    /// The long-term store in the same file. It keeps the file open.
    #[must_use]
    pub fn memory(&self) -> SqliteMemory {
        SqliteMemory { sqlite: self.clone(), embedder: None }
    }
}

impl SqliteMemory {
    /// Embeds what is put from now on, so that it can be searched by meaning. Default: nothing is embedded.
    #[must_use]
    pub fn with_embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = Some(embedder);
        self
    }
}

/// A row of the table as far as an item goes: key, value, created, updated, expires, namespace.
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
        let value = serde_json::from_str(&self.value).map_err(|error| StoreError::Damaged {
            reason: format!("the value of an item cannot be read: {error}"),
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
             -- One whose time ran out is another item, even if it was not swept yet.
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
) -> Result<Result<Vec<Found>, MemoryError>, Fault> {
    if search.limit == 0 {
        return Ok(Ok(Vec::new()));
    }
    let mut picker = Picker::new(search, near.cloned());
    // Above every encoded namespace: no UTF-8 begins with this byte.
    let end = search.namespace.encoded_end().unwrap_or_else(|| vec![0xff]);
    // Without a meaning to look for, nobody needs the vectors, which may be larger than the values.
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
        Box::pin(async move {
            let value = item.checked()?;
            let vector = match &self.embedder {
                Some(embedder) => Some(embed(&**embedder, item.meaning()).await?),
                None => None,
            };
            let vector = vector.map(|vector| vector.iter().flat_map(|x| x.to_le_bytes()).collect());
            let now = self.sqlite.clock().now_ms();
            let expires = item.ttl.map(|ttl| now.saturating_add(millis(ttl)));
            let namespace = item.namespace.encoded();
            let bytes = value.len();
            let row = NewRow { namespace, key: item.key, value, vector, now, expires };
            Ok(self.sqlite.write(cost(bytes), move |db| put(db, &row)).await?)
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

    fn search(&self, wanted: Search) -> BoxFuture<'_, Result<Vec<Found>, MemoryError>> {
        Box::pin(async move {
            wanted.check()?;
            let near = match (&wanted.near, &self.embedder) {
                (None, _) => None,
                (Some(_), None) => return Err(MemoryError::NoEmbedder),
                (Some(text), Some(embedder)) => Some(embed(&**embedder, text.clone()).await?),
            };
            let now = self.sqlite.clock().now_ms();
            self.sqlite.read(move |db| search(db, &wanted, near.as_ref(), now)).await?
        })
    }
}
