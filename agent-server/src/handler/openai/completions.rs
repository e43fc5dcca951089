//! `POST /v1/chat/completions`: one answer, whole or while it comes. A caller that goes away ends the work.

use agent_core::{
    clock::{Clock, WallClock},
    model::{Assembler, Delta, FinishReason, Message, ModelError, ModelErrorKind, Usage},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::hear::{Deltas, hear};
use crate::{
    error::{ApiError, Contract},
    http::{
        call::Call,
        reply::{Reply, alive, ok, sse},
    },
    limit::Held,
    wire::openai::{Answer, Completion, Writer, estimate},
};

pub(crate) async fn create(mut call: Call) -> Reply {
    let asked = Completion::parse(&call.json().await?)?;
    let inner = &call.inner;
    let held = asked.stream.then(|| call.listen()).transpose()?;
    let deltas = hear(&call, inner.speaker(&asked.model)?, &asked).await?;
    let writer = Writer::new(&asked.model, WallClock.now_ms() / 1_000, asked.include_usage);
    if asked.stream {
        let beat = inner.options.ping;
        let mut writing = Writing::new(writer, deltas, asked, held);
        // The head waits for the first piece, so that a failure has a status; but not longer than a silence may be.
        let until = Instant::now() + beat;
        let mut events = vec![writing.writer.begin()];
        match timeout_at(until, writing.next()).await {
            Ok(Ok(event)) => events.extend(event),
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
        return Ok(sse(alive(stream::iter(events).chain(written(writing)), beat)));
    }
    let answer = whole(deltas, &asked.messages).await?;
    Ok(ok(&writer.whole(&answer)))
}

async fn whole(mut deltas: Deltas, asked: &[Message]) -> Result<Answer, ApiError> {
    let broken = |error: ModelError| ApiError::of_model(Contract::OpenAi, &error);
    let mut assembler = Assembler::new();
    while let Some(delta) = deltas.next().await {
        assembler.push(&delta?).map_err(broken)?;
    }
    let reply = assembler.finish().map_err(broken)?;
    let text = reply.message.text().into_owned();
    let usage = reply.usage.unwrap_or_else(|| estimate(asked, &text));
    Ok(Answer { text, calls: reply.message.tool_calls, finish: Some(reply.finish), usage })
}

/// An answer that is written while it comes.
struct Writing {
    writer: Writer,
    deltas: Deltas,
    asked: Completion,
    /// What was said, where it has to be counted.
    said: String,
    shown: bool,
    usage: Option<Usage>,
    ended: bool,
    /// Its place among the caller's streams.
    _held: Option<Held>,
}

impl Writing {
    fn new(writer: Writer, deltas: Deltas, asked: Completion, held: Option<Held>) -> Self {
        let (said, shown, usage, ended) = (String::new(), false, None, false);
        Self { writer, deltas, asked, said, shown, usage, ended, _held: held }
    }

    /// The next event; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        while !self.ended {
            let Some(delta) = self.deltas.next().await else {
                return Err(self.cut());
            };
            match delta? {
                Delta::Text { text } if text.is_empty() => {}
                Delta::Text { text } => {
                    self.shown = true;
                    if self.asked.include_usage {
                        self.said.push_str(&text);
                    }
                    return Ok(Some(self.writer.text(&text)));
                }
                Delta::Usage { usage } => self.usage = Some(usage),
                // This wire cannot take back what was shown.
                Delta::Restarted { .. } if self.shown => return Err(self.cut()),
                Delta::Finished { reason } => return Ok(Some(self.end(&reason))),
                other => {
                    if let Some(event) = self.writer.call(&other) {
                        self.shown = true;
                        return Ok(Some(event));
                    }
                }
            }
        }
        Ok(None)
    }

    fn end(&mut self, reason: &FinishReason) -> Bytes {
        self.ended = true;
        let usage = self.usage.unwrap_or_else(|| match self.asked.include_usage {
            true => estimate(&self.asked.messages, &self.said),
            false => Usage::default(),
        });
        self.writer.end(Some(reason), usage)
    }

    fn cut(&mut self) -> ApiError {
        self.ended = true;
        ApiError::of_model(Contract::OpenAi, &ModelError::new(ModelErrorKind::Cut))
    }
}

/// The events of the rest of an answer.
fn written(writing: Writing) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(Some(writing), |writing| async move {
        let mut writing = writing?;
        match writing.next().await {
            Ok(event) => event.map(|event| (event, Some(writing))),
            Err(error) => Some((Writer::failed(&error), None)),
        }
    })
}
