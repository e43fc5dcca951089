//! Tables of the embedding program, over the pool of the store.

use std::{error::Error, fmt};

use agent_core::journal::StoreError;
use tokio_postgres::{Row, types::Type};

use crate::{
    Postgres,
    connection::Param,
    error::{reason, store_error},
};

/// Key of the advisory lock of migrations (`own tabl`).
const LOCK: i64 = 0x6f77_6e20_7461_626c;

/// Error of a statement on a program's own tables. Contains no parameters and no addresses.
///
/// # Examples
///
/// ```no_run
/// # async fn count(database: &agent_postgres::Postgres) {
/// if let Err(error) = database.query("SELECT count(*) FROM orders", &[]).await {
///     eprintln!("the orders cannot be counted: {error}");
/// }
/// # }
/// ```
pub struct QueryError(Kind);

enum Kind {
    /// The database could not be asked.
    Unavailable(StoreError),
    /// The database refused the statement, or the connection failed.
    Database(tokio_postgres::Error),
}

impl QueryError {
    pub(crate) const fn unavailable(error: StoreError) -> Self {
        Self(Kind::Unavailable(error))
    }

    pub(crate) const fn database(error: tokio_postgres::Error) -> Self {
        Self(Kind::Database(error))
    }

    pub(crate) fn into_store_error(self) -> StoreError {
        match self.0 {
            Kind::Unavailable(error) => error,
            Kind::Database(error) => store_error(&error),
        }
    }

    /// Returns the SQLSTATE of the database, for example `23503` for a foreign key without a row; `None` if the database did
    /// not respond.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn save(database: &agent_postgres::Postgres) -> Result<(), agent_postgres::QueryError> {
    /// match database.query("INSERT INTO orders (customer) VALUES (7)", &[]).await {
    ///     Err(error) if error.code() == Some("23503") => println!("there is no such customer"),
    ///     result => drop(result?),
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match &self.0 {
            Kind::Unavailable(_) => None,
            Kind::Database(error) => error.code().map(tokio_postgres::error::SqlState::code),
        }
    }

    /// Returns whether the same statement may succeed later: the database did not respond, or ended the transaction.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn save(database: &agent_postgres::Postgres) -> Result<(), agent_postgres::QueryError> {
    /// let sql = "UPDATE orders SET sent = true WHERE id = 7";
    /// match database.query(sql, &[]).await {
    ///     Err(error) if error.is_transient() => drop(database.query(sql, &[]).await?),
    ///     result => drop(result?),
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_transient(&self) -> bool {
        // Classes 08 connection, 40 rollback, 53 resources, 57 operator intervention, 58 system.
        self.code()
            .is_none_or(|code| ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)))
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Unavailable(error) => error.fmt(f),
            Kind::Database(error) => f.write_str(&reason(error)),
        }
    }
}

impl fmt::Debug for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryError").field("reason", &self.to_string()).finish()
    }
}

impl Error for QueryError {}

/// Tables of the program.
impl Postgres {
    /// Runs a statement on the program's own tables, in one round trip on a connection of the pool. Names without a schema
    /// are resolved by the `search_path` of the database user, usually to `public`.
    ///
    /// Parameters are `$1`, `$2`, each with its type. Wrap several statements that belong together in one (`WITH`, a
    /// function).
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the statement may have been executed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_postgres::{Postgres, Type};
    ///
    /// # async fn greet(database: &Postgres) -> Result<(), Box<dyn std::error::Error>> {
    /// let sql = "SELECT name FROM customers WHERE id = $1";
    /// for row in database.query(sql, &[(&7_i64, Type::INT8)]).await? {
    ///     println!("hello, {}", row.try_get::<_, String>(0)?);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, QueryError> {
        self.inner.query(sql, params).await
    }

    /// Runs a script, for example a migration that creates the program's own tables: all of it or nothing. Processes that
    /// start at the same time run it one after the other; write it so that it can run twice (`IF NOT EXISTS`). It must not
    /// contain `BEGIN` or `COMMIT`.
    ///
    /// # Errors
    ///
    /// [`QueryError`]. Nothing of the script has taken effect then.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the script is rolled back unless it was complete.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn prepare(database: &agent_postgres::Postgres) -> Result<(), agent_postgres::QueryError> {
    /// database.migrate("CREATE TABLE IF NOT EXISTS customers (id bigint PRIMARY KEY, name text NOT NULL)").await?;
    /// # Ok(()) }
    /// ```
    pub async fn migrate(&self, script: &str) -> Result<(), QueryError> {
        let mut client = self.inner.client().await.map_err(QueryError::unavailable)?;
        let transaction = client.transaction().await.map_err(QueryError::database)?;
        // Ends with the transaction, so it also holds behind PgBouncer in transaction mode.
        transaction
            .query_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)])
            .await
            .map_err(QueryError::database)?;
        transaction.batch_execute(script).await.map_err(QueryError::database)?;
        transaction.commit().await.map_err(QueryError::database)
    }
}
