//! Read-only statements. Each is one SQL statement and so reads one snapshot.

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{
    error::Fault,
    statements::{number, seq},
};
use crate::{
    ids::{Seq, SessionId},
    journal::store::{Epoch, Head, Label, Recent, Record, StoreError, StoredSnapshot, Summary, is_label},
};

/// Statuses a list may ask for at once.
const STATUSES: usize = 64;

const HEAD: &str = "name, last, trimmed, epoch, summary, journal_bytes, snapshot_bytes";

pub(super) fn read(
    db: &Connection,
    session: &SessionId,
    after: Seq,
    upto: Seq,
    limit: usize,
) -> Result<Vec<Record>, Fault> {
    let mut statement = db.prepare_cached(
        "SELECT entry.key & 0xffffffff, entry.body
         FROM session CROSS JOIN entry
         WHERE session.name = ?1 AND entry.key > (session.id << 32) + ?2 AND entry.key <= (session.id << 32) + ?3
         ORDER BY entry.key LIMIT ?4",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement
        .query_map(params![session.as_str(), number(after), number(upto), limit], |row| {
            Ok(Record::new(seq(row.get(0)?), row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

pub(super) fn head(db: &Connection, session: &SessionId) -> Result<Option<Head>, Fault> {
    let row = db
        .prepare_cached(&format!("SELECT {HEAD} FROM session WHERE name = ?1"))?
        .query_row([session.as_str()], stored_head)
        .optional()?;
    row.map(|row| Ok(row.parse()?.1)).transpose()
}

pub(super) fn snapshot(
    db: &Connection,
    session: &SessionId,
    upto: Seq,
) -> Result<Option<StoredSnapshot>, Fault> {
    let found = db
        .prepare_cached(
            "SELECT snapshot.key & 0xffffffff, snapshot.body
             FROM session CROSS JOIN snapshot
             WHERE session.name = ?1
                 AND snapshot.key BETWEEN session.id << 32 AND (session.id << 32) + ?2
             ORDER BY snapshot.key DESC LIMIT 1",
        )?
        .query_row(params![session.as_str(), number(upto)], |row| {
            Ok(StoredSnapshot::new(seq(row.get(0)?), row.get(1)?))
        })
        .optional()?;
    Ok(found)
}

pub(super) fn list(
    db: &Connection,
    after: Option<&SessionId>,
    statuses: &[String],
    limit: usize,
) -> Result<Vec<(SessionId, Head)>, Fault> {
    if statuses.len() > STATUSES {
        let reason = format!("a list asks for at most {STATUSES} statuses");
        return Err(StoreError::Illegal { reason }.into());
    }
    // Every id is above the empty text.
    let after = after.map_or("", SessionId::as_str);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut values: Vec<&dyn ToSql> = vec![&after, &limit];
    let page = "AND name > ?1 ORDER BY name LIMIT ?2";
    let sql = if statuses.is_empty() {
        format!("SELECT {HEAD} FROM session WHERE TRUE {page}")
    } else {
        let mut wanted: Vec<&String> = statuses.iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        // One range of the index for each status: the few that run are found among millions that ended.
        let parts: Vec<String> = (3..3 + wanted.len())
            .map(|place| format!("SELECT * FROM (SELECT {HEAD} FROM session WHERE status = ?{place} {page})"))
            .collect();
        values.extend(wanted.into_iter().map(|status| status as &dyn ToSql));
        format!("{} ORDER BY name LIMIT ?2", parts.join(" UNION ALL "))
    };
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(&values[..], stored_head)?;
    rows.map(|row| Ok(row?.parse()?)).collect()
}

pub(super) fn due(
    db: &Connection,
    after: Option<&(i64, SessionId)>,
    until: i64,
    limit: usize,
) -> Result<Vec<(SessionId, Head)>, Fault> {
    // Every id is above the empty text.
    let (due, name) = after.map_or((i64::MIN, ""), |(due, session)| (*due, session.as_str()));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = db.prepare_cached(&format!(
        "SELECT {HEAD}, due FROM session
         WHERE due IS NOT NULL AND (due, name) > (?1, ?2) AND due <= ?3
         ORDER BY due, name LIMIT ?4"
    ))?;
    let row = |row: &Row<'_>| Ok((stored_head(row)?, row.get(7)?));
    let rows = statement.query_map(params![due, name, until, limit], row)?;
    rows.map(|row| {
        let (head, due) = row?;
        let (session, mut head) = head.parse()?;
        // An earlier program changes the summary and not the index: pages go by the index all the same.
        head.summary.due = Some(due);
        Ok((session, head))
    })
    .collect()
}

pub(super) fn recent(db: &Connection, wanted: &Recent) -> Result<Vec<(SessionId, Head)>, Fault> {
    if wanted.statuses.len() > STATUSES {
        let reason = format!("a list asks for at most {STATUSES} statuses");
        return Err(StoreError::Illegal { reason }.into());
    }
    let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
    let mut values: Vec<&dyn ToSql> = vec![&limit];
    let mut sql = format!("SELECT {HEAD} FROM session WHERE summary IS NOT NULL");
    let (at, name);
    if let Some(before) = &wanted.before {
        (at, name) = (before.at, before.session.as_str());
        sql.push_str(" AND (summary ->> '$.at', name) < (?2, ?3)");
        values.extend([&at as &dyn ToSql, &name]);
    }
    if let Some(Label { name: label, value }) = &wanted.label {
        if !is_label(label) {
            let reason = "a label's name is of `a-z 0-9 _ . -`".to_owned();
            return Err(StoreError::Illegal { reason }.into());
        }
        values.push(value);
        // Spelt as in the index of owners, so that it is used.
        sql.push_str(&format!(" AND summary ->> '$.labels.\"{label}\"' = ?{}", values.len()));
    }
    let without = wanted.without.iter().map(|graph| (graph, "<>"));
    for (graph, relation) in wanted.graph.iter().map(|graph| (graph, "=")).chain(without) {
        values.push(graph);
        sql.push_str(&format!(" AND summary ->> '$.graph' {relation} ?{}", values.len()));
    }
    if !wanted.statuses.is_empty() {
        let places: Vec<String> =
            (1..=wanted.statuses.len()).map(|n| format!("?{}", values.len() + n)).collect();
        sql.push_str(&format!(" AND status IN ({})", places.join(", ")));
        values.extend(wanted.statuses.iter().map(|status| status as &dyn ToSql));
    }
    sql.push_str(" ORDER BY summary ->> '$.at' DESC, name DESC LIMIT ?1");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map(&values[..], stored_head)?;
    rows.map(|row| Ok(row?.parse()?)).collect()
}

/// A session's row before its texts are looked into.
struct StoredHead {
    name: String,
    last: i64,
    trimmed: i64,
    epoch: i64,
    summary: Option<String>,
    journal_bytes: i64,
    snapshot_bytes: i64,
}

fn stored_head(row: &Row<'_>) -> Result<StoredHead, rusqlite::Error> {
    Ok(StoredHead {
        name: row.get(0)?,
        last: row.get(1)?,
        trimmed: row.get(2)?,
        epoch: row.get(3)?,
        summary: row.get(4)?,
        journal_bytes: row.get(5)?,
        snapshot_bytes: row.get(6)?,
    })
}

impl StoredHead {
    fn parse(self) -> Result<(SessionId, Head), StoreError> {
        let session: SessionId = self.name.parse().map_err(|error| StoreError::Damaged {
            reason: format!("a session has an illegal name: {error}"),
        })?;
        let summary = match self.summary {
            None => Summary::default(),
            Some(text) => serde_json::from_str(&text).map_err(|error| StoreError::Damaged {
                reason: format!("the summary of session `{session}` cannot be read: {error}"),
            })?,
        };
        let head = Head::new(
            seq(self.last),
            seq(self.trimmed + 1),
            Epoch(self.epoch.unsigned_abs()),
            summary,
            self.journal_bytes.unsigned_abs(),
            self.snapshot_bytes.unsigned_abs(),
        );
        Ok((session, head))
    }
}
