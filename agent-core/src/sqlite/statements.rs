//! Statements that modify the tables. Each function validates before it writes.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::{error::Fault, owner_lock::Owners};
use crate::{
    clock::millis,
    ids::{Seq, SessionId},
    journal::store::{Append, Epoch, Lease, OwnerId, StoreError, StoredSnapshot, Summary, check_records},
};

/// The highest number of an entry, and half the highest number of a session: both share an integer key.
pub(super) const MOST: i64 = u32::MAX as i64;

/// A session as its writer meets it.
struct SessionRow {
    id: i64,
    last: i64,
    epoch: i64,
    status: String,
    due: Option<i64>,
}

fn find(db: &Connection, session: &SessionId) -> Result<Option<SessionRow>, rusqlite::Error> {
    db.prepare_cached("SELECT id, last, epoch, status, due FROM session WHERE name = ?1")?
        .query_row([session.as_str()], |row| {
            Ok(SessionRow {
                id: row.get(0)?,
                last: row.get(1)?,
                epoch: row.get(2)?,
                status: row.get(3)?,
                due: row.get(4)?,
            })
        })
        .optional()
}

fn create(db: &Connection, session: &SessionId) -> Result<i64, Fault> {
    db.prepare_cached("INSERT INTO session (name) VALUES (?1)")?.execute([session.as_str()])?;
    let id = db.last_insert_rowid();
    if id > MOST / 2 {
        return Err(StoreError::Illegal { reason: "the database is full of sessions".into() }.into());
    }
    Ok(id)
}

/// A number as SQLite keeps it; what is beyond every entry is cut to the highest one.
pub(super) fn number(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(MOST).min(MOST)
}

pub(super) fn seq(number: i64) -> Seq {
    Seq(number.unsigned_abs())
}

fn key(id: i64, number: i64) -> i64 {
    (id << 32) | number
}

pub(super) fn append(db: &Connection, append: &Append) -> Result<(), Fault> {
    check_records(append)?;
    let session = &append.session;
    let found = match find(db, session)? {
        Some(found) => found,
        None if append.epoch != Epoch::default() => {
            return Err(StoreError::NotFound { session: session.clone() }.into());
        }
        None if append.expected != Seq::ZERO => {
            let (expected, last) = (append.expected, Seq::ZERO);
            return Err(StoreError::Conflict { session: session.clone(), expected, last }.into());
        }
        None => SessionRow { id: create(db, session)?, last: 0, epoch: 0, status: String::new(), due: None },
    };
    let current = Epoch(found.epoch.unsigned_abs());
    if append.epoch != current {
        let (session, epoch) = (session.clone(), append.epoch);
        return Err(StoreError::StaleWriter { session, epoch, current }.into());
    }
    if append.expected != seq(found.last) {
        let (expected, last) = (append.expected, seq(found.last));
        return Err(StoreError::Conflict { session: session.clone(), expected, last }.into());
    }
    if append.records.len() as i64 > MOST - found.last {
        return Err(StoreError::Illegal { reason: format!("a journal has at most {MOST} entries") }.into());
    }

    let mut bytes = 0;
    let mut last = found.last;
    if !append.records.is_empty() {
        let mut insert = db.prepare_cached("INSERT INTO entry (key, body) VALUES (?1, ?2)")?;
        for record in &append.records {
            last += 1;
            bytes += record.body.len() as i64;
            insert.execute(params![key(found.id, last), record.body])?;
        }
    }
    match &append.summary {
        None if append.records.is_empty() => {}
        None => {
            db.prepare_cached(
                "UPDATE session SET last = ?2, journal_bytes = journal_bytes + ?3 WHERE id = ?1",
            )?
            .execute([found.id, last, bytes])?;
        }
        Some(summary) => {
            db.prepare_cached(
                "UPDATE session SET last = ?2, journal_bytes = journal_bytes + ?3, summary = ?4 WHERE id = ?1",
            )?
            .execute(params![found.id, last, bytes, stored(summary)?])?;
            // A separate statement: setting the column would also write its index, and most appends keep the status.
            if summary.status != found.status {
                db.prepare_cached("UPDATE session SET status = ?2 WHERE id = ?1")?
                    .execute(params![found.id, summary.status])?;
            }
            if summary.due != found.due {
                db.prepare_cached("UPDATE session SET due = ?2 WHERE id = ?1")?
                    .execute(params![found.id, summary.due])?;
            }
        }
    }
    Ok(())
}

