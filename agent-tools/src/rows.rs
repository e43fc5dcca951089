//! What a query of a database gives, the same for every kind of database.

use serde::Serialize;
use serde_json::Value;

/// Most bytes of a query.
pub(crate) const MAX_SQL: usize = 16 * 1024;
/// Most rows.
pub(crate) const MAX_ROWS: usize = 200;
/// Characters of one cell, and bytes of all of them.
pub(crate) const CELL_CHARS: usize = 2_000;
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// What a query gives.
#[derive(Debug, PartialEq, Serialize)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, at most 200.
    pub rows: Vec<Vec<Value>>,
    /// Whether there are more rows than shown.
    pub more: bool,
}

/// A cell of text, cut.
pub(crate) fn cut(text: &str) -> Value {
    match text.char_indices().nth(CELL_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]).into(),
        None => text.into(),
    }
}
