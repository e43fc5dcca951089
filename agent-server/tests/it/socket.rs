//! The socket: everybody sees everything once and in order, whenever they come, whatever they send.

use std::{sync::Arc, time::Duration};

use agent_server::custom_routes::SocketMessage;
use futures::{SinkExt, StreamExt};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::{WebSocketConfig, frame::coding::CloseCode},
};

use crate::support::{
    Here, LONG,
    agent::{Puppeteer, Strings, puppet},
    socket::Client,
    stream::Stream,
};

const ASK: &str = "라네즈 리뷰를 분석해 주세요";

async fn puppets(set: impl FnOnce(&mut agent_server::ServerOptions)) -> (Here, Arc<Strings>) {
    let (runtime, strings) = puppet();
    (Here::of(runtime, Puppeteer, set).await, strings)
}

#[tokio::test]
async fn whoever_comes_early_late_or_again_sees_the_same_run() {
    let here = Here::trend().await;
    let mut early = here.socket("s", "").await;
    early.ping().await;
    here.start("s", ASK).await;
    let question = early.until("hitl_request").await;
    assert!(early.kinds().contains(&"todo_update".to_owned()));
    let middle = early.last;
    let mut again = here.socket("s", &format!("?after={middle}")).await;
    early.answer(&question).await;
    let done = early.until("complete").await;
    again.until("complete").await;
    assert_eq!(done["data"].as_object().unwrap().len(), 3, "response, todos, execution_time");
    for message in &early.got {
        let at = message["timestamp"].as_str().unwrap();
        assert_eq!(at.len(), "2026-11-21T08:58:08.900Z".len(), "texts sort as times do: {at}");
    }
    let all = early.numbered();
    // The question was answered meanwhile.
    let all: Vec<Value> = all.into_iter().filter(|message| message["type"] != "hitl_request").collect();
    let mut late = here.socket("s", "").await;
    late.until("complete").await;
    assert_eq!(late.numbered(), all, "late");
    for message in &all {
        let after = message["seq"].as_u64().unwrap();
        let mut cut = here.socket("s", &format!("?after={after}")).await;
        cut.ping().await;
        let rest: Vec<Value> = all.iter().filter(|m| m["seq"].as_u64() > Some(after)).cloned().collect();
        while cut.numbered().len() < rest.len() {
            cut.next().await;
        }
        assert_eq!(cut.numbered(), rest, "after {after}");
    }
    assert_eq!(
        again.numbered(),
        all.iter().filter(|m| m["seq"].as_u64() > Some(middle)).cloned().collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_newcomer_sees_the_latest_run_and_zero_brings_all_of_them() {
    let (here, _) = puppets(|_| {}).await;
    for message in ["first", "second"] {
        here.post("/run", json!({"message": message, "session_id": "s"})).await;
    }
    let mut new = here.socket("s", "").await;
    assert_eq!(new.until("complete").await["data"]["response"], "second");
    let mut all = here.socket("s", "?after=0").await;
    assert_eq!(all.until("complete").await["data"]["response"], "first");
    assert_eq!(all.until("complete").await["data"]["response"], "second");
}

#[tokio::test]
async fn only_those_who_ask_get_more_than_the_contract_has() {
    let (here, _) = puppets(|_| {}).await;
    here.post("/run", json!({"message": "hi", "session_id": "s"})).await;
    let kinds = async |query: &str| {
        let mut socket = here.socket("s", query).await;
        socket.until("complete").await;
        (socket.kinds(), socket.got)
    };
    let (plain, got) = kinds("").await;
    assert!(plain.iter().all(|kind| kind == "todo_update" || kind == "complete"), "{plain:?}");
    assert_eq!(got[0]["data"].as_object().unwrap().len(), 4, "{}", got[0]);
    let (status, got) = kinds("?events=status").await;
    assert!(status.contains(&"status".to_owned()) && !status.contains(&"event".to_owned()));
    assert!(got.iter().any(|message| message["data"]["title"] == "Act"));
    assert!(kinds("?events=all").await.0.contains(&"event".to_owned()));
    for query in ["?events=some", "?after=soon", "?after=-1"] {
        let refused = Client::connect(here.address, "s", query).await.err();
        assert_eq!(refused, Some(StatusCode::BAD_REQUEST), "{query}");
    }
}

#[tokio::test]
async fn a_number_that_the_session_does_not_have_is_an_error_and_what_happens_then_follows() {
    let (here, _) = puppets(|_| {}).await;
    here.post("/run", json!({"message": "first", "session_id": "s"})).await;
    let last = here.get("/status/s").await.body["data"]["last_seq"].as_u64().unwrap();
    let mut ahead = here.socket("s", "?after=4000").await;
    let reported = ahead.next().await;
    assert_eq!(reported["type"], "error");
    let details = &reported["data"]["details"];
    assert_eq!(
        (&details["code"], &details["after"], &details["last"]),
        (&json!("seq_ahead"), &json!(4000), &json!(last))
    );
    here.post("/run", json!({"message": "second", "session_id": "s"})).await;
    assert_eq!(ahead.until("complete").await["data"]["response"], "second");
    // A stream of events names it too, and goes on behind the end.
    let headers = [("last-event-id", "4000")];
    let mut stream = Stream::open(&here, "/sessions/s/events", &headers).await;
    let gap = stream.next().await;
    let (last, gap) = (here.get("/status/s").await.body["data"]["last_seq"].clone(), &gap["data"]);
    assert_eq!((&gap["ahead"], &gap["after"], &gap["upto"]), (&json!(4000), &last, &last));
}

#[tokio::test]
async fn what_makes_no_sense_is_an_error_and_the_socket_stays_open() {
    let here = Here::trend().await;
    here.start("s", ASK).await;
    let mut socket = here.socket("s", "").await;
    let question = socket.until("hitl_request").await;
    let deep = format!(r#"{{"type":"input","data":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let large = json!({"type": "input", "data": {"value": "x".repeat(70_000)}}).to_string();
    let cases = [
        (Message::text("hello"), "invalid_json"),
        (Message::text(""), "invalid_json"),
        (Message::text("[1]"), "invalid_request"),
        (Message::text("{}"), "invalid_request"),
        (Message::text(r#"{"type":"dance"}"#), "invalid_request"),
        (Message::text(r#"{"type":5}"#), "invalid_request"),
        (Message::text(r#"{"type":"input"}"#), "invalid_request"),
        (Message::text(r#"{"type":"input","data":"안녕"}"#), "invalid_request"),
        (Message::text(r#"{"type":"input","data":{"value":1,"id":7}}"#), "invalid_request"),
        (Message::text(r#"{"type":"input","data":{"value":1,"id":"x"}}"#), "question_not_found"),
        (Message::text(r#"{"type":"input","data":{"value":9}}"#), "invalid_answer"),
        (Message::text(r#"{"type":"resume"}"#), "answer_needed"),
        (Message::text(deep), "too_deep"),
        (Message::text(large), "frame_too_large"),
        (Message::binary(vec![255, 0]), "invalid_request"),
    ];
    for (frame, code) in cases {
        let reported = frame.to_string().chars().take(60).collect::<String>();
        assert_eq!(socket.refused(frame).await, code, "{reported}");
    }
    assert_eq!(here.get("/status/s").await.body["status"], "paused");
    // The id may be left out: one question is open.
    socket.say("input", json!({"value": question["data"]["options"][1]})).await;
    socket.until("complete").await;
    assert_eq!(socket.refused(Message::text(r#"{"type":"stop"}"#)).await, "nothing_to_do");
}

#[tokio::test]
async fn a_frame_beyond_reading_is_told_why_before_the_socket_ends() {
    let (here, _) = puppets(|_| {}).await;
    let mut socket = here.socket("s", "").await;
    socket.raw(Message::text("x".repeat(2 * 1024 * 1024))).await;
    assert_eq!(socket.next().await["data"]["details"]["code"], "frame_too_large");
    assert_eq!(socket.try_next().await.unwrap_err().map(|close| close.code), Some(CloseCode::Size));
}

#[tokio::test]
async fn a_flood_of_nonsense_ends_the_socket_and_not_the_server() {
    let (here, _) = puppets(|_| {}).await;
    let mut socket = here.socket("s", "").await;
    let mut refused = 0;
    loop {
        socket.raw(Message::text("?")).await;
        match socket.try_next().await {
            Ok(message) if message["data"]["details"]["code"] == "too_many_errors" => break,
            Ok(_) => refused += 1,
            Err(close) => panic!("{close:?}"),
        }
    }
    assert_eq!(refused, 1_000);
    assert_eq!(socket.try_next().await.unwrap_err().map(|close| close.code), Some(CloseCode::Policy));
    assert_eq!(here.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_run_is_stopped_and_resumed_over_the_socket() {
    let (here, strings) = puppets(|_| {}).await;
    here.start("s", "wait").await;
    strings.waiting.notified().await;
    let mut socket = here.socket("s", "?events=status").await;
    let reaches = async |socket: &mut Client, wanted: &str| {
        while socket.until("status").await["data"]["status"] != wanted {}
    };
    socket.say("stop", json!({})).await;
    reaches(&mut socket, "stopped").await;
    socket.say("resume", json!({})).await;
    reaches(&mut socket, "running").await;
    strings.gate.add_permits(1);
    assert_eq!(socket.until("complete").await["data"]["response"], "waited");
}

#[tokio::test]
async fn exactly_one_of_two_racing_answers_wins() {
    let here = Here::trend().await;
    here.start("s", ASK).await;
    let (mut left, mut right) = (here.socket("s", "").await, here.socket("s", "").await);
    let question = left.until("hitl_request").await;
    right.until("hitl_request").await;
    tokio::join!(left.answer(&question), right.answer(&question));
    for socket in [&mut left, &mut right] {
        while !socket.kinds().contains(&"complete".to_owned()) {
            socket.next().await;
        }
        socket.ping().await;
    }
    let codes: Vec<Value> = [&left, &right]
        .iter()
        .flat_map(|socket| socket.got.iter().filter(|message| message["type"] == "error"))
        .map(|message| message["data"]["details"]["code"].clone())
        .collect();
    assert_eq!(codes.len(), 1, "{codes:?}");
    assert!(codes[0] == "already_answered" || codes[0] == "question_not_found", "{codes:?}");
    assert_eq!(left.numbered(), right.numbered());
}

#[tokio::test]
async fn several_open_questions_are_answered_by_their_ids() {
    let (here, _) = puppets(|_| {}).await;
    here.start("s", "ask two").await;
    let mut socket = here.socket("s", "").await;
    let first = socket.until("hitl_request").await["data"]["id"].clone();
    let second = socket.until("hitl_request").await["data"]["id"].clone();
    assert_eq!(
        socket.refused(Message::text(r#"{"type":"input","data":{"value":1}}"#)).await,
        "ambiguous_answer"
    );
    socket.say("input", json!({"value": {}, "id": second})).await;
    socket.say("input", json!({"value": "", "id": first})).await;
    assert_eq!(socket.until("complete").await["data"]["response"], r#""" {}"#);
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_slows_neither_the_run_nor_the_others_and_is_let_go() {
    let (here, _) = puppets(|options| options.write_time = Duration::from_millis(300)).await;
    let mut stuck = TcpStream::connect(here.address).await.unwrap();
    stuck.write_all(&upgrade("/ws/s?events=all")).await.unwrap();
    let mut quick = here.socket("s", "?events=all").await;
    here.start("s", "flood").await;
    quick.until("complete").await;
    let plates = quick.got.iter().filter(|message| message["data"]["data"]["name"] == "plate").count();
    assert_eq!(plates, 1_500);
    // What the kernel holds for it comes first, then the end: it was let go.
    let mut read = Vec::new();
    // A reset is an end as well.
    timeout(LONG, stuck.read_to_end(&mut read)).await.expect("it is let go").ok();
    assert!(read.len() < 1_500 * 12_000, "it got all of it");
}

#[tokio::test]
async fn a_peer_that_gives_no_sign_of_life_is_let_go() {
    let (here, _) = puppets(|options| options.ping = Duration::from_millis(50)).await;
    let mut dead = TcpStream::connect(here.address).await.unwrap();
    dead.write_all(&upgrade("/ws/s")).await.unwrap();
    let mut alive = here.socket("s", "").await;
    let mut read = Vec::new();
    let reading = async { timeout(LONG, dead.read_to_end(&mut read)).await.expect("it is let go") };
    tokio::select! {
        // A reset is an end as well.
        _ = reading => {}
        // Reading is what answers the pings.
        message = alive.try_next() => panic!("the living one was let go: {message:?}"),
    }
    assert!(read.starts_with(b"HTTP/1.1 101"));
    alive.ping().await;
}

#[tokio::test]
async fn a_page_of_another_site_may_not_listen_in() {
    let (here, _) = puppets(|_| {}).await;
    let connect = |origin: &'static str| Client::connect_from(here.address, "s", "", Some(origin));
    assert_eq!(connect("https://evil.example").await.err(), Some(StatusCode::FORBIDDEN));
    assert!(connect("http://localhost:3000").await.is_ok());
}

#[tokio::test]
async fn a_server_that_ends_says_goodbye_and_leaves_the_run_resumable() {
    let (here, strings) = puppets(|options| options.grace = Duration::from_millis(100)).await;
    here.start("s", "wait").await;
    strings.waiting.notified().await;
    let mut socket = here.socket("s", "").await;
    let runtime = here.runtime.clone();
    let reading = async { while socket.try_next().await.is_ok() {} };
    tokio::join!(reading, here.end());
    let status = runtime.session("s").unwrap().status().await.unwrap();
    assert_eq!(status.status, agent_core::RunStatus::Running, "it goes on at the next start");
}

/// The bytes of a handshake, for peers that speak no WebSocket afterwards.
fn upgrade(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn the_todos_that_a_subscriber_has_are_those_of_the_journal_also_after_a_run_was_rolled_back() {
    let (here, strings) = puppets(|_| {}).await;
    here.start("s", "wait").await;
    strings.waiting.notified().await;
    let mut socket = here.socket("s", "?events=status").await;
    socket.until("todo_update").await;
    let body = json!({"message": "hi", "session_id": "s", "on_busy": "rollback"});
    assert_eq!(here.post("/run", body).await.body["status"], "completed");
    socket.until("complete").await;
    // Back at every place: what is seen from there on, upon what was seen before, is the list of the journal.
    for after in 0..=socket.last {
        let mut todos: Vec<(u64, String, Value)> = Vec::new();
        let mut seen: Vec<Value> =
            socket.numbered().into_iter().filter(|message| message["seq"].as_u64() <= Some(after)).collect();
        let mut again = here.socket("s", &format!("?events=status&after={after}")).await;
        while again.last.max(after) < socket.last {
            again.next().await;
        }
        seen.extend(again.numbered());
        for message in &seen {
            let (data, run) = (&message["data"], message["data"]["run"].as_u64());
            match message["type"].as_str().unwrap() {
                "status" if data["status"] == "rolled_back" => todos.clear(),
                "todo_update" => {
                    todos.retain(|(of, id, _)| Some(*of) == run && data["todo_id"] != id.as_str());
                    let id = data["todo_id"].as_str().unwrap().to_owned();
                    todos.push((run.unwrap(), id, data["status"].clone()));
                }
                _ => {}
            }
        }
        let todos: Vec<Value> =
            todos.into_iter().map(|(_, id, status)| json!({"todo_id": id, "status": status})).collect();
        let state = here.get(&format!("/sessions/s/state?at={}", socket.last)).await.body;
        let journal: Vec<Value> = state["todos"]
            .as_array()
            .unwrap()
            .iter()
            .map(|todo| json!({"todo_id": todo["todo_id"], "status": todo["status"]}))
            .collect();
        assert_eq!(todos, journal, "after {after}");
    }
    assert!(socket.got.iter().any(|message| message["data"]["status"] == "rolled_back"), "it is told");
}

#[tokio::test]
async fn a_frame_of_the_largest_size_is_echoed_by_a_socket_of_the_program() {
    const LARGEST: usize = 16 * 1024 * 1024;
    let here = Here::with(puppet().0, Puppeteer, |server| {
        let server = server.options(|options| options.frame_bytes = LARGEST);
        server.socket("/echo", async |_, mut socket| {
            while let Some(SocketMessage::Bytes(bytes)) = socket.next().await {
                if socket.send_bytes(bytes).await.is_err() {
                    return;
                }
            }
        })
    })
    .await;
    let config = WebSocketConfig::default().max_frame_size(Some(LARGEST)).max_message_size(Some(LARGEST));
    let url = format!("ws://{}/echo", here.address);
    let (mut socket, _) =
        tokio_tungstenite::connect_async_with_config(url, Some(config), true).await.unwrap();
    let sent = Message::binary(vec![7_u8; LARGEST]);
    socket.send(sent.clone()).await.unwrap();
    let echoed = timeout(LONG, socket.next()).await.unwrap().unwrap().unwrap();
    assert!(echoed == sent, "{} bytes", echoed.len());
}
