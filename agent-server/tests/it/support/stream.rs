//! A client of server-sent events.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Here, LONG};

/// An open stream. Dropping it closes the connection.
pub(crate) struct Stream {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    read: Vec<u8>,
    _connection: AbortOnDropHandle<()>,
}

impl Stream {
    pub(crate) async fn open(here: &Here, path: &str, headers: &[(&str, &str)]) -> Self {
        Self::begin(here, Method::GET, path, headers, "").await.begun()
    }

    pub(crate) async fn post(here: &Here, path: &str, body: Value) -> Self {
        Self::begin(here, Method::POST, path, &[], body.to_string()).await.begun()
    }

    /// Whatever the status is.
    pub(crate) async fn begin(
        here: &Here,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Self {
        let stream = TcpStream::connect(here.address).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection =
            tokio_util::task::TaskTracker::new().spawn(async { connection.await.unwrap_or_default() });
        let connection = AbortOnDropHandle::new(connection);
        let mut request =
            Request::builder().method(method).uri(path).header("host", here.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = client.send_request(request.body(Full::new(body.into())).unwrap());
        let (parts, body) = timeout(LONG, sent).await.unwrap().unwrap().into_parts();
        let (status, headers) = (parts.status.as_u16(), parts.headers);
        Self { status, headers, body, read: Vec::new(), _connection: connection }
    }

    fn begun(self) -> Self {
        assert_eq!(
            (self.status, &self.headers["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        self
    }

    /// The next event or comment as it was sent; `None` at the end.
    pub(crate) async fn raw(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.read.drain(..end + 2).collect();
                return Some(String::from_utf8(event).unwrap());
            }
            let Some(frame) = timeout(LONG, self.body.frame()).await.unwrap() else {
                assert!(self.read.is_empty(), "the stream ends with a whole event");
                return None;
            };
            self.read.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    /// The data of the next event as text; comments are passed over.
    pub(crate) async fn try_text(&mut self) -> Option<String> {
        loop {
            let event = self.raw().await?;
            if let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) {
                return Some(data.to_owned());
            }
        }
    }

    /// The data of the next event; comments are passed over.
    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.try_text().await.expect("the stream ended")).unwrap()
    }

    /// The data of all events up to the end.
    pub(crate) async fn rest(&mut self) -> Vec<Value> {
        let mut rest = Vec::new();
        while let Some(text) = self.try_text().await {
            rest.push(serde_json::from_str(&text).unwrap_or(Value::String(text)));
        }
        rest
    }

    /// Whether the server ends the stream before it sends anything.
    pub(crate) async fn ends(&mut self) -> bool {
        timeout(LONG, self.body.frame()).await.unwrap().is_none()
    }
}
