//! `POST` and `GET /api/chat/stream`: streams the answer of the plain model.

use agent_core::{
    model::{Delta, FinishReason, Model, ModelError, ModelErrorKind, ModelRequest, ModelStream},
    telemetry,
};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, TryFutureExt, future::BoxFuture, stream};
use hyper::{Method, StatusCode, header::HeaderValue};
use serde_json::json;

use crate::{
    api::chat::{ChatEvent, ChatRequest, DONE_ID, EventIds, chunk, done, error_event, model_error_event},
    app::RequestContext,
    docs::openapi::RouteDoc,
    error::{ApiError, Rejection, log_model},
    http::response::{HandlerResult, empty, sse, with_keep_alive},
    limits::Permit,
    raw_calls::without_raw_calls,
};

const EVENTS: &str = "Events: `data: {\"chunk\": \"..\"}` for each delta, then `data: {\"done\": true}`. An error after the beginning of the stream \
     is one `data: {\"error\": \"..\", \"code\": \"..\", \"help\": \"..\", \"retryable\": ..}` before the `done`. An answer that was cut at the limit of output tokens has `\"finish_reason\": \"length\"` in its `done`. If the client disconnects, the model call is cancelled.";

const EXAMPLE: &str =
    "data: {\"chunk\":\"안녕\"}\n\ndata: {\"chunk\":\"하세요\"}\n\ndata: {\"done\":true}\n\n";

pub(super) fn docs() -> [RouteDoc; 2] {
    let doc = |method, id, summary| {
        RouteDoc::new(method, "/api/chat/stream", id, "chats", summary)
            .rejections(&[Rejection::EmptyMessage, Rejection::MessageTooLong])
            .rejections(&[
                Rejection::NoModel,
                Rejection::OwnEndpoint,
                Rejection::EmptyAnswer,
                Rejection::QuotaExceeded,
            ])
            .streams::<ChatEvent<'_>>(EXAMPLE)
    };
    let message = json!({
        "type": "string", "minLength": 1, "maxLength": 32_768,
        "pattern": r"[^\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
    });
    let history = json!({"$ref": "#/components/schemas/ChatRequest/properties/history"});
    [
        doc(Method::POST, "chat_stream", "Stream the answer of a model").text(EVENTS).request_body::<ChatRequest>(
            true,
            &[
                ("korean", "한국어로", json!({"message": "건성 피부에 맞는 크림을 추천해 주세요"})),
                (
                    "english",
                    "In English, with a history",
                    json!({"message": "And for oily skin?", "history": [
                        {"role": "user", "content": "Which cream suits dry skin?"},
                        {"role": "assistant", "content": "One with ceramides."},
                    ]}),
                ),
            ],
        ),
        doc(Method::GET, "chat_stream_get", "Stream the answer of a model to an `EventSource`")
            .text("The `done` event has the id `done`. An `EventSource` that reconnects with this id gets a 204, which ends it.")
            .parameter("query", "message", true, &message, "Message of the user.")
            .raw_parameter(json!({
                "name": "history",
                "in": "query",
                "description": "Earlier messages: a JSON array of `{role, content}`.",
                "content": {"application/json": {"schema": history}},
            }))
            .rejections(&[Rejection::InvalidJson, Rejection::InvalidRequest, Rejection::TooDeep])
            .responds(414, json!({"description": "The URL exceeds 64 KiB; use `POST`."}))
            .responds(431, json!({"description": "The request headers exceed 64 KiB; use `POST`."}))
            .responds(204, json!({"description": "The client has received the end of the stream."})),
    ]
}

pub(super) async fn post(mut context: RequestContext) -> HandlerResult {
    let request = ChatRequest::parse(&context.json().await?)?;
    respond(&context, request, EventIds::Off).await
}

