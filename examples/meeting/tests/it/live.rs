//! A live meeting: audio in both forms, transcripts, speakers, corrections, drops, restarts.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    endpoint::{Connection, Endpoint},
    support::{Client, PATIENCE, Running, audio, realtime, setup},
};

/// A started meeting with its upstream.
async fn started() -> (Running, Endpoint, Client, Connection) {
    let endpoint = Endpoint::bind().await;
    let running = Running::start(realtime(&endpoint.url)).await;
    let mut client = running.join("m1").await;
    client.next("ready").await;
    client.send("start", setup()).await;
    client.next("ready").await;
    client.audio(&audio(100)).await;
    let mut connection = endpoint.session().await;
    connection.audio(4_800).await;
    (running, endpoint, client, connection)
}

/// The upstream transcribes an utterance.
async fn say(connection: &mut Connection, item: &str, start: u64, end: u64, text: &str) {
    connection.speech(item, start, end).await;
    connection.transcript(item, &[text]).await;
}

#[tokio::test]
async fn audio_in_both_forms_reaches_the_upstream_and_transcripts_the_client() {
    let endpoint = Endpoint::bind().await;
    let running = Running::start(realtime(&endpoint.url)).await;
    let mut client = running.join("m1").await;
    let ready = client.next("ready").await;
    assert_eq!(
        (&ready["meeting_id"], &ready["participants"], &ready["status"]),
        (&json!("m1"), &json!([]), &json!("new"))
    );
    client.send("start", setup()).await;
    let ready = client.next("ready").await;
    assert_eq!(ready["participants"], setup()["participants"]);
    assert_eq!(ready["principles"], setup()["principles"]);
    client.audio(&audio(100)).await;
    client.send("audio", json!({"audio": STANDARD.encode(audio(50))})).await;
    let mut connection = endpoint.accept().await;
    connection.send(json!({"type": "session.created"})).await;
    let update = connection.next().await;
    assert_eq!(update["session"]["audio"]["input"]["transcription"]["language"], "ko");
    assert_eq!(connection.audio(7_200).await, [audio(100), audio(50)].concat());
    assert_eq!(
        client.next("status").await,
        json!({"upstream": "connected", "buffered_ms": 0, "dropped_ms": 0})
    );
    connection.speech("a", 20, 120).await;
    connection.transcript("a", &["안녕하세요, ", "مرحبا 🙂"]).await;
    assert_eq!(client.next("transcript_partial").await, json!({"item_id": "a", "text": "안녕하세요, "}));
    assert_eq!(
        client.next("transcript_partial").await,
        json!({"item_id": "a", "text": "안녕하세요, مرحبا 🙂"})
    );
    let transcript = client.next("transcript").await;
    // What a client has is in the files.
    assert!(running.file("m1.md").ends_with("## 대화록\n\n- [00:00] **?**: 안녕하세요, مرحبا 🙂\n"));
    assert!(running.file("m1.jsonl").contains("مرحبا 🙂"));
    let expected = json!({"item_id": "a", "speaker": null, "confidence": 0.0, "text": "안녕하세요, مرحبا 🙂", "start_ms": 20, "end_ms": 120});
    assert_eq!(transcript, expected);
}

#[tokio::test]
async fn a_meeting_starts_with_its_first_audio() {
    let endpoint = Endpoint::bind().await;
    let running = Running::start(realtime(&endpoint.url)).await;
    let mut client = running.join("m1").await;
    client.next("ready").await;
    client.audio(&audio(20)).await;
    assert_eq!(client.next("ready").await["status"], "running");
    endpoint.session().await;
    assert_eq!(running.get("/api/v1/meetings/m1").await["status"], "running");
}

