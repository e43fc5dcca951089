//! Deadlines of questions of runs that are not in memory: one task per runtime watches the store's index.

use std::{
    collections::{BTreeSet, HashMap},
    future,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Runtime, Session, SessionError, runtime::Shared};
use crate::{
    clock::millis,
    ids::SessionId,
    interrupt::OpenQuestion,
    journal::{
        Summary,
        entry::{Entry, Fact, Resumed, WithdrawReason, Withdrawn},
    },
    run::RunStatus,
};

/// Sessions read from the index at once.
const PAGE: usize = 256;
/// Wait before a retry if the questions of a session could not be withdrawn (another process may hold it).
const AGAIN: Duration = Duration::from_secs(15);

/// Deadline watch of a runtime.
#[derive(Default)]
pub(crate) struct Deadlines {
    watched: AtomicBool,
    /// The index may have a new earliest deadline.
    changed: Notify,
    /// Deadlines that are in no index: earlier programs wrote summaries without them.
    unindexed: Mutex<BTreeSet<(i64, SessionId)>>,
}

impl Shared {
    /// Starts the deadline watch, or makes a running one read the index again.
    pub(super) fn watch_deadlines(self: &Arc<Self>) {
        if self.store.is_none() {
            return;
        }
        if self.deadlines.watched.swap(true, Ordering::AcqRel) {
            self.deadlines.changed.notify_one();
        } else {
            self.group.spawn(watch(Arc::downgrade(self), Arc::clone(&self.deadlines)));
        }
    }

    /// Watches the deadlines of sessions with summaries that lack them, which requires reading their journals.
    pub(super) fn watch_unindexed(self: &Arc<Self>, sessions: Vec<SessionId>) {
        let shared = Arc::clone(self);
        self.group.spawn(async move {
            for id in sessions {
                let session = Runtime(Arc::clone(&shared)).session_of(id.clone());
                if let Ok(projection) = session.peek().await
                    && projection.status == RunStatus::Paused
                    && let Some(due) = projection.open.iter().filter_map(OpenQuestion::due).min()
                {
                    shared.deadlines.unindexed.lock().insert((due, id));
                }
            }
            shared.watch_deadlines();
        });
    }

    /// Withdraws all expired questions. Returns the time of the next check, in milliseconds since 1970.
    async fn expire_due(self: &Arc<Self>, refused: &mut HashMap<SessionId, i64>) -> Option<i64> {
        let store = self.store.clone()?;
        let now = self.clock.now_ms();
        let again = now.saturating_add(millis(AGAIN));
        refused.retain(|_, until| *until > now);
        let mut after = None;
        loop {
            let page = match store.due(after.clone(), now, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "deadlines of questions could not be read");
                    return Some(again);
                }
            };
            let full = page.len() == PAGE;
            for (id, head) in page {
                self.expire_one(&id, again, refused).await;
                after = head.summary.due.map(|due| (due, id));
            }
            if !full {
                break;
            }
        }
        let unindexed: Vec<SessionId> = {
            let mut all = self.deadlines.unindexed.lock();
            let over = all.iter().take_while(|(due, _)| *due <= now).cloned().collect::<Vec<_>>();
            over.into_iter().filter(|one| all.remove(one)).map(|(_, id)| id).collect()
        };
        for id in unindexed {
            self.expire_one(&id, again, refused).await;
            if refused.contains_key(&id) {
                self.deadlines.unindexed.lock().insert((again, id));
            }
        }
        // `i64::MAX` means no deadline.
        let next = store.due(after, i64::MAX - 1, 1).await;
        let next = next.map_or(Some(again), |page| page.first().and_then(|(_, head)| head.summary.due));
        let unindexed = self.deadlines.unindexed.lock().first().map(|(due, _)| *due);
        next.into_iter().chain(unindexed).chain(refused.values().copied()).min()
    }

    async fn expire_one(self: &Arc<Self>, id: &SessionId, again: i64, refused: &mut HashMap<SessionId, i64>) {
        // The question of a run in memory has its own timer.
        let present = self.cells.lock().get(id).is_some_and(|cell| cell.live().is_some());
        if present || refused.contains_key(id) {
            return;
        }
        let session = Runtime(Arc::clone(self)).session_of(id.clone());
        match session.expire().await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::warn!(session = %id, %error, "a question could not be withdrawn"),
        }
        refused.insert(id.clone(), again);
    }
}

/// Withdraws expired questions until the runtime is dropped.
async fn watch(shared: Weak<Shared>, deadlines: Arc<Deadlines>) {
    let mut refused = HashMap::new();
    loop {
        let wait = {
            let Some(shared) = shared.upgrade() else { return };
            let next = shared.expire_due(&mut refused).await;
            let now = shared.clock.now_ms();
            next.map(|next| Duration::from_millis(u64::try_from(next.saturating_sub(now)).unwrap_or(0)))
        };
        let due = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = deadlines.changed.notified() => {}
        }
    }
}

impl Session {
    /// Withdraws expired questions and resumes the run if a task can proceed. Returns `false` if none has expired.
    async fn expire(&self) -> Result<bool, SessionError> {
        let locked = self.lock().await;
        if self.cell.live().is_some() {
            return Ok(false);
        }
        let mut idle = locked.idle().await?;
        let now = self.shared.clock.now_ms();
        let projection = idle.projection();
        let over = |open: &&OpenQuestion| open.due().is_some_and(|due| due <= now);
        let facts: Vec<Fact> = match projection.status {
            RunStatus::Paused => projection.open.iter().filter(over).map(withdrawn).collect(),
            _ => Vec::new(),
        };
        if facts.is_empty() {
            return Ok(false);
        }
        // Everything that can be refused is checked before anything is stored.
        self.check_open()?;
        let unfinished = self.graph_of(&projection.graph)?.read_run(projection)?;
        let (run, mut seq) = (projection.run, projection.last);
        let projection = idle.projection_mut();
        for fact in &facts {
            seq = seq.next();
            projection.apply(Entry { seq, at: now, run, fact: fact.clone() });
        }
        let summary = Summary::new(&*projection.graph, projection.status.as_str(), run, now)
            .with_questions(&projection.open);
        let stored = match idle.writer().push_with(run, facts, Some(summary)) {
            Ok(last) => idle.writer().wait_durable(last).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stored {
            idle.invalidate();
            return Err(error.into());
        }
        if idle.projection().status != RunStatus::Paused {
            unfinished.resume(&locked, Resumed::default(), idle).await?;
        }
        Ok(true)
    }
}

fn withdrawn(open: &OpenQuestion) -> Fact {
    let (id, task, own) = (open.id.clone(), Arc::clone(&open.task), Some(WithdrawReason::Expired));
    Fact::QuestionWithdrawn(Withdrawn { id, task, own })
}
