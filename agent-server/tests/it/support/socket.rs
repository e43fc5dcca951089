//! A subscriber that keeps the messages it receives and checks that their numbers only rise.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, protocol::CloseFrame},
};

use super::LONG;

pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) got: Vec<Value>,
    pub(crate) last: u64,
}

impl Client {
    /// The status when it is refused.
    pub(crate) async fn connect(address: SocketAddr, session: &str, query: &str) -> Result<Self, StatusCode> {
        Self::connect_from(address, session, query, None).await
    }

    pub(crate) async fn connect_from(
        address: SocketAddr,
        session: &str,
        query: &str,
        origin: Option<&str>,
    ) -> Result<Self, StatusCode> {
        let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        Self::connect_with(address, session, query, &headers).await
    }

    pub(crate) async fn connect_with(
        address: SocketAddr,
        session: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, StatusCode> {
        let mut request = format!("ws://{address}/ws/{session}{query}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match timeout(LONG, connect_async(request)).await.unwrap() {
            Ok((socket, _)) => Ok(Self { socket, got: Vec::new(), last: 0 }),
            Err(Error::Http(refused)) => Err(refused.status()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message; `Err` with the close frame when there is none.
    pub(crate) async fn try_next(&mut self) -> Result<Value, Option<CloseFrame>> {
        let until = Instant::now() + LONG;
        loop {
            let frame = timeout_at(until, self.socket.next()).await.expect("a message comes");
            let text = match frame {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => return Err(frame),
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return Err(None),
            };
            let message: Value = serde_json::from_str(&text).unwrap();
            if let Some(seq) = message["seq"].as_u64() {
                assert!(seq > self.last, "{seq} after {}", self.last);
                self.last = seq;
            }
            self.got.push(message.clone());
            return Ok(message);
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.try_next().await.expect("the socket is open")
    }

    /// Reads up to the next message of a type.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["type"] == kind {
                return message;
            }
            let is_stop = message["data"]["details"]["code"] == "run_stopped";
            assert!(message["type"] != "error" || is_stop, "{message}");
        }
    }

    pub(crate) async fn say(&mut self, kind: &str, data: Value) {
        self.raw(Message::text(json!({"type": kind, "data": data}).to_string())).await;
    }

    pub(crate) async fn raw(&mut self, frame: Message) {
        timeout(LONG, self.socket.send(frame)).await.unwrap().unwrap();
    }

    /// Checks that only messages that were already sent arrive before the pong.
    pub(crate) async fn ping(&mut self) {
        self.say("ping", json!({})).await;
        while self.next().await["type"] != "pong" {}
    }

    /// The refusal of a frame; the socket must stay open.
    pub(crate) async fn refused(&mut self, frame: Message) -> String {
        self.raw(frame).await;
        loop {
            let message = self.next().await;
            if message["type"] == "error" {
                self.ping().await;
                return message["data"]["details"]["code"].as_str().unwrap().to_owned();
            }
        }
    }

    pub(crate) async fn answer(&mut self, question: &Value) {
        let data = &question["data"];
        self.say("input", json!({"value": data["options"][0], "id": data["id"]})).await;
    }

    /// The messages of journal entries.
    pub(crate) fn numbered(&self) -> Vec<Value> {
        self.got.iter().filter(|message| message["seq"].is_u64()).cloned().collect()
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        self.got.iter().map(|message| message["type"].as_str().unwrap().to_owned()).collect()
    }

    /// Whether the frame could be sent.
    pub(crate) async fn try_raw(&mut self, frame: Message) -> bool {
        matches!(timeout(LONG, self.socket.send(frame)).await, Ok(Ok(())))
    }

    /// The close code, if the server sends one.
    pub(crate) async fn goodbye(&mut self) -> Option<u16> {
        loop {
            if let Err(goodbye) = self.try_next().await {
                return goodbye.map(|frame| frame.code.into());
            }
        }
    }
}
