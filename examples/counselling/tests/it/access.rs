//! Sessions: creation, required ones, tokens, owners.

use agent_core::secret::Secret;
use agent_server::{Auth, auth::Jwt};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use counselling::Settings;
use hyper::Method;
use ring::hmac;
use serde_json::json;

use crate::support::{Here, client::Client, in_memory, quick, send, upstream::says};

const KEY: &str = "a secret of at least thirty-two bytes";

fn token_of(subject: &str) -> String {
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let text = format!(
        "{}.{}",
        part(json!({"alg": "HS256"})),
        part(json!({"sub": subject, "exp": 4_000_000_000_u64}))
    );
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes()), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn with_tokens(settings: Settings) -> Here {
    let auth = Auth::required().tokens(Jwt::hs256(&Secret::new(KEY)));
    Here::with(settings, in_memory(), [says(&["네."])], |server| server.auth(auth)).await
}

#[tokio::test]
async fn a_session_is_created_by_request_or_by_its_first_connection() {
    let here = Here::start([says(&["네."])]).await;
    let post = |body: &'static str| send(here.address, Method::POST, "/api/sessions", &[], body);
    let made = post("").await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["session_id"].as_str().unwrap().to_owned();
    assert!(here.stores.conversations.has_session(&id).await.unwrap());
    assert_eq!(post(r#"{"session_id": "mine"}"#).await.status, 201);
    let again = post(r#"{"session_id": "mine"}"#).await;
    assert_eq!((again.status, &again.body), (200, &json!({"session_id": "mine"})));
    for (body, code) in [
        (r#"{"session_id": "a b"}"#, "invalid_session_id"),
        (r#"{"session_id": 5}"#, "invalid_session_id"),
        ("{", "invalid_request"),
    ] {
        let refused = post(body).await;
        assert_eq!((refused.status, refused.body["code"].as_str()), (400, Some(code)), "{body}");
        assert_eq!(refused.body["detail"], refused.body["message"]);
    }
    assert!(!here.stores.conversations.has_session("first").await.unwrap());
    let mut client = here.client("first").await;
    client.ask("안녕").await;
    client.answer().await;
    assert!(here.stores.conversations.has_session("first").await.unwrap());
}

#[tokio::test]
async fn an_unknown_session_is_refused_in_korean_where_sessions_are_required() {
    let settings = Settings { require_session: true, ..quick() };
    let here = Here::with(settings, in_memory(), [says(&["네."])], |server| server).await;
    let mut client = here.client("s").await;
    assert_eq!(client.refusal().await, "존재하지 않는 세션입니다");
    assert_eq!(client.closed().await, Some((4004, "존재하지 않는 세션입니다".to_owned())));
    let unknown = here.get("/api/sessions/s/conversations").await;
    assert_eq!((unknown.status, unknown.body["code"].as_str()), (404, Some("session_not_found")));
    here.stores.conversations.create_session("s").await.unwrap();
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    assert_eq!(client.answer().await.text(), "네.");
}

#[tokio::test]
async fn a_token_comes_by_query_header_or_subprotocol() {
    let here = with_tokens(quick()).await;
    let token = token_of("alice");
    let connect = |path: String, headers: Vec<(&'static str, String)>| {
        let address = here.address;
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Client::try_connect(address, &path, &headers).await
        }
    };
    for (path, headers) in [
        (format!("a?token={token}"), vec![]),
        ("b".to_owned(), vec![("authorization", format!("Bearer {token}"))]),
    ] {
        let mut client = connect(path, headers).await.unwrap();
        client.ask("안녕").await;
        assert_eq!(client.answer().await.text(), "네.");
    }
    let refused = connect("c".to_owned(), vec![]).await.err().unwrap();
    assert_eq!((refused.0, refused.1["code"].as_str()), (401, Some("unauthorized")));
    for wrong in ["c?token=", "c?token=x", &format!("c?token={token}x"), "c?token=%00%ff"] {
        let refused = connect(wrong.to_owned(), vec![]).await.err().unwrap();
        assert_eq!(refused.0, 401, "{wrong}");
    }
    // The query is read on this route only.
    assert_eq!(here.get(&format!("/sessions?token={token}")).await.status, 401);
    let by_header = format!("Bearer {token}");
    let list = send(here.address, Method::GET, "/sessions", &[("authorization", &by_header)], "").await;
    assert_eq!(
        list.body["sessions"].as_array().unwrap().len(),
        2,
        "the dashboard shows the caller's: {list:?}"
    );
}

#[tokio::test]
async fn a_session_belongs_to_the_subject_that_opened_it_first() {
    let here = with_tokens(quick()).await;
    let path = |name: &str| format!("s?token={}", token_of(name));
    let mut alice = here.client(&path("alice")).await;
    alice.ask("안녕").await;
    alice.answer().await;
    let mut mallory = here.client(&path("mallory")).await;
    assert_eq!(mallory.refusal().await, "존재하지 않는 세션입니다");
    assert_eq!(mallory.closed().await.unwrap().0, 4004);
    alice.ask("아직 있어요").await;
    assert_eq!(alice.answer().await.text(), "네.", "the other caller did not replace the connection");
    let by = format!("Bearer {}", token_of("mallory"));
    let body = r#"{"session_id": "s"}"#;
    let refused = send(here.address, Method::POST, "/api/sessions", &[("authorization", &by)], body).await;
    assert_eq!((refused.status, refused.body["code"].as_str()), (404, Some("session_not_found")));
}

#[tokio::test]
async fn with_tokens_the_limit_is_per_subject() {
    let here = with_tokens(Settings { requests_per_minute: 2, ..quick() }).await;
    for session in ["a", "b"] {
        let mut client = here.client(&format!("{session}?token={}", token_of("alice"))).await;
        client.ask("안녕").await;
        assert_eq!(client.answer().await.error, None);
    }
    let mut third = here.client(&format!("c?token={}", token_of("alice"))).await;
    third.ask("안녕").await;
    assert_eq!(third.refusal().await, "요청이 너무 많습니다. 잠시 후 다시 시도해주세요");
    let mut other = here.client(&format!("d?token={}", token_of("bob"))).await;
    other.ask("안녕").await;
    assert_eq!(other.answer().await.error, None);
}

#[tokio::test]
async fn the_exchanges_of_a_session_are_read_by_its_owner_only() {
    let here = with_tokens(quick()).await;
    let read = |session: &'static str, subject: &'static str| {
        let address = here.address;
        async move {
            let header = format!("Bearer {}", token_of(subject));
            let path = format!("/api/sessions/{session}/conversations");
            send(address, Method::GET, &path, &[("authorization", &header)], "").await
        }
    };
    assert_eq!(read("s", "bob").await.body, json!({"conversations": []}));
    let path = format!("s?token={}", token_of("alice"));
    let mut client = Client::try_connect(here.address, &path, &[]).await.unwrap();
    assert_eq!(read("s", "alice").await.body, json!({"conversations": []}));
    client.send("request_ai_response", json!({"message": "안녕", "emotion": "sad", "timestamp": 7})).await;
    client.answer().await;
    here.settled("s").await;
    let exchange = json!({"user_message": "안녕", "ai_response": "네.", "emotion": "sad", "timestamp": 7});
    assert_eq!(read("s", "alice").await.body, json!({"conversations": [exchange]}));
    assert_eq!(read("s", "bob").await.status, 404);
    assert_eq!(read("a%20b", "alice").await.status, 400);
    assert_eq!(here.get("/api/sessions/s/conversations").await.status, 401);
}
