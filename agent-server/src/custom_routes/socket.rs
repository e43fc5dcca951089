//! WebSockets of custom routes.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt, Stream};
use hyper_tungstenite::tungstenite::{
    Error, Message, Utf8Bytes,
    protocol::{CloseFrame, frame::coding::CloseCode},
};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::http::websocket::{self, WebSocket, poll_message};

/// Timeout for sending a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Message of a client on a [`Socket`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketMessage {
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
}

/// The client has disconnected, or a write timed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client of the WebSocket has disconnected")]
pub struct Disconnected;

/// An open WebSocket. It is a [`Stream`] of the client's messages.
///
/// # Examples
///
/// ```
/// use agent_server::custom_routes::{Disconnected, Socket, SocketMessage};
///
/// async fn echo(mut socket: Socket) -> Result<(), Disconnected> {
///     while let Some(message) = socket.next().await {
///         match message {
///             SocketMessage::Text(text) => socket.send(text).await?,
///             SocketMessage::Bytes(bytes) => socket.send_bytes(bytes).await?,
///             _ => {}
///         }
///     }
///     Ok(())
/// }
/// # let _ = echo;
/// ```
pub struct Socket {
    socket: WebSocket,
    /// Ready when the server shuts down.
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    write_timeout: Duration,
    ping: Duration,
    next_ping: Pin<Box<Sleep>>,
    /// What is written before the next message is read.
    writing: Option<PendingWrite>,
    ended: bool,
}

/// A frame that a read has to write: a ping, or the end.
struct PendingWrite {
    /// `None` when only queued frames are flushed.
    frame: Option<Message>,
    timeout: Pin<Box<Sleep>>,
    /// No message is read afterwards.
    ends: bool,
}

impl Socket {
    pub(super) fn new(
        socket: WebSocket,
        shutdown: CancellationToken,
        write_timeout: Duration,
        ping: Duration,
    ) -> Self {
        Self {
            socket,
            shutdown: Box::pin(shutdown.cancelled_owned()),
            write_timeout,
            ping,
            next_ping: Box::pin(sleep_until(Instant::now() + ping)),
            writing: None,
            ended: false,
        }
    }

