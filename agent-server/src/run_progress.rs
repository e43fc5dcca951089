//! Progress of a run of a session, whichever run the session has now.
//!
//! The numbers of runs say nothing about their order: a queued run begins after a later one that interrupts the session.

use agent_core::{
    Session, SessionError,
    event::{Event, EventBody},
    ids::{RunId, Seq},
};

/// Events read per page.
const PAGE: usize = 1_024;

/// Progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunProgress {
    /// It was never accepted.
    Unknown,
    /// It is queued, executes, or waits for an answer.
    Unfinished,
    /// It has ended. At this number of the journal, the session is as the run left it.
    Ended(Seq),
    /// It was removed from the queue or rolled back, and has no result.
    Removed,
    /// It has ended, and its entries are no longer in the journal.
    Trimmed,
}

impl RunProgress {
    /// Reads the progress of a run: by the status of the session if it is its present run, else by the journal.
    ///
    /// # Errors
    ///
    /// Errors of the store. A session that does not exist is [`Unknown`](Self::Unknown).
    pub(crate) async fn read(session: &Session, run: RunId) -> Result<Self, SessionError> {
        loop {
            let status = match session.status().await {
                Ok(status) => status,
                Err(SessionError::NotFound { .. }) => return Ok(Self::Unknown),
                Err(error) => return Err(error),
            };
            if status.run == run {
                let is_busy = status.status.is_busy();
                return Ok(if is_busy { Self::Unfinished } else { Self::Ended(status.last) });
            }
            let without_entries = if status.run > run { Self::Trimmed } else { Self::Unknown };
            let progress = Self::in_journal(session, run).await?.unwrap_or(without_entries);
            // The run may have begun between the two reads.
            if session.status().await?.run == status.run {
                return Ok(progress);
            }
        }
    }

    /// Reads the progress of a run that is not the present one from its entries; `None` if there are none.
    async fn in_journal(session: &Session, run: RunId) -> Result<Option<Self>, SessionError> {
        let mut progress = None;
        for_each_event(session, run, |event| match (&event.body, event.seq) {
            (EventBody::RunQueued(_), _) => progress = Some(Self::Unfinished),
            // Without a later entry of its end, the present run has replaced it.
            (EventBody::RunStarted(_) | EventBody::RunDequeued(_), _) => progress = Some(Self::Removed),
            (EventBody::RunCompleted(_) | EventBody::RunFailed(_) | EventBody::RunStopped(_), Some(seq)) => {
                progress = Some(Self::Ended(seq))
            }
            _ => {}
        })
        .await?;
        Ok(progress)
    }
}

/// Reads the events of a run in the journal, oldest first.
///
/// # Errors
///
/// Errors of the store.
pub(crate) async fn for_each_event(
    session: &Session,
    run: RunId,
    mut read: impl FnMut(&Event),
) -> Result<(), SessionError> {
    let mut after = Seq::ZERO;
    loop {
        let page = session.events(after, PAGE).await?;
        page.iter().filter(|event| event.run == run).for_each(&mut read);
        match page.last().and_then(|event| event.seq) {
            Some(last) if page.len() == PAGE => after = last,
            _ => return Ok(()),
        }
    }
}
