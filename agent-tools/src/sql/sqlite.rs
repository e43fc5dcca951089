//! Queries of a SQLite database that can read its tables and do nothing else.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_core::tool::{Tool, ToolContext, ToolError, ToolPolicy};
use rusqlite::{
    Connection, OpenFlags,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
    types::ValueRef,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    blocking::{Stop, blocking},
    sql::rows::{CELL_CHARS, MAX_BYTES, MAX_ROWS, MAX_SQL, Rows, columns, cut, size},
    sql::unfold::unfolded,
};

/// Bytes of the largest value SQLite may read or make. It bounds the memory of a query, together with the number of
/// values that are there at the same time, and the time of one function, in which a query cannot be interrupted.
const MAX_VALUE: i32 = 256 * 1024;
/// Function calls in a query. Constant ones are computed once and stay in memory while the query runs.
const MAX_CALLS: usize = 100;
/// Arguments of one function call.
const MAX_ARGUMENTS: i32 = 32;
/// Bytes of a pattern of `LIKE` and `GLOB`: the time of a match is its product with the length of the value.
const MAX_PATTERN: i32 = 256;
/// Queries inside a query, with each use of a view or of a table in a `WITH` counted.
const MAX_SELECTS: usize = 2_000;
const MAX_TIME: Duration = Duration::from_secs(10);
/// Steps of SQLite's machine between two checks of the time.
const STEPS: i32 = 100;

/// Answers SQL queries from a SQLite database. Opened anew, read-only, for each call.
///
/// Bounds: 16 KiB of SQL, 100 columns, 200 rows, 2,000 characters of a cell, 1 MiB of the answer, 100 function calls,
/// 256 KiB of any single value that is read or computed, and 10 seconds. A query beyond one of them fails with a text for
/// the model; rows are left out. The query runs on a thread that the call waits for; a call that is dropped interrupts
/// it, and it ends within the SQL function that it is in.
///
/// # Examples
///
/// ```
/// use agent_core::tool::ToolRegistry;
/// use agent_tools::SqlQuery;
///
/// let query = SqlQuery::new("shop.db", "Tables `orders` and `products` of a shop.");
/// let tools = ToolRegistry::builder().tool(query).build()?;
/// # drop(tools);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SqlQuery {
    path: PathBuf,
    description: String,
    time: Duration,
}

/// Arguments of [`SqlQuery`].
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SqlQueryArgs {
    /// One `SELECT` in SQLite's dialect. `SELECT sql FROM sqlite_schema` shows the tables.
    pub query: String,
}

impl SqlQuery {
    /// Reads the database at `path`. `about` describes the contents for the model.
    ///
    /// # Examples
    ///
    /// ```
    /// use agent_core::tool::ToolRegistry;
    /// use agent_tools::SqlQuery;
    ///
    /// let query = SqlQuery::new("shop.db", "Tables `orders` and `products` of a shop.");
    /// let tools = ToolRegistry::builder().tool(query).build()?;
    /// assert_eq!(tools.names().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(path: impl AsRef<Path>, about: &str) -> Self {
        let description = format!("Answers an SQL query (SQLite, reading only, at most 200 rows). {about}");
        Self {
            path: path.as_ref().to_owned(),
            description: description.trim_end().to_owned(),
            time: MAX_TIME,
        }
    }

    /// Sets the longest time of one query. Default: 10 seconds.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use agent_tools::SqlQuery;
    ///
    /// let tool = SqlQuery::new("shop.db", "Reviews of products.").time_limit(Duration::from_secs(2));
    /// # let _ = tool;
    /// ```
    #[must_use]
    pub const fn time_limit(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }
}

impl fmt::Debug for SqlQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlQuery").finish_non_exhaustive()
    }
}

impl Tool for SqlQuery {
    type Args = SqlQueryArgs;
    type Output = Rows;

    fn name(&self) -> &str {
        "sql_query"
    }

    fn description(&self) -> &str {
        &self.description
    }

    fn policy(&self) -> ToolPolicy {
        ToolPolicy::read_only().timeout(self.time.saturating_add(Duration::from_secs(5)))
    }

    async fn call(&self, args: SqlQueryArgs, _: &ToolContext) -> Result<Rows, ToolError> {
        if args.query.len() > MAX_SQL {
            return Err(ToolError::failed(format!("a query has at most {MAX_SQL} bytes")));
        }
        if unfolded(&args.query) > MAX_SELECTS as u64 {
            let text = "the query is too large: its `WITH` tables name each other too often";
            return Err(ToolError::failed(text));
        }
        let path = self.path.clone();
        blocking(self.time, move |stop| {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut database = Connection::open_with_flags(path, flags)
                .map_err(|error| ToolError::unavailable("the database cannot be opened").with_cause(error))?;
            query(&mut database, &args.query, stop)
        })
        .await
    }
}

