//! A transcription endpoint that does what a test says, with the messages of OpenAI's Realtime interface.
#![expect(clippy::unwrap_used, reason = "part of a test")]
#![allow(dead_code, clippy::allow_attributes, reason = "several tests use it, each a part")]

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        http::HeaderMap,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listening endpoint.
pub(crate) struct Endpoint {
    listener: TcpListener,
    pub(crate) url: String,
}

/// One connection of a client.
pub(crate) struct Connection {
    pub(crate) socket: WebSocketStream<TcpStream>,
    pub(crate) headers: HeaderMap,
    pub(crate) path: String,
}

impl Endpoint {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/v1/realtime?intent=transcription", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// Accepts TCP, without the handshake.
    pub(crate) async fn tcp(&self) -> TcpStream {
        tokio::time::timeout(PATIENCE, self.listener.accept()).await.expect("no connection").unwrap().0
    }

    /// Accepts a connection.
    pub(crate) async fn accept(&self) -> Connection {
        self.handshake(self.tcp().await).await
    }

    pub(crate) async fn handshake(&self, tcp: TcpStream) -> Connection {
        let (mut headers, mut path) = (HeaderMap::new(), String::new());
        #[expect(clippy::result_large_err, reason = "the signature of tungstenite")]
        let keep = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            headers = request.headers().clone();
            path = request.uri().to_string();
            Ok(response)
        };
        let socket = accept_hdr_async(tcp, keep).await.unwrap();
        Connection { socket, headers, path }
    }

    /// Accepts a connection and goes through the beginning of a session.
    pub(crate) async fn session(&self) -> Connection {
        let mut connection = self.accept().await;
        connection.send(json!({"type": "session.created", "session": {}})).await;
        let update = connection.next().await;
        assert_eq!(update["type"], "session.update", "the first message");
        connection.send(json!({"type": "session.updated", "session": update["session"]})).await;
        connection
    }

    /// Refuses the handshake with a status.
    pub(crate) async fn refuse(&self, status: u16) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut tcp = self.tcp().await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.unwrap());
        }
        let response = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        tcp.write_all(response.as_bytes()).await.unwrap();
        tcp.shutdown().await.unwrap();
    }
}

impl Connection {
    pub(crate) async fn send(&mut self, message: Value) {
        self.raw(Message::text(message.to_string())).await;
    }

    pub(crate) async fn raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next text message; pings are answered on the way.
    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("no message");
            match message.expect("the client has disconnected").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(_) => panic!("the client has disconnected"),
                _ => {}
            }
        }
    }

    /// Reads a message that must be of this type.
    pub(crate) async fn next_is(&mut self, kind: &str) {
        let message = self.next().await;
        assert_eq!(message["type"], kind, "{message}");
    }

    /// Reads audio until it is this long; returns it.
    pub(crate) async fn audio(&mut self, bytes: usize) -> Vec<u8> {
        let mut audio = Vec::new();
        while audio.len() < bytes {
            let message = self.next().await;
            assert_eq!(message["type"], "input_audio_buffer.append", "{message}");
            audio.extend(STANDARD.decode(message["audio"].as_str().unwrap()).unwrap());
        }
        audio
    }

    /// An utterance that the endpoint recognized, in the order of messages of the real one, without its transcript.
    pub(crate) async fn speech(&mut self, item: &str, start_ms: u64, end_ms: u64) {
        let event = |name: &str| format!("input_audio_buffer.{name}");
        self.send(json!({"type": event("speech_started"), "item_id": item, "audio_start_ms": start_ms}))
            .await;
        self.send(json!({"type": event("speech_stopped"), "item_id": item, "audio_end_ms": end_ms})).await;
        self.send(json!({"type": event("committed"), "item_id": item, "previous_item_id": null})).await;
        self.added(item).await;
    }

    pub(crate) async fn added(&mut self, item: &str) {
        let item =
            json!({"id": item, "type": "message", "role": "user", "content": [{"type": "input_audio"}]});
        self.send(json!({"type": "conversation.item.added", "item": item})).await;
    }

    pub(crate) async fn transcript(&mut self, item: &str, parts: &[&str]) {
        let event = |name: &str| format!("conversation.item.input_audio_transcription.{name}");
        for part in parts {
            self.send(json!({"type": event("delta"), "item_id": item, "content_index": 0, "delta": part}))
                .await;
        }
        self.send(
            json!({"type": event("completed"), "item_id": item, "content_index": 0, "transcript": parts.concat(),
                "usage": {"type": "duration", "seconds": 1}}),
        )
        .await;
    }

    pub(crate) async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        self.socket.close(Some(frame)).await.unwrap();
    }
}