/// For a browser's `EventSource`, which reconnects whenever a stream ends. A client that has received the last event gets
/// 204, which ends the reconnects; otherwise each reconnect would call the model again.
pub(super) async fn get(context: RequestContext) -> HandlerResult {
    let header = |name: &str| context.headers().get(name).map(HeaderValue::as_bytes);
    // An `<img>` of a foreign page sends no `Origin`. It must not call the model.
    if header("sec-fetch-site") == Some(b"cross-site") && header("origin").is_none() {
        return Err(ApiError::new(
            Rejection::OriginNotAllowed,
            "pages of this origin may not do this; the operator can add the origin to ALLOWED_ORIGINS",
        ));
    }
    if header("last-event-id") == Some(DONE_ID.as_bytes()) {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let request = ChatRequest::from_query(&context.query())?;
    if context.request.method() == Method::HEAD {
        return Ok(sse(stream::empty()));
    }
    respond(&context, request, EventIds::On).await
}

async fn respond(context: &RequestContext, request: ChatRequest, ids: EventIds) -> HandlerResult {
    let Some(chat) = &context.app.chat else {
        return Err(ApiError::new(Rejection::NoModel, NO_MODEL));
    };
    if let Some(reason) = chat.refusal() {
        return Err(ApiError::new(Rejection::OwnEndpoint, reason));
    }
    let permits = (context.stream_permit()?, context.app.limits.run(context.key()).await?);
    let request = chat.with_limits(ModelRequest::new(request.into_messages()));
    let events = sse_events(chat.model(), request, ids).map(move |event| {
        // Held until the stream ends.
        let _: &(Permit, Option<Permit>) = &permits;
        event
    });
    Ok(sse(with_keep_alive(events, context.app.options.ping)))
}

/// Error of a path that needs a model.
pub(super) const NO_MODEL: &str = "no model is configured; the operator can set OPENAI_API_KEY, OPENAI_BASE_URL or \
                                   VLLM_BASE_URL";
/// Error of an answer without text.
const EMPTY: &str = "the model ended its answer without any text; try again or rephrase the message";
/// Error of an answer without text at the limit of output tokens.
const EMPTY_AT_LIMIT: &str =
    "the model reached the limit of output tokens before any text; the operator can raise CHAT_MAX_TOKENS";

/// Error of an answer that was sent in part. The code has the reason.
const BROKEN_OFF: &str = "the model failed before its answer was complete";

enum ChatStreamState {
    /// Waiting for the model.
    Opening(BoxFuture<'static, Result<ModelStream, ModelError>>),
    /// Streaming; whether text was sent.
    Streaming(ModelStream, bool),
    /// The answer has ended: whether text was sent, and whether it was cut at the limit of tokens.
    Finished(ModelStream, bool, bool),
    /// Sending the last event; whether the answer is cut.
    Ending(bool),
    Ended,
}

/// Returns the events of an answer. Nothing is read ahead: a client that does not read suspends the model call, and a
/// disconnect drops it.
fn sse_events(
    model: &Model,
    request: ModelRequest,
    ids: EventIds,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let opening = telemetry::chat(model, request, None).map_ok(without_raw_calls).boxed();
    stream::unfold(ChatStreamState::Opening(opening), move |mut state| async move {
        loop {
            state = match state {
                ChatStreamState::Opening(opening) => match opening.await {
                    Ok(stream) => ChatStreamState::Streaming(stream, false),
                    Err(error) => return Some((logged(&error), ChatStreamState::Ending(false))),
                },
                ChatStreamState::Streaming(mut stream, sent) => match stream.next().await {
                    Some(Ok(Delta::Text { text })) if !text.is_empty() => {
                        return Some((chunk(&text), ChatStreamState::Streaming(stream, true)));
                    }
                    // The protocol cannot retract text.
                    Some(Ok(Delta::Restarted { reason, .. })) if sent => {
                        tracing::warn!(code = reason, "a model failed during its answer");
                        return Some((error_event(&reason, BROKEN_OFF), ChatStreamState::Ending(false)));
                    }
                    Some(Ok(Delta::Finished { reason: FinishReason::Filtered })) => {
                        return Some((
                            logged(&ModelError::new(ModelErrorKind::Filtered)),
                            ChatStreamState::Ending(false),
                        ));
                    }
                    Some(Ok(Delta::Finished { reason: FinishReason::ToolCalls })) if !sent => {
                        let event = error_event("model_malformed", "the model called a tool, but has none");
                        return Some((event, ChatStreamState::Ending(false)));
                    }
                    Some(Ok(Delta::Finished { reason })) => {
                        ChatStreamState::Finished(stream, sent, reason == FinishReason::Length)
                    }
                    Some(Ok(_)) => ChatStreamState::Streaming(stream, sent),
                    Some(Err(error)) => return Some((logged(&error), ChatStreamState::Ending(false))),
                    None => ChatStreamState::Finished(stream, sent, false),
                },
                ChatStreamState::Finished(mut stream, sent, cut) => match stream.next().await {
                    Some(Ok(Delta::Text { text })) if !text.is_empty() => {
                        return Some((chunk(&text), ChatStreamState::Finished(stream, true, cut)));
                    }
                    Some(Ok(_)) => ChatStreamState::Finished(stream, sent, cut),
                    Some(Err(error)) => return Some((logged(&error), ChatStreamState::Ending(false))),
                    None if !sent => {
                        let text = if cut { EMPTY_AT_LIMIT } else { EMPTY };
                        let event = error_event(Rejection::EmptyAnswer.name(), text);
                        return Some((event, ChatStreamState::Ending(cut)));
                    }
                    None => ChatStreamState::Ending(cut),
                },
                ChatStreamState::Ending(cut) => {
                    return Some((done(ids, cut.then_some("length")), ChatStreamState::Ended));
                }
                ChatStreamState::Ended => return None,
            };
        }
    })
}

fn logged(error: &ModelError) -> Bytes {
    log_model(error);
    model_error_event(error)
}
