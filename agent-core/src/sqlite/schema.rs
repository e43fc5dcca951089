//! Opening connections: pragmas, tables, and the check that the file is ours.

use std::{path::Path, thread, time::Duration};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{
    SqliteOptions, Synchronous,
    error::{Fault, is_busy},
};
use crate::journal::store::StoreError;

/// Format of the tables. A file with a higher one was written by a newer program.
const FORMAT: u32 = 1;

/// Marks the file as one of ours (`agnt`).
const APPLICATION: i32 = 0x6167_6e74;

/// Maximum number of prepared statements of a connection. There are fewer.
const STATEMENTS: usize = 64;

/// Entries and snapshots go by one integer, the session's number times 2^32 plus the entry's: an integer key
/// is the row id, so the body follows its key in the same tree, up to 4,061 bytes without an overflow page
/// (a `WITHOUT ROWID` table overflows at 1,002 bytes: one message in Korean), and a range of one session
/// is a range of keys.
const TABLES: &str = "
    CREATE TABLE session (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        epoch INTEGER NOT NULL DEFAULT 0,
        last INTEGER NOT NULL DEFAULT 0,
        trimmed INTEGER NOT NULL DEFAULT 0,
        journal_bytes INTEGER NOT NULL DEFAULT 0,
        snapshot_bytes INTEGER NOT NULL DEFAULT 0,
        expires INTEGER NOT NULL DEFAULT 0,
        owner TEXT,
        status TEXT NOT NULL DEFAULT '',
        summary TEXT,
        due INTEGER
    );
    CREATE INDEX session_status ON session (status, name);
    CREATE INDEX session_owner ON session (owner) WHERE owner IS NOT NULL;
    CREATE TABLE entry (key INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE snapshot (key INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO counter VALUES ('epoch_floor', 0);
    CREATE TABLE memory (
        id INTEGER PRIMARY KEY,
        namespace BLOB NOT NULL,
        key TEXT NOT NULL,
        created INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        expires INTEGER,
        value TEXT NOT NULL,
        vector BLOB,
        UNIQUE (namespace, key)
    );
    CREATE INDEX memory_expires ON memory (expires) WHERE expires IS NOT NULL;
";

/// Lists by time, by owner and time, and by deadline. Made at each start: files of earlier programs lack them.
const LISTS: &str = "
    CREATE INDEX IF NOT EXISTS session_recent ON session (summary ->> '$.at', name) WHERE summary IS NOT NULL;
    CREATE INDEX IF NOT EXISTS session_owned
        ON session (summary ->> '$.labels.\"owner\"', summary ->> '$.at', name)
        WHERE summary ->> '$.labels.\"owner\"' IS NOT NULL;
    CREATE INDEX IF NOT EXISTS session_due ON session (due, name) WHERE due IS NOT NULL;
";

/// A column that files of earlier programs lack. Those programs ignore it, so the format stays.
const DUE: &str = "ALTER TABLE session ADD COLUMN due INTEGER";

/// The connection that writes; makes or checks the tables.
pub(super) fn open_writer(path: &Path, options: &SqliteOptions) -> Result<Connection, Fault> {
    make_private(path);
    let mut db = Connection::open_with_flags(path, flags())?;
    db.busy_timeout(options.busy_timeout)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    refuse_newer(&db)?;
    // Both only count in a file that is still empty, so they come before WAL writes its first page.
    db.pragma_update(None, "page_size", options.page_size)?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    write_ahead(&db, options.busy_timeout)?;
    common(&db, options)?;
    db.pragma_update(None, "synchronous", options.synchronous.pragma())?;
    // The writer's thread checkpoints, outside of commits; this is for when it cannot.
    db.pragma_update(None, "wal_autocheckpoint", 20_000)?;
    db.pragma_update(None, "journal_size_limit", 8 * 1024 * 1024)?;
    create(&mut db)?;
    Ok(db)
}

/// Creates a missing database file readable by its user alone; SQLite gives the log and its index the same mode. A file
/// that exists keeps its mode. A failure is left to SQLite, which reports it.
#[cfg(unix)]
fn make_private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    if path != Path::new(":memory:") {
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).ok();
    }
}

#[cfg(not(unix))]
fn make_private(_: &Path) {}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path, options: &SqliteOptions) -> Result<Connection, Fault> {
    let db = Connection::open_with_flags(path, flags())?;
    db.busy_timeout(options.busy_timeout)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    common(&db, options)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

/// One thread owns a connection, so SQLite need not lock it; and no URI, so a name is only ever a file.
fn flags() -> OpenFlags {
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn common(db: &Connection, options: &SqliteOptions) -> Result<(), rusqlite::Error> {
    // Negative: in KiB, whatever the page size.
    db.pragma_update(None, "cache_size", -i64::from(options.cache_kib))?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.pragma_update(None, "trusted_schema", false)
}

fn refuse_newer(db: &Connection) -> Result<(), Fault> {
    let found: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i32 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application != APPLICATION && (tables > 0 || found > 0) {
        let reason = "the file is the SQLite database of another program".to_owned();
        return Err(StoreError::Damaged { reason }.into());
    }
    if found > FORMAT {
        return Err(StoreError::FormatTooNew { found, known: FORMAT }.into());
    }
    Ok(())
}

/// Switches to write-ahead logging. Retries, because SQLite does not always wait if two processes open a new file at
/// once.
fn write_ahead(db: &Connection, patience: Duration) -> Result<(), rusqlite::Error> {
    const PAUSE: Duration = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    loop {
        match db.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && waited < patience => {
                thread::sleep(PAUSE);
                waited += PAUSE;
            }
            other => return other,
        }
    }
}

fn create(db: &mut Connection) -> Result<(), Fault> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Once more under the lock: another process may have made the tables, newer ones even, in between.
    refuse_newer(&transaction)?;
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    if !transaction.column_exists(None, "session", "due")? {
        transaction.execute_batch(DUE)?;
    }
    transaction.execute_batch(LISTS)?;
    transaction.commit()?;
    Ok(())
}

impl Synchronous {
    fn pragma(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
        }
    }
}
