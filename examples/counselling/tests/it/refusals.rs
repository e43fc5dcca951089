//! Refusals, and frames that are not what they should be.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Here, in_memory, quick, upstream::says};

#[tokio::test]
async fn refusals_come_in_order_without_begin_and_do_not_count() {
    let settings = counselling::Settings { requests_per_minute: 1, ..quick() };
    let here = Here::with(settings, in_memory(), [says(&["네."])], |server| server).await;
    let mut client = here.client("s").await;
    let long = "가".repeat(2_001);
    for _ in 0..3 {
        client.ask(" \u{3000}\n").await;
        assert_eq!(client.refusal().await, "메시지가 비어있습니다");
        client.ask(&long).await;
        assert_eq!(client.refusal().await, "메시지가 너무 깁니다 (최대 2000자)");
    }
    client.ask(&format!("  {}\t", "😀".repeat(2_000))).await;
    assert_eq!(client.answer().await.text(), "네.");
    client.ask("또").await;
    assert_eq!(client.refusal().await, "요청이 너무 많습니다. 잠시 후 다시 시도해주세요");
    // Beyond the limit, the earlier refusals are the same.
    client.ask("").await;
    assert_eq!(client.refusal().await, "메시지가 비어있습니다");
    client.ask(&long).await;
    assert_eq!(client.refusal().await, "메시지가 너무 깁니다 (최대 2000자)");
    assert_eq!(here.upstream.requests().len(), 1);
}

#[tokio::test]
async fn bad_frames_get_an_error_and_the_connection_lives() {
    let here = Here::start([says(&["네."])]).await;
    let mut client = here.client("s").await;
    let not_json = "메시지 형식이 올바르지 않습니다 (JSON이 아닙니다)";
    let deep = "[".repeat(50_000);
    for frame in ["", "{", "안녕하세요", "{\"type\": ", &deep, "\"\\ud800\""] {
        client.raw(frame).await;
        assert_eq!(client.refusal().await, not_json, "{frame:.20}");
    }
    client.raw(Message::binary(vec![0xff, 0x00])).await;
    assert_eq!(client.refusal().await, not_json);
    for ignored in
        ["{}", "[]", "7", "null", r#"{"type": null}"#, r#"{"type": "ai_stream_begin", "data": {}}"#]
    {
        client.raw(ignored).await;
    }
    client.send("vad_metrics", json!({"energy": [0.1, 0.2]})).await;
    client.send("emotion_update", json!(["x"])).await;
    client.raw(Message::Ping(vec![1].into())).await;
    let empty = [json!(null), json!([]), json!("x"), json!({"message": null}), json!({"message": {"a": 1}})];
    for data in empty {
        client.send("request_ai_response", data.clone()).await;
        assert_eq!(client.refusal().await, "메시지가 비어있습니다", "{data}");
    }
    client.raw(r#"{"type": "request_ai_response"}"#).await;
    assert_eq!(client.refusal().await, "메시지가 비어있습니다");
    let frame = json!({"type": "request_ai_response", "data": {"message": "안녕\u{0}", "emotion": 5, "timestamp": "x"}});
    client.raw(Message::binary(frame.to_string().into_bytes())).await;
    assert_eq!(client.answer().await.text(), "네.", "JSON in a binary frame is JSON");
}

#[tokio::test]
async fn a_flood_of_frames_while_an_answer_is_sent_is_answered_in_order() {
    let here = Here::start([says(&["네."])]).await;
    let mut client = here.client("s").await;
    client.ask("안녕").await;
    for _ in 0..2_000 {
        client.raw("x").await;
    }
    assert_eq!(client.answer().await.text(), "네.");
    for _ in 0..2_000 {
        client.refusal().await;
    }
}

#[tokio::test]
async fn an_invalid_id_is_refused_before_the_handshake() {
    let here = Here::start([says(&["네."])]).await;
    let long = "a".repeat(129);
    for id in ["a%20b", "%ED%95%9C", &*long, "a%2Fb", "a%00"] {
        let refused = crate::support::client::Client::try_connect(here.address, id, &[]).await;
        let (status, body) = refused.err().unwrap();
        assert_eq!((status, body["code"].as_str()), (400, Some("invalid_session_id")), "{id}");
        assert!(body["detail"].as_str().unwrap().starts_with("세션 ID가 올바르지 않습니다"), "{body}");
    }
    let allowed = "Az09._:-".repeat(16);
    let mut client = here.client(&allowed).await;
    client.ask("안녕").await;
    assert_eq!(client.answer().await.text(), "네.");
}
