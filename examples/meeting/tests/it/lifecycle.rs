//! The life of a meeting: partial transcripts that are removed, clients that leave, restarts, changes on the way.

use std::{sync::Arc, time::Duration};

use agent_core::clock::ManualClock;
use futures::StreamExt;
use meeting::transcribe::Upstream;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    endpoint::{Connection, Endpoint},
    support::{Client, Extra, PATIENCE, Running, audio, demo_audio, realtime, setup},
};

const DELTA: &str = "conversation.item.input_audio_transcription.delta";
const FAILED: &str = "conversation.item.input_audio_transcription.failed";

async fn started(extra: Extra) -> (Running, Endpoint, Client, Connection) {
    let endpoint = Endpoint::bind().await;
    let (folder, clock) = (Arc::new(TempDir::new().unwrap()), Arc::new(ManualClock::new(1_790_000_000_000)));
    let running = Running::start_with(folder, realtime(&endpoint.url), clock, extra).await;
    let mut client = running.join("m1").await;
    client.send("start", setup()).await;
    client.audio(&audio(100)).await;
    let mut connection = endpoint.session().await;
    connection.audio(4_800).await;
    client.next("ready").await;
    client.next("ready").await;
    (running, endpoint, client, connection)
}

async fn say(connection: &mut Connection, item: &str, text: &str) {
    connection.speech(item, 0, 100).await;
    connection.transcript(item, &[text]).await;
}

#[tokio::test]
async fn a_partial_transcript_without_a_final_one_is_removed() {
    let (running, endpoint, mut client, mut connection) = started(Extra::default()).await;
    let empty = |item: &str| json!({"item_id": item, "text": ""});
    for item in ["failed", "silent"] {
        connection.send(json!({"type": DELTA, "item_id": item, "delta": "음"})).await;
        assert_eq!(client.next("transcript_partial").await, json!({"item_id": item, "text": "음"}));
    }
    connection.send(json!({"type": FAILED, "item_id": "failed", "error": {"code": "x"}})).await;
    assert_eq!(client.next("transcript_partial").await, empty("failed"));
    connection.transcript("silent", &[]).await;
    assert_eq!(client.next("transcript_partial").await, empty("silent"));
    connection.send(json!({"type": DELTA, "item_id": "cut", "delta": "끊"})).await;
    client.next("transcript_partial").await;
    drop(connection);
    assert_eq!(client.next("transcript_partial").await, empty("cut"));
    // Another connection may use the same ids: partial and final transcript have the same one.
    let mut connection = endpoint.session().await;
    say(&mut connection, "a", "하나").await;
    client.next("transcript_partial").await;
    client.next("transcript").await;
    say(&mut connection, "a", "둘").await;
    assert_eq!(client.next("transcript_partial").await["item_id"], "a-2");
    assert_eq!(client.next("transcript").await["item_id"], "a-2");
    drop(running);
}

