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

use crate::{
    limits::over_tls,
    support::{
        LONG, Reply, send,
        socket::Client,
        upstream::{Fake, Script, says},
    },
    webhook::{self, Receiver},
};

pub(crate) const ASK: &str = "라네즈와 아누아 리뷰를 비교해 주세요";

/// The binary with a journal of its own.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Kept open, so that it can go on logging.
    log: Lines<BufReader<ChildStderr>>,
}

impl Process {
    pub(crate) async fn start(home: &Path, pace_ms: u32) -> Self {
        Self::start_with(home, pace_ms, &[]).await
    }

    pub(crate) async fn start_with(home: &Path, pace_ms: u32, settings: &[(&str, &str)]) -> Self {
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
                if let Some((_, rest)) = line.split_once("listening on http") {
                    let rest = rest.trim_start_matches('s').trim_start_matches("://");
                    return rest.split(',').next().unwrap().parse().unwrap();
                }
            }
            panic!("the server ended before it listened");
        });
        let address = address.await.unwrap();
        Self { child, address, log }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        send(self.address, Method::POST, path, &[], body.to_string()).await
    }

    pub(crate) async fn socket(&self, query: &str) -> Client {
        Client::connect(self.address, "s", query).await.unwrap()
    }

    /// The number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Reads its log up to the next line with a text.
    pub(crate) async fn logged(&mut self, text: &str) -> String {
        let reading = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                if line.contains(text) {
                    return line;
                }
            }
            panic!("the log ended without {text}");
        };
        timeout(LONG, reading).await.unwrap()
    }

    /// Closes the reading end of its log.
    pub(crate) fn without_log(self) -> Quiet {
        Quiet { child: self.child, address: self.address }
    }

    /// A post to a process that may be killed.
    pub(crate) async fn try_post(&self, path: &str, body: Value) -> Option<Reply> {
        tokio::net::TcpStream::connect(self.address).await.ok()?;
        Some(self.post(path, body).await)
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        timeout(LONG, self.child.wait()).await.unwrap().unwrap()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A process whose log has no reader.
pub(crate) struct Quiet {
    child: Child,
    address: SocketAddr,
}

impl Quiet {
    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        assert!(self.child.id().is_some(), "it lives");
        send(self.address, Method::POST, path, &[], body.to_string()).await
    }
}

pub(crate) fn key(message: &Value) -> Option<(String, String)> {
    let event = &message["data"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    (event["type"] == "step_recorded").then(|| Some((text(&event["task"])?, text(&event["data"]["key"])?)))?
}

#[tokio::test]
async fn a_model_that_fails_once_is_asked_again_by_the_task_agent_too() {
    let home = TempDir::new().unwrap();
    let plan = r#"{"request": {"brands": ["laneige"], "audience": "buyers"},
        "steps": [{"id": "collect-laneige", "title": "모으기"}, {"id": "report", "title": "보고서"}]}"#;
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
    // The question was answered meanwhile, so it is not shown as an open one.
    let (asked, mut all) = (question["seq"].as_u64(), whole.numbered());
    got.retain(|message| message["seq"].as_u64() != asked);
    all.retain(|message| message["seq"].as_u64() != asked);
    assert_eq!(got, all, "nothing missed, nothing twice");
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
    let (reported, mut accepted) = tokio::sync::mpsc::channel(RUNS);
    let callers = tokio_util::task::TaskTracker::new();
    for caller in 0..6 {
        let reported = reported.clone();
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
                    reported.send(session).await.unwrap();
                }
            }
        });
    }
    drop(reported);
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
    let ask =
        async |headers: &[(&str, &str)]| send(server.address, Method::GET, "/sessions", headers, "").await;
    assert_eq!(ask(&[]).await.refusal(), (401, "unauthorized"));
    for _ in 0..3 {
        assert_eq!(ask(&[("authorization", &header)]).await.status, 200);
    }
    let refused = ask(&[("authorization", &header)]).await;
    assert_eq!(refused.refusal(), (429, "rate_limited"));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=21).contains(&wait), "a third of a minute: {wait}");
    server.child.start_kill().unwrap();
    while let Some(line) = timeout(LONG, server.log.next_line()).await.unwrap().unwrap() {
        assert!(!line.contains(KEY), "{line}");
    }
}

#[tokio::test]
async fn an_admin_of_the_settings_sees_what_was_begun_before_there_were_keys() {
    const KEYS: &str = "alice:alice-has-a-key-of-her-own,root:the-key-of-the-operator";
    let home = TempDir::new().unwrap();
    let server = Process::start(home.path(), 0).await;
    let body = json!({"message": "Analyse Anua for buyers", "session_id": "old"});
    assert_eq!(server.post("/run", body).await.body["status"], "completed");
    server.kill().await;
    let settings = [("API_KEYS", KEYS), ("API_ADMINS", "key:root")];
    let server = Process::start_with(home.path(), 0, &settings).await;
    for (key, status) in [("alice-has-a-key-of-her-own", 404), ("the-key-of-the-operator", 200)] {
        let header = format!("Bearer {key}");
        let path = "/sessions/old";
        let reply = send(server.address, Method::GET, path, &[("authorization", &header)], "").await;
        assert_eq!(reply.status.as_u16(), status);
    }
}

