//! The socket of a session: the upgrade, and where a new subscriber begins.

mod socket;

use std::time::Duration;

use agent_core::{Session, SessionError, ids::Seq};
use futures::SinkExt;
use hyper::upgrade::Upgraded;
use hyper_tungstenite::{
    WebSocketStream, is_upgrade_request,
    tungstenite::{
        Error,
        error::ProtocolError,
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
    upgrade as handshake,
};
use hyper_util::rt::TokioIo;

use crate::{
    error::{ApiError, Refusal},
    handler::refused,
    http::{
        call::{Call, Query},
        reply::{Body, Reply, full},
    },
    owner::Watch,
    wire::task_agent::Extent,
};

/// The largest frame that is read at all: what lies between this and the limit gets an `error`, more ends the socket.
const READ_BYTES: usize = 1024 * 1024;

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
    let config = buffers().max_message_size(Some(READ_BYTES)).max_frame_size(Some(READ_BYTES));
    let (response, socket) = handshake(&mut call.request, Some(config))
        .map_err(|_| ApiError::new(Refusal::InvalidRequest, "the WebSocket handshake is wrong"))?;
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
    Ok(response.map(full_of))
}

/// Buffers of a socket: small, because most sockets are idle most of the time.
pub(crate) fn buffers() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(16 * 1024)
        .max_write_buffer_size(16 * 1024 * 1024)
}

/// An open socket.
pub(crate) type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// What a client that broke the protocol is told; `None` when it is gone.
pub(crate) fn fault(error: &Error) -> Option<(CloseCode, &'static str)> {
    match error {
        Error::Capacity(_) => Some((CloseCode::Size, "the frame is too large")),
        Error::Utf8(_) => Some((CloseCode::Invalid, "the frame is not UTF-8")),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
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

fn full_of(_: impl Sized) -> Body {
    full("")
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
