//! Progress of a run of a session, whichever run the session has now.
//!
//! The numbers of runs say nothing about their order: a queued run begins after a later one that interrupts the session.

use agent_core::{
    Session, SessionError,
    event::EventBody,
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
    /// It has ended.
    Ended {
        /// A number of the journal at which the session is as the run left it; `None` if it was removed from the queue, rolled
        /// back, or its entries are no longer in the journal.
        seq: Option<Seq>,
    },
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
                let ended = Self::Ended { seq: Some(status.last) };
                return Ok(if status.status.is_busy() { Self::Unfinished } else { ended });
            }
            let trimmed = if status.run > run { Self::Ended { seq: None } } else { Self::Unknown };
            let progress = Self::in_journal(session, run).await?.unwrap_or(trimmed);
            // The run may have begun between the two reads.
            if session.status().await?.run == status.run {
                return Ok(progress);
            }
        }
    }

    /// Reads the progress of a run that is not the present one from its entries; `None` if there are none.
    async fn in_journal(session: &Session, run: RunId) -> Result<Option<Self>, SessionError> {
        let (mut after, mut progress) = (Seq::ZERO, None);
        loop {
            let page = session.events(after, PAGE).await?;
            for event in page.iter().filter(|event| event.run == run) {
                match (&event.body, progress) {
                    (EventBody::RunQueued(_), None) => progress = Some(Self::Unfinished),
                    // Another run is the present one, so that it does not execute any more, with or without an entry of its end.
                    (EventBody::RunStarted(_) | EventBody::RunDequeued(_), _) => {
                        progress = Some(Self::Ended { seq: None });
                    }
                    (EventBody::RunCompleted(_) | EventBody::RunFailed(_) | EventBody::RunStopped(_), _) => {
                        progress = Some(Self::Ended { seq: event.seq });
                    }
                    _ => {}
                }
            }
            match page.last().and_then(|event| event.seq) {
                Some(last) if page.len() == PAGE => after = last,
                _ => return Ok(progress),
            }
        }
    }
}
