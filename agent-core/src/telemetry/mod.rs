//! Spans of runs, nodes, model calls and tool calls, in OpenTelemetry's `gen_ai` conventions.
//!
//! | Span | Level | Fields |
//! |---|---|---|
//! | `invoke_agent`: a run in memory, from its acceptance (or its resumption) until it ends or is evicted | info | `gen_ai.operation.name`, `gen_ai.agent.name` (the graph), `gen_ai.conversation.id` (the session), `agent_core.run`, `agent_core.resumed`, `agent_core.status`, `agent_core.supersteps` |
//! | `node`: one attempt of one activation | debug | `agent_core.graph`, `agent_core.node`, `agent_core.superstep`, `agent_core.attempt` |
//! | `chat`: a model call, its retries included | info | `gen_ai.operation.name`, `gen_ai.provider.name`, `gen_ai.conversation.id`, `gen_ai.request.model`, `.stream`, `.temperature`, `.top_p`, `.max_tokens`, `gen_ai.response.model`, `.finish_reasons`, `.time_to_first_chunk`, `gen_ai.usage.input_tokens`, `.output_tokens`, `.cache_read.input_tokens`, `.reasoning.output_tokens` |
//! | `execute_tool`: a tool call | info | `gen_ai.operation.name`, `gen_ai.tool.name`, `gen_ai.tool.call.id`, `gen_ai.tool.type`, `gen_ai.conversation.id` |
//!
//! A span that failed has `error.type` (the [code](crate::Code), or that of the model's or tool's error) and
//! `otel.status_code` = `ERROR`. `otel.name` is the display name (`chat gpt-4o-mini`), `otel.kind` is `client` for
//! model calls. `gen_ai.response.finish_reasons` is one word here; the convention asks for an array of one.
//!
//! Every span has its kind in `openinference.span.kind` (`AGENT`, `CHAIN` for nodes, `LLM`, `TOOL`).
//!
//! Spans contain no content: no message, argument, result, error text, header or key. They contain names of
//! sessions, graphs, nodes, models and tools, and the ids of tool calls. [`capture_content`] adds the messages of model
//! calls (`gen_ai.input.messages`, `gen_ai.output.messages`, `gen_ai.system_instructions`) and the arguments and results of
//! tool calls (`gen_ai.tool.call.arguments`, `gen_ai.tool.call.result`), both also as `input.value` and `output.value`. The
//! span of a run then has the state at its beginning and at its completion as JSON, in the same two fields.
//!
//! A replayed step is not a call and has no span. The span of a run is a child of the span that was current when
//! the run started, even if it outlives it. Runs that start from the queue or are recovered by another process
//! begin a new trace.
//!
//! All spans have the target [`TARGET`], and only they do, so that a filter can exclude or select them. Without a
//! subscriber the cost is one check of a flag. Node spans are enabled where [`TARGET`] is enabled at debug level
//! when the run begins.

mod content;

pub(crate) use content::journalled_request;
pub use content::{capture_content, journal_requests};

use std::{
    fmt::Display,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Stream, StreamExt};
use serde::Serialize;
use tokio::time::Instant;
use tracing::{
    Instrument, Level, Span, debug_span,
    field::{Empty, display},
    info_span, span_enabled,
};

use crate::{
    error::Code,
    ids::{RunId, SessionId},
    model::{Assembler, Delta, FinishReason, Model, ModelError, ModelRequest, ModelStream, Usage},
    util::shorten,
};

/// Target of every span of this crate.
pub const TARGET: &str = "agent_core::span";

/// Maximum length of a name or id in a span, in characters.
const LONGEST: usize = 128;

/// Returns whether node spans are enabled; checked once per run.
pub(crate) fn nodes() -> bool {
    span_enabled!(target: TARGET, Level::DEBUG)
}

