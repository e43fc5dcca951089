//! `POST /v1/chat/completions`: one answer, whole or streamed. A disconnect cancels the run.

use agent_core::{
    Code,
    clock::{Clock, WallClock},
    model::{Assembler, Delta, FinishReason, Message, ModelError, ModelErrorKind, Usage},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use hyper::Method;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::deltas::{Deltas, open_deltas};
use crate::{
    api::openai::{
        Answer, Completion, CompletionChunk, CompletionRequest, CompletionWriter, ParsedCompletion, estimate,
    },
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::{ApiError, Contract, Rejection},
    http::response::{HandlerResult, ok, sse, with_keep_alive},
    limits::Permit,
};
use crate::{api::schema::reference, handler::run_failure_codes};

pub(super) fn doc() -> RouteDoc {
    let korean =
        json!({"model": "trend", "messages": [{"role": "user", "content": "라네즈 리뷰를 분석해 주세요"}]});
    let english = json!({
        "model": "trend",
        "stream": true,
        "messages": [{"role": "user", "content": "Analyse the Laneige reviews for buyers"}],
    });
    let mut doc = RouteDoc::new(
        Method::POST,
        "/v1/chat/completions",
        "completions",
        "chats",
        "Create a chat completion with any agent or model",
    )
    .text(
        "For any OpenAI client, with `/v1` of this server as its base URL. With `stream: true` the answer is sent as \
         server-sent events and ends with `[DONE]`.",
    )
    .takes::<CompletionRequest>(
        true,
        &[("korean", "한국어로", korean), ("english", "In English, streamed", english)],
    )
    .codes(&run_failure_codes())
    .codes(&[Code::ShuttingDown, Code::GraphNotFound])
    .of_store()
    .rejections(&[Rejection::NoModel, Rejection::ModelNotFound, Rejection::Unsupported])
    .rejections(&[Rejection::Stopped, Rejection::QuotaExceeded]);
    let (completion, chunk) = (doc.schema::<Completion>(), doc.schema::<CompletionChunk<'_>>());
    let error = json!({"application/json": {"schema": {"$ref": reference("OpenAiError")}}});
    let content = json!({
        "application/json": {"schema": completion},
        "text/event-stream": {"x-item-schema": chunk},
    });
    doc.responds(504, json!({"description": "The model did not respond in time.", "content": error}))
        .responds(200, json!({"description": "The completion.", "content": content}))
}

pub(in crate::handler) async fn create(mut context: RequestContext) -> HandlerResult {
    let request = CompletionRequest::parse(&context.json().await?)?;
    let app = &context.app;
    let permit = request.stream.then(|| context.stream_permit()).transpose()?;
    let deltas = open_deltas(&context, app.backend(&request.model)?, &request).await?;
    let writer = CompletionWriter::new(&request.model, WallClock.now_ms() / 1_000, request.include_usage);
    if request.stream {
        let beat = app.options.ping;
        let mut writing = CompletionStream::new(writer, deltas, request, permit);
        // The response headers wait for the first event, so that an early failure has a status, but at most one keep-alive
        // interval.
        let until = Instant::now() + beat;
        let mut events = vec![writing.writer.begin()];
        match timeout_at(until, writing.next()).await {
            Ok(Ok(event)) => events.extend(event),
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
        return Ok(sse(with_keep_alive(stream::iter(events).chain(remaining_events(writing)), beat)));
    }
    let answer = whole(deltas, &request.messages).await?;
    Ok(ok(&writer.whole(answer)))
}

async fn whole(mut deltas: Deltas, request: &[Message]) -> Result<Answer, ApiError> {
    let broken = |error: ModelError| ApiError::of_model(Contract::OpenAi, &error);
    let mut assembler = Assembler::new();
    while let Some(delta) = deltas.next().await {
        assembler.push(&delta?).map_err(broken)?;
    }
    let reply = assembler.finish().map_err(broken)?;
    let text = reply.message.text().into_owned();
    let usage = reply.usage.unwrap_or_else(|| estimate(request, &text));
    Ok(Answer { text, calls: reply.message.tool_calls, finish: Some(reply.finish), usage })
}

/// A streamed answer.
struct CompletionStream {
    writer: CompletionWriter,
    deltas: Deltas,
    request: ParsedCompletion,
    /// The text so far, if its tokens must be counted.
    text: String,
    shown: bool,
    usage: Option<Usage>,
    ended: bool,
    /// Counts against the caller's streams.
    _permit: Option<Permit>,
}

impl CompletionStream {
    fn new(
        writer: CompletionWriter,
        deltas: Deltas,
        request: ParsedCompletion,
        permit: Option<Permit>,
    ) -> Self {
        let (text, shown, usage, ended) = (String::new(), false, None, false);
        Self { writer, deltas, request, text, shown, usage, ended, _permit: permit }
    }

    /// Returns the next event; `None` after the last one.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        while !self.ended {
            let Some(delta) = self.deltas.next().await else {
                return Err(self.cut());
            };
            match delta? {
                Delta::Text { text } if text.is_empty() => {}
                Delta::Text { text } => {
                    self.shown = true;
                    if self.request.include_usage {
                        self.text.push_str(&text);
                    }
                    return Ok(Some(self.writer.text(&text)));
                }
                Delta::Usage { usage } => self.usage = Some(usage),
                // The protocol cannot retract text.
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
        let usage = self.usage.unwrap_or_else(|| match self.request.include_usage {
            true => estimate(&self.request.messages, &self.text),
            false => Usage::default(),
        });
        self.writer.end(Some(reason), usage)
    }

    fn cut(&mut self) -> ApiError {
        self.ended = true;
        ApiError::of_model(Contract::OpenAi, &ModelError::new(ModelErrorKind::Cut))
    }
}

/// Returns the remaining events of an answer.
fn remaining_events(writing: CompletionStream) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(Some(writing), |writing| async move {
        let mut writing = writing?;
        match writing.next().await {
            Ok(event) => event.map(|event| (event, Some(writing))),
            Err(error) => Some((CompletionWriter::error(&error), None)),
        }
    })
}
