//! The bounded queue between async callers and the threads that own a connection.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::fault::{Fault, unavailable};
use crate::journal::store::StoreError;

/// How many jobs may wait. A caller that comes when it is full waits for room.
const ROOM: usize = 1024;

/// A piece of work for a thread that owns a connection.
pub(super) trait Job: Send {
    /// Does the work. May be called again after a rollback, so it keeps what it needs.
    fn run(&mut self, db: &Connection) -> Result<(), rusqlite::Error>;

    /// Tells the caller how it went: what `run` found, or why that could not be kept.
    fn answer(self: Box<Self>, failure: Option<StoreError>);

    /// Whether it leaves free pages that can be given back.
    fn frees(&self) -> bool;
}

/// Jobs in the order they came.
pub(super) struct Queue {
    jobs: Mutex<Waiting>,
    ready: Condvar,
    room: Semaphore,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<dyn Job>>,
    closed: bool,
}

/// What [`Queue::take`] came back for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// There are jobs.
    Jobs,
    /// Nothing came for the time given.
    Idle,
    /// The queue is closed and empty.
    Closed,
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { jobs: Mutex::default(), ready: Condvar::new(), room: Semaphore::new(ROOM) })
    }

    /// Queues work and waits for its answer.
    pub(super) async fn ask<T, F>(&self, frees: bool, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Task { work, outcome: None, reply, frees };
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

    /// Moves up to `most` jobs into `batch`, waiting for the first one at most `patience` (`None`: for ever).
    pub(super) fn take(
        &self,
        batch: &mut Vec<Box<dyn Job>>,
        most: usize,
        patience: Option<Duration>,
    ) -> Taken {
        let mut waiting = self.jobs.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return Taken::Closed;
            }
            match patience {
                None => self.ready.wait(&mut waiting),
                Some(time) => {
                    let late = self.ready.wait_for(&mut waiting, time).timed_out();
                    if late && waiting.jobs.is_empty() && !waiting.closed {
                        return Taken::Idle;
                    }
                }
            }
        }
        let count = waiting.jobs.len().min(most);
        batch.extend(waiting.jobs.drain(..count));
        drop(waiting);
        self.room.add_permits(count);
        Taken::Jobs
    }

    /// Takes no more jobs; what waits is still done.
    pub(super) fn close(&self) {
        self.jobs.lock().closed = true;
        self.room.close();
        self.ready.notify_all();
    }

    /// Closes and forgets what waits, so that nobody waits for a thread that is gone.
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
    frees: bool,
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

    fn frees(&self) -> bool {
        self.frees
    }
}
