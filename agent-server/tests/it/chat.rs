//! System 2 from outside: a model's words as they come.

use std::{sync::Arc, time::Duration};

use agent_core::{
    Runtime,
    model::{Model, RetryModel},
};
use agent_server::Chat;
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{
    Here, LONG,
    stream::Stream,
    upstream::{Do, Fake, Script, says},
};

const PATH: &str = "/api/chat/stream";

async fn chat(scripts: impl IntoIterator<Item = Script>) -> (Here, Arc<Fake>) {
    chat_with(scripts, Duration::from_secs(20)).await
}

async fn chat_with(scripts: impl IntoIterator<Item = Script>, ping: Duration) -> (Here, Arc<Fake>) {
    let fake = Fake::start(scripts).await;
    let chat = Chat::new(fake.model());
    let here =
        Here::made(Runtime::builder(), |server| server.chat(chat).options(|options| options.ping = ping))
            .await;
    (here, fake)
}

#[tokio::test]
async fn a_chunk_is_sent_before_the_next_one_exists() {
    let speak = vec![Do::Say("안녕"), Do::Wait, Do::Say("하세요 🌸"), Do::End("stop")];
    let (here, fake) = chat([Script::Speak(speak)]).await;
    let history = json!([
        {"role": "user", "content": "저는 지민이에요"},
        {"role": "assistant", "content": "반가워요"},
        {"role": "assistant", "content": ""},
    ]);
    let mut stream = Stream::post(&here, PATH, json!({"message": "제 이름은?", "history": history})).await;
    assert_eq!(stream.headers["cache-control"], "no-cache");
    assert_eq!(stream.raw().await.unwrap(), "data: {\"chunk\":\"안녕\"}\n\n");
    fake.waits().await;
    fake.gate.add_permits(1);
    assert_eq!(stream.rest().await, [json!({"chunk": "하세요 🌸"}), json!({"done": true})]);
    let seen = fake.seen.lock()[0].clone();
    let tokens = seen.get("max_tokens").or_else(|| seen.get("max_completion_tokens"));
    assert_eq!(tokens, Some(&json!(1_000)));
    assert!((seen["temperature"].as_f64().unwrap() - 0.7).abs() < 1e-6);
    let reported = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    assert_eq!(
        fake.received(0),
        [
            reported("user", "저는 지민이에요"),
            reported("assistant", "반가워요"),
            reported("user", "제 이름은?")
        ]
    );
}

#[tokio::test]
async fn an_event_source_asks_the_same_by_get_and_is_told_when_there_is_no_more() {
    let (here, fake) = chat([says("네, 지민 님 💧")]).await;
    let query = "?message=%EC%A0%9C+%EC%9D%B4%EB%A6%84%EC%9D%80%3F&history=%5B%7B%22role%22%3A%22user%22%2C%22content%22%3A%22%EC%A7%80%EB%AF%BC%22%7D%5D";
    let mut stream = Stream::open(&here, &format!("{PATH}{query}"), &[]).await;
    assert_eq!(stream.next().await, json!({"chunk": "네, 지민 님 💧"}));
    assert_eq!(stream.raw().await.unwrap(), "data: {\"done\":true}\nid: done\n\n");
    assert_eq!(stream.raw().await, None);
    let reported = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    assert_eq!(fake.received(0), [reported("user", "지민"), reported("user", "제 이름은?")]);
    let again = here.send(Method::GET, &format!("{PATH}{query}"), &[("last-event-id", "done")], "").await;
    assert_eq!((again.status.as_u16(), fake.seen.lock().len()), (204, 1), "the model is not asked again");
}

#[tokio::test]
async fn characters_that_arrive_in_pieces_leave_whole() {
    let speak = vec![Do::Drip("가족 👩‍👩‍👧 שלום"), Do::Drip("입니다"), Do::End("stop")];
    let (here, _fake) = chat([Script::Speak(speak)]).await;
    let mut stream = Stream::post(&here, PATH, json!({"message": "hi"})).await;
    let events = stream.rest().await;
    let said: String = events.iter().filter_map(|event| event["chunk"].as_str()).collect();
    assert_eq!(said, "가족 👩‍👩‍👧 שלום입니다");
}

