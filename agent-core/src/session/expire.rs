//! Questions that run out of time while their run is not in memory.

use std::{sync::Arc, time::Duration};

use super::{Session, SessionError, runtime::Shared};
use crate::{
    ids::SessionId,
    interrupt::OpenQuestion,
    journal::{
        Summary,
        entry::{Entry, Fact, GivenUp, Withdrawn},
    },
    run::RunStatus,
};

/// When a question runs out of time, in milliseconds since 1970.
fn due(open: &OpenQuestion) -> Option<i64> {
    let deadline = i64::try_from(open.question.deadline?.as_millis()).unwrap_or(i64::MAX);
    Some(open.asked_at.saturating_add(deadline))
}

impl Shared {
    /// Watches the deadlines of sessions that wait for a person, as a process before this one left them.
    pub(super) fn watch_deadlines(self: &Arc<Self>, mut waiting: Vec<SessionId>) {
        let shared = Arc::clone(self);
        {
            let mut watched = self.deadlines.lock();
            waiting.retain(|id| watched.insert(id.clone()));
        }
        if waiting.is_empty() {
            return;
        }
        self.group.spawn(async move {
            let mut dues: Vec<(i64, SessionId)> = Vec::new();
            for id in &waiting {
                let session = super::Runtime(Arc::clone(&shared)).session_of(id.clone());
                if let Ok(image) = session.peek().await
                    && image.status == RunStatus::Paused
                {
                    dues.extend(image.open.iter().filter_map(due).map(|due| (due, id.clone())));
                }
            }
            dues.sort_unstable();
            for (due, id) in dues {
                let wait = u64::try_from(due - shared.clock.now_ms()).unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(wait)).await;
                let session = super::Runtime(Arc::clone(&shared)).session_of(id);
                if let Err(error) = session.expire().await {
                    tracing::warn!(session = %session.id(), %error, "a question could not be given up");
                }
            }
            shared.deadlines.lock().retain(|id| !waiting.contains(id));
        });
    }
}

impl Session {
    /// Takes back the questions whose time is over, and takes the run up if that lets a task go on.
    async fn expire(&self) -> Result<(), SessionError> {
        let locked = self.lock().await;
        if self.slot.live().is_some() {
            // In memory, the question itself has the timer.
            return Ok(());
        }
        let mut idle = locked.idle().await?;
        let now = self.shared.clock.now_ms();
        let image = idle.image();
        let over = |open: &&OpenQuestion| due(open).is_some_and(|due| due <= now);
        let facts: Vec<Fact> = match image.status {
            RunStatus::Paused => image.open.iter().filter(over).map(withdrawn).collect(),
            _ => Vec::new(),
        };
        if facts.is_empty() {
            return Ok(());
        }
        // Whatever can be refused is refused before anything is stored.
        self.check_open()?;
        let unfinished = self.graph_of(&image.graph)?.read_run(image)?;
        let (run, mut seq) = (image.run, image.last);
        let summary = Summary::new(&*image.graph, RunStatus::Running.as_str(), run, now);
        let last = idle.writer().push_with(run, facts.clone(), Some(summary))?;
        if let Err(error) = idle.writer().stored(last).await {
            idle.invalidate();
            return Err(error.into());
        }
        for fact in facts {
            seq = seq.next();
            idle.image_mut().take(Entry { seq, at: now, run, fact });
        }
        if idle.image().status == RunStatus::Paused {
            return Ok(());
        }
        unfinished.resume(&locked, None, idle).await?;
        Ok(())
    }
}

fn withdrawn(open: &OpenQuestion) -> Fact {
    let (id, task, own) = (open.id.clone(), Arc::clone(&open.task), Some(GivenUp::Expired));
    Fact::QuestionWithdrawn(Withdrawn { id, task, own })
}
