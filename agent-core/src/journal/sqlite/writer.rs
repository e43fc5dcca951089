//! The thread that owns the writing connection: all that waits goes into one transaction.

use std::{sync::Arc, time::Duration};

use rusqlite::Connection;

use super::{
    fault::explain,
    queue::{Job, Queue, Taken},
};
use crate::journal::store::StoreError;

/// Jobs in one transaction at most, so that the first of them does not wait for ever.
const BATCH: usize = 512;

/// How long nothing must come before the log is moved into the database.
const IDLE: Duration = Duration::from_millis(250);

/// Pages given back in one go, at most: 8 MiB, a few milliseconds.
const VACUUM_PAGES: u32 = 2048;

/// Rounds of it when the store closes: the rest is for the next process.
const CLOSING_VACUUMS: u32 = 64;

/// Works until the queue is closed and empty, then leaves the database file whole, without a log.
pub(super) fn run(mut db: Connection, queue: &Arc<Queue>, busy_timeout: Duration) {
    let _abandon = Abandon(queue);
    let mut batch = Vec::new();
    let mut tidy = true;
    loop {
        // Once tidied, there is nothing to wake up for.
        match queue.take(&mut batch, BATCH, (!tidy).then_some(IDLE)) {
            Taken::Jobs => {
                let frees = commit(&mut db, &mut batch);
                if frees {
                    vacuum(&db);
                }
                tidy = false;
            }
            Taken::Idle => tidy = checkpoint(&db, busy_timeout),
            Taken::Closed => break,
        }
    }
    for _ in 0..CLOSING_VACUUMS {
        if !vacuum(&db) {
            break;
        }
    }
    checkpoint(&db, busy_timeout);
    if let Err((_, error)) = db.close() {
        tracing::warn!(%error, "the SQLite store did not close cleanly; its log is read at the next start");
    }
}

/// Works on reads until the queue is closed. Each statement is its own snapshot of the database.
pub(super) fn run_reader(db: &Connection, queue: &Arc<Queue>) {
    let _abandon = Abandon(queue);
    let mut batch = Vec::new();
    while queue.take(&mut batch, 1, None) == Taken::Jobs {
        for mut job in batch.drain(..) {
            let failure = job.run(db).err().map(|error| explain(&error));
            job.answer(failure);
        }
    }
}

/// A thread that panics must not leave its callers waiting.
struct Abandon<'a>(&'a Queue);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Runs the batch in one transaction and answers everyone. `true`: pages were freed.
fn commit(db: &mut Connection, batch: &mut Vec<Box<dyn Job>>) -> bool {
    let frees = batch.iter().any(|job| job.frees());
    match together(db, batch) {
        Ok(()) => answer(batch, None),
        Err(error) if batch.len() == 1 => answer(batch, Some(&explain(&error))),
        // One of them may be the cause (too large for what is left of the disk, say): each by itself, so
        // that it spoils nothing for the others.
        Err(_) => {
            for job in batch.drain(..) {
                let mut alone = vec![job];
                let failure = together(db, &mut alone).err().map(|error| explain(&error));
                answer(&mut alone, failure.as_ref());
            }
        }
    }
    frees
}

fn answer(batch: &mut Vec<Box<dyn Job>>, failure: Option<&StoreError>) {
    for job in batch.drain(..) {
        job.answer(failure.cloned());
    }
}

fn together(db: &mut Connection, batch: &mut [Box<dyn Job>]) -> Result<(), rusqlite::Error> {
    db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = batch.iter_mut().try_for_each(|job| job.run(db));
    let done = done.and_then(|()| db.prepare_cached("COMMIT")?.execute([]).map(drop));
    if done.is_err() && !db.is_autocommit() {
        // Some errors roll back by themselves; then there is nothing left to do.
        db.execute_batch("ROLLBACK")?;
    }
    done
}

/// Gives free pages back to the file system. `true`: there is more that another round would give back.
fn vacuum(db: &Connection) -> bool {
    let free = || db.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
    let step = || -> Result<bool, rusqlite::Error> {
        let before = free()?;
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

/// Moves the log into the database and empties it. `false`: a reader was in the way, or pages are left.
fn checkpoint(db: &Connection, busy_timeout: Duration) -> bool {
    let more = vacuum(db);
    let step = || -> Result<bool, rusqlite::Error> {
        // Nobody waits for this, so it waits for nobody.
        db.busy_timeout(Duration::ZERO)?;
        let busy: i64 = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(busy == 0)
    };
    let done = step();
    if let Err(error) = db.busy_timeout(busy_timeout) {
        tracing::warn!(%error, "the SQLite store lost its busy timeout");
    }
    done.unwrap_or_else(|error| {
        tracing::debug!(%error, "the log of the SQLite store stays for now");
        false
    }) && !more
}
