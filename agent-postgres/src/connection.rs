//! [`Postgres`]: the pool, its settings, and the execution of statements.

use std::{fmt, sync::Arc, time::Duration};

use agent_core::{clock::Clock, journal::StoreError, secret::Secret, task_group::TaskGroup};
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::{
    Config, Row,
    types::{ToSql, Type},
};

use crate::{
    ConnectError,
    acquire::QueuedAcquire,
    address::Address,
    append::QueuedAppend,
    channel::Listener,
    error, migrate,
    queue::BatchQueue,
    tables::QueryError,
    tls,
    vectors::{self, Vectors},
};

const CONNECT_TIME: Duration = Duration::from_secs(5);

/// A parameter of a statement and its type.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Journals and long-term memory in a PostgreSQL database. Cheap to clone.
///
/// # Examples
///
/// ```no_run
/// use agent_core::{Runtime, secret::Secret};
/// use agent_postgres::Postgres;
///
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Postgres::connect(&Secret::new("postgres://agent:password@localhost/agents")).await?;
/// let runtime = Runtime::builder().journal(store.clone()).memory(store.memory()).build();
/// # drop(runtime);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Postgres {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pool: Pool,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) appends: BatchQueue<QueuedAppend>,
    pub(crate) leases: BatchQueue<QueuedAcquire>,
    pub(crate) sql: crate::queries::Statements,
    pub(crate) listener: Listener,
    pub(crate) group: TaskGroup,
    pub(crate) vectors: Vectors,
    place: String,
    cache: StatementCache,
    query_time: Duration,
}

/// Reuse of prepared statements.
///
/// # Examples
///
/// ```
/// use agent_postgres::{Postgres, StatementCache};
///
/// let builder = Postgres::builder().statement_cache(StatementCache::PerConnection);
/// # drop(builder);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatementCache {
    /// Every execution parses its statement. Required with PgBouncer in transaction mode, because its clients share
    /// connections and therefore names of statements.
    #[default]
    None,
    /// Each connection keeps its prepared statements, which saves the parsing.
    PerConnection,
}

/// Settings of a [`Postgres`].
///
/// # Examples
///
/// ```
/// use agent_postgres::Postgres;
///
/// let builder = Postgres::builder().schema("agents").max_connections(8);
/// assert!(format!("{builder:?}").contains("agents"));
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `connect`"]
pub struct PostgresBuilder {
    schema: String,
    min_connections: usize,
    max_connections: usize,
    writers: usize,
    cache: StatementCache,
    query_time: Duration,
    clock: Option<Arc<dyn Clock>>,
    listen_at: Option<Secret>,
}

impl Default for PostgresBuilder {
    fn default() -> Self {
        Self {
            schema: "agent".to_owned(),
            min_connections: 1,
            max_connections: 16,
            writers: 2,
            cache: StatementCache::default(),
            query_time: Duration::from_secs(10),
            clock: None,
            listen_at: None,
        }
    }
}

impl PostgresBuilder {
    /// Sets the schema with the tables; it is created if it is missing. Default: `agent`.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_postgres::Postgres;
    ///
    /// let builder = Postgres::builder().schema("agents");
    /// assert!(format!("{builder:?}").contains(r#"schema: "agents""#));
    /// ```
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Sets the number of connections that [`connect`](Self::connect) opens. They stay open; one that fails is replaced when
    /// it is needed. Default: 1; at most the maximum.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_postgres::Postgres;
    ///
    /// let builder = Postgres::builder().min_connections(5).max_connections(20);
    /// assert!(format!("{builder:?}").contains("min_connections: 5"));
    /// ```
    pub fn min_connections(mut self, connections: usize) -> Self {
        self.min_connections = connections;
        self
    }