#[tokio::test]
async fn a_failure_is_one_error_before_the_done_and_never_a_chunk() {
    let broken = vec![Do::Say("보습"), Do::Break];
    let filtered = vec![Do::Say("a"), Do::End("content_filter")];
    let scripts =
        [Script::Speak(broken), Script::Refuse(503, "sk-secret-1234567890"), Script::Speak(filtered)];
    let (here, _fake) = chat(scripts).await;
    for (chunks, code) in [(1, "model_"), (0, "model_overloaded"), (1, "model_filtered")] {
        let mut stream = Stream::post(&here, PATH, json!({"message": "hi"})).await;
        let events = stream.rest().await;
        assert_eq!(events.len(), chunks + 2, "{events:?}");
        assert!(events[..chunks].iter().all(|event| event["chunk"].is_string()));
        let error = &events[chunks];
        assert!(error["code"].as_str().unwrap().starts_with(code), "{error}");
        assert!(!error["error"].as_str().unwrap().contains("sk-secret"), "{error}");
        assert_eq!(events[chunks + 1], json!({"done": true}));
    }
}

#[tokio::test]
async fn a_model_that_fails_in_the_middle_is_told_by_its_own_code() {
    let fake = Fake::start([Script::Speak(vec![Do::Say("음"), Do::Fail])]).await;
    let chat = Chat::new(Model::new(RetryModel::new(fake.model())));
    let here = Here::made(Runtime::builder(), |server| server.chat(chat)).await;
    let mut stream = Stream::post(&here, PATH, json!({"message": "hi"})).await;
    let events = stream.rest().await;
    assert_eq!((&events[0], &events[1]["code"]), (&json!({"chunk": "음"}), &json!("model_overloaded")));
    assert_eq!(
        (events.len(), fake.seen.lock().len()),
        (3, 1),
        "what was shown is not made again: {events:?}"
    );
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_call_of_the_model() {
    let begun = || Script::Speak(vec![Do::Say("하나"), Do::Wait]);
    let (here, fake) = chat([begun(), Script::Speak(vec![Do::Wait]), begun()]).await;
    let mut stream = Stream::post(&here, PATH, json!({"message": "hi"})).await;
    stream.next().await;
    fake.waits().await;
    drop(stream);
    fake.hung_up().await;
    // Also before the first word, and by the browser's way.
    let stream = Stream::post(&here, PATH, json!({"message": "hi"})).await;
    fake.waits().await;
    drop(stream);
    fake.hung_up().await;
    let stream = Stream::open(&here, &format!("{PATH}?message=hi"), &[]).await;
    fake.waits().await;
    drop(stream);
    fake.hung_up().await;
}

#[tokio::test]
async fn a_silent_model_is_bridged_by_comments() {
    let speak = vec![Do::Wait, Do::Say("늦었습니다"), Do::End("stop")];
    let (here, fake) = chat_with([Script::Speak(speak)], Duration::from_millis(5)).await;
    let mut stream = Stream::post(&here, PATH, json!({"message": "hi"})).await;
    for _ in 0..3 {
        assert_eq!(stream.raw().await.unwrap(), ": ping\n\n");
    }
    fake.gate.add_permits(1);
    assert_eq!(stream.rest().await, [json!({"chunk": "늦었습니다"}), json!({"done": true})]);
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_head() {
    let speak = vec![Do::Wait, Do::Say("끝"), Do::End("stop")];
    let fake = Fake::start([Script::Speak(speak)]).await;
    let chat = Chat::new(fake.model());
    let here = Here::made(Runtime::builder(), |server| {
        server.chat(chat).options(|options| {
            options.ping = Duration::from_millis(20);
            options.head_time = Duration::from_millis(60);
        })
    })
    .await;
    let mut stream = Stream::post(&here, PATH, json!({"message": "hi"})).await;
    // For more than three times as long as a head may take.
    for _ in 0..10 {
        assert_eq!(stream.raw().await.unwrap(), ": ping\n\n");
    }
    fake.gate.add_permits(1);
    assert_eq!(stream.rest().await, [json!({"chunk": "끝"}), json!({"done": true})]);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_model_back() {
    const WHOLE: usize = 1024 * 1024 * 1024;
    let (here, fake) = chat([Script::Speak(vec![Do::Flood(WHOLE), Do::End("stop")])]).await;
    let mut stream = Stream::post(&here, PATH, json!({"message": "hi"})).await;
    stream.next().await;
    timeout(LONG, fake.stalled.notified()).await.unwrap();
    let taken = *fake.flooded.lock();
    // What the machine's own socket buffers hold.
    assert!(taken < WHOLE / 16, "{taken} bytes were taken of a model that nobody listens to");
}

#[tokio::test]
async fn hostile_requests_are_refused_before_the_model_is_asked() {
    let (here, fake) = chat([]).await;
    let long = "가".repeat(11_000);
    let many: Vec<Value> = (0..1_001).map(|_| json!({"role": "user", "content": "x"})).collect();
    let turn = |role: Value, content: Value| json!({"message": "hi", "history": [{"role": role, "content": content}]});
    for (body, code) in [
        (json!({}), "empty_message"),
        (json!({"message": " \n"}), "empty_message"),
        (json!({"message": null}), "empty_message"),
        (json!({"message": 7}), "invalid_request"),
        (json!({"message": long}), "message_too_long"),
        (json!(["message"]), "invalid_request"),
        (json!({"message": "hi", "history": "none"}), "invalid_request"),
        (json!({"message": "hi", "history": [1]}), "invalid_request"),
        (json!({"message": "hi", "history": many}), "invalid_request"),
        (turn(json!("tool"), json!("x")), "invalid_request"),
        (turn(json!("User"), json!("x")), "invalid_request"),
        (turn(json!(null), json!("x")), "invalid_request"),
        (turn(json!("user"), json!(null)), "invalid_request"),
        (turn(json!("user"), json!([{"type": "text"}])), "invalid_request"),
        (turn(json!("user"), json!(long)), "message_too_long"),
    ] {
        let reply = here.post(PATH, body).await;
        assert_eq!(reply.refusal(), (400, code), "{reply:?}");
        assert!(reply.body["error"].is_string());
    }
    let raw = |body: &'static [u8]| here.send(Method::POST, PATH, &[], body);
    assert_eq!(raw(b"{\"message\": \"\xff\xfe\"}").await.refusal(), (400, "invalid_json"));
    assert_eq!(raw(b"").await.refusal(), (400, "invalid_json"));
    for (query, code) in [
        ("", "empty_message"),
        ("?message=", "empty_message"),
        ("?message=%ff", "invalid_request"),
        ("?message=hi&history=%7B", "invalid_json"),
        ("?message=hi&history=7", "invalid_request"),
        ("?message=hi&history=%5B7%5D", "invalid_request"),
    ] {
        assert_eq!(here.get(&format!("{PATH}{query}")).await.refusal(), (400, code), "{query}");
    }
    let deep = format!("?message=hi&history={}{}", "%5B".repeat(200), "%5D".repeat(200));
    assert_eq!(here.get(&format!("{PATH}{deep}")).await.refusal(), (400, "too_deep"));
    assert_eq!(here.send(Method::PUT, PATH, &[], "").await.refusal(), (405, "method_not_allowed"));
    assert_eq!(here.get("/api/chat/other").await.refusal(), (404, "not_found"));
    assert_eq!(fake.seen.lock().len(), 0);
}

#[tokio::test]
async fn pages_of_this_machine_may_and_others_cannot_even_make_the_model_work() {
    let (here, fake) = chat([says("a"), says("b")]).await;
    for origin in ["http://localhost:5173", "http://127.0.0.1:5173"] {
        let reply =
            here.send(Method::POST, PATH, &[("origin", origin)], json!({"message": "hi"}).to_string()).await;
        assert_eq!(reply.headers["access-control-allow-origin"], origin);
        assert!(reply.text.ends_with("data: {\"done\":true}\n\n"), "{}", reply.text);
    }
    let path = format!("{PATH}?message=hi");
    for headers in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let reply = here.send(Method::GET, &path, &[headers], "").await;
        assert_eq!(reply.refusal(), (403, "origin_not_allowed"));
    }
    assert_eq!(fake.seen.lock().len(), 2);
}

#[tokio::test]
async fn without_a_model_the_path_says_so() {
    let here = Here::trend().await;
    let reply = here.post(PATH, json!({"message": "hi"})).await;
    assert_eq!(reply.refusal(), (503, "no_model"));
    assert_eq!(here.get("/health").await.body["status"], "healthy");
}

#[tokio::test]
async fn without_a_task_agent_the_paths_of_task_agents_answer_with_a_named_error() {
    let (here, fake) = chat([]).await;
    for path in ["/run", "/run-async", "/api/agent/run", "/api/agent/run-async"] {
        let reply = here.post(path, json!({"message": "hi", "session_id": "s"})).await;
        assert_eq!(reply.refusal(), (503, "no_agent"), "{path}");
    }
    assert_eq!(here.get("/status/s").await.refusal(), (404, "session_not_found"));
    assert_eq!(here.get("/agents").await.body["agents"], json!([]));
    assert!(fake.seen.lock().is_empty());
}
