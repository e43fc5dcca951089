//! Eviction of idle sessions from memory.

use super::runtime::Shared;
use super::{Session, cell::SessionCell};
use crate::{ids::SessionId, journal::Lease};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Schedules measurements of the memory of idle sessions. A measurement visits all of them, so it follows some growth.
#[derive(Debug, Default)]
pub(crate) struct IdleMemory {
    /// Bytes read and journalled since the last measurement.
    grown: AtomicU64,
}

impl IdleMemory {
    /// Adds bytes that were read or journalled.
    pub(crate) fn grow(&self, bytes: u64) {
        self.grown.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns whether a measurement is due, with `most` bytes allowed.
    fn is_due(&self, most: u64) -> bool {
        let due = self.grown.load(Ordering::Relaxed) > most / 8;
        if due {
            self.grown.store(0, Ordering::Relaxed);
        }
        due
    }
}

impl Shared {
    /// Handles the end of a run in memory: starts the next queued run, or evicts idle sessions above the limits.
    pub(crate) fn run_ended(self: &Arc<Self>, cell: &Arc<SessionCell>) {
        if !cell.inner.lock().queue.is_empty() && !self.closing.load(Ordering::Acquire) {
            let session = Session { shared: Arc::clone(self), cell: Arc::clone(cell) };
            self.runs.spawn_uncancelled(async move { session.begin_next().await });
            return;
        }
        if let Some(writer) = cell.inner.lock().writer.as_ref().filter(|(writer, _)| writer.is_durable()) {
            self.idle_memory.grow(writer.0.take_bytes_written());
        }
        self.evict_cells();
        self.evict_idle_sessions();
    }

    /// Evicts the projections of the largest idle sessions while all of them exceed `max_idle_bytes`. Their cells remain for
    /// handles and subscribers.
    fn evict_idle_sessions(&self) {
        let most = self.options.max_idle_bytes;
        if self.store.is_none() || !self.idle_memory.is_due(most) {
            return;
        }
        let mut idle_memory: Vec<(u64, Arc<SessionCell>)> = self
            .cells
            .lock()
            .values()
            .map(|cell| (cell.footprint() as u64, Arc::clone(cell)))
            .filter(|(bytes, _)| *bytes > 0)
            .collect();
        let mut all: u64 = idle_memory.iter().map(|(bytes, _)| bytes).sum();
        idle_memory.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (bytes, cell) in idle_memory {
            if all <= most {
                return;
            }
            if cell.evict_idle().is_some() {
                all -= bytes;
            }
        }
    }

    /// Evicts idle cells above `max_idle_sessions`.
    pub(super) fn evict_cells(self: &Arc<Self>) {
        let mut cells = self.cells.lock();
        if cells.len() <= self.options.max_idle_sessions {
            return;
        }
        // A cell with a count of one has no other owner, and the lock keeps it so.
        let spare: Vec<SessionId> = cells
            .iter()
            .filter(|(_, cell)| Arc::strong_count(cell) == 1 && cell.is_evictable())
            .map(|(id, _)| id.clone())
            .take(cells.len() - self.options.max_idle_sessions)
            .collect();
        let evicted: Vec<(SessionId, Arc<SessionCell>)> =
            spare.into_iter().filter_map(|id| cells.remove_entry(&id)).collect();
        // The next search follows when there are twice as many, so that its cost per session is small.
        self.crowded.store(cells.len().max(self.options.max_idle_sessions) * 2, Ordering::Relaxed);
        drop(cells);
        // Dropped without the lock, which every lookup of a session needs.
        let leases: Vec<(SessionId, Lease)> = evicted
            .into_iter()
            .filter_map(|(id, cell)| Some((id, cell.inner.lock().writer.take()?.1?)))
            .collect();
        if !leases.is_empty() {
            let shared = Arc::clone(self);
            self.group.spawn_uncancelled(async move { shared.release_leases(leases).await });
        }
    }

    async fn release_leases(&self, leases: Vec<(SessionId, Lease)>) {
        let Some(store) = &self.store else { return };
        for (id, lease) in leases {
            if let Err(error) = store.release(&id, &lease).await {
                tracing::debug!(session = %id, %error, "a lease was not given back");
            }
        }
    }
}