fn stored(summary: &Summary) -> Result<String, StoreError> {
    serde_json::to_string(summary)
        .map_err(|error| StoreError::Illegal { reason: format!("the summary is not valid JSON: {error}") })
}

pub(super) fn acquire(
    db: &Connection,
    owners: &Owners,
    session: &SessionId,
    owner: &OwnerId,
    now: i64,
    ttl: Duration,
) -> Result<Lease, Fault> {
    owners.hold(owner)?;
    let found = db
        .prepare_cached("SELECT id, epoch, owner, expires FROM session WHERE name = ?1")?
        .query_row([session.as_str()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, Option<String>>(2)?,
                row.get::<_, i64>(3)?,
            ))
        })
        .optional()?;
    let (id, epoch) = match found {
        Some((_, _, Some(holder), expires))
            if holder != owner.0 && expires > now && owners.alive(&OwnerId(holder.clone())) =>
        {
            return Err(StoreError::Leased { session: session.clone(), owner: holder }.into());
        }
        Some((id, epoch, ..)) => (id, epoch),
        None => (create(db, session)?, 0),
    };
    let floor: i64 = db
        .prepare_cached("SELECT value FROM counter WHERE name = 'epoch_floor'")?
        .query_row([], |row| row.get(0))?;
    let epoch = epoch.max(floor) + 1;
    db.prepare_cached("UPDATE session SET epoch = ?2, owner = ?3, expires = ?4 WHERE id = ?1")?
        .execute(params![id, epoch, owner.0, now.saturating_add(millis(ttl))])?;
    Ok(Lease::new(owner.clone(), Epoch(epoch.unsigned_abs())))
}

pub(super) fn renew(db: &Connection, owner: &OwnerId, now: i64, ttl: Duration) -> Result<(), Fault> {
    db.prepare_cached("UPDATE session SET expires = ?2 WHERE owner = ?1")?
        .execute(params![owner.0, now.saturating_add(millis(ttl))])?;
    Ok(())
}

pub(super) fn release(db: &Connection, session: &SessionId, lease: &Lease) -> Result<(), Fault> {
    let Ok(epoch) = i64::try_from(lease.epoch.0) else { return Ok(()) };
    db.prepare_cached(
        "UPDATE session SET owner = NULL, expires = 0 WHERE name = ?1 AND owner = ?2 AND epoch = ?3",
    )?
    .execute(params![session.as_str(), lease.owner.0, epoch])?;
    Ok(())
}

