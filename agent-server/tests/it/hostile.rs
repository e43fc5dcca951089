//! Whatever is sent to whatever path: a clear 4xx, no panic, nothing begun, and the next caller is served.

use std::time::Duration;

use hyper::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    },
};

use crate::support::{
    Here, LONG,
    agent::{Puppeteer, puppet},
};

async fn here() -> Here {
    Here::of(puppet().0, Puppeteer, |options| options.head_time = Duration::from_millis(500)).await
}

/// Sends bytes, and reads what comes until the server hangs up.
async fn raw(here: &Here, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(here.address).await.unwrap();
    // The server may hang up in the middle of it.
    stream.write_all(bytes).await.ok();
    let mut received = Vec::new();
    timeout(LONG, stream.read_to_end(&mut received)).await.expect("the server hangs up").ok();
    String::from_utf8_lossy(&received).into_owned()
}

async fn lives(here: &Here) {
    assert_eq!(here.post("/run", json!({"message": "still there?"})).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_none_gets_a_4xx_at_every_path_that_takes_one() {
    let here = here().await;
    here.post("/run", json!({"message": "ask two", "session_id": "s"})).await;
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_object = format!("{}1{}", r#"{"message":"#.repeat(5_000), "}".repeat(5_000));
    let number = format!(r#"{{"message":"x","context":{{"n":{}}}}}"#, "9".repeat(10_000));
    let bodies: [&[u8]; 14] = [
        b"\x00",
        b"\xff\xfe\x00m",
        b"{\"message\":\"\\ud800\"}",
        b"{\"message\":\"\xed\xa0\x80\"}",
        b"{\"message\":\"a\x00b\"}",
        b"{message:'x'}",
        b"{\"message\":\"x\"}{\"message\":\"y\"}",
        b"\"message\"",
        b"[{\"message\":\"x\"}]",
        b"<message>x</message>",
        b"message=x",
        b"NaN",
        deep.as_bytes(),
        deep_object.as_bytes(),
    ];
    let paths =
        ["/run", "/run-async", "/api/agent/run", "/api/agent/run-async", "/resume/s", "/sessions/s/fork"];
    for path in paths {
        for body in bodies {
            let reply = here.send(Method::POST, path, &[], body.to_vec()).await;
            let sent = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            assert!(reply.status.is_client_error(), "{path} {sent}: {reply:?}");
            assert!(reply.body["code"].is_string() && reply.text.len() < 1_000, "{path} {sent}: {reply:?}");
        }
        let reply = here.send(Method::POST, path, &[], number.clone()).await;
        assert!(!reply.status.is_server_error(), "{path}: {reply:?}");
    }
    let status = here.get("/status/s").await.body;
    assert_eq!(status["status"], "paused", "nothing has changed: {status}");
    assert!(here.runtime.sessions(None, &[], 100).await.unwrap().len() <= 1 + paths.len());
    lives(&here).await;
}

#[tokio::test]
async fn a_path_or_query_that_makes_no_sense_gets_a_4xx() {
    let here = here().await;
    here.post("/run", json!({"message": "x", "session_id": "s"})).await;
    let long = "a".repeat(5_000);
    let ids = [
        "%00",
        "%ff%fe",
        "..%2f..%2fetc",
        "%ea%b0%80",
        "a%20b",
        "%25",
        "%3Cscript%3E",
        "'%20OR%201=1--",
        &long,
    ];
    for id in ids {
        for path in ["/status/", "/sessions/", "/api/agent/status/", "/ws/"] {
            let reply = here.get(&format!("{path}{id}")).await;
            assert!(reply.status.is_client_error(), "{path}{id}: {reply:?}");
            assert!(!reply.text.contains("<script>"), "{reply:?}");
        }
        for (method, path) in [(Method::POST, "/stop/"), (Method::DELETE, "/sessions/")] {
            let reply = here.send(method, &format!("{path}{id}"), &[], "").await;
            assert!(reply.status.is_client_error(), "{path}{id}: {reply:?}");
        }
    }
    for query in [
        "/sessions?limit=x",
        "/sessions?limit=-1",
        "/sessions?before=1",
        "/sessions?before=x~y",
        "/sessions?status=made-up",
        "/sessions/s/journal?after=1e3",
        "/sessions/s/state?at=abc",
        "/sessions/s/state?at=99999999999999999999999999",
        "/sessions/s/diff",
        "/sessions/s/diff?from=1",
        "/sessions/s/diff?from=9999&to=1",
        "/sessions/s/events?after=%00",
    ] {
        let reply = here.get(query).await;
        assert!(reply.status.is_client_error(), "{query}: {reply:?}");
    }
    lives(&here).await;
}

#[tokio::test]
async fn http_that_is_none_is_answered_with_a_4xx_or_not_at_all() {
    let here = here().await;
    let headers: String = (0..500).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "y".repeat(1_000_000));
    let uri = "a".repeat(1_000_000);
    let requests: [Vec<u8>; 11] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20),
        b"\r\n\r\n\r\n\r\nHELO\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n".to_vec(),
        b"GET /\x00 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
        format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").into_bytes(),
        format!("GET /health HTTP/1.1\r\nhost: localhost\r\n{large}\r\n").into_bytes(),
        format!("GET /{uri} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes(),
        b"POST /run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello".to_vec(),
        b"POST /run HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST /run HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ];
    for request in requests {
        let received = raw(&here, &request).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert!(received.is_empty() || received.starts_with("HTTP/1.1 4"), "{shown}: {received}");
    }
    lives(&here).await;
}

#[tokio::test]
async fn a_request_cannot_be_hidden_behind_another() {
    let here = here().await;
    // Both lengths at once: whoever is in front may read it otherwise than we do.
    let smuggled = b"POST /run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\
        POST /run-async HTTP/1.1\r\nhost: localhost\r\ncontent-length: 15\r\n\r\n{\"message\":\"x\"}";
    let received = raw(&here, smuggled).await;
    assert_eq!(received.matches("HTTP/1.1").count(), 1, "{received}");
    assert!(received.starts_with("HTTP/1.1 4"), "{received}");
    assert!(here.runtime.sessions(None, &[], 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_socket_in_pieces_in_bytes_and_in_nonsense_lives_on_or_is_told_why_not() {
    let here = here().await;
    let mut socket = here.socket("s", "").await;
    for (frame, code) in [
        (Message::binary(vec![0; 1_000]), "invalid_request"),
        (Message::text(""), "invalid_json"),
        (Message::text("null"), "invalid_request"),
        (Message::text(r#"{"type":5}"#), "invalid_request"),
        (Message::text("x".repeat(100_000)), "frame_too_large"),
        (
            Message::text(format!(
                r#"{{"type":"input","data":{}1{}}}"#,
                "[".repeat(1_000),
                "]".repeat(1_000)
            )),
            "too_deep",
        ),
    ] {
        assert_eq!(socket.refused(frame).await, code);
    }
    // A message in many pieces that together are more than may be.
    let mut bomb = here.socket("s", "").await;
    bomb.raw(Message::Frame(Frame::message("{", OpCode::Data(Data::Text), false))).await;
    let piece = "x".repeat(60_000);
    let mut said = 0;
    let goodbye = loop {
        let frame = Frame::message(piece.clone(), OpCode::Data(Data::Continue), false);
        if said > 40 || !bomb.try_raw(Message::Frame(frame)).await {
            break bomb.goodbye().await;
        }
        said += 1;
    };
    assert!(goodbye.is_none_or(|code| code == 1009), "{goodbye:?}");
    socket.ping().await;
    lives(&here).await;
}

#[tokio::test]
async fn a_goodbye_is_answered_and_a_broken_frame_is_told_its_code() {
    let here = here().await;
    for code in [CloseCode::Normal, CloseCode::Library(4001)] {
        let mut socket = here.socket("s", "").await;
        socket.raw(Message::Close(Some(CloseFrame { code, reason: "안녕".into() }))).await;
        assert_eq!(socket.goodbye().await, Some(code.into()), "a client that leaves hears a goodbye");
    }
    let upgrade = "GET /ws/s HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let frames: [(&str, &[u8]); 4] = [
        ("an opcode that is none", &[0x83, 0x80, 0, 0, 0, 0]),
        ("a piece of nothing", &[0x80, 0x81, 0, 0, 0, 0, b'x']),
        ("a reserved bit", &[0xC1, 0x81, 0, 0, 0, 0, b'x']),
        ("a goodbye of one byte", &[0x88, 0x81, 0, 0, 0, 0, 3]),
    ];
    for (name, frame) in frames {
        let received = raw(&here, &[upgrade.as_bytes(), frame].concat()).await;
        assert!(received.contains(r#""code":"invalid_request""#), "{name}: {received}");
        assert!(
            received.ends_with("\u{3}\u{fffd}the frame violates the WebSocket protocol"),
            "{name}: {received}"
        );
    }
    lives(&here).await;
}

#[tokio::test]
async fn made_up_sessions_leave_nothing_behind() {
    let here = here().await;
    for number in 0..3_000 {
        let path = format!("/status/made-up-{number}");
        assert_eq!(here.get(&path).await.status, 404);
    }
    assert!(here.runtime.sessions(None, &[], 10).await.unwrap().is_empty());
    assert_eq!(here.runtime.live_runs(), 0);
}

#[tokio::test]
async fn a_request_that_cannot_be_parsed_gets_a_body() {
    let here = here().await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(70_000));
    for (request, status) in
        [(long.as_bytes(), "HTTP/1.1 4"), (b"nonsense\r\n\r\n".as_slice(), "HTTP/1.1 400")]
    {
        let received = raw(&here, request).await;
        assert!(received.starts_with(status), "{received}");
        let (head, body) = received.split_once("\r\n\r\n").unwrap();
        assert!(head.to_lowercase().contains("content-type: application/json"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["code"], "invalid_request", "{body}");
    }
    lives(&here).await;
}

#[tokio::test]
async fn a_refusal_before_the_body_was_read_keeps_a_small_request_usable_and_closes_after_a_large_one() {
    let here = here().await;
    let send = |length: usize, sent: usize| {
        let head = format!("POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
        let next = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let tail = if sent == length { next } else { "" };
        format!("{head}{}{tail}", "x".repeat(sent))
    };
    let received = raw(&here, send(1_000, 1_000).as_bytes()).await;
    assert!(
        received.starts_with("HTTP/1.1 404") && received.contains("HTTP/1.1 200"),
        "the connection lives: {received}"
    );
    let received = raw(&here, send(1_000_000, 10).as_bytes()).await;
    let head = received.split("\r\n\r\n").next().unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 404") && head.contains("connection: close"), "{received}");
    lives(&here).await;
}
