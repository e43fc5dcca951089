//! Connection I/O with read and write timeouts.
//!
//! Holds the connection's permit `P` until the stream closes, including after a WebSocket upgrade. The read timeout is
//! that of [`HeaderTimeout`].
//!
//! `tokio-io-timeout` covers the write timeout only: its read timeout would also expire while a response is computed, and
//! it does not report that a slow write made progress, which the header timeout needs.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::header_timeout::{HeaderTimeout, HeaderTimer};

/// A stream with timeouts.
pub(crate) struct TimeoutStream<T, P> {
    stream: T,
    /// Timeout of a write that makes no progress.
    write_timeout: Duration,
    /// Runs while a write makes no progress.
    stalled: Option<Pin<Box<Sleep>>>,
    header_timeout: HeaderTimeout,
    _permit: P,
}

impl<T, P> TimeoutStream<T, P> {
    pub(crate) fn new(stream: T, write_timeout: Duration, header_timeout: Duration, permit: P) -> Self {
        let header_timeout = HeaderTimeout::new(header_timeout);
        Self { stream, write_timeout, stalled: None, header_timeout, _permit: permit }
    }

    /// Returns the timer that the requests of the connection report to.
    pub(crate) fn header_timer(&self) -> HeaderTimer {
        self.header_timeout.timer()
    }

    /// Passes on the result of a write, or an error after the write timeout.
    fn with_write_timeout<R>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if result.is_ready() {
            if self.stalled.take().is_some() {
                self.header_timeout.write_progressed();
            }
            return result;
        }
        let timeout = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin, P: Unpin> AsyncRead for TimeoutStream<T, P> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let stalled = self.stalled.is_some();
        if result.is_pending() && self.header_timeout.poll_expired(stalled, cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        result
    }
}

impl<T: AsyncWrite + Unpin, P: Unpin> AsyncWrite for TimeoutStream<T, P> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.with_write_timeout(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.with_write_timeout(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.with_write_timeout(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.with_write_timeout(cx, result)
    }
}
