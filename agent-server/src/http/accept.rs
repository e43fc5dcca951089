//! Connections: how many, how slow they may be, and how they end. Knows nothing of what is asked.

use std::{convert::Infallible, io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::service;
use crate::server::Inner;

/// The wait before the next try when the machine has no more file handles.
const BREATHER: Duration = Duration::from_millis(50);

/// Takes connections until `closing`. Beyond the limit they wait in the machine's own queue.
pub(crate) async fn accept(
    listener: TcpListener,
    inner: Arc<Inner>,
    tasks: &TaskTracker,
    closing: &CancellationToken,
) {
    let places = Arc::new(Semaphore::new(inner.options.connections));
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
                let (inner, closing) = (Arc::clone(&inner), closing.clone());
                tasks.spawn(async move {
                    if let Err(error) = connection(stream, peer.ip(), inner, closing).await {
                        tracing::debug!(%error, "a connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(BREATHER).await;
            }
        }
    }
}

/// One connection, to its end. An upgraded socket lives on in a task of its own.
async fn connection(
    stream: TcpStream,
    peer: IpAddr,
    inner: Arc<Inner>,
    closing: CancellationToken,
) -> Result<(), hyper::Error> {
    no_delay(&stream);
    let head_time = inner.options.head_time;
    let service = service_fn(move |request| {
        let inner = Arc::clone(&inner);
        async move {
            Ok::<_, Infallible>(
                service::serve(inner, peer, request).await.unwrap_or_else(|never| match never {}),
            )
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(head_time).max_buf_size(64 * 1024);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
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
