//! Keeping the file small: the log goes into the database, free pages go back to the file system.

use std::time::Duration;

use rusqlite::Connection;

/// Pages given back in one go, at most: 8 MiB, a few milliseconds.
const VACUUM_PAGES: u32 = 2048;

/// Rounds of it when the store closes: the rest is for the next process.
const CLOSING_VACUUMS: u32 = 64;

/// Gives free pages back to the file system. `true`: there is more that another round would give back.
pub(super) fn vacuum(db: &Connection) -> bool {
    let free = || db.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
    let step = || -> Result<bool, rusqlite::Error> {
        let before = free()?;
        if before == 0 {
            return Ok(false);
        }
        let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        let mut rows = statement.query([])?;
        // Each step frees one page.
        while rows.next()?.is_some() {}
        let left = free()?;
        Ok(0 < left && left < before)
    };
    step().unwrap_or_else(|error| {
        tracing::debug!(%error, "free pages stay in the SQLite file for now");
        false
    })
}

/// Moves what it can of the log into the database, so that the log begins anew.
pub(super) fn move_log(db: &Connection) {
    checkpoint(db, "PRAGMA wal_checkpoint(PASSIVE)");
}

/// Gives free pages back, moves the log into the database and cuts it to nothing. `false`: a reader was in the
/// way, or pages are left.
pub(super) fn empty_log(db: &Connection, busy_timeout: Duration) -> bool {
    let more = vacuum(db);
    // Background work must not wait for locks.
    set_timeout(db, Duration::ZERO);
    let done = checkpoint(db, "PRAGMA wal_checkpoint(TRUNCATE)");
    set_timeout(db, busy_timeout);
    done && !more
}

pub(super) fn close(db: Connection, busy_timeout: Duration) {
    for _ in 0..CLOSING_VACUUMS {
        if !vacuum(&db) {
            break;
        }
    }
    empty_log(&db, busy_timeout);
    if let Err((_, error)) = db.close() {
        tracing::warn!(%error, "the SQLite store did not close cleanly; its log is read at the next start");
    }
}

pub(super) fn set_timeout(db: &Connection, time: Duration) {
    // Fails only for times of more than 24 days.
    if let Err(error) = db.busy_timeout(time) {
        tracing::warn!(%error, "the busy timeout of the SQLite store could not be set");
    }
}

fn checkpoint(db: &Connection, pragma: &str) -> bool {
    let busy =
        db.prepare_cached(pragma).and_then(|mut pragma| pragma.query_row([], |row| row.get::<_, i64>(0)));
    busy.map(|busy| busy == 0).unwrap_or_else(|error| {
        tracing::debug!(%error, "the log of the SQLite store stays for now");
        false
    })
}
