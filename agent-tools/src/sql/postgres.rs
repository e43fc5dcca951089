//! Queries of a PostgreSQL database, reading only.

use std::{fmt, fmt::Write, future::Future, time::Duration};

use agent_core::{
    secret::Secret,
    tool::{Tool, ToolContext, ToolError, ToolPolicy},
};
use futures::TryStreamExt;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio_postgres::{
    Client, Config, NoTls, Row,
    config::SslMode,
    error::SqlState,
    types::{ToSql, Type},
};

use super::rows::{CELL_CHARS, MAX_BYTES, MAX_ROWS, MAX_SQL, Rows, columns, cut, size};

const MAX_TIME: Duration = Duration::from_secs(10);
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Connection options. The server enforces the statement timeout, even if this process exits.
const SETTINGS: &str = "-c default_transaction_read_only=on -c statement_timeout=10s -c lock_timeout=2s \
    -c idle_in_transaction_session_timeout=20s";

/// Answers SQL queries from a PostgreSQL database: one `SELECT` in a read-only transaction on a new connection.
///
/// Functions of the database can do more than read tables (files, other servers), so a superuser is refused: give it a
/// user that may read what the model may. No TLS: for a server on the same machine, in a private network, or behind a
/// proxy that encrypts; an address that demands TLS is refused.
///
/// # Examples
///
/// ```
/// use agent_core::secret::Secret;
/// use agent_tools::PostgresQuery;
///
/// let address = Secret::new("postgres://reader:password@localhost/shop?sslmode=disable");
/// let query = PostgresQuery::new(&address, "Tables `orders` and `products` of a shop.")?;
/// # drop(query);
/// # Ok::<(), agent_tools::PostgresAddressError>(())
/// ```
#[derive(Clone)]
pub struct PostgresQuery {
    config: Box<Config>,
    description: String,
}

/// Arguments of [`PostgresQuery`].
#[derive(Debug, Deserialize, JsonSchema)]
pub struct PostgresQueryArgs {
    /// One `SELECT` in PostgreSQL's dialect. `information_schema.columns` shows the tables.
    pub query: String,
}

/// An address that cannot be used. Does not repeat it: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostgresAddressError {
    /// It is neither a URL nor a list of settings of PostgreSQL's.
    Malformed,
    /// It demands an encrypted connection.
    NeedsTls,
}

impl fmt::Display for PostgresAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the address of the database is not one of PostgreSQL",
            Self::NeedsTls => "the address of the database demands TLS, which this tool does not speak",
        })
    }
}

impl std::error::Error for PostgresAddressError {}

impl PostgresQuery {
    /// Reads the database at `address` (`postgres://user:word@host/name`). `about` describes the contents for the model.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::{secret::Secret, tool::ToolRegistry};
    /// use agent_tools::PostgresQuery;
    ///
    /// let address = Secret::new("postgres://reader:word@db.example/shop");
    /// let query = PostgresQuery::new(&address, "Table `orders(id, day, total)`.")?;
    /// let tools = ToolRegistry::builder().tool(query).build()?;
    /// assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PostgresAddressError`].
    pub fn new(address: &Secret, about: &str) -> Result<Self, PostgresAddressError> {
        let mut config: Config = address.expose().parse().map_err(|_| PostgresAddressError::Malformed)?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(PostgresAddressError::NeedsTls);
        }
        let options = match config.get_options() {
            Some(given) => format!("{given} {SETTINGS}"),
            None => SETTINGS.to_owned(),
        };
        config.options(options).connect_timeout(CONNECT_TIME).application_name("agent-tools");
        let description =
            format!("Answers an SQL query (PostgreSQL, reading only, at most 200 rows). {about}");
        Ok(Self { config: Box::new(config), description: description.trim_end().to_owned() })
    }
}

impl fmt::Debug for PostgresQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresQuery").finish_non_exhaustive()
    }
}

impl Tool for PostgresQuery {
    type Args = PostgresQueryArgs;
    type Output = Rows;

    fn name(&self) -> &str {
        "sql_query"
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only().timeout(CONNECT_TIME + MAX_TIME + Duration::from_secs(2))
    }

    async fn call(&self, args: PostgresQueryArgs, _: &ToolContext) -> Result<Rows, ToolError> {
        if args.query.len() > MAX_SQL {
            return Err(ToolError::failed(format!("a query has at most {MAX_SQL} bytes")));
        }
        let (client, connection) =
            self.config.connect(NoTls).await.map_err(|error| {
                ToolError::unavailable("the database cannot be reached").with_cause(error)
            })?;
        // Both here, in one future: dropped, the connection is closed with it.
        tokio::select! {
            biased; // what was answered counts, though the connection ends behind it
            rows = query(client, &args.query) => rows,
            ended = drive(connection) => Err(ended),
        }
    }
}

