//! `POST /v1/chat/completions`: one answer, whole or streamed. A disconnect cancels the run.

use agent_core::{
    Code,
    clock::{Clock, WallClock},
    model::{Assembler, Delta, Message, ModelError, ModelErrorKind, Usage},
};
use bytes::Bytes;
use futures::{
    Stream, StreamExt, stream,
    stream::{BoxStream, SelectAll},
};
use hyper::{Method, header::HeaderValue};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::{
    Backend,
    deltas::{Deltas, Piece, open_deltas},
};
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
    .request_body::<CompletionRequest>(
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
    let backend = app.backend(&request.model)?;
    let (ignored, choices) = match &backend {
        Backend::Plain(_) => (Vec::new(), request.choices),
        Backend::Assistant(_) => (request.ignored_by(true), 1),
        Backend::Task(_) => (request.ignored_by(false), 1),
    };
    let ignored = ignored_header(&ignored);
    let mut answers = Vec::new();
    for _ in 0..choices {
        answers.push(open_deltas(&context, &backend, &request).await?);
    }
    let writer = CompletionWriter::new(&request.model, WallClock.now_ms() / 1_000, request.include_usage);
    let mut response = if request.stream {
        let beat = app.options.ping;
        let mut events: Vec<Bytes> = (0..answers.len()).map(|index| writer.begin(index)).collect();
        let mut writing = CompletionStream::new(writer, answers, request, permit);
        // The response headers wait for the first event, so that an early failure has a status, but at most one keep-alive
        // interval.
        let until = Instant::now() + beat;
        match timeout_at(until, writing.next()).await {
            Ok(Ok(event)) => events.extend(event),
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
        sse(with_keep_alive(stream::iter(events).chain(remaining_events(writing)), beat))
    } else {
        let answers = answers.into_iter().map(|deltas| collect_answer(deltas, &request.messages));
        ok(&writer.whole(futures::future::try_join_all(answers).await?))
    };
    if let Some(ignored) = ignored {
        response.headers_mut().insert(IGNORED, ignored);
    }
    Ok(response)
}

/// Response header with the parameters that the agent did not follow.
const IGNORED: &str = "x-ignored-parameters";

fn ignored_header(names: &[&str]) -> Option<HeaderValue> {
    let is_name = |name: &&&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let names: Vec<&str> = names.iter().filter(is_name).copied().collect();
    (!names.is_empty()).then(|| HeaderValue::from_str(&names.join(", ")).ok()).flatten()
}

async fn collect_answer(mut deltas: Deltas, request: &[Message]) -> Result<Answer, ApiError> {
    let broken = |error: ModelError| ApiError::of_model(Contract::OpenAi, &error);
    let mut assembler = Assembler::new();
    let (mut reasoning, mut events, mut logprobs) = (String::new(), Vec::new(), Vec::new());
    while let Some(piece) = deltas.next().await {
        match piece? {
            Piece::Event(line, event) => {
                reasoning.push_str(&line);
                events.push(event);
            }
            Piece::Model(delta) => {
                match &delta {
                    Delta::Reasoning { text } => reasoning.push_str(text),
                    Delta::Logprobs { content } => logprobs.extend(content.iter().cloned()),
                    Delta::Restarted { .. } => {
                        reasoning.clear();
                        logprobs.clear();
                    }
                    _ => {}
                }
                assembler.push(&delta).map_err(broken)?;
            }
        }
    }
    let reply = assembler.finish().map_err(broken)?;
    let text = reply.message.text().into_owned();
    let usage = reply.usage.unwrap_or_else(|| estimate(request, &text));
    let (calls, finish) = (reply.message.tool_calls, Some(reply.finish));
    Ok(Answer { text, reasoning, events, calls, logprobs, finish, usage })
}

/// Pieces of several answers, each with the index of its answer; `None`: that answer is over.
type IndexedPieces = SelectAll<BoxStream<'static, (usize, Option<Result<Piece, ApiError>>)>>;

/// A streamed response: its answers, merged.
struct CompletionStream {
    writer: CompletionWriter,
    deltas: IndexedPieces,
    request: ParsedCompletion,
    answers: Vec<AnswerProgress>,
    /// Whether the end was written.
    ended: bool,
    /// Counts against the caller's streams.
    _permit: Option<Permit>,
}

/// A streamed answer.
#[derive(Default)]
struct AnswerProgress {
    /// The text so far, if its tokens must be counted.
    text: String,
    shown: bool,
    usage: Option<Usage>,
    ended: bool,
}

impl CompletionStream {
    fn new(
        writer: CompletionWriter,
        deltas: Vec<Deltas>,
        request: ParsedCompletion,
        permit: Option<Permit>,
    ) -> Self {
        let answers = deltas.iter().map(|_| AnswerProgress::default()).collect();
        let deltas = deltas.into_iter().enumerate().map(|(index, deltas)| {
            let end = stream::once(async { None });
            deltas.map(Some).chain(end).map(move |piece| (index, piece)).boxed()
        });
        Self { writer, deltas: stream::select_all(deltas), request, answers, ended: false, _permit: permit }
    }

    /// Returns the next event; `None` after the last one.
    async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        while let Some((index, piece)) = self.deltas.next().await {
            if self.answers[index].ended {
                continue;
            }
            let answer = &mut self.answers[index];
            let delta = match piece.unwrap_or_else(|| Err(cut()))? {
                Piece::Event(line, event) => {
                    return Ok(Some(self.writer.reasoning(index, &line, Some(&event))));
                }
                Piece::Model(delta) => delta,
            };
            match delta {
                Delta::Text { text } if text.is_empty() => {}
                Delta::Text { text } => {
                    answer.shown = true;
                    if self.request.include_usage {
                        answer.text.push_str(&text);
                    }
                    return Ok(Some(self.writer.text(index, &text)));
                }
                Delta::Reasoning { text } if text.is_empty() => {}
                Delta::Reasoning { text } => return Ok(Some(self.writer.reasoning(index, &text, None))),
                Delta::Logprobs { content } => return Ok(Some(self.writer.logprobs(index, content))),
                Delta::Usage { usage } => answer.usage = Some(usage),
                // The protocol cannot retract text.
                Delta::Restarted { .. } if answer.shown => return Err(cut()),
                Delta::Finished { reason } => {
                    answer.ended = true;
                    let mut event = self.writer.finish(index, Some(&reason)).to_vec();
                    if self.answers.iter().all(|answer| answer.ended) {
                        event.extend_from_slice(&self.end());
                    }
                    return Ok(Some(event.into()));
                }
                other => {
                    if let Some(event) = self.writer.call(index, &other) {
                        answer.shown = true;
                        return Ok(Some(event));
                    }
                }
            }
        }
        if self.ended { Ok(None) } else { Err(cut()) }
    }

    fn end(&mut self) -> Bytes {
        self.ended = true;
        let messages = &self.request.messages;
        let mut usage = Usage::default();
        if self.request.include_usage {
            for (index, answer) in self.answers.iter().enumerate() {
                let mut own = answer.usage.unwrap_or_else(|| estimate(messages, &answer.text));
                // The prompt is counted once.
                if index > 0 {
                    (own.input_tokens, own.cached_tokens) = (0, 0);
                }
                usage += own;
            }
        }
        self.writer.end(usage)
    }
}

fn cut() -> ApiError {
    ApiError::of_model(Contract::OpenAi, &ModelError::new(ModelErrorKind::Cut))
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
