//! Runs that wait for their turn on a busy session: accepted for good, begun one after another.

use std::{future::Future, pin::Pin, sync::Arc};

use super::{
    Run, RunOptions, Session, SessionError,
    settled::{Settled, Teller},
    slot::Waiting,
};
use crate::{
    engine::{RunError, read_update},
    graph::Graph,
    ids::RunId,
    journal::{
        Summary,
        entry::{Dequeued, Fact, Queued},
        writer::Writer,
    },
    json::{self, Stored},
    run::RunStatus,
    state::{Input, State},
};

/// How many runs wait on one session at most.
const WAITING: usize = 64;

impl Session {
    /// Puts a run in line. Ready when that is stored. The door must be held.
    pub(super) async fn enqueue<S: State>(
        &self,
        graph: &Graph<S>,
        input: Input<S>,
        options: RunOptions,
        writer: &Arc<Writer>,
        run: RunId,
    ) -> Result<Run, SessionError> {
        if self.slot.inner.lock().queue.len() >= WAITING {
            return Err(SessionError::TooManyRuns { limit: WAITING });
        }
        let stored = match &input {
            Input::State(given) => Stored::new(given, json::NEW),
            Input::Update(given) => Stored::update(given, json::NEW),
        };
        let Stored { json, form } = stored.map_err(|error| error.of("the input"))?;
        let (state, update) = match &input {
            Input::State(_) => (Some(json), None),
            Input::Update(_) => (None, Some(json)),
        };
        writer.mark(&options.labels);
        let queued = Queued {
            graph: graph.name().into(),
            version: S::VERSION,
            state,
            update,
            form,
            limits: options.limits,
            durability: options.durability,
            request: options.request,
            labels: options.labels,
        };
        let seq = writer.push(run, [Fact::RunQueued(queued.clone())])?;
        writer.stored(seq).await?;
        let waiting = Waiting { run, queued, settled: Teller::new() };
        let handle = Run::queued(self.clone(), run, waiting.settled.listener());
        self.slot.inner.lock().queue.push_back(waiting);
        Ok(handle)
    }

    /// Begins the first run in line, if the session is free. Boxed, because the end of a run begins the next one.
    pub(super) fn begin_next(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let _door = self.slot.door.lock().await;
            while let Some((run, queued)) = self.next_in_line().await {
                let begun = match self.shared.graph(&queued.graph) {
                    Ok(graph) => graph.start_queued(self, run, queued).await,
                    Err(error) => Err(error),
                };
                match begun {
                    Ok(_) => return,
                    // The runtime ends, or the store is away: the journal keeps it in line.
                    Err(
                        SessionError::ShuttingDown
                        | SessionError::TooManyRuns { .. }
                        | SessionError::Store(_)
                        | SessionError::GraphNotFound { .. },
                    ) => {
                        return;
                    }
                    Err(error) => self.give_up(run, &error).await,
                }
            }
        })
    }

    async fn next_in_line(&self) -> Option<(RunId, Queued)> {
        if self.slot.live().is_some() || self.check_open().is_err() {
            return None;
        }
        let (_, resting) = self.slot.open(&self.shared).await.ok()?;
        let busy = resting.image.status.is_busy();
        let mut inner = self.slot.inner.lock();
        inner.rest = Some(resting);
        let front = inner.queue.front().map(|waiting| (waiting.run, waiting.queued.clone()));
        if busy { None } else { front }
    }

    /// A run in line that can never begin: says so to whoever waits, and goes on with the next.
    async fn give_up(&self, run: RunId, error: &SessionError) {
        tracing::warn!(session = %self.id(), %run, %error, "a queued run could not begin");
        let error_text = crate::text::shorten(&error.to_string(), 2_000);
        if let Ok((writer, mut resting)) = self.slot.open(&self.shared).await {
            let code = error.code().name().to_owned();
            let fact = Fact::RunDequeued(Dequeued { code, message: error_text.clone() });
            if let Ok(seq) = writer.push(run, [fact])
                && writer.stored(seq).await.is_ok()
            {
                resting.image.last = seq;
                resting.image.queue.retain(|(waiting, _)| *waiting != run);
            }
            self.slot.inner.lock().rest = Some(resting);
        }
        let waiting = {
            let mut inner = self.slot.inner.lock();
            let at = inner.queue.iter().position(|waiting| waiting.run == run);
            at.and_then(|at| inner.queue.remove(at))
        };
        if let Some(waiting) = waiting {
            let error = Some(Arc::new(RunError::StoredState { reason: error_text }));
            let settled = Settled {
                status: RunStatus::Failed,
                questions: Vec::new(),
                state: None,
                supersteps: 0,
                error,
            };
            waiting.settled.tell(Some(Arc::new(settled)));
        }
    }

    /// The summary of a session whose run has ended: still running while others wait in line, so that the next
    /// process takes it up.
    pub(super) fn summary_at_rest(&self, graph: &str, status: RunStatus, run: RunId) -> Summary {
        summary_at_rest(&self.slot, graph, status, run, self.shared.clock.now_ms())
    }
}

pub(super) fn summary_at_rest(
    slot: &super::slot::Slot,
    graph: &str,
    status: RunStatus,
    run: RunId,
    at: i64,
) -> Summary {
    let status =
        if slot.inner.lock().queue.is_empty() || status.is_busy() { status } else { RunStatus::Running };
    Summary::new(graph, status.as_str(), run, at)
}

/// The input of a queued run.
pub(super) fn queued_input<S: State>(queued: &Queued) -> Result<Input<S>, RunError> {
    match (&queued.state, &queued.update) {
        (Some(state), _) if queued.version == S::VERSION => {
            let state = json::read_stored(state.get(), &queued.form);
            state.map(Input::State).map_err(|error| RunError::StoredState { reason: error.to_string() })
        }
        (Some(_), _) => Err(RunError::StoredState {
            reason: format!("a queued state has version {}, this program has {}", queued.version, S::VERSION),
        }),
        (None, Some(update)) => read_update::<S>(queued.version, update, &queued.form).map(Input::Update),
        (None, None) => Ok(Input::default()),
    }
}
