//! `GET /sessions/{session_id}/events?after=SEQ`: everything that happens, as server-sent events. An `EventSource` that
//! reconnects names the last number by itself and misses nothing.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Event,
    event::{Subscription, SubscriptionError},
    ids::Seq,
};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, Stream, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    error::{ApiError, Contract, Refusal},
    fanout::{Fanout, Form},
    http::{
        call::Call,
        reply::{Reply, sse},
    },
    limit::Held,
    owner::{Watch, unknown},
    ws::beginning,
};

/// Events that one piece of the stream takes at most.
const BATCH: usize = 64;
/// The wait before a journal that could not be read is read again.
const STORE_BREATHER: Duration = Duration::from_secs(1);

pub(crate) async fn handle(call: Call) -> Reply {
    let session = call.session_of(call.session_id()?).await?;
    let held = call.listen()?;
    let watch = Watch::new(call.owner(), session.clone());
    let named = call.headers().get("last-event-id").map(|id| {
        let number = id.to_str().ok().and_then(|id| id.trim().parse::<u64>().ok());
        number.ok_or_else(|| ApiError::new(Refusal::InvalidRequest, "`Last-Event-ID` must be a number"))
    });
    // What the browser says by itself is newer than what the page said when it opened the stream.
    let after = match (named.transpose()?, call.query().number("after")?) {
        (Some(after), _) | (None, Some(after)) => Seq(after.min(u64::MAX >> 1)),
        (None, None) => beginning(&session).await?,
    };
    let reader = Reader {
        events: session.subscribe(Some(after)),
        watch,
        fanout: call.inner.fanouts.of(session.id()),
        gathers: None,
        refused: false,
        _held: held,
    };
    Ok(sse(told(reader, call.inner.leaving.clone(), call.inner.options.ping)))
}

/// One reader of the stream.
struct Reader {
    events: Subscription,
    watch: Watch,
    fanout: Arc<Fanout>,
    /// Events are gathered until then.
    gathers: Option<Instant>,
    /// The session is not the reader's.
    refused: bool,
    _held: Held,
}

impl Reader {
    /// An event and those that are there already, as one piece of the stream.
    async fn written(&mut self, first: Arc<Event>) -> Bytes {
        let mut piece = BytesMut::new();
        let mut next = Some(first);
        for _ in 0..BATCH {
            let Some(event) = next else { break };
            if !self.watch.shows(&event).await {
                self.refused = true;
                return piece.freeze();
            }
            let message = self.fanout.message(&event, Form::Stream, || Some(written(&event).into()));
            piece.extend_from_slice(message.unwrap_or_default().as_ref());
            // A journal that cannot be read is noticed by the next look.
            next = self.events.next().now_or_never().and_then(Result::ok);
        }
        if let Some(event) = next {
            if self.watch.shows(&event).await {
                piece.extend_from_slice(written(&event).as_bytes());
            } else {
                self.refused = true;
            }
        }
        let time = self.fanout.gather_time();
        self.gathers = (!time.is_zero()).then(|| Instant::now() + time);
        piece.freeze()
    }
}

/// Events as they come, and a comment whenever nothing has come for a while. Ends when the server ends, and with an event
/// `end` when the session is deleted.
fn told(
    reader: Reader,
    leaving: CancellationToken,
    beat: Duration,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(Some((reader, leaving)), move |reading| async move {
        let (mut reader, leaving) = reading?;
        loop {
            if reader.refused {
                return None;
            }
            if let Some(until) = reader.gathers.take() {
                tokio::select! {
                    () = leaving.cancelled() => return None,
                    () = tokio::time::sleep_until(until) => {}
                }
            }
            let bytes = tokio::select! {
                biased;
                () = leaving.cancelled() => return None,
                event = reader.events.next() => match event {
                    Ok(event) => reader.written(event).await,
                    Err(error) if error.is_final() => return Some((end(&reader.watch), None)),
                    Err(error) => {
                        unread(&error).await;
                        continue;
                    }
                },
                () = tokio::time::sleep(beat) => Bytes::from_static(b": still here\n\n"),
            };
            if !bytes.is_empty() {
                return Some((bytes, Some((reader, leaving))));
            }
        }
    })
}

/// The last event of a stream whose session was deleted. It has a name of its own, so that an `EventSource` gives it to
/// those who listen for it.
fn end(watch: &Watch) -> Bytes {
    let gone = unknown(watch.session());
    format!("event: end\ndata: {}\n\n", gone.body(Contract::TaskAgent)).into()
}

async fn unread(error: &SubscriptionError) {
    tracing::warn!(%error, "the journal cannot be read for a subscriber");
    tokio::time::sleep(STORE_BREATHER).await;
}

fn written(event: &Event) -> String {
    let json = serde_json::to_string(event).expect("an event is JSON");
    match event.seq {
        Some(seq) => format!("id: {seq}\ndata: {json}\n\n"),
        None => format!("data: {json}\n\n"),
    }
}
