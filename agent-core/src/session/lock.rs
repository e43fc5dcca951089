//! Exclusive access to a session: commands that change it run one after another.

use std::{any::Any, future::Future, ops::Deref, sync::Arc};

use tokio::sync::OwnedMutexGuard;

use super::{
    Session, SessionError,
    cell::{IdleProjection, SessionCell},
    command::Command,
};
use crate::{engine::journal_writer::JournalWriter, journal::projection::Projection};

/// The right to change a session. One command has it at a time.
pub(crate) struct LockedSession {
    session: Session,
    _lock: OwnedMutexGuard<()>,
}

impl Session {
    /// Waits for the commands before this one.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    pub(super) async fn lock(&self) -> LockedSession {
        let lock = Arc::clone(&self.slot.door).lock_owned().await;
        LockedSession { session: self.clone(), _lock: lock }
    }
}

impl LockedSession {
    /// Runs `operation` to its end, whether or not the caller waits for it.
    pub(super) fn complete<T, F>(self, operation: impl FnOnce(Self) -> F) -> Command<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let group = self.shared.runs.clone();
        Command::new(group, operation(self))
    }

    /// The session's writer and folded journal, from memory or from the store. No run may be in memory.
    pub(super) async fn idle(&self) -> Result<IdleSession<'_>, SessionError> {
        let (writer, resting) = self.slot.open(&self.shared).await?;
        Ok(IdleSession { slot: &self.slot, writer, resting: Some(resting) })
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
/// Dropping it puts the image back into memory. A command that changes the image without storing the change calls
/// [`invalidate`](IdleSession::invalidate); a run that begins takes the image with
/// [`into_parts`](IdleSession::into_parts).
pub(crate) struct IdleSession<'a> {
    slot: &'a SessionCell,
    writer: Arc<JournalWriter>,
    /// `None` only after it was taken out.
    resting: Option<IdleProjection>,
}

impl IdleSession<'_> {
    pub(super) const fn writer(&self) -> &Arc<JournalWriter> {
        &self.writer
    }

    pub(super) fn image(&self) -> &Projection {
        &self.resting().image
    }

    pub(super) fn image_mut(&mut self) -> &mut Projection {
        &mut self.resting.as_mut().expect("taken out only by methods that consume it").image
    }

    /// The state, if it is in memory.
    pub(super) fn state(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.resting().state.as_ref()
    }

    /// Forgets the image: the next command reads the store.
    pub(super) fn invalidate(mut self) {
        self.resting = None;
        self.slot.forget();
    }

    /// Takes the image out for good.
    pub(super) fn into_parts(mut self) -> (Arc<JournalWriter>, IdleProjection) {
        let resting = self.resting.take().expect("taken out only by methods that consume it");
        (Arc::clone(&self.writer), resting)
    }

    fn resting(&self) -> &IdleProjection {
        self.resting.as_ref().expect("taken out only by methods that consume it")
    }
}

impl Drop for IdleSession<'_> {
    fn drop(&mut self) {
        if let Some(resting) = self.resting.take() {
            self.slot.inner.lock().rest = Some(resting);
        }
    }
}
