//! Sessions that last for one request.

use agent_core::Session;
use tokio_util::task::TaskTracker;

/// A session that lasts for one request. Dropping it stops its run and deletes it.
pub(crate) struct EphemeralSession {
    session: Session,
    tasks: TaskTracker,
}

impl EphemeralSession {
    pub(crate) fn new(session: Session, tasks: &TaskTracker) -> Self {
        Self { session, tasks: tasks.clone() }
    }
}

impl Drop for EphemeralSession {
    fn drop(&mut self) {
        let session = self.session.clone();
        // Outside of a tokio runtime the process is exiting, and the session with it.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.tasks.spawn(async move {
                if let Err(error) = session.stop().await {
                    tracing::trace!(%error, "nothing to stop");
                }
                if let Err(error) = session.delete().await {
                    tracing::debug!(%error, "an ephemeral session could not be deleted");
                }
            });
        }
    }
}