#[tokio::test]
async fn the_access_log_names_the_caller_behind_a_trusted_proxy_and_not_what_was_said() {
    let home = TempDir::new().unwrap();
    let settings = [("ACCESS_LOG", "true"), ("TRUSTED_PROXIES", "127.0.0.1"), ("AUTH", "off")];
    let mut server = Process::start_with(home.path(), 0, &settings).await;
    let behind = [("x-forwarded-for", "8.8.8.8, 203.0.113.7"), ("forwarded", "for=198.51.100.9")];
    let path = "/status/private-name?private=words";
    assert_eq!(send(server.address, Method::GET, path, &behind, "").await.status, 404);
    let mut found = false;
    while !found {
        let line = timeout(LONG, server.log.next_line()).await.unwrap().unwrap().unwrap();
        assert!(!line.contains("private") && !line.contains("8.8.8.8") && !line.contains("198.51"), "{line}");
        found = line.contains("peer=203.0.113.7") && line.contains("status=404");
    }
}

#[tokio::test]
async fn a_certificate_in_the_settings_makes_it_https_and_nothing_else() {
    const CERTIFICATE: &str = include_str!("../fixtures/tls.first.cert.pem");
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join("cert.pem"), CERTIFICATE).unwrap();
    std::fs::write(home.path().join("key.pem"), include_str!("../fixtures/tls.first.key.pem")).unwrap();
    let settings = [("TLS_CERT_FILE", "cert.pem"), ("TLS_KEY_FILE", "key.pem"), ("HEAD_SECONDS", "1")];
    let server = Process::start_with(home.path(), 0, &settings).await;
    let answer = over_tls(server.address, CERTIFICATE).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("healthy"), "{answer}");
    let mut plain = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut plain, head).await.unwrap();
    let mut received = Vec::new();
    // Hung up on, kindly or not.
    timeout(LONG, tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut received)).await.unwrap().ok();
    assert!(!received.starts_with(b"HTTP"), "{received:?}");
}

/// The deliveries that the server still has.
async fn deliveries(server: &Process) -> usize {
    let list = send(server.address, Method::GET, "/sessions?agent=webhook", &[], "").await.body;
    list["sessions"].as_array().unwrap().len()
}

/// Waits until the server has no delivery any more.
async fn all_told(server: &Process) {
    let look = async {
        while deliveries(server).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, look).await.unwrap();
}

/// Begins a run to its end, with a webhook.
async fn run_and_tell(server: &Process, url: &str) {
    let body = json!({"message": "Analyse Anua for buyers", "session_id": "s", "webhook": {"url": url}});
    assert_eq!(server.post("/run", body).await.body["status"], "completed");
}

const TELLS: [(&str, &str); 3] =
    [("WEBHOOK_SECRET", webhook::SECRET), ("WEBHOOK_HOSTS", "127.0.0.1"), ("SWEEP_SECONDS", "0.2")];

#[tokio::test]
async fn a_webhook_that_was_sent_and_not_acknowledged_is_sent_again_by_the_next_process_under_the_same_id() {
    let home = TempDir::new().unwrap();
    let mut receiver = Receiver::start().await;
    receiver.status.store(0, std::sync::atomic::Ordering::SeqCst);
    let server = Process::start_with(home.path(), 0, &TELLS).await;
    run_and_tell(&server, &receiver.url()).await;
    let (first, reported) = receiver.reported().await;
    assert_eq!(reported["type"], "run.completed");
    server.kill().await;
    receiver.status.store(204, std::sync::atomic::Ordering::SeqCst);
    let server = Process::start_with(home.path(), 0, &TELLS).await;
    let (second, again) = receiver.reported().await;
    assert_eq!(
        (&first, &reported["data"]),
        (&second, &again["data"]),
        "the receiver knows it again by its id"
    );
    all_told(&server).await;
    assert!(receiver.nothing_more());
}

#[tokio::test]
async fn a_webhook_that_could_not_be_sent_before_the_process_died_is_sent_once_by_the_next() {
    let home = TempDir::new().unwrap();
    // A port where nobody listens yet.
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = Process::start_with(home.path(), 0, &TELLS).await;
    run_and_tell(&server, &format!("http://{address}/told?by=agents")).await;
    // Wherever it is between the end of the run and the end of its tries.
    server.kill().await;
    let mut receiver = Receiver::at(address).await;
    let server = Process::start_with(home.path(), 0, &TELLS).await;
    let (_, reported) = receiver.reported().await;
    assert_eq!((&reported["type"], &reported["data"]["session_id"]), (&json!("run.completed"), &json!("s")));
    all_told(&server).await;
    // What was told is not told again, by the one after it either.
    server.kill().await;
    let server = Process::start_with(home.path(), 0, &TELLS).await;
    assert_eq!(deliveries(&server).await, 0);
    assert!(receiver.nothing_more());
}
