//! `GET /sessions/{session_id}/events?after=SEQ`: everything that happens, as server-sent events. An `EventSource` that
//! reconnects names the last number by itself and misses nothing.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Event,
    event::{Subscription, SubscriptionError},
    ids::Seq,
};
use bytes::Bytes;
use futures::{Stream, stream};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{ApiError, Contract, Refusal},
    http::{
        call::Call,
        reply::{Reply, sse},
    },
    limit::Held,
    owner::{Watch, unknown},
    ws::beginning,
};

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
    let events = session.subscribe(Some(after));
    Ok(sse(told((events, watch, held), call.inner.leaving.clone(), call.inner.options.ping)))
}

/// Events as they come, and a comment whenever nothing has come for a while. Ends when the server ends, and with an event
/// `end` when the session is deleted.
fn told(
    listener: (Subscription, Watch, Held),
    leaving: CancellationToken,
    beat: Duration,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(Some((listener, leaving)), move |listening| async move {
        let (mut listener, leaving) = listening?;
        let (events, watch, _) = &mut listener;
        loop {
            let bytes = tokio::select! {
                biased;
                () = leaving.cancelled() => return None,
                event = events.next() => match event {
                    Ok(event) if watch.shows(&event).await => written(&event),
                    Ok(_) => return None,
                    Err(error) if error.is_final() => return Some((end(watch), None)),
                    Err(error) => {
                        unread(&error).await;
                        continue;
                    }
                },
                () = tokio::time::sleep(beat) => Bytes::from_static(b": still here\n\n"),
            };
            return Some((bytes, Some((listener, leaving))));
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

fn written(event: &Arc<Event>) -> Bytes {
    let json = serde_json::to_string(&**event).expect("an event is JSON");
    match event.seq {
        Some(seq) => format!("id: {seq}\ndata: {json}\n\n").into(),
        None => format!("data: {json}\n\n").into(),
    }
}
