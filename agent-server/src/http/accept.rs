//! Connections: how many, how slow they may be, and how they end. Knows nothing of what is asked.

use std::{convert::Infallible, io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{line::Line, service};
use crate::{limit::Held, server::Inner, tls};

/// The largest head of a request, in bytes, and the most headers in it.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 100;
/// The wait before the next try when the machine has no more file handles.
const BREATHER: Duration = Duration::from_millis(50);

/// Takes connections until `closing`. Beyond the limit they wait in the machine's own queue.
pub(crate) async fn accept(
    listener: TcpListener,
    inner: Arc<Inner>,
    tasks: &TaskTracker,
    closing: &CancellationToken,
) {
    let places = Arc::clone(&inner.places);
    loop {
        let place = tokio::select! {
            biased;
            () = closing.cancelled() => return,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let stream = tokio::select! {
            biased;
            () = closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, peer)) => {
                let Ok(place) = place else { return };
                let (inner, closing, peer) = (Arc::clone(&inner), closing.clone(), peer.ip());
                let Some(held) = inner.limits.connection(peer) else {
                    tracing::debug!(%peer, "an address has too many connections");
                    continue;
                };
                tasks.spawn(async move {
                    if let Err(error) = connection(stream, peer, (place, held), inner, closing).await {
                        tracing::debug!(%error, "a connection ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

/// What a connection takes up, until its last byte.
type Place = (OwnedSemaphorePermit, Held);

/// One connection, from its handshake.
async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    place: Place,
    inner: Arc<Inner>,
    closing: CancellationToken,
) -> Result<(), hyper::Error> {
    no_delay(&stream);
    let (write_time, head_time) = (inner.options.write_time, inner.options.head_time);
    let Some(tls) = &inner.tls else {
        return speak(Line::new(stream, write_time, head_time, place), peer, inner, closing).await;
    };
    let handshake = tokio::time::timeout(head_time, tls.acceptor().accept(stream));
    let shaken = tokio::select! {
        biased;
        () = closing.cancelled() => return Ok(()),
        shaken = handshake => shaken,
    };
    match shaken {
        Ok(Ok(stream)) => speak(Line::new(stream, write_time, head_time, place), peer, inner, closing).await,
        Ok(Err(error)) => {
            tls::refused(&error);
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

/// HTTP over a stream, to its end. An upgraded socket lives on in a task of its own.
async fn speak(
    line: Line<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    peer: IpAddr,
    inner: Arc<Inner>,
    closing: CancellationToken,
) -> Result<(), hyper::Error> {
    let awaited = line.awaited();
    let service = service_fn(move |request| {
        let (inner, handling) = (Arc::clone(&inner), awaited.come());
        async move {
            Ok::<_, Infallible>(
                service::serve(inner, peer, handling, request).await.unwrap_or_else(|never| match never {}),
            )
        }
    });
    let mut http = http1::Builder::new();
    // Heads are waited for by the line.
    http.header_read_timeout(None).max_buf_size(HEAD_BYTES).max_headers(HEADERS);
    let mut connection = pin!(http.serve_connection(TokioIo::new(line), service).with_upgrades());
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

fn no_delay(stream: &TcpStream) {
    let set: io::Result<()> = stream.set_nodelay(true);
    if let Err(error) = set {
        tracing::debug!(%error, "small packets are delayed on a connection");
    }
}
