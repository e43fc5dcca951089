//! The real binary: killed in the middle, started again on the same file, told to end.

use std::{collections::HashSet, net::SocketAddr, path::Path, process::Stdio};

use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
    time::timeout,
};

use crate::support::{LONG, Reply, send, socket::Client};

const ASK: &str = "라네즈와 아누아 리뷰를 비교해 주세요";

/// The binary with a journal of its own.
struct Process {
    child: Child,
    address: SocketAddr,
    /// Kept open, so that it can go on logging.
    _log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    async fn start(home: &Path, pace_ms: u32) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agent-server"))
            .current_dir(home)
            .env_clear()
            .env("API_HOST", "127.0.0.1")
            .env("API_PORT", "0")
            .env("TREND_PACE_MS", pace_ms.to_string())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = timeout(LONG, async {
            while let Some(line) = log.next_line().await.unwrap() {
                if let Some((_, rest)) = line.split_once("listening on http://") {
                    return rest.split(',').next().unwrap().parse().unwrap();
                }
            }
            panic!("the server ended before it listened");
        });
        let address = address.await.unwrap();
        Self { child, address, _log: log }
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        send(self.address, Method::POST, path, &[], body.to_string()).await
    }

    async fn socket(&self, query: &str) -> Client {
        Client::connect(self.address, "s", query).await.unwrap()
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

fn key(message: &Value) -> Option<(String, String)> {
    let event = &message["data"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    (event["type"] == "step_recorded").then(|| Some((text(&event["task"])?, text(&event["data"]["key"])?)))?
}

#[tokio::test]
async fn a_run_that_loses_its_process_goes_on_by_itself_and_does_nothing_twice() {
    let home = TempDir::new().unwrap();
    let mut got: Vec<Value> = Vec::new();
    let mut server = Process::start(home.path(), 60).await;
    let reply = server.post("/run-async", json!({"message": ASK, "session_id": "s"})).await;
    assert_eq!(reply.status, 200);
    // Killed after the first steps, and again a little later, wherever that is.
    for steps in [1, 2] {
        let last = got.last().map_or(0, |message| message["seq"].as_u64().unwrap());
        let mut socket = server.socket(&format!("?events=all&after={last}")).await;
        let mut seen = 0;
        while seen < steps {
            seen += usize::from(key(&socket.next().await).is_some());
        }
        got.extend(socket.numbered());
        server.kill().await;
        server = Process::start(home.path(), 60).await;
    }
    let last = got.last().unwrap()["seq"].as_u64().unwrap();
    let mut socket = server.socket(&format!("?events=all&after={last}")).await;
    let question = socket.until("hitl_request").await;
    while socket.next().await["data"]["status"] != "paused" {}
    got.extend(socket.numbered());
    // Killed while it waits for a person: the question is still there.
    server.kill().await;
    let server = Process::start(home.path(), 0).await;
    let last = got.last().unwrap()["seq"].as_u64().unwrap();
    let mut socket = server.socket(&format!("?events=all&after={last}")).await;
    socket.ping().await;
    socket.answer(&question).await;
    let done = socket.until("complete").await;
    assert!(done["data"]["response"].as_str().unwrap().contains("아누아"));
    got.extend(socket.numbered());

    let mut whole = server.socket("?events=all").await;
    while whole.last < done["seq"].as_u64().unwrap() {
        whole.next().await;
    }
    assert_eq!(got, whole.numbered(), "nothing missed, nothing twice");
    let steps: Vec<_> = whole.got.iter().filter_map(key).collect();
    assert_eq!(steps.iter().collect::<HashSet<_>>().len(), steps.len(), "{steps:?}");
    assert_eq!(steps.iter().filter(|(_, key)| key == "finding").count(), 2, "{steps:?}");
}

#[tokio::test]
async fn a_server_told_to_end_leaves_its_run_to_the_next() {
    let home = TempDir::new().unwrap();
    let mut server = Process::start(home.path(), 100).await;
    server.post("/run-async", json!({"message": ASK, "session_id": "s"})).await;
    let mut socket = server.socket("?events=all").await;
    while key(&socket.next().await).is_none() {}
    let id = server.child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(id).status().await.unwrap().success());
    let status = timeout(LONG, server.child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    let server = Process::start(home.path(), 0).await;
    let question = server.socket("").await.until("hitl_request").await;
    let answer = json!({"value": question["data"]["options"][0], "id": question["data"]["id"]});
    assert_eq!(server.post("/resume/s", answer).await.status, 200);
    server.socket("").await.until("complete").await;
}

#[tokio::test]
async fn a_wrong_environment_is_told_whole_and_the_server_does_not_start() {
    let home = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_agent-server"))
        .current_dir(home.path())
        .env_clear()
        .envs([("API_PORT", "http"), ("DEBUG", "maybe")])
        .output()
        .await
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(log.contains("API_PORT") && log.contains("DEBUG"), "{log}");
}
