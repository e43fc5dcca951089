//! Origin and target of a request: proxies in front of a local server, and the `Host` header.

use agent_server::Auth;
use hyper::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    Here, LONG,
    agent::{Puppeteer, puppet},
};

async fn guarded(auth: Auth) -> Here {
    Here::with(puppet().0, Puppeteer, |server| server.auth(auth)).await
}

/// Sends bytes, and reads the status of the answer.
async fn status(here: &Here, request: &str) -> u16 {
    let mut stream = TcpStream::connect(here.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    timeout(LONG, stream.read_exact(&mut head)).await.unwrap().unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_request_with_a_trace_of_a_proxy_is_not_from_this_machine() {
    let here = guarded(Auth::local()).await;
    assert_eq!(here.get("/agents").await.status, 200);
    for (name, value) in [
        ("forwarded", "for=192.0.2.1"),
        ("via", "1.1 caddy"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "agents.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-server", "traefik"),
        ("x-real-ip", "192.0.2.1"),
        ("x-client-ip", "192.0.2.1"),
        ("true-client-ip", "192.0.2.1"),
        ("cf-connecting-ip", "192.0.2.1"),
        ("cf-ray", "8f"),
        ("fly-client-ip", "192.0.2.1"),
        ("x-envoy-external-address", "192.0.2.1"),
        ("x-amzn-trace-id", "Root=1"),
    ] {
        let reply = here.send(Method::GET, "/agents", &[(name, value)], "").await;
        assert_eq!(reply.refusal(), (401, "unauthorized"), "{name}");
    }
    // Requests as nginx forwards them with only `proxy_pass` configured.
    let bare = format!("GET /agents HTTP/1.0\r\nhost: {}\r\nconnection: close\r\n\r\n", here.address);
    assert_eq!(status(&here, &bare).await, 401);
}

#[tokio::test]
async fn a_name_that_a_page_can_point_here_is_refused_where_nobody_shows_a_key() {
    for auth in [Auth::local(), Auth::off()] {
        let here = guarded(auth).await;
        for host in [
            "rebound.example",
            "rebound.example:8000",
            "127.0.0.1.rebound.example",
            "localhost.rebound.example",
        ] {
            let origin = format!("http://{host}");
            let request = format!("GET /agents HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\n\r\n");
            assert_eq!(status(&here, &request).await, 403, "{host}");
        }
        for host in ["localhost:1", "127.0.0.1", "[::1]:8000", "192.0.2.7:80", "agents", "dev.localhost"] {
            assert_eq!(
                status(&here, &format!("GET /agents HTTP/1.1\r\nhost: {host}\r\n\r\n")).await,
                200,
                "{host}"
            );
        }
    }
}

#[tokio::test]
async fn a_request_without_a_host_or_with_two_is_refused() {
    let here = guarded(Auth::off()).await;
    for (request, wanted) in [
        ("GET /health HTTP/1.1\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nhost:\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nhost: a, b\r\n\r\n", 400),
        ("GET /health HTTP/1.1\r\nhost: user@a\r\n\r\n", 400),
        ("GET /health HTTP/1.0\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET http://b/health HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("POST /run HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 400),
        ("GET /health HTTP/1.0\r\n\r\n", 200),
        ("GET /health HTTP/1.1\r\nhost: a\r\n\r\n", 200),
        ("GET http://A/health HTTP/1.1\r\nhost: a\r\n\r\n", 200),
    ] {
        assert_eq!(status(&here, request).await, wanted, "{request:?}");
    }
}
