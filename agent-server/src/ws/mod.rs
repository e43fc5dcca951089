//! The socket of a session: the upgrade, and where a new subscriber begins.

mod socket;

use std::time::Duration;

use agent_core::{Session, SessionError, ids::Seq};
use futures::{SinkExt, StreamExt};
use hyper::{
    Response, StatusCode,
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

use crate::{
    error::{ApiError, Refusal},
    handler::refused,
    http::{
        call::{Call, Query},
        inbound::{Inbound, OutOfBudget},
        reply::{Body, Reply, empty},
    },
    owner::Watch,
    wire::task_agent::Extent,
};

/// How many times the limit a frame may have and still be read, to be refused with an `error`. More ends the socket.
const READ: usize = 2;

/// Upgrades a request to the socket of a session, which need not exist yet.
///
/// # Errors
///
/// 400 for a query that makes no sense, 426 without an upgrade.
pub(crate) async fn upgrade(mut call: Call) -> Reply {
    let id = call.session_id()?;
    if !is_upgrade_request(&call.request) {
        return Err(ApiError::new(Refusal::UpgradeRequired, "this path is a WebSocket"));
    }
    let held = call.listen()?;
    let query = Wanted::parse(&call.query())?;
    let session = call.session_of(id).await?;
    let after = match query.after {
        Some(after) => after,
        None => beginning(&session).await?,
    };
    let most = call.inner.options.frame_bytes.saturating_mul(READ);
    let (response, socket) =
        open(&mut call, buffers().max_message_size(Some(most)).max_frame_size(Some(most)))?;
    let (watch, key) = (Watch::new(call.owner(), session.clone()), call.key());
    let inner = call.inner;
    let sockets = inner.sockets.clone();
    sockets.spawn(async move {
        match socket.await {
            Ok(socket) => socket::serve(&inner, &session, socket, (watch, key), after, query.extent).await,
            Err(error) => tracing::debug!(%error, "a socket was not opened"),
        }
        drop(held);
    });
    Ok(response)
}

/// Buffers of a socket: small, because most sockets are idle most of the time.
pub(crate) fn buffers() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(16 * 1024)
        .max_write_buffer_size(16 * 1024 * 1024)
}

/// An open socket.
pub(crate) type Stream = WebSocketStream<Inbound>;

/// Answers a handshake. The socket is there once the answer has left.
///
/// # Errors
///
/// 400 when the handshake is wrong.
pub(crate) fn open(
    call: &mut Call,
    config: WebSocketConfig,
) -> Result<(Response<Body>, impl Future<Output = Result<Stream, hyper::Error>> + Send + use<>), ApiError> {
    let headers = call.request.headers();
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| version) else {
        return Err(ApiError::new(Refusal::InvalidRequest, "the WebSocket handshake is wrong"));
    };
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).expect("base64 is a legal header");
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    let (upgrade, budget) = (hyper::upgrade::on(&mut call.request), call.inner.input.clone());
    let socket = async move {
        let inbound = Inbound::new(TokioIo::new(upgrade.await?), &budget);
        Ok(WebSocketStream::from_raw_socket(inbound, Role::Server, Some(config)).await)
    };
    Ok((response, socket))
}

/// The next message of a socket. What it took up while it was unfinished is given back.
///
/// # Cancel safety
///
/// Nothing is lost when it is dropped.
pub(crate) async fn next_message(stream: &mut Stream) -> Option<Result<Message, Error>> {
    let next = stream.next().await;
    match &next {
        Some(Ok(Message::Text(_) | Message::Binary(_))) => stream.get_ref().took_message(),
        Some(Ok(Message::Ping(payload) | Message::Pong(payload))) => {
            stream.get_ref().took_control(payload.len());
        }
        _ => {}
    }
    next
}

/// What a client that broke the protocol is told; `None` when it is gone.
pub(crate) fn fault(error: &Error) -> Option<(CloseCode, &'static str)> {
    match error {
        Error::Capacity(_) => Some((CloseCode::Size, "the frame is too large")),
        Error::Utf8(_) => Some((CloseCode::Invalid, "the frame is not UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Io(error) if error.get_ref().is_some_and(|error| error.is::<OutOfBudget>()) => {
            Some((CloseCode::Again, "the server has no memory for this message now"))
        }
        Error::Protocol(_) => Some((CloseCode::Protocol, "the frame breaks the WebSocket protocol")),
        _ => None,
    }
}

/// Ends a socket with a goodbye: ours, or (`None`) the answer to the client's, which waits in its buffer.
pub(crate) async fn part(stream: &mut Stream, goodbye: Option<(CloseCode, &'static str)>) {
    let said = async {
        match goodbye {
            Some((code, reason)) => stream.close(Some(CloseFrame { code, reason: reason.into() })).await,
            None => stream.flush().await,
        }
    };
    if tokio::time::timeout(Duration::from_secs(1), said).await.is_err() {
        tracing::debug!("a socket did not take its goodbye");
    }
}

/// A subscriber that names no number sees the latest run from its start, so that whoever comes late sees it all.
pub(crate) async fn beginning(session: &Session) -> Result<Seq, ApiError> {
    match session.status().await {
        Ok(status) => Ok(Seq(status.accepted.0.saturating_sub(1))),
        Err(SessionError::NotFound { .. }) => Ok(Seq::ZERO),
        Err(error) => Err(refused(session.id())(error)),
    }
}

/// `?after=SEQ&events=status|all`.
struct Wanted {
    after: Option<Seq>,
    extent: Extent,
}

impl Wanted {
    fn parse(query: &Query) -> Result<Self, ApiError> {
        let extent = query.get("events").unwrap_or_default();
        let extent = Extent::parse(extent)
            .ok_or_else(|| ApiError::new(Refusal::InvalidRequest, "`events` must be `status` or `all`"))?;
        Ok(Self { after: query.number("after")?.map(Seq), extent })
    }
}
