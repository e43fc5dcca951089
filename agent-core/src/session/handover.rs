//! Handover of waiting runs: a process with free slots takes over runs that wait in another one.
//!
//! A process with a line announces it. One with free slots asks for runs, and gets the first ones of the line, except those that
//! a caller awaits there. Each leaves its process as in a shutdown, and is resumed by the other one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    Runtime,
    replicas::{Message, ReplicaCommand, Reply},
    runtime::Shared,
};
use crate::ids::SessionId;

/// How long an announced line counts.
const ANNOUNCED: Duration = Duration::from_secs(3);
/// Wait for a response before runs are asked for again.
const PATIENCE: Duration = Duration::from_millis(500);
/// Runs in one handover.
const RUNS: usize = 64;
/// Runs that a process without a limit asks for at once.
const UNLIMITED: usize = 16;
/// Runs that leave or enter this process at the same time.
const AT_ONCE: usize = 8;

/// Lines of the other processes.
#[derive(Default)]
pub(super) struct Lines {
    announced: Mutex<HashMap<String, Instant>>,
    asked: Mutex<Option<Instant>>,
}

impl Lines {
    /// Returns a process with a line, unless one was asked a moment ago.
    fn next(&self) -> Option<String> {
        let mut announced = self.announced.lock();
        announced.retain(|_, at| at.elapsed() < ANNOUNCED);
        let first = announced.iter().min_by_key(|(_, at)| **at).map(|(owner, _)| owner.clone())?;
        let mut asked = self.asked.lock();
        if asked.is_some_and(|at| at.elapsed() < PATIENCE) {
            return None;
        }
        *asked = Some(Instant::now());
        Some(first)
    }
}

impl Shared {
    /// Announces the line of this process, if it has one.
    pub(super) fn announce_line(self: &Arc<Self>) {
        let (Some(slots), Some(replicas)) = (&self.slots, &self.replicas) else { return };
        let runs = slots.waiting();
        if runs > 0 {
            let replicas = Arc::clone(replicas);
            self.group.spawn(async move { replicas.send(vec![Message::Waiting { runs }]).await });
        }
    }

    /// Called when a slot is free that no run waits for.
    pub(super) fn has_free_slots(self: &Arc<Self>) {
        let Some(replicas) = &self.replicas else { return };
        let free = self.slots.as_ref().map_or(UNLIMITED, |slots| slots.free());
        if free == 0 || self.is_closing() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let Some(to) = replicas.lines.next() else { return };
        let (replicas, runs) = (Arc::clone(replicas), free.min(RUNS));
        self.group.spawn(async move { replicas.send(vec![Message::Take { to, runs }]).await });
    }

    /// Handles the announcement of a line.
    pub(super) fn line_announced(self: &Arc<Self>, from: String) {
        if let Some(replicas) = &self.replicas {
            replicas.lines.announced.lock().insert(from, Instant::now());
            self.has_free_slots();
        }
    }

    /// Lets the first runs of the line leave for another process.
    pub(super) fn give_runs(self: &Arc<Self>, to: String, runs: usize) {
        let (Some(slots), Some(replicas)) = (&self.slots, &self.replicas) else { return };
        let sessions = slots.give(runs.min(RUNS));
        let (shared, replicas) = (Arc::clone(self), Arc::clone(replicas));
        self.group.spawn(async move {
            let leave = |id: SessionId| {
                let session = Runtime(Arc::clone(&shared)).session_of(id.clone());
                async move {
                    let reply = session.execute(ReplicaCommand::Yield).await;
                    matches!(reply, Reply::Done { .. }).then_some(id)
                }
            };
            let given: Vec<Option<SessionId>> =
                stream::iter(sessions).map(leave).buffered(AT_ONCE).collect().await;
            let sessions = given.into_iter().flatten().collect();
            replicas.send(vec![Message::Given { to, sessions }]).await;
        });
    }

    /// Resumes runs that left another process. One that cannot be resumed is found by the next sweep.
    pub(super) fn take_runs(self: &Arc<Self>, from: &str, sessions: Vec<SessionId>) {
        let Some(replicas) = &self.replicas else { return };
        *replicas.lines.asked.lock() = None;
        if sessions.is_empty() {
            replicas.lines.announced.lock().remove(from);
            return;
        }
        let shared = Arc::clone(self);
        self.group.spawn(async move {
            let resume = |id: SessionId| {
                let session = Runtime(Arc::clone(&shared)).session_of(id);
                async move {
                    if let Err(error) = session.take_over().await {
                        tracing::debug!(session = %session.id(), %error, "a waiting run was not taken over");
                    }
                }
            };
            stream::iter(sessions).map(resume).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        });
    }
}