#[tokio::test]
async fn an_endpoint_is_disconnected_when_the_clients_have_left_and_connected_again_by_audio() {
    let extra = Extra { idle: Some(Duration::from_millis(50)), ..Extra::default() };
    let (running, endpoint, mut client, mut connection) = started(extra).await;
    say(&mut connection, "a", "하나").await;
    client.next("transcript").await;
    // While a client is connected it stays, although nothing is said.
    client.settled().await;
    assert_eq!(running.meetings.open(), 1);
    drop(client);
    let mut rest = 0;
    let closed = async {
        while let Some(Ok(message)) = connection.socket.next().await {
            rest += usize::from(message.is_text());
            if message.is_text() {
                connection
                    .send(json!({"type": "error", "error": {"code": "input_audio_buffer_commit_empty"}}))
                    .await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("the endpoint is not disconnected");
    assert_eq!(rest, 1, "a commit");
    let mut client = running.join("m1").await;
    assert_eq!(client.next("transcript").await["text"], "하나");
    client.audio(&audio(100)).await;
    let mut connection = endpoint.session().await;
    connection.audio(4_800).await;
    say(&mut connection, "b", "둘").await;
    assert_eq!(client.next("transcript").await["text"], "둘");
}

#[tokio::test]
async fn a_meeting_that_was_ended_before_a_restart_gets_its_minutes_after_it() {
    let (running, endpoint, mut client, mut connection) = started(Extra::default()).await;
    say(&mut connection, "a", "출시일은 금요일로 하기로 했습니다.").await;
    client.next("transcript").await;
    client.send("end", json!({})).await;
    // The endpoint owes a transcript; the server stops before it arrives.
    connection.next_is("input_audio_buffer.commit").await;
    let (folder, clock) = (Arc::clone(&running.folder), Arc::clone(&running.clock));
    running.stop().await;
    drop(client);
    let running = Running::start_in(folder, realtime(&endpoint.url), clock).await;
    let mut client = running.join("m1").await;
    let minutes = client.next("minutes").await;
    assert_eq!(minutes["decisions"][0]["text"], "출시일은 금요일로 하기로 했습니다.");
    client.audio(&audio(20)).await;
    assert_eq!(client.next("error").await["details"]["code"], "meeting_ended");
    // A correction after the end changes the minutes too.
    client.send("correct", json!({"item_id": "a", "text": "출시일은 월요일로 하기로 했습니다."})).await;
    let text = "출시일은 월요일로 하기로 했습니다.";
    while client.next("minutes").await["decisions"][0]["text"] != text {}
    let stored = running.get("/api/v1/meetings/m1").await["minutes"].as_str().unwrap().to_owned();
    assert!(stored.contains(text) && !stored.contains("금요일"), "{stored}");
}

#[tokio::test]
async fn voices_are_recognized_after_a_restart() {
    let running = Running::start(Upstream::None).await;
    let mut client = running.join("demo-1").await;
    let people = json!([{"id": "minsu", "name": "민수"}, {"id": "jimin", "name": "지민"}]);
    client.send("start", json!({"participants": people})).await;
    let whole = demo_audio();
    // Three utterances, and then three others.
    let at = |ms: usize| ms * 48;
    for chunk in whole[..at(17_600)].chunks(9_600) {
        client.audio(chunk).await;
    }
    let mut turns = Vec::new();
    for expected in ["speaker-1", "speaker-2", "speaker-1"] {
        turns.push(client.next("transcript").await);
        assert_eq!(turns[turns.len() - 1]["speaker"], expected);
    }
    client.send("correct", json!({"item_id": turns[1]["item_id"], "speaker": "jimin"})).await;
    assert_eq!(client.next("transcript").await["speaker"], "jimin");
    let (folder, clock) = (Arc::clone(&running.folder), Arc::clone(&running.clock));
    running.stop().await;
    let running = Running::start_in(folder, Upstream::None, clock).await;
    let mut client = running.join("demo-1").await;
    for _ in 0..3 {
        client.next("transcript").await;
    }
    // The recording is transcribed by the places of its utterances, so it plays from its beginning.
    for chunk in whole[..at(17_600)].chunks(9_600) {
        client.audio(chunk).await;
    }
    for expected in ["speaker-1", "jimin", "speaker-1"] {
        assert_eq!(client.next("transcript").await["speaker"], expected);
    }
}

#[tokio::test]
async fn the_language_changes_on_the_way_and_the_present_utterance_ends() {
    let (_running, _endpoint, mut client, mut connection) = started(Extra::default()).await;
    let mut changed = setup();
    changed["language"] = json!("en");
    client.send("start", changed.clone()).await;
    connection.next_is("input_audio_buffer.commit").await;
    let update = connection.next().await;
    assert_eq!(update["type"], "session.update");
    assert_eq!(update["session"]["audio"]["input"]["transcription"]["language"], "en");
    // The same language again changes nothing.
    client.send("start", changed).await;
    client.next("ready").await;
    client.audio(&audio(20)).await;
    assert_eq!(connection.audio(960).await.len(), 960);
}

#[tokio::test]
async fn a_later_start_changes_only_what_it_names() {
    let (running, _endpoint, mut client, _connection) = started(Extra::default()).await;
    let mut other = running.join("m1").await;
    other.send("start", json!({"title": "Second title", "language": null})).await;
    // The first audio may have begun the meeting before its setup arrived, which is one message more.
    let ready = loop {
        let ready = client.next("ready").await;
        if ready["title"] == "Second title" {
            break ready;
        }
    };
    let kept = setup();
    for field in ["participants", "language", "principles", "planned_minutes"] {
        assert_eq!(ready[field], kept[field], "{field}");
    }
    other.send("start", json!({"participants": []})).await;
    let ready = client.next("ready").await;
    assert_eq!((&ready["participants"], &ready["title"]), (&json!([]), &json!("Second title")));
}

#[tokio::test]
async fn two_clients_do_not_send_audio_at_once_and_the_one_that_chooses_a_speaker_is_next() {
    let (running, _endpoint, mut client, mut connection) = started(Extra::default()).await;
    let mut other = running.join("m1").await;
    client.audio(&audio(20)).await;
    client.settled().await;
    for _ in 0..3 {
        other.audio(&audio(40)).await;
    }
    assert_eq!(other.next("error").await["details"]["code"], "audio_busy");
    other.settled().await;
    other.forget();
    other.send("speaker", json!({"speaker": "jimin"})).await;
    other.settled().await;
    other.audio(&audio(60)).await;
    other.settled().await;
    client.audio(&audio(20)).await;
    assert_eq!(client.next("error").await["details"]["code"], "audio_busy");
    drop(other);
    assert_eq!(connection.audio(960).await, audio(20));
    connection.next_is("input_audio_buffer.commit").await;
    assert_eq!(connection.audio(2_880).await, audio(60), "one client's audio after the other's");
}

#[tokio::test]
async fn an_edited_principle_counts_in_a_running_meeting() {
    let (running, _endpoint, mut client, mut connection) = started(Extra::default()).await;
    let put = json!({"content": "# 존중\n\n- 감지: \"그건 좀\"\n"});
    assert_eq!(running.http("PUT", "/api/v1/principles/respect", Some(put)).await.0, 200);
    say(&mut connection, "a", "그건 좀 이상한데요.").await;
    let remark = client.next("intervention").await;
    assert_eq!((&remark["kind"], &remark["principle"]), (&json!("principle"), &json!("respect")));
}

#[tokio::test]
async fn metrics_count_meetings_clients_audio_and_what_was_made_of_it() {
    let (running, endpoint, mut client, mut connection) = started(Extra::default()).await;
    say(&mut connection, "a", "안녕하세요").await;
    client.next("transcript").await;
    drop(connection);
    while client.next("status").await["upstream"] != "reconnecting" {}
    let metrics = running.http("GET", "/metrics", None).await.1;
    for line in [
        "# TYPE meeting_open gauge\nmeeting_open 1\n",
        "meeting_clients 1\n",
        "# TYPE meeting_audio_seconds_total counter\nmeeting_audio_seconds_total 0.1\n",
        "meeting_transcripts_total 1\n",
        "meeting_minutes_total 0\n",
        "meeting_upstream_reconnections_total 1\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    drop(endpoint);
}
