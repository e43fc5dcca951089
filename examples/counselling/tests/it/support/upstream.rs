//! A model server that follows a script, event by event, and notices when its caller hangs up.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

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

/// One thing that the server does.
#[derive(Clone, Debug)]
pub(crate) enum Do {
    /// Says a text, in one event.
    Say(String),
    /// Waits until the test releases it, or its caller hangs up.
    Wait,
    /// Ends the answer with a reason.
    End(&'static str),
    /// Hangs up in the middle.
    Break,
}

/// How the server answers one request.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    Speak(Vec<Do>),
    /// A status and an error message.
    Refuse(u16, &'static str),
}

/// Says pieces and ends.
pub(crate) fn says(pieces: &[&str]) -> Script {
    let pieces = pieces.iter().map(|piece| Do::Say((*piece).to_owned()));
    Script::Speak(pieces.chain([Do::End("stop")]).collect())
}

/// Says pieces, and waits after each.
pub(crate) fn says_slowly(pieces: &[&str]) -> Script {
    let pieces = pieces.iter().flat_map(|piece| [Do::Say((*piece).to_owned()), Do::Wait]);
    Script::Speak(pieces.chain([Do::End("stop")]).collect())
}

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    scripts: Mutex<VecDeque<Script>>,
    /// Bodies of the requests, in order.
    seen: Mutex<Vec<Value>>,
    gate: Semaphore,
    waiting: Notify,
    gone: Notify,
}

impl Upstream {
    /// Answers one request after another by `scripts`. Beyond them it repeats the last one.
    pub(crate) async fn start(scripts: impl IntoIterator<Item = Script>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            scripts: Mutex::new(scripts.into_iter().collect()),
            seen: Mutex::default(),
            gate: Semaphore::new(0),
            waiting: Notify::new(),
            gone: Notify::new(),
        });
        let (served, tasks) = (Arc::clone(&upstream), TaskTracker::new());
        let connections = tasks.clone();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let upstream = Arc::clone(&served);
                connections.spawn(async move {
                    // A caller that hangs up is no fault.
                    upstream.serve(stream).await.ok();
                });
            }
        });
        upstream
    }

    /// Lets a waiting answer continue.
    pub(crate) fn release(&self) {
        self.gate.add_permits(1);
    }

    /// Waits until an answer waits.
    pub(crate) async fn waits(&self) {
        timeout(LONG, self.waiting.notified()).await.expect("an answer waits");
    }

    /// Waits until a caller has hung up on an answer that waits.
    pub(crate) async fn hung_up(&self) {
        timeout(LONG, self.gone.notified()).await.expect("the caller hangs up");
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        self.seen.lock().clone()
    }

    /// Roles and texts of a request's messages, without the system prompt.
    pub(crate) fn messages(&self, request: usize) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let seen = self.seen.lock();
        let messages = seen[request]["messages"].as_array().unwrap().iter();
        let messages = messages.map(|message| (text(&message["role"]), text(&message["content"])));
        messages.filter(|(role, _)| role != "system").collect()
    }

    pub(crate) fn system(&self, request: usize) -> String {
        let seen = self.seen.lock();
        let message = &seen[request]["messages"][0];
        assert_eq!(message["role"], "system");
        message["content"].as_str().unwrap().to_owned()
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let body = read(&mut stream).await?;
        self.seen.lock().push(body);
        let script = {
            let mut scripts = self.scripts.lock();
            if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() }
        };
        match script.expect("a test has a script") {
            Script::Speak(steps) => self.speak(stream, steps).await,
            Script::Refuse(status, message) => {
                let body = json!({"error": {"message": message, "type": "server_error"}}).to_string();
                let head = format!(
                    "HTTP/1.1 {status} No\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all((head + &body).as_bytes()).await
            }
        }
    }

    async fn speak(&self, mut stream: TcpStream, steps: Vec<Do>) -> std::io::Result<()> {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await?;
        for step in steps {
            match step {
                Do::Say(text) => stream.write_all(event(&json!({"content": text}), None).as_bytes()).await?,
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
                Do::End(reason) => {
                    stream.write_all(event(&json!({}), Some(reason)).as_bytes()).await?;
                    stream.write_all(b"data: [DONE]\n\n").await?;
                }
                Do::Break => return Ok(()),
            }
        }
        Ok(())
    }
}

fn event(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "counsellor", "choices": [choice]});
    format!("data: {chunk}\n\n")
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Value> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or_default();
            if bytes.len() >= end + 4 + length {
                return Ok(serde_json::from_slice(&bytes[end + 4..]).unwrap_or_default());
            }
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
