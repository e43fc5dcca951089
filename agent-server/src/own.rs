//! Paths of one's own beside, or instead of, those of the server: requests with whole bodies, answers that may stream,
//! and sockets.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, Stream as Pieces, StreamExt};
use http_body_util::{BodyExt, StreamBody};
use hyper::{Request, Response, body::Frame};
use hyper_tungstenite::{
    is_upgrade_request,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{ApiError, Refusal},
    http::{
        call::Call,
        reply::{self, full},
        routes::{Handler, handler},
    },
    server::Inner,
    ws::{Stream, fault, next_message, open, part},
};

/// The body of an answer: bytes at once, or a stream of them.
pub struct Body(pub(crate) reply::Body);

impl Body {
    /// A body that comes piece by piece; each is written at once. The stream is dropped when the client goes away.
    pub fn stream(pieces: impl Pieces<Item = Bytes> + Send + 'static) -> Self {
        Self(StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync())
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self(full(bytes))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}

/// What stood in a path where its pattern has `{name}`, decoded. It is in the request's extensions.
#[derive(Debug, Clone, Default)]
pub struct PathParts(Vec<(Box<str>, String)>);

impl PathParts {
    /// A part; empty when the pattern has none of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| **known == *name).map_or("", |(_, text)| text)
    }

    /// The parts of a request's path.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }
}

/// What a client said over a [`Socket`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Said {
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
}

/// The client is gone, or took nothing for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client of a socket is gone")]
pub struct Gone;

/// An open WebSocket.
pub struct Socket {
    stream: Stream,
    leaving: CancellationToken,
    write_time: Duration,
}

impl Socket {
    /// What the client says next; `None` when it is gone, or the server is ending. Pings are answered meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when it is dropped.
    pub async fn next(&mut self) -> Option<Said> {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.leaving.cancelled() => return None,
                frame = next_message(&mut self.stream) => frame?,
            };
            match frame {
                Ok(Message::Text(text)) => return Some(Said::Text(text.to_string())),
                Ok(Message::Binary(bytes)) => return Some(Said::Bytes(bytes)),
                Ok(Message::Close(_)) => {
                    part(&mut self.stream, None).await;
                    return None;
                }
                Ok(_) => {}
                Err(error) => {
                    if let Some(told) = fault(&error) {
                        part(&mut self.stream, Some(told)).await;
                    }
                    return None;
                }
            }
        }
    }

    /// Sends text, and waits until it is on its way.
    ///
    /// # Errors
    ///
    /// [`Gone`], also after the server's `write_time` without progress.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the text may have been sent in part; drop the socket too.
    pub async fn send(&mut self, text: impl Into<Text>) -> Result<(), Gone> {
        self.feed(text).await?;
        self.flush().await
    }

    /// Puts text behind what waits to be sent. Follow it with [`flush`](Self::flush): many messages at once cost one
    /// write.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send).
    pub async fn feed(&mut self, text: impl Into<Text>) -> Result<(), Gone> {
        self.within(Message::Text(text.into().0)).await
    }

    /// Sends bytes.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send).
    pub async fn send_bytes(&mut self, bytes: impl Into<Bytes>) -> Result<(), Gone> {
        self.within(Message::Binary(bytes.into())).await?;
        self.flush().await
    }

    /// Sends what waits.
    ///
    /// # Errors
    ///
    /// See [`send`](Self::send).
    pub async fn flush(&mut self) -> Result<(), Gone> {
        match tokio::time::timeout(self.write_time, self.stream.flush()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Says goodbye, with a code of RFC 6455 (1000: all is well; 1008: the client broke a rule) and a reason of at
    /// most 123 bytes.
    pub async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        let close = self.stream.close(Some(frame));
        if tokio::time::timeout(Duration::from_secs(1), close).await.is_err() {
            tracing::debug!("a socket did not take its goodbye");
        }
    }

    async fn within(&mut self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(self.write_time, self.stream.feed(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

/// Text to send; cloning it for many sockets copies nothing.
#[derive(Debug, Clone)]
pub struct Text(Utf8Bytes);

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Self(Utf8Bytes::from(text.into()))
    }
}

/// A handler of requests with their whole body.
pub(crate) fn requests<F, R>(handle: F) -> Handler
where
    F: Fn(Request<Bytes>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let handle = Arc::new(handle);
    handler(move |mut call: Call| {
        let handle = Arc::clone(&handle);
        async move {
            let body = call.body().await?;
            let (mut parts, _) = call.request.into_parts();
            parts.extensions.insert(PathParts(call.parts));
            Ok(handle(Request::from_parts(parts, body)).await.map(|body| body.0))
        }
    })
}

/// A handler of sockets.
pub(crate) fn sockets<F, R>(serve: F) -> Handler
where
    F: Fn(Request<()>, Socket) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let serve = Arc::new(serve);
    handler(move |mut call: Call| {
        let serve = Arc::clone(&serve);
        async move {
            if !is_upgrade_request(&call.request) {
                return Err(ApiError::new(Refusal::UpgradeRequired, "this path is a WebSocket"));
            }
            let held = call.listen()?;
            let config = bounds(&call.inner);
            let (response, socket) = open(&mut call, config)?;
            let (mut parts, _) = call.request.into_parts();
            parts.extensions.insert(PathParts(call.parts));
            let (leaving, write_time) = (call.inner.leaving.clone(), call.inner.options.write_time);
            call.inner.sockets.spawn(async move {
                match socket.await {
                    Ok(stream) => {
                        let socket = Socket { stream, leaving, write_time };
                        serve(Request::from_parts(parts, ()), socket).await;
                    }
                    Err(error) => tracing::debug!(%error, "a socket was not opened"),
                }
                drop(held);
            });
            Ok(response)
        }
    })
}

fn bounds(inner: &Inner) -> WebSocketConfig {
    let largest = inner.options.frame_bytes;
    crate::ws::buffers().max_message_size(Some(largest)).max_frame_size(Some(largest))
}
