//! Runs examples as processes, and an endpoint of OpenAI's protocol that a test plays.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use serde_json::{Value, json};

/// Longest time that a test waits for a process.
const PATIENCE: Duration = Duration::from_secs(60);

/// The built example.
fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    let built = path.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(built.exists(), "build it: cargo build --examples");
    path
}

/// An example in a folder of its own, without a model unless one is set.
pub(crate) fn example(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(program(name));
    command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for variable in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"] {
        command.env_remove(variable);
    }
    command
}

/// Gives a process its input, waits for its end, and gives what it printed.
pub(crate) fn finish(mut child: Child, input: &str) -> String {
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

/// `kill -9`.
pub(crate) fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// What the endpoint answers.
pub(crate) enum Reply {
    Text(&'static str),
    /// Tool calls with their arguments.
    Calls(Vec<(&'static str, Value)>),
    /// Nothing: the call is under way when the process is killed.
    Hang,
}

/// A model behind OpenAI's protocol.
pub(crate) struct Endpoint {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Value>>>,
    hanging: mpsc::Receiver<()>,
}

impl Endpoint {
    /// Starts it. The rule gets the number of the call, counted from 0, and its messages.
    pub(crate) fn start(rule: impl Fn(usize, &[Value]) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (hangs, hanging) = mpsc::channel();
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some((path, body)) = read(&mut stream) else { continue };
                if path.ends_with("/embeddings") {
                    seen.lock().unwrap().push(body.clone());
                    write(&mut stream, "application/json", &embeddings(&body));
                    continue;
                }
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(body.clone());
                    seen.iter().filter(|request| request["messages"].is_array()).count() - 1
                };
                match rule(number, body["messages"].as_array().unwrap()) {
                    Reply::Hang => {
                        open.push(stream);
                        hangs.send(()).unwrap();
                    }
                    reply => write(&mut stream, "text/event-stream", &events(&reply, number)),
                }
            }
        });
        Self { url, requests, hanging }
    }

    /// Waits until a call hangs.
    pub(crate) fn wait_hanging(&self) {
        self.hanging.recv_timeout(PATIENCE).expect("no call hangs");
    }

    /// The calls of the model so far: the text of the last message of each.
    pub(crate) fn calls(&self) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        let chats = requests.iter().filter_map(|request| request["messages"].as_array());
        chats.map(|messages| text(messages.last().unwrap())).collect()
    }

    /// Number of texts that were embedded.
    pub(crate) fn embedded(&self) -> usize {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter_map(|request| request["input"].as_array()).map(Vec::len).sum()
    }
}

/// The text of a message.
pub(crate) fn text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        parts => parts[0]["text"].as_str().unwrap_or_default().to_owned(),
    }
}

fn read(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first.split(' ').nth(1)?.to_owned(), serde_json::from_slice(&body).ok()?))
}

fn write(stream: &mut TcpStream, kind: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // A process that was killed does not read it.
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok();
}

fn events(reply: &Reply, number: usize) -> String {
    let delta = match reply {
        Reply::Text(text) => json!({ "role": "assistant", "content": text }),
        Reply::Calls(calls) => {
            let calls = calls.iter().enumerate().map(|(index, (name, arguments))| {
                json!({ "index": index, "id": format!("call_{number}_{index}"), "type": "function",
                    "function": { "name": name, "arguments": arguments.to_string() } })
            });
            json!({ "role": "assistant", "tool_calls": calls.collect::<Vec<_>>() })
        }
        Reply::Hang => unreachable!("it has no events"),
    };
    let reason = if matches!(reply, Reply::Calls(_)) { "tool_calls" } else { "stop" };
    let chunk = |delta: Value, reason: Value| {
        json!({ "id": "c", "object": "chat.completion.chunk", "created": 0, "model": "played",
            "choices": [{ "index": 0, "delta": delta, "finish_reason": reason }] })
    };
    format!(
        "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
        chunk(delta, Value::Null),
        chunk(json!({}), json!(reason))
    )
}

fn embeddings(body: &Value) -> String {
    let data = body["input"].as_array().unwrap().iter().enumerate().map(|(index, text)| {
        let text = text.as_str().unwrap();
        let has = |word: &str| f64::from(u8::from(text.to_lowercase().contains(word)));
        json!({ "object": "embedding", "index": index, "embedding": [has("refund"), has("shipping"), 0.1] })
    });
    json!({ "object": "list", "model": "played", "data": data.collect::<Vec<_>>(),
        "usage": { "prompt_tokens": 1, "total_tokens": 1 } })
    .to_string()
}
