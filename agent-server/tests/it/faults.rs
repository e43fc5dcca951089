//! Invalid input, slow peers, failing handlers: a clear refusal with a stable code, and nothing changed.

use std::time::Duration;

use agent_server::{ServerOptions, custom_routes::Body};
use hyper::{Method, Response};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    Here, LONG,
    agent::{Puppeteer, puppet},
};

async fn puppets(set: impl FnOnce(&mut ServerOptions)) -> Here {
    Here::of(puppet().0, Puppeteer, set).await
}

/// Sends bytes and reads until the server closes.
async fn raw(here: &Here, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(here.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    timeout(LONG, stream.read_to_end(&mut text)).await.unwrap().unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn every_bad_body_has_its_code_and_starts_nothing() {
    let here = puppets(|_| {}).await;
    let long = json!({"message": "가".repeat(11_000)}).to_string();
    let deep = format!(r#"{{"message":"x","context":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    let large = json!({"message": "x".repeat(1024 * 1024)}).to_string();
    let cases: [(&[u8], u16, &str); 19] = [
        (b"", 400, "invalid_json"),
        (b"{\"message\":", 400, "invalid_json"),
        (b"{\"message\":\"\xff\xfe\"}", 400, "invalid_json"),
        (b"[1]", 400, "invalid_request"),
        (b"null", 400, "invalid_request"),
        (b"{}", 400, "empty_message"),
        (br#"{"message":null}"#, 400, "empty_message"),
        (br#"{"message":""}"#, 400, "empty_message"),
        (" {\"message\":\" \\n\u{3000}\"}".as_bytes(), 400, "empty_message"),
        (br#"{"message":5}"#, 400, "invalid_request"),
        (br#"{"message":"x","context":[]}"#, 400, "invalid_request"),
        (br#"{"message":"x","on_busy":7}"#, 400, "invalid_request"),
        (br#"{"message":"x","session_id":5}"#, 400, "invalid_request"),
        (br#"{"message":"x","session_id":""}"#, 400, "invalid_session_id"),
        ("{\"message\":\"x\",\"session_id\":\"가\"}".as_bytes(), 400, "invalid_session_id"),
        (br#"{"message":"x","session_id":"../../etc"}"#, 400, "invalid_session_id"),
        (long.as_bytes(), 400, "message_too_long"),
        (deep.as_bytes(), 400, "too_deep"),
        (large.as_bytes(), 413, "body_too_large"),
    ];
    for path in ["/run", "/run-async", "/api/agent/run", "/api/agent/run-async"] {
        for (body, status, code) in &cases {
            let reply = here.send(Method::POST, path, &[], body.to_vec()).await;
            assert_eq!(
                reply.refusal(),
                (*status, *code),
                "{path} {}",
                String::from_utf8_lossy(&body[..body.len().min(60)])
            );
            assert!(!reply.body["message"].as_str().unwrap().is_empty());
        }
    }
    assert!(here.runtime.sessions(None, &[], 10).await.unwrap().is_empty(), "nothing was accepted");
    let tolerant = json!({"message": "x", "stream": true, "future": {"field": [1]}});
    assert_eq!(here.post("/run", tolerant).await.status, 200, "unknown fields are tolerated");
}

#[tokio::test]
async fn unknown_sessions_paths_and_methods_are_refused() {
    let here = puppets(|_| {}).await;
    for prefix in ["", "/api/agent"] {
        for (method, path) in [(Method::GET, "status"), (Method::POST, "stop"), (Method::POST, "resume")] {
            let at = |id: &str| format!("{prefix}/{path}/{id}");
            let send = |id: String| here.send(method.clone(), id.leak(), &[], "");
            assert_eq!(send(at("nobody")).await.refusal(), (404, "session_not_found"));
            assert_eq!(send(at("a%20b")).await.refusal(), (400, "invalid_session_id"));
            assert_eq!(send(at(&"a".repeat(129))).await.refusal(), (400, "invalid_session_id"));
        }
        let answer = json!({"value": "x"});
        let reply = here.post(&format!("{prefix}/resume/nobody"), answer).await;
        assert_eq!(reply.refusal(), (404, "session_not_found"), "{reply:?}");
        let wrong = here.get(&format!("{prefix}/run")).await;
        assert_eq!(
            (wrong.refusal(), &wrong.headers["allow"]),
            ((405, "method_not_allowed"), &"POST".parse().unwrap())
        );
    }
    assert_eq!(here.get("/nothing/here").await.refusal(), (404, "not_found"));
    assert_eq!(here.get("/ws/s").await.refusal(), (426, "upgrade_required"));
}

#[tokio::test]
async fn a_body_without_a_declared_size_is_cut_at_the_limit() {
    let here = puppets(|options| options.body_bytes = 1_000).await;
    let mut request = b"POST /run HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        request.extend_from_slice(b"64\r\n");
        request.extend_from_slice(&[b'x'; 100]);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let reply = raw(&here, &request).await;
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
    assert!(reply.contains("body_too_large"));
}

#[tokio::test]
async fn peers_that_dawdle_are_dropped_and_hold_up_nobody() {
    let here = puppets(|options| {
        options.head_time = Duration::from_millis(200);
        options.body_time = Duration::from_millis(200);
    })
    .await;
    let head = raw(&here, b"POST /run HTTP/1.1\r\nhost: x\r\nx-slow: ");
    let body = raw(&here, b"POST /run HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{\"mess");
    let others = here.post("/run", json!({"message": "hi"}));
    let (head, body, others) = tokio::join!(head, body, others);
    assert_eq!(others.status, 200);
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    assert!(body.starts_with("HTTP/1.1 408") && body.contains("body_timed_out"), "{body}");
}

#[tokio::test]
async fn an_answer_may_be_taken_slowly() {
    const WHOLE: usize = 32 * 1024 * 1024;
    let here = Here::with(puppet().0, Puppeteer, |server| {
        server.options(|options| options.head_time = Duration::from_millis(100)).route(
            Method::GET,
            "/large",
            async |_| Response::new(Body::from(vec![b'x'; WHOLE])),
        )
    })
    .await;
    let mut slow = TcpStream::connect(here.address).await.unwrap();
    slow.write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 16];
    slow.read_exact(&mut first).await.unwrap();
    // At the same time, other connections that send nothing are closed, one after another.
    for _ in 0..5 {
        let mut silent = TcpStream::connect(here.address).await.unwrap();
        assert_eq!(timeout(LONG, silent.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    }
    let mut rest = Vec::new();
    timeout(LONG, slow.read_to_end(&mut rest)).await.expect("the server hangs up in the end").unwrap();
    assert!(rest.len() > WHOLE, "{} of {WHOLE} bytes came", rest.len());
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let here = puppets(|options| options.connections = 2).await;
    let first = TcpStream::connect(here.address).await.unwrap();
    let _second = TcpStream::connect(here.address).await.unwrap();
    let mut third = TcpStream::connect(here.address).await.unwrap();
    third.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    assert!(timeout(Duration::from_millis(100), third.read_to_string(&mut text)).await.is_err(), "{text}");
    drop(first);
    timeout(LONG, third.read_to_string(&mut text)).await.unwrap().unwrap();
    assert!(text.contains("healthy"));
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_and_the_server_lives() {
    let here = puppets(|_| {}).await;
    let reply = here.post("/run", json!({"message": "panic in the handler", "session_id": "s"})).await;
    assert_eq!(reply.refusal(), (500, "internal"));
    assert_eq!(here.post("/run", json!({"message": "hi", "session_id": "s"})).await.status, 200);
}
