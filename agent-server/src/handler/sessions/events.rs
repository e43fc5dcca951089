//! `GET /sessions/{session_id}/events?after=SEQ`: the events of a session as server-sent events. An `EventSource` that
//! reconnects sends the last number, so it misses no event.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Event,
    event::{Subscription, SubscriptionError},
    ids::Seq,
};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, Stream, stream};
use hyper::Method;
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    app::RequestContext,
    auth::ownership::SubscriptionGuard,
    docs::openapi::RouteDoc,
    error::{ApiError, Contract, Rejection, session_not_found},
    fanout::{Fanout, Form},
    handler::default_cursor,
    http::response::{HandlerResult, escape_separators, sse},
    limits::Permit,
};

/// Maximum number of events per write.
const BATCH: usize = 64;
/// Wait before a journal is read again after an error.
const STORE_BACKOFF: Duration = Duration::from_secs(1);

pub(super) fn doc() -> RouteDoc {
    RouteDoc::new(
        Method::GET,
        "/sessions/{session_id}/events",
        "events",
        "sessions",
        "Subscribe to the events of a session as server-sent events",
    )
    .text(
        "The stream does not end. `data` of each is an event (schema `Event`), `id` its number; an `EventSource` that \
         reconnects sends the last number and misses no event.",
    )
    .names_session()
    .of_store()
    .number("after", false, "Send the events after this number. Default: from the start of the latest run.")
    .parameter(
        "header",
        "Last-Event-ID",
        false,
        &json!({"type": "string", "pattern": "^[0-9]{1,18}$"}),
        "Like `after`, which it overrides.",
    )
    .rejections(&[Rejection::QuotaExceeded])
    .responds(200, json!({"description": "The stream.", "content": {"text/event-stream": {}}}))
}

pub(in crate::handler) async fn handle(context: RequestContext) -> HandlerResult {
    let session = context.session_or_new(context.session_id()?).await?;
    let permit = context.stream_permit()?;
    let guard = SubscriptionGuard::new(context.scope(), session.clone());
    let last_event_id = context.headers().get("last-event-id").map(|id| {
        let number = id.to_str().ok().and_then(|id| id.trim().parse::<u64>().ok());
        number.ok_or_else(|| ApiError::new(Rejection::InvalidRequest, "`Last-Event-ID` must be a number"))
    });
    // `Last-Event-ID` is sent on reconnects and is newer than the query of the page.
    let after = match (last_event_id.transpose()?, context.query().number("after")?) {
        (Some(after), _) | (None, Some(after)) => Seq(after.min(u64::MAX >> 1)),
        (None, None) => default_cursor(&session).await?,
    };
    let reader = EventReader {
        events: session.subscribe(Some(after)),
        guard,
        fanout: context.app.fanouts.of(session.id()),
        gather_until: None,
        denied: false,
        _permit: permit,
    };
    Ok(sse(events(reader, context.app.close_sockets.clone(), context.app.options.ping)))
}

/// A subscriber.
struct EventReader {
    events: Subscription,
    guard: SubscriptionGuard,
    fanout: Arc<Fanout>,
    /// Events are gathered until then.
    gather_until: Option<Instant>,
    /// The subscriber may not use the session.
    denied: bool,
    _permit: Permit,
}

impl EventReader {
    /// Returns an event and those that are ready, as one write.
    async fn batch(&mut self, first: Arc<Event>) -> Bytes {
        let mut batch = BytesMut::new();
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(event) = next else { break };
            if !self.guard.allows(&event).await {
                self.denied = true;
                return batch.freeze();
            }
            let message = self.fanout.message(&event, Form::Stream, || Some(serialize(&event).into()));
            batch.extend_from_slice(message.unwrap_or_default().as_ref());
            // A read error is reported by the next call.
            next = self.events.next().now_or_never().and_then(Result::ok);
        }
        if let Some(event) = next {
            if self.guard.allows(&event).await {
                batch.extend_from_slice(serialize(&event).as_bytes());
            } else {
                self.denied = true;
            }
        }
        let time = self.fanout.gather_time();
        self.gather_until = (!time.is_zero()).then(|| Instant::now() + time);
        batch.freeze()
    }
}

/// Returns the events, and a comment whenever there was none for `interval`. Ends on shutdown, and with an event `end`
/// when the session is deleted.
fn events(
    reader: EventReader,
    shutdown: CancellationToken,
    interval: Duration,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(Some((reader, shutdown)), move |state| async move {
        let (mut reader, shutdown) = state?;
        loop {
            if reader.denied {
                return None;
            }
            if let Some(until) = reader.gather_until.take() {
                tokio::select! {
                    () = shutdown.cancelled() => return None,
                    () = tokio::time::sleep_until(until) => {}
                }
            }
            let bytes = tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                event = reader.events.next() => match event {
                    Ok(event) => reader.batch(event).await,
                    Err(error) if error.is_final() => return Some((end_event(&reader.guard), None)),
                    Err(error) => {
                        wait_after(&error).await;
                        continue;
                    }
                },
                () = tokio::time::sleep(interval) => Bytes::from_static(b": ping\n\n"),
            };
            if !bytes.is_empty() {
                return Some((bytes, Some((reader, shutdown))));
            }
        }
    })
}

/// Returns the last event of the stream of a deleted session. It has its own name, so that an `EventSource` does not
/// deliver it as a message.
fn end_event(guard: &SubscriptionGuard) -> Bytes {
    let error = session_not_found(guard.session());
    format!("event: end\ndata: {}\n\n", escape_separators(error.body(Contract::TaskAgent).to_string())).into()
}

async fn wait_after(error: &SubscriptionError) {
    tracing::warn!(%error, "the journal could not be read for a subscriber");
    tokio::time::sleep(STORE_BACKOFF).await;
}

fn serialize(event: &Event) -> String {
    let json = escape_separators(serde_json::to_string(event).expect("events serialize to JSON"));
    match event.seq {
        Some(seq) => format!("id: {seq}\ndata: {json}\n\n"),
        None => format!("data: {json}\n\n"),
    }
}
