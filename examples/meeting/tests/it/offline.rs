//! Transcription by a recogniser, the demonstration, and voices, with real speech.

use std::sync::Arc;

use meeting::transcribe::{HttpRecognizer, Upstream};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::support::{Running, audio, demo_audio};

#[tokio::test]
async fn without_a_transcription_the_client_learns_what_is_missing() {
    let running = Running::start(Upstream::None).await;
    let mut client = running.join("m1").await;
    client.audio(&audio(20)).await;
    let error = client.next("error").await;
    assert_eq!(error["details"]["code"], "transcription");
    assert!(error["error"].as_str().unwrap().contains("OPENAI_API_KEY"), "{error}");
    client.settled().await;
}

#[tokio::test]
async fn the_demonstration_needs_no_network_and_knows_two_voices() {
    let running = Running::start(Upstream::None).await;
    let mut client = running.join("demo-1").await;
    let people = json!([{"id": "minsu", "name": "민수"}, {"id": "jimin", "name": "지민"}]);
    client
        .send("start", json!({"title": "제품 출시", "participants": people, "principles": ["clear-owner"]}))
        .await;
    let mut silence = demo_audio();
    silence.extend(vec![0; 96_000]);
    for chunk in silence.chunks(9_600) {
        client.audio(chunk).await;
    }
    let said: Vec<meeting::transcribe::Recorded> =
        serde_json::from_str(include_str!("../../demo/meeting.json")).unwrap();
    let mut found = Vec::new();
    for utterance in &said {
        let transcript = client.next("transcript").await;
        assert_eq!(transcript["text"], utterance.text);
        let start = transcript["start_ms"].as_u64().unwrap();
        assert!(start.abs_diff(utterance.start_ms) < 500, "{transcript}");
        assert!(transcript["confidence"].as_f64().unwrap() > 0.4, "{transcript}");
        found.push(transcript["speaker"].as_str().unwrap().to_owned());
    }
    let expected: Vec<&str> =
        (0..said.len()).map(|at| if at % 2 == 0 { "speaker-1" } else { "speaker-2" }).collect();
    assert_eq!(found, expected);
    // A correction by hand names the voice.
    let whole = running.get("/api/v1/meetings/demo-1").await;
    let first = whole["transcript"][0]["item_id"].as_str().unwrap().to_owned();
    client.send("correct", json!({"item_id": first, "speaker": "minsu"})).await;
    for _ in 0..5 {
        assert_eq!(client.next("transcript").await["speaker"], "minsu", "all turns of the voice");
    }
    let whole = running.get("/api/v1/meetings/demo-1").await;
    let speakers: Vec<&str> = whole["transcript"]
        .as_array()
        .unwrap()
        .iter()
        .map(|turn| turn["speaker"].as_str().unwrap())
        .collect();
    assert_eq!(speakers[..4], ["minsu", "speaker-2", "minsu", "speaker-2"]);
    client.send("end", json!({})).await;
    let minutes = client.next("minutes").await;
    assert_eq!(minutes["decisions"].as_array().unwrap().len(), 1, "{minutes}");
    let owners: Vec<_> =
        minutes["action_items"].as_array().unwrap().iter().map(|item| item["owner"].clone()).collect();
    assert_eq!(owners, ["minsu", "speaker-2"], "the name of the voice counts for what was found before");
    // Ids stay; what people read is in the language of the meeting.
    let markdown = minutes["markdown"].as_str().unwrap();
    assert!(markdown.contains("담당: 화자 2") && markdown.contains("- 화자 2: 발언"), "{markdown}");
    let file = running.file("demo-1.md");
    assert!(file.contains("**화자 2**: ") && !file.contains("speaker-2"), "{file}");
}

/// An endpoint that answers requests one after the other with these statuses and texts.
async fn recognizer(answers: &'static [(u16, &'static str)]) -> (String, JoinSet<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/audio/transcriptions", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut requests = Vec::new();
        for (status, text) in answers {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let find = |request: &[u8]| request.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            let body = loop {
                request.push(tcp.read_u8().await.unwrap());
                if let Some(end) = find(&request) {
                    break end + 4;
                }
            };
            let head = String::from_utf8_lossy(&request[..body]).to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            let mut rest = vec![0; length.parse().unwrap()];
            tcp.read_exact(&mut rest).await.unwrap();
            request.extend(rest);
            requests.push(request);
            let text = json!({"text": text}).to_string();
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            );
            tcp.write_all(answer.as_bytes()).await.unwrap();
        }
        requests
    });
    (url, tasks)
}

#[tokio::test]
async fn a_recognizer_gets_each_utterance_as_a_file_and_is_asked_again_if_it_is_overloaded() {
    let (url, mut requests) = recognizer(&[(200, "첫째"), (503, ""), (200, "둘째")]).await;
    let upstream = HttpRecognizer::new(&url, Some("sk-test".into()), "whisper-1").unwrap();
    let running = Running::start(Upstream::Offline(Arc::new(upstream))).await;
    let mut client = running.join("m1").await;
    client.send("start", json!({"language": "ko"})).await;
    // The first two utterances of the recording.
    for chunk in demo_audio()[..24 * 2 * 10_700].chunks(9_600) {
        client.audio(chunk).await;
    }
    assert_eq!(client.next("transcript").await["text"], "첫째");
    for state in ["connected", "reconnecting", "connected"] {
        while client.next("status").await["upstream"] != state {}
    }
    assert_eq!(client.next("transcript").await["text"], "둘째");
    let requests = requests.join_next().await.unwrap().unwrap();
    let first = String::from_utf8_lossy(&requests[0]).into_owned();
    for part in [
        "Bearer sk-test",
        "name=\"model\"\r\n\r\nwhisper-1",
        "name=\"language\"\r\n\r\nko",
        "filename=\"turn.wav\"",
        "RIFF",
    ] {
        assert!(first.contains(part), "{part}");
    }
    // About 4 s of audio with 24,000 samples a second.
    assert!((150_000..300_000).contains(&requests[0].len()), "{}", requests[0].len());
    assert_eq!(requests[1].len(), requests[2].len(), "the same utterance again");
}