/// Keeps the connection going; ready only when it breaks.
async fn drive<C>(connection: C) -> ToolError
where
    C: Future<Output = Result<(), tokio_postgres::Error>>,
{
    match connection.await {
        Ok(()) => ToolError::unavailable("the database closed the connection"),
        Err(error) => ToolError::unavailable("the connection to the database broke").with_cause(error),
    }
}

async fn query(mut client: Client, sql: &str) -> Result<Rows, ToolError> {
    let superuser: String =
        client.query_one("SELECT current_setting('is_superuser')", &[]).await.map_err(to_tool_error)?.get(0);
    if superuser == "on" {
        return Err(ToolError::failed("the tool failed")
            .with_cause("the database's user is a superuser; use one that may read what the model may"));
    }
    let transaction = client.build_transaction().read_only(true).start().await.map_err(to_tool_error)?;
    // Alone first: it is one statement, it is complete, and it gives rows.
    let sql = sql.trim().trim_end_matches(';').trim_end();
    let alone = transaction.prepare(sql).await.map_err(to_tool_error)?;
    if alone.columns().is_empty() || !alone.params().is_empty() {
        return Err(ToolError::failed("only reading queries are allowed, without parameters"));
    }
    let columns = columns(alone.columns().iter().map(|column| column.name()))?;
    let types: Vec<Type> = alone.columns().iter().map(|column| column.type_().clone()).collect();
    let around = wrap(sql, &types);
    let none: [&(dyn ToSql + Sync); 0] = [];
    let found = transaction.query_raw(&around, none).await.map_err(to_tool_error)?;
    let mut found = std::pin::pin!(found);
    let (mut rows, mut more, mut bytes) = (Vec::new(), false, 0);
    while let Some(row) = found.try_next().await.map_err(to_tool_error)? {
        if rows.len() == MAX_ROWS || bytes > MAX_BYTES {
            more = true;
            break;
        }
        let cells = cells(&row, &types)?;
        bytes += size(&cells);
        rows.push(cells);
    }
    Ok(Rows { columns, rows, more })
}

/// The query as a table in another one, which makes texts of its cells and cuts them before they are sent. Only what
/// reads is possible there.
fn wrap(sql: &str, types: &[Type]) -> String {
    let mut outer = String::from("SELECT ");
    let mut names = String::new();
    for (at, kind) in types.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let cell = match *kind {
            Type::BYTEA => format!("'<' || octet_length(q.c{at}) || ' bytes>'"),
            _ => format!("left(q.c{at}::text, {})", CELL_CHARS + 1),
        };
        write!(outer, "{comma}{cell}").expect("writing to a string cannot fail");
        write!(names, "{comma}c{at}").expect("writing to a string cannot fail");
    }
    // On a separate line, so that a comment at its end does not reach what follows.
    format!("{outer} FROM (\n{sql}\n) AS q({names}) LIMIT {}", MAX_ROWS + 1)
}

fn cells(row: &Row, types: &[Type]) -> Result<Vec<Value>, ToolError> {
    types
        .iter()
        .enumerate()
        .map(|(at, kind)| Ok(cell(row.try_get(at).map_err(to_tool_error)?, kind)))
        .collect()
}

fn cell(text: Option<&str>, kind: &Type) -> Value {
    let Some(text) = text else { return Value::Null };
    let number = match *kind {
        Type::INT2 | Type::INT4 | Type::INT8 => text.parse::<i64>().ok().map(Value::from),
        Type::FLOAT4 | Type::FLOAT8 => {
            text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number)
        }
        Type::BOOL => Some(Value::Bool(text == "true")),
        _ => None,
    };
    number.unwrap_or_else(|| cut(text))
}

/// In words for the model. The server speaks of the query and of names here.
fn to_tool_error(error: tokio_postgres::Error) -> ToolError {
    let text = match error.as_db_error() {
        Some(said) if *said.code() == SqlState::QUERY_CANCELED => {
            "the query takes too long; narrow it".to_owned()
        }
        Some(said) if *said.code() == SqlState::READ_ONLY_SQL_TRANSACTION => {
            "only reading queries are allowed".to_owned()
        }
        Some(said) => format!("the query failed: {}", said.message()),
        None => "the query failed".to_owned(),
    };
    ToolError::failed(text).with_cause(error)
}
