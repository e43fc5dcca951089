//! What the contracts of systems 1, 2 and 4 have in common: errors, origins, names, responses, stops.

use agent_core::{Runtime, tool::ToolRegistry};
use agent_server::{Assistant, Chat};
use hyper::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    Here, Reply,
    agent::{Puppeteer, Strings, puppet},
    stream::Stream,
    upstream::{Do, Fake, Script, calls, says},
};

const ASK: &str = "라네즈 리뷰를 분석해 주세요";
const ASK_ENGLISH: &str = "Analyse the COSRX reviews";
const NAMED: &str = "Analyse the Laneige reviews for buyers";
const FRONT: &str = "http://localhost:5173";
const TALK: &str = "/api/v1/chat";

async fn puppets() -> (Here, std::sync::Arc<Strings>) {
    let (runtime, strings) = puppet();
    (Here::of(runtime, Puppeteer, |_| {}).await, strings)
}

/// The chats over a scripted endpoint.
async fn chats(scripts: impl IntoIterator<Item = Script>) -> (Here, std::sync::Arc<Fake>) {
    let fake = Fake::start(scripts).await;
    let assistant = Assistant::built_in(fake.model()).unwrap();
    let chat = Chat::new(fake.model());
    (Here::made(Runtime::builder(), |server| server.chat(chat).assistant(assistant)).await, fake)
}

fn ends(steps: Vec<Do>, reason: &'static str) -> Script {
    Script::Speak(steps.into_iter().chain([Do::End(reason)]).collect())
}

#[tokio::test]
async fn every_error_says_it_twice_and_has_the_path_of_a_page_and_whether_a_retry_helps() {
    let (here, _fake) = chats([Script::Refuse(401, "no")]).await;
    let errors = [
        here.post("/run", json!({"message": ""})).await,
        here.get("/status/nobody").await,
        here.get("/status/a%20b").await,
        here.get("/nope").await,
        here.get("/run").await,
        here.get("/ws/x").await,
        here.send(Method::POST, "/run", &[], "{x").await,
        here.post("/run", json!({"message": "x", "agent": "nobody"})).await,
        here.post("/api/chat/stream", json!({"message": ""})).await,
        here.post(TALK, json!({"content": ""})).await,
        here.post(TALK, json!({"content": "hi"})).await,
        here.get("/docs/errors/nonsense").await,
    ];
    for error in &errors {
        let body = &error.body;
        assert!(body["detail"].as_str().is_some_and(|text| !text.is_empty()), "{error:?}");
        assert_eq!(body["detail"], body["message"], "{error:?}");
        assert!(body["retryable"].is_boolean(), "{error:?}");
        let page = here.get(body["help"].as_str().unwrap()).await;
        assert_eq!(page.status, 200, "{error:?}");
        assert!(page.text.contains(body["code"].as_str().unwrap()), "{error:?}");
    }
    assert_eq!(errors[10].refusal(), (502, "model_auth"));
    assert_eq!(errors[10].body["error"], errors[10].body["detail"]);
    assert!(errors[10].body["detail"].as_str().unwrap().contains("OPENAI_API_KEY"), "{:?}", errors[10]);
    let openai = here.post("/v1/chat/completions", json!({"model": "none", "messages": []})).await;
    assert!(openai.body["error"]["help"].is_string(), "{openai:?}");
}

#[tokio::test]
async fn an_error_of_a_socket_or_a_stream_has_the_path_of_its_page_too() {
    let (here, _fake) = chats([ends(vec![Do::Say("여기"), Do::Fail], "stop")]).await;
    let mut socket = here.socket("s", "").await;
    socket.raw(Message::text("nonsense")).await;
    let error = socket.next().await["data"].clone();
    assert!(
        error["error"].as_str().unwrap().starts_with("invalid JSON at line 1 column 2: a value is expected")
    );
    assert_eq!(error["details"]["help"], "/docs/errors/invalid_json");
    let events = Stream::post(&here, "/api/chat/stream", json!({"message": "hi"})).await.rest().await;
    let error = events.iter().find(|event| event["error"].is_string()).unwrap();
    let page = here.get(error["help"].as_str().unwrap()).await;
    assert_eq!((page.status.as_u16(), error["retryable"].is_boolean()), (200, true), "{error}");
    for code in ["run_stopped", "gap", "seq_ahead", "model_cut"] {
        assert_eq!(here.get(&format!("/docs/errors/{code}")).await.status, 200, "{code}");
    }
}

