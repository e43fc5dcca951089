//! Exclusive access to a session: commands that change it run one after another.

use std::{any::Any, future::Future, ops::Deref, sync::Arc};

use tokio::sync::OwnedMutexGuard;

use super::{
    Session, SessionError,
    cell::{IdleProjection, SessionCell, summary_of},
    command::Command,
    run_queue::QueuedRun,
    run_watch::RunSender,
};
use crate::{
    engine::journal_writer::JournalWriter,
    ids::Seq,
    journal::{JournalStore, fold, projection::Projection},
};

/// Exclusive right to change a session.
pub(crate) struct LockedSession {
    session: Session,
    _lock: OwnedMutexGuard<()>,
}

impl Session {
    /// Waits for earlier commands and locks the session.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub(super) async fn lock(&self) -> LockedSession {
        let lock = Arc::clone(&self.cell.command_lock).lock_owned().await;
        LockedSession { session: self.clone(), _lock: lock }
    }
}

impl LockedSession {
    /// Runs `operation` to its end, even if the caller is dropped.
    pub(super) fn complete<T, F>(self, operation: impl FnOnce(Self) -> F) -> Command<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let group = self.shared.runs.clone();
        Command::new(group, operation(self))
    }

    /// Returns the writer and the projection of the session, from memory or from the store. No run may be in memory.
    pub(super) async fn idle(&self) -> Result<IdleSession<'_>, SessionError> {
        let (writer, idle) = self.open().await?;
        Ok(IdleSession { cell: &self.cell, writer, idle: Some(idle) })
    }

    /// Returns writer and projection of the session, from memory or from the store.
    async fn open(&self) -> Result<(Arc<JournalWriter>, IdleProjection), SessionError> {
        let cell = &self.cell;
        cell.check_exists()?;
        let known = {
            let mut inner = cell.inner.lock();
            let idle = inner.idle.take();
            // A writer that has ended is behind the journal.
            let writer = inner.writer.as_ref().filter(|(writer, _)| !writer.has_failed());
            writer.map(|(writer, _)| Arc::clone(writer)).zip(idle)
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let Some(store) = &self.shared.store else {
            let writer = cell.writer(&self.shared, None, Seq::ZERO);
            cell.inner.lock().writer = Some((Arc::clone(&writer), None));
            return Ok((writer, IdleProjection { projection: Box::default(), state: None }));
        };
        // Boxed: a session without a store, or in memory, has nothing of it.
        Box::pin(self.open_stored(&**store)).await
    }

    async fn open_stored(
        &self,
        store: &dyn JournalStore,
    ) -> Result<(Arc<JournalWriter>, IdleProjection), SessionError> {
        let (cell, shared) = (&self.cell, &self.shared);
        let lease = shared.acquire(&cell.id).await?;
        let projection = fold(store, &cell.id, Seq(u64::MAX >> 1)).await?.unwrap_or_default();
        let writer = cell.writer(shared, Some(&lease), projection.last);
        writer.add_labels(&projection.labels);
        if projection.last > Seq::ZERO {
            writer.restore(summary_of(&projection), projection.queue.iter().map(|(run, _)| *run));
        }
        writer.set_bytes_read(projection.bytes);
        shared.idle_memory.grow(projection.bytes);
        cell.broadcast.advance_to(projection.last);
        let mut inner = cell.inner.lock();
        inner.writer = Some((Arc::clone(&writer), Some(lease)));
        shared.serve_watchers(cell);
        for (run, queued) in &projection.queue {
            if !inner.queue.iter().any(|waiting| waiting.run == *run) {
                let (run, queued) = (*run, queued.clone());
                inner.queue.push(QueuedRun {
                    run,
                    seq: Seq::ZERO,
                    queued,
                    graph: None,
                    watch: RunSender::new(),
                });
            }
        }
        inner.queue.forget_requests_until(projection.last);
        drop(inner);
        Ok((writer, IdleProjection { projection: Box::new(projection), state: None }))
    }

    /// As [`idle`](Self::idle), for commands that need a session with entries. A session that does not exist gets no lease,
    /// which would be stored.
    pub(super) async fn existing(&self) -> Result<IdleSession<'_>, SessionError> {
        let not_found = || SessionError::NotFound { session: self.id().clone() };
        self.cell.check_exists()?;
        let is_open = self.cell.inner.lock().writer.is_some();
        if let Some(store) = &self.shared.store
            && !is_open
            && store.head(self.id()).await?.is_none_or(|head| head.last == Seq::ZERO)
        {
            return Err(not_found());
        }
        let idle = self.idle().await?;
        if idle.projection().last == Seq::ZERO {
            idle.invalidate();
            return Err(not_found());
        }
        Ok(idle)
    }
}

impl Deref for LockedSession {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

/// A session without a run in memory, while a command works on it.
///
/// Dropping it puts the projection back into memory. A command that changes the projection without storing the change calls
/// [`invalidate`](IdleSession::invalidate); a run that begins takes the projection with
/// [`into_parts`](IdleSession::into_parts).
pub(crate) struct IdleSession<'a> {
    cell: &'a SessionCell,
    writer: Arc<JournalWriter>,
    /// `None` only after it was taken out.
    idle: Option<IdleProjection>,
}

impl IdleSession<'_> {
    pub(super) const fn writer(&self) -> &Arc<JournalWriter> {
        &self.writer
    }

    pub(super) fn projection(&self) -> &Projection {
        &self.idle_projection().projection
    }

    pub(super) fn projection_mut(&mut self) -> &mut Projection {
        &mut self.idle.as_mut().expect("taken out only by methods that consume it").projection
    }

    /// The state, if it is in memory.
    pub(super) fn state(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.idle_projection().state.as_ref()
    }

    /// Forgets the projection: the next command reads the store.
    pub(super) fn invalidate(mut self) {
        self.idle = None;
        self.cell.invalidate();
    }

    /// Takes the projection out for good.
    pub(super) fn into_parts(mut self) -> (Arc<JournalWriter>, IdleProjection) {
        let idle = self.idle.take().expect("taken out only by methods that consume it");
        (Arc::clone(&self.writer), idle)
    }

    fn idle_projection(&self) -> &IdleProjection {
        self.idle.as_ref().expect("taken out only by methods that consume it")
    }
}

impl Drop for IdleSession<'_> {
    fn drop(&mut self) {
        if let Some(idle) = self.idle.take() {
            self.cell.set_idle(Some(idle));
        }
    }
}
