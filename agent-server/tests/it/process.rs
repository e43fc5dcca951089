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

use crate::support::{
    LONG, Reply, send,
    socket::Client,
    upstream::{Fake, Script, says},
};

const ASK: &str = "라네즈와 아누아 리뷰를 비교해 주세요";

/// The binary with a journal of its own.
struct Process {
    child: Child,
    address: SocketAddr,
    /// Kept open, so that it can go on logging.
    log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    async fn start(home: &Path, pace_ms: u32) -> Self {
        Self::start_with(home, pace_ms, &[]).await
    }

    async fn start_with(home: &Path, pace_ms: u32, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_agent-server"))
            .current_dir(home)
            .env_clear()
            .env("API_HOST", "127.0.0.1")
            .env("API_PORT", "0")
            .env("TREND_PACE_MS", pace_ms.to_string())
            .envs(settings.iter().copied())
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
        Self { child, address, log }
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
async fn a_model_that_fails_once_is_asked_again_by_the_task_agent_too() {
    let home = TempDir::new().unwrap();
    let plan = r#"[{"id": "collect-laneige", "title": "모으기"}, {"id": "report", "title": "보고서"}]"#;
    let upstream =
        Fake::start([Script::Refuse(503, "busy"), says(plan), Script::Refuse(503, "busy"), says("# 보고서")]);
    let upstream = upstream.await;
    let url = format!("http://{}/v1", upstream.address);
    let server = Process::start_with(home.path(), 0, &[("OPENAI_BASE_URL", &url)]).await;
    let reply = server.post("/run", json!({"message": "라네즈 리뷰를 소비자용으로 분석해 줘"})).await;
    assert_eq!(reply.body["status"], "completed", "{reply:?}");
    assert_eq!(upstream.seen.lock().len(), 4);
}

#[tokio::test]
async fn the_status_never_lags_behind_what_a_subscriber_was_told() {
    let home = TempDir::new().unwrap();
    let server = Process::start(home.path(), 0).await;
    let status = async |id: &str| {
        let reply = send(server.address, Method::GET, &format!("/status/{id}"), &[], "").await;
        reply.body["status"].clone()
    };
    let one = async |number: usize| {
        let id = format!("s{number}");
        let mut socket = Client::connect(server.address, &id, "").await.unwrap();
        for _ in 0..40 {
            let run =
                server.post("/run-async", json!({"message": "라네즈 리뷰 분석", "session_id": id})).await;
            assert_eq!(run.status, 200, "a session that said it is done takes the next run: {run:?}");
            let question = socket.until("hitl_request").await;
            assert_eq!(status(&id).await, "paused");
            socket.answer(&question).await;
            socket.until("complete").await;
            assert_eq!(status(&id).await, "completed");
        }
    };
    futures::future::join_all((0..6).map(one)).await;
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

#[tokio::test]
async fn a_server_told_to_end_under_load_loses_nothing_that_it_accepted() {
    const RUNS: usize = 60;
    let home = TempDir::new().unwrap();
    let mut server = Process::start(home.path(), 20).await;
    let address = server.address;
    let (told, mut accepted) = tokio::sync::mpsc::channel(RUNS);
    let callers = tokio_util::task::TaskTracker::new();
    for caller in 0..6 {
        let told = told.clone();
        callers.spawn(async move {
            for run in 0..RUNS / 6 {
                let session = format!("s-{caller}-{run}");
                let body = json!({"message": ASK, "session_id": session}).to_string();
                let request = format!(
                    "POST /run-async HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return };
                let mut answer = String::new();
                let exchange = async {
                    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await?;
                    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await
                };
                if exchange.await.is_ok() && answer.starts_with("HTTP/1.1 200") {
                    told.send(session).await.unwrap();
                }
            }
        });
    }
    drop(told);
    let mut sessions = Vec::new();
    while let Some(session) = timeout(LONG, accepted.recv()).await.unwrap() {
        sessions.push(session);
        if sessions.len() == RUNS / 3 {
            // In the middle of it all.
            let id = server.child.id().unwrap().to_string();
            assert!(Command::new("kill").arg(id).status().await.unwrap().success());
        }
    }
    let status = timeout(LONG, server.child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    assert!(sessions.len() >= RUNS / 3, "{}", sessions.len());

    let server = Process::start(home.path(), 0).await;
    for session in &sessions {
        // Each comes to its question, with every step done once.
        let mut socket = Client::connect(server.address, session, "?events=all").await.unwrap();
        let question = socket.until("hitl_request").await;
        let answer = json!({"value": question["data"]["options"][0], "id": question["data"]["id"]});
        let answered = server.post(&format!("/resume/{session}"), answer).await;
        assert_eq!(answered.body["data"]["run"], 1, "{session} ran once: {answered:?}");
        socket.until("complete").await;
        let steps: Vec<_> = socket.got.iter().filter_map(key).collect();
        assert_eq!(steps.iter().collect::<HashSet<_>>().len(), steps.len(), "{session}: {steps:?}");
    }
}

#[tokio::test]
async fn keys_in_the_environment_guard_the_server_and_its_log_does_not_hold_them() {
    const KEY: &str = "a-key-that-nobody-guesses";
    let home = TempDir::new().unwrap();
    let keys = format!("alice:{KEY}");
    let settings = [("API_KEYS", &*keys), ("RATE_LIMIT_PER_MINUTE", "3"), ("LOG_LEVEL", "trace")];
    let mut server = Process::start_with(home.path(), 0, &settings).await;
    let header = format!("Bearer {KEY}");
    let ask = async |headers: &[(&str, &str)]| {
        send(server.address, Method::GET, "/sessions", headers, "").await.status.as_u16()
    };
    assert_eq!(ask(&[]).await, 401);
    for _ in 0..3 {
        assert_eq!(ask(&[("authorization", &header)]).await, 200);
    }
    assert_eq!(ask(&[("authorization", &header)]).await, 429);
    server.child.start_kill().unwrap();
    while let Some(line) = timeout(LONG, server.log.next_line()).await.unwrap().unwrap() {
        assert!(!line.contains(KEY), "{line}");
    }
}
