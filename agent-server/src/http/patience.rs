//! How long a peer may keep the server waiting for the head of a request. One timer a connection, set anew only when it
//! runs out: one for each request would cost more than the rest of a short one.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::reply::Body;

/// A request is being answered, or the connection speaks something else by now.
const HANDLING: u64 = u64::MAX;

/// Since when a connection waits for a head. Shared by its line and its requests.
#[derive(Debug, Clone)]
pub(crate) struct Awaited(Arc<Since>);

#[derive(Debug)]
struct Since {
    begun: Instant,
    /// Milliseconds after `begun`, or `HANDLING`.
    waits: AtomicU64,
}

impl Awaited {
    fn new() -> Self {
        Self(Arc::new(Since { begun: Instant::now(), waits: AtomicU64::new(0) }))
    }

    /// A head has come: nothing is waited for until what is returned is dropped.
    pub(crate) fn come(&self) -> Handling {
        self.0.waits.store(HANDLING, Ordering::Relaxed);
        Handling { awaited: Some(self.clone()) }
    }

    /// Since when a head is waited for.
    fn since(&self) -> Option<Instant> {
        let waits = self.0.waits.load(Ordering::Relaxed);
        (waits != HANDLING).then(|| self.0.begun + Duration::from_millis(waits))
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Handling {
    awaited: Option<Awaited>,
}

impl Handling {
    /// No other head will come: the connection is a socket now.
    pub(crate) fn for_good(mut self) {
        self.awaited = None;
    }

    /// Lasts until the body has been handed over.
    pub(crate) fn with(self, body: Body) -> Body {
        http_body_util::BodyExt::boxed_unsync(Guarded { body, _handling: self })
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        if let Some(Awaited(since)) = &self.awaited {
            let waits = u64::try_from(since.begun.elapsed().as_millis()).unwrap_or(HANDLING - 1);
            since.waits.store(waits, Ordering::Relaxed);
        }
    }
}

/// A body that takes its time.
struct Guarded {
    body: Body,
    _handling: Handling,
}

impl hyper::body::Body for Guarded {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Tells when a peer has kept a connection waiting for too long.
#[derive(Debug)]
pub(crate) struct Patience {
    awaited: Awaited,
    time: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// The peer took the end of an answer slowly: it has not been waited for all the time.
    slow: bool,
}

impl Patience {
    /// From now on.
    pub(crate) fn new(time: Duration) -> Self {
        Self { awaited: Awaited::new(), time, timer: None, slow: false }
    }

    pub(crate) fn awaited(&self) -> Awaited {
        self.awaited.clone()
    }

    /// The peer took something after it had taken nothing for a while.
    pub(crate) const fn moved(&mut self) {
        self.slow = true;
    }

    /// Whether the time is over; not while an answer waits to be taken. Ask whenever there is nothing to read; the task is
    /// woken to ask again.
    pub(crate) fn is_over(&mut self, stalled: bool, cx: &mut Context<'_>) -> bool {
        if self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed()) {
            return false;
        }
        let now = Instant::now();
        let slow = std::mem::take(&mut self.slow) || stalled;
        let until = match self.awaited.since() {
            Some(since) if !slow => since + self.time,
            // Set all the same: nobody looks here again when the answer is out.
            _ => now + self.time,
        };
        if until <= now {
            return true;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        timer.as_mut().reset(until);
        timer.as_mut().poll(cx).is_ready()
    }
}