    /// Returns the next message; `None` if the client has disconnected or the server shuts down.
    ///
    /// While it waits, pings are answered, and a ping is sent every [`ping`](crate::ServerOptions::ping), so that proxies
    /// keep an idle connection open. A client that sends nothing stays connected.
    ///
    /// # Cancel safety
    ///
    /// No message is lost if the future is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_server::custom_routes::Socket;
    /// async fn count(mut socket: Socket) -> u64 {
    ///     let mut messages = 0;
    ///     while socket.next().await.is_some() {
    ///         messages += 1;
    ///     }
    ///     messages
    /// }
    /// # let _ = count;
    /// ```
    pub async fn next(&mut self) -> Option<SocketMessage> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<SocketMessage>> {
        while !self.ended {
            if self.writing.is_some() {
                self.ended = ready!(self.poll_write(cx));
                continue;
            }
            if self.shutdown.as_mut().poll(cx).is_ready() {
                break;
            }
            let Poll::Ready(frame) = poll_message(&mut self.socket, cx) else {
                ready!(self.next_ping.as_mut().poll(cx));
                self.next_ping.as_mut().reset(Instant::now() + self.ping);
                self.write(Some(Message::Ping(Bytes::new())), self.write_timeout, false);
                continue;
            };
            match frame {
                Some(Ok(Message::Text(text))) => {
                    return Poll::Ready(Some(SocketMessage::Text(text.to_string())));
                }
                Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Some(SocketMessage::Bytes(bytes))),
                // The answer to it is queued.
                Some(Ok(Message::Close(_))) => self.write(None, CLOSE_TIMEOUT, true),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    let Some((code, reason)) = websocket::close_code(&error) else { break };
                    let frame = CloseFrame { code, reason: reason.into() };
                    self.write(Some(Message::Close(Some(frame))), CLOSE_TIMEOUT, true);
                }
                None => break,
            }
        }
        self.ended = true;
        Poll::Ready(None)
    }

    fn write(&mut self, frame: Option<Message>, timeout: Duration, ends: bool) {
        self.writing = Some(PendingWrite { frame, timeout: Box::pin(sleep(timeout)), ends });
    }

    /// Completes the pending write, and returns whether the socket has ended.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let Some(writing) = &mut self.writing else { return Poll::Ready(false) };
        let written = match poll_frame(&mut self.socket, &mut writing.frame, cx) {
            Poll::Ready(written) => written.is_ok(),
            Poll::Pending => {
                ready!(writing.timeout.as_mut().poll(cx));
                false
            }
        };
        let ended = writing.ends || !written;
        self.writing = None;
        Poll::Ready(ended)
    }

    /// Sends text.
    ///
    /// # Errors
    ///
    /// [`Disconnected`], also if the write makes no progress within the server's `write_time`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the text may have been sent in part. Drop the socket too.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_server::custom_routes::{Disconnected, Socket};
    /// async fn greet(mut socket: Socket) -> Result<(), Disconnected> {
    ///     socket.send("welcome").await
    /// }
    /// # let _ = greet;
    /// ```
    pub async fn send(&mut self, text: impl Into<Text>) -> Result<(), Disconnected> {
        self.feed(text).await?;
        self.flush().await
    }

    /// Queues text. Call [`flush`](Self::flush) afterwards; several messages then need one write.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_server::custom_routes::{Disconnected, Socket};
    /// async fn list(mut socket: Socket) -> Result<(), Disconnected> {
    ///     for line in ["one", "two", "three"] {
    ///         socket.feed(line).await?;
    ///     }
    ///     socket.flush().await
    /// }
    /// # let _ = list;
    /// ```
    pub async fn feed(&mut self, text: impl Into<Text>) -> Result<(), Disconnected> {
        self.feed_message(Message::Text(text.into().0)).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_server::custom_routes::{Disconnected, Socket};
    /// async fn play(mut socket: Socket, audio: Vec<u8>) -> Result<(), Disconnected> {
    ///     socket.send_bytes(audio).await
    /// }
    /// # let _ = play;
    /// ```
    pub async fn send_bytes(&mut self, bytes: impl Into<Bytes>) -> Result<(), Disconnected> {
        self.feed_message(Message::Binary(bytes.into())).await?;
        self.flush().await
    }

    /// Sends queued messages.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_server::custom_routes::{Disconnected, Socket};
    /// async fn pair(mut socket: Socket) -> Result<(), Disconnected> {
    ///     socket.feed("first").await?;
    ///     socket.feed("second").await?;
    ///     socket.flush().await
    /// }
    /// # let _ = pair;
    /// ```
    pub async fn flush(&mut self) -> Result<(), Disconnected> {
        match tokio::time::timeout(self.write_timeout, self.socket.flush()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Disconnected),
        }
    }

    /// Closes the WebSocket with a code of RFC 6455 (1000: normal closure; 1008: policy violation) and a reason of at
    /// most 123 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// # use agent_server::custom_routes::Socket;
    /// async fn end(socket: Socket) {
    ///     socket.close(1000, "the meeting has ended").await;
    /// }
    /// # let _ = end;
    /// ```
    pub async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        let close = self.socket.close(Some(frame));
        if tokio::time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
            tracing::debug!("a client did not read the close frame");
        }
    }

    async fn feed_message(&mut self, message: Message) -> Result<(), Disconnected> {
        match tokio::time::timeout(self.write_timeout, self.socket.feed(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Disconnected),
        }
    }
}

impl Stream for Socket {
    type Item = SocketMessage;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<SocketMessage>> {
        self.get_mut().poll_message(cx)
    }
}

/// Writes a frame, if it was not queued yet, and flushes.
fn poll_frame(
    socket: &mut WebSocket,
    frame: &mut Option<Message>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    if frame.is_some() {
        ready!(socket.poll_ready_unpin(cx))?;
    }
    if let Some(frame) = frame.take() {
        socket.start_send_unpin(frame)?;
    }
    socket.poll_flush_unpin(cx)
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

/// Text to send. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct Text(Utf8Bytes);

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self(Utf8Bytes::from(text.into()))
    }
}
