//! Baseline: the same endpoints on bare hyper, without sessions, limits, graphs and safety.

use std::{collections::HashMap, convert::Infallible, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_tungstenite::tungstenite::{Message, Utf8Bytes};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::broadcast};
use tokio_util::task::TaskTracker;

use super::{DONE, HEALTHY, burst_message, chunk};

type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Default)]
struct Shared {
    sessions: Mutex<HashMap<String, broadcast::Sender<Utf8Bytes>>>,
    tasks: TaskTracker,
}

impl Shared {
    fn session(&self, id: &str) -> broadcast::Sender<Utf8Bytes> {
        self.sessions.lock().entry(id.to_owned()).or_insert_with(|| broadcast::channel(1024).0).clone()
    }
}

/// Serves until the process ends.
///
/// # Errors
///
/// I/O errors of the listener.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    let shared = Arc::new(Shared::default());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let each = Arc::clone(&shared);
        let service = service_fn(move |request| answer(Arc::clone(&each), request));
        shared.tasks.spawn(async move {
            // Clients may disconnect at any time.
            http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await.ok()
        });
    }
}

async fn answer(shared: Arc<Shared>, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if let (&Method::GET, Some(id)) = (request.method(), path.strip_prefix("/ws/")) {
        let Ok((response, socket)) = hyper_tungstenite::upgrade(&mut request, None) else {
            return Ok(full("no"));
        };
        let mut messages = shared.session(id).subscribe();
        shared.tasks.spawn(async move {
            let Ok(mut socket) = socket.await else { return };
            loop {
                tokio::select! {
                    message = messages.recv() => {
                        let Ok(message) = message else { return };
                        if socket.feed(Message::Text(message)).await.is_err() {
                            return;
                        }
                        while let Ok(message) = messages.try_recv() {
                            if socket.feed(Message::Text(message)).await.is_err() {
                                return;
                            }
                        }
                        if socket.flush().await.is_err() {
                            return;
                        }
                    }
                    said = socket.next() => if !matches!(said, Some(Ok(_))) {
                        return;
                    },
                }
            }
        });
        return Ok(response.map(|_| Full::new(Bytes::new()).boxed_unsync()));
    }
    if request.method() == Method::GET {
        return Ok(full(HEALTHY));
    }
    let Ok(body) = request.into_body().collect().await else { return Ok(full("broken")) };
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    Ok(match path.as_str() {
        "/api/agent/run" | "/api/agent/run-durable" => {
            let mut steps = Vec::new();
            for name in ["one", "two", "three"] {
                steps.push(name.to_owned());
            }
            let id = format!("{:032x}", fastrand::u128(..));
            let result = json!({"input": body["input"], "steps": steps});
            full(json!({"session_id": id, "status": "completed", "result": result}).to_string())
        }
        "/api/agent/run-async" => {
            let id = body["session_id"].as_str().unwrap_or_default().to_owned();
            let (sender, events) = (shared.session(&id), body["events"].as_u64().unwrap_or(100));
            let pause = Duration::from_secs_f64(body["interval_ms"].as_f64().unwrap_or_default() / 1e3);
            let reported = json!({"session_id": id, "status": "started"}).to_string();
            shared.tasks.spawn(async move {
                for seq in 0..events {
                    if pause.is_zero() {
                        tokio::task::yield_now().await;
                    } else {
                        tokio::time::sleep(pause).await;
                    }
                    // There may be no receiver.
                    sender.send(burst_message(&id, seq).to_string().into()).ok();
                }
            });
            full(reported)
        }
        _ => {
            let chunks = body["chunks"].as_u64().unwrap_or(100);
            let pieces = stream::iter((0..chunks).map(chunk).chain([DONE.to_owned()])).then(async |piece| {
                tokio::task::yield_now().await;
                Ok(Frame::data(Bytes::from(piece)))
            });
            let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
            let kind = hyper::header::HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
            response
        }
    })
}

fn full(text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    let kind = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}
