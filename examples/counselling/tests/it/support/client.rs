//! A client of the WebSocket.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use super::LONG;

pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// An answer: its chunks, and the error that ended it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) chunks: Vec<String>,
    pub(crate) error: Option<String>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        self.chunks.concat()
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, session: &str) -> Self {
        Self::try_connect(address, session, &[]).await.unwrap()
    }

    /// The status and body when the handshake is refused.
    pub(crate) async fn try_connect(
        address: SocketAddr,
        session: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, (u16, Value)> {
        let mut request = format!("ws://{address}/ws/session/{session}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match timeout(LONG, connect_async(request)).await.unwrap() {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(refused)) => {
                let body =
                    refused.body().as_ref().map(|body| serde_json::from_slice(body).unwrap_or_default());
                Err((refused.status().as_u16(), body.unwrap_or_default()))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn raw(&mut self, frame: impl Into<Message>) {
        timeout(LONG, self.socket.send(frame.into())).await.unwrap().unwrap();
    }

    pub(crate) async fn send(&mut self, kind: &str, data: Value) {
        self.raw(json!({"type": kind, "data": data}).to_string()).await;
    }

    pub(crate) async fn ask(&mut self, message: &str) {
        self.send("request_ai_response", json!({"message": message, "emotion": "sad", "timestamp": 1})).await;
    }

    /// The next message; `Err` with the close code and reason at the end.
    pub(crate) async fn try_next(&mut self) -> Result<Value, Option<(u16, String)>> {
        loop {
            match timeout(LONG, self.socket.next()).await.expect("a message arrives") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map(|frame| (frame.code.into(), frame.reason.to_string())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        self.try_next().await.unwrap()
    }

    /// The next message, which must be an error without a `begin`.
    pub(crate) async fn refusal(&mut self) -> String {
        let message = self.next().await;
        assert_eq!(message["type"], "ai_stream_error", "{message}");
        assert_eq!(message.as_object().unwrap().len(), 2, "{message}");
        message["data"]["error"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn begins(&mut self) {
        assert_eq!(self.next().await, json!({"type": "ai_stream_begin", "data": {}}));
    }

    pub(crate) async fn chunk(&mut self) -> String {
        let message = self.next().await;
        let chunk = message["data"]["chunk"].as_str().unwrap_or_else(|| panic!("{message}")).to_owned();
        assert_eq!(message, json!({"type": "ai_stream_chunk", "data": {"chunk": chunk}}));
        assert!(!chunk.is_empty());
        chunk
    }

    /// An answer from `begin` to its end, with every message as the contract has it.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.begins().await;
        self.rest().await
    }

    /// The rest of an answer that has begun.
    pub(crate) async fn rest(&mut self) -> Answer {
        let mut chunks = Vec::new();
        loop {
            let message = self.next().await;
            let error = match message["type"].as_str().unwrap() {
                "ai_stream_chunk" => {
                    let chunk = message["data"]["chunk"].as_str().unwrap().to_owned();
                    assert!(!chunk.is_empty());
                    assert_eq!(message, json!({"type": "ai_stream_chunk", "data": {"chunk": chunk}}));
                    chunks.push(chunk);
                    continue;
                }
                "ai_stream_complete" => {
                    assert_eq!(message, json!({"type": "ai_stream_complete", "data": {}}));
                    None
                }
                "ai_stream_error" => {
                    let error = message["data"]["error"].as_str().unwrap().to_owned();
                    assert_eq!(message, json!({"type": "ai_stream_error", "data": {"error": error}}));
                    Some(error)
                }
                other => panic!("{other}"),
            };
            return Answer { chunks, error };
        }
    }

    /// The close code and reason.
    pub(crate) async fn closed(&mut self) -> Option<(u16, String)> {
        loop {
            if let Err(close) = self.try_next().await {
                return close;
            }
        }
    }

    /// Leaves without a close frame.
    pub(crate) fn leave(self) {
        drop(self);
    }
}