#[tokio::test]
async fn a_path_with_a_trailing_slash_is_the_same_path() {
    let here = Here::trend().await;
    for path in ["/run/", "/api/agent/run/"] {
        assert_eq!(here.post(path, json!({"message": NAMED, "session_id": "s"})).await.status, 200, "{path}");
    }
    for path in
        ["/health/", "/api/agent/status/s/", "/docs/", "/openapi.json/", "/static/app.js/", "/sessions/"]
    {
        assert_eq!(here.get(path).await.status, 200, "{path}");
    }
    assert_eq!(here.get("/run/").await.refusal(), (405, "method_not_allowed"));
    assert_eq!(here.get("/health//").await.status, 404);
}

#[tokio::test]
async fn an_allowed_origin_may_send_credentials_and_any_header() {
    let (here, _fake) = chats([says("안녕")]).await;
    let header = |reply: &Reply, name: &str| {
        reply.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let headers = [
        ("origin", FRONT),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "x-stainless-os, x-mine"),
    ];
    // Also where there is no such path, so that a page can read the 404.
    for path in ["/run", "/api/chat/stream/", TALK, "/rum"] {
        let reply = here.send(Method::OPTIONS, path, &headers, "").await;
        assert_eq!(reply.status, 204, "{path}");
        assert_eq!(header(&reply, "access-control-allow-origin"), FRONT, "{path}");
        assert_eq!(header(&reply, "access-control-allow-credentials"), "true", "{path}");
        assert_eq!(header(&reply, "access-control-allow-headers"), "x-stainless-os, x-mine", "{path}");
        assert!(header(&reply, "access-control-allow-methods").contains("POST"), "{path}");
    }
    for path in ["/health", "/nope", "/api/chat/stream?message=hi"] {
        let reply = here.send(Method::GET, path, &[("origin", FRONT)], "").await;
        assert_eq!(header(&reply, "access-control-allow-origin"), FRONT, "{path}");
        assert_eq!(header(&reply, "access-control-allow-credentials"), "true", "{path}");
    }
    let foreign =
        here.send(Method::OPTIONS, "/run", &[("origin", "https://evil.example"), headers[1]], "").await;
    assert_eq!(header(&foreign, "access-control-allow-credentials"), "");
    // Every page of every site gets no credentials.
    let (runtime, _) = puppet();
    let any = Here::of(runtime, Puppeteer, |options| options.origins = agent_server::Origins::Any).await;
    let reply = any.send(Method::GET, "/health", &headers[..1], "").await;
    assert_eq!(header(&reply, "access-control-allow-origin"), "*");
    assert_eq!(header(&reply, "access-control-allow-credentials"), "");
}

#[tokio::test]
async fn line_separators_of_unicode_are_escaped_in_json_and_in_streams() {
    let text = "a\u{2028}b\u{2029}c";
    let (here, _fake) = chats([says(text), says(text), says(text)]).await;
    let whole = here.post(TALK, json!({"content": "hi"})).await;
    let stream = here.post("/api/v1/chat/stream", json!({"content": "hi"})).await;
    let chat = here.post("/api/chat/stream", json!({"message": "hi"})).await;
    let status = here.get(&format!("/status/{}", whole.body["conversation_id"].as_str().unwrap())).await;
    for reply in [&whole, &stream, &chat, &status] {
        assert!(reply.text.contains(r"a\u2028b\u2029c"), "{reply:?}");
        assert!(!reply.text.contains(['\u{2028}', '\u{2029}']), "{reply:?}");
    }
    assert_eq!(whole.body["content"], text);
    assert_eq!(chat.headers["connection"], "keep-alive");
}

