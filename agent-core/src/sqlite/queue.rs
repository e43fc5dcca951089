//! The bounded queue between async callers and the threads that own a connection.

use std::{collections::VecDeque, time::Duration};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::error::{Fault, unavailable};
use crate::journal::store::StoreError;

/// Queue capacity. Callers wait while it is full.
const ROOM: usize = 1024;

/// A job for a thread that owns a connection.
pub(super) trait Job: Send {
    /// Does the work. May be called again after a rollback, so it keeps what it needs.
    fn run(&mut self, db: &Connection) -> Result<(), rusqlite::Error>;

    /// Completes the call with the result of `run`, or with the failure of its transaction.
    fn answer(self: Box<Self>, failure: Option<StoreError>);

    fn cost(&self) -> Cost;
}

/// Cost of a job.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// Bytes it writes, about.
    pub(super) bytes: usize,
    /// Whether it leaves free pages that can be given back.
    pub(super) frees: bool,
    /// Whether it takes microseconds, so that a caller may do it in place.
    pub(super) quick: bool,
}

/// Cost of work that frees pages.
pub(super) const FREES: Cost = Cost { bytes: 0, frees: true, quick: false };

/// Cost of work that may take long.
pub(super) const LONG: Cost = Cost { bytes: 0, frees: false, quick: false };

/// Cost of short work that writes about `bytes`.
pub(super) const fn cost(bytes: usize) -> Cost {
    Cost { bytes, frees: false, quick: true }
}

/// Jobs in the order they came.
pub(super) struct Queue {
    jobs: Mutex<QueueState>,
    ready: Condvar,
    room: Semaphore,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Box<dyn Job>>,
    /// The thread is to wake up without a job.
    nudged: bool,
    closed: bool,
}

/// Why [`Queue::wait`] came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WakeReason {
    /// There are jobs.
    Jobs,
    /// No job arrived within the timeout, or the thread was nudged.
    Idle,
    /// The queue is closed and empty.
    Closed,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { jobs: Mutex::default(), ready: Condvar::new(), room: Semaphore::new(ROOM) }
    }

    /// Queues work and waits for its answer.
    pub(super) async fn ask<T, F>(&self, cost: Cost, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Task { work, outcome: None, reply, cost };
        let permit = self.room.acquire().await.map_err(|_| closed())?;
        // The thread that takes the job gives the permit back.
        permit.forget();
        {
            let mut waiting = self.jobs.lock();
            if waiting.closed {
                return Err(closed());
            }
            waiting.jobs.push_back(Box::new(task));
        }
        self.ready.notify_one();
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Waits for a job, at most `patience` (`None`: for ever).
    pub(super) fn wait(&self, patience: Option<Duration>) -> WakeReason {
        let mut waiting = self.jobs.lock();
        loop {
            if !waiting.jobs.is_empty() {
                return WakeReason::Jobs;
            }
            if waiting.closed {
                return WakeReason::Closed;
            }
            if std::mem::take(&mut waiting.nudged) {
                return WakeReason::Idle;
            }
            match patience {
                None => self.ready.wait(&mut waiting),
                Some(time) => {
                    let late = self.ready.wait_for(&mut waiting, time).timed_out();
                    waiting.nudged |= late;
                }
            }
        }
    }

    /// Moves up to `most` jobs into `batch`.
    pub(super) fn drain_into(&self, batch: &mut Vec<Box<dyn Job>>, most: usize) {
        let mut waiting = self.jobs.lock();
        let count = waiting.jobs.len().min(most);
        batch.extend(waiting.jobs.drain(..count));
        drop(waiting);
        self.room.add_permits(count);
    }

    /// Returns whether the queue is open and empty.
    pub(super) fn is_free(&self) -> bool {
        let waiting = self.jobs.lock();
        waiting.jobs.is_empty() && !waiting.closed
    }

    /// Wakes the thread without a job.
    pub(super) fn nudge(&self) {
        self.jobs.lock().nudged = true;
        self.ready.notify_one();
    }

    /// Takes no more jobs; what waits is still done.
    pub(super) fn close(&self) {
        self.jobs.lock().closed = true;
        self.room.close();
        self.ready.notify_all();
    }

    /// Closes the queue and drops waiting jobs, so that no caller waits for a thread that has ended.
    pub(super) fn abandon(&self) {
        self.close();
        let left = std::mem::take(&mut self.jobs.lock().jobs);
        drop(left);
    }
}

fn closed() -> StoreError {
    unavailable("it is closed")
}

struct Task<T, F> {
    work: F,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    cost: Cost,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, Fault> + Send,
{
    fn run(&mut self, db: &Connection) -> Result<(), rusqlite::Error> {
        self.outcome = Some(match (self.work)(db) {
            Ok(value) => Ok(value),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Sql(error)) => return Err(error),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, failure: Option<StoreError>) {
        let answer = match (failure, self.outcome) {
            (Some(error), _) => Err(error),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(unavailable("the work was not done")),
        };
        // The caller may have stopped waiting; the work is done all the same.
        drop(self.reply.send(answer));
    }

    fn cost(&self) -> Cost {
        self.cost
    }
}
