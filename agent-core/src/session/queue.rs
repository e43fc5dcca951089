//! Queued runs: accepted on a busy session, started one after another.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{
    Run, Session, SessionError,
    cell::SessionCell,
    dyn_graph::DynGraph,
    lock::LockedSession,
    run_input::RawInput,
    run_watch::{RunResult, RunSender},
    runtime::Shared,
    start::NewRun,
};
use crate::{
    engine::{RunError, journal_writer::JournalWriter, read_update},
    ids::RunId,
    journal::entry::{Dequeued, Fact, Queued},
    json,
    run::RunStatus,
    state::{Input, State},
};

/// Maximum number of queued runs of a session.
const QUEUE_LIMIT: usize = 64;

/// First and longest wait before a queued run is retried that could not start for a transient reason.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// The first queued run, with the graph that it was queued with in this process.
type NextRun = (RunId, Queued, Option<Arc<dyn DynGraph>>);

impl LockedSession {
    /// Queues a run and waits until that is stored.
    ///
    /// The journal number and the position in the queue are assigned together, so that a snapshot has both or neither, and
    /// so that either the end of the previous run or this call starts the queued run.
    pub(super) async fn enqueue<S: State>(
        &self,
        new: NewRun<S>,
        instance: Arc<dyn DynGraph>,
        writer: &Arc<JournalWriter>,
        run: RunId,
    ) -> Result<Run, SessionError> {
        let NewRun { graph, input, options, .. } = new;
        if self.cell.inner.lock().queue.len() >= QUEUE_LIMIT {
            return Err(SessionError::TooManyRuns { limit: QUEUE_LIMIT });
        }
        let RawInput { state, update, form } = input.into_raw(&graph)?;
        writer.add_labels(&options.labels);
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
            context: options.context,
            pauses: options.pauses,
        };
        let result = RunSender::new();
        let handle = Run::queued(Session::clone(self), run, result.subscribe());
        let seq = self.cell.enqueue(writer, run, queued, instance, result)?;
        if let Err(error) = writer.wait_durable(seq).await {
            self.cell.remove_queued(run);
            self.cell.inner.lock().queue.forget_request(run);
            if self.cell.live().is_none() {
                self.cell.invalidate();
            }
            return Err(error.into());
        }
        if self.cell.live().is_none() {
            self.shared.run_ended(&self.cell);
        }
        Ok(handle)
    }

    /// Starts the first queued run if the session has no unfinished run. An error is transient.
    async fn begin_queued(&self) -> Result<(), SessionError> {
        while let Some((run, queued, graph)) = self.next_queued().await? {
            let begun = match graph.map_or_else(|| self.graph_of(&queued.graph), Ok) {
                Ok(graph) => graph.start_queued(self, run, queued).await,
                Err(error) => Err(error),
            };
            match begun {
                Ok(_) => return Ok(()),
                // The journal keeps it queued.
                Err(
                    error @ (SessionError::ShuttingDown
                    | SessionError::TooManyRuns { .. }
                    | SessionError::Store(_)
                    | SessionError::GraphNotFound { .. }
                    | SessionError::GraphNotRegistered { .. }),
                ) => return Err(error),
                Err(error) => {
                    tracing::warn!(session = %self.id(), %run, %error, "a queued run could not begin");
                    let message = crate::util::shorten(&error.to_string(), 2_000);
                    let fact = Dequeued { code: error.code().name().to_owned(), message: message.clone() };
                    let error = Arc::new(RunError::StoredState { reason: message });
                    self.dequeue(run, fact, RunStatus::Failed, error).await?;
                }
            }
        }
        Ok(())
    }

    async fn next_queued(&self) -> Result<Option<NextRun>, SessionError> {
        if self.cell.live().is_some() || self.shared.is_closing() {
            return Ok(None);
        }
        let idle = self.idle().await?;
        if idle.projection().status.is_busy() {
            return Ok(None);
        }
        let front = {
            let inner = self.cell.inner.lock();
            inner.queue.front().map(|next| (next.run, next.queued.clone(), next.graph.clone()))
        };
        if front.is_some() {
            self.check_open()?;
        }
        Ok(front)
    }

    /// Removes a queued run.
    async fn dequeue(
        &self,
        run: RunId,
        fact: Dequeued,
        status: RunStatus,
        error: Arc<RunError>,
    ) -> Result<(), SessionError> {
        let fact = Fact::RunDequeued(fact);
        if let Some(live) = self.cell.live() {
            let seq = live.env.writer.push(run, [fact])?;
            live.env.writer.wait_durable(seq).await?;
        } else {
            let mut idle = self.idle().await?;
            let seq = idle.writer().push(run, [fact])?;
            if let Err(error) = idle.writer().wait_durable(seq).await {
                idle.invalidate();
                return Err(error.into());
            }
            idle.projection_mut().last = seq;
            idle.projection_mut().queue.retain(|(queued, _)| *queued != run);
        }
        if let Some(result) = self.cell.remove_queued(run) {
            result.send(Some(Arc::new(RunResult::new(status, Some(error)))));
        }
        Ok(())
    }
}

