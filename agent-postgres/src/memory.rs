//! [`MemoryStore`] on PostgreSQL.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use agent_core::{
    journal::StoreError,
    json,
    memory::{
        Filter, Item, MemoryError, MemoryStore, Namespace, Put, Search, SearchHit,
        backend::{Batching, Picker, check_many, check_name},
    },
    model::Embedder,
};
use futures::{StreamExt, future::BoxFuture};
use tokio_postgres::{Row, types::Type};

use crate::{
    Postgres,
    connection::{Param, column},
    error::store_error,
    vectors,
};

/// Candidates beyond those that are needed: the database adds the products of numbers in another order, so the order of almost
/// equal ones may differ.
const MARGIN: usize = 16;

/// Long-term memory in the database of a [`Postgres`]. Cheap to clone.
///
/// # Examples
///
/// ```no_run
/// use agent_core::memory::{MemoryError, MemoryStore, Namespace, Put};
/// use agent_postgres::Postgres;
/// use serde_json::json;
///
/// # async fn remember(store: &Postgres) -> Result<(), MemoryError> {
/// let memory = store.memory();
/// memory.put(Put::new(Namespace::new(["users", "mina"])?, "city", json!("Seoul"))).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct PostgresMemory {
    postgres: Postgres,
    embedder: Option<Arc<Batching>>,
}

impl Postgres {
    /// Returns the long-term memory in the same database.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::Runtime;
    ///
    /// # fn start(store: &agent_postgres::Postgres) {
    /// let runtime = Runtime::builder().journal(store.clone()).memory(store.memory()).build();
    /// # drop(runtime);
    /// # }
    /// ```
    #[must_use]
    pub fn memory(&self) -> PostgresMemory {
        PostgresMemory { postgres: self.clone(), embedder: None }
    }
}