    /// Sets the maximum number of connections. Default: 16; at least 2.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_postgres::Postgres;
    ///
    /// let builder = Postgres::builder().max_connections(32);
    /// assert!(format!("{builder:?}").contains("max_connections: 32"));
    /// ```
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections.max(2);
        self
    }

    /// Sets the maximum number of transactions that append at the same time. Appends that wait for them share the next one.
    /// Default: 2.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_postgres::Postgres;
    ///
    /// let builder = Postgres::builder().writers(4);
    /// assert!(format!("{builder:?}").contains("writers: 4"));
    /// ```
    pub fn writers(mut self, writers: usize) -> Self {
        self.writers = writers.max(1);
        self
    }

    /// Sets whether prepared statements are kept. Default: [`StatementCache::None`].
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_postgres::{Postgres, StatementCache};
    ///
    /// let builder = Postgres::builder().statement_cache(StatementCache::PerConnection);
    /// assert!(format!("{builder:?}").contains("PerConnection"));
    /// ```
    pub const fn statement_cache(mut self, cache: StatementCache) -> Self {
        self.cache = cache;
        self
    }

    /// Sets the timeout for a statement. Default: 10 s.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_postgres::Postgres;
    /// use std::time::Duration;
    ///
    /// let builder = Postgres::builder().query_timeout(Duration::from_secs(3));
    /// assert!(format!("{builder:?}").contains("3s"));
    /// ```
    pub fn query_timeout(mut self, timeout: Duration) -> Self {
        self.query_time = timeout;
        self
    }

    /// Sets the clock of leases and times to live. Default: the clock of the database.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::clock::ManualClock;
    /// use agent_postgres::Postgres;
    /// use std::sync::Arc;
    ///
    /// // A test moves this clock forward to let a lease expire.
    /// let clock = Arc::new(ManualClock::default());
    /// let builder = Postgres::builder().clock(clock.clone());
    /// # drop(builder);
    /// ```
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets another address for the connection that listens for messages of other processes. Necessary if the address is
    /// that of PgBouncer in transaction mode, where a connection cannot listen. Default: the address.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::secret::Secret;
    /// use agent_postgres::Postgres;
    ///
    /// // Statements go through PgBouncer; `LISTEN` needs a connection to the database itself.
    /// let builder = Postgres::builder().listen_at(Secret::new("postgres://agent:password@db.internal:5432/agents"));
    /// assert!(!format!("{builder:?}").contains("password"));
    /// ```
    pub fn listen_at(mut self, address: Secret) -> Self {
        self.listen_at = Some(address);
        self
    }

    /// Connects, and creates or updates the tables.
    ///
    /// Over the network, TLS is required and the certificate is verified, unless the address has another `sslmode`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]. It names host and database, and never a password.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::secret::Secret;
    /// use agent_postgres::{ConnectError, Postgres};
    ///
    /// # async fn open() -> Result<(), ConnectError> {
    /// let address = Secret::new("postgres://agent:password@localhost/agents?sslmode=disable");
    /// let store = Postgres::builder().schema("agents").connect(&address).await?;
    /// println!("connected to {}", store.place());
    /// # Ok(()) }
    /// ```
    pub async fn connect(self, address: &Secret) -> Result<Postgres, ConnectError> {
        if !is_schema(&self.schema) {
            return Err(ConnectError::Schema);
        }
        let listen_at = Address::parse(self.listen_at.as_ref().unwrap_or(address))?;
        let address = Address::parse(address)?;
        let connector = tls::connector(address.root.as_deref())?;
        let listener = Listener {
            tls: tls::connector(listen_at.root.as_deref())?,
            config: self.timeouts(listen_at.config),
        };
        let place = address.place();
        let config = self.timeouts(address.config);
        let manager = Manager::from_config(
            config,
            connector,
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let timeouts =
            Timeouts { wait: Some(CONNECT_TIME), create: Some(CONNECT_TIME), recycle: Some(CONNECT_TIME) };
        let pool = Pool::builder(manager)
            .max_size(self.max_connections)
            .runtime(Runtime::Tokio1)
            .timeouts(timeouts)
            .build()
            .map_err(|error| ConnectError::Tls(error.to_string()))?;
        let unreachable = |source: StoreError| ConnectError::Unreachable {
            place: place.clone(),
            reason: match source {
                StoreError::Unavailable { reason } => reason,
                other => other.to_string(),
            },
        };
        let mut client = pool.get().await.map_err(|error| unreachable(error::pool_error(&error)))?;
        migrate::run(&mut client, &self.schema)
            .await
            .map_err(|source| ConnectError::Migrate { place: place.clone(), source })?;
        let vectors = vectors::prepare(&mut client, &self.schema).await;
        let more = self.min_connections.min(self.max_connections).saturating_sub(1);
        let opened = futures::future::try_join_all((0..more).map(|_| pool.get())).await;
        // They return to the pool together, so that each of them was a new one.
        drop((opened.map_err(|error| unreachable(error::pool_error(&error)))?, client));
        let inner = Arc::new(Inner {
            pool,
            clock: self.clock,
            appends: BatchQueue::new(self.writers),
            leases: BatchQueue::new(self.writers),
            sql: crate::queries::Statements::new(&self.schema),
            listener,
            group: TaskGroup::default(),
            vectors,
            place,
            cache: self.cache,
            query_time: self.query_time,
        });
        if inner.vectors.is_incomplete() {
            inner.group.spawn(vectors::fill(Arc::downgrade(&inner)));
        }
        Ok(Postgres { inner })
    }
}

impl PostgresBuilder {
    fn timeouts(&self, mut config: Config) -> Config {
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIME);
        }
        if config.get_application_name().is_none() {
            config.application_name("agent-postgres");
        }
        config.keepalives_idle(Duration::from_secs(5)).keepalives_interval(Duration::from_secs(2));
        config.keepalives_retries(2).tcp_user_timeout(self.query_time);
        config
    }
}

impl Drop for Inner {
    /// Stops the task that listens.
    fn drop(&mut self) {
        self.group.stop();
    }
}

fn is_schema(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=63).contains(&name.len()) && name.bytes().all(legal) && !name.as_bytes()[0].is_ascii_digit()
}