impl Session {
    /// Removes a queued run before it begins. Its handles see it as stopped.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotQueued`] when no run of that number is queued: it has begun, has finished or never existed.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it waits for an earlier command on the session, nothing happens. Dropped later, it completes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_core::{BusyPolicy, Context, END, Graph, Question, RunOptions, RunStatus, Runtime, START, State};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(State, Default, Serialize, Deserialize)]
    /// # struct Empty {}
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let graph = Graph::<Empty>::builder("ask")
    /// #     .node("ask", async |_: &Empty, cx: &Context| {
    /// #         let _: bool = cx.ask(Question::new("Continue?")).await?;
    /// #         Ok(Empty::update())
    /// #     })
    /// #     .edge(START, "ask").edge("ask", END).build()?;
    /// let session = Runtime::builder().build().session("s")?;
    /// session.run(&graph, Empty::update()).await?; // waits for an answer
    /// let enqueue = RunOptions::default().on_busy(BusyPolicy::Enqueue);
    /// let mut queued = session.run(&graph, Empty::update()).options(enqueue).start().await?;
    /// session.cancel_queued(queued.id()).await?;
    /// assert_eq!(queued.wait_status().await, RunStatus::Stopped);
    /// # Ok(()) }
    /// ```
    pub async fn cancel_queued(&self, run: RunId) -> Result<(), SessionError> {
        let cancel = async move |locked: LockedSession| {
            if locked.cell.live().is_none() {
                if locked.shared.store.is_some() {
                    locked.peek().await?;
                }
                // Reads the queue of a session that is not in memory.
                drop(locked.idle().await?);
            }
            if !locked.cell.inner.lock().queue.iter().any(|queued| queued.run == run) {
                return Err(SessionError::NotQueued { session: locked.id().clone(), run });
            }
            let message = "it was cancelled before it began".to_owned();
            let fact = Dequeued { code: "cancelled".to_owned(), message };
            locked.dequeue(run, fact, RunStatus::Stopped, Arc::new(RunError::Dequeued { run })).await
        };
        self.lock().await.complete(cancel).await
    }

    /// Starts the first queued run if the session is free. Transient failures are retried with growing waits.
    ///
    /// Boxed, because the end of a run starts the next one.
    pub(super) fn begin_next(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let begun = self.lock().await.begin_queued().await;
            if let Err(error) = begun {
                match error {
                    SessionError::TooManyRuns { .. } | SessionError::Store(_) => {
                        tracing::debug!(session = %self.id(), %error, "a queued run is tried again later");
                        self.shared.retry_queue(&self.cell);
                    }
                    error => tracing::warn!(session = %self.id(), %error, "queued runs cannot begin"),
                }
            }
        })
    }
}

impl Shared {
    /// Retries the queue of a session after a wait. At most one retry per session is pending.
    fn retry_queue(self: &Arc<Self>, cell: &Arc<SessionCell>) {
        let Some(attempt) = cell.inner.lock().queue.begin_retry() else { return };
        let wait = RETRY.0.saturating_mul(2_u32.saturating_pow(attempt.min(16) - 1)).min(RETRY.1);
        let session = Session { shared: Arc::clone(self), cell: Arc::clone(cell) };
        self.group.spawn(async move {
            tokio::time::sleep(wait).await;
            session.cell.inner.lock().queue.end_retry();
            session.begin_next().await;
        });
    }
}

/// Decodes the input of a queued run.
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
