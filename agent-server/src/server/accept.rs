//! Accepts connections, within their limits, and serves HTTP on them until shutdown.

use std::{convert::Infallible, io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::dispatch;
use crate::{
    app::AppState,
    http::{error_bodies::ErrorBodies, timeout_stream::TimeoutStream},
    limits::Permit,
    tls,
};

/// Maximum size of the request headers in bytes, and their maximum number.
const HEADER_BYTES: usize = 64 * 1024;
const HEADERS: usize = 100;
/// Wait after a failed accept, for example because no file descriptor is free.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Permits of a connection, held until its stream closes.
type ConnectionPermit = (OwnedSemaphorePermit, Permit);

/// Accepts connections until `shutdown`. Connections beyond the limit wait in the listener's backlog.
pub(crate) async fn accept(
    listener: TcpListener,
    app: Arc<AppState>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) {
    let permits = Arc::clone(&app.connection_permits);
    loop {
        let permit = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(permit) = permit else { return };
                let (app, shutdown, peer) = (Arc::clone(&app), shutdown.clone(), peer.ip());
                let Some(per_address) = app.limits.connection(peer) else {
                    tracing::debug!(%peer, "too many connections from one address");
                    continue;
                };
                tasks.spawn(async move {
                    if let Err(error) = connection(stream, peer, (permit, per_address), app, shutdown).await {
                        tracing::debug!(%error, "a connection failed");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Serves one connection, after its TLS handshake if TLS is configured.
async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    permit: ConnectionPermit,
    app: Arc<AppState>,
    shutdown: CancellationToken,
) -> Result<(), hyper::Error> {
    set_no_delay(&stream);
    let (write_time, head_time) = (app.options.write_time, app.options.head_time);
    let Some(tls) = &app.tls else {
        let stream = TimeoutStream::new(stream, write_time, head_time, permit);
        return serve_connection(stream, peer, app, shutdown).await;
    };
    let handshake = tokio::time::timeout(head_time, tls.acceptor().accept(stream));
    let handshake_result = tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        result = handshake => result,
    };
    match handshake_result {
        Ok(Ok(stream)) => {
            let stream = TimeoutStream::new(stream, write_time, head_time, permit);
            serve_connection(stream, peer, app, shutdown).await
        }
        Ok(Err(error)) => {
            tls::log_failed_handshake(&error);
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

/// Serves HTTP on a stream until it closes. An upgraded WebSocket continues in its own task.
async fn serve_connection(
    stream: TimeoutStream<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, ConnectionPermit>,
    peer: IpAddr,
    app: Arc<AppState>,
    shutdown: CancellationToken,
) -> Result<(), hyper::Error> {
    let header_timer = stream.header_timer();
    // Borrowed: connections on different threads would wait for each other at the counter of an `Arc`.
    let app = &app;
    let service = service_fn(|request| {
        let guard = header_timer.request_started();
        async move { Ok::<_, Infallible>(dispatch::dispatch(app, peer, guard, request).await) }
    });
    let mut http = http1::Builder::new();
    // The stream has its own header timeout.
    http.header_read_timeout(None).max_buf_size(HEADER_BYTES).max_headers(HEADERS);
    let mut connection =
        pin!(http.serve_connection(TokioIo::new(ErrorBodies::new(stream)), service).with_upgrades());
    // Polled after each request. Each child token has its own lock.
    let shutdown = shutdown.child_token();
    tokio::select! {
        biased;
        result = connection.as_mut() => result,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

fn set_no_delay(stream: &TcpStream) {
    let result: io::Result<()> = stream.set_nodelay(true);
    if let Err(error) = result {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
}
