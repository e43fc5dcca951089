//! A client of server-sent events.

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{Here, LONG};

pub(crate) struct Stream {
    body: Incoming,
    read: Vec<u8>,
    _connection: AbortOnDropHandle<()>,
}

impl Stream {
    pub(crate) async fn open(here: &Here, path: &str, headers: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(here.address).await.unwrap();
        let (mut client, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection =
            tokio_util::task::TaskTracker::new().spawn(async { connection.await.unwrap_or_default() });
        let mut request = Request::get(path).header("host", here.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = client.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Self { body: reply.into_body(), read: Vec::new(), _connection: AbortOnDropHandle::new(connection) }
    }

    /// The data of the next event; comments are passed over.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.read.drain(..end + 2).collect();
                let text = String::from_utf8(event).unwrap();
                if let Some(data) = text.lines().find_map(|line| line.strip_prefix("data: ")) {
                    return serde_json::from_str(data).unwrap();
                }
                continue;
            }
            let frame = timeout(LONG, self.body.frame()).await.unwrap().expect("the stream ended").unwrap();
            self.read.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// Whether the server ends it before it says anything.
    pub(crate) async fn ends(&mut self) -> bool {
        timeout(LONG, self.body.frame()).await.unwrap().is_none()
    }
}
