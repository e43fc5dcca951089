//! One session's place in memory: its feed, its questions, and its run while there is one.

use std::{any::Any, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{SessionError, runtime::Shared};
use crate::{
    engine::{RunEnv, RunError},
    event::Feed,
    ids::{RunId, Seq, SessionId},
    interrupt::{Board, OpenQuestion},
    journal::{
        Lease,
        entry::Entry,
        image::{FORMAT, Image, Snapshot},
        writer::Writer,
    },
    run::RunStatus,
};

/// Entries read at once when a journal is folded.
const PAGE: usize = 1_024;

pub(crate) struct Slot {
    pub(crate) id: SessionId,
    pub(crate) feed: Arc<Feed>,
    pub(crate) board: Arc<Board>,
    /// Held while a run is started, stopped, resumed or answered into being: these come one after another.
    pub(crate) door: tokio::sync::Mutex<()>,
    pub(crate) inner: Mutex<Inner>,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) writer: Option<(Arc<Writer>, Option<Lease>)>,
    pub(crate) live: Option<Arc<LiveRun>>,
    /// Where the session stands while no run is in memory, and the state if it was kept.
    pub(crate) rest: Option<Resting>,
}

/// A session at rest, kept so that the next run need not read the journal.
pub(crate) struct Resting {
    pub(crate) image: Image,
    /// `Arc<S>`. When it is there, `image.root` holds neither base nor updates.
    pub(crate) state: Option<Arc<dyn Any + Send + Sync>>,
}

/// A run in memory.
pub(crate) struct LiveRun {
    pub(crate) env: Arc<RunEnv>,
    pub(crate) graph: Arc<str>,
    pub(crate) accepted: Seq,
    pub(crate) accepted_at: i64,
    pub(crate) settled: watch::Sender<Option<Arc<Settled>>>,
    /// Ready when nothing of the run is left in memory.
    pub(crate) gone: watch::Sender<bool>,
}

/// How a run came to rest, its state's type erased.
pub(crate) struct Settled {
    pub(crate) status: RunStatus,
    pub(crate) questions: Vec<OpenQuestion>,
    /// `Arc<S>`; none while paused, and after a failure that left none.
    pub(crate) state: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) supersteps: u64,
    pub(crate) error: Option<Arc<RunError>>,
}

impl LiveRun {
    pub(crate) fn run(&self) -> RunId {
        self.env.run
    }

    /// Ready when nothing of the run is left in memory.
    pub(crate) async fn gone(&self) {
        let gone = self.gone.subscribe().wait_for(|gone| *gone).await.is_ok();
        assert!(gone, "the sender lives as long as `self`");
    }

    pub(crate) fn status(&self) -> RunStatus {
        self.settled.borrow().as_ref().map_or(RunStatus::Running, |settled| settled.status)
    }
}

impl Slot {
    pub(crate) fn new(id: SessionId) -> Self {
        Self {
            feed: Arc::new(Feed::new(id.clone())),
            id,
            board: Arc::default(),
            door: tokio::sync::Mutex::new(()),
            inner: Mutex::default(),
        }
    }

    pub(crate) fn live(&self) -> Option<Arc<LiveRun>> {
        self.inner.lock().live.clone()
    }

    /// Whether the slot can leave memory: what it knows is in the store, or is nothing.
    pub(crate) fn is_spare(&self) -> bool {
        let inner = self.inner.lock();
        inner.live.is_none() && !self.feed.watched()
    }

    /// The session's writer and where it stands, from memory or from the store. The door must be held.
    pub(crate) async fn open(&self, shared: &Shared) -> Result<(Arc<Writer>, Resting), SessionError> {
        let known = {
            let mut inner = self.inner.lock();
            let rest = inner.rest.take();
            inner.writer.as_ref().map(|(writer, _)| Arc::clone(writer)).zip(rest)
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let Some(store) = shared.store.clone() else {
            let writer = self.writer(shared, None, Seq::ZERO);
            self.inner.lock().writer = Some((Arc::clone(&writer), None));
            return Ok((writer, Resting { image: Image::default(), state: None }));
        };
        let lease = store.acquire(&self.id, &shared.owner, shared.options.lease).await?;
        let image = fold(&*store, &self.id, Seq(u64::MAX >> 1)).await?.unwrap_or_default();
        let writer = self.writer(shared, Some(&lease), image.last);
        self.feed.passed(image.last);
        self.inner.lock().writer = Some((Arc::clone(&writer), Some(lease)));
        Ok((writer, Resting { image, state: None }))
    }

    fn writer(&self, shared: &Shared, lease: Option<&Lease>, last: Seq) -> Arc<Writer> {
        let store = if lease.is_some() { shared.store.clone() } else { None };
        let epoch = lease.map(|lease| lease.epoch).unwrap_or_default();
        let feed = Arc::clone(&self.feed);
        Arc::new(Writer::new(store, epoch, last, feed, Arc::clone(&shared.clock), shared.group.clone()))
    }

    /// Forgets what is in memory, so that the next use reads the store.
    pub(crate) fn forget(&self) {
        let mut inner = self.inner.lock();
        inner.writer = None;
        inner.rest = None;
    }
}

/// Folds a journal up to and with `upto`. `None`: there is no such session.
pub(crate) async fn fold(
    store: &dyn crate::journal::JournalStore,
    session: &SessionId,
    upto: Seq,
) -> Result<Option<Image>, SessionError> {
    let snapshot = store.snapshot(session, upto).await?;
    let mut image = match &snapshot {
        Some(stored) => {
            let snapshot: Snapshot = serde_json::from_slice(&stored.body).map_err(|error| {
                crate::journal::StoreError::Corrupt {
                    session: session.clone(),
                    seq: stored.seq,
                    reason: format!("snapshot: {error}"),
                }
            })?;
            if snapshot.format > FORMAT {
                let (found, known) = (snapshot.format, FORMAT);
                return Err(crate::journal::StoreError::FormatTooNew { found, known }.into());
            }
            snapshot.into_image(stored.seq)
        }
        None => Image::default(),
    };
    loop {
        let records = store.read(session, image.last, upto, PAGE).await?;
        for record in &records {
            if record.seq != image.last.next() {
                let (session, seq) = (session.clone(), image.last.next());
                let reason = "it is missing, and no snapshot covers it".to_owned();
                return Err(crate::journal::StoreError::Corrupt { session, seq, reason }.into());
            }
            image.take(Entry::decode(session, record)?);
        }
        if records.len() < PAGE {
            break;
        }
    }
    Ok((image.last > Seq::ZERO).then_some(image))
}
