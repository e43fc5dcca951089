//! Queries of a SQLite database that can read its tables and do nothing else.

use std::{
    fmt,
    path::{Path, PathBuf},
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
    rows::{MAX_BYTES, MAX_ROWS, MAX_SQL, Rows, cut},
};

/// Bytes of the largest value SQLite may make.
const MAX_VALUE: i32 = 16 * 1024 * 1024;
const MAX_TIME: Duration = Duration::from_secs(10);
/// Steps of SQLite's machine between two questions whether to stop.
const STEPS: i32 = 1_000;

/// Answers SQL queries from a SQLite database. Opened anew, read-only, for each call.
#[derive(Clone)]
pub struct SqlQuery {
    path: PathBuf,
    description: String,
}

/// Arguments of [`SqlQuery`].
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SqlQueryArgs {
    /// One `SELECT` in SQLite's dialect. `SELECT sql FROM sqlite_schema` shows the tables.
    pub query: String,
}

impl SqlQuery {
    /// Reads the database at `path`. `about` tells the model what is in it.
    pub fn new(path: impl AsRef<Path>, about: &str) -> Self {
        let description = format!("Answers an SQL query (SQLite, reading only, at most 200 rows). {about}");
        Self { path: path.as_ref().to_owned(), description: description.trim_end().to_owned() }
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
        ToolPolicy::read_only().timeout(MAX_TIME + Duration::from_secs(2))
    }

    async fn call(&self, args: SqlQueryArgs, _: &ToolContext) -> Result<Rows, ToolError> {
        if args.query.len() > MAX_SQL {
            return Err(ToolError::failed(format!("a query has at most {MAX_SQL} bytes")));
        }
        let path = self.path.clone();
        blocking(MAX_TIME, move |stop| {
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
    let asked = stop.clone();
    database.progress_handler(STEPS, Some(move || asked.now()))?;
    // Read-only is not enough: `ATTACH` reads other files, and a pragma can change how this one is read.
    database.authorizer(Some(allowed))?;
    let told = |error: rusqlite::Error| {
        let text = match &error {
            _ if stop.now() => "the query takes too long; narrow it".to_owned(),
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
    let mut statement = database.prepare(sql).map_err(told)?;
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(ToolError::failed("only reading queries are allowed"));
    }
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = Vec::new();
    let (mut more, mut bytes) = (false, 0);
    let mut found = statement.query([]).map_err(told)?;
    while let Some(row) = found.next().map_err(told)? {
        if rows.len() == MAX_ROWS || bytes > MAX_BYTES {
            more = true;
            break;
        }
        let cells = (0..columns.len()).map(|at| row.get_ref(at).map(cell)).collect::<Result<Vec<_>, _>>();
        let cells = cells.map_err(told)?;
        bytes += cells.iter().map(|cell| cell.as_str().map_or(8, str::len)).sum::<usize>();
        rows.push(cells);
    }
    Ok(Rows { columns, rows, more })
}

fn allowed(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name } if !function_name.eq_ignore_ascii_case("load_extension") => {
            Authorization::Allow
        }
        _ => Authorization::Deny,
    }
}

fn cell(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(bytes) => cut(&String::from_utf8_lossy(bytes)),
        ValueRef::Blob(bytes) => format!("<{} bytes>", bytes.len()).into(),
    }
}
