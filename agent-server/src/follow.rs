//! What the server does when an entry is stored: counts it, and lets deliveries go whose run has ended.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Runtime, Session, SessionError,
    event::{JournalNotice, JournalNoticeKind, Observer},
    ids::{RunId, SessionId},
};
use tokio::sync::mpsc;

use crate::{
    metrics::Metrics,
    webhook::{self, Watcher},
};

/// Ends of runs that wait to be looked at. What does not fit is found by the next look at the store.
const LINE: usize = 10_000;

/// Told of every entry.
pub(crate) struct Follower {
    metrics: Arc<Metrics>,
    watcher: Arc<Watcher>,
    ends: mpsc::Sender<End>,
}

/// A run ended.
pub(crate) struct End {
    session: SessionId,
    run: RunId,
    status: &'static str,
    graph: Option<Box<str>>,
}

impl Follower {
    pub(crate) fn new(metrics: Arc<Metrics>, watcher: Arc<Watcher>) -> (Arc<Self>, mpsc::Receiver<End>) {
        let (ends, line) = mpsc::channel(LINE);
        (Arc::new(Self { metrics, watcher, ends }), line)
    }

    fn ended(&self, notice: &JournalNotice<'_>, status: &'static str) {
        if let Some(graph) = notice.graph {
            self.metrics.ended(graph, status);
            if graph != webhook::GRAPH && !self.watcher.waits_for(notice.session, notice.run) {
                return;
            }
        }
        let graph = notice.graph.map(Box::from);
        let end = End { session: notice.session.clone(), run: notice.run, status, graph };
        if self.ends.try_send(end).is_err() {
            tracing::debug!("the end of a run is looked for in the store later");
        }
    }
}

impl Observer for Follower {
    fn on_entry(&self, notice: &JournalNotice<'_>) {
        self.metrics.stored(notice);
        match notice.kind {
            JournalNoticeKind::RunCompleted { .. } => self.ended(notice, "completed"),
            JournalNoticeKind::RunFailed { .. } => self.ended(notice, "failed"),
            JournalNoticeKind::RunStopped => self.ended(notice, "stopped"),
            _ => {}
        }
    }
}

/// Looks at runs that ended, for as long as it is polled.
pub(crate) async fn serve(
    runtime: &Runtime,
    metrics: &Metrics,
    watcher: &Watcher,
    ends: &mut mpsc::Receiver<End>,
) {
    while let Some(end) = ends.recv().await {
        let session = runtime.session_of(end.session.clone());
        let graph = match end.graph {
            Some(graph) => graph,
            None => match session.status().await {
                Ok(status) => {
                    metrics.ended(&status.graph, end.status);
                    status.graph.into()
                }
                Err(_) => continue,
            },
        };
        if &*graph == webhook::GRAPH {
            // What was taken need not be kept; what was given up stays to be seen.
            if end.status == "completed" {
                tidy(&session).await;
            }
        } else {
            watcher.ended(&(end.session, end.run)).await;
        }
    }
}

/// Removes a delivery that was taken, once its run has left the memory.
async fn tidy(delivery: &Session) {
    for _ in 0..10 {
        match delivery.delete().await {
            Err(SessionError::Busy { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            _ => return,
        }
    }
}
