//! Writer thread: commits all waiting jobs in one transaction. If none waits and the disk is fast, the caller commits
//! in place.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::{
    error::{Fault, explain, is_busy},
    queue::{Cost, Job, Queue, WakeReason},
    vacuum,
};
use crate::journal::store::StoreError;

/// Jobs in one transaction at most, so that the first of them does not wait for ever.
const BATCH: usize = 512;

/// Idle time before a WAL checkpoint.
const IDLE: Duration = Duration::from_millis(250);

/// Pages in the log after which it is moved into the database even in busy times. Estimated: a commit writes
/// the session's page, the page of its newest entry, and what the bodies fill.
const LOG_PAGES: u64 = 1000;

/// A caller commits in place only while commits take less than this, in microseconds. A round trip to the thread costs
/// tens of microseconds, which matters below this limit, and an async worker must not block for longer.
const FAST: u64 = 300;

/// Maximum bytes that a caller commits in place.
const SMALL: usize = 64 * 1024;

/// The one connection that writes, and the queue in front of it.
pub(super) struct Writer {
    /// `None` once closed. The holder of the lock writes; jobs leave the queue only under it, so that they run in order.
    db: Mutex<Option<Connection>>,
    pub(super) queue: Queue,
    busy_timeout: Duration,
    /// Moving average of the commit time in microseconds; initially assumed slow.
    pace: AtomicU64,
    /// Number of jobs in the latest transaction of the thread. If several arrive at once, sharing a transaction is faster
    /// than committing the first one immediately.
    crowd: AtomicUsize,
    /// Pages in the log, about.
    log_pages: AtomicU64,
    /// Whether anything was written since the last tidying.
    dirty: AtomicBool,
}

impl Writer {
    pub(super) fn new(db: Connection, busy_timeout: Duration) -> Self {
        Self {
            db: Mutex::new(Some(db)),
            queue: Queue::new(),
            busy_timeout,
            pace: AtomicU64::new(FAST),
            crowd: AtomicUsize::new(0),
            log_pages: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
        }
    }

    /// Does the work in a transaction; ready when it is committed.
    pub(super) async fn ask<T, F>(&self, cost: Cost, mut work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        if let Some(answer) = self.at_once(cost, &mut work) {
            return answer;
        }
        self.queue.ask(cost, work).await
    }

    /// Commits on the caller's thread, if that is quick. `None`: the queue must do it.
    fn at_once<T, F>(&self, cost: Cost, work: &mut F) -> Option<Result<T, StoreError>>
    where
        F: FnMut(&Connection) -> Result<T, Fault>,
    {
        let quick = self.pace.load(Relaxed) < FAST
            && self.crowd.load(Relaxed) <= 1
            && self.log_pages.load(Relaxed) < LOG_PAGES
            && cost.bytes <= SMALL
            && cost.quick;
        if !quick {
            return None;
        }
        let held = self.db.try_lock()?;
        let db = held.as_ref()?;
        // Those who wait come first.
        if !self.queue.is_free() {
            return None;
        }
        let start = Instant::now();
        let mut outcome = None;
        // Another process that writes is waited for by the thread, not here.
        let done = db.busy_timeout(Duration::ZERO).and_then(|()| {
            transaction(db, || {
                match work(db) {
                    Err(Fault::Sql(error)) => return Err(error),
                    Err(Fault::Refused(error)) => outcome = Some(Err(error)),
                    Ok(value) => outcome = Some(Ok(value)),
                }
                Ok(())
            })
        });
        vacuum::set_timeout(db, self.busy_timeout);
        let answer = match done {
            Err(error) if is_busy(&error) => None,
            Err(error) => Some(Err(explain(&error))),
            Ok(()) => outcome,
        };
        self.wrote(cost.bytes, start);
        drop(held);
        if !self.queue.is_free() {
            // Another job arrived in the meantime: the thread batches jobs from now on.
            self.crowd.store(2, Relaxed);
        }
        if !self.dirty.swap(true, Relaxed) {
            self.queue.nudge();
        }
        answer
    }

    /// Works until the queue is closed and empty, then leaves the database file whole, without a log.
    pub(super) fn run(&self) {
        let _abandon = Abandon(&self.queue);
        let mut batch = Vec::new();
        let mut quiet = 0;
        loop {
            // Once tidied, there is nothing to wake up for.
            let patience = self.dirty.load(Relaxed).then_some(IDLE);
            match self.queue.wait(patience) {
                WakeReason::Jobs => {
                    let held = self.db.lock();
                    let Some(db) = held.as_ref() else { return };
                    self.queue.drain_into(&mut batch, BATCH);
                    self.commit(db, &mut batch);
                    self.dirty.store(true, Relaxed);
                }
                WakeReason::Idle => {
                    // Callers may have written by themselves in the meantime: then it was not idle.
                    let pages = self.log_pages.load(Relaxed);
                    if pages != quiet {
                        quiet = pages;
                        continue;
                    }
                    let held = self.db.lock();
                    let Some(db) = held.as_ref() else { return };
                    // A later write sets it again and nudges the thread.
                    self.dirty.store(false, Relaxed);
                    if vacuum::empty_log(db, self.busy_timeout) {
                        self.log_pages.store(0, Relaxed);
                        quiet = 0;
                    } else {
                        self.dirty.store(true, Relaxed);
                    }
                }
                WakeReason::Closed => break,
            }
        }
        if let Some(db) = self.db.lock().take() {
            vacuum::close(db, self.busy_timeout);
        }
    }

