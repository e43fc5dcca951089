//! Columns of a summary, and heads from rows.

use agent_core::{
    ids::{Seq, SessionId},
    journal::{Epoch, Head, StoreError, Summary},
};
use tokio_postgres::Row;

use crate::connection::column;

/// Columns of a head, in the order in which [`head_of`] reads them.
pub(crate) const HEAD: &str = "name, last, trimmed, epoch, summary, journal_bytes, snapshot_bytes";

/// A summary as columns.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) status: Option<String>,
    pub(crate) graph: Option<String>,
    pub(crate) at: Option<i64>,
    pub(crate) due: Option<i64>,
    pub(crate) owner: Option<String>,
    pub(crate) labels: Option<String>,
    pub(crate) summary: Option<String>,
}

impl Columns {
    pub(crate) fn of(summary: &Summary) -> Result<Self, StoreError> {
        let text = serde_json::to_string(summary).map_err(|error| StoreError::Illegal {
            reason: format!("the summary is not valid JSON: {error}"),
        })?;
        let labels: Vec<String> = summary.labels.iter().map(|(name, value)| label(name, value)).collect();
        Ok(Self {
            status: Some(plain(&summary.status)),
            graph: Some(plain(&summary.graph)),
            at: Some(summary.at),
            due: summary.due,
            owner: summary.labels.get("owner").map(|value| quoted(value)),
            labels: (!labels.is_empty()).then(|| labels.join("\n")),
            summary: Some(text),
        })
    }
}

/// A text without zero characters, which PostgreSQL cannot store; different texts stay different.
pub(crate) fn plain(text: &str) -> String {
    if text.contains('\0') || text.starts_with('"') { quoted(text) } else { text.to_owned() }
}

/// A text as JSON: without zero characters and line ends.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A label as an element of the column `labels`.
pub(crate) fn label(name: &str, value: &str) -> String {
    format!("{}:{}", quoted(name), quoted(value))
}

pub(crate) fn seq(number: i64) -> Seq {
    Seq(number.unsigned_abs())
}

/// A number as the database stores it; what is beyond every entry becomes the highest one.
pub(crate) fn number(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

pub(crate) fn head_of(row: &Row) -> Result<(SessionId, Head), StoreError> {
    let session: SessionId = column::<&str>(row, 0)?
        .parse()
        .map_err(|error| StoreError::Damaged { reason: format!("a session has an illegal name: {error}") })?;
    let summary = match column::<Option<&str>>(row, 4)? {
        None => Summary::default(),
        Some(text) => serde_json::from_str(text).map_err(|error| StoreError::Damaged {
            reason: format!("the summary of session `{session}` cannot be read: {error}"),
        })?,
    };
    let head = Head::new(
        seq(column(row, 1)?),
        seq(column::<i64>(row, 2)?.saturating_add(1)),
        Epoch(column::<i64>(row, 3)?.unsigned_abs()),
        summary,
        column::<i64>(row, 5)?.unsigned_abs(),
        column::<i64>(row, 6)?.unsigned_abs(),
    );
    Ok((session, head))
}