#[tokio::test]
async fn who_pressed_the_button_said_it_and_a_change_ends_the_turn() {
    let (_running, _endpoint, mut client, mut connection) = started().await;
    client.send("speaker", json!({"speaker": "minsu"})).await;
    client.settled().await;
    client.audio(&audio(400)).await;
    connection.next_is("input_audio_buffer.commit").await;
    connection.audio(19_200).await;
    client.send("speaker", json!({"speaker": "jimin"})).await;
    connection.next_is("input_audio_buffer.commit").await;
    client.audio(&audio(300)).await;
    connection.audio(14_400).await;
    say(&mut connection, "a", 90, 480, "안건을 봅시다").await;
    say(&mut connection, "b", 520, 790, "네").await;
    let one = client.next("transcript").await;
    assert_eq!((&one["speaker"], &one["text"]), (&json!("minsu"), &json!("안건을 봅시다")));
    assert!(one["confidence"].as_f64().unwrap() > 0.9, "{one}");
    assert_eq!(client.next("transcript").await["speaker"], "jimin");
    client.send("speaker", json!({"speaker": "nobody"})).await;
    assert_eq!(client.next("error").await["details"]["code"], "unknown_participant");
}

#[tokio::test]
async fn a_correction_is_stored_and_sent_to_everyone() {
    let (running, _endpoint, mut client, mut connection) = started().await;
    let mut other = running.join("m1").await;
    say(&mut connection, "a", 0, 100, "출시 이른 금요일").await;
    client.next("transcript").await;
    other.next("transcript").await;
    client.send("correct", json!({"item_id": "a", "speaker": "jimin", "text": "출시일은 금요일"})).await;
    for client in [&mut client, &mut other] {
        let corrected = client.next("transcript").await;
        assert_eq!((&corrected["speaker"], &corrected["confidence"]), (&json!("jimin"), &json!(1.0)));
        assert_eq!(corrected["text"], "출시일은 금요일");
    }
    assert!(running.file("m1.md").ends_with("- [00:00] **김지민**: 출시일은 금요일\n"));
    assert_eq!(
        client.refused(r#"{"type":"correct","data":{"item_id":"zz","text":"x"}}"#).await,
        "unknown_item"
    );
}

#[tokio::test]
async fn one_that_joins_late_sees_what_was_said() {
    let (running, _endpoint, mut client, mut connection) = started().await;
    say(&mut connection, "a", 0, 50, "하나").await;
    say(&mut connection, "b", 50, 100, "둘").await;
    client.next("transcript").await;
    client.next("transcript").await;
    connection.send(json!({"type": "conversation.item.input_audio_transcription.delta", "item_id": "c", "delta": "세"})).await;
    client.next("transcript_partial").await;
    let mut late = running.join("m1").await;
    assert_eq!(late.any().await["data"]["title"], "제품 출시");
    assert_eq!(late.next("transcript").await["text"], "하나");
    assert_eq!(late.next("transcript").await["text"], "둘");
    assert_eq!(late.next("transcript_partial").await["text"], "세");
    assert_eq!(late.next("status").await["upstream"], "connected");
}

#[tokio::test]
async fn bad_input_of_every_kind_gets_an_error_and_the_connection_lives() {
    let (_running, _endpoint, mut client, mut connection) = started().await;
    for (text, code) in [
        ("", "not_json"),
        ("{", "not_json"),
        ("[]", "not_json"),
        (r#"{"data":{}}"#, "not_json"),
        (r#"{"type":"nonsense","data":{}}"#, "unknown_type"),
        (r#"{"type":"audio","data":{"audio":7}}"#, "invalid_data"),
        (r#"{"type":"audio","data":{"audio":"!!!"}}"#, "invalid_audio"),
        (r#"{"type":"start","data":{"principles":["../../etc/passwd"]}}"#, "unknown_principle"),
        (r#"{"type":"start","data":{"principles":["없는원칙"]}}"#, "unknown_principle"),
        (r#"{"type":"start","data":{"participants":"x"}}"#, "invalid_data"),
        (r#"{"type":"speaker","data":{}}"#, "invalid_data"),
        (r#"{"type":"correct","data":{"item_id":"a","text":" "}}"#, "invalid_data"),
    ] {
        assert_eq!(client.refused(text).await, code, "{text}");
    }
    for (bytes, code) in [(0, "invalid_audio"), (3, "invalid_audio"), (240_002, "audio_too_large")] {
        client.audio(&vec![0; bytes]).await;
        assert_eq!(client.next("error").await["details"]["code"], code, "{bytes}");
    }
    let large = STANDARD.encode(vec![0; 240_002]);
    client.send("audio", json!({"audio": large})).await;
    assert_eq!(client.next("error").await["details"]["code"], "audio_too_large");
    client.audio(&audio(20)).await;
    assert_eq!(connection.audio(960).await, audio(20), "only valid audio was relayed");
}

#[tokio::test]
async fn a_drop_of_the_upstream_is_shown_and_its_audio_is_not_lost() {
    let (_running, endpoint, mut client, connection) = started().await;
    assert_eq!(client.next("status").await["upstream"], "connected");
    drop(connection);
    assert_eq!(client.next("status").await["upstream"], "reconnecting");
    client.audio(&audio(100)).await;
    let mut connection = endpoint.session().await;
    assert_eq!(client.next("status").await["upstream"], "connected");
    assert_eq!(connection.audio(9_600).await.len(), 9_600, "also what was not transcribed before");
    say(&mut connection, "a", 0, 200, "둘 다").await;
    let transcript = client.next("transcript").await;
    assert_eq!((&transcript["start_ms"], &transcript["end_ms"]), (&json!(0), &json!(200)));
}

#[tokio::test]
async fn an_upstream_that_refuses_the_key_is_lost_and_the_client_learns_why() {
    let endpoint = Endpoint::bind().await;
    let running = Running::start(realtime(&endpoint.url)).await;
    let mut client = running.join("m1").await;
    client.audio(&audio(100)).await;
    endpoint.refuse(401).await;
    let error = client.next("error").await;
    assert_eq!(error["error"], "the transcription endpoint rejected the API key");
    assert_eq!(client.next("status").await["upstream"], "lost");
    client.audio(&audio(100)).await;
    // Losses are counted.
    loop {
        let status = client.next("status").await;
        assert_eq!(status["upstream"], "lost");
        if status["dropped_ms"] == 200 {
            break;
        }
    }
    client.settled().await;
}

#[tokio::test]
async fn a_meeting_continues_after_a_restart() {
    let (running, endpoint, mut client, mut connection) = started().await;
    say(&mut connection, "a", 0, 100, "첫 번째").await;
    client.next("transcript").await;
    let (folder, clock) = (Arc::clone(&running.folder), Arc::clone(&running.clock));
    // As a crash: half a record is at the end of the log, and the Markdown file is old.
    running.stop().await;
    let log = folder.path().join("meetings/m1.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, format!("{text}{{\"record\":\"said\",\"item")).unwrap();
    std::fs::write(folder.path().join("meetings/m1.md"), "old").unwrap();
    clock.advance(Duration::from_secs(60));
    let running = Running::start_in(folder, realtime(&endpoint.url), clock).await;
    let mut client = running.join("m1").await;
    assert_eq!(client.next("ready").await["participants"], setup()["participants"]);
    assert_eq!(client.next("transcript").await["text"], "첫 번째");
    client.audio(&audio(100)).await;
    let mut connection = endpoint.session().await;
    connection.audio(4_800).await;
    say(&mut connection, "a", 0, 100, "두 번째").await;
    let second = client.next("transcript").await;
    assert_eq!((&second["item_id"], &second["start_ms"]), (&json!("a-2"), &json!(60_000)), "time went on");
    let file = running.file("m1.md");
    assert!(file.ends_with("- [00:00] **?**: 첫 번째\n- [01:00] **?**: 두 번째\n"), "{file}");
    running.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_delay_the_others() {
    let (running, _endpoint, mut client, mut connection) = started().await;
    let _silent = running.join("m1").await;
    let long = "가".repeat(3_000);
    for number in 0..1_500 {
        let item = format!("i{number}");
        say(&mut connection, &item, 0, 100, &long).await;
        assert_eq!(client.next("transcript").await["item_id"], item);
    }
}

#[tokio::test]
async fn an_id_that_is_no_meeting_id_is_refused() {
    use futures::StreamExt;
    let running = Running::start(meeting::transcribe::Upstream::None).await;
    for id in ["%2e%2e%2fetc", "a%20b", &"x".repeat(129), "%EA%B0%80"] {
        let mut client = running.join(id).await;
        let closed = tokio::time::timeout(PATIENCE, client.socket.next()).await.unwrap().unwrap().unwrap();
        assert!(closed.is_close(), "{id}: {closed:?}");
    }
}
