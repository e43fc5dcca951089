//! `POST` and `GET /api/chat/stream`: streams the answer of the plain model.

use agent_core::{
    model::{Delta, FinishReason, Model, ModelError, ModelErrorKind, ModelRequest, ModelStream},
    telemetry,
};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream};
use hyper::{Method, StatusCode, header::HeaderValue};

use crate::{
    api::chat::{ChatRequest, DONE_ID, EventIds, chunk, done, error_event, model_error_event},
    app::RequestContext,
    error::{ApiError, Rejection, log_model},
    http::response::{HandlerResult, empty, sse, with_keep_alive},
    limits::Permit,
};

pub(super) async fn post(mut context: RequestContext) -> HandlerResult {
    let request = ChatRequest::parse(&context.json().await?)?;
    respond(&context, request, EventIds::Off)
}

/// For a browser's `EventSource`, which reconnects whenever a stream ends. A client that has received the last event gets
/// 204, which ends the reconnects; otherwise each reconnect would call the model again.
pub(super) async fn get(context: RequestContext) -> HandlerResult {
    let header = |name: &str| context.headers().get(name).map(HeaderValue::as_bytes);
    // An `<img>` of a foreign page sends no `Origin`. It must not call the model.
    if header("sec-fetch-site") == Some(b"cross-site") && header("origin").is_none() {
        return Err(ApiError::new(Rejection::OriginNotAllowed, "pages of this origin may not do this"));
    }
    if header("last-event-id") == Some(DONE_ID.as_bytes()) {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let request = ChatRequest::from_query(&context.query())?;
    if context.request.method() == Method::HEAD {
        return Ok(sse(stream::empty()));
    }
    respond(&context, request, EventIds::On)
}

fn respond(context: &RequestContext, request: ChatRequest, ids: EventIds) -> HandlerResult {
    let Some(chat) = &context.app.chat else {
        return Err(ApiError::new(Rejection::NoModel, "no model is configured"));
    };
    let permits = (context.stream_permit()?, context.app.limits.run(context.key())?);
    let request = chat.with_limits(ModelRequest::new(request.into_messages()));
    let events = sse_events(chat.model(), request, ids).map(move |event| {
        // Held until the stream ends.
        let _: &(Permit, Option<Permit>) = &permits;
        event
    });
    Ok(sse(with_keep_alive(events, context.app.options.ping)))
}

/// Error of an answer that was sent in part. The code has the reason.
const BROKEN_OFF: &str = "the model failed before its answer was complete";

enum ChatStreamState {
    /// Waiting for the model.
    Opening(BoxFuture<'static, Result<ModelStream, ModelError>>),
    /// Streaming; whether text was sent.
    Streaming(ModelStream, bool),
    Ending,
    Ended,
}

/// Returns the events of an answer. Nothing is read ahead: a client that does not read suspends the model call, and a
/// disconnect drops it.
fn sse_events(
    model: &Model,
    request: ModelRequest,
    ids: EventIds,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let opening = telemetry::chat(model, request, None).boxed();
    stream::unfold(ChatStreamState::Opening(opening), move |mut state| async move {
        loop {
            state = match state {
                ChatStreamState::Opening(opening) => match opening.await {
                    Ok(stream) => ChatStreamState::Streaming(stream, false),
                    Err(error) => return Some((logged(&error), ChatStreamState::Ending)),
                },
                ChatStreamState::Streaming(mut stream, sent) => match stream.next().await {
                    Some(Ok(Delta::Text { text })) if !text.is_empty() => {
                        return Some((chunk(&text), ChatStreamState::Streaming(stream, true)));
                    }
                    // The protocol cannot retract text.
                    Some(Ok(Delta::Restarted { reason, .. })) if sent => {
                        tracing::warn!(code = reason, "a model failed during its answer");
                        return Some((error_event(&reason, BROKEN_OFF), ChatStreamState::Ending));
                    }
                    Some(Ok(Delta::Finished { reason: FinishReason::Filtered })) => {
                        return Some((
                            logged(&ModelError::new(ModelErrorKind::Filtered)),
                            ChatStreamState::Ending,
                        ));
                    }
                    Some(Ok(Delta::Finished { reason: FinishReason::ToolCalls })) if !sent => {
                        let event = error_event("model_malformed", "the model called a tool, but has none");
                        return Some((event, ChatStreamState::Ending));
                    }
                    Some(Ok(_)) => ChatStreamState::Streaming(stream, sent),
                    Some(Err(error)) => return Some((logged(&error), ChatStreamState::Ending)),
                    None => ChatStreamState::Ending,
                },
                ChatStreamState::Ending => return Some((done(ids), ChatStreamState::Ended)),
                ChatStreamState::Ended => return None,
            };
        }
    })
}

fn logged(error: &ModelError) -> Bytes {
    log_model(error);
    model_error_event(error)
}
