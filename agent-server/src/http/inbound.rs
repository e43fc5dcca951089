//! Inbound bytes of a WebSocket. Bytes of incomplete messages count against the memory budget of all callers.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::budget::{Budget, Share};

/// Bytes of an incomplete message that are not counted, so that commands are accepted when the budget is used up.
const FREE: usize = 4 * 1024;
/// Minimum size of a frame header from a client: two bytes and the mask.
const FRAME_HEAD: usize = 6;

/// The stream of a connection that was upgraded to a WebSocket.
pub(crate) struct Inbound {
    stream: TokioIo<Upgraded>,
    unread: Arc<Mutex<IncompleteMessage>>,
}

/// Bytes of incomplete messages.
#[derive(Debug)]
struct IncompleteMessage {
    share: Share,
    bytes: usize,
}

/// The budget is used up.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no memory is available for the rest of a message")]
pub(crate) struct OutOfBudget;

impl Inbound {
    pub(crate) fn new(stream: TokioIo<Upgraded>, budget: &Budget) -> Self {
        let unread = IncompleteMessage { share: budget.share(), bytes: 0 };
        Self { stream, unread: Arc::new(Mutex::new(unread)) }
    }

    /// Notes that a message was read: no message is incomplete.
    pub(crate) fn took_message(&self) {
        let mut unread = self.unread.lock();
        unread.bytes = 0;
        unread.share.clear();
    }

    /// Notes that a control frame was read. The message around it may be incomplete.
    pub(crate) fn took_control(&self, payload: usize) {
        let mut unread = self.unread.lock();
        unread.bytes = unread.bytes.saturating_sub(payload + FRAME_HEAD);
        let counted = unread.bytes.saturating_sub(FREE);
        // A smaller share always fits, unless the last read failed, after which the WebSocket is closed.
        let _fits = unread.share.set(counted);
    }
}

impl IncompleteMessage {
    fn receive(&mut self, bytes: usize) -> io::Result<()> {
        self.bytes += bytes;
        let fits = self.share.set(self.bytes.saturating_sub(FREE));
        if fits { Ok(()) } else { Err(io::Error::other(OutOfBudget)) }
    }
}

impl AsyncRead for Inbound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let done = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match done {
            Poll::Ready(Ok(())) => Poll::Ready(self.unread.lock().receive(buffer.filled().len() - before)),
            done => done,
        }
    }
}

impl AsyncWrite for Inbound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").finish_non_exhaustive()
    }
}
