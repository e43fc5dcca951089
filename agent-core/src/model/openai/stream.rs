//! Reads the events of one answer: timeouts, errors, and the decoder of the protocol.

use std::collections::VecDeque;
use std::time::Duration;

use async_openai::error::OpenAIError;
use futures::Stream;
use serde_json::Value;
use tokio::time::Instant;

use super::service::fault;
use crate::model::http::sse_guard::{SharedStreamStatus, poll_asked};
use crate::model::{Delta, ModelError, ModelErrorKind, ModelStream, TimeoutPhase};
use crate::secret::Secret;

/// Timeout for usage, or for the end of the connection, after the finish reason.
const AFTER_FINISH: Duration = Duration::from_secs(5);

/// Decoder of one protocol's events.
pub(super) trait Decoder: Send {
    /// Decodes one event.
    fn event(&mut self, event: &Value, out: &mut VecDeque<Delta>) -> Result<(), ModelError>;

    /// Returns `true` after the finish reason; only usage may follow.
    fn is_finished(&self) -> bool;

    /// Ends the stream; `done`: the endpoint has sent its end marker. Yields what was held back,
    /// [`Delta::Finished`] last.
    fn end(&mut self, done: bool, out: &mut VecDeque<Delta>) -> Result<(), ModelError>;
}

pub(super) struct Reader<S> {
    pub(super) events: S,
    pub(super) decoder: Box<dyn Decoder>,
    pub(super) status: SharedStreamStatus,
    pub(super) first_token: Instant,
    pub(super) idle: Duration,
    pub(super) name: String,
    pub(super) key: Option<Secret>,
}

struct DecodedStream<S> {
    reader: Reader<S>,
    ready: VecDeque<Delta>,
    failed: Option<ModelError>,
    begun: bool,
    over: bool,
}

impl<S> Reader<S>
where
    S: Stream<Item = Result<Value, OpenAIError>> + Send + Unpin + 'static,
{
    pub(super) fn into_stream(self) -> ModelStream {
        let reading =
            DecodedStream { reader: self, ready: VecDeque::new(), failed: None, begun: false, over: false };
        ModelStream::new(futures::stream::unfold(reading, |mut reading| async move {
            let item = reading.next().await?;
            Some((item, reading))
        }))
    }
}

impl<S> DecodedStream<S>
where
    S: Stream<Item = Result<Value, OpenAIError>> + Send + Unpin + 'static,
{
    async fn next(&mut self) -> Option<Result<Delta, ModelError>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                self.begun |= delta.is_output();
                return Some(Ok(delta));
            }
            if let Some(error) = self.failed.take() {
                self.over = true;
                return Some(Err(self.named(error)));
            }
            if self.over {
                return None;
            }
            self.failed = self.step().await.err();
        }
    }

    async fn step(&mut self) -> Result<(), ModelError> {
        let finished = self.reader.decoder.is_finished();
        let (until, waited) = match (finished, self.begun) {
            (true, _) => (Instant::now() + AFTER_FINISH.min(self.reader.idle), TimeoutPhase::Idle),
            (false, true) => (Instant::now() + crate::util::bounded(self.reader.idle), TimeoutPhase::Idle),
            (false, false) => (self.reader.first_token, TimeoutPhase::FirstToken),
        };
        let Reader { events, status, .. } = &mut self.reader;
        let next = std::future::poll_fn(|cx| poll_asked(events, status, cx));
        match tokio::time::timeout_at(until, next).await {
            Ok(Some(Ok(event))) => self.reader.decoder.event(&event, &mut self.ready),
            // A complete answer stays complete, however its connection ends.
            _ if finished => self.end(true),
            Ok(Some(Err(error))) => Err(self.fault().unwrap_or_else(|| fault(error))),
            Ok(None) => match self.fault() {
                Some(error) => Err(error),
                None => {
                    let done = self.reader.status.lock().done;
                    self.end(done)
                }
            },
            Err(_) => Err(ModelError::new(ModelErrorKind::TimedOut { waited })),
        }
    }

    fn end(&mut self, done: bool) -> Result<(), ModelError> {
        self.over = true;
        self.reader.decoder.end(done, &mut self.ready)
    }

    fn fault(&self) -> Option<ModelError> {
        self.reader.status.lock().fault.take()
    }

    fn named(&self, error: ModelError) -> ModelError {
        let error = match (&self.reader.key, error.detail()) {
            (Some(key), Some(detail)) => {
                let detail = key.scrub(detail);
                error.with_detail(detail)
            }
            _ => error,
        };
        error.with_model(self.reader.name.as_str())
    }
}

/// Returns the text under `key`, unless it is empty.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// Returns the count under `key`, even if it is written as a float.
pub(super) fn count(value: &Value, key: &str) -> Option<u64> {
    let number = value.get(key)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    number
        .as_u64()
        .or_else(|| number.as_f64().filter(|count| (0.0..1e15).contains(count)).map(|count| count as u64))
}

/// Returns a finish reason of the endpoint, shortened.
pub(super) fn bounded(reason: &str) -> String {
    reason.chars().take(64).collect()
}
