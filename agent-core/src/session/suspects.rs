//! Suspects: runs before one of their last two takeovers. They are taken over one at a time, so that one that ends the process
//! does not fail the others.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{
    Runtime, SessionError,
    cell::LiveRun,
    run_end::summary,
    runtime::Shared,
    takeover::{Takeover, TakeoverMode},
};
use crate::{
    ids::{Seq, SessionId},
    journal::{JournalStore, Summary, dedup::read_entries, projection::is_progress},
    run::RunStatus,
};

/// Longest observations of a suspect before its last but one and its last takeover: the time after which the next one is taken over,
/// although this one has made no progress.
const OBSERVATIONS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// Time for all suspects that wait at once; many are observed for a shorter time each.
const ALL_OBSERVATIONS: Duration = Duration::from_secs(600);
/// First and longest wait between two checks of a suspect. The waits double.
const POLL: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];
/// Entries read at once.
const PAGE: usize = 256;

/// The suspects that wait for their takeover.
#[derive(Default)]
pub(crate) struct Suspects(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    runs: HashMap<SessionId, SuspectRun>,
    /// The largest number of runs since there was none.
    most: u32,
    /// A task takes them over.
    observed: bool,
}

/// A run before one of its last two takeovers.
#[derive(Debug, Clone, Copy)]
pub(super) struct SuspectRun {
    /// The end of its journal.
    pub(super) last: Seq,
    /// It is its last takeover.
    pub(super) is_last: bool,
    /// A takeover was not counted since its last progress.
    pub(super) exempt: bool,
}

/// Result of the observation of a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Observation {
    /// It has made progress, has paused or has ended.
    Progress,
    /// It executes, without progress.
    NoProgress,
}

impl Suspects {
    pub(super) fn contains(&self, session: &SessionId) -> bool {
        self.0.lock().runs.contains_key(session)
    }

    /// Removes one of the waiting suspects, and returns how long it is observed. Those before their last takeover come after the
    /// others, which they must not end. Otherwise at random: in a fixed order, the same run would be observed in each process.
    fn next(&self) -> Option<(SessionId, SuspectRun, Duration)> {
        let mut waiting = self.0.lock();
        let is_last = waiting.runs.values().all(|run| run.is_last);
        let candidates: Vec<&SessionId> =
            waiting.runs.iter().filter(|(_, run)| run.is_last == is_last).map(|(id, _)| id).collect();
        let chosen =
            (!candidates.is_empty()).then(|| candidates[fastrand::usize(..candidates.len())].clone());
        let next = chosen.and_then(|id| waiting.runs.remove_entry(&id));
        let time = ALL_OBSERVATIONS / waiting.most.max(1);
        if next.is_none() {
            *waiting = Waiting::default();
        }
        let (id, run) = next?;
        let time = OBSERVATIONS[usize::from(run.is_last)].min(time);
        Some((id, run, time))
    }
}

impl Shared {
    /// Takes over the run when it is its turn.
    pub(super) fn observe_later(&self, session: SessionId, run: SuspectRun) {
        let started = {
            let mut waiting = self.suspects.0.lock();
            waiting.runs.insert(session, run);
            waiting.most = waiting.most.max(u32::try_from(waiting.runs.len()).unwrap_or(u32::MAX));
            std::mem::replace(&mut waiting.observed, true)
        };
        if !started {
            let shared = Weak::clone(&self.me);
            self.group.spawn(async move { observe_all(&shared).await });
        }
    }
}

/// Takes over the waiting suspects, one at a time.
async fn observe_all(shared: &Weak<Shared>) {
    loop {
        let Some(runtime) = shared.upgrade().filter(|shared| !shared.is_closing()).map(Runtime) else {
            return;
        };
        let Some((id, run, time)) = runtime.0.suspects.next() else { return };
        let (session, store) = (runtime.session_of(id.clone()), runtime.0.store.clone());
        drop(runtime);
        let taken = session.take_over_in(TakeoverMode::Alone).await;
        let (live, shared) = (session.cell.live(), Arc::downgrade(&session.shared));
        drop(session);
        match taken {
            Ok(Takeover::Resumed) => {}
            Ok(_) => continue,
            Err(error) => {
                tracing::warn!(session = %id, %error, "a run could not be taken over");
                continue;
            }
        }
        let (Some(live), Some(store)) = (live, store) else { continue };
        tracing::info!(session = %id, "a run that may have ended its processes is taken over alone");
        match observe(&id, &live, &*store, run.last, time).await {
            Ok(Observation::NoProgress) if run.is_last && !run.exempt => exempt_death(&shared, &live).await,
            Ok(_) => {}
            Err(error) => tracing::debug!(session = %id, %error, "a run could not be observed"),
        }
    }
}

/// Waits until a run makes progress, pauses or ends, at most for this time.
async fn observe(
    id: &SessionId,
    live: &LiveRun,
    store: &dyn JournalStore,
    mut last: Seq,
    time: Duration,
) -> Result<Observation, SessionError> {
    let until = Instant::now() + time;
    let mut wait = POLL[0];
    loop {
        if live.status() != RunStatus::Running || live.env.control.is_closed() {
            return Ok(Observation::Progress);
        }
        // Progress counts when it is stored.
        if live.env.writer.last() > last {
            let entries = read_entries(store, id, last, PAGE).await?;
            if entries.iter().any(|entry| is_progress(&entry.fact)) {
                return Ok(Observation::Progress);
            }
            last = entries.last().map_or(last, |entry| entry.seq);
        }
        if Instant::now() >= until {
            return Ok(Observation::NoProgress);
        }
        sleep(wait).await;
        wait = (wait * 2).min(POLL[1]);
    }
}

/// Stores that the process has executed the run for long enough: its death does not fail the run.
async fn exempt_death(shared: &Weak<Shared>, live: &Arc<LiveRun>) {
    let Some(shared) = shared.upgrade() else { return };
    let exempt = Summary { handed_over: true, ..summary(&shared, live, RunStatus::Running) };
    // Without effect if the run appends something at this moment; that may be progress.
    if let Err(error) = live.env.writer.store_summary(exempt).await {
        tracing::debug!(run = %live.run(), %error, "the takeovers of a run still count");
    }
}
