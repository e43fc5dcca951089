//! Observer of journal entries: counts them, and starts the webhook deliveries of runs that have ended.

use std::sync::Arc;

use agent_core::{
    Runtime,
    event::{JournalNotice, JournalNoticeKind, Observer},
    ids::{RunId, Seq, SessionId},
};
use tokio::sync::mpsc;

use crate::{
    metrics::Metrics,
    webhook::{self, DeliveryRegistry},
};

/// Capacity of the queue of ended runs. Runs that do not fit are found in the store later.
const QUEUE_CAPACITY: usize = 10_000;

/// Observer of all journal entries of a runtime.
pub(crate) struct JournalObserver {
    metrics: Arc<Metrics>,
    /// `None` for sessions without a journal, which have no webhooks.
    deliveries: Option<(Arc<DeliveryRegistry>, mpsc::Sender<RunEnded>)>,
}

/// A run that has ended.
pub(crate) struct RunEnded {
    session: SessionId,
    run: RunId,
    /// The entry that ended it.
    seq: Seq,
    status: &'static str,
    graph: Option<Box<str>>,
}

impl JournalObserver {
    pub(crate) fn new(
        metrics: Arc<Metrics>,
        deliveries: Arc<DeliveryRegistry>,
    ) -> (Arc<Self>, mpsc::Receiver<RunEnded>) {
        let (ended_runs, queue) = mpsc::channel(QUEUE_CAPACITY);
        (Arc::new(Self { metrics, deliveries: Some((deliveries, ended_runs)) }), queue)
    }

    /// Creates an observer that counts and logs only.
    pub(crate) fn without_deliveries(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { metrics, deliveries: None })
    }

    fn ended(&self, notice: &JournalNotice<'_>, status: &'static str) {
        if let Some(graph) = notice.graph {
            self.metrics.ended(graph, status);
        }
        let Some((deliveries, ended_runs)) = &self.deliveries else { return };
        if notice.graph.is_some_and(|graph| graph != webhook::GRAPH)
            && !deliveries.waits_for(notice.session, notice.run)
        {
            return;
        }
        let graph = notice.graph.map(Box::from);
        let (session, run, seq) = (notice.session.clone(), notice.run, notice.seq);
        let ended = RunEnded { session, run, seq, status, graph };
        if ended_runs.try_send(ended).is_err() {
            tracing::debug!("the queue of ended runs is full; the end is found in the store later");
        }
    }
}

impl Observer for JournalObserver {
    fn on_entry(&self, notice: &JournalNotice<'_>) {
        self.metrics.stored(notice);
        log(notice);
        match notice.kind {
            JournalNoticeKind::RunCompleted { .. } => self.ended(notice, "completed"),
            JournalNoticeKind::RunFailed { .. } => self.ended(notice, "failed"),
            JournalNoticeKind::RunStopped => self.ended(notice, "stopped"),
            _ => {}
        }
    }
}

/// Logs the start and the failure of a run, in the words that operators search for.
fn log(notice: &JournalNotice<'_>) {
    let (session, run) = (notice.session, notice.run);
    match notice.kind {
        JournalNoticeKind::RunStarted { graph } if graph != webhook::GRAPH => {
            tracing::info!(%session, %run, graph, "[Agent] Starting execution...");
        }
        JournalNoticeKind::RunFailed { code, message } if notice.graph != Some(webhook::GRAPH) => {
            tracing::info!(%session, %run, code, "[Agent] Execution failed: {message}");
        }
        _ => {}
    }
}

/// Handles ended runs, for as long as it is polled.
pub(crate) async fn serve(
    runtime: &Runtime,
    metrics: &Metrics,
    deliveries: &DeliveryRegistry,
    ended_runs: &mut mpsc::Receiver<RunEnded>,
) {
    while let Some(ended) = ended_runs.recv().await {
        let session = runtime.session_of(ended.session.clone());
        let graph = match ended.graph {
            Some(graph) => graph,
            None => match session.status().await {
                Ok(status) => {
                    metrics.ended(&status.graph, ended.status);
                    status.graph.into()
                }
                Err(_) => continue,
            },
        };
        if &*graph == webhook::GRAPH {
            // Failed deliveries are kept for inspection.
            if ended.status == "completed"
                && let Err(error) = webhook::delete_ended(&session).await
            {
                tracing::debug!(session = %ended.session, %error, "a webhook delivery is deleted later");
            }
        } else {
            deliveries.ended(&(ended.session, ended.run), Some(ended.seq)).await;
        }
    }
}