    /// Runs the batch in one transaction and answers everyone.
    fn commit(&self, db: &Connection, batch: &mut Vec<Box<dyn Job>>) {
        self.crowd.store(batch.len(), Relaxed);
        let frees = batch.iter().any(|job| job.cost().frees);
        let bytes = batch.iter().map(|job| job.cost().bytes).sum();
        let start = Instant::now();
        match together(db, batch) {
            Ok(()) => answer(batch, None),
            Err(error) if batch.len() == 1 => answer(batch, Some(&explain(&error))),
            // One job may be the cause (for example too large for the free disk space): run each in its own
            // transaction, so that the others succeed.
            Err(_) => {
                for job in batch.drain(..) {
                    let mut alone = vec![job];
                    let failure = together(db, &mut alone).err().map(|error| explain(&error));
                    answer(&mut alone, failure.as_ref());
                }
            }
        }
        self.wrote(bytes, start);
        if frees {
            vacuum::vacuum(db);
        }
        if self.log_pages.load(Relaxed) >= LOG_PAGES {
            vacuum::move_log(db);
            self.log_pages.store(0, Relaxed);
        }
    }

    fn wrote(&self, bytes: usize, start: Instant) {
        const PAGE: u64 = 4096;
        self.log_pages.fetch_add(3 + bytes as u64 / PAGE, Relaxed);
        let took = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        // One slow commit is enough to step back, a few quick ones to come again.
        let pace = self.pace.load(Relaxed);
        self.pace.store(pace.saturating_mul(3).saturating_add(took) / 4, Relaxed);
    }
}

/// Works on reads until the queue is closed. Each statement is its own snapshot of the database.
pub(super) fn run_reader(db: &Connection, queue: &Queue) {
    let _abandon = Abandon(queue);
    let mut batch = Vec::new();
    while queue.wait(None) != WakeReason::Closed {
        queue.drain_into(&mut batch, 1);
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

fn answer(batch: &mut Vec<Box<dyn Job>>, failure: Option<&StoreError>) {
    for job in batch.drain(..) {
        job.answer(failure.cloned());
    }
}

fn together(db: &Connection, batch: &mut [Box<dyn Job>]) -> Result<(), rusqlite::Error> {
    transaction(db, || batch.iter_mut().try_for_each(|job| job.run(db)))
}

fn transaction(
    db: &Connection,
    work: impl FnOnce() -> Result<(), rusqlite::Error>,
) -> Result<(), rusqlite::Error> {
    db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = work().and_then(|()| db.prepare_cached("COMMIT")?.execute([]).map(drop));
    if done.is_err() && !db.is_autocommit() {
        // Some errors roll back by themselves; then there is nothing left to do.
        db.execute_batch("ROLLBACK")?;
    }
    done
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    /// Three jobs in one transaction of a database that has no room for the second.
    #[tokio::test]
    async fn one_that_fails_spoils_nothing_for_its_neighbours() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("PRAGMA max_page_count = 20; CREATE TABLE t (size INTEGER, body BLOB)").unwrap();
        let writer = Arc::new(Writer::new(db, Duration::ZERO));
        let insert = |size: i64| {
            writer.queue.ask(Cost::default(), move |db| {
                Ok(db.execute("INSERT INTO t VALUES (?1, zeroblob(?1))", [size])?)
            })
        };
        let mut asked = std::pin::pin!(futures::future::join3(insert(10), insert(1_000_000), insert(30)));
        let all_queued = futures::FutureExt::now_or_never(asked.as_mut()).is_none();
        assert!(all_queued);

        let thread = thread::spawn({
            let writer = Arc::clone(&writer);
            move || writer.run()
        });
        let (first, second, third) = asked.await;
        assert_eq!((first.unwrap(), third.unwrap()), (1, 1));
        let error = second.unwrap_err();
        assert!(error.to_string().contains("the disk is full"), "{error}");

        let kept = writer.queue.ask(Cost::default(), |db| {
            Ok(db.query_row("SELECT sum(size) FROM t", [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(kept.await.unwrap(), 40);
        writer.queue.close();
        thread.join().unwrap();
        let late = writer.ask(Cost::default(), |_| Ok(())).await;
        assert!(matches!(late, Err(StoreError::Unavailable { .. })), "{late:?}");
    }

    #[test]
    fn a_lone_quick_job_is_done_by_its_caller_in_place() {
        let writer = Writer::new(Connection::open_in_memory().unwrap(), Duration::ZERO);
        writer.pace.store(FAST - 1, Relaxed);
        let quick = Cost { quick: true, ..Cost::default() };
        let ask = || futures::FutureExt::now_or_never(writer.ask(quick, |_| Ok(thread::current().id())));
        // No thread runs the queue here, so the answer comes from this thread.
        assert_eq!(ask().unwrap().unwrap(), thread::current().id());
        writer.crowd.store(2, Relaxed);
        assert!(ask().is_none(), "where several come at once, the thread gathers them");
    }
}