/// Creates the span of a run, as a child of the current span.
pub(crate) fn run(session: &SessionId, run: RunId, graph: &str, resumed: bool) -> Span {
    info_span!(
        target: TARGET,
        "invoke_agent",
        openinference.span.kind = "AGENT",
        otel.name = %format_args!("invoke_agent {graph}"),
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = graph,
        gen_ai.conversation.id = session.as_str(),
        agent_core.run = int(run.0),
        agent_core.resumed = resumed,
        agent_core.status = Empty,
        agent_core.supersteps = Empty,
        input.value = Empty,
        output.value = Empty,
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// Records the state with which a run begins, if content is recorded.
pub(crate) fn run_input(span: &Span, state: &impl Serialize) {
    content::record(span, ["input.value"], || serde_json::to_string(state).unwrap_or_default());
}

/// Records the state with which a run completes, if content is recorded.
pub(crate) fn run_output(span: &Span, state: &impl Serialize) {
    content::record(span, ["output.value"], || serde_json::to_string(state).unwrap_or_default());
}

/// Records the outcome of a run.
pub(crate) fn run_ended(span: &Span, status: &dyn Display, supersteps: u64, error: Option<Code>) {
    if span.is_disabled() {
        return;
    }
    span.record("agent_core.status", display(status));
    span.record("agent_core.supersteps", int(supersteps));
    if let Some(error) = error {
        failed(span, error.name());
    }
}

/// Creates the span of one attempt of a task, as a child of the current span.
pub(crate) fn node(graph: &str, node: &str, superstep: u64, attempt: u32) -> Span {
    debug_span!(
        target: TARGET,
        "node",
        openinference.span.kind = "CHAIN",
        otel.name = %format_args!("node {node}"),
        agent_core.graph = graph,
        agent_core.node = node,
        agent_core.superstep = int(superstep),
        agent_core.attempt = i64::from(attempt),
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// Creates the span of a tool call, as a child of the current span.
pub(crate) fn tool(name: &str, call_id: &str, session: &SessionId) -> Span {
    info_span!(
        target: TARGET,
        "execute_tool",
        openinference.span.kind = "TOOL",
        otel.name = %format_args!("execute_tool {name}"),
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = name,
        gen_ai.tool.call.id = shorten(call_id, LONGEST),
        gen_ai.tool.type = "function",
        gen_ai.conversation.id = session.as_str(),
        gen_ai.tool.call.arguments = Empty,
        gen_ai.tool.call.result = Empty,
        input.value = Empty,
        output.value = Empty,
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// Records the arguments of a tool call, if content is captured.
pub(crate) fn tool_called(span: &Span, arguments: &serde_json::Value) {
    content::record(span, ["gen_ai.tool.call.arguments", "input.value"], || arguments.to_string());
}

/// Records the result of a tool call, if content is captured.
pub(crate) fn tool_replied(span: &Span, result: &str) {
    content::record(span, ["gen_ai.tool.call.result", "output.value"], || result.to_owned());
}

/// Marks a span as failed. The text of the error is not recorded.
pub(crate) fn failed(span: &Span, code: &str) {
    span.record("error.type", code);
    span.record("otel.status_code", "ERROR");
}

/// Streams a model call inside a `chat` span, which is a child of the current span.
///
/// The engine uses this for each recorded call; programs that call a [`Model`] directly may do the same. `session`
/// is the id of the conversation, if there is one.
///
/// # Errors
///
/// As [`Model::stream`].
///
/// # Cancel safety
///
/// As [`Model::stream`]. If the call is dropped before its end, its span has no finish reason.
pub fn chat(
    model: &Model,
    request: ModelRequest,
    session: Option<&SessionId>,
) -> impl Future<Output = Result<ModelStream, ModelError>> + Send + use<> {
    let span = chat_span(model, &request, session);
    let model = model.clone();
    async move {
        if span.is_disabled() {
            return model.stream(request).await;
        }
        let began = Instant::now();
        let stream = model.stream(request).instrument(span.clone()).await;
        let stream = stream.inspect_err(|error| failed(&span, error.code()))?;
        let answer = content::is_captured().then(Assembler::new);
        Ok(ModelStream::new(TracedStream { stream, span, began, answers: false, answer }))
    }
}

fn chat_span(model: &Model, request: &ModelRequest, session: Option<&SessionId>) -> Span {
    let span = info_span!(
        target: TARGET,
        "chat",
        openinference.span.kind = "LLM",
        otel.name = Empty,
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = model.provider(),
        gen_ai.conversation.id = session.map(SessionId::as_str),
        gen_ai.request.model = Empty,
        gen_ai.request.stream = true,
        gen_ai.request.temperature = request.temperature.map(plain),
        gen_ai.request.top_p = request.top_p.map(plain),
        gen_ai.request.max_tokens = request.max_output_tokens.map(i64::from),
        gen_ai.response.model = Empty,
        gen_ai.response.finish_reasons = Empty,
        gen_ai.response.time_to_first_chunk = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
        gen_ai.usage.reasoning.output_tokens = Empty,
        gen_ai.input.messages = Empty,
        gen_ai.output.messages = Empty,
        gen_ai.system_instructions = Empty,
        input.value = Empty,
        output.value = Empty,
        error.type = Empty,
        otel.status_code = Empty,
    );
    if !span.is_disabled() {
        let name = shorten(request.model.as_deref().unwrap_or(model.name()), LONGEST);
        span.record("gen_ai.request.model", &*name);
        span.record("otel.name", display(format_args!("chat {name}")));
        content::record_request(&span, request);
    }
    span
}

/// A model stream that records its progress in a span.
struct TracedStream {
    stream: ModelStream,
    span: Span,
    began: Instant,
    answers: bool,
    /// The answer so far, if its content is recorded.
    answer: Option<Assembler>,
}

impl Stream for TracedStream {
    type Item = Result<Delta, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let _inside = this.span.enter();
        let item = ready!(this.stream.poll_next_unpin(cx));
        let span = &this.span;
        if !std::mem::replace(&mut this.answers, true) {
            span.record("gen_ai.response.time_to_first_chunk", this.began.elapsed().as_secs_f64());
        }
        if let (Some(answer), Some(Ok(delta))) = (&mut this.answer, &item)
            && answer.push(delta).is_err()
        {
            this.answer = None;
        }
        match &item {
            Some(Ok(Delta::Model { name })) => {
                span.record("gen_ai.response.model", &*shorten(name, LONGEST));
            }
            Some(Ok(Delta::Usage { usage })) => used(span, usage),
            Some(Ok(Delta::Finished { reason })) => {
                span.record("gen_ai.response.finish_reasons", word(reason));
                if let Some(reply) = this.answer.take().and_then(|answer| answer.finish().ok()) {
                    content::record_reply(span, &reply.message, word(reason));
                }
            }
            Some(Err(error)) => failed(span, error.code()),
            _ => {}
        }
        Poll::Ready(item)
    }
}

fn used(span: &Span, usage: &Usage) {
    span.record("gen_ai.usage.input_tokens", int(usage.input_tokens));
    span.record("gen_ai.usage.output_tokens", int(usage.output_tokens));
    if usage.cached_tokens > 0 {
        span.record("gen_ai.usage.cache_read.input_tokens", int(usage.cached_tokens));
    }
    if usage.reasoning_tokens > 0 {
        span.record("gen_ai.usage.reasoning.output_tokens", int(usage.reasoning_tokens));
    }
}

/// OpenTelemetry's integers are signed.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns the nearest number with few digits: 0.7, not 0.699999988079071.
fn plain(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

/// Returns the finish reason in the words of the conventions.
fn word(finish: &FinishReason) -> &str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_call",
        FinishReason::Length => "length",
        FinishReason::Filtered => "content_filter",
        FinishReason::Other(word) => word,
    }
}