#[tokio::test]
async fn line_separators_of_unicode_are_escaped_in_messages_of_mcp() {
    let here = Here::with(puppet().0, Puppeteer, |server| server.mcp(ToolRegistry::default())).await;
    let id = "a\u{2028}b\u{2029}c";
    let hello = json!({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
    let headers = [("accept", "application/json, text/event-stream"), ("content-type", "application/json")];
    let reply = here.send(Method::POST, "/mcp", &headers, hello.to_string()).await;
    assert!(
        reply.text.contains(r"a\u2028b\u2029c") && !reply.text.contains(['\u{2028}', '\u{2029}']),
        "{reply:?}"
    );
}

#[tokio::test]
async fn the_root_answers_a_program_with_json_and_a_browser_with_the_page() {
    let here = Here::trend().await;
    for accept in ["application/json", "application/json, text/plain, */*"] {
        let reply = here.send(Method::GET, "/", &[("accept", accept)], "").await;
        assert_eq!(reply.body, json!({"message": "AI Chat Service API"}), "{accept}");
    }
    for accept in ["text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8", "*/*"] {
        let reply = here.send(Method::GET, "/", &[("accept", accept)], "").await;
        assert!(reply.text.contains("/static/app.js"), "{accept}");
    }
}

#[tokio::test]
async fn a_stop_is_seen_by_every_subscriber_and_open_questions_come_again_after_the_resume() {
    let here = Here::trend().await;
    here.start("s", ASK).await;
    let mut plain = here.socket("s", "").await;
    let mut status = here.socket("s", "?events=status").await;
    let question = plain.until("hitl_request").await["data"].clone();
    status.until("hitl_request").await;
    assert_eq!(here.post("/stop/s", json!({})).await.status, 200);
    let stopped = json!({"code": "run_stopped", "help": "/docs/errors/run_stopped", "retryable": false});
    let seen = plain.until("error").await;
    assert_eq!(seen["data"], json!({"error": "stopped", "details": stopped}));
    let before = &plain.got[plain.got.len() - 2];
    assert_eq!((&before["type"], &before["data"]["status"]), (&json!("todo_update"), &json!("cancelled")));
    assert_eq!(status.until("error").await["data"]["error"], "stopped");
    while status.until("status").await["data"]["status"] != "stopped" {}
    // One that comes now sees the stop, and no question that cannot be answered.
    let mut late = here.socket("s", "").await;
    assert_eq!(late.until("error").await["data"]["details"]["code"], "run_stopped");
    late.ping().await;
    assert!(!late.kinds().contains(&"hitl_request".to_owned()), "{:?}", late.kinds());
    plain.say("resume", json!({})).await;
    for socket in [&mut plain, &mut status, &mut late] {
        assert_eq!(socket.until("hitl_request").await["data"], question);
    }
    plain.say("input", json!({"value": question["options"][0]})).await;
    for socket in [&mut plain, &mut status, &mut late] {
        socket.until("complete").await;
    }
}

#[tokio::test]
async fn one_that_reconnects_gets_open_questions_and_none_that_was_answered_meanwhile() {
    let (here, _) = puppets().await;
    here.start("s", "ask two").await;
    let mut first = here.socket("s", "").await;
    let left = first.until("hitl_request").await["data"]["id"].clone();
    let right = first.until("hitl_request").await["data"]["id"].clone();
    first.say("input", json!({"value": 1, "id": left})).await;
    first.ping().await;
    let mut second = here.socket("s", "?after=0").await;
    assert_eq!(second.until("hitl_request").await["data"]["id"], right);
    second.say("input", json!({"value": 2})).await;
    second.until("complete").await;
    let mut third = here.socket("s", "?after=0").await;
    third.until("complete").await;
    assert!(!third.kinds().contains(&"hitl_request".to_owned()), "{:?}", third.kinds());
    // The whole journal has it all the same.
    let mut all = here.socket("s", "?after=0&events=all").await;
    all.until("complete").await;
    let asked = all.got.iter().filter(|message| message["data"]["type"] == "question_asked").count();
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn a_choice_is_answered_by_its_text_its_number_or_its_label_in_the_other_language() {
    let here = Here::trend().await;
    let cases = [
        (ASK, json!(" 마케터 \n"), "마케터"),
        (ASK, json!(3), "마케터"),
        (ASK, json!("3"), "마케터"),
        (ASK, json!("Marketers"), "마케터"),
        (ASK_ENGLISH, json!("BUYERS"), "buyers"),
        (ASK_ENGLISH, json!("소비자"), "buyers"),
    ];
    for (at, (message, answer, meant)) in cases.into_iter().enumerate() {
        let id = format!("s{at}");
        here.start(&id, message).await;
        here.reaches(&id, "paused").await;
        let mut socket = here.socket(&id, "").await;
        if at % 2 == 0 {
            socket.say("input", json!({"value": answer})).await;
        } else {
            let reply = here.post(&format!("/resume/{id}"), json!({"value": answer})).await;
            assert_eq!(reply.status, 200, "{answer}: {reply:?}");
        }
        socket.until("complete").await;
        let journal = here.get(&format!("/sessions/{id}/journal")).await.text;
        assert!(journal.contains(&format!(r#""value":"{meant}""#)), "{answer} is stored as the option");
    }
    here.start("none", ASK).await;
    here.reaches("none", "paused").await;
    for answer in [json!(0), json!(4), json!("4"), json!("nobody"), json!(""), json!(null)] {
        let reply = here.post("/resume/none", json!({"value": answer})).await;
        assert_eq!(reply.refusal(), (422, "invalid_answer"), "{answer}");
    }
}

#[tokio::test]
async fn a_misspelled_name_is_refused_with_the_right_one_and_a_strange_one_is_ignored() {
    let (here, _fake) = chats([says("안녕"), says("안녕"), says("안녕")]).await;
    let cases = [
        ("/run", json!({"mesage": "x"}), "unknown field `mesage`; did you mean `message`?"),
        ("/run", json!({"message": "x", "webhok": {}}), "unknown field `webhok`; did you mean `webhook`?"),
        ("/run", json!({"message": "x", "sessionId": "s"}), "did you mean `session_id`?"),
        (
            "/run-async",
            json!({"message": "x", "webhook": {"ulr": "https://x.example"}}),
            "unknown field `ulr` in `webhook`; did you mean `url`?",
        ),
        ("/api/chat/stream", json!({"message": "x", "histroy": []}), "did you mean `history`?"),
        (
            "/api/chat/stream",
            json!({"message": "x", "history": [{"rol": "user", "content": "x"}]}),
            "unknown field `rol` in `history[0]`; did you mean `role`?",
        ),
        (TALK, json!({"contnt": "x"}), "did you mean `content`?"),
        (TALK, json!({"content": "x", "conversationId": "c"}), "did you mean `conversation_id`?"),
        ("/sessions?limt=3", json!(null), "unknown query parameter `limt`; did you mean `limit`?"),
        ("/api/chat/stream?message=x&histori=[]", json!(null), "did you mean `history`?"),
        ("/ws/s?aftr=3", json!(null), "did you mean `after`?"),
    ];
    for (path, body, expected) in cases {
        let reply = if body.is_null() { here.get(path).await } else { here.post(path, body).await };
        assert_eq!(reply.refusal(), (400, "invalid_request"), "{path}: {reply:?}");
        assert!(reply.body["message"].as_str().unwrap().contains(expected), "{path}: {reply:?}");
    }
    for body in [json!({"content": "x", "zebra": 1}), json!({"content": "x", "user": {"contnt": 1}})] {
        assert_eq!(here.post(TALK, body).await.status, 200);
    }
    assert_eq!(here.get("/sessions?_=1&utm_source=x").await.status, 200);
    let (here, _) = puppets().await;
    let mut socket = here.socket("s", "").await;
    for (frame, expected) in [
        (r#"{"type": "imput"}"#, "unknown `type`; did you mean `input`?"),
        (r#"{"tpye": "ping"}"#, "unknown field `tpye`; did you mean `type`?"),
        (
            r#"{"type": "input", "data": {"vlaue": 1}}"#,
            "unknown field `vlaue` in `data`; did you mean `value`?",
        ),
    ] {
        socket.raw(Message::text(frame)).await;
        assert_eq!(socket.next().await["data"]["error"], expected);
    }
    assert_eq!(here.post("/run", json!({"message": "hi", "session_id": "s"})).await.status, 200);
    let reply = here.post("/resume/s", json!({"vlaue": 1})).await;
    assert_eq!(reply.refusal(), (400, "invalid_request"), "it is not taken for a resume without an answer");
}

#[tokio::test]
async fn a_context_that_the_agent_cannot_use_is_refused_with_what_it_takes() {
    let here = Here::trend().await;
    let run = |context: Value| here.post("/run", json!({"message": "Analyse Anua", "context": context}));
    let unknown = run(json!({"audience": "aliens"})).await;
    assert_eq!(unknown.refusal(), (400, "invalid_request"));
    for value in ["buyers", "makers", "marketers", "소비자"] {
        assert!(unknown.body["message"].as_str().unwrap().contains(&format!("`{value}`")), "{unknown:?}");
    }
    assert_eq!(run(json!({"audience": 7})).await.refusal(), (400, "invalid_request"));
    let misspelled = run(json!({"audiance": "buyers"})).await;
    assert_eq!(misspelled.body["message"], "unknown field `audiance` in `context`; did you mean `audience`?");
    for context in [
        json!({"audience": "Buyers"}),
        json!({"audience": "마케터"}),
        json!({"audience": "makers", "tenant": 7}),
    ] {
        assert_eq!(run(context).await.body["status"], "completed");
    }
    assert_eq!(run(json!({"audience": null})).await.body["status"], "paused");
}

#[tokio::test]
async fn an_unknown_path_names_the_nearest_and_a_wrong_method_the_right_ones() {
    let here = Here::trend().await;
    for (path, nearest) in [
        ("/rum", "`/run` (POST)"),
        ("/api/agent/runasync", "`/api/agent/run-async` (POST)"),
        ("/stauts/x", "`/status/{session_id}` (GET)"),
        ("/chat/stream", "`/api/chat/stream` (POST, GET)"),
        ("/api/v1/chats", "`/api/v1/chat` (POST)"),
    ] {
        let reply = here.post(path, json!({})).await;
        assert_eq!(reply.status, 404);
        assert!(reply.body["message"].as_str().unwrap().contains(nearest), "{path}: {reply:?}");
    }
    let long = format!("/{}", "x".repeat(5_000));
    assert_eq!(here.get(&long).await.body["message"], "there is no route for this path");
    let method = here.get("/run-async").await;
    assert_eq!((method.status.as_u16(), &method.headers["allow"]), (405, &"POST".parse().unwrap()));
    assert!(method.body["message"].as_str().unwrap().contains("POST"));
}

#[tokio::test]
async fn an_answer_that_is_empty_cut_filtered_or_ended_by_the_limit_says_so() {
    let cases = [
        (vec![], "stop", "empty"),
        (vec![Do::Say("  \n")], "stop", "empty"),
        (vec![Do::Say("반만")], "length", "length"),
        (vec![], "length", "length"),
        (vec![Do::Say("일부")], "content_filter", "content_filter"),
        (vec![], "content_filter", "content_filter"),
        (
            vec![Do::Say("<tool_call>{\"name\": \"calculator\", \"arguments\": {\"a\": }}</tool_call>")],
            "stop",
            "malformed_tool_call",
        ),
        (
            vec![Do::Say("볼게요 "), Do::Say("<tool_"), Do::Say("call>{\"name\": \"calcu")],
            "stop",
            "malformed_tool_call",
        ),
    ];
    let scripts =
        cases.iter().flat_map(|(steps, end, _)| [ends(steps.clone(), end), ends(steps.clone(), end)]);
    let (here, _fake) = chats(scripts.collect::<Vec<_>>()).await;
    for (steps, end, reason) in &cases {
        let reply = here.post(TALK, json!({"content": "안녕"})).await;
        let place = format!("{} steps, {end}: {reply:?}", steps.len());
        assert_eq!((reply.status.as_u16(), &reply.body["finish_reason"]), (200, &json!(reason)), "{place}");
        let content = reply.body["content"].as_str().unwrap();
        assert!(!content.trim().is_empty() && !content.contains("tool_call"), "{place}");
        assert_eq!(reply.body["tool_calls"], Value::Null);
        let events =
            Stream::post(&here, "/api/v1/chat/stream", json!({"content": "안녕"})).await.rest().await;
        let done = events.last().unwrap();
        assert_eq!((&done["done"], &done["finish_reason"]), (&json!(true), &json!(reason)), "{place}");
        let deltas: String =
            events[..events.len() - 1].iter().filter_map(|event| event["content"].as_str()).collect();
        assert!(deltas.trim().ends_with(done["content"].as_str().unwrap().trim()), "{deltas}: {place}");
    }
    let sum = r#"{"expression": "1+1"}"#;
    let (here, _fake) = chats((0..12).map(|_| calls("calculator", sum))).await;
    let reply = here.post(TALK, json!({"content": "What is it?"})).await;
    assert_eq!(reply.body["finish_reason"], "call_limit", "{reply:?}");
    assert_eq!(reply.body["content"], "The limit of model calls was reached before there was an answer.");
}

#[tokio::test]
async fn a_chat_answer_without_text_is_an_error_and_a_cut_one_says_so_in_its_end() {
    let (here, _fake) =
        chats([ends(vec![], "stop"), ends(vec![Do::Say("반만")], "length"), ends(vec![], "length")]).await;
    let chat = async || Stream::post(&here, "/api/chat/stream", json!({"message": "hi"})).await.rest().await;
    let empty = chat().await;
    assert_eq!((&empty[0]["code"], &empty[1]), (&json!("model_answer_empty"), &json!({"done": true})));
    let cut = chat().await;
    assert_eq!(cut, [json!({"chunk": "반만"}), json!({"done": true, "finish_reason": "length"})]);
    let nothing = chat().await;
    assert!(nothing[0]["error"].as_str().unwrap().contains("CHAT_MAX_TOKENS"), "{nothing:?}");
}
