//! The bytes of a connection: given up when the peer takes nothing, or says nothing, for too long, and counted until they
//! end, be it as HTTP or as a socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::Sleep,
};

use super::patience::{Awaited, Patience};
use crate::limit::Held;

/// A stream to a peer.
pub(crate) struct Line<T> {
    stream: T,
    /// How long a write may take.
    patience: Duration,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// How long the peer may keep silent between requests, and in the middle of a head.
    heads: Patience,
    _place: (OwnedSemaphorePermit, Held),
}

impl<T> Line<T> {
    /// `patience`: how long a write may take. `head_time`: how long the head of a request may keep the server waiting.
    pub(crate) fn new(
        stream: T,
        patience: Duration,
        head_time: Duration,
        place: (OwnedSemaphorePermit, Held),
    ) -> Self {
        Self { stream, patience, stalled: None, heads: Patience::new(head_time), _place: place }
    }

    /// Where the requests of the line say that their heads have come.
    pub(crate) fn awaited(&self) -> Awaited {
        self.heads.awaited()
    }

    /// What came of a write; an error when it has made no way for too long.
    fn patient<R>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if done.is_ready() {
            if self.stalled.take().is_some() {
                self.heads.moved();
            }
            return done;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Line<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let stalled = self.stalled.is_some();
        if done.is_pending() && self.heads.is_over(stalled, cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Line<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.patient(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.patient(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.patient(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.patient(cx, done)
    }
}