impl Postgres {
    /// Connects with default settings, and creates or updates the tables.
    ///
    /// # Errors
    ///
    /// As [`PostgresBuilder::connect`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_core::secret::Secret;
    /// use agent_postgres::{ConnectError, Postgres};
    ///
    /// # async fn open() {
    /// match Postgres::connect(&Secret::new("postgres://agent:password@localhost/agents")).await {
    ///     Ok(store) => println!("connected to {}", store.place()),
    ///     Err(ConnectError::Unreachable { place, reason }) => eprintln!("{place}: {reason}"),
    ///     Err(error) => eprintln!("{error}"),
    /// }
    /// # }
    /// ```
    pub async fn connect(address: &Secret) -> Result<Self, ConnectError> {
        Self::builder().connect(address).await
    }

    /// Returns a builder.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_postgres::Postgres;
    ///
    /// let builder = Postgres::builder();
    /// assert!(format!("{builder:?}").contains(r#"schema: "agent""#));
    /// ```
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder::default()
    }

    /// Returns database, host and port, for messages; without user and password.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # fn log(store: &agent_postgres::Postgres) {
    /// println!("journal in {}", store.place());
    /// # }
    /// ```
    #[must_use]
    pub fn place(&self) -> &str {
        &self.inner.place
    }

    /// Returns a value that all processes on the database share, and stores `initial` if there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn salt(store: &agent_postgres::Postgres) -> Result<(), agent_core::journal::StoreError> {
    /// // The first process stores its value; the others get that one.
    /// let region = store.setting("region", "eu-1").await?;
    /// println!("{region}");
    /// # Ok(()) }
    /// ```
    pub async fn setting(&self, name: &str, initial: &str) -> Result<String, StoreError> {
        let schema = &self.inner.sql.schema;
        // The update makes the row visible that another process inserted.
        let sql = format!(
            "INSERT INTO {schema}.setting AS s (name, value) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET value = s.value RETURNING value"
        );
        let row = self.inner.one(&sql, &[(&name, Type::TEXT), (&initial, Type::TEXT)]).await?;
        column(&row, 0)
    }

    /// Checks that the database responds.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn health(store: &agent_postgres::Postgres) -> &'static str {
    /// match store.ping().await {
    ///     Ok(()) => "ok",
    ///     Err(_) => "the database does not respond",
    /// }
    /// # }
    /// ```
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.inner.rows("SELECT 1", &[]).await.map(drop)
    }
}

impl Inner {
    /// The time for statements that take one: `NULL` lets the database use its own clock.
    pub(crate) fn now(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| clock.now_ms())
    }

    pub(crate) async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| error::pool_error(&error))
    }

    /// Runs a statement in one round trip.
    pub(crate) async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        self.query(sql, params).await.map_err(QueryError::into_store_error)
    }

    /// As [`rows`](Self::rows), with the error of the database.
    pub(crate) async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, QueryError> {
        let client = self.client().await.map_err(QueryError::unavailable)?;
        let query = async {
            if self.cache == StatementCache::PerConnection {
                let types: Vec<Type> = params.iter().map(|(_, kind)| kind.clone()).collect();
                let values: Vec<&(dyn ToSql + Sync)> = params.iter().map(|(value, _)| *value).collect();
                let statement = client.prepare_typed_cached(sql, &types).await?;
                client.query(&statement, &values).await
            } else {
                client.query_typed(sql, params).await
            }
        };
        match tokio::time::timeout(self.query_time, query).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(QueryError::database(error)),
            Err(_) => {
                // Its response would be read by the next user of the connection.
                drop(Object::take(client));
                Err(QueryError::unavailable(error::timed_out(self.query_time)))
            }
        }
    }

    /// Runs a statement that may be repeated: again if the connection was closed, as those of the pool are after a restart
    /// of the database.
    pub(crate) async fn repeatable(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        match self.rows(sql, params).await {
            Err(StoreError::Unavailable { .. }) => self.rows(sql, params).await,
            result => result,
        }
    }

    /// Runs a repeatable statement that returns one row.
    pub(crate) async fn one(&self, sql: &str, params: &[Param<'_>]) -> Result<Row, StoreError> {
        single(self.repeatable(sql, params).await?)
    }
}

pub(crate) fn single(rows: Vec<Row>) -> Result<Row, StoreError> {
    rows.into_iter()
        .next()
        .ok_or_else(|| StoreError::Damaged { reason: "a function returned no row".to_owned() })
}

/// The error for a statement that does not return one row for each of its calls.
pub(crate) fn wrong_number_of_results() -> StoreError {
    StoreError::Damaged { reason: "a function returned the wrong number of results".to_owned() }
}

/// Reads a column.
pub(crate) fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    at: usize,
) -> Result<T, StoreError> {
    row.try_get(at).map_err(|error| StoreError::Damaged { reason: error::reason(&error) })
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("place", &self.inner.place).finish_non_exhaustive()
    }
}
