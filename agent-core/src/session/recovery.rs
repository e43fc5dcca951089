//! Recovery of sessions after the end of a process.

use super::runtime::Runtime;
use super::{SessionError, takeover::Takeover};
use crate::{ids::SessionId, journal::JournalStore, run::RunStatus};
use std::{collections::HashSet, time::Duration};

/// Age of a fork without an end that is deleted, if other processes use the store.
const UNFINISHED_FORK: Duration = Duration::from_secs(60);

/// Result of [`Runtime::recover`] and [`Runtime::sweep`].
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Sessions with a resumed run.
    pub resumed: Vec<SessionId>,
    /// Sessions with a run that may have ended its processes. They are resumed one after another in the background; see
    /// [`RuntimeOptions::max_takeovers`](super::RuntimeOptions::max_takeovers).
    pub suspects: Vec<SessionId>,
    /// Sessions with a paused run.
    pub paused: Vec<SessionId>,
    /// Sessions that could not be resumed, with the error. They are unchanged.
    pub skipped: Vec<UnrecoveredSession>,
    /// Sessions with a run that failed after too many takeovers; see [`RuntimeOptions::max_takeovers`](super::RuntimeOptions::max_takeovers).
    pub failed: Vec<UnrecoveredSession>,
}

/// A session with a run that a recovery did not resume.
#[derive(Debug)]
#[non_exhaustive]
pub struct UnrecoveredSession {
    /// The session.
    pub session: SessionId,
    /// The reason.
    pub error: SessionError,
}

impl Runtime {
    /// Recovers sessions of processes that ended: accepted runs continue, paused ones wait as before. Sessions of other
    /// living processes are left alone. Call it at the start of a process, and [`sweep`](Runtime::sweep) periodically.
    ///
    /// A run that was taken over [`max_takeovers`](super::RuntimeOptions::max_takeovers) times in a row without progress fails with
    /// the code `crash_loop`. Before one of its last two takeovers, it is resumed in the background, without others of this kind
    /// at the same time.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`] when the list of sessions cannot be read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends it between two sessions; a takeover in progress completes. It can be called again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Context, END, Graph, Runtime, START, State, journal::InMemoryJournal};
    /// # use serde::{Deserialize, Serialize};
    /// # use std::{sync::Arc, time::Duration};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Greeting { name: String }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Greeting>::builder("greet")
    /// #     .node("ask", async |_: &Greeting, cx: &Context| {
    /// #         Ok(Greeting::update().name(cx.ask::<String>("Name?").await?))
    /// #     })
    /// #     .edge(START, "ask").edge("ask", END).build()?;
    /// let journal = Arc::new(InMemoryJournal::new());
    /// let first = Runtime::builder().journal(Arc::clone(&journal)).graph(&graph).build();
    /// first.session("s-1")?.run(&graph, Greeting::update()).await?;
    /// first.shutdown(Duration::from_secs(1)).await;
    ///
    /// // The next process, with the same journal and graphs.
    /// let second = Runtime::builder().journal(journal).graph(&graph).build();
    /// let report = second.recover().await?;
    /// assert_eq!(report.paused, ["s-1".parse()?]);
    /// # Ok(()) }
    /// ```
    pub async fn recover(&self) -> Result<RecoveryReport, SessionError> {
        let mut recovered = self.sweep().await?;
        let Some(store) = &self.0.store else { return Ok(recovered) };
        self.delete_unfinished_forks(&**store).await?;
        let paused = [RunStatus::Paused.as_str().to_owned()];
        let known: HashSet<SessionId> = recovered.paused.iter().cloned().collect();
        let (mut after, mut unindexed) = (None, Vec::new());
        loop {
            let page = store.list(after.as_ref(), &paused, 256).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let cells = self.0.cells.lock();
            for (id, head) in page {
                if cells.get(&id).is_some_and(|cell| cell.live().is_some()) {
                    continue;
                }
                if head.summary.due.is_none() {
                    unindexed.push(id.clone());
                }
                if !known.contains(&id) {
                    recovered.paused.push(id);
                }
            }
        }
        if !unindexed.is_empty() {
            self.0.watch_unindexed(unindexed);
        }
        Ok(recovered)
    }

    /// Deletes forks that a process did not finish before it died. They were not acknowledged.
    async fn delete_unfinished_forks(&self, store: &dyn JournalStore) -> Result<(), SessionError> {
        let unfinished = [RunStatus::Idle.as_str().to_owned()];
        // Another process may be making one.
        let age = if self.0.replicas.is_some() { UNFINISHED_FORK.as_millis() } else { 0 };
        let before = self.0.clock.now_ms().saturating_sub(i64::try_from(age).unwrap_or(i64::MAX));
        let mut after = None;
        loop {
            let page = store.list(after.as_ref(), &unfinished, 256).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (id, _) in page.iter().filter(|(_, head)| head.summary.at <= before) {
                // A fork that this process is making has a cell.
                if !self.0.cells.lock().contains_key(id) {
                    store.delete(id).await?;
                }
            }
        }
    }

    /// Takes over accepted runs of processes that ended, and watches the deadlines of questions in sessions that are not in
    /// memory. Does not list paused sessions, so [`RecoveryReport::paused`] is incomplete.
    ///
    /// The cost grows with the number of running runs and expired deadlines, not with the number of sessions. Call it
    /// periodically, because leases of other processes expire later.
    ///
    /// # Errors
    ///
    /// [`SessionError::Store`] when the list of sessions cannot be read.
    ///
    /// # Cancel safety
    ///
    /// As [`recover`](Runtime::recover).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{Runtime, journal::InMemoryJournal};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), agent_core::SessionError> {
    /// let runtime = Runtime::builder().journal(InMemoryJournal::new()).build();
    /// let found = runtime.sweep().await?;
    /// assert!(found.resumed.is_empty());
    /// # Ok(()) }
    /// ```
    pub async fn sweep(&self) -> Result<RecoveryReport, SessionError> {
        let mut recovered = RecoveryReport::default();
        let Some(store) = &self.0.store else { return Ok(recovered) };
        self.0.join_replicas();
        let mut after = None;
        loop {
            let page = store.orphans(&self.0.owner, after.as_ref(), 256).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (id, _) in page {
                let session = self.session_of(id.clone());
                if session.cell.live().is_some() {
                    continue;
                }
                if self.0.suspects.contains(&id) {
                    recovered.suspects.push(id);
                    continue;
                }
                match session.take_over().await {
                    Ok(Takeover::Executing) => {}
                    Ok(Takeover::Resumed) => recovered.resumed.push(id),
                    Ok(Takeover::Suspect(run)) => {
                        self.0.observe_later(id.clone(), run);
                        recovered.suspects.push(id);
                    }
                    Ok(Takeover::Waiting) => recovered.paused.push(id),
                    // Its run had ended; others are queued.
                    Ok(Takeover::Free) => {
                        session.begin_next().await;
                        recovered.resumed.push(id);
                    }
                    Err(error) if error.code() == crate::Code::CrashLoop => {
                        recovered.failed.push(UnrecoveredSession { session: id, error })
                    }
                    Err(error) => recovered.skipped.push(UnrecoveredSession { session: id, error }),
                }
            }
        }
        self.0.watch_deadlines();
        self.0.announce_line();
        Ok(recovered)
    }
}
