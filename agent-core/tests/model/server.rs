//! A small HTTP/1.1 server that answers as model endpoints do, faults included. Plain sockets, so that
//! the test controls every byte and every pause.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    chunks: Vec<Vec<u8>>,
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum End {
    /// The last chunk is marked as such.
    #[default]
    Clean,
    /// The connection is dropped in the middle of the body.
    Disconnect,
    /// Nothing more comes, the connection stays.
    Silence,
}

impl Answer {
    /// A stream of events, one chunk each, ended by `[DONE]`.
    pub(crate) fn events<'a>(events: impl IntoIterator<Item = &'a str>) -> Self {
        let chunks =
            events.into_iter().chain(["[DONE]"]).map(|event| format!("data: {event}\n\n").into_bytes());
        Self::raw(chunks)
    }

    /// A stream of text pieces and a finish reason, as OpenAI sends them.
    pub(crate) fn says(pieces: &[&str]) -> Self {
        let mut events = vec![r#"{"id":"c1","model":"gpt-test-0719","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#.to_owned()];
        for piece in pieces {
            let piece = Value::from(*piece);
            events.push(format!(r#"{{"id":"c1","choices":[{{"index":0,"delta":{{"content":{piece}}}}}]}}"#));
        }
        events.push(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#.to_owned());
        events.push(r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#.to_owned());
        Self::events(events.iter().map(String::as_str))
    }

    /// These bytes in these chunks.
    pub(crate) fn raw<C: Into<Vec<u8>>>(chunks: impl IntoIterator<Item = C>) -> Self {
        let headers = vec![("content-type".to_owned(), "text/event-stream".to_owned())];
        Self { status: 200, headers, chunks: chunks.into_iter().map(Into::into).collect(), end: End::Clean }
    }

    /// A status and a JSON body.
    pub(crate) fn status(status: u16, body: &str) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self { status, headers, chunks: vec![body.as_bytes().to_vec()], end: End::Clean }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn then_disconnect(mut self) -> Self {
        self.end = End::Disconnect;
        self
    }

    pub(crate) fn then_silence(mut self) -> Self {
        self.end = End::Silence;
        self
    }
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The server. Answers in order, the last one for ever; stops when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    // Aborts its task when dropped.
    _task: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let answers: Vec<Answer> = answers.into_iter().collect();
        let log = Arc::clone(&seen);
        let serve = async move {
            let mut connections = JoinSet::new();
            for turn in 0usize.. {
                let (socket, _) = listener.accept().await.unwrap();
                let answer = answers[turn.min(answers.len() - 1)].clone();
                let log = Arc::clone(&log);
                connections.spawn(async move { serve(socket, answer, &log).await });
            }
        };
        let mut task = JoinSet::new();
        task.spawn(serve);
        Self { url, seen, _task: task }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

async fn serve(mut socket: TcpStream, answer: Answer, log: &Mutex<Vec<Seen>>) {
    let Some(seen) = read(&mut socket).await else { return };
    log.lock().push(seen);
    let mut head =
        format!("HTTP/1.1 {} X\r\nconnection: close\r\ntransfer-encoding: chunked\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut send = async |bytes: &[u8]| {
        let sent = socket.write_all(bytes).await.is_ok() && socket.flush().await.is_ok();
        // Lets the reader see this chunk alone; the outcome does not depend on it.
        tokio::task::yield_now().await;
        sent
    };
    if !send(head.as_bytes()).await {
        return;
    }
    for chunk in &answer.chunks {
        let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
        if !send(&framed).await {
            return;
        }
    }
    match answer.end {
        End::Clean => {
            send(b"0\r\n\r\n").await;
        }
        End::Disconnect => {}
        End::Silence => tokio::time::sleep(Duration::from_secs(600)).await,
    }
}

async fn read(socket: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let head_end = loop {
        let count = socket.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse::<usize>().ok()?;
    while bytes.len() < head_end + 4 + length {
        let count = socket.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    }
    let body = serde_json::from_slice(&bytes[head_end + 4..]).ok()?;
    Some(Seen { path, headers, body })
}
