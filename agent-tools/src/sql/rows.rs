//! Result rows of a query, shared by the SQL tools.

use agent_core::tool::ToolError;
use serde::Serialize;
use serde_json::Value;

/// Most bytes of a query.
pub(crate) const MAX_SQL: usize = 16 * 1024;
/// Most rows.
pub(crate) const MAX_ROWS: usize = 200;
/// Most columns.
pub(crate) const MAX_COLUMNS: usize = 100;
/// Characters of one cell, and bytes of all of them.
pub(crate) const CELL_CHARS: usize = 2_000;
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// Result rows of a query.
#[derive(Debug, PartialEq, Serialize)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, at most 200.
    pub rows: Vec<Vec<Value>>,
    /// Whether there are more rows than shown.
    pub more: bool,
}

/// The names of the columns, each cut like a cell.
pub(crate) fn columns<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Result<Vec<String>, ToolError> {
    let count = names.len();
    if count > MAX_COLUMNS {
        let text = format!("the query has {count} columns, and {MAX_COLUMNS} are the most; select fewer");
        return Err(ToolError::failed(text));
    }
    Ok(names.map(|name| name.chars().take(CELL_CHARS).collect()).collect())
}

/// Bytes of a row in the answer, about.
pub(crate) fn size(cells: &[Value]) -> usize {
    cells.iter().map(|cell| cell.as_str().map_or(8, str::len)).sum()
}

/// A cell of text, cut.
pub(crate) fn cut(text: &str) -> Value {
    match text.char_indices().nth(CELL_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]).into(),
        None => text.into(),
    }
}
