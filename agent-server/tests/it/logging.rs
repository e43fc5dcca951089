//! The log: it has the fields that operators search for, and a log that cannot be written does not end the server.

use std::{fs::File, net::SocketAddr, process::Stdio};

use hyper::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    process::Process,
    support::{LONG, send},
};

/// Starts the server with its output discarded, and waits until it accepts connections.
async fn start(home: &TempDir, format: &str, output: impl Fn() -> Stdio) -> (Child, SocketAddr) {
    // Any free port: it is free again once the listener is gone.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_agent-server"))
        .arg("serve")
        .current_dir(home.path())
        .env_clear()
        .env("API_HOST", "127.0.0.1")
        .env("API_PORT", address.port().to_string())
        .env("LOG_LEVEL", "debug")
        .env("LOG_FORMAT", format)
        .env("ACCESS_LOG", "true")
        .stdout(output())
        .stderr(output())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the server ended before it listened");
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, listening).await.unwrap();
    (child, address)
}

#[tokio::test]
async fn a_full_disk_under_the_log_ends_neither_the_start_nor_a_request_nor_a_run() {
    for format in ["text", "json"] {
        let home = TempDir::new().unwrap();
        let full = || File::options().write(true).open("/dev/full").unwrap().into();
        let (mut child, address) = start(&home, format, full).await;
        let body = json!({"message": "Analyse Anua for buyers"}).to_string();
        let reply = send(address, Method::POST, "/run", &[], body).await;
        assert_eq!(reply.body["status"], "completed", "{format}: {reply:?}");
        assert_eq!(send(address, Method::GET, "/status/nobody", &[], "").await.status, 404);
        assert!(child.try_wait().unwrap().is_none(), "{format}: the server lives");
    }
}

#[tokio::test]
async fn a_log_whose_reader_has_gone_ends_neither_a_request_nor_a_run() {
    let home = TempDir::new().unwrap();
    let settings = [("ACCESS_LOG", "true"), ("LOG_LEVEL", "debug")];
    let server = Process::start_with(home.path(), 0, &settings).await.without_log();
    for _ in 0..3 {
        let reply = server.post("/run", json!({"message": "Analyse Anua for buyers"})).await;
        assert_eq!(reply.body["status"], "completed", "{reply:?}");
    }
}

#[tokio::test]
async fn the_start_and_the_failure_of_a_run_are_logged_in_the_words_of_the_contract() {
    let home = TempDir::new().unwrap();
    // Nothing listens there.
    let url = format!("http://{}/v1", TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap());
    let mut server = Process::start_with(home.path(), 0, &[("OPENAI_BASE_URL", &url)]).await;
    let reply = server.post("/run", json!({"message": "Analyse Anua for buyers"})).await;
    assert_eq!(reply.status, 500, "{reply:?}");
    assert!(
        reply.body["message"].as_str().unwrap().contains("OPENAI_BASE_URL"),
        "it names the setting: {reply:?}"
    );
    let started = server.logged("[Agent]").await;
    assert!(started.contains(" INFO ") && started.contains("[Agent] Starting execution..."), "{started}");
    let failed = server.logged("[Agent]").await;
    assert!(
        failed.contains(" INFO ") && failed.contains("[Agent] Execution failed: node `plan` failed"),
        "{failed}"
    );
}

#[tokio::test]
async fn a_model_endpoint_that_is_this_server_is_refused_by_name() {
    let home = TempDir::new().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let settings = [("API_PORT", port.to_string()), ("VLLM_BASE_URL", format!("http://localhost:{port}"))];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let server = Process::start_with(home.path(), 0, &settings).await;
    for (path, body) in [
        ("/api/v1/chat", json!({"content": "hi"})),
        ("/api/v1/chat/stream", json!({"content": "hi"})),
        ("/api/chat/stream", json!({"message": "hi"})),
    ] {
        let reply = server.post(path, body).await;
        assert_eq!(reply.refusal(), (502, "model_endpoint_is_this_server"), "{reply:?}");
        let message = reply.body["message"].as_str().unwrap();
        assert!(message.contains("VLLM_BASE_URL") && message.contains("API_PORT"), "{message}");
    }
}