pub(super) fn put_snapshot(
    db: &Connection,
    session: &SessionId,
    snapshot: &StoredSnapshot,
) -> Result<(), Fault> {
    let Some(found) = find(db, session)? else {
        return Err(StoreError::NotFound { session: session.clone() }.into());
    };
    let last = seq(found.last);
    if snapshot.seq > last {
        return Err(StoreError::Conflict { session: session.clone(), expected: snapshot.seq, last }.into());
    }
    let key = key(found.id, number(snapshot.seq));
    let replaced: Option<i64> = db
        .prepare_cached("SELECT length(body) FROM snapshot WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    db.prepare_cached("INSERT OR REPLACE INTO snapshot (key, body) VALUES (?1, ?2)")?
        .execute(params![key, snapshot.body])?;
    let more = snapshot.body.len() as i64 - replaced.unwrap_or(0);
    db.prepare_cached("UPDATE session SET snapshot_bytes = snapshot_bytes + ?2 WHERE id = ?1")?
        .execute([found.id, more])?;
    Ok(())
}

pub(super) fn trim(db: &Connection, session: &SessionId, before: Seq) -> Result<(), Fault> {
    let Some(found) = find(db, session)? else { return Ok(()) };
    let start = key(found.id, 0);
    let kept: Option<i64> = db
        .prepare_cached("SELECT max(key) FROM snapshot WHERE key BETWEEN ?1 AND ?2")?
        .query_row([start, key(found.id, number(before))], |row| row.get(0))?;
    let Some(kept) = kept else { return Ok(()) };
    let entries: i64 = db
        .prepare_cached("SELECT coalesce(sum(length(body)), 0) FROM entry WHERE key BETWEEN ?1 AND ?2")?
        .query_row([start, kept], |row| row.get(0))?;
    let snapshots: i64 = db
        .prepare_cached("SELECT coalesce(sum(length(body)), 0) FROM snapshot WHERE key >= ?1 AND key < ?2")?
        .query_row([start, kept], |row| row.get(0))?;
    db.prepare_cached("DELETE FROM entry WHERE key BETWEEN ?1 AND ?2")?.execute([start, kept])?;
    db.prepare_cached("DELETE FROM snapshot WHERE key >= ?1 AND key < ?2")?.execute([start, kept])?;
    db.prepare_cached(
        "UPDATE session SET trimmed = ?2, journal_bytes = journal_bytes - ?3,
             snapshot_bytes = snapshot_bytes - ?4
         WHERE id = ?1",
    )?
    .execute([found.id, kept - start, entries, snapshots])?;
    Ok(())
}

pub(super) fn copy(
    db: &Connection,
    source: &SessionId,
    target: &SessionId,
    upto: Seq,
    summary: &Summary,
) -> Result<(), Fault> {
    if find(db, target)?.is_some() {
        return Err(StoreError::Exists { session: target.clone() }.into());
    }
    let found = db
        .prepare_cached("SELECT id, last, trimmed FROM session WHERE name = ?1")?
        .query_row([source.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((from, last, trimmed)): Option<(i64, i64, i64)> = found else {
        return Err(StoreError::NotFound { session: source.clone() }.into());
    };
    let upto = number(upto).min(last);
    // The snapshot at `trimmed` is always there; anything between it and the start is not.
    if (1..trimmed).contains(&upto) {
        let (upto, first) = (seq(upto), seq(trimmed + 1));
        return Err(StoreError::Trimmed { session: source.clone(), upto, first }.into());
    }
    let summary_text = stored(summary)?;
    let to = create(db, target)?;
    for table in ["entry", "snapshot"] {
        db.prepare_cached(&format!(
            "INSERT INTO {table} (key, body)
             SELECT key + ?3, body FROM {table} WHERE key BETWEEN ?1 AND ?2 ORDER BY key"
        ))?
        .execute([key(from, 0), key(from, upto), key(to, 0) - key(from, 0)])?;
    }
    db.prepare_cached(
        "UPDATE session SET last = :last, trimmed = :trimmed, status = :status, summary = :summary, due = :due,
             journal_bytes =
                 (SELECT coalesce(sum(length(body)), 0) FROM entry WHERE key BETWEEN :start AND :end),
             snapshot_bytes =
                 (SELECT coalesce(sum(length(body)), 0) FROM snapshot WHERE key BETWEEN :start AND :end)
         WHERE id = :id",
    )?
    .execute(named_params! {
        ":id": to,
        ":last": upto,
        ":trimmed": trimmed.min(upto),
        ":status": summary.status,
        ":summary": summary_text,
        ":due": summary.due,
        ":start": key(to, 0),
        ":end": key(to, MOST),
    })?;
    Ok(())
}

/// Removes a session. `held`: only if this is the epoch in force.
pub(super) fn delete(db: &Connection, session: &SessionId, held: Option<Epoch>) -> Result<bool, Fault> {
    let Some(found) = find(db, session)? else { return Ok(false) };
    let current = Epoch(found.epoch.unsigned_abs());
    if let Some(epoch) = held
        && epoch != current
    {
        return Err(StoreError::StaleWriter { session: session.clone(), epoch, current }.into());
    }
    let range = [key(found.id, 0), key(found.id, MOST)];
    db.prepare_cached("DELETE FROM entry WHERE key BETWEEN ?1 AND ?2")?.execute(range)?;
    db.prepare_cached("DELETE FROM snapshot WHERE key BETWEEN ?1 AND ?2")?.execute(range)?;
    db.prepare_cached("DELETE FROM session WHERE id = ?1")?.execute([found.id])?;
    // A session made again must start above this epoch.
    db.prepare_cached("UPDATE counter SET value = max(value, ?1) WHERE name = 'epoch_floor'")?
        .execute([found.epoch])?;
    Ok(true)
}
