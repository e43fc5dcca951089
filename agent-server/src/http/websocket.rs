//! WebSockets: handshake, buffers, messages, close codes.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
};
use hyper_tungstenite::{
    WebSocketStream, is_upgrade_request,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use hyper_util::rt::TokioIo;

use super::{
    budget::Budget,
    inbound::{Inbound, OutOfBudget},
    response::{Body, empty},
};
use crate::error::{ApiError, Rejection};

/// Maximum size of what waits to be written: the largest frame that can be configured, and its header.
const WRITE_BUFFER: usize = 17 * 1024 * 1024;
/// Timeout for sending a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An open WebSocket.
pub(crate) type WebSocket = WebSocketStream<Inbound>;

/// Returns the configuration of WebSockets that read messages of at most `max_message` bytes. The buffers are small,
/// because most WebSockets are idle most of the time.
pub(crate) fn config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(16 * 1024)
        .max_write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

/// Checks that a request asks for an upgrade to a WebSocket.
///
/// # Errors
///
/// 426 without an upgrade.
pub(crate) fn check_upgrade(request: &Request<Incoming>) -> Result<(), ApiError> {
    if is_upgrade_request(request) {
        return Ok(());
    }
    Err(ApiError::new(
        Rejection::UpgradeRequired,
        "this path is a WebSocket; open it with a WebSocket client",
    ))
}

/// Returns the response of a handshake, and the WebSocket, which opens after the response was sent.
///
/// # Errors
///
/// 400 if the handshake is invalid.
pub(crate) fn accept(
    request: &mut Request<Incoming>,
    budget: &Budget,
    config: WebSocketConfig,
) -> Result<(Response<Body>, impl Future<Output = Result<WebSocket, hyper::Error>> + Send + use<>), ApiError>
{
    let headers = request.headers();
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| version) else {
        return Err(ApiError::new(Rejection::InvalidRequest, "invalid WebSocket handshake"));
    };
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("base64 is a valid header");
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    let (upgrade, budget) = (hyper::upgrade::on(request), budget.clone());
    let socket = async move {
        let inbound = Inbound::new(TokioIo::new(upgrade.await?), &budget);
        Ok(WebSocketStream::from_raw_socket(inbound, Role::Server, Some(config)).await)
    };
    Ok((response, socket))
}

/// Returns the next message, and releases the memory reserved for it.
///
/// # Cancel safety
///
/// No message is lost if the future is dropped.
pub(crate) async fn next_message(socket: &mut WebSocket) -> Option<Result<Message, Error>> {
    poll_fn(|cx| poll_message(socket, cx)).await
}

/// As [`next_message`], as a function to poll.
pub(crate) fn poll_message(
    socket: &mut WebSocket,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Message, Error>>> {
    let next = ready!(socket.poll_next_unpin(cx));
    match &next {
        Some(Ok(Message::Text(_) | Message::Binary(_))) => socket.get_ref().took_message(),
        Some(Ok(Message::Ping(payload) | Message::Pong(payload))) => {
            socket.get_ref().took_control(payload.len());
        }
        _ => {}
    }
    Poll::Ready(next)
}

/// Returns the close code and reason for a protocol error; `None` if the client has disconnected.
pub(crate) fn close_code(error: &Error) -> Option<(CloseCode, &'static str)> {
    match error {
        Error::Capacity(_) => Some((CloseCode::Size, "the frame is too large")),
        Error::Utf8(_) => Some((CloseCode::Invalid, "the frame is not UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Io(error) if error.get_ref().is_some_and(|error| error.is::<OutOfBudget>()) => {
            Some((CloseCode::Again, "no memory is available for this message"))
        }
        Error::Protocol(_) => Some((CloseCode::Protocol, "the frame violates the WebSocket protocol")),
        _ => None,
    }
}

/// Closes a WebSocket with a close frame, or (`None`) sends the pending answer to the client's close frame.
pub(crate) async fn close(socket: &mut WebSocket, frame: Option<(CloseCode, &'static str)>) {
    let closing = async {
        match frame {
            Some((code, reason)) => socket.close(Some(CloseFrame { code, reason: reason.into() })).await,
            None => socket.flush().await,
        }
    };
    if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
        tracing::debug!("a client did not read the close frame");
    }
}