fn query(database: &mut Connection, sql: &str, stop: &Stop) -> Result<Rows, ToolError> {
    // A value of a gigabyte is one function call away.
    database.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE)?;
    database.set_limit(Limit::SQLITE_LIMIT_FUNCTION_ARG, MAX_ARGUMENTS)?;
    database.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, MAX_PATTERN)?;
    database.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    let asked = stop.clone();
    database.progress_handler(STEPS, Some(move || asked.now()))?;
    // Read-only is not enough: `ATTACH` reads other files, and a pragma can change how this one is read.
    let counted = Arc::new(QueryCost::default());
    let counts = Arc::clone(&counted);
    database.authorizer(Some(move |context: AuthContext<'_>| counts.allow(&context)))?;
    let to_tool_error = |error: rusqlite::Error| {
        let text = match &error {
            _ if stop.now() => "the query takes too long; narrow it".to_owned(),
            _ if counted.is_over() => format!(
                "the query is too large: {MAX_CALLS} function calls and {MAX_SELECTS} queries in it are the most"
            ),
            rusqlite::Error::SqliteFailure(failure, _) if failure.code == rusqlite::ErrorCode::TooBig => {
                format!(
                    "a value is too big, {MAX_VALUE} bytes are the most; leave its column out, or ask for its length"
                )
            }
            rusqlite::Error::SqliteFailure(failure, _)
                if failure.code == rusqlite::ErrorCode::AuthorizationForStatementDenied =>
            {
                "only reading queries are allowed".to_owned()
            }
            // SQLite speaks of the query and of names in the schema here, not of data.
            rusqlite::Error::SqliteFailure(_, Some(text)) => format!("the query failed: {text}"),
            rusqlite::Error::SqlInputError { msg, .. } => format!("the query is not valid: {msg}"),
            rusqlite::Error::MultipleStatement => "one query at a time".to_owned(),
            _ => "the query failed".to_owned(),
        };
        ToolError::failed(text).with_cause(error)
    };
    let mut statement = database.prepare(sql).map_err(to_tool_error)?;
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(ToolError::failed("only reading queries are allowed"));
    }
    let columns = columns(statement.column_names())?;
    let mut rows = Vec::new();
    let (mut more, mut bytes) = (false, 0);
    let mut found = statement.query([]).map_err(to_tool_error)?;
    while let Some(row) = found.next().map_err(to_tool_error)? {
        if rows.len() == MAX_ROWS || bytes > MAX_BYTES {
            more = true;
            break;
        }
        let cells = (0..columns.len()).map(|at| row.get_ref(at).map(cell)).collect::<Result<Vec<_>, _>>();
        let cells = cells.map_err(to_tool_error)?;
        bytes += size(&cells);
        rows.push(cells);
    }
    Ok(Rows { columns, rows, more })
}

/// Counters of the parts of a query that cost memory or time.
#[derive(Default)]
struct QueryCost {
    calls: AtomicUsize,
    selects: AtomicUsize,
}

impl QueryCost {
    /// Returns whether SQLite may compile this part of the query.
    fn allow(&self, context: &AuthContext<'_>) -> Authorization {
        let fits = match context.action {
            AuthAction::Read { .. } | AuthAction::Recursive => true,
            AuthAction::Select => self.selects.fetch_add(1, Ordering::Relaxed) < MAX_SELECTS,
            AuthAction::Function { function_name } => {
                self.calls.fetch_add(1, Ordering::Relaxed) < MAX_CALLS
                    && !function_name.eq_ignore_ascii_case("load_extension")
            }
            _ => false,
        };
        if fits { Authorization::Allow } else { Authorization::Deny }
    }

    fn is_over(&self) -> bool {
        self.calls.load(Ordering::Relaxed) > MAX_CALLS || self.selects.load(Ordering::Relaxed) > MAX_SELECTS
    }
}

fn cell(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        // As many bytes as the characters that are shown can have, and one more, so that the cut is seen.
        ValueRef::Text(bytes) => {
            cut(&String::from_utf8_lossy(&bytes[..bytes.len().min(4 * (CELL_CHARS + 1))]))
        }
        ValueRef::Blob(bytes) => format!("<{} bytes>", bytes.len()).into(),
    }
}
