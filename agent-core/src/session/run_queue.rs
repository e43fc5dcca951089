//! Queued runs of a session in memory, and the requests that queued them.

use std::{collections::VecDeque, sync::Arc};

use super::{dyn_graph::DynGraph, run_watch::RunSender};
use crate::{
    ids::{RunId, Seq},
    journal::{entry::Queued, projection::REQUESTS},
};

/// A queued run.
pub(crate) struct QueuedRun {
    pub(crate) run: RunId,
    /// Its entry; 0 when it was read from the store.
    pub(crate) seq: Seq,
    pub(crate) queued: Queued,
    /// The graph that it was queued with, if that was in this process.
    pub(crate) graph: Option<Arc<dyn DynGraph>>,
    /// Becomes the sender of the run.
    pub(crate) watch: RunSender,
}

/// A named request that queued a run.
struct QueuedRequest {
    name: String,
    run: RunId,
    seq: Seq,
}

/// Queued runs, in the order in which they begin. Most sessions never have one, so nothing is allocated before the first.
#[derive(Default)]
pub(crate) struct RunQueue(Option<Box<Inner>>);

#[derive(Default)]
struct Inner {
    runs: VecDeque<QueuedRun>,
    /// Requests since the projection of the session was made: they stay known when their runs leave the queue.
    requests: VecDeque<QueuedRequest>,
    /// The highest number of a run that was in the queue.
    last: RunId,
    retry: Retry,
}

/// A wait before queued runs are tried again.
#[derive(Default)]
struct Retry {
    pending: bool,
    /// Attempts since the last start of a queued run.
    attempts: u32,
}

impl RunQueue {
    /// Returns the runs, the next one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &QueuedRun> {
        self.0.iter().flat_map(|inner| &inner.runs)
    }

    pub(crate) fn front(&self) -> Option<&QueuedRun> {
        self.0.as_ref()?.runs.front()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.runs.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the highest number of a run that was in the queue, if any.
    pub(crate) fn last(&self) -> RunId {
        self.0.as_ref().map(|inner| inner.last).unwrap_or_default()
    }

    /// Adds a run at the end.
    pub(crate) fn push(&mut self, queued: QueuedRun) {
        let inner = self.0.get_or_insert_default();
        inner.last = inner.last.max(queued.run);
        if let Some(name) = &queued.queued.request {
            if inner.requests.len() >= REQUESTS {
                inner.requests.pop_front();
            }
            let (name, run, seq) = (name.clone(), queued.run, queued.seq);
            inner.requests.push_back(QueuedRequest { name, run, seq });
        }
        inner.runs.push_back(queued);
    }

    /// Removes a run.
    pub(crate) fn remove(&mut self, run: RunId) -> Option<QueuedRun> {
        let inner = self.0.as_mut()?;
        let at = inner.runs.iter().position(|queued| queued.run == run)?;
        inner.retry.attempts = 0;
        inner.runs.remove(at)
    }

    /// Removes all runs and requests: the journal has them.
    pub(crate) fn clear(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.runs.clear();
            inner.requests.clear();
        }
    }

    /// Returns the names of requests that queued a run, with its number, of entries up to `seq`.
    pub(crate) fn requests_until(&self, seq: Seq) -> impl Iterator<Item = (&str, RunId)> {
        let all = self.0.iter().flat_map(|inner| &inner.requests);
        all.filter(move |request| request.seq <= seq).map(|request| (&*request.name, request.run))
    }

    /// Removes the requests of entries up to `seq`, which the projection of the session contains from here on.
    pub(crate) fn forget_requests_until(&mut self, seq: Seq) {
        if let Some(inner) = &mut self.0 {
            inner.requests.retain(|request| request.seq > seq);
        }
    }

    /// Removes the request of a run that was not stored.
    pub(crate) fn forget_request(&mut self, run: RunId) {
        if let Some(inner) = &mut self.0 {
            inner.requests.retain(|request| request.run != run);
        }
    }

    /// Begins a wait before the queue is tried again. Returns the number of the attempt; `None` if a wait is pending.
    pub(crate) fn begin_retry(&mut self) -> Option<u32> {
        let retry = &mut self.0.get_or_insert_default().retry;
        if std::mem::replace(&mut retry.pending, true) {
            return None;
        }
        retry.attempts += 1;
        Some(retry.attempts)
    }

    /// Ends the wait that [`begin_retry`](Self::begin_retry) began.
    pub(crate) fn end_retry(&mut self) {
        if let Some(inner) = &mut self.0 {
            inner.retry.pending = false;
        }
    }
}
