//! Heavy requests: memory has a bound in bytes, and long computations do not delay other callers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use agent_core::{Context, END, Graph, Runtime, START, State};
use agent_server::TaskAgent;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::task::TaskTracker;

use crate::{
    process::Process,
    support::{
        Here,
        agent::{Puppeteer, puppet},
        send,
    },
};

/// The most memory that a process has had, in MiB.
fn peak(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_024
}

/// A body of 1 MiB that is made of small objects.
fn small_objects(closed: bool) -> String {
    let mut body = String::from(r#"{"message":"x","context":{"list":["#);
    while body.len() < 1024 * 1024 - 64 {
        body.push_str(r#"{"a":1},"#);
    }
    body.push_str("0]}");
    if closed {
        body.push('}');
    }
    body
}

#[tokio::test]
async fn bodies_of_small_objects_share_a_budget_of_memory() {
    let home = TempDir::new().unwrap();
    let server = Process::start(home.path(), 0).await;
    let before = peak(&server);
    let (body, address) = (small_objects(true), server.address);
    let requests = (0..24).map(|_| send(address, Method::POST, "/run", &[], body.clone()));
    for reply in futures::future::join_all(requests).await {
        let (status, code) = reply.refusal();
        assert!(
            matches!((status, code), (413, "body_too_large") | (503, "overloaded") | (200, _)),
            "{reply:?}"
        );
        assert!(status != 503 || reply.headers.contains_key("retry-after"), "{reply:?}");
    }
    let grown = peak(&server) - before;
    assert!(grown < 400, "24 bodies of 1 MiB took {grown} MiB");
    let small = json!({"message": "Analyse Anua for buyers"}).to_string();
    assert_eq!(
        send(address, Method::POST, "/run", &[], small).await.status,
        200,
        "the next caller is served"
    );
}

#[tokio::test]
async fn unfinished_messages_of_many_sockets_share_a_budget_of_memory() {
    const SOCKETS: usize = 400;
    let home = TempDir::new().unwrap();
    let server = Process::start(home.path(), 0).await;
    let before = peak(&server);
    let mut open = Vec::new();
    for number in 0..SOCKETS {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let upgrade = format!(
            "GET /ws/s{number} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(upgrade.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 101");
        // A frame of 1,000,000 bytes, without its last bytes.
        let mut frame = vec![0x81, 0xff];
        frame.extend_from_slice(&1_000_000_u64.to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.resize(frame.len() + 999_000, b'x');
        // The server may close the connection while this is written.
        socket.write_all(&frame).await.ok();
        open.push(socket);
    }
    // All that arrived before this was read: the server works in order of arrival on few threads.
    assert_eq!(send(server.address, Method::GET, "/health", &[], "").await.status, 200);
    let grown = peak(&server) - before;
    assert!(grown < 160, "{SOCKETS} sockets took {grown} MiB");
    let mut live = server.socket("").await;
    live.ping().await;
}

#[derive(State, Default, Serialize, Deserialize)]
struct Large {
    numbers: Vec<u64>,
}

struct Counting;

impl TaskAgent for Counting {
    fn graph(&self) -> &str {
        "large"
    }

    fn input(&self, message: String, _: Map<String, Value>) -> Value {
        let step = message.parse::<u64>().unwrap();
        let numbers: Vec<u64> = (0..200_000).map(|number| number * step).collect();
        json!({"numbers": numbers})
    }

    fn response(&self, _: &Value) -> String {
        String::new()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_difference_of_two_large_states_is_bounded_and_keeps_nobody_waiting() {
    let graph = Graph::<Large>::builder("large")
        .node("pass", async |_: &Large, _: &Context| Ok(Large::update()))
        .edge(START, "pass")
        .edge("pass", END)
        .build()
        .unwrap();
    let here = Arc::new(Here::of(Runtime::builder().graph(&graph), Counting, |_| {}).await);
    let mut ends = Vec::new();
    for step in ["1", "2"] {
        let done = here.post("/run", json!({"message": step, "session_id": "s"})).await;
        assert_eq!(done.status, 200, "{}", &done.text[..done.text.len().min(300)]);
        ends.push(done.body["data"]["last_seq"].as_u64().unwrap());
    }
    let path = format!("/sessions/s/diff?from={}&to={}", ends[0], ends[1]);
    let tasks = TaskTracker::new();
    let diffs: Vec<_> = (0..4)
        .map(|_| {
            let (here, path) = (Arc::clone(&here), path.clone());
            tasks.spawn(async move { here.get(&path).await })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while diffs.iter().any(|diff| !diff.is_finished()) {
        let asked = Instant::now();
        assert_eq!(here.get("/health").await.status, 200);
        slowest = slowest.max(asked.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for diff in diffs {
        let reply = diff.await.unwrap();
        assert_eq!(reply.status, 200, "{}", &reply.text[..reply.text.len().min(300)]);
        assert_eq!(reply.body["cut"], true, "a difference of 200,000 changes is cut, and says so");
        let changes = reply.body["changes"].as_array().unwrap();
        assert_eq!(changes[0], json!({"op": "replace", "path": "/numbers/1", "from": 1, "to": 2}));
        assert!(changes.len() <= 10_000, "{}", changes.len());
    }
    assert!(slowest < Duration::from_secs(3), "another caller waited {slowest:?}");
}

#[tokio::test]
async fn a_difference_within_its_bounds_is_whole() {
    let here = Here::of(puppet().0, Puppeteer, |_| {}).await;
    let mut ends = Vec::new();
    for message in ["one", "two"] {
        let done = here.post("/run", json!({"message": message, "session_id": "s"})).await;
        ends.push(done.body["data"]["last_seq"].as_u64().unwrap());
    }
    let diff = here.get(&format!("/sessions/s/diff?from={}&to={}", ends[0], ends[1])).await.body;
    assert_eq!(diff["cut"], Value::Null, "{diff}");
    assert_eq!(diff["changes"].as_array().unwrap().len(), 2, "{diff}");
}
