//! Spans of runs, nodes, model calls and tool calls, for any subscriber of `tracing`, by OpenTelemetry's conventions.
//!
//! | Span | Level | Fields |
//! |---|---|---|
//! | `invoke_agent`: a run in memory, from its acceptance (or its resumption) until it ends or is put away | info | `gen_ai.operation.name`, `gen_ai.agent.name` (the graph), `gen_ai.conversation.id` (the session), `agent_core.run`, `agent_core.resumed`, `agent_core.status`, `agent_core.supersteps` |
//! | `node`: one try of one activation | debug | `agent_core.graph`, `agent_core.node`, `agent_core.superstep`, `agent_core.attempt` |
//! | `chat`: a model call, its retries included | info | `gen_ai.operation.name`, `gen_ai.provider.name`, `gen_ai.conversation.id`, `gen_ai.request.model`, `.stream`, `.temperature`, `.top_p`, `.max_tokens`, `gen_ai.response.model`, `.finish_reasons`, `.time_to_first_chunk`, `gen_ai.usage.input_tokens`, `.output_tokens`, `.cache_read.input_tokens`, `.reasoning.output_tokens` |
//! | `execute_tool`: a tool call | info | `gen_ai.operation.name`, `gen_ai.tool.name`, `gen_ai.tool.call.id`, `gen_ai.tool.type`, `gen_ai.conversation.id` |
//!
//! A span that failed has `error.type` (the [code](crate::Code), or that of the model's or tool's fault) and
//! `otel.status_code` = `ERROR`. `otel.name` is the name that a backend shows (`chat gpt-4o-mini`), `otel.kind` is `client`
//! where a model is asked. `gen_ai.response.finish_reasons` is one word here; the convention wants an array of one.
//!
//! What was said never stands in a span: no message, no argument, no result, no text of an error, no header and no key. Names
//! do: of sessions, graphs, nodes, models and tools, and the ids that a model gives its calls.
//!
//! A step that was recorded and is replayed is no call and has no span. A run is inside the span that was current when it
//! was begun, also when it outlives it; one that a queue or another process takes up begins a trace of its own.
//!
//! All spans have the target [`TARGET`] and no others do, so a filter can leave them out of a log or take nothing else.
//! Without a subscriber they cost a look at a flag. Nodes have spans where [`TARGET`] is on at debug when their run begins.

use std::{
    fmt::Display,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Stream, StreamExt};
use tokio::time::Instant;
use tracing::{
    Instrument, Level, Span, debug_span,
    field::{Empty, display},
    info_span, span_enabled,
};

use crate::{
    engine::RunError,
    ids::{RunId, SessionId},
    model::{Delta, FinishReason, Model, ModelError, ModelRequest, ModelStream, Usage},
    text::shorten,
};

/// The target of every span of this crate.
pub const TARGET: &str = "agent_core::span";

/// The longest name or id that a model or a caller may put into a span, in characters.
const LONGEST: usize = 128;

/// Whether nodes have spans: asked once a run.
pub(crate) fn nodes() -> bool {
    span_enabled!(target: TARGET, Level::DEBUG)
}

/// A run, inside the current span.
pub(crate) fn run(session: &SessionId, run: RunId, graph: &str, resumed: bool) -> Span {
    info_span!(
        target: TARGET,
        "invoke_agent",
        otel.name = %format_args!("invoke_agent {graph}"),
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.name = graph,
        gen_ai.conversation.id = session.as_str(),
        agent_core.run = int(run.0),
        agent_core.resumed = resumed,
        agent_core.status = Empty,
        agent_core.supersteps = Empty,
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// How a run came to rest.
pub(crate) fn run_rests(span: &Span, status: &dyn Display, supersteps: u64, error: Option<&RunError>) {
    if span.is_disabled() {
        return;
    }
    span.record("agent_core.status", display(status));
    span.record("agent_core.supersteps", int(supersteps));
    if let Some(error) = error {
        failed(span, error.code().name());
    }
}

/// One try of an activation, inside the current span.
pub(crate) fn node(graph: &str, node: &str, superstep: u64, attempt: u32) -> Span {
    debug_span!(
        target: TARGET,
        "node",
        otel.name = %format_args!("node {node}"),
        agent_core.graph = graph,
        agent_core.node = node,
        agent_core.superstep = int(superstep),
        agent_core.attempt = i64::from(attempt),
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// A tool call, inside the current span.
pub(crate) fn tool(name: &str, call_id: &str, session: &SessionId) -> Span {
    info_span!(
        target: TARGET,
        "execute_tool",
        otel.name = %format_args!("execute_tool {name}"),
        gen_ai.operation.name = "execute_tool",
        gen_ai.tool.name = name,
        gen_ai.tool.call.id = shorten(call_id, LONGEST),
        gen_ai.tool.type = "function",
        gen_ai.conversation.id = session.as_str(),
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// Marks a span as failed. The text of the error stays away.
pub(crate) fn failed(span: &Span, code: &str) {
    span.record("error.type", code);
    span.record("otel.status_code", "ERROR");
}

/// Asks a model in a `chat` span, inside the span that is current when this is called. The engine asks so for each
/// recorded call; a program that asks a [`Model`] by itself may do the same. `session`: the conversation it belongs to,
/// if that has a name.
///
/// # Errors
///
/// As [`Model::stream`].
///
/// # Cancel safety
///
/// As [`Model::stream`]. A call that is dropped before its end leaves a span without a reason to finish.
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
        Ok(ModelStream::new(Heard { stream, span, began, answers: false }))
    }
}

fn chat_span(model: &Model, request: &ModelRequest, session: Option<&SessionId>) -> Span {
    let span = info_span!(
        target: TARGET,
        "chat",
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
        error.type = Empty,
        otel.status_code = Empty,
    );
    if !span.is_disabled() {
        let name = shorten(request.model.as_deref().unwrap_or(model.name()), LONGEST);
        span.record("gen_ai.request.model", &*name);
        span.record("otel.name", display(format_args!("chat {name}")));
    }
    span
}

/// An answer whose span is told what comes.
struct Heard {
    stream: ModelStream,
    span: Span,
    began: Instant,
    answers: bool,
}

impl Stream for Heard {
    type Item = Result<Delta, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let _inside = this.span.enter();
        let item = ready!(this.stream.poll_next_unpin(cx));
        let span = &this.span;
        if !std::mem::replace(&mut this.answers, true) {
            span.record("gen_ai.response.time_to_first_chunk", this.began.elapsed().as_secs_f64());
        }
        match &item {
            Some(Ok(Delta::Model { name })) => {
                span.record("gen_ai.response.model", &*shorten(name, LONGEST));
            }
            Some(Ok(Delta::Usage { usage })) => used(span, usage),
            Some(Ok(Delta::Finished { reason })) => {
                span.record("gen_ai.response.finish_reasons", word(reason));
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

/// OpenTelemetry's whole numbers are signed.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The nearest number with few digits: 0.7 and not 0.699999988079071.
fn plain(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

/// The reason in the words of the conventions.
fn word(finish: &FinishReason) -> &str {
    match finish {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_call",
        FinishReason::Length => "length",
        FinishReason::Filtered => "content_filter",
        FinishReason::Other(word) => word,
    }
}
