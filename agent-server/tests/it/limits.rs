//! How much one caller may have, and that it is nobody else's loss.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use agent_core::journal::{InMemoryJournal, JournalStore};
use agent_server::{Auth, Chat, Proxies, ServerOptions, Tls};
use hyper::{Method, StatusCode};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::json;
use tests::Dying;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls};

use crate::support::{
    Here, LONG, Reply,
    agent::{Puppeteer, puppet},
    socket::Client,
    stream::Stream,
    upstream::{Do, Fake, Script, says},
};

const ALICE: (&str, &str) = ("authorization", "Bearer alice-has-a-key-of-her-own");
const BOB: (&str, &str) = ("authorization", "Bearer bob-has-a-key-of-his-own");

async fn guarded(set: impl FnOnce(&mut ServerOptions)) -> Here {
    let auth =
        Auth::required().key("alice", ALICE.1[7..].into()).unwrap().key("bob", BOB.1[7..].into()).unwrap();
    Here::with(puppet().0, Puppeteer, |server| server.auth(auth).options(set)).await
}

async fn run(here: &Here, who: (&str, &str), path: &str, session: &str, message: &str) -> Reply {
    let body = json!({"session_id": session, "message": message}).to_string();
    here.send(Method::POST, path, &[who], body).await
}

#[tokio::test]
async fn a_caller_that_asks_too_often_is_told_when_to_come_again() {
    let here = guarded(|options| options.requests_per_minute = 5).await;
    let ask = async |who: &[(&str, &str)]| here.send(Method::GET, "/agents", who, "").await;
    for _ in 0..5 {
        assert_eq!(ask(&[ALICE]).await.status, 200);
    }
    let refused = ask(&[ALICE]).await;
    assert_eq!(refused.refusal(), (429, "rate_limited"));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=13).contains(&wait), "a fifth of a minute: {wait}");
    assert_eq!(ask(&[BOB]).await.status, 200, "somebody else's share");
    assert_eq!(here.get("/health").await.status, 200, "what is open is not counted");
    // Whoever guesses keys is counted by address.
    for _ in 0..5 {
        assert_eq!(ask(&[("authorization", "Bearer guess")]).await.status, 401);
    }
    assert_eq!(ask(&[("authorization", "Bearer guess")]).await.status, 429);
    assert_eq!(ask(&[]).await.status, 429);
    assert_eq!(ask(&[BOB]).await.status, 200);
}

#[tokio::test]
async fn a_subject_has_so_many_sessions_and_no_more_until_it_removes_one() {
    let here = guarded(|options| options.sessions_per_subject = 2).await;
    for session in ["a", "b", "a"] {
        assert_eq!(run(&here, ALICE, "/run", session, "x").await.status, 200, "{session}");
    }
    assert_eq!(run(&here, ALICE, "/run", "c", "x").await.refusal(), (429, "quota_exceeded"));
    let fork = here.send(Method::POST, "/sessions/a/fork", &[ALICE], "{}").await;
    assert_eq!(fork.refusal(), (429, "quota_exceeded"));
    assert_eq!(run(&here, BOB, "/run", "d", "x").await.status, 200);
    assert_eq!(here.send(Method::DELETE, "/sessions/a", &[ALICE], "").await.status, 204);
    assert_eq!(run(&here, ALICE, "/run", "c", "x").await.status, 200);
    assert_eq!(run(&here, ALICE, "/run", "e", "x").await.status, 429);
}

#[tokio::test]
async fn a_caller_has_so_many_runs_at_once() {
    let (runtime, strings) = puppet();
    let auth =
        Auth::required().key("alice", ALICE.1[7..].into()).unwrap().key("bob", BOB.1[7..].into()).unwrap();
    let here = Here::with(runtime, Puppeteer, |server| {
        server.auth(auth).options(|options| options.runs_per_caller = 1)
    })
    .await;
    assert_eq!(run(&here, ALICE, "/run-async", "a", "wait").await.status, 200);
    assert_eq!(run(&here, ALICE, "/run", "b", "x").await.refusal(), (429, "quota_exceeded"));
    assert_eq!(run(&here, BOB, "/run", "c", "x").await.status, 200);
    let mut socket = Client::connect_with(here.address, "a", "", &[ALICE]).await.unwrap();
    strings.gate.add_permits(1);
    socket.until("complete").await;
    // The place is free soon after.
    let again = async {
        while run(&here, ALICE, "/run", "b", "x").await.status != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, again).await.unwrap();
    // A run that waits for a person leaves its place.
    assert_eq!(run(&here, ALICE, "/run", "q", "ask two").await.body["status"], "paused");
    let again = async {
        while run(&here, ALICE, "/run", "r", "x").await.status != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, again).await.unwrap();
}