impl PostgresMemory {
    /// Sets the embedder for items that are put from now on, so that they can be searched by meaning. Default: none.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::model::{Embedder, openai::OpenAiEmbeddings};
    /// use std::sync::Arc;
    ///
    /// # fn memory(store: &agent_postgres::Postgres, embedder: Arc<dyn Embedder>) {
    /// let memory = store.memory().with_embedder(embedder);
    /// # drop(memory);
    /// # }
    /// ```
    #[must_use]
    pub fn with_embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = Some(Arc::new(Batching::new(embedder)));
        self
    }

    /// Returns whether searches by meaning are executed in the database, by the extension pgvector. Otherwise this process reads
    /// the vectors of a namespace and compares them; the results are the same.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn log(store: &agent_postgres::Postgres) {
    /// if !store.memory().searches_in_database() {
    ///     println!("install pgvector for a large memory: CREATE EXTENSION vector");
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn searches_in_database(&self) -> bool {
        self.postgres.inner.vectors.usable().is_some()
    }

    async fn select(&self, wanted: &Search, near: Option<Vec<f32>>) -> Result<Vec<SearchHit>, MemoryError> {
        if wanted.limit == 0 {
            return Ok(Vec::new());
        }
        let vectors = &self.postgres.inner.vectors;
        if let Some(near) = near.as_ref().filter(|near| near.len() <= vectors::NUMBERS) {
            while let Some(extension) = vectors.usable() {
                match self.nearest(extension, wanted, near).await {
                    Ok(found) => return found,
                    Err(error) if vectors.ended_by(&error) => {}
                    Err(error) => return Err(store_error(&error).into()),
                }
            }
        }
        self.scan(wanted, near).await
    }

    /// Searches by meaning in the database. The candidates are compared here once more, so that their order and scores are those
    /// of [`scan`](Self::scan).
    async fn nearest(
        &self,
        extension: &str,
        wanted: &Search,
        near: &[f32],
    ) -> Result<Result<Vec<SearchHit>, MemoryError>, tokio_postgres::Error> {
        let inner = &self.postgres.inner;
        let schema = &inner.sql.schema;
        let sql = format!(
            "SELECT * FROM (
                 SELECT key, value, created, updated, expires, namespace, vector FROM {schema}.memory
                 WHERE namespace >= $1 AND namespace < $2 AND (expires IS NULL OR expires > {schema}.now_v1($3))
                     AND octet_length(vector) = $4
                 ORDER BY embedding OPERATOR({extension}.<#>) $5::float4[]::{extension}.vector, namespace, key LIMIT $6
             ) nearest ORDER BY namespace, key"
        );
        let range = Range::of(wanted);
        let (now, bytes) = (inner.now(), i32::try_from(near.len() * 4).unwrap_or(i32::MAX));
        // Conditions on values are tested here, so some candidates may be refused.
        let (factor, more) = if wanted.filters.is_empty() { (1, MARGIN) } else { (4, 64) };
        let mut count = (wanted.offset + wanted.limit) * factor + more;
        loop {
            let limit = i64::try_from(count).unwrap_or(i64::MAX);
            let params: [Param<'_>; 6] = [
                (&range.start, Type::BYTEA),
                (&range.end, Type::BYTEA),
                (&now, Type::INT8),
                (&bytes, Type::INT4),
                (&near, Type::FLOAT4_ARRAY),
                (&limit, Type::INT8),
            ];
            let client = match inner.client().await {
                Ok(client) => client,
                Err(error) => return Ok(Err(error.into())),
            };
            let mut rows = std::pin::pin!(client.query_typed_raw(&sql, params).await?);
            let mut candidates = Candidates::new(wanted, Some(near.to_vec()));
            while let Some(row) = rows.next().await {
                match candidates.offer(&row?) {
                    Ok(_) => {}
                    Err(error) => return Ok(Err(error)),
                }
            }
            if candidates.seen < count || candidates.fitting >= wanted.offset + wanted.limit {
                return Ok(Ok(candidates.picker.finish()));
            }
            count = count.saturating_mul(16);
        }
    }

    /// Searches by reading the namespace.
    async fn scan(&self, wanted: &Search, near: Option<Vec<f32>>) -> Result<Vec<SearchHit>, MemoryError> {
        let inner = &self.postgres.inner;
        // Vectors may be larger than the values and are read only if the search needs them.
        let vector = if near.is_some() { "vector" } else { "NULL::bytea" };
        let schema = &inner.sql.schema;
        let sql = format!(
            "SELECT key, value, created, updated, expires, namespace, {vector} FROM {schema}.memory
             WHERE namespace >= $1 AND namespace < $2 AND (expires IS NULL OR expires > {schema}.now_v1($3))
             ORDER BY namespace, key"
        );
        let (range, now) = (Range::of(wanted), inner.now());
        let params: [Param<'_>; 3] =
            [(&range.start, Type::BYTEA), (&range.end, Type::BYTEA), (&now, Type::INT8)];
        let client = inner.client().await?;
        let rows = client.query_typed_raw(&sql, params).await.map_err(|error| store_error(&error))?;
        let mut rows = std::pin::pin!(rows);
        let mut candidates = Candidates::new(wanted, near);
        while let Some(row) = rows.next().await {
            if candidates.offer(&row.map_err(|error| store_error(&error))?)?.is_break() {
                break;
            }
        }
        Ok(candidates.picker.finish())
    }
}

/// The encoded namespaces of a search.
struct Range {
    start: Vec<u8>,
    end: Vec<u8>,
}

impl Range {
    fn of(wanted: &Search) -> Self {
        Self {
            start: wanted.namespace.encoded(),
            // Greater than every encoded namespace: no UTF-8 text begins with this byte.
            end: wanted.namespace.encoded_end().unwrap_or_else(|| vec![0xff]),
        }
    }
}

/// Rows that are offered to a [`Picker`] in the order of their names.
struct Candidates<'a> {
    picker: Picker,
    filters: &'a [Filter],
    buffer: Vec<f32>,
    seen: usize,
    /// Those that meet the conditions.
    fitting: usize,
}

