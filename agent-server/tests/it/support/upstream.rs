//! A model's endpoint that follows a script, byte by byte, and notices when its caller hangs up.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use agent_core::model::{Model, openai::OpenAi};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    time::timeout,
};
use tokio_util::task::TaskTracker;

use super::LONG;

/// One thing that the endpoint does.
#[derive(Clone)]
pub(crate) enum Do {
    /// Says a text, in one event.
    Say(&'static str),
    /// Says a text, each byte of the event in a write of its own.
    Drip(&'static str),
    /// Sends a choice of a chunk, as JSON.
    Choice(&'static str),
    /// Calls a tool: id, name, arguments.
    Call(&'static str, &'static str, &'static str),
    /// Waits until the test lets it go on, or its caller is gone.
    Wait,
    /// Tells what was used: input, output.
    Used(u64, u64),
    /// Ends the answer with a reason.
    End(&'static str),
    /// Hangs up in the middle.
    Break,
    /// Reports a failure of its own in the middle.
    Fail,
    /// Says so many bytes at once, as fast as its caller takes them.
    Flood(usize),
}

/// How the endpoint answers one request.
#[derive(Clone)]
pub(crate) enum Script {
    Speak(Vec<Do>),
    /// A status and a text.
    Refuse(u16, &'static str),
    /// 429, and how many milliseconds to wait.
    Busy(u32),
}

/// Says one text and ends.
pub(crate) fn says(text: &'static str) -> Script {
    Script::Speak(vec![Do::Say(text), Do::Used(7, 3), Do::End("stop")])
}

/// Calls one tool.
pub(crate) fn calls(name: &'static str, arguments: &'static str) -> Script {
    Script::Speak(vec![Do::Call("call_1", name, arguments), Do::Used(5, 2), Do::End("tool_calls")])
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    scripts: Mutex<VecDeque<Script>>,
    /// Bodies of the requests, in order.
    pub(crate) seen: Mutex<Vec<Value>>,
    /// Lets waiting answers go on, one a permit.
    pub(crate) gate: Semaphore,
    /// Told when an answer waits.
    pub(crate) waiting: Notify,
    /// Told when a caller hangs up on an answer that waits.
    pub(crate) gone: Notify,
    /// Told when a flood can go no further, with how far it came.
    pub(crate) stalled: Notify,
    pub(crate) flooded: Mutex<usize>,
}

impl Fake {
    /// Answers one request after another by `scripts`; beyond them 500.
    pub(crate) async fn start(scripts: impl IntoIterator<Item = Script>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            scripts: Mutex::new(scripts.into_iter().collect()),
            seen: Mutex::default(),
            gate: Semaphore::new(0),
            waiting: Notify::new(),
            gone: Notify::new(),
            stalled: Notify::new(),
            flooded: Mutex::new(0),
        });
        let (served, tasks) = (Arc::clone(&fake), TaskTracker::new());
        let inner = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fake = Arc::clone(&served);
                inner.spawn(async move {
                    // A caller that hangs up is no fault.
                    fake.serve(stream).await.ok();
                });
            }
        });
        fake
    }

    /// The endpoint as a model that is asked once.
    pub(crate) fn model(&self) -> Model {
        let url = format!("http://{}/v1", self.address);
        Model::new(OpenAi::builder().base_url(url).model("fake").build().unwrap())
    }

    /// Waits until a caller has hung up.
    pub(crate) async fn hung_up(&self) {
        timeout(LONG, self.gone.notified()).await.expect("the caller hangs up");
    }

    /// Waits until an answer waits.
    pub(crate) async fn waits(&self) {
        timeout(LONG, self.waiting.notified()).await.expect("an answer begins");
    }

    /// The texts of a request's messages, with their roles.
    pub(crate) fn received(&self, request: usize) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let seen = self.seen.lock();
        let messages = seen[request]["messages"].as_array().unwrap();
        messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let body = read(&mut stream).await?;
        self.seen.lock().push(body);
        let script = self.scripts.lock().pop_front();
        let (status, reported, wait) = match script.unwrap_or(Script::Refuse(500, "no script is left")) {
            Script::Speak(steps) => return self.speak(stream, steps).await,
            Script::Refuse(status, reported) => (status, reported, String::new()),
            Script::Busy(ms) => (429, "later", format!("retry-after-ms: {ms}\r\n")),
        };
        let body = json!({"error": {"message": reported, "type": "server_error"}}).to_string();
        let head = format!(
            "HTTP/1.1 {status} No\r\ncontent-type: application/json\r\n{wait}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await
    }

    async fn speak(&self, mut stream: TcpStream, steps: Vec<Do>) -> std::io::Result<()> {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        let mut calls = 0;
        for step in steps {
            match step {
                Do::Say(text) => stream.write_all(said(text).as_bytes()).await?,
                Do::Choice(choice) => {
                    let choice: Value = serde_json::from_str(choice).unwrap();
                    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "model": "fake", "choices": [choice]});
                    stream.write_all(format!("data: {chunk}\n\n").as_bytes()).await?;
                }
                Do::Drip(text) => {
                    for byte in said(text).bytes() {
                        stream.write_all(&[byte]).await?;
                        tokio::task::yield_now().await;
                    }
                }
                Do::Call(id, name, arguments) => {
                    let begin = json!({"index": calls, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
                    let rest = json!({"index": calls, "function": {"arguments": arguments}});
                    calls += 1;
                    for call in [begin, rest] {
                        let event = event(&json!({"tool_calls": [call]}), None);
                        stream.write_all(event.as_bytes()).await?;
                    }
                }
                Do::Wait => {
                    self.waiting.notify_one();
                    let mut byte = [0];
                    tokio::select! {
                        permit = self.gate.acquire() => permit.unwrap().forget(),
                        _ = stream.read(&mut byte) => {
                            self.gone.notify_one();
                            return Ok(());
                        }
                    }
                }
                Do::Used(input, output) => {
                    let usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
                    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake", "choices": [], "usage": usage});
                    stream.write_all(format!("data: {chunk}\n\n").as_bytes()).await?;
                }
                Do::End(reason) => {
                    stream.write_all(event(&json!({}), Some(reason)).as_bytes()).await?;
                    stream.write_all(b"data: [DONE]\n\n").await?;
                }
                Do::Break => return Ok(()),
                Do::Fail => {
                    stream
                        .write_all(b"data: {\"error\":{\"message\":\"sk-secret\",\"code\":503}}\n\n")
                        .await?
                }
                Do::Flood(bytes) => {
                    let event = said(Box::leak("물".repeat(10_000).into_boxed_str()));
                    for _ in 0..bytes / event.len() {
                        if timeout(Duration::from_secs(1), stream.write_all(event.as_bytes())).await.is_err()
                        {
                            break;
                        }
                        *self.flooded.lock() += event.len();
                    }
                    self.stalled.notify_one();
                }
            }
        }
        stream.shutdown().await
    }
}

fn said(text: &str) -> String {
    event(&json!({"content": text}), None)
}

fn event(delta: &Value, end: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": end});
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake", "choices": [choice]});
    format!("data: {chunk}\n\n")
}

/// The body of a request.
async fn read(stream: &mut TcpStream) -> std::io::Result<Value> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
    let length: usize = length.trim().parse().unwrap();
    while read.len() < head + length {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(serde_json::from_slice(&read[head..]).unwrap())
}