#[tokio::test]
async fn a_caller_has_so_many_sockets_and_a_closed_one_is_free_again() {
    let here = guarded(|options| options.sockets_per_caller = 2).await;
    let open = async |who| Client::connect_with(here.address, "s", "", &[who]).await;
    let (first, _second) = (open(ALICE).await.unwrap(), open(ALICE).await.unwrap());
    assert_eq!(open(ALICE).await.err(), Some(StatusCode::TOO_MANY_REQUESTS));
    let stream = here.send(Method::GET, "/sessions/s/events", &[ALICE], "").await;
    assert_eq!(stream.refusal(), (429, "quota_exceeded"));
    assert!(open(BOB).await.is_ok());
    drop(first);
    let again = async {
        while open(ALICE).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, again).await.unwrap();
}

#[tokio::test]
async fn a_socket_that_floods_waits_and_disturbs_nobody() {
    let here = Here::of(puppet().0, Puppeteer, |options| options.frames_per_second = 50).await;
    let mut flood = here.socket("s", "").await;
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        flood.say("ping", json!({})).await;
    }
    let mut pongs = 0;
    while pongs < 200 {
        pongs += u32::from(flood.next().await["type"] == "pong");
        if pongs == 100 {
            here.socket("t", "").await.ping().await;
        }
    }
    // 100 at once, the rest at 50 a second.
    assert!(begun.elapsed() > Duration::from_millis(1_700), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_given_up() {
    let (runtime, strings) = puppet();
    let here = Here::of(runtime, Puppeteer, |options| {
        options.write_time = Duration::from_millis(200);
        options.connections = 2;
    })
    .await;
    let head = "GET /sessions/s/events HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut deaf = TcpStream::connect(here.address).await.unwrap();
    deaf.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 15];
    timeout(LONG, deaf.read_exact(&mut first)).await.unwrap().unwrap();
    drop(strings);
    // Nine megabytes that it does not take.
    here.start("s", "flood").await;
    // Its place is free again, though it has not gone away: the other one is taken by a socket.
    let _socket = here.socket("t", "").await;
    assert_eq!(timeout(LONG, here.get("/health")).await.unwrap().status, 200);
    drop(deaf);
}

