//! `POST` and `GET /api/chat/stream`: a model's words as they come.

use agent_core::{
    model::{Delta, FinishReason, Model, ModelError, ModelErrorKind, ModelRequest, ModelStream},
    telemetry,
};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream};
use hyper::{Method, StatusCode};

use crate::{
    error::{ApiError, Refusal, log_model},
    http::{
        call::Call,
        reply::{Reply, alive, empty, sse},
    },
    limit::Held,
    wire::chat::{ChatRequest, DONE_ID, chunk, done, failed, trouble},
};

pub(crate) async fn post(mut call: Call) -> Reply {
    let request = ChatRequest::parse(&call.json().await?)?;
    answer(&call, request, false)
}

/// For a browser's `EventSource`, which reconnects whenever a stream ends: one that has seen the end is told that
/// there is no more (204), or it would have the model answer again and again.
pub(crate) async fn get(call: Call) -> Reply {
    let header = |name: &str| call.headers().get(name).map(hyper::header::HeaderValue::as_bytes);
    // An `<img>` of any page sends no origin; it must not make the model work.
    if header("sec-fetch-site") == Some(b"cross-site") && header("origin").is_none() {
        return Err(ApiError::new(Refusal::OriginNotAllowed, "pages of this origin may not do this"));
    }
    if header("last-event-id") == Some(DONE_ID.as_bytes()) {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let request = ChatRequest::of_query(&call.query())?;
    if call.request.method() == Method::HEAD {
        return Ok(sse(stream::empty()));
    }
    answer(&call, request, true)
}

fn answer(call: &Call, request: ChatRequest, numbered: bool) -> Reply {
    let Some(chat) = &call.inner.chat else {
        return Err(ApiError::new(Refusal::NoModel, "no model is configured"));
    };
    let held = (call.listen()?, call.inner.limits.run(call.key())?);
    let request = chat.bounded(ModelRequest::new(request.messages));
    let events = said(chat.model(), request, numbered).map(move |event| {
        // A stream and a run, for as long as it is there.
        let _: &(Held, Option<Held>) = &held;
        event
    });
    Ok(sse(alive(events, call.inner.options.ping)))
}

/// What is told of an answer that was shown in part; why is in the code.
const BROKEN_OFF: &str = "the model failed before its answer was finished";

enum Saying {
    /// The model is being asked.
    Asking(BoxFuture<'static, Result<ModelStream, ModelError>>),
    /// It speaks; whether anything was shown.
    Speaking(ModelStream, bool),
    Ending,
    Ended,
}

/// The events of an answer. Nothing is read ahead: a client that does not read holds the model back, and one that is
/// gone drops the call.
fn said(model: &Model, request: ModelRequest, numbered: bool) -> impl Stream<Item = Bytes> + Send + use<> {
    let asking = telemetry::chat(model, request, None).boxed();
    stream::unfold(Saying::Asking(asking), move |mut state| async move {
        loop {
            state = match state {
                Saying::Asking(asking) => match asking.await {
                    Ok(stream) => Saying::Speaking(stream, false),
                    Err(error) => return Some((told(&error), Saying::Ending)),
                },
                Saying::Speaking(mut stream, shown) => match stream.next().await {
                    Some(Ok(Delta::Text { text })) if !text.is_empty() => {
                        return Some((chunk(&text), Saying::Speaking(stream, true)));
                    }
                    // This wire cannot take back what was shown.
                    Some(Ok(Delta::Restarted { reason, .. })) if shown => {
                        tracing::warn!(code = reason, "a model failed in the middle of its answer");
                        return Some((trouble(&reason, BROKEN_OFF), Saying::Ending));
                    }
                    Some(Ok(Delta::Finished { reason: FinishReason::Filtered })) => {
                        return Some((told(&ModelError::new(ModelErrorKind::Filtered)), Saying::Ending));
                    }
                    Some(Ok(Delta::Finished { reason: FinishReason::ToolCalls })) if !shown => {
                        let event = trouble("model_malformed", "the model called a tool, and there is none");
                        return Some((event, Saying::Ending));
                    }
                    Some(Ok(_)) => Saying::Speaking(stream, shown),
                    Some(Err(error)) => return Some((told(&error), Saying::Ending)),
                    None => Saying::Ending,
                },
                Saying::Ending => return Some((done(numbered), Saying::Ended)),
                Saying::Ended => return None,
            };
        }
    })
}

fn told(error: &ModelError) -> Bytes {
    log_model(error);
    failed(error)
}