impl<'a> Candidates<'a> {
    fn new(wanted: &'a Search, near: Option<Vec<f32>>) -> Self {
        let picker = Picker::new(wanted, near);
        Self { picker, filters: &wanted.filters, buffer: Vec::new(), seen: 0, fitting: 0 }
    }

    /// Offers a row. `Break`: no further row is needed.
    fn offer(&mut self, row: &Row) -> Result<ControlFlow<()>, MemoryError> {
        self.seen += 1;
        let vector = column::<Option<&[u8]>>(row, 6)?.map(|bytes| {
            self.buffer.clear();
            self.buffer.extend(bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)));
            self.buffer.as_slice()
        });
        let ControlFlow::Continue(score) = self.picker.score(vector) else {
            return Ok(ControlFlow::Continue(()));
        };
        let item = item(row)?;
        self.fitting += usize::from(self.filters.iter().all(|filter| filter.matches(&item.value)));
        Ok(self.picker.offer(item, score))
    }
}

fn item(row: &Row) -> Result<Item, MemoryError> {
    let value = json::read(column::<&str>(row, 1)?).map_err(|error| StoreError::Damaged {
        reason: format!("the value of an item is not valid JSON: {error}"),
    })?;
    let mut item = Item::new(Namespace::decoded(column(row, 5)?)?, column::<String>(row, 0)?, value);
    (item.created_at, item.updated_at) = (column(row, 2)?, column(row, 3)?);
    item.expires_at = column(row, 4)?;
    Ok(item)
}

impl MemoryStore for PostgresMemory {
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
            let bytes = |vector: &Vec<f32>| vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            let mut vectors: Vec<Option<Vec<u8>>> =
                vectors.iter().map(|vector| Some(bytes(vector))).collect();
            vectors.resize(items.len(), None);
            let namespaces: Vec<Vec<u8>> = items.iter().map(|item| item.namespace.encoded()).collect();
            let keys: Vec<&str> = items.iter().map(|item| &*item.key).collect();
            let millis = |ttl: Duration| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).min(1 << 52);
            let ttls: Vec<Option<i64>> = items.iter().map(|item| item.ttl.map(millis)).collect();
            let inner = &self.postgres.inner;
            let now = inner.now();
            let params: [Param<'_>; 6] = [
                (&namespaces, Type::BYTEA_ARRAY),
                (&keys, Type::TEXT_ARRAY),
                (&values, Type::TEXT_ARRAY),
                (&vectors, Type::BYTEA_ARRAY),
                (&ttls, Type::INT8_ARRAY),
                (&now, Type::INT8),
            ];
            inner.repeatable(&inner.sql.remember, &params).await?;
            Ok(())
        })
    }

    fn get(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<Option<Item>, MemoryError>> {
        let checked = check_name(namespace, key);
        let (namespace, key) = (namespace.encoded(), key.to_owned());
        Box::pin(async move {
            checked?;
            let inner = &self.postgres.inner;
            let now = inner.now();
            let params: [Param<'_>; 3] = [(&namespace, Type::BYTEA), (&key, Type::TEXT), (&now, Type::INT8)];
            inner.repeatable(&inner.sql.recall, &params).await?.first().map(item).transpose()
        })
    }

    fn delete(&self, namespace: &Namespace, key: &str) -> BoxFuture<'_, Result<bool, MemoryError>> {
        let checked = check_name(namespace, key);
        let (namespace, key) = (namespace.encoded(), key.to_owned());
        Box::pin(async move {
            checked?;
            let inner = &self.postgres.inner;
            let now = inner.now();
            let params: [Param<'_>; 3] = [(&namespace, Type::BYTEA), (&key, Type::TEXT), (&now, Type::INT8)];
            let rows = inner.rows(&inner.sql.forget, &params).await?;
            Ok(rows.first().map(|row| column(row, 0)).transpose()?.unwrap_or(false))
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
            self.select(&wanted, near).await
        })
    }
}