#[tokio::test]
async fn a_connection_that_asks_nothing_more_is_closed() {
    let here =
        Here::of(puppet().0, Puppeteer, |options| options.head_time = Duration::from_millis(200)).await;
    let mut idle = TcpStream::connect(here.address).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    timeout(LONG, idle.read_to_string(&mut text)).await.expect("the server hangs up").unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn sockets_count_as_connections_for_as_long_as_they_live() {
    let here = Here::of(puppet().0, Puppeteer, |options| options.connections = 1).await;
    let socket = here.socket("s", "").await;
    let mut next = TcpStream::connect(here.address).await.unwrap();
    next.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    assert!(timeout(Duration::from_millis(100), next.read_to_string(&mut text)).await.is_err(), "{text}");
    drop(socket);
    timeout(LONG, next.read_to_string(&mut text)).await.unwrap().unwrap();
    assert!(text.contains("healthy"));
}

#[test]
fn a_certificate_that_is_none_is_told_by_its_file() {
    let home = tempfile::TempDir::new().unwrap();
    let (certificate, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    let missing = Tls::from_files(&certificate, &key).unwrap_err().to_string();
    assert!(missing.contains("cert.pem"), "{missing}");
    std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    std::fs::write(&key, "nothing").unwrap();
    let wrong = Tls::from_files(&certificate, &key).unwrap_err().to_string();
    assert!(wrong.contains("key.pem"), "{wrong}");
}

/// The answer to `GET /health` over TLS, from a server that shows this certificate.
pub(crate) async fn over_tls(address: SocketAddr, certificate: &str) -> std::io::Result<String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let name = "localhost".try_into().unwrap();
    let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn over_tls_the_certificate_changes_while_the_server_runs_and_a_wrong_one_changes_nothing() {
    const FIRST: [&str; 2] =
        [include_str!("../fixtures/tls.first.cert.pem"), include_str!("../fixtures/tls.first.key.pem")];
    const SECOND: [&str; 2] =
        [include_str!("../fixtures/tls.second.cert.pem"), include_str!("../fixtures/tls.second.key.pem")];
    let home = tempfile::TempDir::new().unwrap();
    let (certificate, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    let put = |pair: [&str; 2]| {
        std::fs::write(&certificate, pair[0]).unwrap();
        std::fs::write(&key, pair[1]).unwrap();
    };
    put(FIRST);
    let tls = Tls::from_files(&certificate, &key).unwrap();
    let here = Here::with(puppet().0, Puppeteer, |server| {
        server.tls(tls.clone()).options(|options| options.head_time = Duration::from_millis(300))
    })
    .await;
    assert!(over_tls(here.address, FIRST[0]).await.unwrap().contains("healthy"));
    assert!(over_tls(here.address, SECOND[0]).await.is_err());
    put([FIRST[0], SECOND[1]]);
    assert!(tls.reload().is_err(), "they do not fit together");
    assert!(over_tls(here.address, FIRST[0]).await.is_ok());
    put(SECOND);
    tls.reload().unwrap();
    assert!(over_tls(here.address, SECOND[0]).await.unwrap().contains("healthy"));
    assert!(over_tls(here.address, FIRST[0]).await.is_err());
    // Whoever speaks no TLS, and whoever says nothing, is hung up on.
    for said in [&b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"[..], b""] {
        let mut plain = TcpStream::connect(here.address).await.unwrap();
        plain.write_all(said).await.unwrap();
        let mut received = Vec::new();
        timeout(LONG, plain.read_to_end(&mut received)).await.unwrap().ok();
        assert!(!received.starts_with(b"HTTP"), "{received:?}");
    }
}

/// Waits until a request is answered well again.
async fn until_ok<F: AsyncFn() -> StatusCode>(ask: F) {
    let again = async {
        while ask().await != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, again).await.unwrap();
}

#[tokio::test]
async fn a_run_that_is_not_kept_and_a_chats_answer_count_as_runs_of_their_caller() {
    let waits = || Script::Speak(vec![Do::Say("하나"), Do::Wait, Do::End("stop")]);
    let fake = Fake::start([waits(), waits(), says("x"), says("x"), says("x"), says("x")]).await;
    let (runtime, strings) = puppet();
    let (passing, _) = puppet();
    let passing = passing.provide(Arc::clone(&strings)).build();
    let auth =
        Auth::required().key("alice", ALICE.1[7..].into()).unwrap().key("bob", BOB.1[7..].into()).unwrap();
    let chat = Chat::new(fake.model());
    let here = Here::with(runtime, Puppeteer, |server| {
        let server = server.auth(auth).chat(chat).ephemeral_runtime(passing);
        server.options(|options| {
            options.runs_per_caller = 1;
            // The head of a stream waits so long for the first piece.
            options.ping = Duration::from_millis(50);
        })
    })
    .await;
    let completion = |model: &str, text: &str, stream: bool| {
        json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}).to_string()
    };
    let whole = async |who, model: &str| {
        let body = completion(model, "x", false);
        here.send(Method::POST, "/v1/chat/completions", &[who], body).await
    };
    let begin = async |path: &str, body: String| {
        let mut stream = Stream::begin(&here, Method::POST, path, &[ALICE], body).await;
        assert_eq!(stream.status, 200);
        stream.raw().await.unwrap();
        stream
    };
    let ways = [
        ("/v1/chat/completions", completion("chat", "x", true)),
        ("/api/chat/stream", json!({"message": "x"}).to_string()),
        ("/v1/chat/completions", completion("puppet", "wait", true)),
    ];
    for (path, body) in ways {
        let stream = begin(path, body).await;
        for refused in [whole(ALICE, "chat").await, whole(ALICE, "puppet").await] {
            assert_eq!(refused.status, 429, "{path}: {refused:?}");
            assert_eq!(refused.body["error"]["code"], "quota_exceeded");
        }
        let refused = here.send(Method::POST, "/api/chat/stream", &[ALICE], r#"{"message":"x"}"#).await;
        assert_eq!(refused.refusal(), (429, "quota_exceeded"), "{path}");
        assert_eq!(run(&here, ALICE, "/run", "s", "x").await.refusal(), (429, "quota_exceeded"), "{path}");
        assert_eq!(whole(BOB, "puppet").await.status, 200);
        drop(stream);
        // The place is free soon after its caller has left.
        until_ok(async || whole(ALICE, "puppet").await.status).await;
    }
}

#[tokio::test]
async fn callers_behind_a_trusted_proxy_are_counted_each_and_nobody_else_can_say_who_it_is() {
    let here = async |proxies: &str| {
        let proxies = Proxies::parse(proxies).unwrap();
        Here::with(puppet().0, Puppeteer, |server| {
            server.auth(Auth::off()).options(|options| {
                options.requests_per_minute = 2;
                options.proxies = proxies;
            })
        })
        .await
    };
    let ask = async |here: &Here, said: &str| {
        here.send(Method::GET, "/agents", &[("x-forwarded-for", said)], "").await.status.as_u16()
    };
    let behind = here("127.0.0.0/8, 10.0.0.0/8").await;
    for (said, wanted) in [
        ("192.0.2.1", 200),
        ("8.8.8.8, 192.0.2.1, 10.0.0.7", 200),
        ("1.1.1.1, 192.0.2.1", 429),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
    ] {
        assert_eq!(ask(&behind, said).await, wanted, "{said}");
    }
    // Whoever is no proxy is counted by its own address, whatever it says.
    let open = here("10.0.0.0/8").await;
    for (said, wanted) in [("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.3", 429)] {
        assert_eq!(ask(&open, said).await, wanted, "{said}");
    }
    // A proxy lets nobody in: who needs no key is on this machine, and not behind it.
    let local = Here::with(puppet().0, Puppeteer, |server| {
        server.options(|options| options.proxies = Proxies::parse("127.0.0.1").unwrap())
    })
    .await;
    assert_eq!(ask(&local, "127.0.0.1").await, 401);
    assert_eq!(local.get("/agents").await.status, 200);
}

#[tokio::test]
async fn a_run_that_goes_on_takes_a_place_again_and_an_answer_is_never_refused_for_one() {
    let (runtime, strings) = puppet();
    let auth = Auth::required().key("alice", ALICE.1[7..].into()).unwrap();
    let here = Here::with(runtime, Puppeteer, |server| {
        server.auth(auth).options(|options| options.runs_per_caller = 1)
    })
    .await;
    let post = async |path: &str, body: &str| here.send(Method::POST, path, &[ALICE], body.to_owned()).await;
    let paused = run(&here, ALICE, "/run", "asks", "ask two").await.body;
    assert_eq!(paused["status"], "paused");
    until_ok(async || run(&here, ALICE, "/run-async", "stopped", "wait").await.status).await;
    strings.waiting.notified().await;
    assert_eq!(post("/stop/stopped", "").await.status, 200);
    until_ok(async || run(&here, ALICE, "/run-async", "runs", "wait").await.status).await;
    strings.waiting.notified().await;

    // Stopping and resuming is no way to have two.
    assert_eq!(post("/resume/stopped", "").await.refusal(), (429, "quota_exceeded"));
    let mut socket = Client::connect_with(here.address, "stopped", "", &[ALICE]).await.unwrap();
    socket.say("resume", json!({})).await;
    // The stop comes first.
    while socket.until("error").await["data"]["details"]["code"] != "quota_exceeded" {}
    for (at, value) in [(0, "left"), (1, "right")] {
        let answer = json!({"id": paused["data"]["questions"][at]["id"], "value": value});
        assert_eq!(post("/resume/asks", &answer.to_string()).await.status, 200);
    }
    strings.gate.add_permits(1);
    // Once the place is free it goes on, and has it.
    until_ok(async || post("/resume/stopped", "").await.status).await;
    strings.waiting.notified().await;
    assert_eq!(run(&here, ALICE, "/run", "asks", "x").await.refusal(), (429, "quota_exceeded"));
    strings.gate.add_permits(1);
    socket.until("complete").await;
    until_ok(async || run(&here, ALICE, "/run", "asks", "x").await.status).await;
}

#[tokio::test]
async fn a_run_whose_store_dies_gives_its_place_back() {
    let (runtime, strings) = puppet();
    let store = Dying::never(&Arc::new(InMemoryJournal::new()));
    let runtime = runtime.journal(Arc::clone(&store) as Arc<dyn JournalStore>);
    let here =
        Here::kept(runtime, |server| server.agent(Puppeteer).options(|options| options.runs_per_caller = 1))
            .await;
    let begin = async |session: &str| {
        here.post("/run-async", json!({"message": "wait", "session_id": session})).await
    };
    assert_eq!(begin("lost").await.status, 200);
    strings.waiting.notified().await;
    assert_eq!(begin("other").await.refusal(), (429, "quota_exceeded"));
    // Its end can be told to nobody.
    store.kill();
    strings.gate.add_permits(1);
    let free = async {
        while begin("other").await.status == StatusCode::TOO_MANY_REQUESTS {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, free).await.unwrap();
}
